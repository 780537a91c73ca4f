"""Every frame of a video at its own size, with when it is shown, read in a process of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from c3dhash.errors import VideoError
from c3dhash.records import VideoInfo
from c3dhash.video.every_frame import full_frames
from c3dhash.video.isolation import shared_pool


class Frame(NamedTuple):
    """A picture, uint8 [H, W, 3] RGB, and from when to when it is shown."""

    picture: np.ndarray
    start_seconds: float
    end_seconds: float


def playback(video: Path, *, description: str) -> Generator[tuple[VideoInfo, Frame], None, None]:
    """Yield the frames of a video, each with what the header says.

    Args:
        description: of the progress bar.
    Raises:
        VideoError: it does not decode, which may show after frames were yielded, or changes its size.
    """
    pool = shared_pool().part()
    try:
        with closing(pool.stream(full_frames, video)) as items:  # type: ignore[type-var]  # it is a generator
            info = next(items)
            assert isinstance(info, VideoInfo)
            shape = None
            frames = _with_ends(items)  # type: ignore[arg-type]  # after the info
            for frame in tqdm(frames, total=info.num_frames or None, desc=description, unit="frame"):
                shape = shape or frame.picture.shape
                if frame.picture.shape != shape:
                    raise VideoError(f"video '{video}' changes its size at {frame.start_seconds:.2f} s; write it anew.")
                yield info, frame
    finally:
        pool.close()


def _with_ends(items: Iterator[tuple[float, np.ndarray | None]]) -> Iterator[Frame]:
    """Yield from when to when each picture is shown."""
    before: tuple[float, np.ndarray] | None = None
    for time, picture in items:
        if before is not None:
            yield Frame(before[1], before[0], time)
        before = None if picture is None else (time, picture)
