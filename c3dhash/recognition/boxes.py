"""Files of boxes of people: one's own to read, and what each of them does to write.

    with a first line     seconds,x0,y0,x1,y1[,id]                          px; of one video
    as AVA has them       video,seconds,x0,y0,x1,y1[,action[,score or id]]  shares of width and height; no first line

A line a box; lines of AVA that repeat a box, for another action of the same person, count once. Where there are ids,
boxes of one id are one person (two, where there are none of it for longer than GAP_SECONDS); else they are linked.

Source: the second form, https://research.google.com/ava/download.html, and of results that are evaluated the
    evaluation that it links to: eight columns, the score last.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from c3dhash.errors import UsageError, VideoError
from c3dhash.recognition.results import Recognition
from c3dhash.recognition.tracks import GAP_SECONDS, Linker, Track, longest_gap

OWN_COLUMNS = ("seconds", "x0", "y0", "x1", "y1")
AVA_LENGTHS = (6, 7, 8)  # columns of a line
FORMS = (
    f"{','.join(OWN_COLUMNS)}[,id] in px, below a line with these names, or video,seconds,x0,y0,x1,y1 with shares from "
    "0 to 1 and no such line, as AVA has them"
)


@dataclass(frozen=True)
class Box:
    """A person at a time: x0 y0 x1 y1, in px, or as shares of width and height (0..1)."""

    seconds: float
    corners: tuple[float, float, float, float]
    id: str | None = None


class BoxFile:
    """The boxes of a file, by video.

    Raises:
        UsageError: it cannot be read, or a line is no box; nothing else is looked at then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"boxes '{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from None
        numbered = [(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, start=1) if row]
        header = numbered[0][1] if numbered and "x0" in numbered[0][1] else None
        self.is_of_one_video = header is not None
        if header is not None:
            self._check_header(header)
            numbered = numbered[1:]
        if not numbered:
            raise UsageError(f"boxes '{path}' holds no box.")
        boxes: dict[str, dict[Box, None]] = defaultdict(dict)  # each once
        for number, row in numbered:
            try:
                video, box = _read_ava(row) if header is None else _read_own(row, header)
            except (ValueError, IndexError):
                raise UsageError(f"boxes '{path}', line {number} ({','.join(row)}) is no box: {FORMS}.") from None
            boxes[video][box] = None
        self._boxes = {video: _settle_ids(list(found), is_own=header is not None) for video, found in boxes.items()}
        if header is not None and "id" in header:
            self._check_ids(self._boxes[""])

    def _check_header(self, header: Sequence[str]) -> None:
        missing = [name for name in OWN_COLUMNS if name not in header]
        strange = [name for name in header if name not in (*OWN_COLUMNS, "id", "score")]
        if missing or strange or len(set(header)) < len(header):
            what = f"no column {missing[0]}" if missing else f"the columns {','.join(header)}"
            raise UsageError(f"boxes '{self._path}' has {what}; boxes are lines of {FORMS}.")

    def _check_ids(self, boxes: Sequence[Box]) -> None:
        """Refuse boxes without an id among others, and two of one id at the same time."""
        if nameless := next((box for box in boxes if not box.id), None):
            raise UsageError(f"boxes '{self._path}': the box at {nameless.seconds:g} s has no id, and others have one.")
        (box_id, seconds), count = Counter((box.id, box.seconds) for box in boxes).most_common(1)[0]
        if count > 1:
            raise UsageError(f"boxes '{self._path}': id {box_id} has {count} boxes at {seconds:g} s.")

    def tracks(self, video: Path, *, size_px: tuple[int, int], end_seconds: float) -> list[Track]:
        """Return who is where in a video.

        Args:
            size_px: its width and height.
            end_seconds: its end.
        Raises:
            VideoError: there are no boxes of it, or one lies outside of it.
        """
        boxes = sorted(self._boxes.get("" if self.is_of_one_video else video.stem, ()), key=lambda box: box.seconds)
        if not boxes:
            raise VideoError(f"boxes '{self._path}' has none of '{video.stem}', but of '{next(iter(self._boxes))}'.")
        scale = np.ones(4) if self.is_of_one_video else np.tile(size_px, 2)
        corners = np.array([box.corners for box in boxes]) * scale
        for box, (x0, y0, x1, y1) in zip(boxes, corners, strict=True):
            if not 0 <= box.seconds < end_seconds:
                raise VideoError(
                    f"boxes '{self._path}': {box.seconds:g} s is not in '{video}', which lasts {end_seconds:.2f} s."
                )
            if x0 >= size_px[0] or y0 >= size_px[1] or x1 <= 0 or y1 <= 0:
                raise VideoError(
                    f"boxes '{self._path}': the box at {box.seconds:g} s, {x0:g},{y0:g},{x1:g},{y1:g}, lies outside of "
                    f"'{video}', {size_px[0]} x {size_px[1]} px."
                )
        times = np.unique([box.seconds for box in boxes])
        step = float(np.median(np.diff(times))) if len(times) > 1 else GAP_SECONDS
        if boxes[0].id is not None:
            return _by_id(boxes, corners, step_seconds=step, end_seconds=end_seconds)
        linker = Linker(step_seconds=step, begin_score=0, min_boxes=1, smooth=False)
        for seconds, there in groupby(range(len(boxes)), key=lambda place: boxes[place].seconds):
            places = list(there)
            linker.add(seconds, corners[places], np.ones(len(places)))
        return linker.tracks(end_seconds=end_seconds)


