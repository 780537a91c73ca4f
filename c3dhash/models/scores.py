"""Class scores -> probabilities. NumPy only."""

from __future__ import annotations

import numpy as np


def ranked_columns(num_ranks: int) -> list[str]:
    """Return the columns of a table with the most probable classes: prediction, score, prediction2, score2, ..."""
    ranks = ("", *range(2, num_ranks + 1))
    return [f"{name}{rank}" for rank in ranks for name in ("prediction", "score")]


def class_probabilities(scores: np.ndarray, *, is_multi_label: bool) -> np.ndarray:
    """Turn class scores into probabilities.

    Args:
        scores: logits, float [N, num_classes].
        is_multi_label: whether the classes do not exclude each other: then a sigmoid for each, else a softmax over all.
    Returns:
        float64 [N, num_classes], 0..1.
    """
    scores = scores.astype(np.float64)
    if is_multi_label:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * scores)))  # the sigmoid, without an exp that overflows
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
