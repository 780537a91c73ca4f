"""Windows of a query and clips of the gallery -> which videos show the same, by how much speaks for it.

Note [Evidence]
    A video is not known by its nearest clip: of two films with one intro, each has clips at distance 0 from the other.
    What a pair of a window and a clip at distance d says is a number of points: Note [Points] in chance.py.
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

    The standard error of one is 0.04 to 0.08. On other films, by which this was built, COMMON_SHARE of half and of
    twice as much changed each by 0.05 or less.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from c3dhash.gallery.chance import (
    Chance,
    bits_a_pair,
    chance_of_distances,
    chance_of_segments,
    points_of_distances,
    share_by_chance,
    share_note,
)
from c3dhash.gallery.finer import finer_order
from c3dhash.gallery.index import check_top
from c3dhash.gallery.searched import Allowed, SearchedCodes
from c3dhash.gallery.segments import MIN_SEGMENT_POINTS, SPEEDS, find_at_any_speed, find_segments, most_points
from c3dhash.records import CodeBatch, SegmentMatch

COMMON_SHARE = 1 / 12  # of the bits: within it, a video has what the window shows
FEW_VIDEOS = 20  # of fewer than these, it does not say much that many have a window
MAX_CHANCE_PAIRS = 5_000  # a window: of large galleries only what is nearer gives votes
WINDOWS_AT_A_TIME = 16
EXAMINED, EXAMINED_PER_HIT = 100, 10  # videos whose clips are compared with all windows: those with the most votes

Times = Callable[[int, int], tuple[np.ndarray, np.ndarray]]
SearchVideos = Callable[..., tuple[np.ndarray, np.ndarray]]  # as `HammingIndex.search_videos`


class VideoEvidence(NamedTuple):
    """What speaks for a video.

    score: bits that chance does not explain, 0 or more: Note [Scores by chance] in chance.py. distance: of the nearest
    pair of clips in the first segment; in all of the video where there is no segment. clip_id: of that clip. segments:
    those that chance does not explain, or else the best one; by falling score; none share a window. A query of one
    window has none: the nearest clip is all there is to tell. finer_distance: asymmetric, of a query of one window
    whose embedding is known; otherwise the distance.
    """

    score: float
    distance: int
    clip_id: int
    finer_distance: float
    segments: tuple[SegmentMatch, ...] = ()


def rank_videos(
    index: SearchedCodes,
    query: CodeBatch,
    *,
    top: int,
    times: Times,
    allowed: Allowed | None = None,
    radius: int | None = None,
    any_speed: bool = False,
    search_videos: SearchVideos | None = None,
) -> list[VideoEvidence]:
    """Find the videos that most speaks for. Those that nothing speaks for follow, by distance.

    Args:
        index: is searched.
        query: the windows of a video. With a single one the distance decides; the asymmetric one where its embedding
            is known.
        top: how many videos, 1 or more.
        times: returns when the clips of a video start and end, float64 [N] each, given its first and its last clip id.
        allowed: bool [num_videos], which videos of the index may be found; None for all. What is common and what is
            chance is measured on all. Those whose segments were looked at are taken out.
        radius: bits; a video whose distance is larger is not found. None finds any.
        any_speed: also look for segments that are slower or faster in the query.
        search_videos: finds the nearest videos in the place of the index, as an approximate one does. How many videos
            are near a window, and with that which have votes, is counted in the index in any case: a count of what
            was found would say of each window that fewer have it.
    Returns:
        At most `top`, by falling score, then by how improbable the best segment is, then by rising distance, then by
            clip id.
    Raises:
        UsageError: top is below 1.
        CodesError: codes of another width.
    """
    check_top(top)
    radius = index.hash_length if radius is None else radius
    nearest = partial(_nearest, search_videos or index.search_videos, radius=radius)
    if allowed is None:
        allowed = np.ones(index.num_videos, bool)
    if len(query.codes) == 1:
        return _rank_by_distance(index, query, nearest, top=top, allowed=allowed, radius=radius)
    found = []
    if len(index):
        found = _examine(index, query, top=top, times=times, allowed=allowed, radius=radius, any_speed=any_speed)
    if len(found) < top:
        distances, ids = nearest(query, top=top - len(found), allowed=allowed)
        rest = zip(distances.tolist(), ids.tolist(), strict=True)
        found += [VideoEvidence(0.0, distance, clip_id, distance) for distance, clip_id in rest]
    return found[:top]


def _rank_by_distance(
    index: SearchedCodes, query: CodeBatch, nearest: SearchVideos, *, top: int, allowed: Allowed, radius: int
) -> list[VideoEvidence]:
    """Return what `rank_videos` does of a query of one window."""
    num_examined = top if query.embeddings is None else max(EXAMINED, EXAMINED_PER_HIT * top)
    distances, ids = nearest(query, top=num_examined, allowed=allowed)
    if not len(ids):
        return []
    finer_distances = distances
    if query.embeddings is not None:
        videos = index.videos_of(ids)
        finer_distances, distances, ids = finer_order(index, query.codes[0], query.embeddings[0], videos, radius=radius)
    points, _ = weigh(index, query.codes)
    scores = bits_a_pair(index) * np.maximum(0, points[0, distances])
    rows = (scores, distances, ids, finer_distances)
    return list(map(VideoEvidence, *(row.tolist() for row in rows)))[:top]


def _nearest(
    search_videos: SearchVideos, query: CodeBatch, *, top: int, allowed: Allowed, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and clip ids of the nearest videos, as `HammingIndex.search_videos`, within a radius."""
    distances, ids = search_videos(query.codes, top=top, allowed=allowed)
    return distances[distances <= radius], ids[distances <= radius]


