"""Backbones that cost nothing, for tests of what is around a backbone."""

from __future__ import annotations

import torch
from torch import nn

from c3dhash.models.backbones.base import Backbone, Stage
from c3dhash.records import Preprocessing


class TinyBackbone(Backbone):
    """One convolution, a ReLU and the average; its random features tell the motions of the motion set apart a bit."""

    name = "tiny"
    feature_dim = 24
    clip_size = (4, 32, 32)
    min_clip_size = (1, 8, 8)
    clip_multiple = (1, 1)
    preprocessing = Preprocessing()
    shortcuts = ()
    shortcut = None

    def __init__(self, *, num_frames: int = 4, size: int = 32) -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)
        self.conv = nn.Conv3d(3, 24, 5, stride=2, padding=2)

    def settle(self) -> None:
        """Nothing depends on the weights."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(clips)).mean(dim=(2, 3, 4)).to(self.conv.weight.dtype)


class NormedBackbone(TinyBackbone):
    """Two stages of a convolution, a batch norm and a ReLU."""

    name = "normed"

    def __init__(self, *, num_frames: int = 4, size: int = 32) -> None:
        super().__init__(num_frames=num_frames, size=size)
        self.norm = nn.BatchNorm3d(24)
        self.second = nn.Conv3d(24, 24, 3, padding=1)
        self.second_norm = nn.BatchNorm3d(24)

    def stages(self) -> tuple[Stage, ...]:
        return Stage(self._first, (self.conv, self.norm)), Stage(self._second, (self.second, self.second_norm))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.run_stages(clips)

    def _first(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(clips)))

    def _second(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second_norm(self.second(x))).mean(dim=(2, 3, 4)).to(self.conv.weight.dtype)
