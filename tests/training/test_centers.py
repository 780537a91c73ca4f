from __future__ import annotations

import numpy as np
import pytest

from c3dhash.training.centers import CLOSENESS, class_similarity, hash_centers


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


def test_centres_of_classes_that_look_alike_are_nearer():
    rng = np.random.default_rng(0)
    kinds = rng.standard_normal((4, 30))
    features = np.repeat(kinds, 5, axis=0) + 0.4 * rng.standard_normal((20, 30))  # classes 0-4 are of one kind, ...
    similarity = class_similarity(np.repeat(features, 3, axis=0), np.repeat(np.arange(20), 3), num_classes=20)
    centers = hash_centers(20, 48, similarity=similarity, seed=1)
    assert np.abs(centers.sum(axis=0)).max() <= 2
    products = centers @ centers.T / 48
    others = ~np.eye(20, dtype=bool)
    assert np.corrcoef(products[others], similarity[others])[0, 1] > 0.9
    assert nearest(centers) >= 8, "classes of one kind are still told apart, by a quarter of the bits or nearly so"
    same_kind = np.kron(np.eye(4), np.ones((5, 5))).astype(bool) & others
    assert 0.25 < products[same_kind].mean() < 0.6
    assert products[~same_kind & others].mean() < -0.1


def test_flips_are_weighed_as_the_definition_says():
    # No single flip that the balance allows lowers the sum that the search ends with.
    similarity = class_similarity(np.random.default_rng(2).standard_normal((7, 9)), np.arange(7), num_classes=7)
    centers = hash_centers(7, 12, similarity=similarity, seed=3)

    def excess(codes: np.ndarray) -> float:
        wanted = 12 * np.minimum(CLOSENESS * similarity - (1 - CLOSENESS) / 6, 0.5)
        return float(np.exp((codes @ codes.T - wanted)[~np.eye(7, dtype=bool)] / 8).sum())

    for row in range(7):
        for bit in range(12):
            flipped = centers.copy()
            flipped[row, bit] *= -1
            assert abs(flipped[:, bit].sum()) > 2 or excess(flipped) >= excess(centers) - 1e-6


def test_likeness_is_the_cosine_of_class_means_around_their_mean():
    # Means (0, 0), (4, 0) and (2, 3) around their mean (2, 1): (-2, -1), (2, -1) and (0, 2).
    features = np.array([[0.0, 1], [0, -1], [4, 0], [2, 3]], np.float32)
    similarity = class_similarity(features, np.array([0, 0, 1, 3]), num_classes=4)
    assert similarity[0, 1] == pytest.approx((-4 + 1) / 5)
    assert similarity[0, 3] == pytest.approx(-2 / 5**0.5 / 2)
    assert not similarity[2].any(), "a class without a sample"
    many = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1]], bool)
    # Means (0, 0), (4, 0) and ((0, -1) + (2, 3)) / 2 = (1, 1).
    assert class_similarity(features, many, num_classes=3)[0, 1] < 0


def test_two_classes_are_opposites():
    assert nearest(hash_centers(2, 24)) == 24


def test_one_class_has_a_centre():
    assert hash_centers(1, 8).shape == (1, 8)


def nearest(centers: np.ndarray) -> float:
    """Return the distance of the nearest pair, bits."""
    length = centers.shape[1]
    return float(((length - centers @ centers.T) / 2 + length * np.eye(len(centers))).min())
