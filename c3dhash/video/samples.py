"""A sample of a data set, be it a video or a frame folder -> one clip, or all of its frames; the hash of its bytes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from c3dhash.errors import UsageError
from c3dhash.records import Clip, FrameFolder, Sample
from c3dhash.video.clip_plan import Plan
from c3dhash.video.every_frame import folder_frames, video_frames
from c3dhash.video.frame_folder import (
    TIMES_FILE,
    FlowClip,
    flow_folder_clips,
    frame_folder_clips,
    pictures_of,
)
from c3dhash.video.isolation import shared_pool
from c3dhash.video.reader import content_hash, read_plan
from c3dhash.video.stored import Chunk, Unkept, compress

logger = logging.getLogger(__name__)


def read_sample(
    sample: Sample,
    *,
    num_frames: int,
    short_side: int | None = None,
    interval_seconds: float | None = None,
    clips_per_window: int | None = 1,
    phase: float = 0.5,
    stack: int = 1,
    channels: str = "RGB",
) -> list[Clip | FlowClip]:
    """Read a sample of a data set as one window, be it a video or a frame folder, in a process of its own.

    Args:
        num_frames, short_side, interval_seconds, clips_per_window, phase, stack: as in `clip_plan.Plan`.
        channels: "flow" for the optical flow of a frame folder, anything else for its pictures.
    Returns:
        The clips of the window, in the order of their times.
    Raises:
        UsageError: optical flow is asked of a video.
        VideoError: it cannot be read, or breaks the process that reads it.
    """
    _check_flow(sample, channels)
    options = {
        "num_frames": num_frames,
        "short_side": short_side,
        "segment": sample.segment,
        "interval_seconds": interval_seconds,
        "clips_per_window": clips_per_window,
        "phase": phase,
        "stack": stack,
    }
    return list(shared_pool().stream(_window, sample.video, **options, frames=sample.frames, channels=channels))


def compress_sample(sample: Sample, *, short_side: int, quality: int, channels: str = "RGB") -> Iterator[Chunk]:
    """Read all frames of a sample, in a process of its own, which compresses them while it decodes.

    Args:
        short_side, channels: as of `read_sample`.
        quality: as of `stored.compress`.
    Yields:
        What `stored.write_frames` takes; it has no end where the frames are better read each time.
    Raises:
        UsageError, VideoError: as `read_sample`, and where any frame does not decode.
    """
    _check_flow(sample, channels)
    options = {"short_side": short_side, "segment": sample.segment, "quality": quality}
    return shared_pool().stream(_every_frame, sample.video, **options, frames=sample.frames, channels=channels)


def _check_flow(sample: Sample, channels: str) -> None:
    if channels == "flow" and sample.frames is None:
        raise UsageError(f"'{sample.video}' is a video and has no flow pictures: read it with a ClipReader.")


def _window(
    path: Path, *, frames: FrameFolder | None, channels: str, on_frame: Callable[[], object], **options: Any
) -> Iterator[Clip | FlowClip]:
    """Read the clips of a sample: the task of a decoder process."""
    plan = Plan(**options)
    if frames is None:
        yield from read_plan(path, plan, on_frame=on_frame)
    elif channels == "flow":
        yield from flow_folder_clips(path, plan, frames=frames)
    else:
        yield from frame_folder_clips(path, plan, frames=frames)


def _every_frame(
    path: Path, *, frames: FrameFolder | None, channels: str, quality: int, **options: Any
) -> Iterator[Chunk]:
    """Read and compress all frames of a sample: the task of a decoder process."""
    if frames is None:
        pictures = video_frames(path, **options)
    else:
        pictures = folder_frames(path, **options, frames=frames, is_flow=channels == "flow")
    try:
        yield from compress(pictures, quality=quality)
    except Unkept as reason:
        logger.debug("the frames of '%s' are not kept: %s.", path, reason)


def sample_hash(sample: Sample, *, channels: str = "RGB") -> str:
    """Return the hash of a sample's bytes, 32 hexadecimal digits: of the video, or of its pictures and their times.

    Args:
        channels: as in `read_sample`; decides which pictures of a folder are meant.
    Raises:
        VideoError: it cannot be read.
    """
    if sample.frames is None:
        return content_hash(sample.video)
    digest = hashlib.blake2b(digest_size=16)
    planes, times = pictures_of(sample.video, sample.frames, is_flow=channels == "flow")
    digest.update(times.tobytes())
    for path in chain(*planes):
        digest.update(content_hash(path).encode())
    return digest.hexdigest()


def sample_files(sample: Sample, *, channels: str = "RGB") -> list[Path]:
    """List the files that `sample_hash` reads; the one with the times, which there need not be, is among them.

    Raises:
        VideoError: they cannot be listed.
    """
    if sample.frames is None:
        return [sample.video]
    planes, _ = pictures_of(sample.video, sample.frames, is_flow=channels == "flow")
    return [sample.video / TIMES_FILE, *chain(*planes)]
