"""What every backbone carries; c3dhash.models.backbones says what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from c3dhash.records import Preprocessing


class Stage(NamedTuple):
    """A part of a backbone: what it computes, and the modules whose weights it reads.

    run: batch -> batch. The first stage reads clips, the last gives features, and what is between them is
        float [B, ...], a row a clip, so that it can be kept and the rest be run later.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    modules: tuple[nn.Module, ...]


class Backbone(nn.Module):
    """Map clips [B, C, T, H, W] to features [B, feature_dim], stage by stage."""

    name: str
    feature_dim: int
    clip_size: tuple[int, int, int]
    min_clip_size: tuple[int, int, int] = (1, 16, 16)
    clip_multiple: tuple[int, int] = (1, 1)
    preprocessing: Preprocessing
    shortcuts: tuple[str, ...] = ()
    shortcut: str | None = None
    kept_format: torch.memory_format | None = torch.channels_last_3d  # of what is between stages
    has_changes = False
    has_motion = False
    starts_from: str | None = None  # another backbone, whose weights fit once fit_tensor and fit_preprocessing saw them
    needs_weights = True  # without them its features say nothing
    hash_method: str | None = None  # how bits are made of its features, where nothing else is asked for
    window_seconds: float | None = None  # of a gallery, where nothing else is asked for; None: as EncodeConfig says
    stride_seconds: float | None = None
    is_2d = False  # layers see single frames, or little more; training.optimization has what follows from it

    def add_changes(self) -> None:
        """Let features also say how frames change, where the network looks at each by itself; else nothing is done."""

    def add_motion(self) -> None:
        """Let features also say what moves where, of a network that is divided and says changes; else do nothing."""

    def stages(self) -> tuple[Stage, ...]:
        """Divide the network where its pictures become smaller. One that is not divided has its own `forward`."""
        return (Stage(self.forward, (self,)),)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Compute features.

        Args:
            clips: float [B, C, T, H, W], preprocessed as `preprocessing` says; C is its `num_channels`.
        Returns:
            [B, feature_dim], in the dtype of the weights (under autocast, too).
        """
        return self.run_stages(clips)

    def run_stages(self, batch: torch.Tensor, *, first: int = 0, last: int | None = None) -> torch.Tensor:
        """Run the stages from `first` up to `last`, without it: clips, or what the stage before gave -> what is next.

        Both count as in a slice: run_stages(run_stages(clips, last=n), first=n) are the features.
        """
        if first and batch.ndim == 5 and self.kept_format is not None:
            batch = batch.contiguous(memory_format=self.kept_format)
        for stage in self.stages()[first:last]:
            batch = stage.run(batch)
        return batch

    def fit_tensor(self, tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Make an entry of a file fit that of this network, where it is for `starts_from`; else nothing is done."""
        return tensor

    def fit_preprocessing(self, preprocessing: Preprocessing) -> Preprocessing:
        """Return what this network reads with weights that expect something, where these are for `starts_from`."""
        return preprocessing

    def mirror_signs(self) -> np.ndarray | None:
        """Return what a mirror does to features, where it only changes signs: 1 or -1 of each, int64 [feature_dim]."""
        return None

    def settle(self) -> None:
        """Decide once what depends on the weights, which stay as they are from here on; for copies that only infer."""
