"""Windows of a query and clips of the gallery -> which videos show the same, by how much speaks for it.

Note [Evidence]
    A video is not known by its nearest clip: of two films with one intro, each has clips at distance 0 from the other.
    What a pair of a window and a clip at distance d says is a number of points,

        log2 P(distance >= d, where both show the same) - log2 P(distance <= d, of clips of different videos).

    The second is a normal distribution, fitted to clips of the gallery itself (`_chance`); the first a beta-binomial
    one of MATCH_SHAPE, whose long tail stands for pictures that were cropped, or coded badly, and for clips that begin
    half a stride later. Of 48 bits, a pair at distance 0 is 8 to 12 points (without and with labels), one at 19 says
    nothing, and one at 24, as unrelated clips have it, takes 2.
    A window that many videos have says less: what speaks for a video is multiplied by log((V + 1) / n) / log(V + 1),
    where n of V videos have a clip within a COMMON_SHARE of the bits, less those that chance puts there; of fewer than
    FEW_VIDEOS, V is that. It is measured on the whole gallery with every query, so nothing about it can be out of date.

    Pairs that agree on when the video begins are joined: Note [Segments] in segments.py.

    Parts of films that have an intro in common, searched for: benchmarks/parts.py. Of 40 parts each, found first:

                                nearest clip    evidence    where all windows weigh the same
        part as it is               0.50           1.00            1.00
        behind the intro            0.03           0.95            0.20
        cropped by a fifth          0.34           0.90            0.93
        160 x 120 px                0.29           0.72            0.72

    The standard error of one is 0.04 to 0.08. MATCH_SHAPE of (2, 8), (2, 12) and (2, 20) gave 1.00 / 0.95 / 0.88 /
    0.70, 0.98 / 0.93 / 0.88 / 0.65 and 0.98 / 0.93 / 0.83 / 0.68. On other films, by which this was built, COMMON_SHARE
    of half and of twice as much, and MISMATCH_POINTS of 1 and 4, changed each by 0.05 or less.

Note [Scores by chance]
    The score of a segment is the best of many sums. Where a pair of clips that have nothing in common says s with
    probability p(s), less than 0 on average, the best segment of two videos of m and n such clips reaches S with a
    probability of about m n 2^(-c S), where c is the positive root of: sum of p(s) 2^(c s) = 1. So the score of a
    segment is c S - log2(m n) bits, and with less than 0 it is what chance makes. The score of a video is their sum.
    Of real films c is 0.36; where S was summed as it is, the second and the last row above were 0.82 and 0.62.
    Source: Karlin and Altschul 1990, PNAS 87, 2264; their factor K, which is below 1, is taken for 1.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from c3dhash.bits import hamming_distances
from c3dhash.gallery.finer import finer_order
from c3dhash.gallery.index import HammingIndex, check_top
from c3dhash.gallery.segments import MIN_SEGMENT_POINTS, find_segments
from c3dhash.records import CodeBatch, SegmentMatch

MATCH_SHAPE = (2.0, 5.0)  # of the distances of clips that show the same, a beta-binomial distribution
COMMON_SHARE = 1 / 12  # of the bits: within it, a video has what the window shows
FEW_VIDEOS = 20  # of fewer than these, it does not say much that many have a window
MISMATCH_POINTS = 2.0
MAX_POINTS = 20.0  # of a pair: nothing is known about a tail so far out
CHANCE_SAMPLE = 512  # clips; each pair of them
MAX_CHANCE_PAIRS = 5_000  # a window: of large galleries only what is nearer gives votes
WINDOWS_AT_A_TIME = 16
EXAMINED, EXAMINED_PER_HIT = 100, 10  # videos whose clips are compared with all windows: those with the most votes

Times = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


class VideoEvidence(NamedTuple):
    """What speaks for a video.

    score: bits that chance does not explain, 0 or more: Note [Scores by chance]. distance: of the nearest pair of clips
    in the first segment; in all of the video where there is no segment. clip_id: of that clip. segments: those that
    chance does not explain, or else the best one; by falling score; none share a window. A query of one window has
    none: the nearest clip is all there is to tell. finer_distance: asymmetric, of a query of one window whose embedding
    is known; otherwise the distance.
    """

    score: float
    distance: int
    clip_id: int
    finer_distance: float
    segments: tuple[SegmentMatch, ...] = ()


def rank_videos(
    index: HammingIndex,
    query: CodeBatch,
    *,
    top: int,
    times: Times,
    allowed: np.ndarray | None = None,
    radius: int | None = None,
) -> list[VideoEvidence]:
    """Find the videos that most speaks for. Those that nothing speaks for follow, by distance.

    Args:
        index: is searched.
        query: the windows of a video. With a single one the distance decides; the asymmetric one where its embedding
            is known.
        top: how many videos, 1 or more.
        times: returns when the clips of a video start and end, float64 [N] each, given its first and its last clip id.
        allowed: bool [num_videos], which videos of the index may be found; None for all. What is common and what is
            chance is measured on all.
        radius: bits; a video whose distance is larger is not found. None finds any.
    Returns:
        At most `top`, by falling score, then by how improbable the best segment is, then by rising distance, then by
            clip id.
    Raises:
        UsageError: top is below 1.
        CodesError: codes of another width.
    """
    check_top(top)
    radius = index.hash_length if radius is None else radius
    allowed = np.ones(index.num_videos, bool) if allowed is None else allowed.copy()
    if len(query.codes) == 1:
        return _rank_by_distance(index, query, top=top, allowed=allowed, radius=radius)
    found = _examine(index, query, top=top, times=times, allowed=allowed, radius=radius) if len(index) else []
    if len(found) < top:
        distances, ids = _nearest(index, query, top=top - len(found), allowed=allowed, radius=radius)
        nearest = zip(distances.tolist(), ids.tolist(), strict=True)
        found += [VideoEvidence(0.0, distance, clip_id, distance) for distance, clip_id in nearest]
    return found[:top]


def _rank_by_distance(
    index: HammingIndex, query: CodeBatch, *, top: int, allowed: np.ndarray, radius: int
) -> list[VideoEvidence]:
    """Return what `rank_videos` does of a query of one window."""
    num_examined = top if query.embeddings is None else max(EXAMINED, EXAMINED_PER_HIT * top)
    distances, ids = _nearest(index, query, top=num_examined, allowed=allowed, radius=radius)
    if not len(ids):
        return []
    finer_distances = distances
    if query.embeddings is not None:
        videos = index.videos_of(ids)
        finer_distances, distances, ids = finer_order(index, query.codes[0], query.embeddings[0], videos, radius=radius)
    points, _ = weigh(index, query.codes)
    scores = bits_a_point(index) * np.maximum(0, points[0, distances])
    rows = (scores, distances, ids, finer_distances)
    return list(map(VideoEvidence, *(row.tolist() for row in rows)))[:top]


def _nearest(
    index: HammingIndex, query: CodeBatch, *, top: int, allowed: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and clip ids of the nearest videos, as `HammingIndex.search_videos`, within a radius."""
    distances, ids = index.search_videos(query.codes, top=top, allowed=allowed)
    return distances[distances <= radius], ids[distances <= radius]


