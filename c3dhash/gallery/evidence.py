"""Windows of a query and clips of the gallery -> which videos show the same, and which stretches of the two agree.

Note [Evidence]
    A video is not known by its nearest clip: of two films with one intro, each has clips at distance 0 from the other.
    What a pair of a window and a clip at distance d says is a number of bits,

        log2 P(distance >= d, where both show the same) - log2 P(distance <= d, of clips of different videos).

    The second is a normal distribution, fitted to clips of the gallery itself (`_chance`); the first a beta-binomial
    one of MATCH_SHAPE, whose long tail stands for pictures that were cropped, or coded badly, and for clips that begin
    half a stride later. Of 48 bits, a pair at distance 0 is 8 to 12 bits (without and with labels), one at 19 says
    nothing, and one at 24, as unrelated clips have it, takes 2.
    A window that many videos have says less: what speaks for a video is multiplied by log((V + 1) / n) / log(V + 1),
    where n of V videos have a clip within a COMMON_SHARE of the bits, less those that chance puts there. It is measured
    on the whole gallery with every query, so nothing about it can be out of date.

Note [Segments]
    Pairs that agree on when the video begins, on the query's clock, add up. On a grid of the video's stride, windows by
    clips, they are a diagonal, and a segment is the stretch of a diagonal with the largest sum, as BLAST finds them
    in the letters of proteins. A pair that speaks against it costs MISMATCH_BITS
    at most: a segment goes on over a flash or a logo. Then come those of the windows that are left.

    Parts of films that have an intro in common, searched for: benchmarks/parts.py. Of 40 parts each, found first:

                                nearest clip    evidence    where all windows weigh the same
        part as it is               0.50           1.00            0.97
        behind the intro            0.03           0.82            0.45
        cropped by a fifth          0.34           0.90            0.93
        160 x 120 px                0.29           0.62            0.62

    On other films, by which this was built, MATCH_SHAPE from (1, 4) to (3, 5) and (2, 8), COMMON_SHARE of half and of
    twice as much, and MISMATCH_BITS of 1 and 4 changed each of these by 0.05 or less; (2, 12) took 0.05 and 0.08 from
    the last two. The standard error of one is 0.04 to 0.08.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from c3dhash.bits import hamming_distances
from c3dhash.gallery.index import HammingIndex, check_top
from c3dhash.records import CodeBatch, SegmentMatch

MATCH_SHAPE = (2.0, 5.0)  # of the distances of clips that show the same, a beta-binomial distribution
COMMON_SHARE = 1 / 12  # of the bits: within it, a video has what the window shows
MISMATCH_BITS = 2.0
MIN_SEGMENT_BITS = 6.0  # less is chance
MAX_BITS = 20.0  # of a pair: nothing is known about a tail so far out
MAX_SEGMENTS = 20  # of a video
TAKEN = -1e6  # bits, of windows that are in a segment: no other goes on over them
MAX_CELLS = 2**21  # of diagonals that are laid out at a time, float64
CHANCE_SAMPLE = 512  # clips; each pair of them
MAX_CHANCE_PAIRS = 5_000  # a window: of large galleries only what is nearer gives votes
WINDOWS_AT_A_TIME = 16
EXAMINED, EXAMINED_PER_HIT = 100, 10  # videos whose clips are compared with all windows: those with the most votes

Times = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


class VideoEvidence(NamedTuple):
    """What speaks for a video.

    score: bits, the sum over its segments. distance: of the nearest pair of clips in the first segment; in all of the
    video where there is no segment. clip_id: of that clip. segments: by falling score; none share a window. A query of
    one window has none: the nearest clip is all there is to tell.
    """

    score: float
    distance: int
    clip_id: int
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
        query: the windows of a video. With a single one the distance decides.
        top: how many videos, 1 or more.
        times: returns when the clips of a video start and end, float64 [N] each, given its first and its last clip id.
        allowed: bool [num_videos], which videos of the index may be found; None for all. What is common and what is
            chance is measured on all.
        radius: bits; a video whose distance is larger is not found. None finds any.
    Returns:
        At most `top`, by falling score, then by rising distance, then by clip id.
    Raises:
        UsageError: top is below 1.
        CodesError: codes of another width.
    """
    check_top(top)
    radius = index.hash_length if radius is None else radius
    allowed = np.ones(index.num_videos, bool) if allowed is None else allowed.copy()
    if len(query.codes) == 1:
        distances, ids = _nearest(index, query, top=top, allowed=allowed, radius=radius)
        if not len(ids):
            return []
        bits, _ = weigh(index, query.codes)
        return list(map(VideoEvidence, np.maximum(0, bits[0, distances]).tolist(), distances.tolist(), ids.tolist()))
    found = _examine(index, query, top=top, times=times, allowed=allowed, radius=radius) if len(index) else []
    if len(found) < top:
        distances, ids = _nearest(index, query, top=top - len(found), allowed=allowed, radius=radius)
        found += [VideoEvidence(0.0, *pair) for pair in zip(distances.tolist(), ids.tolist(), strict=True)]
    return found[:top]


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
    bits, votes = weigh(index, query.codes)
    found: list[VideoEvidence] = []
    scores: list[float] = []  # rising
    voted = np.flatnonzero((votes >= MIN_SEGMENT_BITS) & allowed)
    voted = voted[np.argsort(-votes[voted], kind="stable")]
    for video in voted[: max(EXAMINED, EXAMINED_PER_HIT * top)].tolist():
        if len(scores) >= top and votes[video] < scores[-top]:
            break
        ids, codes = index.video(video)
        clips = CodeBatch(codes, query.hash_length, *times(int(ids[0]), int(ids[-1])))
        segments = find_segments(bits, query, clips)
        if not segments:
            continue
        allowed[video] = False
        nearest, place = segments[0]
        if nearest.distance <= radius:
            score = sum(segment.score for segment, _ in segments)
            insort(scores, score)
            found.append(VideoEvidence(score, nearest.distance, int(ids[place]), tuple(each for each, _ in segments)))
    return sorted(found, key=lambda each: (-each.score, each.distance, each.clip_id))


