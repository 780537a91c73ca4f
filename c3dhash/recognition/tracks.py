"""Boxes of people in single pictures -> tracks: the same person from picture to picture.

    key pictures      0.00      0.25      0.50      0.75      1.00
    boxes             a  b      a  b      a         a  b      a  b
    tracks            1 ------- 1 ------- 1 ------- 1 ------- 1
                      2 ------- 2 . . . . . . . . . 2 ------- 2       a gap is bridged

A box goes on with the track whose next box, expected where its last two lead, it overlaps most; the best pairs come
first. What overlaps none begins a track, if it is sure enough. A track that was not seen for GAP_SECONDS is over (of
pictures further apart, one that is in neither of two).

Source: overlap with where a box is expected, Bewley et al., Simple Online and Realtime Tracking, ICIP 2016; unsure
    boxes that go on with a track and begin none, Zhang et al., ByteTrack, ECCV 2022, section 3. Here pairs are taken
    in the order of their overlap, and speed is the difference of two boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

GAP_SECONDS = 1.0  # for which a person may be hidden
MIN_OVERLAP = 0.3  # as in SORT
MIN_BOXES = 3  # of a track whose boxes are found, not given: what shows once or twice is mostly no person


@dataclass(frozen=True, eq=False)
class Track:
    """One person: its box at some times, and in between.

    number: counts from 1. seconds: float64 [N], rising. boxes: float64 [N, 4], x0 y0 x1 y1 in px of the upright
    picture. end_seconds: until when it is there, the last box included.
    """

    number: int
    seconds: np.ndarray
    boxes: np.ndarray
    end_seconds: float

    @property
    def start_seconds(self) -> float:
        return float(self.seconds[0])

    def at(self, seconds: float) -> np.ndarray:
        """Return the box at a time, float64 [4]: between two boxes in proportion, before and after the nearest."""
        return np.array([np.interp(seconds, self.seconds, side) for side in self.boxes.T])

    def shows(self, seconds: float) -> bool:
        """Tell whether the person is there at a time."""
        return self.start_seconds <= seconds < self.end_seconds


@dataclass(eq=False)
class _Open:
    """A track that may go on."""

    seconds: list[float] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)

    def expected(self, seconds: float) -> np.ndarray:
        """Return where its next box would be, float64 [4]."""
        if len(self.boxes) < 2:
            return self.boxes[-1]
        speed = (self.boxes[-1] - self.boxes[-2]) / (self.seconds[-1] - self.seconds[-2])
        shift: np.ndarray = (speed[:2] + speed[2:]) / 2 * (seconds - self.seconds[-1])
        expected: np.ndarray = self.boxes[-1] + np.tile(shift, 2)
        return expected


class Linker:
    """Links the boxes of pictures, one after the other.

    Args:
        step_seconds: from picture to picture; how long the last box of a track stands.
        begin_score: a track begins with a box that has at least this.
        min_boxes: tracks of fewer are dropped, where there are as many pictures.
        smooth: whether boxes, but those at the ends of a track, are averaged with their neighbours (1 2 1), since
            detectors tremble.
    """

    def __init__(
        self, *, step_seconds: float, begin_score: float, min_boxes: int = MIN_BOXES, smooth: bool = True
    ) -> None:
        self._step_seconds, self._begin_score = step_seconds, begin_score
        self._min_boxes, self._is_smooth = min_boxes, smooth
        self._gap_seconds, self._num_pictures = max(GAP_SECONDS, 1.5 * step_seconds), 0
        self._open: list[_Open] = []
        self._done: list[_Open] = []

    def add(self, seconds: float, boxes: np.ndarray, scores: np.ndarray) -> None:
        """Take the boxes of the next picture, float64 [N, 4], and their scores, float64 [N]."""
        self._num_pictures += 1
        self._done += [track for track in self._open if seconds - track.seconds[-1] > self._gap_seconds]
        self._open = [track for track in self._open if seconds - track.seconds[-1] <= self._gap_seconds]
        pairs = np.zeros((0, 2), int)
        if self._open and len(boxes):
            pairs = best_pairs(overlaps(np.stack([track.expected(seconds) for track in self._open]), boxes))
        for place, number in pairs:
            self._open[place].seconds.append(seconds)
            self._open[place].boxes.append(boxes[number])
        linked = set(pairs[:, 1].tolist())
        self._open += [
            _Open([seconds], [box])
            for number, (box, score) in enumerate(zip(boxes, scores, strict=True))
            if number not in linked and score >= self._begin_score
        ]

    def tracks(self, *, end_seconds: float) -> list[Track]:
        """Return the tracks of a video that ends at `end_seconds`, in the order in which they begin."""
        min_boxes = min(self._min_boxes, self._num_pictures)
        found = [track for track in [*self._done, *self._open] if len(track.boxes) >= min_boxes]
        found.sort(key=lambda track: (track.seconds[0], track.boxes[0][0]))
        return [
            Track(
                number,
                np.array(track.seconds),
                smoothed(np.stack(track.boxes)) if self._is_smooth else np.stack(track.boxes),
                min(track.seconds[-1] + self._step_seconds, end_seconds),
            )
            for number, track in enumerate(found, start=1)
        ]


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over the union of boxes, float [N, 4], with others, [M, 4]: float64 [N, M], 0..1."""
    common = common_areas(boxes, others)
    union = areas(boxes)[:, None] + areas(others) - common
    shares: np.ndarray = common / np.maximum(union, 1e-12)
    return shares


def common_areas(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the areas that boxes, float [N, 4], have in common with others, [M, 4]: float64 [N, M]."""
    first, second = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common: np.ndarray = np.clip(sides, 0, None).prod(axis=-1)
    return common


def areas(boxes: np.ndarray) -> np.ndarray:
    """Return the areas of boxes, float [N, 4]: float64 [N]."""
    products: np.ndarray = (boxes[:, 2:].astype(np.float64) - boxes[:, :2]).prod(axis=1)
    return products


def best_pairs(shares: np.ndarray) -> np.ndarray:
    """Pair rows with columns, the largest overlap first, each once, none below MIN_OVERLAP.

    Args:
        shares: float [N, M].
    Returns:
        int [pairs, 2].
    """
    left, pairs = shares.copy(), []
    while left.size and left.max() >= MIN_OVERLAP:
        place, number = np.unravel_index(left.argmax(), left.shape)
        pairs.append((int(place), int(number)))
        left[place], left[:, number] = -1, -1
    return np.array(pairs, int).reshape(-1, 2)


def smoothed(boxes: np.ndarray) -> np.ndarray:
    """Average each box of a track, float64 [N, 4], with its two neighbours, 1 2 1; the ends stay."""
    if len(boxes) < 3:
        return boxes
    middle = (boxes[:-2] + 2 * boxes[1:-1] + boxes[2:]) / 4
    return np.concatenate([boxes[:1], middle, boxes[-1:]])
