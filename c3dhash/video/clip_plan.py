"""Which frames of a video become which clips, whatever decodes them.

A window is a stretch that gets one code, and its clips are what the network sees of it. How their frames lie in time is
what the weights were trained with:

    a window                 |-----------------------|
    spread, 6 frames           x   x   x   x   x   x      one clip: the middles of 6 equal parts
    dense, 6 frames                   xxxxxx              one clip in the middle,
                                xxxxxx   xxxxxx           or several, evenly over the window; none reaches out of it
    a window of 3 frames     |--|
    dense, 6 frames          001122                       what is longer than its window is spread over it
    3 stacks of 4 frames       xxxx   xxxx   xxxx         consecutive frames of the video, at places that are spread

Note [Looking into a frame]
    A dense clip begins a whole number of intervals after its window does, and looks LOOK_SECONDS after the beginning of
    each interval: into consecutive frames where the interval is that of the video, and not at the edges between them,
    where a clock that is rounded to milliseconds would show now the one and now the other. It is a quarter of a frame
    at 30 a second, and half of one at 60.

Note [Stacks]
    A stack of S frames is what S - 1 flows are computed of, and it takes frames as the video has them, not at an
    interval in seconds: so did those who trained on stacks, and so is the flow of a folder that `c3dhash data flow`
    writes. An interval that is not the video's shows a frame twice, which is no motion, or leaves one out, which is
    twice the motion.
    The first frames of the stacks are spread as frames are, but over what leaves room for a whole stack behind them: in
    10 frames, S = 4 has 7 places to begin at, and 3 stacks begin at floor((i + 0.5) * 7 / 3) = 1, 3, 5. So the flows of
    a folder, one less than there are frames, in stacks of S - 1 are those of the video in stacks of S frames.
    Source: Wang et al., Temporal Segment Networks, ECCV 2016; its authors' github.com/yjxiong/tsn-pytorch, dataset.py
    (_get_test_indices), has the same places.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.errors import UsageError, VideoError
from c3dhash.records import Clip, Segment
from c3dhash.video.limits import Limits

logger = logging.getLogger(__name__)

EPSILON_SECONDS = 1e-6  # float noise when times are compared
LOOK_SECONDS = 1 / 120  # Note [Looking into a frame]
MAX_CLIPS = 3  # of a window, unless somebody says so


class Unsuited(Exception):
    """A file that c3dhash.video.packets leaves to c3dhash.video.passes; never seen by a user."""


@dataclass(frozen=True, eq=False)
class PlannedClip:
    """A clip before it is decoded: the segment that it stands for, and the times that it shows, float64 [T] seconds.

    stack: as in `Plan`. The times are then those at which stacks begin, before room is left for the last of them.
    """

    segment: Segment
    targets: np.ndarray
    stack: int = 1

    def shown(self, times: Sequence[float]) -> list[int]:
        """Return the indices of the frames that are shown, T x stack: those on display at the targets, or stacks.

        Args:
            times: of the frames, seconds; of stacks, those of all frames of the segment are among them.
        """
        if self.stack == 1:
            return [_on_display(times, target) for target in self.targets.tolist()]
        start, end = self.segment.start_seconds, self.segment.end_seconds
        last = bisect_left(times, end - EPSILON_SECONDS) - 1
        last_first = max(_on_display(times, start), last - self.stack + 1)  # where the last of the stacks may begin
        room_seconds = (times[last_first + 1] if last_first < last else end) - start
        targets = start + (self.targets - start) * (room_seconds / (end - start))
        firsts = [min(_on_display(times, target), last_first) for target in targets.tolist()]
        return [min(first + place, last) for first in firsts for place in range(self.stack)]

    def expected(self, frame_seconds: float) -> np.ndarray:
        """Return the times that are shown where each frame lasts so long: float64 [T x stack]."""
        if self.stack == 1:
            return self.targets
        start, length = self.segment.start_seconds, self.segment.end_seconds - self.segment.start_seconds
        room_seconds = max(frame_seconds, length - (self.stack - 1) * frame_seconds)
        firsts = start + (self.targets - start) * (room_seconds / length)
        return np.ravel(firsts[:, None] + np.arange(self.stack) * frame_seconds)

    @property
    def since_seconds(self) -> float:
        """A time before which nothing is shown but the frame on display then."""
        return float(self.targets.min()) if self.stack == 1 else self.segment.start_seconds


@dataclass(frozen=True)
class Plan:
    """Which windows of a video become clips, and at which times a clip looks.

    num_frames: T of a clip. short_side: of its frames, px. window_seconds, stride_seconds: as in `reader.read_clips`.
    segment: the one window, in place of these. interval_seconds: as in Preprocessing. clips_per_window: of dense clips;
    by default one for every two that would fit side by side, from 1 to MAX_CLIPS. phase: from 0 to 1, where in its T-th
    of a window a spread frame is looked for, and where in the room that it has a dense clip begins; training draws it.
    stack: how many pictures that follow each other are shown at each of T places that are spread: Note [Stacks].
    limits: of what is read of the file; None for none.
    """

    num_frames: int
    short_side: int | None = None
    window_seconds: float | None = None
    stride_seconds: float | None = None
    segment: Segment | None = None
    interval_seconds: float | None = None
    clips_per_window: int | None = None
    phase: float = 0.5
    stack: int = 1
    limits: Limits | None = None

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise UsageError(f"num_frames ({self.num_frames}) must be at least 1; 16 is a good start.")
        if self.stack < 1 or (self.stack > 1 and self.interval_seconds is not None):
            raise UsageError(
                f"stack ({self.stack}) must be 1, or more where interval_seconds ({self.interval_seconds}) is None: "
                "stacks are spread over a window."
            )
        if self.window_seconds is not None and not 0 < self.window_seconds < math.inf:
            raise UsageError(f"window_seconds ({self.window_seconds}) must be above 0, or None for all.")
        if self.stride_seconds is not None and not 0 < self.stride_seconds < math.inf:
            raise UsageError(f"stride_seconds ({self.stride_seconds}) must be above 0; None is the window.")
        if self.short_side is not None and self.short_side < 1:
            raise UsageError(f"short_side ({self.short_side}) must be at least 1 px; None keeps the size.")
        if self.interval_seconds is not None and not 0 < self.interval_seconds < math.inf:
            raise UsageError(f"interval_seconds ({self.interval_seconds}) must be above 0, or None to spread frames.")
        if self.clips_per_window is not None and self.clips_per_window < 1:
            raise UsageError(f"clips_per_window ({self.clips_per_window}) must be at least 1; None goes by the window.")
        if self.interval_seconds is None and (self.clips_per_window or 1) > 1:
            raise UsageError(
                f"clips_per_window ({self.clips_per_window}) must be 1 for a network whose frames are spread over the "
                "window, as `c3dhash models show BACKBONE` says; leave it out, or take shorter windows."
            )
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

    def clips(self, segments: Iterable[Segment]) -> list[PlannedClip]:
        """Return the clips of segments, one segment after the other, those of one in the order of their times."""
        return [PlannedClip(segment, targets, self.stack) for segment in segments for targets in self._targets(segment)]

    def _targets(self, segment: Segment) -> np.ndarray:
        """Return the times that the clips of a segment show: float64 [clips, T], seconds."""
        start, length = segment.start_seconds, segment.end_seconds - segment.start_seconds
        places = np.arange(self.num_frames)
        interval = self.interval_seconds
        if interval is None or length < self.num_frames * interval - EPSILON_SECONDS:
            return start + (places + self.phase)[None] * length / self.num_frames  # what is short is spread, too
        places = self._first_places(length)[:, None] + places  # [clips, T]
        return start + places * interval + min(LOOK_SECONDS, interval / 2)

    def _first_places(self, length_seconds: float) -> np.ndarray:
        """Return after how many intervals the dense clips of a window begin; those that would be the same once."""
        assert self.interval_seconds is not None
        clip_seconds = self.num_frames * self.interval_seconds
        num_clips = self.clips_per_window
        if num_clips is None:
            num_clips = min(MAX_CLIPS, max(1, math.ceil(length_seconds / (2 * clip_seconds) - EPSILON_SECONDS)))
        slack_seconds = max(0.0, length_seconds - clip_seconds)
        num_places = 1 + math.floor((slack_seconds + EPSILON_SECONDS) / self.interval_seconds)
        return np.unique(np.floor((np.arange(num_clips) + self.phase) * num_places / num_clips))


def _on_display(times: Sequence[float], seconds: float) -> int:
    """Return the index of the frame on display, the last with time <= seconds."""
    return bisect_right(times, seconds + EPSILON_SECONDS) - 1


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
    pictures: Iterable[tuple[int, np.ndarray]], *, planned: Sequence[PlannedClip], times: Sequence[float]
) -> Iterator[Clip]:
    """Yield the planned clips of a video whose times are known; fewer where the pictures end before or one is left out.

    Args:
        pictures: index in `times` and picture of every frame that the clips show, in order.
    """
    last, since = [max(clip.shown(times)) for clip in planned], needed_since(planned)
    kept: dict[int, np.ndarray] = {}
    num_done = 0
    for index, picture in pictures:
        kept[index] = picture
        while num_done < len(planned) and index >= last[num_done]:
            clip = make_clip(planned[num_done], times, kept)
            if clip is None:
                return
            yield clip
            num_done += 1
            if num_done == len(planned):
                return
            forget(kept, times, since_seconds=since[num_done])


def make_clip(planned: PlannedClip, times: Sequence[float], kept: dict[int, np.ndarray]) -> Clip | None:
    """Return a planned clip from the kept frames, or None where one is not there."""
    indices = planned.shown(times)
    if any(index not in kept for index in indices):
        return None
    frames = [kept[index] for index in indices]
    return Clip(np.stack(frames), np.array([times[index] for index in indices]), planned.segment, planned.stack)


def needed_since(planned: Sequence[PlannedClip]) -> list[float]:
    """Return, for each clip, the earliest time that it or a later one shows. (Windows that overlap look back.)"""
    first = np.array([clip.since_seconds for clip in planned])
    since: list[float] = np.minimum.accumulate(first[::-1])[::-1].tolist()
    return since


def forget(kept: dict[int, np.ndarray], times: Sequence[float], *, since_seconds: float) -> None:
    """Drop the frames that were over before a time."""
    before = bisect_right(times, since_seconds + EPSILON_SECONDS) - 1
    for index in [index for index in kept if index < before]:
        del kept[index]
