"""A video -> what a network sees of its clips: without bars, as flow, from several views, and not at all of nothing.

    clip ──> inside of black bars ──> flow ──> views, uint8 [T, size, size, C]
                     └─ flat, or nothing moves where flow is wanted: no view

It is the task of a decoder process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.errors import VideoError
from c3dhash.records import Segment
from c3dhash.video.bars import BarFinder
from c3dhash.video.containers import is_still_picture
from c3dhash.video.flat import is_flat, is_still
from c3dhash.video.limits import Limits
from c3dhash.video.optical_flow import flow_clip, frames_of_flow
from c3dhash.video.pictures import resize_picture
from c3dhash.video.reader import read_clips
from c3dhash.video.still import still_clips
from c3dhash.video.transforms import clip_views, mirror_clip


def read_views(
    path: Path | str,
    *,
    size: int,
    num_views: int,
    num_frames: int,
    channels: str = "RGB",
    stack: int = 1,
    crop_bars: bool = False,
    skip_flat: bool = False,
    take_stills: bool = False,
    with_mirrored: bool = False,
    limits: Limits | None = None,
    on_frame: Callable[[], object] | None = None,
    **options: Any,
) -> Iterator[tuple[Segment, list[np.ndarray]]]:
    """Yield what a network sees of the clips of a video: the segment of each, and its views as `clip_views` cuts them.

    Args:
        size, num_views: as for `clip_views`.
        num_frames: T of what is yielded.
        channels: "flow" yields optical flow (dis), uint8 [T, size, size, 2 * stack]; anything else the frames.
        stack: of flows, as in Preprocessing.
        crop_bars: cut off black bars, before flow is computed: c3dhash.video.bars.
        skip_flat: yield no view of a clip whose frames are all flat inside of black bars, nor of the flow of frames
            that are all one picture: c3dhash.video.flat.
        with_mirrored: yield, behind the views, as many of what the video is in a mirror.
        take_stills: of a picture that does not move, yield a clip of it; c3dhash.video.still. It is refused otherwise.
        limits: of what is read; None for none.
        options: of `read_clips`.
    Raises:
        VideoError: as `read_clips`; or flow is asked of a picture.
    """
    if limits is not None:
        on_frame = limits.working(Path(path), on_frame or (lambda: None))
    is_flow = channels == "flow"
    wanted = frames_of_flow(num_frames, stack) if is_flow else (num_frames, stack)
    if take_stills and is_still_picture(Path(path)):
        if is_flow:
            raise VideoError(f"picture '{path}' does not move, and this network reads optical flow only: take a video.")
        if limits is not None:
            limits.check_still(Path(path))
        clips = still_clips(Path(path), num_frames=num_frames, stack=stack, short_side=options.get("short_side"))
    else:
        clips = read_clips(path, num_frames=wanted[0], stack=wanted[1], limits=limits, on_frame=on_frame, **options)
    bars = BarFinder()
    for clip in clips:
        inside = bars.inside(clip.frames).cut(clip.frames) if crop_bars or skip_flat else clip.frames
        if skip_flat and (is_flat(inside) or (is_flow and is_still(inside))):
            yield clip.segment, []
            continue
        frames = inside if crop_bars else clip.frames
        if is_flow:
            frames = _flow(frames, short_side=min(clip.frames.shape[1:3]), stack=stack)
        views = clip_views(frames, size=size, num_views=num_views)
        if with_mirrored:
            views = [*views, *clip_views(mirror_clip(frames), size=size, num_views=num_views)]
        yield clip.segment, [np.ascontiguousarray(view) for view in views]


def _flow(frames: np.ndarray, *, short_side: int, stack: int) -> np.ndarray:
    """Compute the flow of frames at the size that they have without bars: it is told in px."""
    return flow_clip(np.stack([resize_picture(frame, short_side=short_side) for frame in frames]), stack=stack)
