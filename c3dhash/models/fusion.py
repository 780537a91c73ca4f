"""Several networks that look at the same videos -> one answer, as two streams, RGB and optical flow, are joined.

    class scores      a weighted sum of the logits, before the softmax
    embeddings        beside each other: a code of all their bits, whose distance is the sum of the distances

Source: Simonyan and Zisserman, Two-Stream Convolutional Networks for Action Recognition in Videos, NIPS 2014; Carreira
and Zisserman, CVPR 2017, add logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from c3dhash.errors import UsageError
from c3dhash.models.encode import Encoded
from c3dhash.models.runs import Run

Part = TypeVar("Part")


def as_list(parts: Part | Sequence[Part]) -> list[Part]:
    """Return one thing, or several, as a list."""
    return list(parts) if isinstance(parts, Sequence) else [parts]


def fusion_weights(text: str, *, num_runs: int) -> tuple[float, ...]:
    """Read how the class scores of runs are joined.

    Args:
        text: sum, mean, or the weights of the runs with commas between them.
    Raises:
        UsageError: something else, a weight below 0, none above 0, or not one for each run.
    """
    if text == "sum":
        return (1.0,) * num_runs
    if text == "mean":
        return (1 / num_runs,) * num_runs
    try:
        weights = tuple(map(float, text.split(",")))
    except ValueError:
        weights = ()
    if len(weights) != num_runs or not (min(weights) >= 0 and 0 < sum(weights) < float("inf")):
        raise UsageError(f"fuse ({text!r}) must be sum, mean, or {num_runs} weights of 0 or more with commas: 1,0.5")
    return weights


def check_alike(runs: Sequence[Run]) -> None:
    """Make sure that runs tell the same classes apart.

    Raises:
        CheckpointError: one of them has no class head.
        UsageError: they have other classes, or in another order, or some choose one class and some do not.
    """
    first, *others = runs
    for other in others:
        if other.class_labels != first.class_labels:
            unlike = sorted(set(first.class_labels) ^ set(other.class_labels))
            what = f"{unlike[0]!r} is one of one alone" if unlike else "they stand in another order"
            raise UsageError(f"runs '{first.path}' and '{other.path}' have other classes ({what}) and cannot be fused.")
        if other.is_multi_label != first.is_multi_label:
            raise UsageError(f"of '{first.path}' and '{other.path}' one gives a video several labels, and one chooses.")


def fuse(scores: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Add class scores up, float [N, num_classes] each, by weights; the result is float64."""
    total = np.zeros(scores[0].shape, np.float64)
    for part, weight in zip(scores, weights, strict=True):
        total += weight * part.astype(np.float64)
    return total


def fuse_encoded(parts: Sequence[Encoded], weights: Sequence[float]) -> Encoded:
    """Join what several networks, all with a hash head, say about the same windows.

    Returns:
        Embeddings beside each other, class scores by weights (None unless all have them), and features at length 1
        beside each other; of one network, what it said.
    """
    if len(parts) == 1:
        return parts[0]
    embeddings = np.concatenate([part.embeddings for part in parts if part.embeddings is not None], axis=1)
    scores = [part.scores for part in parts if part.scores is not None]
    features = [part.features / np.maximum(np.linalg.norm(part.features, axis=1, keepdims=True), 1e-12)
                for part in parts]  # fmt: skip
    fused = fuse(scores, weights).astype(np.float32) if len(scores) == len(parts) else None
    return Encoded(embeddings, fused, np.concatenate(features, axis=1))
