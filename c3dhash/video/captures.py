"""An open video, a frame after the other, with OpenCV: what c3dhash.video.decoder asks of it.

`av_capture` does the same with PyAV, for what a build of OpenCV lacks (AV1).

Note [Interlaced]
    OpenCV 5 (with FFmpeg 8) does not convert frames that are marked as interlaced (DV, DVDs, broadcasts) and says
    nothing: it hands out what its buffer held before. So files whose first frame is interlaced are read with PyAV.
    Where that is not installed nothing shows it but that all pictures are the same, as those of a still are; then a
    warning is all that can be done.

Note [Colours]
    OpenCV (4.14 and 5.0, with FFmpeg 8) converts pictures of HDR, and of primaries wider than those of usual videos
    (BT.2020, which phones record, P3), and makes tables for it anew with each picture: 0.3 to 0.7 s of a core, and
    other pixels than PyAV's, by 5 to 19 of 255 in the mean. So such files are read with PyAV, as they are stored.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, when OpenCV opens its first video
import cv2

if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)


CONVERTS_INTERLACED = int(cv2.__version__.split(".")[0]) < 5  # Note [Interlaced]
COMPARED_ROWS = 16  # of a picture, to tell it from another


class Claims(NamedTuple):
    """What a decoder says of a video before it decodes: frames as they are stored. 0 is not known.

    codec: four letters. pixel_aspect: width of a pixel by its height. degrees: how far to turn, clockwise.
    """

    codec: str
    width_px: int
    height_px: int
    fps: float
    num_frames: int
    pixel_aspect: float
    degrees: int


class Capture(Protocol):
    """An open video."""

    claims: Claims

    def grab(self) -> bool:
        """Decode the next frame; False where there is none, or none that decodes."""

    def seconds(self) -> float:
        """Return the time of the frame that was decoded last, 0 where it has none."""

    def picture(self) -> np.ndarray | None:
        """Return that frame, uint8 [H, W, 3], BGR, as it is stored and of the size of the first; None: it is broken."""

    def seek(self, seconds: float) -> None:
        """Go to about a time, as `seconds` counts."""

    def close(self) -> None:
        """Give the file back."""


class OpenCVCapture:
    """A Capture. `claims` makes no sense where it is not `is_open`."""

    def __init__(self, path: Path) -> None:
        # An absolute path is never taken for a protocol ("a:b.mp4"). CAP_FFMPEG keeps digits in a name from
        # being read as the pattern of an image sequence. One thread: callers read several videos at once, and
        # a frame then costs a third less CPU time than with two.
        self._capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        self.is_open: bool = self._capture.isOpened()
        self.num_pictures, self.are_all_same = 0, True
        self._first: np.ndarray | None = None  # some rows of the first picture
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # Note [Upright] of c3dhash.video.display
        get = self._capture.get
        self.claims = Claims(
            codec=int(get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("ascii", "replace"),
            width_px=int(get(cv2.CAP_PROP_FRAME_WIDTH)),
            height_px=int(get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps=get(cv2.CAP_PROP_FPS),
            num_frames=int(get(cv2.CAP_PROP_FRAME_COUNT)),
            pixel_aspect=get(cv2.CAP_PROP_SAR_NUM) / (get(cv2.CAP_PROP_SAR_DEN) or 1),
            degrees=round(get(cv2.CAP_PROP_ORIENTATION_META)) % 360,
        )

    def grab(self) -> bool:
        return self._capture.grab()

    def seconds(self) -> float:
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def picture(self) -> np.ndarray | None:
        is_decoded, frame = self._capture.retrieve()
        if not is_decoded:
            return None
        rows = frame[:: max(1, len(frame) // COMPARED_ROWS)]
        self._first = rows.copy() if self._first is None else self._first
        self.are_all_same = self.are_all_same and np.array_equal(rows, self._first)
        self.num_pictures += 1
        return frame

    def seek(self, seconds: float) -> None:
        self._capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * seconds)

    def close(self) -> None:
        self._capture.release()
