"""Single pictures: from a file, and to the size that is asked for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from c3dhash.errors import UsageError, VideoError
from c3dhash.video.containers import check_regular

# How a whole file ends; a few bytes may follow.
_END_MARKS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}
_END_BYTES = 64


def read_picture(path: Path, *, short_side: int | None = None, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decode a picture file: uint8 [H, W, 3] in BGR, or [H, W] with IMREAD_GRAYSCALE.

    Raises:
        VideoError: missing, cut short or no picture.
    """
    check_regular(path, what="picture")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VideoError(f"picture '{path}' cannot be read ({error.strerror}).") from error
    end_mark = _END_MARKS.get(content[:2], b"")
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if picture is None or end_mark not in content[-_END_BYTES:]:
        raise VideoError(f"picture '{path}' is damaged or no picture ({len(content)} bytes); make the frames again.")
    return resize_picture(picture, short_side=short_side)


def resize_picture(picture: np.ndarray, *, short_side: int | None) -> np.ndarray:
    """Resize a picture, uint8 [H, W] or [H, W, 3], to a short side in px; None leaves it as it is."""
    height_px, width_px = picture.shape[:2]
    if short_side is None or short_side == min(height_px, width_px):
        return picture
    if short_side < 1:
        raise UsageError(f"short_side ({short_side}) must be at least 1 px; None keeps the size.")
    scale = short_side / min(height_px, width_px)
    size = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
