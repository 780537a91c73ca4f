"""Clips of a gallery -> what a distance between two clips says, and what chance makes of it.

Note [Points]
    What a pair of a window and a clip at distance d says is a number of points,

        log2 P(distance >= d, where both show the same) - log2 P(distance <= d, of clips of different videos).

    The second is a normal distribution, fitted to clips of the gallery itself; the first a beta-binomial one of
    MATCH_SHAPE, whose long tail stands for pictures that were cropped, or coded badly, and for clips that begin half a
    stride later. Of 48 bits, a pair at distance 0 is 8 to 12 points (without and with labels), one at 19 says nothing,
    and one at 24, as unrelated clips have it, takes 2.

    In benchmarks/parts.py, MATCH_SHAPE of (2, 8), (2, 12) and (2, 20) found 1.00 / 0.95 / 0.88 / 0.70, 0.98 / 0.93 /
    0.88 / 0.65 and 0.98 / 0.93 / 0.83 / 0.68, in the order of the table in evidence.py. On other films, by which this
    was built, MISMATCH_POINTS of 1 and 4 changed each by 0.05 or less.

Note [Scores by chance]
    The score of a segment is the best of many sums. Where a pair of clips that have nothing in common says s with
    probability p(s), less than 0 on average, the best segment of two videos of m and n such clips reaches S with a
    probability of about m n 2^(-c S), where c is the positive root of: sum of p(s) 2^(c s) = 1. So the score of a
    segment is c S - log2(m n) bits, and with less than 0 it is what chance makes. The score of a video is their sum.
    Of real films c is 0.36; where S was summed as it is, two of the four rows in evidence.py were 0.82 and 0.62.

    That holds for pairs that say what they say independently. But clips that follow each other are alike, all the more
    where they overlap, and sums of them scatter more. By how much, the design effect, is measured on stretches of
    STRETCH clips of different videos beside each other; of a normal process, c is smaller by just that. Variances are
    those of what lies between the tenths at both ends, as a gallery may be full of copies.
    Of films of 12 s in windows of 1 s every 0.5 s (phash, 64 bits) it is 2.0; without it, 16 pairs of different films
    among 48, of one camera each, passed for pairs with a part in common (c3dhash duplicates).

Sources: Karlin and Altschul 1990, PNAS 87, 2264; their factor K, which is below 1, is taken for 1. Kish 1965, Survey
Sampling (design effect).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from c3dhash.bits import hamming_distances
from c3dhash.gallery.index import HammingIndex

MATCH_SHAPE = (2.0, 5.0)  # of the distances of clips that show the same, a beta-binomial distribution
MISMATCH_POINTS = 2.0
MAX_POINTS = 20.0  # of a pair: nothing is known about a tail so far out
SAMPLE = 512  # clips; each pair of them
STRETCH, STRETCHES = 8, 256
MIN_PAIRS = 100  # of stretches; with fewer, nothing is known about sums


def points_of_distances(index: HammingIndex) -> np.ndarray:
    """Return what a clip at each distance says, float64 [hash_length + 1], falling, from -MISMATCH_POINTS up."""
    chance = chance_of_distances(index)
    points = np.log2(_match_tail(index.hash_length)) - np.log2(np.maximum(chance, 2.0**-MAX_POINTS))
    floored: np.ndarray = np.maximum(points, -MISMATCH_POINTS)
    return floored


def chance_of_distances(index: HammingIndex) -> np.ndarray:
    """Return how probable distances up to each are, of clips of different videos: float64 [hash_length + 1].

    Measured on clips that are evenly spread over the gallery; where there is one video alone, as of few random bits.
    """
    if "chance" not in index.notes:
        hash_length = index.hash_length
        ids, codes = index.sample(SAMPLE)
        videos = index.videos_of(ids)[:, 0]
        distances = hamming_distances(codes[:, 0], codes[:, 0])[videos[:, None] != videos]
        of_random_bits = math.sqrt(hash_length) / 2
        mean = float(distances.mean()) if len(distances) else hash_length / 2
        deviation = max(of_random_bits, float(distances.std())) if len(distances) else 2 * of_random_bits
        index.notes["chance"] = np.array([
            math.erfc((mean - distance - 0.5) / deviation / math.sqrt(2)) / 2 for distance in range(hash_length + 1)
        ])  # fmt: skip
    noted: np.ndarray = index.notes["chance"]
    return noted


def share_by_chance(index: HammingIndex, *, radius: int) -> float:
    """Return which share of the videos has a clip within a radius of any code by chance."""
    key = f"share within {radius}"
    if key not in index.notes:
        num_clips = np.diff(np.append(index.starts, len(index)))
        index.notes[key] = float(np.mean(1 - (1 - chance_of_distances(index)[radius]) ** num_clips))
    noted: float = index.notes[key]
    return noted


def bits_a_point(index: HammingIndex) -> float:
    """Return how many bits of improbability a point of a segment stands for, above 0: Note [Scores by chance]."""
    if "bits a point" in index.notes:
        noted: float = index.notes["bits a point"]
        return noted
    points, masses = points_of_distances(index), np.diff(chance_of_distances(index), prepend=0)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if masses @ 2 ** (middle * points) < masses.sum():
            low = middle
        else:
            high = middle
    scale = max(low, 1e-9)  # where most clips of a gallery are alike, nothing is improbable
    index.notes["bits a point"] = scale / design_effect(index)
    return bits_a_point(index)


def design_effect(index: HammingIndex) -> float:
    """Return how many times the variance of sums of distances is that of independent ones: Note [Scores by chance].

    Sums are over clips that follow each other in two videos. 1 where they vary less, or too few videos have STRETCH
    clips.
    """
    ids, codes = index.sample(STRETCHES, length=STRETCH)
    videos = index.videos_of(ids[:, 0])
    is_pair = videos[:, None] < videos
    if np.count_nonzero(is_pair) < MIN_PAIRS:
        return 1.0
    distances = np.stack([hamming_distances(each, each)[is_pair] for each in codes.swapaxes(0, 1)])  # [STRETCH, pairs]
    of_one, of_sums = _middle_variance(distances), _middle_variance(distances.sum(axis=0))
    return max(1.0, of_sums / (STRETCH * of_one))


def _middle_variance(values: np.ndarray) -> float:
    """Return the variance of whole numbers, those below the first and above the last tenth moved there."""
    spread = values + np.random.default_rng(0).uniform(-0.5, 0.5, values.shape)  # else a tenth ends between two of them
    return float(np.clip(spread, *np.percentile(spread, [10, 90])).var())


@lru_cache
def _match_tail(hash_length: int) -> np.ndarray:
    """Return how probable distances from each on are, of clips that show the same: float64 [hash_length + 1]."""
    a, b = MATCH_SHAPE

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    mass = [
        math.comb(hash_length, distance) * math.exp(log_beta(distance + a, hash_length - distance + b) - log_beta(a, b))
        for distance in range(hash_length + 1)
    ]
    tail: np.ndarray = np.maximum(np.cumsum(mass[::-1])[::-1], np.finfo(float).tiny)
    return tail
