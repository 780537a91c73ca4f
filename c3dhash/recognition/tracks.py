"""Boxes of people in single pictures -> tracks: the same person from picture to picture.

    key pictures      0.00      0.25      0.50      0.75      1.00
    boxes             a  b      a  b      a         a  b      a  b
    tracks            1 ------- 1 ------- 1 ------- 1 ------- 1
                      2 ------- 2 . . . . . . . . . 2 ------- 2       a gap is bridged

A box goes on with the track whose next box, expected where its last two lead, it overlaps most; the best pairs come
first. What overlaps none begins a track, if it is sure enough. A track that was not seen for GAP_SECONDS is over, but
not before it was missed in a picture.

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
    picture. end_seconds: until when it is there, the last box included. name: where it was given one.
    """

    number: int
    seconds: np.ndarray
    boxes: np.ndarray
    end_seconds: float
    name: str | None = None

    @property
    def id(self) -> str:
        """Its name, or its number."""
        return str(self.number) if self.name is None else self.name

    @property
    def start_seconds(self) -> float:
        return float(self.seconds[0])

    def at(self, seconds: float) -> np.ndarray:
        """Return the box at a time, float64 [4]: between two boxes in proportion, before and after the nearest."""
        after = int(np.searchsorted(self.seconds, seconds))
        if after in (0, len(self.seconds)):
            return np.asarray(self.boxes[min(after, len(self.seconds) - 1)])
        return between(self.seconds[after - 1 : after + 1], self.boxes[after - 1 : after + 1], seconds)

    def shows(self, seconds: float) -> bool:
        """Tell whether the person is there at a time."""
        return self.start_seconds <= seconds < self.end_seconds


@dataclass(eq=False)
class _Open:
    """A track that may go on."""

    seconds: list[float] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    place: int = 0  # of the picture in which it was last, among all

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
        step_seconds: how far apart boxes are, and how long the last of a track stands; None where pictures are looked
            at one after the other, also those without anybody: it stands up to the next of them.
        begin_score: a track begins with a box that has at least this.
        min_boxes: tracks of fewer are dropped, where there are as many pictures.
        smooth: whether boxes, but those at the ends of a track, are averaged with their neighbours, since
            detectors tremble.
    """

    def __init__(
        self, *, step_seconds: float | None = None, begin_score: float, min_boxes: int = MIN_BOXES, smooth: bool = True
    ) -> None:
        self._step_seconds, self._begin_score = step_seconds, begin_score
        self._min_boxes, self._is_smooth = min_boxes, smooth
        self._times: list[float] = []  # of the pictures
        self._open: list[_Open] = []
        self._done: list[_Open] = []

    def add(self, seconds: float, boxes: np.ndarray, scores: np.ndarray) -> None:
        """Take the boxes of the next picture, float64 [N, 4], and their scores, float64 [N]."""
        here = len(self._times)
        self._times.append(seconds)
        self._done += [track for track in self._open if self._is_over(track, seconds)]
        self._open = [track for track in self._open if not self._is_over(track, seconds)]
        pairs = np.zeros((0, 2), int)
        if self._open and len(boxes):
            pairs = best_pairs(overlaps(np.stack([track.expected(seconds) for track in self._open]), boxes))
        for place, number in pairs:
            self._open[place].seconds.append(seconds)
            self._open[place].boxes.append(boxes[number])
            self._open[place].place = here
        linked = set(pairs[:, 1].tolist())
        self._open += [
            _Open([seconds], [box], here)
            for number, (box, score) in enumerate(zip(boxes, scores, strict=True))
            if number not in linked and score >= self._begin_score
        ]

    def tracks(self, *, end_seconds: float) -> list[Track]:
        """Return the tracks of a video that ends at `end_seconds`, in the order in which they begin."""
        min_boxes = min(self._min_boxes, len(self._times))
        found = [track for track in [*self._done, *self._open] if len(track.boxes) >= min_boxes]
        found.sort(key=lambda track: (track.seconds[0], track.boxes[0][0]))
        return [
            Track(
                number,
                np.array(track.seconds),
                smoothed(np.array(track.seconds), np.stack(track.boxes)) if self._is_smooth else np.stack(track.boxes),
                self._end(track, end_seconds),
            )
            for number, track in enumerate(found, start=1)
        ]

    def _is_over(self, track: _Open, seconds: float) -> bool:
        """Tell whether a track is over before the newest picture, which is shown at a time."""
        hidden_seconds = seconds - track.seconds[-1]
        if self._step_seconds is not None:
            return hidden_seconds > longest_gap(self._step_seconds)
        return hidden_seconds > GAP_SECONDS and track.place < len(self._times) - 2

    def _end(self, track: _Open, end_seconds: float) -> float:
        """Return until when a track is there, in a video that ends at `end_seconds`."""
        if self._step_seconds is not None:
            return min(track.seconds[-1] + self._step_seconds, end_seconds)
        return self._times[track.place + 1] if track.place + 1 < len(self._times) else end_seconds


def longest_gap(step_seconds: float) -> float:
    """Return for how long a person may be hidden, of whom there is a box in every step."""
    return max(GAP_SECONDS, 1.5 * step_seconds)


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


def smoothed(seconds: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Average each box of a track, float64 [N, 4], with what its two neighbours give at its time; the ends stay.

    Where times are evenly apart that is 1 2 1; somebody who moves evenly stays where they are in any case.
    """
    means = boxes.copy()
    for place in range(1, len(boxes) - 1):
        means[place] = (boxes[place] + between(seconds[[place - 1, place + 1]], boxes[[place - 1, place + 1]],
                                               seconds[place])) / 2  # fmt: skip
    return means


def between(seconds: np.ndarray, boxes: np.ndarray, when: float) -> np.ndarray:
    """Return the box, float64 [4], in proportion between two, [2, 4], of two times."""
    share = (when - seconds[0]) / (seconds[1] - seconds[0])
    box: np.ndarray = (1 - share) * boxes[0] + share * boxes[1]
    return box
