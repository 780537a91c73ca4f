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
    probability p(s), less than 0 on average, two videos of m and n such clips have K m n 2^(-c S) segments of S points
    or more, on average. So the score of a segment is c S - log2(K m n) bits, and with less than 0 it is what chance
    makes. The score of a video is their sum.

    If pairs say what they say independently, c is the positive root of: sum of p(s) 2^(c s) = 1, and K below 1; 1 is
    taken. But clips that follow each other are alike, all the more where they overlap; and films of one camera are,
    too. So the best segments of PAIRS pairs of videos, or stretches of them, are looked at. Where more of these exceed
    one of CHECKED_BITS than should, c and K are measured, by the points that shares (QUANTILES) of them exceed: first
    by usual ones; then, without pairs that are too improbable for so few, as copies are, by rarer ones, which tell more
    about what is rare.

    Films joined from clips, in windows of 1 s every 0.5 s (phash, 64 bits), had by chance 2, 4, 6, 8 and 10 bits once
    in 2^2.5, 2^4.2, 2^5.6, 2^6.5 and 2^7.9 pairs. As if pairs were independent, it was once in 2^2.2, 2^2.9, 2^3.5,
    2^4.1 and 2^4.6, and `c3dhash duplicates` told 16 pairs of different films among 48.

Source: Karlin and Altschul 1990, PNAS 87, 2264; that c and K may be estimated from scores: Altschul and Gish 1996,
Methods in Enzymology 266, 460.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from c3dhash.bits import hamming_distances
from c3dhash.gallery.searched import SearchedCodes
from c3dhash.gallery.segments import best_sum

MATCH_SHAPE = (2.0, 5.0)  # of the distances of clips that show the same, a beta-binomial distribution
MISMATCH_POINTS = 2.0
MAX_POINTS = 20.0  # of a pair: nothing is known about a tail so far out
SAMPLE = 512  # clips; each pair of them
PAIRS, STRETCH = 1000, 64  # of videos; clips of each
MIN_PAIRS = 100  # with fewer, nothing is known of them
QUANTILES = (0.5, 0.2), (0.3, 0.05)  # shares of pairs that have so many points, or more
CHECKED_BITS = 2.0, 4.0
COPY_BITS = 3.0  # a pair that has less chance among all than one in eight is none of different films


def points_of_distances(index: SearchedCodes) -> np.ndarray:
    """Return what a clip at each distance says, float64 [hash_length + 1], falling, from -MISMATCH_POINTS up."""
    chance = chance_of_distances(index)
    points = np.log2(_match_tail(index.hash_length)) - np.log2(np.maximum(chance, 2.0**-MAX_POINTS))
    floored: np.ndarray = np.maximum(points, -MISMATCH_POINTS)
    return floored


def chance_of_distances(index: SearchedCodes) -> np.ndarray:
    """Return how probable distances up to each are, of clips of different videos: float64 [hash_length + 1].

    Measured on clips that are evenly spread over the gallery; where there is one video alone, as of few random bits.
    """
    if "chance" not in index.notes:
        hash_length = index.hash_length
        ids, codes = index.sample(SAMPLE)
        videos = index.videos_of(ids)
        distances = hamming_distances(codes, codes)[videos[:, None] != videos]
        of_random_bits = math.sqrt(hash_length) / 2
        mean = float(distances.mean()) if len(distances) else hash_length / 2
        deviation = max(of_random_bits, float(distances.std())) if len(distances) else 2 * of_random_bits
        index.notes["chance"] = np.array([
            math.erfc((mean - distance - 0.5) / deviation / math.sqrt(2)) / 2 for distance in range(hash_length + 1)
        ])  # fmt: skip
    noted: np.ndarray = index.notes["chance"]
    return noted


def share_by_chance(index: SearchedCodes, *, radius: int) -> float:
    """Return which share of the videos has a clip within a radius of any code by chance."""
    key = share_note(radius)
    if key not in index.notes:
        num_clips = np.diff(np.append(index.starts, len(index)))
        index.notes[key] = float(np.mean(1 - (1 - chance_of_distances(index)[radius]) ** num_clips))
    noted: float = index.notes[key]
    return noted


