"""Whole pictures that go through frozen stages, and windows of what these give.

Note [Windows of whole pictures]
    A view is what the frozen stages give of the whole picture, at one of a few sizes, from a start of its own, mirrored
    or not. Of that each step takes a window, of as many cells as a square clip has: a crop that costs nothing, so that
    three views of a 4:3 video, at 224, 256 and 288 px for clips of 224, are a hundred. They go through the stages in
    the time of 5.3 square clips. JHMDB, I3D, 48 bits, the last stage trained on all of the training list, seed 0: mAP
    0.835 and accuracy 0.791 after 100 epochs, where eight crops, each computed from pixels, and 60 epochs gave 0.819
    and 0.776. In five folds of the training list (on a GPU, one seed) 0.776 and 0.729, and with 12 crops 0.784 and
    0.726; docs/results.md has more.
    At its edges a window sees what lies beyond them, where a crop has zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np


def view_sides(num_views: int, *, size: int, cells: int, min_crop_scale: float) -> list[int]:
    """Return the short sides at which whole pictures go through frozen stages, in px.

    A window of them is what a crop of `size` would be. The shares of the short side that it covers lie evenly between
    min_crop_scale and 1, and give whole cells.

    Args:
        size: of a square clip, px.
        cells: of what is kept of that, along a side.
    """
    shares = 1 - (1 - min_crop_scale) * (np.arange(num_views) + 0.5) / num_views
    return [round(size * max(1, round(cells / share) / cells)) for share in shares]


def batches_by_shape(clips: Iterable[np.ndarray], batch_size: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Stack clips of one shape: which they are, and [B, ...]. Of two batches that come together, those that fit."""
    numbered = enumerate(clips)
    while chunk := list(islice(numbered, 2 * batch_size)):
        groups: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
        for place, clip in chunk:
            groups.setdefault(clip.shape, []).append((place, clip))
        for group in groups.values():
            for start in range(0, len(group), batch_size):
                places, alike = zip(*group[start : start + batch_size], strict=True)
                yield list(places), np.stack(alike)


def window_of(row: np.ndarray, cells: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Cut a window of some cells out of a map [..., h, w], at a random place."""
    height, width = cells
    top, left = rng.integers(np.subtract(row.shape[-2:], cells) + 1)
    return row[..., top : top + height, left : left + width]
