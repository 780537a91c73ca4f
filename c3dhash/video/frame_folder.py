"""Folders of pictures, one a frame -> clips, as if the folder were the video.

Pictures are taken in the order of the numbers in their names: 2.jpg comes before 10.jpg, with zeros in front or
without. A gap in the numbers is an error: the frames after it would be shown too early. Beside the pictures a folder
may hold optical flow, two grey pictures a frame, which `flow_folder_clips` reads:

    img_00001.jpg  img_00002.jpg ...            frames ("img_", "image_", "frame", or no letters)
    flow_x_00001.jpg, flow_y_00001.jpg ...      horizontal and vertical flow (also x_..., y_...)

A folder knows no times. `times.txt` in it (c3dhash data frames writes one) has the time of every picture in
seconds, a line each, and the end of the last one; without it the pictures count as ASSUMED_FPS a second.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from c3dhash.errors import VideoError
from c3dhash.records import Clip, FrameFolder, Segment
from c3dhash.video.clip_plan import Plan, PlannedClip
from c3dhash.video.optical_flow import stacked
from c3dhash.video.pictures import read_picture

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp"))
ASSUMED_FPS = 25.0  # of UCF101, and of JHMDB's frames
TIMES_FILE = "times.txt"

_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)(?P<suffix>\.[A-Za-z]+)")
_FLOW_PREFIX = re.compile(r"(?:flow_)?(?P<axis>[xy])_")
_FRAME_PREFIXES = ("img_", "image_", "frame_", "frame", "img", "image", "")


@dataclass(frozen=True, repr=False)
class FlowClip:
    """Optical flow of a clip: flow uint8 [T, H, W, 2 x stack], x and y as they are stored (128 is no motion in most
    sets), in the order of Note [Flow clips] in optical_flow.py; pts_seconds float64 [T], of the first of each stack;
    the segment that it stands for."""

    flow: np.ndarray
    pts_seconds: np.ndarray
    segment: Segment

    def __repr__(self) -> str:
        return f"FlowClip(flow uint8 {list(self.flow.shape)}, {self.segment})"


def has_frames(folder: Path) -> bool:
    """Tell whether a folder holds a numbered picture, be it a frame or optical flow."""
    try:
        with os.scandir(folder) as content:
            return any(_numbered(entry.name) for entry in content)
    except NotADirectoryError:
        return False


def frame_folder_clips(folder: Path, plan: Plan, *, frames: FrameFolder | None = None) -> Iterator[Clip]:
    """Read a folder of pictures, or a part of it: yield the clips of a plan's one window.

    Args:
        folder: of the pictures.
        plan: the same frames as of the video that the pictures are of.
        frames: which of the pictures; None for all.
    Yields:
        frames uint8 [T, H, W, 3], RGB.
    Raises:
        VideoError: no pictures, a gap, two kinds of them, one that does not decode or of another size.
    """
    (paths,), times = pictures_of(folder, frames)
    for planned in _planned(folder, times, plan):
        chosen = planned.shown(times[:-1].tolist())
        pictures = _read_pictures(
            [paths[index] for index in chosen], short_side=plan.short_side, flags=cv2.IMREAD_COLOR
        )
        yield Clip(np.ascontiguousarray(pictures[..., ::-1]), times[chosen], planned.segment, planned.stack)


def flow_folder_clips(folder: Path, plan: Plan, *, frames: FrameFolder | None = None) -> Iterator[FlowClip]:
    """Read the optical flow in a folder, chosen as in `frame_folder_clips`.

    Raises:
        VideoError: no flow, or one of its two parts is missing or damaged.
    """
    axes, times = pictures_of(folder, frames, is_flow=True)
    for planned in _planned(folder, times, plan):
        chosen = planned.shown(times[:-1].tolist())
        planes = [
            _read_pictures([paths[index] for index in chosen], short_side=plan.short_side, flags=cv2.IMREAD_GRAYSCALE)
            for paths in axes
        ]
        flow = stacked(np.stack(planes, axis=-1), stack=plan.stack)
        yield FlowClip(flow, times[chosen[:: plan.stack]], planned.segment)


def pictures_of(
    folder: Path, frames: FrameFolder | None, *, is_flow: bool = False
) -> tuple[list[list[Path]], np.ndarray]:
    """Return the pictures of a part of a folder, and their times in seconds with the end of the last, float64 [N + 1].

    Returns:
        One list of pictures, or those of horizontal and of vertical flow; the times.
    Raises:
        VideoError: they cannot be listed, or their times are wrong.
    """
    if not is_flow:
        paths = list_frames(folder, frames)
        return [paths], frame_times(folder, frames or FrameFolder(), len(paths))
    part = flow_part(folder, frames or FrameFolder())
    in_x, in_y = (list_frames(folder, part, axis=axis) for axis in ("x", "y"))
    if len(in_x) != len(in_y):
        raise VideoError(f"frame folder '{folder}' has {len(in_x)} pictures of flow in x and {len(in_y)} in y.")
    # There is one flow less than there are frames: the times of the last frame are not asked for.
    return [in_x, in_y], frame_times(folder, FrameFolder(part.offset, len(in_x)), len(in_x))


def holds_flow_alone(folder: Path) -> bool:
    """Tell whether the pictures of a folder are optical flow, and none are frames.

    Raises:
        VideoError: it cannot be read.
    """
    try:
        axes = {_axis(match["prefix"]) for path in folder.iterdir() if (match := _numbered(path.name))}
    except OSError as error:
        raise VideoError(f"frame folder '{folder}' cannot be read ({error.strerror}); check the path.") from error
    return bool(axes) and None not in axes


def flow_part(folder: Path, frames: FrameFolder) -> FrameFolder:
    """Return which flow belongs to a part of a folder: lists count frames, of which the last has none."""
    num_flows = len(_numbers(folder, "x"))
    if frames.num_frames is None or frames.offset + frames.num_frames != num_flows + 1:
        return frames
    return FrameFolder(frames.offset, max(1, frames.num_frames - 1))


def list_frames(folder: Path | str, frames: FrameFolder | None = None, *, axis: str | None = None) -> list[Path]:
    """List the pictures of a folder in the order of their numbers.

    Args:
        folder: of the pictures.
        frames: which of them; None for all.
        axis: "x" or "y" for those of optical flow; None for frames.
    Raises:
        VideoError: there are none, not as many as `frames` says, or not one for each number.
    """
    folder, part = Path(folder), frames or FrameFolder()
    numbers = _numbers(folder, axis)
    ordered = sorted(numbers)
    steps = np.diff(ordered)
    if len(steps) and steps.min() != steps.max():
        place = int(np.argmax(steps > steps.min()))
        raise VideoError(
            f"frame folder '{folder}' has a gap between {numbers[ordered[place]]} and {numbers[ordered[place + 1]]}; "
            "make the frames again: c3dhash data frames."
        )
    end = len(ordered) if part.num_frames is None else part.offset + part.num_frames
    if end > len(ordered) or part.offset >= end:
        raise VideoError(
            f"frame folder '{folder}' has {len(ordered)} pictures; those from {part.offset} to {end} are asked for."
        )
    return [folder / numbers[number] for number in ordered[part.offset : end]]


def frame_times(folder: Path, frames: FrameFolder, num_frames: int) -> np.ndarray:
    """Return the time of each of the `num_frames` that `frames` means, in seconds from the first, and the end.

    Returns:
        float64 [num_frames + 1].
    Raises:
        VideoError: the file with the times is wrong.
    """
    path = folder / TIMES_FILE
    if not path.is_file():
        return np.arange(num_frames + 1) / ASSUMED_FPS
    try:
        times = np.array([float(line) for line in path.read_text().split()])
    except ValueError as error:
        raise VideoError(f"'{path}' must hold a time in seconds a line: {error}.") from error
    end = frames.offset + num_frames
    if len(times) <= end or (frames.num_frames is None and len(times) > end + 1):
        raise VideoError(f"'{path}' has {len(times)} times, {end} pictures need {end + 1}.")
    times = times[frames.offset : end + 1]
    if not np.all(np.diff(times) >= 0):
        raise VideoError(f"'{path}' must hold times that do not fall, got {times.min():g} after {times.max():g}.")
    return np.asarray(times - times[0])


def _planned(folder: Path, times: np.ndarray, plan: Plan) -> list[PlannedClip]:
    """Return the clips of the window that a plan shows of a folder.

    Args:
        times: of every frame, and the end of the last.
    """
    return plan.clips([shown_segment(folder, times, plan)])


def shown_segment(folder: Path, times: np.ndarray, plan: Plan) -> Segment:
    """Return the segment that a plan shows of a folder, cut at the end.

    Raises:
        VideoError: it begins after the end.
    """
    segments = plan.segments(float(times[-1]))
    if not segments:
        assert plan.segment  # there are frames
        start = plan.segment.start_seconds
        raise VideoError(f"frame folder '{folder}' lasts {times[-1]:.2f} s, but a segment begins at {start:.2f} s.")
    return segments[0]


def _numbers(folder: Path, axis: str | None) -> dict[int, str]:
    """Return number -> name of the pictures of a folder: its frames, or its flow along an axis."""
    try:
        matches = [match for path in folder.iterdir() if (match := _numbered(path.name))]
    except OSError as error:
        raise VideoError(f"frame folder '{folder}' cannot be read ({error.strerror}); check the path.") from error
    prefixes = Counter(match["prefix"] for match in matches)
    wanted = [prefix for prefix in prefixes if _axis(prefix) == axis]
    if not wanted:
        what = "numbered pictures" if axis is None else f"optical flow in {axis}"
        other = ", ".join(f"{count} {prefix}*" for prefix, count in sorted(prefixes.items())) or "nothing of the kind"
        raise VideoError(f"frame folder '{folder}' has no {what}, it holds {other}.")
    known = [prefix for prefix in _FRAME_PREFIXES if prefix in wanted]
    if len(wanted) > 1 and not known:
        kinds = ", ".join(f"{count} {prefix}*" for prefix, count in sorted(prefixes.items()) if prefix in wanted)
        raise VideoError(f"frame folder '{folder}' has several kinds of pictures: {kinds}; keep one.")
    prefix = (known or wanted)[0]
    numbers: dict[int, str] = {}
    for match in matches:
        if match["prefix"] == prefix and (twin := numbers.setdefault(int(match["number"]), match[0])) != match[0]:
            raise VideoError(f"frame folder '{folder}' has number {int(match['number'])} twice: {twin} and {match[0]}.")
    return numbers


def _numbered(name: str) -> re.Match[str] | None:
    match = _NUMBERED.fullmatch(name)
    return match if match and match["suffix"].lower() in PICTURE_SUFFIXES and not name.startswith(".") else None


def _axis(prefix: str) -> str | None:
    match = _FLOW_PREFIX.fullmatch(prefix)
    return match["axis"] if match else None


def _read_pictures(paths: list[Path], *, short_side: int | None, flags: int) -> np.ndarray:
    """Decode pictures of one size, each once: uint8 [T, H, W, 3] in BGR, or [T, H, W]."""
    pictures: dict[Path, np.ndarray] = {}
    for path in paths:
        if path not in pictures:
            pictures[path] = read_picture(path, short_side=short_side, flags=flags)
        if pictures[path].shape != pictures[paths[0]].shape:
            sizes = [f"{picture.shape[1]} x {picture.shape[0]}" for picture in (pictures[paths[0]], pictures[path])]
            raise VideoError(f"picture '{path}' is {sizes[1]}, the ones before are {sizes[0]} px.")
    return np.stack([pictures[path] for path in paths])
