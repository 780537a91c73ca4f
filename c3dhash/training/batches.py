"""Which samples make a training batch: P classes x K clips, or any; drawn the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from c3dhash.errors import TrainingError


def balanced_batches(
    labels: np.ndarray, *, classes_per_batch: int, clips_per_class: int, seed: tuple[int, ...]
) -> list[np.ndarray]:
    """Deal an epoch's batches of P classes x K clips.

    Classes are drawn in rounds, each round a permutation, and so are the clips inside a class: classes of any
    size are seen equally often, and every clip of a class is seen once before any is seen again. A class of
    fewer than K clips repeats some, each time under another augmentation.

    Args:
        labels: int64 [N], or bool [N, num_classes]; multi-label samples have no one class and are dealt by
            `random_batches`.
        classes_per_batch: P, cut to the number of classes.
        clips_per_class: K.
        seed: of this epoch.
    Returns:
        Arrays of sample indices; about N / (P K) of them, at least one.
    Raises:
        TrainingError: fewer than two classes, so that no triplet has a negative.
    """
    if labels.ndim == 2:
        return random_batches(len(labels), size=classes_per_batch * clips_per_class, seed=seed)
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    if len(classes) < 2:
        raise TrainingError(f"the training videos are of {len(classes)} class; a triplet needs at least 2.")
    num_classes = min(classes_per_batch, len(classes))
    class_order = _rounds(classes, rng)
    clip_orders = {label: _rounds(np.flatnonzero(labels == label), rng) for label in classes}
    batches = []
    for _ in range(max(1, round(len(labels) / (num_classes * clips_per_class)))):
        chosen: list[int] = []
        while len(chosen) < num_classes:
            label = next(class_order)
            if label not in chosen:  # a round may end inside a batch
                chosen.append(label)
        batches.append(np.array([next(clip_orders[label]) for label in chosen for _ in range(clips_per_class)]))
    return batches


def random_batches(num_samples: int, *, size: int, seed: tuple[int, ...]) -> list[np.ndarray]:
    """Deal an epoch's batches of samples at random, in rounds: every one is seen once before any is seen again.

    Args:
        size: of a batch, cut to the number of samples.
        seed: of this epoch.
    Returns:
        Arrays of sample indices; about N / size of them, at least one.
    """
    size = min(num_samples, size)
    order = _rounds(np.arange(num_samples), np.random.default_rng(seed))
    return [np.array([next(order) for _ in range(size)]) for _ in range(max(1, round(num_samples / size)))]


def _rounds(items: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    """Yield the items in one random order after another, without end."""
    while True:
        yield from rng.permutation(items)