def _examine(
    index: HammingIndex, query: CodeBatch, *, top: int, times: Times, allowed: np.ndarray, radius: int
) -> list[VideoEvidence]:
    """Look for segments in the videos with the most votes, as long as these could bring them among the first.

    Args:
        allowed: bool [V]; those that have segments are taken out, found or too far.
    """
    points, votes = weigh(index, query.codes)
    found: list[tuple[float, VideoEvidence]] = []
    scores: list[float] = []  # rising
    voted = np.flatnonzero((votes >= MIN_SEGMENT_POINTS) & allowed)
    voted = voted[np.argsort(-votes[voted], kind="stable")]
    most_bits = bits_a_point(index) * votes - math.log2(max(1, len(query.codes)))
    for video in voted[: max(EXAMINED, EXAMINED_PER_HIT * top)].tolist():
        if len(scores) >= top and 0 < scores[-top] > most_bits[video]:
            break
        ids, clips = clips_of(index, video, times)
        segments, best_bits = scored_segments(index, points, query, clips)
        if not segments:
            continue
        allowed[video] = False
        nearest, place = segments[0]
        if nearest.distance <= radius:
            score = sum(segment.score for segment, _ in segments)
            insort(scores, score)
            told = tuple(each for each, _ in segments)
            evidence = VideoEvidence(score, nearest.distance, int(ids[place]), nearest.distance, told)
            found.append((best_bits, evidence))
    found.sort(key=lambda each: (-each[1].score, -each[0], each[1].distance, each[1].clip_id))
    return [evidence for _, evidence in found]


def clips_of(index: HammingIndex, video: int, times: Times) -> tuple[np.ndarray, CodeBatch]:
    """Return the ids, int64 [N], and the clips of a video of the index."""
    ids, codes = index.video(video)
    return ids, CodeBatch(codes, index.hash_length, *times(int(ids[0]), int(ids[-1])))


def scored_segments(
    index: HammingIndex, points: np.ndarray, query: CodeBatch, clips: CodeBatch
) -> tuple[list[tuple[SegmentMatch, int]], float]:
    """Find the segments of a query and a video that chance does not explain; or, where it explains all, the best one.

    Args:
        points: of the windows of the query, as of `weigh`.
    Returns:
        What `segments.find_segments` does, with scores as in Note [Scores by chance], the last one's 0; and how
        improbable the first one is alone, in bits, 0 where there is none.
    """
    found = find_segments(points, query, clips)
    if not found:
        return [], 0.0
    scale, by_chance = bits_a_point(index), math.log2(len(query.codes) * len(clips.codes))
    scored = [(replace(each, score=max(0.0, scale * each.score - by_chance)), place) for each, place in found]
    return [each for each in scored if each[0].score > 0] or scored[:1], scale * found[0][0].score