def _read_own(row: Sequence[str], header: Sequence[str]) -> tuple[str, Box]:
    if len(row) != len(header):
        raise ValueError
    cells = dict(zip(header, row, strict=True))
    box = _box([cells[name] for name in OWN_COLUMNS], cells.get("id"))
    x0, y0, x1, y1 = box.corners
    if x1 - x0 < 1 or y1 - y0 < 1:  # px; shares of width and height are the other form
        raise ValueError
    return "", box


def _read_ava(row: Sequence[str]) -> tuple[str, Box]:
    if len(row) not in AVA_LENGTHS:
        raise ValueError
    box = _box(row[1:6], row[7] if len(row) == 8 else None)
    if not (min(box.corners) >= -0.01 and max(box.corners) <= 1.01):
        raise ValueError
    return row[0], box


def _box(cells: Sequence[str], box_id: str | None) -> Box:
    """Read a time and four corners."""
    seconds, x0, y0, x1, y1 = map(float, cells)
    if not (x1 > x0 and y1 > y0 and all(map(math.isfinite, (seconds, x0, y0, x1, y1)))):
        raise ValueError
    return Box(seconds, (x0, y0, x1, y1), box_id)


def _settle_ids(boxes: list[Box], *, is_own: bool) -> list[Box]:
    """Drop what are no ids in AVA's last column: scores, with a point, and numbers that two boxes have at a time."""
    if is_own:
        return boxes
    without = list(dict.fromkeys(replace(box, id=None) for box in boxes))
    ids = {(box.id, box.seconds) for box in boxes}
    are_ids = all(box.id is not None and box.id.isdecimal() for box in boxes) and len(ids) == len(without)
    return list(dict.fromkeys(boxes)) if are_ids else without


def _by_id(boxes: list[Box], corners: np.ndarray, *, step_seconds: float, end_seconds: float) -> list[Track]:
    """Return a track for the boxes of an id, or several, where there are long gaps."""
    places: dict[str | None, list[int]] = defaultdict(list)
    for place, box in enumerate(boxes):
        places[box.id].append(place)
    parts: list[tuple[str | None, np.ndarray, np.ndarray]] = []
    for box_id, of_it in places.items():
        seconds = np.array([boxes[place].seconds for place in of_it])
        cuts = np.flatnonzero(np.diff(seconds) > longest_gap(step_seconds)) + 1
        for part, times in zip(np.split(np.array(of_it), cuts), np.split(seconds, cuts), strict=True):
            parts.append((box_id, times, corners[part]))
    parts.sort(key=lambda part: float(part[1][0]))
    return [
        Track(number, seconds, places, min(float(seconds[-1]) + step_seconds, end_seconds), box_id)
        for number, (box_id, seconds, places) in enumerate(parts, start=1)
    ]


def as_ava(recognitions: Iterable[Recognition]) -> str:
    """Return who does what in AVA's form: a line for each box and each of its most probable classes.

    Columns: the video's name without suffix, seconds, x0 y0 x1 y1 as shares of width and height, cut at 0 and 1, the
    number of the class (from 1), its probability.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    for recognition in recognitions:
        for person in recognition.people or ():
            assert recognition.size_px is not None  # set together with people
            shares = np.clip(person.track.boxes / np.tile(recognition.size_px, 2), 0, 1)
            for seconds, box in zip(person.track.seconds, shares, strict=True):
                corners = [f"{side:.4f}" for side in box]
                for number, probability in person.classes.numbers_at(float(seconds)):
                    row = [recognition.video.stem, f"{seconds:.3f}", *corners, number + 1, f"{probability:.4f}"]
                    writer.writerow(row)
    return buffer.getvalue()
