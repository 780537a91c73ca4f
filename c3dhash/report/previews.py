"""Stretches of videos -> small pictures, one that is still and one that moves, as bytes of files.

Files are read in processes of their own: c3dhash.video.isolation.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from c3dhash.records import Clip, Sample, Segment
from c3dhash.video.containers import is_still_picture
from c3dhash.video.frame_folder import FlowClip
from c3dhash.video.isolation import shared_pool
from c3dhash.video.limits import Limits
from c3dhash.video.reader import read_clips
from c3dhash.video.samples import read_sample
from c3dhash.video.still import still_clips

PREVIEW_FRAMES, FRAME_MS = 10, (80, 250)  # how long a frame is shown at least and at most
JPEG_QUALITY, WEBP_QUALITY = 80, 60


class Pictures(NamedTuple):
    """A stretch of a video: one frame of it, a JPEG file, and an animation that goes on and on, a WebP file."""

    still: bytes
    moving: bytes


def sample_frames(sample: Sample, *, num_frames: int, short_side: int) -> np.ndarray:
    """Return frames of a sample, uint8 [T, H, W, 3] RGB; of a still picture, that one.

    Raises:
        VideoError: it cannot be read.
    """
    clip: Clip | FlowClip
    if sample.frames is None and is_still_picture(sample.video):
        (clip,) = shared_pool().stream(still_clips, sample.video, num_frames=1, short_side=short_side)
    else:
        (clip,) = read_sample(sample, num_frames=num_frames, short_side=short_side)
    assert isinstance(clip, Clip)  # frames were asked for, not optical flow
    return clip.frames


def stretch_pictures(sample: Sample, *, short_side: int, is_mirrored: bool = False) -> Pictures:
    """Return the pictures of a sample.

    Raises:
        VideoError: it cannot be read.
    """
    frames = sample_frames(sample, num_frames=PREVIEW_FRAMES, short_side=short_side)
    seconds = sample.segment.end_seconds - sample.segment.start_seconds if sample.segment else 0.0
    return pictures_of(frames[:, :, ::-1] if is_mirrored else frames, seconds=seconds)


def pictures_of(frames: np.ndarray, *, seconds: float) -> Pictures:
    """Return the pictures of frames, which move as fast as they do where that is a second or two.

    Args:
        frames: uint8 [T, H, W, 3] RGB.
        seconds: that they stand for.
    """
    from PIL import Image

    images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    shown_ms = round(float(np.clip(1000 * seconds / len(frames), *FRAME_MS)))
    moving = io.BytesIO()
    images[0].save(
        moving, "WEBP", save_all=True, append_images=images[1:], duration=shown_ms, loop=0, quality=WEBP_QUALITY
    )
    return Pictures(jpeg(frames[len(frames) // 2]), moving.getvalue())


def jpeg(frame: np.ndarray) -> bytes:
    """Return a frame, uint8 [H, W, 3] RGB, as a JPEG file."""
    _, encoded = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()


def window_pictures(
    video: Path,
    *,
    num_frames: int,
    window_seconds: float | None,
    stride_seconds: float | None,
    short_side: int,
    limits: Limits,
) -> Iterator[tuple[Segment, Pictures]]:
    """Yield the pictures of each window of a stranger's video, of one pass over it; of a still picture, that one.

    Args:
        num_frames: of the clips that these windows were cut for, by which a tail is a window or none.
        window_seconds, stride_seconds, limits: as of `reader.read_clips`.
    Raises:
        VideoError: it cannot be read, or is beyond the limits.
    """
    clips = shared_pool().stream(
        _windows, video, num_frames=num_frames, window_seconds=window_seconds, stride_seconds=stride_seconds,
        short_side=short_side, limits=limits,
    )  # fmt: skip
    for clip in clips:
        chosen = np.unique(np.linspace(0, len(clip.frames) - 1, PREVIEW_FRAMES).round().astype(int))
        seconds = clip.segment.end_seconds - clip.segment.start_seconds
        yield clip.segment, pictures_of(clip.frames[chosen], seconds=seconds)


def _windows(
    video: Path,
    *,
    num_frames: int,
    window_seconds: float | None,
    stride_seconds: float | None,
    short_side: int,
    limits: Limits,
    on_frame: Callable[[], object],
) -> Iterator[Clip]:
    """Yield a clip of each window: the task of a decoder process."""
    on_frame = limits.working(video, on_frame)
    if is_still_picture(video):
        limits.check_still(video)
        yield from still_clips(video, num_frames=1, short_side=short_side)
        return
    yield from read_clips(
        video, num_frames=num_frames, window_seconds=window_seconds, stride_seconds=stride_seconds,
        short_side=short_side, limits=limits, on_frame=on_frame,
    )  # fmt: skip
