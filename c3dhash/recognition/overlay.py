"""A video and what is seen in it -> the video with it written on every frame, in time, size and sound as it was."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from c3dhash.errors import VideoError
from c3dhash.recognition.timeline import Track
from c3dhash.records import VideoInfo
from c3dhash.report.captions import draw_caption
from c3dhash.report.screen import Screen
from c3dhash.video.every_frame import full_frames
from c3dhash.video.isolation import shared_pool
from c3dhash.video.writer import writing_video


def write_overlay(video: Path, track: Track, path: Path) -> None:
    """Write a video with the label and its probability on every frame.

    Args:
        track: of the video.
        path: the new file; its suffix says what kind.
    Raises:
        UsageError: no codec for its suffix, or something is there.
        VideoError: the video does not decode (any more), or the new one cannot be written.
    """
    with closing(_captioned(video, track, description=f"Writing {path.name}")) as frames:
        info, first = next(frames)
        size_px = first.picture.shape[1], first.picture.shape[0]
        with writing_video(path, size_px=size_px, fps=info.fps, sound_of=video) as writer:
            for _, frame in chain([(info, first)], frames):
                if frame.picture.shape[1::-1] != size_px:
                    raise VideoError(f"video '{video}' changes its size at {frame.start_seconds:.2f} s; write it anew.")
                writer.write(frame.picture, frame.start_seconds, frame.end_seconds)


def show_overlay(video: Path, track: Track, screen: Screen) -> None:
    """Play a video with the label and its probability on every frame, in its time, until the window is closed.

    Raises:
        VideoError: the video does not decode (any more).
    """
    with closing(_captioned(video, track, description=f"Showing {video.name}")) as frames:
        for _, frame in frames:
            if not screen.show(frame.picture, until_seconds=frame.end_seconds):
                return


class Frame(NamedTuple):
    """A picture, uint8 [H, W, 3] RGB, and from when to when it is shown."""

    picture: np.ndarray
    start_seconds: float
    end_seconds: float


def caption(picture: np.ndarray, label: str, probability: float) -> np.ndarray:
    """Return a picture, uint8 [H, W, 3] RGB, with what is seen written on it."""
    captioned = picture.copy()
    draw_caption(captioned, label, share=probability)
    return captioned


def _captioned(video: Path, track: Track, *, description: str) -> Generator[tuple[VideoInfo, Frame], None, None]:
    """Yield every frame of a video, captioned."""
    pool = shared_pool().part()
    try:
        with closing(pool.stream(full_frames, video)) as items:  # type: ignore[type-var]  # it is a generator
            info = next(items)
            assert isinstance(info, VideoInfo)
            shown = _with_ends(items)  # type: ignore[arg-type]  # after the info
            for start, end, picture in tqdm(shown, total=info.num_frames or None, desc=description, unit="frame"):
                yield info, Frame(caption(picture, *track.at((start + end) / 2)), start, end)
    finally:
        pool.close()


def _with_ends(items: Iterator[tuple[float, np.ndarray | None]]) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield from when to when each picture is shown."""
    before: tuple[float, np.ndarray] | None = None
    for time, picture in items:
        if before is not None:
            yield before[0], time, before[1]
        before = None if picture is None else (time, picture)
