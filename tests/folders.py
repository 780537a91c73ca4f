"""The one clip of a folder of pictures or of flow, of evenly spread frames."""

from __future__ import annotations

from pathlib import Path

from c3dhash.records import Clip, FrameFolder, Segment
from c3dhash.video.clip_plan import Plan
from c3dhash.video.frame_folder import FlowClip, flow_folder_clips, frame_folder_clips


def read_frame_folder(
    folder: Path,
    *,
    num_frames: int,
    short_side: int | None = None,
    segment: Segment | None = None,
    frames: FrameFolder | None = None,
) -> Clip:
    return next(frame_folder_clips(folder, Plan(num_frames, short_side, segment=segment), frames=frames))


def read_flow_folder(
    folder: Path, *, num_frames: int, short_side: int | None = None, frames: FrameFolder | None = None
) -> FlowClip:
    return next(flow_folder_clips(folder, Plan(num_frames, short_side), frames=frames))