def _examine(
    index: SearchedCodes,
    query: CodeBatch,
    *,
    top: int,
    times: Times,
    allowed: Allowed,
    radius: int,
    any_speed: bool,
) -> list[VideoEvidence]:
    """Look for segments in the videos with the most votes, as long as these could bring them among the first.

    Args:
        allowed: bool [V]; those that have segments are taken out, found or too far.
    """
    points, votes = weigh(index, query.codes)
    found: list[tuple[float, VideoEvidence]] = []
    scores: list[float] = []  # rising
    voted = np.flatnonzero(votes >= MIN_SEGMENT_POINTS)
    voted = voted[np.argsort(-votes[voted], kind="stable")]
    voted = voted[allowed[voted]]
    most_bits = chance_of_segments(index).bits(votes) - math.log2(max(1, len(query.codes)))
    for video in voted[: max(EXAMINED, EXAMINED_PER_HIT * top)].tolist():
        if len(scores) >= top and 0 < scores[-top] > most_bits[video]:
            break
        ids, clips = clips_of(index, video, times)
        segments, best_bits = scored_segments(index, points, query, clips, any_speed=any_speed)
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


def clips_of(index: SearchedCodes, video: int, times: Times) -> tuple[np.ndarray, CodeBatch]:
    """Return the ids, int64 [N], and the clips of a video of the index."""
    ids, codes = index.video(video)
    return ids, CodeBatch(codes, index.hash_length, *times(int(ids[0]), int(ids[-1])))


def scored_segments(
    index: SearchedCodes, points: np.ndarray, query: CodeBatch, clips: CodeBatch, *, any_speed: bool = False
) -> tuple[list[tuple[SegmentMatch, int]], float]:
    """Find the segments of a query and a video that chance does not explain; or, where it explains all, the best one.

    Args:
        points: of the windows of the query, as of `weigh`.
        any_speed: take another speed than 1 where it makes the first one more improbable by more than the choice among
            SPEEDS does, whose bits are taken off.
    Returns:
        What `segments.find_segments` does, with scores as in Note [Scores by chance], the last one's 0; and how
        improbable the first one is alone, in bits, 0 where there is none.
    """
    found, chance = find_segments(points, query, clips), chance_of_segments(index)
    places = math.log2(len(query.codes) * len(clips.codes))
    if any_speed and len(clips.codes) > 1:
        of_speeds = math.log2(len(SPEEDS))
        usual = max(chance.bits(found[0][0].score) if found else 0.0, places)
        if chance.bits(most_points(points, query, clips)) - of_speeds > usual:
            other = find_at_any_speed(points, query, clips)
            if other and chance.bits(other[0][0].score) - of_speeds > usual:
                found, places = other, places + of_speeds
    if not found:
        return [], 0.0
    scored = [(replace(each, score=max(0.0, chance.bits(each.score) - places)), place) for each, place in found]
    return [each for each in scored if each[0].score > 0] or scored[:1], chance.bits(found[0][0].score)


def weigh(
    index: SearchedCodes, codes: np.ndarray, *, max_chance_pairs: int = MAX_CHANCE_PAIRS
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a clip at each distance from each window says, and how much could speak for each video at most.

    Args:
        codes: of the windows, uint8 [Q, ceil(hash_length / 8)].
        max_chance_pairs: pairs of a window that chance makes; of larger galleries only what is nearer gives votes.
    Returns:
        bits: float64 [Q, hash_length + 1], falling, from -MISMATCH_POINTS up. Note [Evidence].
        votes: float64 [n], of each video of the index the sum over the windows of the bits of its nearest clip, as far
            as they are above 0; up to the last video that has some.
    """
    chance, said, num_videos = chance_of_distances(index), points_of_distances(index), index.num_videos
    is_looked_at = (said > 0) & (chance * len(index) <= max_chance_pairs)
    radius = max(0, int(np.count_nonzero(is_looked_at)) - 1)
    common = common_radius(index.hash_length)
    by_chance, common = share_by_chance(index, radius=common), min(radius, common)
    if len(codes) == 1:
        radius = common  # nothing asks for votes
    bits, votes = np.empty((len(codes), len(said))), np.zeros(0)
    for first in range(0, len(codes), WINDOWS_AT_A_TIME):
        block = codes[first : first + WINDOWS_AT_A_TIME]
        windows, videos, distances = index.near_videos(block, radius=radius)
        num_near = np.bincount(windows[distances <= common], minlength=len(block))
        weights = window_weights(num_near, num_videos=num_videos, by_chance=by_chance)
        table = np.where(said > 0, weights[:, None] * said, said)
        bits[first : first + len(block)] = table
        said_of_videos = np.bincount(videos, weights=np.maximum(0, table[windows, distances]), minlength=len(votes))
        votes = np.pad(votes, (0, len(said_of_videos) - len(votes))) + said_of_videos
    return bits, votes


def common_radius(hash_length: int) -> int:
    """Return within how many bits a video has what a window shows."""
    return round(COMMON_SHARE * hash_length)


def measure(index: SearchedCodes) -> dict[str, Any]:
    """Return what is measured on a gallery itself before it is searched, as JSON values: what `notes_of` takes."""
    share = share_by_chance(index, radius=common_radius(index.hash_length))
    return {
        "chance": chance_of_distances(index).tolist(),
        "segments": list(chance_of_segments(index)),
        "share": share,
    }


def notes_of(measured: Mapping[str, Any], *, hash_length: int) -> dict[str, Any]:
    """Return the notes of codes on which `measure` measured that, so that it is not measured again."""
    return {
        "chance": np.array(measured["chance"], np.float64),
        "segments": Chance(*measured["segments"]),
        share_note(common_radius(hash_length)): float(measured["share"]),
    }


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
