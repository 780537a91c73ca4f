"""Clips that show nothing: black, white, one colour, up to the noise of a sensor or of a codec; or, to flow, no motion.

Note [Flat frames]
    A frame is flat where the means of 8 x 8 parts of it differ by at most FLAT_LEVELS in each channel, and those of
    64 x 64 parts by at most DOT_LEVELS, so that a small thing on an empty ground is something. Means of parts are what
    tells a dark scene, which differs from place to place, from noise, which does not.
    Of the 724 clips of JHMDB and UT-Interaction, 8 frames each, the parts of the least flat frame differ by 45 or more;
    where every pixel has a fifth of its value by 9 or more, a tenth by 5 or more: the darkest of them keep their codes.
    Black, grey, white and blue frames of 320 x 240 with sensor noise of a deviation of 8, coded by H.264 (crf 18 and
    45), MPEG-4, MPEG-2 and Motion JPEG (quantizer 31) and VP9 (crf 50): 3 at most.
"""

from __future__ import annotations

import cv2
import numpy as np

FLAT_PARTS, FLAT_LEVELS = 8, 4
DOT_PARTS, DOT_LEVELS = 64, 32
STILL_LEVELS = 8  # by which these may differ from frame to frame where nothing moves, by what a codec does


def is_still(frames: np.ndarray) -> bool:
    """Tell whether all frames of a clip are one picture, uint8 [T, H, W, 3]: to optical flow, that is nothing.

    So they are in a video of one frame, and while a picture is held. (Flow cannot tell: of a small picture in which
    something small moves, it is next to nothing.)
    """
    first, *others = (_dots(frame) for frame in frames)
    return all(int(cv2.absdiff(other, first).max()) <= STILL_LEVELS for other in others)


def is_flat(frames: np.ndarray) -> bool:
    """Tell whether every frame of a clip is flat, uint8 [T, H, W, 3]. Note [Flat frames]."""
    return all(_is_flat(frame) for frame in frames)


def _is_flat(frame: np.ndarray) -> bool:
    small = _dots(frame)
    if _levels(small) > DOT_LEVELS:
        return False
    return _levels(cv2.resize(small, (FLAT_PARTS, FLAT_PARTS), interpolation=cv2.INTER_AREA)) <= FLAT_LEVELS


def _dots(frame: np.ndarray) -> np.ndarray:
    """Return the means of DOT_PARTS x DOT_PARTS parts of a frame, uint8."""
    return cv2.resize(frame, (DOT_PARTS, DOT_PARTS), interpolation=cv2.INTER_AREA)


def _levels(picture: np.ndarray) -> int:
    """Return by how much the pixels of a picture differ, in the channel in which they differ most."""
    pixels = picture.reshape(-1, picture.shape[2]).astype(int)
    return int((pixels.max(axis=0) - pixels.min(axis=0)).max())
