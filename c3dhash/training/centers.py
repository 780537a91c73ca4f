"""Centres of classes: codes that lie far from each other, one for each class."""

from __future__ import annotations

import numpy as np

ROUNDS = 20
SOFTNESS_BITS = 4.0  # how far beyond the nearest pair others still count


def hash_centers(num_classes: int, hash_length: int, *, seed: int = 0) -> np.ndarray:
    """Choose a code for each class, such that the nearest pairs are far apart and each bit halves the classes.

    Random bits are flipped, one at a time, wherever that lowers the sum of exp(-distance / SOFTNESS_BITS) over all
    pairs, in which near pairs count most, and does not take a bit further from half of the classes than one.

    With x_i in {-1, +1}^L and G = x x^T, the distance of i and j is (L - G_ij) / 2. To flip bit k of class i changes
    G_ij by -2 x_ik x_jk, and so the sum over j by the weights exp(G_ij / (2 * SOFTNESS_BITS)) times
    exp(-x_ik x_jk / SOFTNESS_BITS) - 1: each of the L flips of a class is weighed by one product with x.

    Args:
        num_classes: C, at least 1.
        hash_length: L, bits.
        seed: of the codes to begin with, and of the order.
    Returns:
        float32 [C, L], of -1 and +1.
    Source: that the centres of classes should be far apart and balanced: Yuan et al., Central Similarity Quantization,
        CVPR 2020, section 3.2, where they are rows of a Hadamard matrix, which there is for few lengths, or random; the
        search is our own.
    """
    rng = np.random.default_rng(seed)
    column = np.where(np.arange(num_classes) % 2 == 0, 1.0, -1.0)
    centers = np.stack([rng.permutation(column) for _ in range(hash_length)], axis=1)  # [C, L], balanced bits
    up, down = np.exp(1 / SOFTNESS_BITS) - 1, np.exp(-1 / SOFTNESS_BITS) - 1
    for _ in range(ROUNDS):
        num_flips = 0
        for row in rng.permutation(num_classes):
            for _ in range(hash_length):
                weights = np.exp((centers @ centers[row] - hash_length) / (2 * SOFTNESS_BITS))
                weights[row] = 0.0
                same = (centers == centers[row]).astype(float)  # a flip takes these apart, and the others nearer
                gains = weights @ (same * down + (1 - same) * up)
                sums = centers.sum(axis=0) - 2 * centers[row]
                gains[np.abs(sums) > 2] = np.inf
                bit = int(gains.argmin())
                if gains[bit] >= -1e-12:
                    break
                centers[row, bit] *= -1
                num_flips += 1
        if not num_flips:
            break
    return centers.astype(np.float32)
