"""What a line of a list file may look like: one small parser for each convention.

    name              line                            used by
    numbered          INDEX LABEL PATH                three-column lists
    segments          PATH START END LABEL            lists with times in seconds
    rawframes_offset  FOLDER OFFSET NUM_FRAMES LABEL  mmaction2, rawframes with offset
    rawframes         FOLDER NUM_FRAMES LABEL ...     mmaction2, TSN and its followers
    lists             PATH LABEL ...                  mmaction2 videos, pytorchvideo, SlowFast, and most others

Columns are separated by blanks, tabs or commas; paths may hold blanks. Labels count from 0; -1 says that there is
none, and in test lists it may be missing. A line whose path ends in the suffix of a video is taken apart there; of
other paths all numbers at the end are columns. Three whole numbers after a video are times and a label where the
first is below the second in most lines, otherwise three labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from c3dhash.records import FrameFolder, Segment
from c3dhash.video.containers import VIDEO_SUFFIXES

_SUFFIX = "|".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
_NUMBER = r"-?\d+(?:\.\d+)?"
_VIDEO_LINE = re.compile(rf"(?P<path>.+\.(?:{_SUFFIX}))(?P<columns>(?:[\s,]+{_NUMBER})*)", re.IGNORECASE)
_FOLDER_LINE = re.compile(rf"(?P<path>\S.*?)(?P<columns>(?:[\s,]+{_NUMBER})*)")
_NUMBERED_LINE = re.compile(r"\d+[\s,]+(?P<label>\d+)[\s,]+(?P<path>\S.*)")


@dataclass(frozen=True)
class Line:
    """What a line says: the path as it is written, labels, and the part of the video.

    labels: () where it says that there is none, None where it says nothing.
    """

    path: str
    labels: tuple[int, ...] | None
    segment: Segment | None = None
    frames: FrameFolder | None = None


def _columns(line: str) -> tuple[str, list[str], bool]:
    """Take a line apart: its path, the numbers after it, and whether the path is a video by its suffix."""
    as_video = _VIDEO_LINE.fullmatch(line)
    match = as_video or _FOLDER_LINE.fullmatch(line)
    assert match is not None  # a line is not empty
    return _clean(match["path"]), re.findall(_NUMBER, match["columns"]), as_video is not None


def _clean(path: str) -> str:
    """Return a path with forward slashes, as lists written on Windows lack them, and none at its end."""
    return (path if "/" in path else path.replace("\\", "/")).rstrip("/")


def parse_numbered(line: str) -> Line | None:
    match = _NUMBERED_LINE.fullmatch(line)
    if not match or re.fullmatch(_NUMBER, match["path"]) or _columns(match["path"])[1]:
        return None
    return Line(_clean(match["path"]), (int(match["label"]),))


def parse_segments(line: str) -> Line | None:
    path, numbers, is_video = _columns(line)
    if len(numbers) != 3 or not numbers[2].isdecimal():
        return None
    start, end = float(numbers[0]), float(numbers[1])
    is_time = is_video or "." in numbers[0] + numbers[1]
    return Line(path, (int(numbers[2]),), Segment(start, end)) if is_time and 0 <= start < end else None


def parse_rawframes_offset(line: str) -> Line | None:
    path, numbers, is_video = _columns(line)
    if is_video or len(numbers) != 3 or not all(map(str.isdecimal, numbers)) or numbers[1] == "0":
        return None
    offset, num_frames, label = map(int, numbers)
    return Line(path, (label,), frames=FrameFolder(offset, num_frames))


def parse_rawframes(line: str) -> Line | None:
    path, numbers, is_video = _columns(line)
    if is_video or len(numbers) < 2 or not all(map(str.isdecimal, numbers)) or int(numbers[0]) == 0:
        return None
    num_frames, *labels = map(int, numbers)
    return Line(path, tuple(labels), frames=FrameFolder(0, num_frames))


def parse_lists(line: str) -> Line | None:
    path, numbers, is_video = _columns(line)
    if not is_video and len(numbers) > 1:  # all but the last belong to the path
        path, numbers = re.split(rf"[\s,]+(?={_NUMBER}$)", line, maxsplit=1)[0], numbers[-1:]
    if any("." in number for number in numbers):
        return None
    labels = tuple(sorted({int(number) for number in numbers} - {-1}))
    if labels and labels[0] < 0:
        return None
    return Line(_clean(path), labels if numbers else None)


@dataclass(frozen=True)
class Convention:
    """A convention: its parser, which gives None for a line that does not follow it, and what to expect of a line."""

    parse: Callable[[str], Line | None]
    form: str


# In this order: the first says most, the last accepts nearly anything.
CONVENTIONS = {
    "numbered": Convention(parse_numbered, "INDEX LABEL PATH"),
    "segments": Convention(parse_segments, "PATH START END LABEL, in seconds"),
    "rawframes_offset": Convention(parse_rawframes_offset, "FOLDER OFFSET NUM_FRAMES LABEL"),
    "rawframes": Convention(parse_rawframes, "FOLDER NUM_FRAMES LABEL"),
    "lists": Convention(parse_lists, "PATH LABEL"),
}


def format_line(line: Line) -> str:
    """Write a line in the convention that has its columns: the inverse of the parsers, where there is one."""
    columns: list[float | int] = []
    if line.segment:
        columns = [float(line.segment.start_seconds), float(line.segment.end_seconds)]
    elif line.frames and line.frames.num_frames:
        columns = [line.frames.offset, line.frames.num_frames]
    labels = (-1,) if line.labels == () else line.labels or ()
    return " ".join([line.path, *map(str, [*columns, *labels])])


def class_folder(path: str) -> str:
    """Return the name of the folder that a path as it is written lies in, "" where it names none."""
    return path.rpartition("/")[0].rpartition("/")[2]
