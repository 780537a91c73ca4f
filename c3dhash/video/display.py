"""How decoded frames are shown: turned, mirrored, with square pixels; and what is not done for HDR.

Note [Upright]
    A recorder that is held on its side writes frames as its sensor reads them, and a matrix beside them: turn by 90,
    180 or 270 degrees, mirror, or both. OpenCV makes one angle of it, under which a mirror is upside down, so frames
    are taken as they are stored and the matrix is applied here. Other angles are left alone. A pixel may be wider than
    high (720 x 576 shown as 1024 x 576): width times pixel aspect is the width in square pixels.
    An orientation inside an H.264 or H.265 stream (SEI) is not known to OpenCV, and used by neither way.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from c3dhash.video.headers import Header, Matrix
from c3dhash.video.pictures import resize_picture

logger = logging.getLogger(__name__)

MAX_PIXEL_ASPECT = 4.0  # more, or less than its inverse, is a header that cannot be right
MIN_PIXEL_STRETCH = 0.01  # less is what sizes are rounded by
MAX_SKEW = 0.02  # of a matrix that is meant as a turn by a right angle: about 1 degree
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ISO/IEC 23091-2, 8.2
WIDE_PRIMARIES = frozenset((8, 9, 10, 11, 12))  # ISO/IEC 23091-2, 8.1: film, BT.2020, XYZ, P3 twice
TURNS: dict[int, Matrix] = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # clockwise


@dataclass(frozen=True)
class Display:
    """What to do with a stored frame. Note [Upright].

    is_swapped: rows become columns. flips_x, flips_y: then left and right, top and bottom change places.
    pixel_aspect: width of a stored pixel by its height.
    """

    is_swapped: bool = False
    flips_x: bool = False
    flips_y: bool = False
    pixel_aspect: float = 1.0

    def size_px(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Return width and height, in square pixels, at which stored frames of a size are shown."""
        width_px = max(1, round(width_px * self.pixel_aspect))
        return (height_px, width_px) if self.is_swapped else (width_px, height_px)

    def to_rgb(self, frame: np.ndarray, short_side: int | None) -> np.ndarray:
        """Return a stored BGR frame as it is shown: uint8 [H, W, 3], RGB, of a short side in px where one is given."""
        if self.is_swapped:
            frame = cv2.transpose(frame)
        if self.flips_x or self.flips_y:
            frame = cv2.flip(frame, -1 if self.flips_x and self.flips_y else 1 if self.flips_x else 0)
        stretch = (1.0, self.pixel_aspect) if self.is_swapped else (self.pixel_aspect, 1.0)
        return cv2.cvtColor(resize_picture(frame, short_side=short_side, stretch=stretch), cv2.COLOR_BGR2RGB)


def make_display(header: Header, *, pixel_aspect: float, degrees: int = 0) -> Display:
    """Return how the frames of a file are shown.

    Args:
        header: of the file.
        pixel_aspect: width of a stored pixel by its height, as the decoder says; 1.0 where it cannot be meant.
        degrees: clockwise, as the decoder says; for files whose header is not known.
    """
    matrix = header.matrix or TURNS.get(degrees)
    if not 1 / MAX_PIXEL_ASPECT <= pixel_aspect <= MAX_PIXEL_ASPECT or abs(pixel_aspect - 1) < MIN_PIXEL_STRETCH:
        pixel_aspect = 1.0
    if matrix is None:
        return Display(pixel_aspect=pixel_aspect)
    a, b, c, d = matrix
    kept, swapped = (abs(a), abs(d)), (abs(b), abs(c))
    if max(swapped) <= MAX_SKEW * min(kept):
        return Display(False, a < 0, d < 0, pixel_aspect)
    if max(kept) <= MAX_SKEW * min(swapped):
        return Display(True, c < 0, b < 0, pixel_aspect)
    return Display(pixel_aspect=pixel_aspect)


def has_wide_colours(header: Header) -> bool:
    """Tell whether a video has colours that OpenCV may convert. Note [Colours] of captures.py."""
    return header.primaries in WIDE_PRIMARIES or header.transfer in HDR_TRANSFERS


@lru_cache(maxsize=1000)
def warn_of_conversion(path: Path) -> None:
    """Say, once a file, that OpenCV makes other colours of it than are stored. Note [Colours] of captures.py."""
    logger.warning(
        "video '%s' has colours of HDR or of a wide gamut, which OpenCV may convert, at half a second a picture: PyAV "
        "reads them as they are stored, and fast: pip install c3dhash[av].",
        path,
    )


@lru_cache(maxsize=1000)
def warn_of_hdr(path: Path, transfer: int | None) -> None:
    """Say, once a file, that its brightness is left as it is stored, where that is not that of usual videos."""
    if transfer in HDR_TRANSFERS:
        logger.warning(
            "video '%s' is HDR (%s), and its brightness is not mapped to that of usual videos: its codes are those of "
            "a dull picture, far from an SDR copy's.",
            path, HDR_TRANSFERS[transfer],
        )  # fmt: skip
