"""A backbone -> a copy of it for inference alone, with what training needs taken out.

Batch norm of a convolution is a convolution with other weights, so that a layer and a pass over the activations are
saved. With w, b of the convolution and the mean m, variance v, scale g and shift s of the batch norm:

    g (w x + b - m) / sqrt(v + eps) + s  =  (r w) x + r (b - m) + s,   r = g / sqrt(v + eps)

Which batch norm reads which convolution is seen by letting the network compute on its smallest clip. (Without numbers,
on PyTorch's device "meta", that is no cheaper: a normalisation there loads PyTorch's compiler, two seconds.)
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils.hooks import RemovableHandle

from c3dhash.models.backbones.base import Backbone
from c3dhash.video.normalization import normalize

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def freeze_backbone(backbone: Backbone) -> Backbone:
    """Return a copy in evaluation mode that computes the same features from fewer layers; it cannot be trained.

    Args:
        backbone: stays as it is, and may go on training.
    Returns:
        The copy, on the same device. Its features differ by rounding.
    """
    frozen = copy.deepcopy(backbone).eval().requires_grad_(False)
    frozen.settle()
    for convolution_name, norm_name in _batch_norms_of_convolutions(frozen):
        convolution, norm = frozen.get_submodule(convolution_name), frozen.get_submodule(norm_name)
        assert isinstance(convolution, CONVOLUTIONS) and isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None and norm.running_var is not None  # _has_statistics
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        frozen.set_submodule(norm_name, nn.Identity())
    return frozen


def _batch_norms_of_convolutions(backbone: Backbone) -> list[tuple[str, str]]:
    """Return the names of each convolution whose output goes into a batch norm, and of that batch norm."""
    if not any(map(_has_statistics, backbone.modules())):
        return []
    device = next(backbone.parameters()).device
    writers: dict[int, tuple[str, Tensor]] = {}  # by the identity of what they wrote, which is kept alive for it
    pairs: list[tuple[str, str]] = []
    num_calls: Counter[str] = Counter()

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def note(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            num_calls[name] += 1
            if isinstance(module, CONVOLUTIONS):
                writers[id(output)] = name, output
            elif id(inputs[0]) in writers:
                pairs.append((writers[id(inputs[0])][0], name))

        return module.register_forward_hook(note)

    handles = [
        watch(name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, CONVOLUTIONS) or _has_statistics(module)
    ]
    with torch.no_grad():
        backbone(torch.zeros(1, backbone.preprocessing.num_channels, *backbone.min_clip_size, device=device))
    for handle in handles:
        handle.remove()
    return [pair for pair in pairs if num_calls[pair[0]] == num_calls[pair[1]] == 1]


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None


class FromPixels(nn.Module):
    """A backbone behind its preprocessing, to be translated: uint8 [B, T, H, W, C] -> features float32 [B, D]."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, clips: Tensor) -> Tensor:
        features: Tensor = self.backbone(normalize(clips, self.backbone.preprocessing))
        return features.float()
