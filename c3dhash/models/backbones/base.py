"""What every backbone carries; c3dhash.models.backbones says what it means."""

from __future__ import annotations

from torch import nn

from c3dhash.records import Preprocessing


class Backbone(nn.Module):
    """Map clips [B, C, T, H, W] to features [B, feature_dim]."""

    name: str
    feature_dim: int
    clip_size: tuple[int, int, int]
    min_clip_size: tuple[int, int, int] = (1, 16, 16)
    clip_multiple: tuple[int, int] = (1, 1)
    preprocessing: Preprocessing
    shortcuts: tuple[str, ...] = ()
    shortcut: str | None = None
