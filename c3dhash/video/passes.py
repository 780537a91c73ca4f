"""Clips with OpenCV: one pass over a video, or two.

    file ──> Decoder: grab, grab, look, grab, ... ──> Clip, Clip, ...
             a time each         └─ Plan: which frame is shown at each time of a clip

Note [Trust, then verify]
    Which frames a clip needs depends on the timeline of the whole video, which OpenCV tells only with a decode to
    the end: headers overstate or omit the number of frames, AVI files drop frames inside, phones record at a
    variable rate. To decode twice, once to learn and once to look, would always be right and always be slow.
    So the first pass believes the header for the length, expects the next frame after one frame duration,
    keeps the frames that would then be needed, and notes the time of every frame on the way. A clip is made
    from noted times only; where a frame that it needs was not kept, the rest of the pass only notes times,
    and a second pass takes what is still missing. Well-formed files cost one pass, odd ones two, and both
    give the same frames. (c3dhash.video.packets learns the timeline without decoding, where PyAV is installed.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from c3dhash.errors import VideoError
from c3dhash.records import Clip
from c3dhash.video.clip_plan import (
    EPSILON_SECONDS,
    Plan,
    PlannedClip,
    clips_from,
    final_segments,
    forget,
    make_clip,
    needed_since,
)
from c3dhash.video.decoder import FAR_SECONDS, Decoder


def read(path: Path, plan: Plan, on_frame: Callable[[], object] | None = None) -> Generator[Clip, None, None]:
    """Yield the clips of a plan, window after window. Note [Trust, then verify]."""
    open_decoder = partial(Decoder, path, short_side=plan.short_side, on_frame=on_frame, limits=plan.limits)
    num_done = 0
    if plan.segment and plan.segment.start_seconds > FAR_SECONDS:
        with open_decoder() as decoder:
            if decoder.seek(plan.segment.start_seconds):
                missing = yield from _first_pass(decoder, plan, [], is_whole=False)
                if not missing:
                    return
                num_done = len(plan.clips([plan.segment])) - len(missing)
    times: list[float] = []
    with open_decoder() as decoder:
        missing = yield from _first_pass(decoder, plan, times, num_done=num_done)
    if missing:
        with open_decoder() as decoder:
            yield from _second_pass(decoder, times, missing)


def _first_pass(
    decoder: Decoder, plan: Plan, times: list[float], *, num_done: int = 0, is_whole: bool = True
) -> Generator[Clip, None, list[PlannedClip]]:
    """Yield the clips that come out as the header promised; return those left for a second pass.

    Args:
        times: empty; the time of each frame is added.
        num_done: clips that were yielded before.
        is_whole: whether the pass begins with the first frame, so that it can tell where the video ends.
    """
    segments = plan.segments(math.inf if plan.segment else decoder.info.duration_seconds)
    planned = plan.clips(segments)
    # The last window depends on where the video ends, the others only on the video going on.
    settled = planned if plan.segment else plan.clips(segments[:-1])
    expected = [clip.expected(decoder.frame_seconds) for clip in planned]
    targets, since = np.sort(expected, axis=None), needed_since(planned)
    kept: dict[int, np.ndarray] = {}
    num_past, is_trusted, reach = 0, bool(segments), decoder.frame_seconds
    for time in decoder.times():
        if times:  # where a frame was late, as 25 fps stored as 30, others will be
            reach = max(reach, min(time - times[-1], 2 * decoder.frame_seconds))
        times.append(time)
        while is_trusted and num_done < len(settled) and time >= settled[num_done].segment.end_seconds:
            clip = make_clip(settled[num_done], times, kept)
            is_trusted = clip is not None
            if clip is not None:
                yield clip
                num_done += 1
                if num_done == len(planned):
                    return []
                forget(kept, times, since_seconds=since[num_done])
        if not is_trusted and not is_whole:
            break
        if not is_trusted:
            kept.clear()
            continue
        num_past_before, num_past = num_past, int(np.searchsorted(targets, time - EPSILON_SECONDS))
        if num_past == num_past_before:  # no target came up while the frame before was shown
            kept.pop(len(times) - 2, None)
        if num_past < len(targets) and targets[num_past] + EPSILON_SECONDS < time + reach:
            kept[len(times) - 1] = decoder.picture()
    if not is_whole:
        return planned[num_done:]
    missing = plan.clips(final_segments(plan, decoder.path, decoder.end_seconds(times)))[num_done:]
    while missing and (clip := make_clip(missing[0], times, kept)) is not None:
        yield clip
        missing.pop(0)
    return missing


def _second_pass(decoder: Decoder, times: list[float], planned: list[PlannedClip]) -> Iterator[Clip]:
    """Yield the planned clips of a video whose times are known."""
    wanted = {index for clip in planned for index in clip.shown(times)}
    pictures = ((index, decoder.picture()) for index, _time in enumerate(decoder.times()) if index in wanted)
    num_done = 0
    for clip in clips_from(pictures, planned=planned, times=times):
        yield clip
        num_done += 1
    if num_done < len(planned):
        raise VideoError(f"video '{decoder.path}' had {len(times)} frames, now fewer: did it change? Try again.")
