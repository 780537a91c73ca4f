"""Small backbones of every kind, for tests of what computes them."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from c3dhash.models.backbones import BACKBONES, build_backbone


def awake(name: str) -> torch.nn.Module:
    """A small backbone whose batch norms change what they read."""
    network = BACKBONES[name]
    size = max(network.min_clip_size[1], 32 if network.clip_multiple[1] < 2 else network.clip_multiple[1])
    frames = max(network.min_clip_size[0], network.clip_multiple[0], 4)
    if name == "i3d":  # OpenVINO refuses a pooling that is longer than what it reads with its padding
        frames, size = 8, 64
    backbone = build_backbone(name, num_frames=frames, size=size).eval()
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            for tensor, low in ((module.running_mean, -0.2), (module.running_var, 0.5), (module.bias.data, -0.2)):
                tensor.uniform_(low, low + 0.8)
            module.weight.data.uniform_(0.7, 1.3)
    return backbone
