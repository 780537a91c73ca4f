"""A video and what is seen in it -> the video with it written on every frame, in time, size and sound as it was."""

from __future__ import annotations

from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np

from c3dhash.recognition.timeline import Track
from c3dhash.report.captions import draw_caption
from c3dhash.report.screen import Screen
from c3dhash.video.playback import Frame, playback
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
    with closing(playback(video, description=f"Writing {path.name}")) as frames:
        info, first = next(frames)
        size_px = first.picture.shape[1], first.picture.shape[0]
        with writing_video(path, size_px=size_px, fps=info.fps, sound_of=video) as writer:
            for _, frame in chain([(info, first)], frames):
                writer.write(_captioned(frame, track), frame.start_seconds, frame.end_seconds)


def show_overlay(video: Path, track: Track, screen: Screen) -> None:
    """Play a video with the label and its probability on every frame, in its time, until the window is closed.

    Raises:
        VideoError: the video does not decode (any more).
    """
    with closing(playback(video, description=f"Showing {video.name}")) as frames:
        for _, frame in frames:
            if not screen.show(_captioned(frame, track), until_seconds=frame.end_seconds):
                return


def _captioned(frame: Frame, track: Track) -> np.ndarray:
    return caption(frame.picture, *track.at((frame.start_seconds + frame.end_seconds) / 2))


def caption(picture: np.ndarray, label: str, probability: float) -> np.ndarray:
    """Return a picture, uint8 [H, W, 3] RGB, with what is seen written on it."""
    captioned = picture.copy()
    draw_caption(captioned, label, share=probability)
    return captioned
