from __future__ import annotations

import numpy as np

from c3dhash.gallery.layout import map_places, spread_evenly


def test_two_groups_lie_apart_and_equal_codes_together():
    """By hand: bits 0 to 7 tell the groups apart, bit 8 a pair within the first."""
    codes = np.array([[0xFF, 0x00], [0xFF, 0x80], [0x00, 0x00], [0x00, 0x00]], np.uint8)
    places = map_places(codes, hash_length=16)
    assert abs(places).max() == 1 and np.allclose(places.mean(axis=0), 0)
    assert np.allclose(places[2], places[3])
    assert abs(places[0, 0] - places[2, 0]) > 5 * abs(places[0, 0] - places[1, 0])
    assert np.array_equal(places, map_places(codes, hash_length=16))


def test_nothing_and_all_the_same():
    assert map_places(np.zeros((0, 1), np.uint8), hash_length=8).shape == (0, 2)
    assert not map_places(np.full((5, 1), 7, np.uint8), hash_length=8).any()
    assert map_places(np.array([[0x00], [0x80]], np.uint8), hash_length=1).tolist() == [[-1, 0], [1, 0]]


def test_items_are_chosen_evenly():
    assert spread_evenly(3, most=5).tolist() == [0, 1, 2]
    assert spread_evenly(10, most=4).tolist() == [0, 2, 5, 7]
    assert spread_evenly(0).tolist() == []
