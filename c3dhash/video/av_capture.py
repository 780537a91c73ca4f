"""What is needed of PyAV: a file opened, frames as OpenCV gives them, and a Capture (c3dhash.video.captures)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from c3dhash.video.captures import Claims
from c3dhash.video.clip_plan import Unsuited

OLDEST_AV = 17
VERSION = int(av.__version__.split(".")[0])
if VERSION < OLDEST_AV:
    raise ImportError(f"PyAV {av.__version__} is older than {OLDEST_AV}; pip install --upgrade av")


def open_file(path: Path) -> av.container.InputContainer:
    """Open a file: a path is never taken for a protocol, and a title in an unknown encoding is no reason to fail.

    Raises:
        av.FFmpegError, ValueError: it is none that FFmpeg knows.
    """
    lenient = {"metadata_errors": "replace"} if VERSION < 19 else {}  # which it is by itself since
    return av.open(f"file:{path.absolute()}", **lenient)


def open_video(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a file; return it and its first video stream, which is decoded in one thread.

    Raises:
        Unsuited: there is none, or none that decodes.
        av.FFmpegError, ValueError: it is no video.
    """
    container = open_file(path)
    if not container.streams.video:
        raise Unsuited("it has no video stream")
    stream = container.streams.video[0]
    codec = stream.codec_context
    if codec is None:
        raise Unsuited("its codec is unknown")
    if stream.disposition & Disposition.attached_pic:
        raise Unsuited("its first picture is a cover")
    codec.thread_type, codec.thread_count = "NONE", 1  # callers read several videos at once
    return container, stream


def tick_of(stream: av.VideoStream) -> Fraction:
    """Return the unit of a stream's times, in seconds.

    Raises:
        Unsuited: it has none.
    """
    if not stream.time_base:
        raise Unsuited("its times have no unit")
    return Fraction(stream.time_base)


def claims_of(container: av.container.InputContainer, stream: av.VideoStream) -> Claims:
    """Return what a file says of a stream, by the rules of OpenCV."""
    tick_seconds = tick_of(stream)
    rate = float(stream.average_rate or 1 / tick_seconds)
    seconds = (container.duration or 0) / av.time_base or (stream.duration or 0) * float(tick_seconds)
    return Claims(
        codec=stream.codec_context.codec.canonical_name,
        width_px=stream.width,
        height_px=stream.height,
        fps=rate,
        num_frames=stream.frames or int(seconds * rate + 0.5),
        pixel_aspect=float(stream.sample_aspect_ratio or 1),
        degrees=0,
    )


class Converter:
    """Frames of PyAV -> uint8 [H, W, 3] BGR, by swscale with OpenCV's settings."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()  # keeps its tables from frame to frame

    def to_bgr(self, frame: av.VideoFrame, size_px: tuple[int, int]) -> np.ndarray:
        """Return the picture of a frame at a size, which is valid until the next call."""
        width_px, height_px = size_px
        converted = self._reformatter.reformat(
            frame, width=width_px, height=height_px, format="bgr24", interpolation="BICUBIC", threads=1
        )
        plane = converted.planes[0]
        return np.ndarray((height_px, width_px, 3), np.uint8, memoryview(plane), strides=(plane.line_size, 3, 1))


class AVCapture:
    """A Capture.

    Raises:
        Unsuited, av.FFmpegError, ValueError: see `open_video`.
    """

    def __init__(self, path: Path) -> None:
        self._container, self._stream = open_video(path)
        self._tick_seconds = tick_of(self._stream)
        self.claims = claims_of(self._container, self._stream)
        self._frames: Iterator[av.VideoFrame] = self._container.decode(self._stream)
        self._frame: av.VideoFrame | None = None
        self._size_px: tuple[int, int] | None = None  # of the first frame
        self._converter = Converter()

    def grab(self) -> bool:
        try:
            self._frame = next(self._frames, None)
        except av.FFmpegError:
            self._frame = None  # OpenCV, too, stops at what does not decode
        if self._frame is None:
            return False
        self._size_px = self._size_px or (self._frame.width, self._frame.height)
        return True

    def is_interlaced(self) -> bool:
        """Tell whether the frame that was decoded last is marked as interlaced."""
        return self._frame is not None and bool(self._frame.interlaced_frame)

    def seconds(self) -> float:
        pts = None if self._frame is None else self._frame.pts
        return 0.0 if pts is None else float((pts - (self._stream.start_time or 0)) * self._tick_seconds)

    def picture(self) -> np.ndarray | None:
        if self._frame is None or self._size_px is None:
            return None
        return self._converter.to_bgr(self._frame, self._size_px)

    def seek(self, seconds: float) -> None:
        ticks = int(seconds / self._tick_seconds) + (self._stream.start_time or 0)
        self._container.seek(ticks, stream=self._stream)
        self._frames = self._container.decode(self._stream)

    def close(self) -> None:
        self._container.close()
