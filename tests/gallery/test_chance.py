"""What chance makes of the distances between clips of a gallery."""

from __future__ import annotations

import numpy as np
import pytest
from random_codes import BITS, flipped, random_codes

from c3dhash.bits import hamming_distances
from c3dhash.gallery import chance
from c3dhash.gallery.chance import Chance, bits_a_pair, chance_of_segments, points_of_distances
from c3dhash.gallery.index import HammingIndex


def index_of(videos: list[np.ndarray]) -> HammingIndex:
    index = HammingIndex(BITS)
    num_clips = np.array([len(codes) for codes in videos], np.int64)
    index.add(videos, first_ids=1 + np.cumsum(num_clips) - num_clips, num_clips=num_clips)
    return index


def shots(rng: np.random.Generator, *, num: int, clips: int) -> np.ndarray:
    """Clips of which each shot of `clips` are nearly the same."""
    return flipped(rng, random_codes(rng, num).repeat(clips, axis=0), 0.05)


def test_independent_pairs_are_taken_for_that():
    """c by its definition: sum of p(s) 2^(c s) = 1."""
    rng = np.random.default_rng(0)
    index = index_of([random_codes(rng, 20) for _ in range(50)])
    found = chance_of_segments(index)
    assert found == Chance(bits_a_pair(index), 0.0)
    masses = np.diff(chance.chance_of_distances(index), prepend=0)
    assert masses @ 2 ** (found.bits_a_point * points_of_distances(index)) == pytest.approx(masses.sum())


def measured(index: HammingIndex, videos: list[np.ndarray]) -> np.ndarray:
    """How improbable the best segments of all pairs are said to be, float64 [P]."""
    said, found = points_of_distances(index), chance_of_segments(index)
    pairs = [(one, other) for place, one in enumerate(videos) for other in videos[:place]]
    best = np.array([best_by_hand(said[hamming_distances(one, other)]) for one, other in pairs])
    return found.bits(best) - np.log2([len(one) * len(other) for one, other in pairs])


def best_by_hand(said: np.ndarray) -> float:
    best = 0.0
    for line in range(-len(said) + 1, said.shape[1]):
        held = 0.0
        for value in said.diagonal(line).tolist():
            held = max(0.0, held + value)
            best = max(best, held)
    return best


def test_clips_that_follow_each_other_are_alike():
    """c and K are such that scores are as improbable as they say, of videos of all lengths."""
    rng = np.random.default_rng(1)
    videos = [shots(rng, num=int(num), clips=4) for num in rng.integers(3, 12, 80)]
    index = index_of(videos)
    found = chance_of_segments(index)
    assert found.bits_a_point < 0.7 * bits_a_pair(index) and found.log2_k < 0
    bits = measured(index, videos)
    for checked in (2, 4, 6):
        assert np.log2(np.mean(bits >= checked)) == pytest.approx(-checked, abs=1)


def test_copies_do_not_pass_for_chance():
    """A gallery may be full of them: of 80 videos 16 show one film."""
    rng = np.random.default_rng(2)
    own = [shots(rng, num=6, clips=4) for _ in range(80)]
    film = shots(rng, num=6, clips=4)
    copies = own[16:] + [flipped(rng, film, 0.05) for _ in range(16)]
    without, with_copies = chance_of_segments(index_of(own)), chance_of_segments(index_of(copies))
    assert with_copies.bits_a_point == pytest.approx(without.bits_a_point, rel=0.25)
    assert with_copies.bits(200.0) > 30


@pytest.mark.parametrize("videos", [[20], [20] * 3, [1] * 30])
def test_of_few_or_short_videos_little_is_known(videos):
    rng = np.random.default_rng(3)
    index = index_of([random_codes(rng, 1).repeat(clips, axis=0) for clips in videos])
    assert chance_of_segments(index).log2_k == 0


def test_where_all_clips_are_the_same():
    codes = np.zeros((20, BITS // 8), np.uint8)
    assert chance_of_segments(index_of([codes] * 30)).bits(100.0) < 1


@pytest.mark.parametrize("hash_length", [1, 8, 16, 48, 64, 256, 1000])
def test_the_tail_of_matches(hash_length):
    """Against sums of products, the definition of a beta-binomial distribution."""
    a, b = chance.MATCH_SHAPE
    tail = chance._match_tail(hash_length)
    assert tail.shape == (hash_length + 1,) and tail[0] == pytest.approx(1)
    assert (np.diff(tail) <= 0).all() and tail[-1] > 0
    rng = np.random.default_rng(0)
    draws = rng.binomial(hash_length, rng.beta(a, b, 200_000))
    for distance in range(0, hash_length + 1, max(1, hash_length // 6)):
        assert tail[distance] == pytest.approx((draws >= distance).mean(), abs=0.005)
