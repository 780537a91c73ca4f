"""A batch and its labels -> mixed with each other: mixup and cutmix.

A mixed clip is of two classes, by shares, of which the class head and the centres of codes learn. Its own is the
larger, and the one that triplets count.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c3dhash.config import TrainConfig


def mix(
    batch: Tensor, labels: Tensor, config: TrainConfig, *, num_classes: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each row of a batch with another one, all by one share, in the way that the settings have, or one of both.

    Args:
        batch: clips uint8 [B, T, H, W, C], or what frozen stages give of them, float [B, ..., h, w] or [B, D].
        labels: int64 [B], or bool [B, num_classes].
        config: with mixup, cutmix or both above 0.
        rng: where the draws come from.
    Returns:
        The mixed batch, of the same type, and the shares of the classes, float [B, num_classes].
    Source:
        Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018; Yun et al., CutMix, ICCV 2019.
    """
    ways = [(way, alpha) for way, alpha in ((_mixup, config.mixup), (_cutmix, config.cutmix)) if alpha]
    way, alpha = ways[rng.integers(len(ways))]
    share = rng.beta(alpha, alpha)
    others = rng.permutation(len(batch))
    mixed, share = way(batch, others, max(share, 1 - share), rng)
    own = F.one_hot(labels, num_classes).float() if labels.ndim == 1 else labels.float()
    return mixed, share * own + (1 - share) * own[torch.from_numpy(others).to(own.device)]


def _mixup(batch: Tensor, others: np.ndarray, share: float, _: np.random.Generator) -> tuple[Tensor, float]:
    mixed = torch.empty_like(batch)
    for row, other in enumerate(others.tolist()):  # one by one: a batch of clips in float32 is four times the size
        value = torch.lerp(batch[other].float(), batch[row].float(), share)
        mixed[row] = value if batch.is_floating_point() else value.round()
    return mixed, share


def _cutmix(batch: Tensor, others: np.ndarray, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    axes = (2, 3) if batch.dtype == torch.uint8 else (batch.ndim - 2, batch.ndim - 1)  # height and width
    sides, center = np.array([batch.shape[axis] for axis in axes]), rng.uniform(size=2)
    part = np.floor(sides * (1 - share) ** 0.5).astype(int)  # no more than 1 - share of it, in whole cells
    corner = np.round(center * sides - part / 2).astype(int)
    low, high = np.clip(corner, 0, sides), np.clip(corner + part, 0, sides)
    mixed, places = batch.clone(), [slice(None)] * batch.ndim
    for axis, start, end in zip(axes, low, high, strict=True):
        places[axis] = slice(int(start), int(end))
    mixed[tuple(places)] = batch[tuple(places)][torch.from_numpy(others).to(batch.device)]
    return mixed, 1 - float(np.prod(high - low) / np.prod(sides))
