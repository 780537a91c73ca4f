"""All videos of a gallery -> those pairs of them that show the same, somewhere.

Note [Pairs by chance]
    Of G clips there are G (G - 1) / 2 pairs, and a segment that chance makes once in so many is found in every gallery.
    So a segment must be that improbable, and RARE_BITS more, by which one gallery in 64 has one by chance alone.
    How improbable a score is: Note [Scores by chance] in chance.py. A single pair of clips says some bits, and a film
    of one window is therefore never told from the many that are only alike: a gallery for duplicates is cut into
    short windows, or somebody looks at what lies within a radius.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from c3dhash.bits import hamming_distances
from c3dhash.gallery.chance import chance_of_segments
from c3dhash.gallery.evidence import Times, clips_of, scored_segments, weigh
from c3dhash.gallery.index import HammingIndex
from c3dhash.records import CodeBatch, SegmentMatch

RARE_BITS = 6.0
MAX_CHANCE_PAIRS = 500  # a window: of large galleries, only what is nearer leads to a video


class Pair(NamedTuple):
    """Two videos that show the same, somewhere.

    first, second: their numbers in the index. segments: the stretches that agree, by falling score; what a SegmentMatch
    calls the query is the first. first_share, second_share: how much of the time of the clips of each is in them.
    is_mirrored: one of them is in a mirror.
    """

    first: int
    second: int
    segments: tuple[SegmentMatch, ...]
    first_share: float
    second_share: float
    is_mirrored: bool = False

    def turned(self) -> Pair:
        """Return the same with the second video as the query."""
        segments = tuple(
            replace(
                each,
                query_start_seconds=each.start_seconds,
                query_end_seconds=each.end_seconds,
                start_seconds=each.query_start_seconds,
                end_seconds=each.query_end_seconds,
                speed=1 / each.speed,
            )
            for each in self.segments
        )
        return Pair(self.second, self.first, segments, self.second_share, self.first_share, self.is_mirrored)


def needed_bits(num_pairs: float) -> float:
    """Return how improbable a segment must be among so many pairs of clips, in bits: Note [Pairs by chance]."""
    return RARE_BITS + math.log2(max(1, num_pairs))


def matching_pairs(
    index: HammingIndex,
    *,
    times: Times,
    contents: Sequence[str],
    radius: int | None = None,
    mirror_mask: np.ndarray | None = None,
    on_video: Callable[[], object] = lambda: None,
) -> Iterator[Pair]:
    """Find the pairs of videos that have a segment in common.

    Each video is searched for among those behind it in the index, as it is and, where that is asked for, in a mirror,
    which makes twice as many pairs; memory does not grow with their number.

    Args:
        index: all videos.
        times: as of `evidence.rank_videos`.
        contents: of each video; two with the same are always a pair, but for "", which is not known.
        radius: bits; in the place of `needed_bits`, a segment counts whose nearest clips are as near. So do two videos
            of which one has a single clip, if that is as near.
        mirror_mask: the bits that a mirror turns over, uint8 [ceil(hash_length / 8)]; None looks for no mirror images.
        on_video: called when a video was searched for.
    Yields:
        Pairs in the order of (first, second), each once: of a video and its mirror image, what has the higher score.
    """
    if not len(index):
        return
    num_pairs = len(index) * (len(index) - 1) / 2
    needed = needed_bits(num_pairs if mirror_mask is None else 2 * num_pairs)
    same = defaultdict(list)
    for number, content in enumerate(contents):
        same[content].append(number)
    matches = partial(_matches, index, times=times, radius=radius, needed=needed)
    for first in range(index.num_videos):
        _, query = clips_of(index, first, times)
        copies = {number for number in same[contents[first]] if number > first} if contents[first] else set()
        points, votes = weigh(index, query.codes, max_chance_pairs=MAX_CHANCE_PAIRS)
        found = {
            second: _pair(first, second, segments, query, clips)
            for second, segments, clips in matches(first, query, points, votes, copies=copies)
        }
        if mirror_mask is not None:
            in_mirror = replace(query, codes=query.codes ^ mirror_mask)
            points_in_mirror, votes = weigh(index, in_mirror.codes, max_chance_pairs=MAX_CHANCE_PAIRS)
            points = np.minimum(points, points_in_mirror)  # so that of equal distances neither says more
            for second, segments, clips in matches(first, in_mirror, points, votes):
                pair = _pair(first, second, segments, query, clips)._replace(is_mirrored=True)
                if second not in copies and (second not in found or _order(pair) > _order(found[second])):
                    found[second] = pair
        yield from (found[second] for second in sorted(found))
        on_video()


def _matches(
    index: HammingIndex,
    first: int,
    query: CodeBatch,
    points: np.ndarray,
    votes: np.ndarray,
    *,
    times: Times,
    radius: int | None,
    needed: float,
    copies: Collection[int] = (),
) -> Iterator[tuple[int, Sequence[SegmentMatch], CodeBatch]]:
    """Find the videos behind one that match it: their numbers, the segments, and their clips.

    Args:
        query: the clips of the first, as they are or in a mirror.
        points, votes: of these, as of `weigh`.
        times, radius, needed: as of `matching_pairs`.
        copies: videos behind it that match in any case.
    """
    if radius is None:
        found = np.flatnonzero(chance_of_segments(index).bits(votes) >= needed)
    else:
        found = np.unique(index.near_videos(query.codes, radius=radius)[1])
    for second in sorted({*found[found > first].tolist(), *copies}):
        _, clips = clips_of(index, second, times)
        segments, bits = scored_segments(index, points, query, clips)
        agreeing = [segment for segment, _ in segments if radius is None or segment.distance <= radius]
        if radius is None and bits < needed and second not in copies:
            continue
        if not agreeing and (second in copies or 1 in (len(query.codes), len(clips.codes))):
            agreeing = [_nearest_clips(query, clips)]
        if agreeing:
            yield second, agreeing, clips


def _order(pair: Pair) -> tuple[float, int]:
    """Return what is higher of a better pair: the score; of equal ones how near the first segment is."""
    return sum(segment.score for segment in pair.segments), -pair.segments[0].distance


def _pair(first: int, second: int, segments: Sequence[SegmentMatch], query: CodeBatch, clips: CodeBatch) -> Pair:
    of_query = [(segment.query_start_seconds, segment.query_end_seconds) for segment in segments]
    of_clips = [(segment.start_seconds, segment.end_seconds) for segment in segments]
    return Pair(first, second, tuple(segments), _share(of_query, query), _share(of_clips, clips))


def _share(stretches: list[tuple[float, float]], clips: CodeBatch) -> float:
    """Return how much of the time of clips lies in stretches."""
    held, end = 0.0, -math.inf
    for start, stop in sorted(stretches):
        held += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return held / float(clips.end_seconds.max() - clips.start_seconds.min())


def _nearest_clips(query: CodeBatch, clips: CodeBatch) -> SegmentMatch:
    """Return the nearest clips of two videos as a segment that nothing speaks for but its distance."""
    distances = hamming_distances(query.codes, clips.codes)
    window, place = np.unravel_index(int(distances.argmin()), distances.shape)
    distance = int(distances[window, place])
    return SegmentMatch(
        float(query.start_seconds[window]),
        float(query.end_seconds[window]),
        float(clips.start_seconds[place]),
        float(clips.end_seconds[place]),
        1,
        distance,
        0.0,
    )
