from __future__ import annotations

import numpy as np
import pytest

from c3dhash.training.centers import hash_centers


@pytest.mark.parametrize(("num_classes", "hash_length"), [(2, 16), (6, 32), (21, 48), (101, 64), (101, 16)])
def test_centres_are_balanced_and_further_apart_than_random_ones(num_classes, hash_length):
    centers = hash_centers(num_classes, hash_length, seed=1)
    assert centers.shape == (num_classes, hash_length) and centers.dtype == np.float32
    assert set(np.unique(centers)) == {-1.0, 1.0}
    assert np.abs(centers.sum(axis=0)).max() <= 2
    random = np.where(np.random.default_rng(1).random((num_classes, hash_length)) < 0.5, -1.0, 1.0)
    assert nearest(centers) > nearest(random)
    assert np.array_equal(centers, hash_centers(num_classes, hash_length, seed=1))
    assert not np.array_equal(centers, hash_centers(num_classes, hash_length, seed=2))


def test_two_classes_are_opposites():
    assert nearest(hash_centers(2, 24)) == 24


def test_one_class_has_a_centre():
    assert hash_centers(1, 8).shape == (1, 8)


def nearest(centers: np.ndarray) -> float:
    """Return the distance of the nearest pair, bits."""
    length = centers.shape[1]
    return float(((length - centers @ centers.T) / 2 + length * np.eye(len(centers))).min())