def weigh(index: HammingIndex, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a clip at each distance from each window says, and how much could speak for each video at most.

    Args:
        codes: of the windows, uint8 [Q, ceil(hash_length / 8)].
    Returns:
        bits: float64 [Q, hash_length + 1], falling, from -MISMATCH_BITS up. Note [Evidence].
        votes: float64 [V], of each video of the index the sum over the windows of the bits of its nearest clip, as far
            as they are above 0.
    """
    chance, by_chance = _chance(index)
    said = np.log2(_match_tail(index.hash_length)) - np.log2(np.maximum(chance, 2.0**-MAX_BITS))
    said = np.maximum(said, -MISMATCH_BITS)
    is_looked_at = (said > 0) & (chance * len(index) <= MAX_CHANCE_PAIRS)
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


def window_weights(num_near: np.ndarray, *, num_videos: int, by_chance: float) -> np.ndarray:
    """Return how much of what speaks for a video counts, of each window: float64 [Q], above 0 to 1. Note [Evidence].

    Args:
        num_near: how many videos have a clip within COMMON_SHARE, int64 [Q].
        by_chance: the share of videos that would have one by chance.
    """
    beyond_chance = (num_near - num_videos * by_chance) / max(1 - by_chance, 1e-9)
    shares = np.clip(beyond_chance, 1, num_videos) / (num_videos + 1)
    weights: np.ndarray = -np.log(shares) / math.log(num_videos + 1)
    return weights


def find_segments(bits: np.ndarray, query: CodeBatch, clips: CodeBatch) -> list[tuple[SegmentMatch, int]]:
    """Find the stretches of a query and of a video that agree. Note [Segments].

    Args:
        bits: what a clip at each distance from each window says, float64 [Q, hash_length + 1].
        query, clips: the windows of the query, Q of them, and those of the video; at rising times.
    Returns:
        Segments of at least MIN_SEGMENT_BITS, by falling score, each with the place of its nearest clip in `clips`.
    """
    distances = hamming_distances(query.codes, clips.codes)
    said = np.take_along_axis(bits, distances, axis=1)
    stride = _stride(clips) or _stride(query) or 1.0
    rows, columns = (np.ceil(part.start_seconds / stride - 0.5).astype(np.int64) for part in (query, clips))
    found: list[tuple[SegmentMatch, int]] = []
    for score, line, first, last in _stretches(*_on_grid(said, rows, columns)):
        of_windows = np.flatnonzero((rows >= first) & (rows <= last))
        windows, places = np.nonzero(columns[None, :] - rows[of_windows, None] == line)
        windows = of_windows[windows]
        nearest = int(np.argmin(distances[windows, places]))
        segment = SegmentMatch(
            float(query.start_seconds[windows].min()),
            float(query.end_seconds[windows].max()),
            float(clips.start_seconds[places].min()),
            float(clips.end_seconds[places].max()),
            len(np.unique(windows[said[windows, places] > 0])),
            int(distances[windows[nearest], places[nearest]]),
            score,
        )
        found.append((segment, int(places[nearest])))
        if len(found) == MAX_SEGMENTS:
            break
    return found


def _on_grid(said: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put bits, float64 [Q, N], on a grid: return them, and its rows and columns, each once and rising.

    Two windows share a row where the last one of a video reaches back; the better pair counts.
    """
    grid_rows, row_places = np.unique(rows, return_inverse=True)
    grid_columns, column_places = np.unique(columns, return_inverse=True)
    grid = np.full((len(grid_rows), len(grid_columns)), -np.inf)
    np.maximum.at(grid, np.ix_(row_places, column_places), said)
    return grid, grid_rows, grid_columns


def _stretches(grid: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Iterator[tuple[float, int, int, int]]:
    """Yield the stretch of a diagonal with the largest sum, then the next that shares no row with it, and so on.

    What a diagonal can give only falls as rows are taken. So the one that gave most when it was last looked at is
    looked at again, and where it still gives as much, it is the first of all.

    Args:
        grid: bits, float64 [R, C]; changed. rows, columns: where they are, int64 [R] and [C], rising.
    Yields:
        Sums, MIN_SEGMENT_BITS or more, which diagonal (column less row), and its first and last row.
    """
    diagonals = _Diagonals(grid, rows, columns)
    best = diagonals.best()
    lines = np.flatnonzero(best >= MIN_SEGMENT_BITS)
    heap = list(zip((-best[lines]).tolist(), (lines + diagonals.lowest).tolist(), strict=True))
    heapify(heap)
    while heap:
        before, line = heappop(heap)
        score, first, last = diagonals.stretch(line)
        if score < -before - 1e-6:
            if score >= MIN_SEGMENT_BITS:
                heappush(heap, (-score, line))
            continue
        yield score, line, first, last
        grid[(rows >= first) & (rows <= last)] = TAKEN
        heappush(heap, (-score, line))  # there may be more before it and behind


class _Diagonals:
    """The diagonals of a grid, laid out along its rows or its columns, of which there are fewer: it is the same.

    What the sum from the start of a diagonal to a place exceeds the least such sum before by is the best stretch that
    ends there.

    Args:
        grid: bits, float64 [R, C]; may change. rows, columns: where they are, int64 [R] and [C], rising.
    """

    def __init__(self, grid: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        self._is_by_row = len(rows) <= len(columns)
        self._keys, self._bits = (rows, grid) if self._is_by_row else (columns, grid.T[:, ::-1])
        # Both rise, and so do the lines, others - sign * key, of a key.
        self._sign, self._others = (1, columns) if self._is_by_row else (-1, -rows[::-1])
        self.lowest, self.highest = int(columns[0] - rows[-1]), int(columns[-1] - rows[0])

    def best(self) -> np.ndarray:
        """Return the largest sum along each, float64 [highest - lowest + 1]; 0 where all are less."""
        best = np.zeros(self.highest - self.lowest + 1)
        size = max(1, MAX_CELLS // len(self._keys))
        for start in range(0, len(best), size):
            best[start : start + size] = self._best_of(self.lowest + start, min(size, len(best) - start))
        return best

    def _best_of(self, first_line: int, num_lines: int) -> np.ndarray:
        keys, others = self._sign * self._keys, self._others
        sums = np.zeros((len(keys) + 1, num_lines))
        starts, stops = (np.searchsorted(others, first_line + edge + keys) for edge in (0, num_lines))
        for place, (key, start, stop) in enumerate(zip(keys.tolist(), starts.tolist(), stops.tolist(), strict=True)):
            sums[place + 1, others[start:stop] - key - first_line] = self._bits[place, start:stop]
        np.cumsum(sums, axis=0, out=sums)
        gains = sums[1:] - np.minimum.accumulate(sums[:-1], axis=0)
        best: np.ndarray = np.maximum(0, gains.max(axis=0))
        return best

    def stretch(self, line: int) -> tuple[float, int, int]:
        """Return the largest sum along one, and its first and last row."""
        wanted = line + self._sign * self._keys
        places = np.minimum(np.searchsorted(self._others, wanted), len(self._others) - 1)
        bits = np.where(self._others[places] == wanted, self._bits[np.arange(len(places)), places], 0)
        sums = np.concatenate([[0], np.cumsum(bits)])
        gains = sums[1:] - np.minimum.accumulate(sums[:-1])
        last = int(gains.argmax())
        before = sums[: last + 1]
        first = int(np.flatnonzero(before == before.min())[-1])  # what comes before that adds nothing
        ends = int(self._keys[first]), int(self._keys[last])
        return float(gains[last]), *(ends if self._is_by_row else (ends[0] - line, ends[1] - line))


def _stride(clips: CodeBatch) -> float:
    """Return the time from one window to the next, seconds; 0 where there is one."""
    return float(np.median(np.diff(clips.start_seconds))) if len(clips.codes) > 1 else 0.0


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
