"""What chance makes of the distances between clips of a gallery."""

from __future__ import annotations

import numpy as np
import pytest
from random_codes import BITS, flipped, random_codes

from c3dhash.bits import hamming_distances
from c3dhash.gallery import chance
from c3dhash.gallery.chance import STRETCH, design_effect
from c3dhash.gallery.index import HammingIndex


def index_of(videos: list[np.ndarray]) -> HammingIndex:
    index = HammingIndex(BITS)
    num_clips = np.array([len(codes) for codes in videos], np.int64)
    index.add(videos, first_ids=1 + np.cumsum(num_clips) - num_clips, num_clips=num_clips)
    return index


def shots(rng: np.random.Generator, *, num: int, clips: int) -> np.ndarray:
    """Clips of which each shot of `clips` are nearly the same."""
    return flipped(rng, random_codes(rng, num).repeat(clips, axis=0), 0.05)


def test_independent_clips_have_none():
    rng = np.random.default_rng(0)
    index = index_of([random_codes(rng, 20) for _ in range(50)])
    assert 1 <= design_effect(index) < 1.1


def test_clips_that_follow_each_other_are_alike():
    """Of every stretch of every pair of videos, from its definition."""
    rng = np.random.default_rng(1)
    videos = [shots(rng, num=5, clips=4) for _ in range(50)]
    sums, singles = [], []
    for number, codes in enumerate(videos):
        for other in videos[:number]:
            distances = hamming_distances(codes, other)
            singles.append(distances.ravel())
            for first in range(len(codes) - STRETCH + 1):
                for place in range(len(other) - STRETCH + 1):
                    sums.append(distances[first : first + STRETCH, place : place + STRETCH].trace())
    expected = np.var(sums) / STRETCH / np.var(np.concatenate(singles))
    assert expected > 1.7
    assert design_effect(index_of(videos)) == pytest.approx(expected, rel=0.1)


def test_copies_do_not_pass_for_it():
    """A gallery may be full of them: of 60 videos here, 20 show one film."""
    rng = np.random.default_rng(2)
    film = random_codes(rng, 20)
    videos = [random_codes(rng, 20) for _ in range(40)] + [flipped(rng, film, 0.05) for _ in range(20)]
    index = index_of(videos)
    assert 1 <= design_effect(index) < 1.3
    distances = hamming_distances(film, videos[-1])
    assert distances.trace() < 5 * len(film), "without care, their sums would scatter most of all"


@pytest.mark.parametrize("videos", [[], [20], [7] * 100, [8, 8, 8], [1] * 30])
def test_of_few_stretches_nothing_is_known(videos):
    rng = np.random.default_rng(3)
    assert design_effect(index_of([random_codes(rng, 1).repeat(clips, axis=0) for clips in videos])) == 1


def test_where_all_clips_are_the_same():
    codes = np.zeros((20, BITS // 8), np.uint8)
    assert design_effect(index_of([codes] * 30)) == 1


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
