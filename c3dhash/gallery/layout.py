"""Codes -> places on a map, near each other where the codes are."""

from __future__ import annotations

import numpy as np

MAX_CLIPS = 10_000  # on a map


def map_places(codes: np.ndarray, *, hash_length: int) -> np.ndarray:
    """Lay codes out on a plane: the two directions in which their bits, as -1 and 1, vary most.

    Args:
        codes: uint8 [N, ceil(hash_length / 8)].
    Returns:
        float64 [N, 2], -1..1, the first axis the longer one; equal codes at one place, all 0 where all are equal.
    Source:
        Pearson, On lines and planes of closest fit, Philosophical Magazine 2, 1901. Directions are turned so that their
        largest entry is positive, so that a map is the same each time.
    """
    bits = np.unpackbits(codes, axis=1, count=hash_length).astype(np.float64) * 2 - 1
    if not len(bits):
        return np.zeros((0, 2))
    bits -= bits.mean(axis=0)
    _, axes = np.linalg.eigh(bits.T @ bits)  # rising
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    places = np.zeros((len(bits), 2))
    places[:, : axes.shape[1]] = bits @ axes
    size = np.abs(places).max()
    return places / size if size > 1e-9 else np.zeros_like(places)


def spread_evenly(num_items: int, *, most: int = MAX_CLIPS) -> np.ndarray:
    """Choose at most so many of a number of items, evenly: int64 [min(num_items, most)], rising."""
    num_chosen = min(num_items, most)
    return np.arange(num_chosen) * num_items // max(1, num_chosen)
