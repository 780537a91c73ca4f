"""Frames with their times -> a video file.

PyAV writes where it is installed: each frame at its own time, and the sound of the source beside it. OpenCV writes
otherwise, and AVI files, at one frame rate and without sound: a frame is repeated where it is shown for longer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from c3dhash.errors import UsageError, VideoError
from c3dhash.files import clear_leftovers, replacing

logger = logging.getLogger(__name__)

OPENCV_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
AV_CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
DEFAULT_FPS = 25.0  # of a source whose header says nothing


class VideoWriter(Protocol):
    """Takes the frames of a video in their order."""

    def write(self, picture: np.ndarray, start_seconds: float, end_seconds: float) -> None:
        """Show a picture, uint8 [H, W, 3] RGB, from start to end."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


def check_output(path: Path) -> None:
    """Make sure that a video can be written to a path, before it is made.

    Raises:
        UsageError: no codec for its suffix.
    """
    known = {*OPENCV_CODECS, *(AV_CODECS if find_spec("av") else ())}
    if path.suffix.lower() not in known:
        more = sorted({*AV_CODECS} - known)
        hint = f"; with pip install c3dhash[av] also {', '.join(more)}" if more else ""
        raise UsageError(f"'{path}': videos can be written as {', '.join(sorted(known))}{hint}.")


@contextmanager
def writing_video(path: Path, *, size_px: tuple[int, int], fps: float, sound_of: Path) -> Iterator[VideoWriter]:
    """Hand out a writer; what it wrote gets the name `path` in the end. An error leaves no trace.

    Args:
        path: nothing may be there; its suffix says what kind of file.
        size_px: width and height of the pictures.
        fps: frame rate of the source; 0 where it is not known.
        sound_of: the video whose sound is copied, where PyAV is installed.
    Raises:
        UsageError: as of `check_output`, or something is there.
        VideoError: it cannot be written.
    """
    check_output(path)
    clear_leftovers(path.parent)  # of a start that was killed
    with replacing(path, suffix=path.suffix.lower(), must_be_free=True) as partial:
        if find_spec("av") and path.suffix.lower() in AV_CODECS:
            from c3dhash.video.av_writer import AVWriter

            with AVWriter(
                partial, name=path.name, size_px=size_px, fps=fps or DEFAULT_FPS, sound_of=sound_of
            ) as writer:
                yield writer
            return
        advice = "take .mp4" if find_spec("av") else "pip install c3dhash[av]"
        logger.info("'%s' is without sound, and of one frame rate; to keep both: %s.", path, advice)
        opencv_writer = OpenCVWriter(partial, size_px=size_px, fps=fps or DEFAULT_FPS)
        try:
            yield opencv_writer
        finally:
            opencv_writer.close()
        opencv_writer.check(partial, name=path.name)


class OpenCVWriter:
    """A VideoWriter at one frame rate.

    Raises:
        VideoError: this build of OpenCV does not write such files.
    """

    def __init__(self, path: Path, *, size_px: tuple[int, int], fps: float) -> None:
        self._fps, self._num_written = fps, 0
        code = cv2.VideoWriter.fourcc(*OPENCV_CODECS[path.suffix])
        self._writer = cv2.VideoWriter(str(path), code, fps, size_px)
        if not self._writer.isOpened():
            raise VideoError(f"this build of OpenCV cannot write {path.suffix}; pip install c3dhash[av].")

    def write(self, picture: np.ndarray, start_seconds: float, end_seconds: float) -> None:
        bgr = np.ascontiguousarray(picture[..., ::-1])
        for _ in range(max(1, round(end_seconds * self._fps) - self._num_written)):  # every frame once at the least
            self._writer.write(bgr)
            self._num_written += 1

    def close(self) -> None:
        self._writer.release()

    def check(self, path: Path, *, name: str) -> None:
        """Make sure that all frames are there: OpenCV does not say where the disk is full.

        Raises:
            VideoError: they are not.
        """
        capture = cv2.VideoCapture(str(path))
        num_frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if num_frames < self._num_written:
            raise VideoError(
                f"'{name}' cannot be written: {num_frames} of {self._num_written} frames; is the disk full?"
            )
