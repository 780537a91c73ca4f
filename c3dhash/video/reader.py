"""Video files -> clips: the right frames with their times in seconds, or a VideoError.

    file ──> packets (PyAV, where it is installed) ──> Clip, Clip, ...
               └─ passes (OpenCV), for what does not fit and where it is not

Both give the same frames at the same times; clip_plan says which ones.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np

from c3dhash.errors import UsageError, VideoError
from c3dhash.records import Clip, Segment, VideoInfo
from c3dhash.video import passes
from c3dhash.video.clip_plan import Plan, Unsuited
from c3dhash.video.containers import VIDEO_SUFFIXES, check_regular
from c3dhash.video.decoder import Decoder
from c3dhash.video.limits import Limits
from c3dhash.video.loader import stop_point

logger = logging.getLogger(__name__)

HASHED_BYTES = 1 << 20  # read at a time


def find_videos(directory: Path | str, *, on_error: Callable[[OSError], object] | None = None) -> list[Path]:
    """List the video files (by suffix) in a folder and its subfolders, sorted; hidden ones are skipped.

    Links to folders are followed, each folder once.

    Args:
        on_error: called with what makes a subfolder unreadable; None logs it.
    Raises:
        UsageError: no such folder.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UsageError(f"directory '{directory}' is not a folder; name a folder of videos.")
    found, seen = [], set()
    for folder, subfolders, names in os.walk(directory, followlinks=True, onerror=on_error or _warn):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    return sorted(found)


def _warn(error: OSError) -> None:
    logger.warning("folder '%s' is left out: %s.", error.filename, error.strerror)


def find_each(places: Sequence[Path | str]) -> dict[Path, VideoError | None]:
    """Return the videos of files and folders, each once, with the errors of the folders that cannot be read.

    Raises:
        UsageError: there are none.
    """
    found: dict[Path, VideoError | None] = {}

    def note(error: OSError) -> None:
        folder = Path(error.filename)
        found[folder] = VideoError(f"folder '{folder}' cannot be read: {error.strerror}.")
        logger.warning("%s", found[folder])

    for place in map(Path, places):
        for video in find_videos(place, on_error=note) if place.is_dir() else [place]:
            found.setdefault(video, None)
    if not found:
        raise UsageError(f"no videos in {', '.join(repr(str(place)) for place in places)}.")
    return found


def content_hash(path: Path | str) -> str:
    """Return the BLAKE2b hash of a file's bytes, 32 hexadecimal digits; to notice a changed video.

    In a thread of `loader.prefetch` it ends with the consumer (Ctrl-C), also in the middle of a large file.
    Raises:
        VideoError: missing, unreadable, or no regular file (a pipe would never end).
    """
    path = Path(path)
    check_regular(path)
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(HASHED_BYTES):
                stop_point()
                digest.update(block)
    except OSError as error:
        raise VideoError(f"video '{path}' cannot be read ({error.strerror}); check the path.") from error
    return digest.hexdigest()


def probe(path: Path | str) -> VideoInfo:
    """Return what the header of a video claims; no frame is read.

    Raises:
        VideoError: the file is missing, empty, cut short, or has no video stream that can be decoded.
    """
    with Decoder(Path(path)) as decoder:
        return decoder.info


def choose_frames(num_available: int, num_frames: int) -> np.ndarray:
    """Choose frames spread evenly: the centre of each of `num_frames` equal bins.

        num_available = 7, num_frames = 3: bins of 7/3 frames, centres 1.17, 3.5, 5.83

        frame    0    1    2    3    4    5    6
              |    |  x |  | |    | x  | |  |  x |    |
                   1            3           5

    Returns:
        int64 [num_frames], floor((i + 0.5) * num_available / num_frames): not decreasing, within
        0..num_available - 1; frames are repeated where there are fewer than asked for.
    Raises:
        UsageError: either number is below 1.
    """
    if num_available < 1 or num_frames < 1:
        raise UsageError(f"num_available ({num_available}) and num_frames ({num_frames}) must be at least 1.")
    return (2 * np.arange(num_frames) + 1) * num_available // (2 * num_frames)


def read_plan(path: Path, plan: Plan, *, on_frame: Callable[[], object] | None = None) -> Iterator[Clip]:
    """Yield the clips of a plan of a video; see `read_clips`."""
    with closing(_read(path, plan, on_frame)) as clips:
        yield from clips


