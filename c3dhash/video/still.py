"""A still picture as a video of one frame, which a clip repeats: for queries, where somebody has a picture alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from c3dhash.records import Clip, Segment
from c3dhash.video.pictures import read_picture

STILL_SECONDS = 1 / 25  # how long it is shown; any other would do


def still_clips(
    path: Path,
    *,
    num_frames: int,
    stack: int = 1,
    short_side: int | None = None,
    on_frame: Callable[[], object] | None = None,
) -> Iterator[Clip]:
    """Yield the one clip of a picture, as the task of a decoder process.

    Args:
        num_frames, stack: of the clip, as of `clip_plan.Plan`.
        short_side: px, as of `reader.read_clip`.
        on_frame: as of `reader.read_clips`; a picture is decoded in one go, and does not call it.
    Raises:
        VideoError: it does not decode.
    """
    picture = cv2.cvtColor(read_picture(path, short_side=short_side), cv2.COLOR_BGR2RGB)
    frames = np.stack([picture] * (num_frames * stack))
    yield Clip(frames, np.zeros(len(frames)), Segment(0.0, STILL_SECONDS), stack)
