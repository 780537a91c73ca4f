"""A video, a folder of pictures, or a part of one -> all of its frames with their times, one after the other.

For what keeps them (c3dhash.video.stored). The frames and times are those that clips are made of: the ones on display
from the start of a segment to its end. OpenCV decodes videos (PyAV those that OpenCV cannot): where everything is
decoded there is nothing to leave out, and both give the same frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from c3dhash.records import FrameFolder, Segment, VideoInfo
from c3dhash.video.clip_plan import EPSILON_SECONDS, Plan, final_segments
from c3dhash.video.decoder import FAR_SECONDS, Decoder
from c3dhash.video.frame_folder import pictures_of, shown_segment
from c3dhash.video.pictures import read_picture
from c3dhash.video.stored import MAX_FRAMES, Unkept

LEAD_SECONDS = 2.0  # before a segment, in which the frame on display at its start is looked for

# Time in seconds and picture of a frame; the end of the last, without one.
Frames = Iterator[tuple[float, np.ndarray | None]]


def video_frames(path: Path, *, segment: Segment | None, short_side: int, on_frame: Callable[[], object]) -> Frames:
    """Yield the frames of a video: uint8 [H, W, 3], RGB, as it is shown.

    Args:
        segment: seconds; None for all.
        short_side: px, of the pictures.
        on_frame: called with each frame that is decoded.
    Raises:
        Unkept: it has more than MAX_FRAMES, or the way to the segment was not sure.
        VideoError: it does not decode, or the segment begins after its end.
    """
    open_decoder = partial(Decoder, path, short_side=short_side, on_frame=on_frame)
    with open_decoder() as decoder:
        video_seconds = decoder.info.duration_seconds
        start, end = (segment.start_seconds, segment.end_seconds) if segment else (0.0, video_seconds)
        if (min(end, video_seconds) - start) * decoder.info.fps > MAX_FRAMES:
            raise Unkept(f"it has {decoder.info.fps * (end - start):.0f} frames")
        if FAR_SECONDS < start < end < video_seconds and decoder.seek(start):
            if not (yield from _on_display(decoder, segment, [])):
                raise Unkept("the video ends before its header says")
            yield end, None
            return
    times: list[float] = []
    with open_decoder() as decoder:
        if not (yield from _on_display(decoder, segment, times)):
            end = final_segments(Plan(1, segment=segment), path, decoder.end_seconds(times))[0].end_seconds
        yield end, None


def full_frames(path: Path, *, on_frame: Callable[[], object]) -> Iterator[VideoInfo | tuple[float, np.ndarray | None]]:
    """Yield what the header of a video says, then every frame at its own size with its time, then the end without one.

    Raises:
        VideoError: it does not decode; that may show after frames were yielded.
    """
    with Decoder(path, on_frame=on_frame) as decoder:
        yield decoder.info
        times: list[float] = []
        for time in decoder.times():
            times.append(time)
            yield time, decoder.picture()
        yield decoder.end_seconds(times), None


def _on_display(
    decoder: Decoder, segment: Segment | None, times: list[float]
) -> Generator[tuple[float, np.ndarray | None], None, bool]:
    """Yield the frames on display in a segment; return whether the video goes on after it.

    Args:
        times: the time of each frame is added.
    """
    start, end = (segment.start_seconds, segment.end_seconds) if segment else (0.0, math.inf)
    at_start: tuple[float, np.ndarray] | None = None  # the frame on display there
    is_before = True
    for time in decoder.times():
        times.append(time)
        if time <= start + EPSILON_SECONDS:
            at_start = (time, decoder.picture()) if time > start - LEAD_SECONDS else None
            continue
        if is_before:
            if at_start is None:
                raise Unkept(f"no frame in the {LEAD_SECONDS} s before the segment")
            yield at_start
            is_before = False
        if time >= end:
            return True
        yield time, decoder.picture()
    if is_before and at_start is not None:
        yield at_start
    return False


def folder_frames(
    folder: Path,
    *,
    frames: FrameFolder,
    is_flow: bool,
    segment: Segment | None,
    short_side: int,
    on_frame: Callable[[], object],
) -> Frames:
    """Yield the frames of a folder of pictures: uint8 [H, W, 3], RGB, or its flow: uint8 [H, W, 2].

    Args:
        frames: which of the pictures.
        segment, short_side, on_frame: as of `video_frames`.
    Raises:
        VideoError: a picture does not decode, or the segment begins after the end.
    """
    planes, times = pictures_of(folder, frames, is_flow=is_flow)
    shown = shown_segment(folder, times, Plan(1, segment=segment))
    first = np.searchsorted(times[:-1], shown.start_seconds + EPSILON_SECONDS, side="right") - 1
    last = np.searchsorted(times[:-1], shown.end_seconds)
    read = partial(read_picture, short_side=short_side, flags=cv2.IMREAD_GRAYSCALE if is_flow else cv2.IMREAD_COLOR)
    for index in range(first, last):
        on_frame()
        pictures = [read(paths[index]) for paths in planes]
        yield float(times[index]), np.stack(pictures, axis=-1) if is_flow else pictures[0][..., ::-1]
    yield shown.end_seconds, None