def weigh(
    index: HammingIndex, codes: np.ndarray, *, max_chance_pairs: int = MAX_CHANCE_PAIRS
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a clip at each distance from each window says, and how much could speak for each video at most.

    Args:
        codes: of the windows, uint8 [Q, ceil(hash_length / 8)].
        max_chance_pairs: pairs of a window that chance makes; of larger galleries only what is nearer gives votes.
    Returns:
        bits: float64 [Q, hash_length + 1], falling, from -MISMATCH_POINTS up. Note [Evidence].
        votes: float64 [V], of each video of the index the sum over the windows of the bits of its nearest clip, as far
            as they are above 0.
    """
    chance, by_chance = _chance(index)
    said = _said(index)
    is_looked_at = (said > 0) & (chance * len(index) <= max_chance_pairs)
    radius = max(0, int(np.count_nonzero(is_looked_at)) - 1)
    common, num_videos = min(radius, _common(index)), index.num_videos
    if len(codes) == 1:
        radius = common  # nothing asks for votes
    bits, votes = np.empty((len(codes), len(said))), np.zeros(num_videos)
    for first in range(0, len(codes), WINDOWS_AT_A_TIME):
        block = codes[first : first + WINDOWS_AT_A_TIME]
        windows, videos, distances = index.near_videos(block, radius=radius)
        num_near = np.bincount(windows[distances <= common], minlength=len(block))
        weights = window_weights(num_near, num_videos=num_videos, by_chance=by_chance)
        table = np.where(said > 0, weights[:, None] * said, said)
        bits[first : first + len(block)] = table
        votes += np.bincount(videos, weights=np.maximum(0, table[windows, distances]), minlength=num_videos)
    return bits, votes


def bits_a_point(index: HammingIndex) -> float:
    """Return how many bits of improbability a point of a segment stands for, above 0: Note [Scores by chance]."""
    if "bits a point" in index.notes:
        noted: float = index.notes["bits a point"]
        return noted
    said, (chance, _) = _said(index), _chance(index)
    masses = np.diff(chance, prepend=0)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if masses @ 2 ** (middle * said) < masses.sum():
            low = middle
        else:
            high = middle
    scale = max(low, 1e-9)  # where most clips of a gallery are alike, nothing is improbable
    index.notes["bits a point"] = scale
    return scale


def window_weights(num_near: np.ndarray, *, num_videos: int, by_chance: float) -> np.ndarray:
    """Return how much of what speaks for a video counts, of each window: float64 [Q], above 0 to 1. Note [Evidence].

    Args:
        num_near: how many videos have a clip within COMMON_SHARE, int64 [Q].
        by_chance: the share of videos that would have one by chance.
    """
    beyond_chance = (num_near - num_videos * by_chance) / max(1 - by_chance, 1e-9)
    of_many = max(num_videos, FEW_VIDEOS)
    shares = np.clip(beyond_chance, 1, num_videos) / (of_many + 1)
    weights: np.ndarray = -np.log(shares) / math.log(of_many + 1)
    return weights


def _said(index: HammingIndex) -> np.ndarray:
    """Return what a clip at each distance says, float64 [hash_length + 1], falling. Note [Evidence]."""
    chance, _ = _chance(index)
    said = np.log2(_match_tail(index.hash_length)) - np.log2(np.maximum(chance, 2.0**-MAX_POINTS))
    floored: np.ndarray = np.maximum(said, -MISMATCH_POINTS)
    return floored


def _common(index: HammingIndex) -> int:
    return round(COMMON_SHARE * index.hash_length)


def _chance(index: HammingIndex) -> tuple[np.ndarray, float]:
    """Return how probable distances up to each are, of clips of different videos, and how many are near by chance.

    Measured on clips that are evenly spread over the gallery; where there is one video alone, as of few random bits.

    Returns:
        float64 [hash_length + 1]; the share of videos that have a clip within COMMON_SHARE of any code by chance.
    """
    if "chance" not in index.notes:
        hash_length = index.hash_length
        ids, codes = index.sample(CHANCE_SAMPLE)
        videos = index.videos_of(ids)
        distances = hamming_distances(codes, codes)[videos[:, None] != videos]
        of_random_bits = math.sqrt(hash_length) / 2
        mean = float(distances.mean()) if len(distances) else hash_length / 2
        deviation = max(of_random_bits, float(distances.std())) if len(distances) else 2 * of_random_bits
        chance = np.array([
            math.erfc((mean - distance - 0.5) / deviation / math.sqrt(2)) / 2 for distance in range(hash_length + 1)
        ])  # fmt: skip
        num_clips = np.diff(np.append(index.starts, len(index)))
        by_chance = float(np.mean(1 - (1 - chance[_common(index)]) ** num_clips))
        index.notes["chance"] = chance, by_chance
    noted: tuple[np.ndarray, float] = index.notes["chance"]
    return noted


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
