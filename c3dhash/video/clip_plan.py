"""Which frames of a video become which clips, whatever decodes them."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.errors import UsageError, VideoError
from c3dhash.records import Clip, Segment

logger = logging.getLogger(__name__)

EPSILON_SECONDS = 1e-6  # float noise when times are compared


class Unsuited(Exception):
    """A file that c3dhash.video.packets leaves to c3dhash.video.passes; never seen by a user."""


@dataclass(frozen=True)
class Plan:
    """Which segments of a video become clips, and at which times a clip looks.

    phase: where in its T-th of the segment each frame is looked for, from 0 (the start) to 1; training draws it.
    """

    num_frames: int
    short_side: int | None = None
    window_seconds: float | None = None
    stride_seconds: float | None = None
    segment: Segment | None = None
    phase: float = 0.5

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise UsageError(f"num_frames ({self.num_frames}) must be at least 1; 16 is a good start.")
        if self.window_seconds is not None and not 0 < self.window_seconds < math.inf:
            raise UsageError(f"window_seconds ({self.window_seconds}) must be above 0, or None for all.")
        if self.stride_seconds is not None and not 0 < self.stride_seconds < math.inf:
            raise UsageError(f"stride_seconds ({self.stride_seconds}) must be above 0; None is the window.")
        if self.short_side is not None and self.short_side < 1:
            raise UsageError(f"short_side ({self.short_side}) must be at least 1 px; None keeps the size.")
        if not 0 <= self.phase < 1:
            raise UsageError(f"phase ({self.phase}) must be at least 0 and below 1; 0.5 is the middle.")

    def segments(self, end_seconds: float) -> list[Segment]:
        """Return the segments of a video that ends at `end_seconds`, in the order of their starts."""
        if self.segment:
            start = self.segment.start_seconds
            return [Segment(start, min(self.segment.end_seconds, end_seconds))] if start < end_seconds else []
        window = self.window_seconds
        if window is None or end_seconds <= window + EPSILON_SECONDS:
            return [Segment(0.0, end_seconds)] if end_seconds > 0 else []
        stride = window if self.stride_seconds is None else self.stride_seconds
        num_windows = 1 + int((end_seconds - window + EPSILON_SECONDS) / stride)
        starts = [i * stride for i in range(num_windows)]
        tail = end_seconds - max(num_windows * stride, starts[-1] + window)
        if tail >= window / self.num_frames:
            starts.append(end_seconds - window)
        return [Segment(start, start + window) for start in starts]

    def targets(self, segment: Segment) -> np.ndarray:
        """Return the times that a clip of `segment` shows: float64 [num_frames], seconds."""
        start, end = segment.start_seconds, segment.end_seconds
        return start + (np.arange(self.num_frames) + self.phase) * (end - start) / self.num_frames

    def shown(self, segment: Segment, times: list[float]) -> list[int]:
        """Return the index of the frame on display at each target, the last with time <= target."""
        return [bisect_right(times, target + EPSILON_SECONDS) - 1 for target in self.targets(segment).tolist()]


def final_segments(plan: Plan, path: Path, end_seconds: float) -> list[Segment]:
    """Return the segments of a video whose end is known.

    Raises:
        VideoError: the segment of the plan begins after the end.
    """
    segments = plan.segments(end_seconds)
    if not segments and plan.segment:
        raise VideoError(
            f"video '{path}' lasts {end_seconds:.2f} s, but a segment begins at "
            f"{plan.segment.start_seconds:.2f} s; correct the segment."
        )
    if plan.segment and plan.segment.end_seconds - end_seconds > EPSILON_SECONDS:
        logger.warning("video '%s': %s is cut at the end, %.2f s.", path, plan.segment, end_seconds)
    return segments


def clips_from(
    pictures: Iterable[tuple[int, np.ndarray]], *, plan: Plan, segments: list[Segment], times: list[float]
) -> Iterator[Clip]:
    """Yield the clips of `segments` of a video whose times are known; fewer where the pictures end before,
    or one is left out.

    Args:
        pictures: index in `times` and picture of every frame that the clips show, in order.
    """
    needed = [plan.shown(segment, times) for segment in segments]
    kept: dict[int, np.ndarray] = {}
    num_done = 0
    for index, picture in pictures:
        kept[index] = picture
        while num_done < len(segments) and index >= needed[num_done][-1]:
            clip = make_clip(plan, segments[num_done], times, kept)
            if clip is None:
                return
            yield clip
            num_done += 1
            if num_done == len(segments):
                return
            forget(kept, before=needed[num_done][0])


def make_clip(plan: Plan, segment: Segment, times: list[float], kept: dict[int, np.ndarray]) -> Clip | None:
    """Return the clip of a segment from the kept frames, or None where one is not there."""
    indices = plan.shown(segment, times)
    if any(index not in kept for index in indices):
        return None
    frames = [kept[index] for index in indices]
    return Clip(np.stack(frames), np.array([times[index] for index in indices]), segment)


def forget(kept: dict[int, np.ndarray], *, before: int) -> None:
    """Drop the frames that no later clip can need."""
    for index in [index for index in kept if index < before]:
        del kept[index]
