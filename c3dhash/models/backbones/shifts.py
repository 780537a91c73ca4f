"""Where the cells of a map go in the next frame: what a network of single frames can say of movement.

    maps of T frames -> likeness of each cell to those around it in the next frame -> a shift, in cells
                     -> histograms of directions, of the shifts and of how they differ from cell to cell
                     -> weights: the more a cell moves, the more it counts in the mean of the next map

It is optical flow as coarse as the map, for which nothing is decoded or trained: Note [Changes] of tsn.py has what it
is worth. Cells at the border are compared with those inside only. The mean shift of a frame, which is the camera's,
does not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 2  # in cells: the farthest that is looked at
SHARPNESS = 20.0  # of the softmax over likenesses, from -1 to 1
CELLS, PARTS = 3, 3  # of the picture, each way, and of the clip, for each of which there are histograms
NUM_DIRECTIONS = 8
STILL_SHIFT, STILL_DIFFERENCE = 0.4, 0.1  # in cells: what is less stands still, the more so the less
STILL_WEIGHT = 0.3  # of a cell that stands still, as a share of the mean over the clip
NUM_SHIFTS = 3 * PARTS * CELLS**2 * (NUM_DIRECTIONS + 1)
_LEAST = 1e-6


def cell_shifts(maps: Tensor) -> Tensor:
    """Tell where each cell goes in the next frame, and not with the camera.

    Args:
        maps: [B, T, C, h, w], what a network gives of T frames; T is 2 or more.
    Returns:
        float32 [B, T - 1, 2, h, w], x and y, in cells; the mean over the cells of a frame is 0.
    """
    with torch.autocast(maps.device.type, enabled=False):
        shifts = _all_shifts(maps.float())
    return shifts - shifts.mean(dim=(3, 4), keepdim=True)


def shift_histograms(shifts: Tensor) -> Tensor:
    """Describe how cells move from frame to frame: [B, T - 1, 2, h, w] -> [B, NUM_SHIFTS], 0 or more, of length 1."""
    x, y = shifts.unbind(2)
    fields = [(x, y, STILL_SHIFT)] + [(*_differences(each), STILL_DIFFERENCE) for each in (x, y)]
    blocks = [F.normalize((_histograms(*field) + _LEAST).sqrt().flatten(1), dim=1) for field in fields]
    return torch.cat(blocks, dim=1) / math.sqrt(len(blocks))


def moving_weights(shifts: Tensor, size: Sequence[int]) -> Tensor:
    """Tell how much each cell of a map should count, by how far what it shows goes.

    Args:
        shifts: [B, T - 1, 2, h, w], as `cell_shifts` gives them.
        size: of the map that is weighed, height and width.
    Returns:
        float32 [B, T, *size], above 0; their sum is 1 for each clip. A frame has the shifts to it and from it.
    """
    steps = _length(*shifts.unbind(2))
    frames = torch.cat([steps[:, :1], (steps[:, 1:] + steps[:, :-1]) / 2, steps[:, -1:]], dim=1)
    weights = F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
    weights = weights + STILL_WEIGHT * weights.mean(dim=(1, 2, 3), keepdim=True)
    return weights / weights.sum(dim=(1, 2, 3), keepdim=True)


def _all_shifts(maps: Tensor) -> Tensor:
    height, width = maps.shape[-2:]
    maps = maps - maps.mean(dim=(1, 3, 4), keepdim=True)
    cells = F.normalize(maps * (maps.square().mean(dim=(1, 3, 4), keepdim=True) + _LEAST).rsqrt(), dim=2).flatten(3)
    rows, columns = (torch.arange(size, dtype=maps.dtype, device=maps.device) for size in (height, width))
    y, x = (each.flatten() for each in torch.meshgrid(rows, columns, indexing="ij"))
    is_far = ((x[:, None] - x).abs() > RADIUS) | ((y[:, None] - y).abs() > RADIUS)
    likeness = cells[:, :-1].transpose(2, 3) @ cells[:, 1:]  # [B, T - 1, h * w, h * w], here by there
    shares = (SHARPNESS * likeness).masked_fill(is_far, float("-inf")).softmax(dim=3)
    places = torch.stack([x, y], dim=1)
    return (shares @ places - places).transpose(2, 3).reshape(*maps.shape[:1], -1, 2, height, width)


def _differences(field: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much a field, [B, T, h, w], changes from cell to cell, in x and in y; both [B, T, h, w]."""
    padded = F.pad(field, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2


def _histograms(x: Tensor, y: Tensor, still: float) -> Tensor:
    """Sum up lengths by direction, and what stands still, in cells and parts: [B, T, h, w] -> [B, PARTS, 9, 3, 3].

    A vector counts in the two directions that it lies between, with its coordinates along these.
    """
    step = 2 * math.pi / NUM_DIRECTIONS
    aside = [math.sin(number * step) * x - math.cos(number * step) * y for number in range(NUM_DIRECTIONS)]
    after, before = aside[1:] + aside[:1], aside[-1:] + aside[:-1]
    bins = [F.relu(torch.minimum(a, -b)) / math.sin(step) for a, b in zip(after, before, strict=True)]
    bins.append(F.relu(1 - _length(x, y) / still))
    values = torch.stack(bins, dim=2)  # [B, T, 9, h, w]
    for dim, parts in ((1, PARTS), (3, CELLS), (4, CELLS)):
        size = values.shape[dim]
        edges = [(number * size // parts, -(-(number + 1) * size // parts)) for number in range(parts)]
        values = torch.stack([values.narrow(dim, a, b - a).mean(dim) for a, b in edges], dim=dim)
    return values


def _length(x: Tensor, y: Tensor) -> Tensor:
    return (x.square() + y.square() + _LEAST**2).sqrt()
