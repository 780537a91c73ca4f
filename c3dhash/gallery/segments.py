"""Windows of a query and clips of a video -> the stretches of the two that agree.

Note [Segments]
    Pairs that agree on when the video begins, on the query's clock, add up (Note [Points] in chance.py). On a grid of
    the video's stride, windows by clips, they are a diagonal, and a segment is the stretch of a diagonal with the
    largest sum, as BLAST finds them in the letters of proteins. A pair that speaks against it costs MISMATCH_POINTS at
    most: a segment goes on over a flash or a logo. It goes on, too, over windows that are only a little alike, so its
    times are those of its core: the stretch of it with the largest sum of what exceeds half of its mean. Then come the
    segments of the windows that are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from operator import itemgetter

import numpy as np

from c3dhash.bits import hamming_distances
from c3dhash.records import CodeBatch, SegmentMatch

MIN_SEGMENT_POINTS = 6.0  # with less, nothing begins
MAX_SEGMENTS = 20  # of a video
TAKEN = -1e6  # points, of windows that are in a segment: no other goes on over them
SPEED_STEP = 0.025
SPEEDS = tuple((1 + SPEED_STEP) ** step for step in range(-9, 10) if step)  # 0.80 to 1.25, of copies played at another
MAX_CELLS = 2**21  # of diagonals that are laid out at a time, float64


def find_segments(
    points: np.ndarray, query: CodeBatch, clips: CodeBatch, *, speed: float = 1.0
) -> list[tuple[SegmentMatch, int]]:
    """Find the stretches of a query and of a video that agree. Note [Segments].

    Args:
        points: what a clip at each distance from each window says, float64 [Q, hash_length + 1].
        query, clips: the windows of the query, Q of them, and those of the video; at rising times.
        speed: how many seconds of the video a second of the query shows.
    Returns:
        Segments of at least MIN_SEGMENT_POINTS, their scores, by falling score, each with the place of its nearest clip
        in `clips`.
    """
    distances = hamming_distances(query.codes, clips.codes)
    said = np.take_along_axis(points, distances, axis=1)
    rows, columns = _places(query, clips, speed=speed)
    found: list[tuple[SegmentMatch, int]] = []
    for score, line, first, last in _stretches(*_on_grid(said, rows, columns)):
        of_windows = np.flatnonzero((rows >= first) & (rows <= last))
        windows, places = np.nonzero(columns[None, :] - rows[of_windows, None] == line)
        windows = of_windows[windows]
        kept = _core(said[windows, places])
        windows, places = windows[kept], places[kept]
        nearest = int(np.argmin(distances[windows, places]))
        segment = SegmentMatch(
            float(query.start_seconds[windows].min()),
            float(query.end_seconds[windows].max()),
            float(clips.start_seconds[places].min()),
            float(clips.end_seconds[places].max()),
            len(np.unique(windows[said[windows, places] > 0])),
            int(distances[windows[nearest], places[nearest]]),
            score,
            speed,
        )
        found.append((segment, int(places[nearest])))
        if len(found) == MAX_SEGMENTS:
            break
    return found


def most_points(points: np.ndarray, query: CodeBatch, clips: CodeBatch) -> float:
    """Return what all segments together say at most, at whatever speed: no window counts twice."""
    nearest = hamming_distances(query.codes, clips.codes).min(axis=1)
    return float(np.maximum(0, points[np.arange(len(nearest)), nearest]).sum())


def find_at_any_speed(points: np.ndarray, query: CodeBatch, clips: CodeBatch) -> list[tuple[SegmentMatch, int]]:
    """Return what `find_segments` does at the speed at which the first segment says most; of SPEEDS, and between.

    Between two of them the ends of a long segment lie more than a stride apart. So speeds beside the best one are
    tried, ever closer to it, until they make no difference of a stride.
    """
    said = np.take_along_axis(points, hamming_distances(query.codes, clips.codes), axis=1)

    def best_at(speed: float) -> tuple[float, float]:
        grid, rows, columns = _on_grid(said, *_places(query, clips, speed=speed))
        return float(_Diagonals(grid, rows, columns).best().max()), speed

    best = max(map(best_at, SPEEDS), key=itemgetter(0))
    step, seconds = SPEED_STEP / 2, float(np.ptp(query.start_seconds))
    while step * seconds > _stride(clips) / 2:
        best = max(best, *(best_at(best[1] * (1 + sign * step)) for sign in (-1, 1)), key=itemgetter(0))
        step /= 2
    return find_segments(points, query, clips, speed=best[1])


def _places(query: CodeBatch, clips: CodeBatch, *, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows, int64 [Q], and columns, int64 [N], of windows and clips on a grid of the video's stride."""
    stride = _stride(clips) or _stride(query) or 1.0
    rows, columns = (
        np.ceil(seconds / stride - 0.5).astype(np.int64)
        for seconds in (speed * query.start_seconds, clips.start_seconds)
    )
    return rows, columns


def best_sum(said: np.ndarray) -> float:
    """Return the most that a segment says of two videos at one stride, 0 or more, given what each pair does."""
    return float(_Diagonals(said, *map(np.arange, said.shape)).best().max())


def _core(points: np.ndarray) -> slice:
    """Return the core of a segment, given its points in the order of its windows: Note [Segments]."""
    _, first, last = _largest_sum(points - points.mean() / 2)
    return slice(first, last + 1)


def _largest_sum(values: np.ndarray) -> tuple[float, int, int]:
    """Return the largest sum of values that follow each other, and the places of the first and the last of them."""
    sums = np.concatenate([[0], np.cumsum(values)])
    gains = sums[1:] - np.minimum.accumulate(sums[:-1])
    last = int(gains.argmax())
    before = sums[: last + 1]
    return float(gains[last]), int(np.flatnonzero(before == before.min())[-1]), last  # what precedes it adds nothing


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
        Sums, MIN_SEGMENT_POINTS or more, which diagonal (column less row), and its first and last row.
    """
    diagonals = _Diagonals(grid, rows, columns)
    best = diagonals.best()
    lines = np.flatnonzero(best >= MIN_SEGMENT_POINTS)
    heap = list(zip((-best[lines]).tolist(), (lines + diagonals.lowest).tolist(), strict=True))
    heapify(heap)
    while heap:
        before, line = heappop(heap)
        score, first, last = diagonals.stretch(line)
        if score < -before - 1e-6:
            if score >= MIN_SEGMENT_POINTS:
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
        score, first, last = _largest_sum(bits)
        ends = int(self._keys[first]), int(self._keys[last])
        return score, *(ends if self._is_by_row else (ends[0] - line, ends[1] - line))


def _stride(clips: CodeBatch) -> float:
    """Return the time from one window to the next, seconds; 0 where there is one."""
    return float(np.median(np.diff(clips.start_seconds))) if len(clips.codes) > 1 else 0.0
