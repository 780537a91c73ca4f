"""A sample of a data set, be it a video or a frame folder -> one clip, and the hash of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from c3dhash.errors import UsageError
from c3dhash.records import Clip, FrameFolder, Sample
from c3dhash.video.frame_folder import (
    TIMES_FILE,
    FlowClip,
    flow_part,
    frame_times,
    list_frames,
    read_flow_folder,
    read_frame_folder,
)
from c3dhash.video.isolation import shared_pool
from c3dhash.video.reader import content_hash, read_clip


def read_sample(
    sample: Sample, *, num_frames: int, short_side: int | None = None, channels: str = "RGB"
) -> Clip | FlowClip:
    """Read a sample of a data set as one clip, be it a video or a frame folder, in a process of its own.

    Args:
        num_frames, short_side: as in `video.read_clip`.
        channels: "flow" for the optical flow of a frame folder, anything else for its pictures.
    Raises:
        UsageError: optical flow is asked of a video.
        VideoError: it cannot be read, or breaks the process that reads it.
    """
    if channels == "flow" and sample.frames is None:
        raise UsageError(
            f"'{sample.video}' is a video, and optical flow is read from frame folders with flow_x_ and flow_y_ "
            "pictures: make these first, or take a backbone that reads RGB."
        )
    options = {"num_frames": num_frames, "short_side": short_side, "segment": sample.segment}
    return shared_pool().call(_one_clip, sample.video, **options, frames=sample.frames, channels=channels)


def _one_clip(
    path: Path, *, frames: FrameFolder | None, channels: str, on_frame: Callable[[], object], **options: Any
) -> Iterator[Clip | FlowClip]:
    """Read a sample: the task of a decoder process."""
    if frames is None:
        yield read_clip(path, **options, on_frame=on_frame)
    elif channels == "flow":
        yield read_flow_folder(path, **options, frames=frames)
    else:
        yield read_frame_folder(path, **options, frames=frames)


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
    part, pictures = _pictures(sample.video, sample.frames, channels)
    for paths in pictures:
        digest.update(frame_times(sample.video, part, len(paths)).tobytes())
        for path in paths:
            digest.update(content_hash(path).encode())
    return digest.hexdigest()


def sample_files(sample: Sample, *, channels: str = "RGB") -> list[Path]:
    """List the files that `sample_hash` reads; the one with the times, which there need not be, is among them.

    Raises:
        VideoError: they cannot be listed.
    """
    if sample.frames is None:
        return [sample.video]
    _, pictures = _pictures(sample.video, sample.frames, channels)
    return [sample.video / TIMES_FILE, *(path for paths in pictures for path in paths)]


def _pictures(folder: Path, frames: FrameFolder, channels: str) -> tuple[FrameFolder, list[list[Path]]]:
    """Return which part of a folder a sample is, and its pictures: of the frames, or of the two axes of its flow."""
    is_flow = channels == "flow"
    part = flow_part(folder, frames) if is_flow else frames
    return part, [list_frames(folder, part, axis=axis) for axis in (("x", "y") if is_flow else (None,))]
