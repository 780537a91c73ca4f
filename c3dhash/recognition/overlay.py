"""A video and what is seen in it -> the video with it written on every frame, in time, size and sound as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from c3dhash.errors import VideoError
from c3dhash.recognition.timeline import Track
from c3dhash.records import VideoInfo
from c3dhash.report.captions import draw_caption
from c3dhash.video.every_frame import full_frames
from c3dhash.video.isolation import shared_pool
from c3dhash.video.writer import check_output, writing_video


def write_overlay(video: Path, track: Track, path: Path) -> None:
    """Write a video with the label and its probability on every frame.

    Args:
        track: of the video.
        path: the new file; its suffix says what kind.
    Raises:
        UsageError: no codec for its suffix.
        VideoError: the video does not decode (any more), or the new one cannot be written.
    """
    check_output(path)
    pool = shared_pool().part()
    try:
        with closing(pool.stream(full_frames, video)) as items:  # type: ignore[type-var]  # it is a generator
            info = next(items)
            assert isinstance(info, VideoInfo)
            shown = _with_ends(items)  # type: ignore[arg-type]  # after the info
            first = next(shown)
            size_px = first[2].shape[1], first[2].shape[0]
            frames = tqdm(
                chain([first], shown), total=info.num_frames or None, desc=f"Writing {path.name}", unit="frame"
            )
            with writing_video(path, size_px=size_px, fps=info.fps, sound_of=video) as writer:
                for start, end, picture in frames:
                    if picture.shape[1::-1] != size_px:
                        raise VideoError(f"video '{video}' changes its size at {start:.2f} s; write it anew first.")
                    label, probability = track.at((start + end) / 2)
                    captioned = picture.copy()
                    draw_caption(captioned, f"{label}  {probability:.0%}", share=probability)
                    writer.write(captioned, start, end)
    finally:
        pool.close()


def _with_ends(items: Iterator[tuple[float, np.ndarray | None]]) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield from when to when each picture is shown."""
    before: tuple[float, np.ndarray] | None = None
    for time, picture in items:
        if before is not None:
            yield before[0], time, before[1]
        before = None if picture is None else (time, picture)
