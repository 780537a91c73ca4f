from __future__ import annotations

import numpy as np
import pytest

from c3dhash.errors import TrainingError
from c3dhash.training.batches import balanced_batches, random_batches

LABELS = np.repeat([0, 1, 2, 5], [40, 3, 10, 7])


def test_each_batch_holds_p_classes_of_k_clips():
    batches = balanced_batches(LABELS, classes_per_batch=3, clips_per_class=4, seed=(0, 0))
    assert len(batches) == 5  # 60 clips / 12
    for batch in batches:
        _, counts = np.unique(LABELS[batch], return_counts=True)
        assert counts.tolist() == [4, 4, 4]


def test_a_class_gives_every_clip_once_before_any_again():
    batches = np.concatenate(balanced_batches(LABELS, classes_per_batch=2, clips_per_class=5, seed=(1, 0)))
    for label in np.unique(LABELS):
        drawn = batches[LABELS[batches] == label]
        members = np.flatnonzero(label == LABELS)
        whole = len(drawn) // len(members) * len(members)
        assert all(count == whole // len(members) for count in np.bincount(drawn[:whole], minlength=60)[members])


def test_classes_of_any_size_are_seen_equally_often():
    batches = np.concatenate([
        batch for epoch in range(30)
        for batch in balanced_batches(LABELS, classes_per_batch=3, clips_per_class=2, seed=(0, epoch))
    ])  # fmt: skip
    shares = np.bincount(LABELS[batches])[[0, 1, 2, 5]] / len(batches)
    assert np.abs(shares - 0.25).max() < 0.02


def test_the_seed_decides():
    first, again, other = (
        np.concatenate(balanced_batches(LABELS, classes_per_batch=3, clips_per_class=2, seed=seed))
        for seed in ((3, 1), (3, 1), (3, 2))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_more_classes_wanted_than_there_are():
    (batch,) = balanced_batches(np.array([0, 0, 1, 1]), classes_per_batch=8, clips_per_class=2, seed=(0,))
    assert sorted(batch) == [0, 1, 2, 3]


def test_multi_label_samples_are_dealt_evenly():
    labels = np.eye(4, dtype=bool)[np.arange(10) % 4]
    batches = balanced_batches(labels, classes_per_batch=2, clips_per_class=2, seed=(0,))
    assert [len(batch) for batch in batches] == [4, 4]
    assert len(np.unique(np.concatenate(batches))) == 8


def test_one_class_is_refused():
    with pytest.raises(TrainingError, match="1 class"):
        balanced_batches(np.zeros(5, int), classes_per_batch=2, clips_per_class=2, seed=(0,))


def test_random_batches_see_each_video_once_a_round():
    batches = random_batches(10, size=4, seed=(1,))
    assert [len(batch) for batch in batches] == [4, 4]  # 2.5 batches
    assert len(set(np.concatenate(batches))) == 8
    assert sorted(np.concatenate(random_batches(12, size=4, seed=(1,)))) == list(range(12))
    assert [len(batch) for batch in random_batches(3, size=8, seed=(1,))] == [3]
    first, again, other = (random_batches(12, size=4, seed=(seed,)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