def read_clip(
    path: Path | str,
    *,
    num_frames: int,
    short_side: int | None = None,
    segment: Segment | None = None,
    interval_seconds: float | None = None,
    phase: float = 0.5,
    on_frame: Callable[[], object] | None = None,
) -> Clip:
    """Read a whole video, or a segment of it, as one clip.

    Args:
        num_frames: T, spread evenly: frame i is the one shown at start + (i + 0.5) * duration / T. For a constant
            frame rate these are `choose_frames`. A video of fewer frames repeats some.
        interval_seconds: from frame to frame of a clip in the middle, in place of that; see `clip_plan`.
        short_side: px, the short side of the frames after resizing; the video's own where None.
        segment: seconds; one that reaches past the end of the video is cut there, see `Clip.segment`.
        phase: in place of 0.5 above, from 0 to 1.
        on_frame: as in `read_clips`.
    Returns:
        frames uint8 [T, H, W, 3] RGB, upright, of the first frame's size where that changes; `segment` is
        0 .. end of the last frame for a whole video.
    Raises:
        VideoError: see `read_clips`; or the segment begins after the end.
    """
    plan = Plan(
        num_frames, short_side, segment=segment, interval_seconds=interval_seconds, clips_per_window=1, phase=phase
    )
    with closing(_read(Path(path), plan, on_frame)) as clips:
        return next(clips)


def read_clips(
    path: Path | str,
    *,
    num_frames: int,
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    short_side: int | None = None,
    interval_seconds: float | None = None,
    clips_per_window: int | None = None,
    stack: int = 1,
    limits: Limits | None = None,
    on_frame: Callable[[], object] | None = None,
) -> Iterator[Clip]:
    """Read a video as the clips of its windows; of one window where it is no longer than that.

        window 4, stride 4         |-------|-------|       |          a last window ends at the end of the
        video of 10 s              0       4     6 8      10          video, so that its tail is covered;
                                                 |---------|          a tail below window / num_frames, too
                                                                      short for a frame of its own, is left

    The video is decoded in order, and only the frames of the windows at hand are held.

    Args:
        num_frames: T, frames of each clip: spread over the window as in `read_clip`, one clip a window.
        window_seconds: None for the whole video.
        stride_seconds: from the start of a window to that of the next; `window_seconds` where None.
        short_side: px, as in `read_clip`.
        interval_seconds: from frame to frame of the clips of a window, in place of spreading them; see `clip_plan`.
        clips_per_window: how many of these; by default 1 to 3, by the length of the window. They follow each other, in
            the order of their times, and have the window as their segment.
        stack: frames that follow each other at each of T places; see `clip_plan`.
        limits: of what is read; None for none.
        on_frame: called with each packet that is read or frame that is decoded, so that a long silence shows a
            decoder that hangs.
    Raises:
        UsageError: an argument is out of range.
        VideoError: not a video, beyond the limits, cut short, or its timestamps make no sense. The last three may
            show only at the end, after clips of good frames were handed out.
    """
    if stride_seconds is not None and window_seconds is None:
        raise UsageError(f"stride_seconds ({stride_seconds}) needs window_seconds; set both or none.")
    stride_seconds = window_seconds if stride_seconds is None else stride_seconds
    plan = Plan(
        num_frames,
        short_side,
        window_seconds,
        stride_seconds,
        interval_seconds=interval_seconds,
        clips_per_window=clips_per_window,
        stack=stack,
        limits=limits,
    )
    return _read(Path(path), plan, on_frame)


def _read(path: Path, plan: Plan, on_frame: Callable[[], object] | None = None) -> Generator[Clip, None, None]:
    """Yield the clips of a plan, window after window."""
    num_done = 0
    if packets := _packets():
        try:
            for clip in packets.read(path, plan, on_frame):
                yield clip
                num_done += 1
            return
        except Unsuited as error:
            logger.debug("video '%s' is read with OpenCV: %s.", path, error)
    yield from islice(passes.read(path, plan, on_frame), num_done, None)


@functools.cache
def _packets() -> ModuleType | None:
    """Return the module that reads with PyAV, or None where that is not installed."""
    try:
        from c3dhash.video import packets
    except ImportError as error:
        logger.debug("videos are read with OpenCV: %s.", error)
        return None
    return packets
