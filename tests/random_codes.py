"""Codes of random bits, and copies of them in which some are flipped."""

from __future__ import annotations

import numpy as np

BITS = 48


def random_codes(rng: np.random.Generator, num: int) -> np.ndarray:
    return rng.integers(0, 256, (num, BITS // 8), np.uint8)


def flipped(rng: np.random.Generator, codes: np.ndarray, share: float) -> np.ndarray:
    bits = np.unpackbits(codes, axis=1)
    return np.packbits(bits ^ (rng.random(bits.shape) < share), axis=1)