def share_note(radius: int) -> str:
    """Return under which name an index notes the share of a radius."""
    return f"share within {radius}"


class Chance(NamedTuple):
    """What makes points of a segment improbable: Note [Scores by chance].

    bits_a_point: c, above 0. log2_k: of K.
    """

    bits_a_point: float
    log2_k: float

    def bits(self, points: Any) -> Any:
        """Return how improbable a segment of so many points is, but for how many places there are for it."""
        return self.bits_a_point * points - self.log2_k


def chance_of_segments(index: SearchedCodes) -> Chance:
    """Return what segments of different videos of a gallery have by chance."""
    if "segments" not in index.notes:
        chance, (best, num_pairs) = Chance(bits_a_pair(index), 0.0), _best_points(index)
        bits = chance.bits(best) - np.log2(num_pairs)
        is_refuted = any(np.mean(bits >= checked) > 2**-checked for checked in CHECKED_BITS if len(best) >= MIN_PAIRS)
        for usual, rare in QUANTILES if is_refuted else ():
            if (fitted := _fit(best, num_pairs, usual=usual, rare=rare, start=chance)) is None:
                break
            chance = fitted
            is_usual = chance.bits(best) - np.log2(num_pairs) < math.log2(len(best)) + COPY_BITS
            best, num_pairs = best[is_usual], num_pairs[is_usual]
        index.notes["segments"] = chance
    noted: Chance = index.notes["segments"]
    return noted


def bits_a_pair(index: SearchedCodes) -> float:
    """Return how many bits of improbability a point is where pairs are independent, as one alone is; above 0."""
    points, masses = points_of_distances(index), np.diff(chance_of_distances(index), prepend=0)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if masses @ 2 ** (middle * points) < masses.sum():
            low = middle
        else:
            high = middle
    return max(low, 1e-9)  # where most clips of a gallery are alike, nothing is improbable


def _best_points(index: SearchedCodes) -> tuple[np.ndarray, np.ndarray]:
    """Return the most points on a diagonal of pairs of videos, float64 [P], and how many pairs of clips each has."""
    if index.num_videos < 2:
        return np.empty(0), np.empty(0)
    points, num_clips = points_of_distances(index), np.diff(np.append(index.starts, len(index)))
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, index.num_videos, (2, PAIRS))
    best, num_pairs = [], []
    for numbers in set(zip(first[first != second].tolist(), second[first != second].tolist(), strict=True)):
        lengths = np.minimum(num_clips[list(numbers)], STRETCH)
        starts = [index.starts[number] + rng.integers(0, num_clips[number] - length + 1)
                  for number, length in zip(numbers, lengths.tolist(), strict=True)]  # fmt: skip
        one, other = (index.codes(start, start + length) for start, length in zip(starts, lengths, strict=True))
        said = points[hamming_distances(one, other)]
        best.append(best_sum(said))
        num_pairs.append(len(one) * len(other))
    return np.array(best), np.array(num_pairs, np.float64)


def _fit(best: np.ndarray, num_pairs: np.ndarray, *, usual: float, rare: float, start: Chance) -> Chance | None:
    """Return the c and K at which such shares of pairs have as many points as they have; None where they tell none."""
    if len(best) < MIN_PAIRS or np.quantile(best, 1 - usual) <= 0:
        return None
    expected = [-math.log(1 - share) for share in (usual, rare)]  # segments of so many points, in a pair of videos
    c = start.bits_a_point
    for _ in range(20):  # what the numbers of clips are worth depends on c
        low, high = np.quantile(best - np.log2(num_pairs) / c, [1 - usual, 1 - rare]).tolist()
        if high - low < 1e-6:
            return None
        c = math.log2(expected[0] / expected[1]) / (high - low)
    return Chance(c, math.log2(expected[0]) + c * low)


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
