"""Files of boxes of people: one's own to read, and what each of them does to write.

    with a first line     seconds,x0,y0,x1,y1[,score][,id]                      px; of one video
    as AVA has them       video,seconds,x0,y0,x1,y1[,action[,score or id]]      shares of width and height

A line a box; lines of AVA that repeat a box, for another action of the same person, count once. Where there are ids,
boxes of one id are one person; else they are linked.

Source: the second form, https://research.google.com/ava/download.html, and of results that are evaluated the
    evaluation that it links to: eight columns, the score last.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.errors import UsageError
from c3dhash.recognition.results import Recognition
from c3dhash.recognition.tracks import GAP_SECONDS, Linker, Track

OWN_COLUMNS, OPTIONAL_COLUMNS = ("seconds", "x0", "y0", "x1", "y1"), ("score", "id")
AVA_LENGTHS = (6, 7, 8)  # columns of a line


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
            rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"boxes '{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from None
        numbered = [(number, row) for number, row in enumerate(rows, start=1) if row]
        if not numbered:
            raise UsageError(f"boxes '{path}' holds no box.")
        self.is_of_one_video = "x0" in [cell.strip() for cell in numbered[0][1]]
        self._boxes: dict[str, dict[Box, None]] = defaultdict(dict)  # each once
        read = self._read_own(numbered[0][1]) if self.is_of_one_video else self._read_ava
        for number, row in numbered[self.is_of_one_video :]:
            try:
                video, box = read([cell.strip() for cell in row])
                x0, y0, x1, y1 = box.corners
                if not (x1 > x0 and y1 > y0 and all(map(math.isfinite, (box.seconds, *box.corners)))):
                    raise ValueError
                if not self.is_of_one_video and not (min(box.corners) >= -0.01 and max(box.corners) <= 1.01):
                    raise ValueError
            except (ValueError, IndexError):
                raise UsageError(
                    f"boxes '{path}', line {number} ({','.join(row)}) is no box: {','.join(OWN_COLUMNS)} in px below a "
                    "line with these names, or video,seconds,x0,y0,x1,y1 with shares from 0 to 1 (AVA), x0 < x1."
                ) from None
            self._boxes[video][box] = None

    def _read_own(self, header: list[str]) -> Callable[[list[str]], tuple[str, Box]]:
        names = [cell.strip() for cell in header]
        if missing := [name for name in OWN_COLUMNS if name not in names]:
            raise UsageError(f"boxes '{self._path}' has no column {missing[0]}; {','.join(OWN_COLUMNS)} are needed.")
        places = [names.index(name) for name in OWN_COLUMNS]
        id_place = names.index("id") if "id" in names else None

        def read(row: list[str]) -> tuple[str, Box]:
            seconds, x0, y0, x1, y1 = (float(row[place]) for place in places)
            return "", Box(seconds, (x0, y0, x1, y1), None if id_place is None else row[id_place])

        return read

    def _read_ava(self, row: list[str]) -> tuple[str, Box]:
        if len(row) not in AVA_LENGTHS:
            raise ValueError
        seconds, x0, y0, x1, y1 = map(float, row[1:6])
        # The last of eight columns is a person's number in lists of what is true, and a score in results.
        is_number = len(row) == 8 and row[7].isdecimal()
        return row[0], Box(seconds, (x0, y0, x1, y1), row[7] if is_number else None)

    def tracks(self, video: Path, *, size_px: tuple[int, int], end_seconds: float) -> list[Track]:
        """Return who is where in a video.

        Args:
            size_px: its width and height.
            end_seconds: its end.
        Raises:
            UsageError: there are no boxes of it, or one lies outside of it.
        """
        boxes = sorted(self._boxes["" if self.is_of_one_video else video.stem], key=lambda box: box.seconds)
        if not boxes:
            known = next(name for name in self._boxes if self._boxes[name])
            raise UsageError(f"boxes '{self._path}' has none of '{video.stem}', but of '{known}'.")
        if not 0 <= boxes[0].seconds <= boxes[-1].seconds < end_seconds:
            wrong = boxes[0].seconds if boxes[0].seconds < 0 else boxes[-1].seconds
            raise UsageError(f"boxes '{self._path}': {wrong:g} s is not in '{video}', which lasts {end_seconds:.2f} s.")
        scale = np.ones(4) if self.is_of_one_video else np.tile(size_px, 2)
        corners = np.array([box.corners for box in boxes]) * scale
        if not (corners[:, :2] < np.array(size_px)).all() or not (corners[:, 2:] > 0).all():
            raise UsageError(f"boxes '{self._path}': a box lies outside of '{video}', {size_px[0]} x {size_px[1]} px.")
        times = np.unique([box.seconds for box in boxes])
        step = float(np.median(np.diff(times))) if len(times) > 1 else GAP_SECONDS
        if all(box.id is not None for box in boxes):
            return _by_id(boxes, corners, step_seconds=step, end_seconds=end_seconds)
        linker = Linker(step_seconds=step, begin_score=0, min_boxes=1, smooth=False)
        for time in times:
            there = corners[[box.seconds == time for box in boxes]]
            linker.add(float(time), there, np.ones(len(there)))
        return linker.tracks(end_seconds=end_seconds)


def _by_id(boxes: list[Box], corners: np.ndarray, *, step_seconds: float, end_seconds: float) -> list[Track]:
    """Return a track an id; of boxes of one id at the same time, the last."""
    found: dict[str | None, dict[float, np.ndarray]] = defaultdict(dict)
    for box, place in zip(boxes, corners, strict=True):
        found[box.id][box.seconds] = place
    return [
        Track(number, np.array(list(places)), np.stack(list(places.values())),
              min(max(places) + step_seconds, end_seconds))
        for number, places in enumerate(found.values(), start=1)
    ]  # fmt: skip


def as_ava(recognitions: Iterable[Recognition]) -> str:
    """Return who does what in AVA's form: a line for each box and each of its most probable classes.

    Columns: the video's name without suffix, seconds, x0 y0 x1 y1 as shares of width and height, the number of the
    class (from 1), its probability.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    for recognition in recognitions:
        for person in recognition.people or ():
            assert recognition.size_px is not None  # set together with people
            shares = person.track.boxes / np.tile(recognition.size_px, 2)
            for seconds, box in zip(person.track.seconds, shares, strict=True):
                corners = [f"{side:.4f}" for side in box]
                for number, probability in person.classes.numbers_at(float(seconds)):
                    row = [recognition.video.stem, f"{seconds:.3f}", *corners, number + 1, f"{probability:.4f}"]
                    writer.writerow(row)
    return buffer.getvalue()
