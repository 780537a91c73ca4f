"""Video files -> clips: the right frames with their times in seconds, or a VideoError.

    file ──> check_container ──> Decoder: grab, grab, look, grab, ... ──> Clip, Clip, ...
                                 a time each         └─ _Plan: which frame is shown at each time of a clip

Note [Trust, then verify]
    Which frames a clip needs depends on the timeline of the whole video, which only a decode to the end
    tells: headers overstate or omit the number of frames, AVI files drop frames inside, phones record at a
    variable rate. To decode twice, once to learn and once to look, would always be right and always be slow.
    So the first pass believes the header for the length, expects the next frame after one frame duration,
    keeps the frames that would then be needed, and notes the time of every frame on the way. A clip is made
    from noted times only; where a frame that it needs was not kept, the rest of the pass only notes times,
    and a second pass takes what is still missing. Well-formed files cost one pass, odd ones two, and both
    give the same frames.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.decoder import Decoder
from c3dhash.errors import UsageError, VideoError
from c3dhash.records import Clip, Segment, VideoInfo

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset((
    ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".vob", ".webm", ".wmv",
))  # fmt: skip
EPSILON_SECONDS = 1e-6  # float noise when times are compared


def find_videos(directory: Path | str, *, on_error: Callable[[OSError], object] | None = None) -> list[Path]:
    """List the video files (by suffix) in a folder and its subfolders, sorted; hidden ones are skipped.

    Links to folders are followed, each folder once.

    Args:
        on_error: called with what makes a subfolder unreadable; None logs it.
    Raises:
        UsageError: no such folder.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UsageError(f"directory '{directory}' is not a folder; name a folder of videos.")
    found, seen = [], set()
    for folder, subfolders, names in os.walk(directory, followlinks=True, onerror=on_error or _warn):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    return sorted(found)


def _warn(error: OSError) -> None:
    logger.warning("folder '%s' is left out: %s.", error.filename, error.strerror)


def content_hash(path: Path | str) -> str:
    """Return the BLAKE2b hash of a file's bytes, 32 hexadecimal digits; to notice a changed video."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise VideoError(f"video '{path}' cannot be read ({error.strerror}); check the path.") from error
    return digest.hexdigest()


def probe(path: Path | str) -> VideoInfo:
    """Return what the header of a video claims; no frame is read.

    Raises:
        VideoError: the file is missing, empty, cut short, or has no video stream that can be decoded.
    """
    with Decoder(Path(path)) as decoder:
        return decoder.info


def choose_frames(num_available: int, num_frames: int) -> np.ndarray:
    """Choose frames spread evenly: the centre of each of `num_frames` equal bins.

        num_available = 7, num_frames = 3: bins of 7/3 frames, centres 1.17, 3.5, 5.83

        frame    0    1    2    3    4    5    6
              |    |  x |  | |    | x  | |  |  x |    |
                   1            3           5

    Returns:
        int64 [num_frames], floor((i + 0.5) * num_available / num_frames): not decreasing, within
        0..num_available - 1; frames are repeated where there are fewer than asked for.
    Raises:
        UsageError: either number is below 1.
    """
    if num_available < 1 or num_frames < 1:
        raise UsageError(f"num_available ({num_available}) and num_frames ({num_frames}) must be at least 1.")
    return (2 * np.arange(num_frames) + 1) * num_available // (2 * num_frames)


def read_clip(
    path: Path | str,
    *,
    num_frames: int,
    short_side: int | None = None,
    segment: Segment | None = None,
    on_frame: Callable[[], object] | None = None,
) -> Clip:
    """Read a whole video, or a segment of it, as one clip of evenly spread frames.

    Args:
        num_frames: T; frame i is the one shown at start + (i + 0.5) * duration / T. For a constant frame
            rate these are `choose_frames`. A video of fewer frames repeats some.
        short_side: px, the short side of the frames after resizing; the video's own where None.
        segment: seconds; one that reaches past the end of the video is cut there, see `Clip.segment`.
        on_frame: as in `read_clips`.
    Returns:
        frames uint8 [T, H, W, 3] RGB, upright, of the first frame's size where that changes; `segment` is
        0 .. end of the last frame for a whole video.
    Raises:
        VideoError: see `read_clips`; or the segment begins after the end.
    """
    plan = _Plan(num_frames, short_side, segment=segment)
    with closing(_read(Path(path), plan, on_frame)) as clips:
        return next(clips)


def read_clips(
    path: Path | str,
    *,
    num_frames: int,
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    short_side: int | None = None,
    on_frame: Callable[[], object] | None = None,
) -> Iterator[Clip]:
    """Read a video as clips, one for each window; as one clip where it is no longer than a window.

        window 4, stride 4         |-------|-------|       |          a last window ends at the end of the
        video of 10 s              0       4     6 8      10          video, so that its tail is covered;
                                                 |---------|          a tail below window / num_frames, too
                                                                      short for a frame of its own, is left

    The video is decoded in order, and only the frames of the windows at hand are held.

    Args:
        num_frames: T, frames of each clip, chosen as in `read_clip`.
        window_seconds: None for the whole video.
        stride_seconds: from the start of a window to that of the next; `window_seconds` where None.
        short_side: px, as in `read_clip`.
        on_frame: called with each frame that is decoded, so that a long silence shows a decoder that hangs.
    Raises:
        UsageError: an argument is out of range.
        VideoError: not a video, cut short, or its timestamps make no sense. The last two may show only at the
            end, after clips of good frames were handed out.
    """
    if stride_seconds is not None and window_seconds is None:
        raise UsageError(f"stride_seconds ({stride_seconds}) needs window_seconds; set both or none.")
    stride_seconds = window_seconds if stride_seconds is None else stride_seconds
    return _read(Path(path), _Plan(num_frames, short_side, window_seconds, stride_seconds), on_frame)


@dataclass(frozen=True)
class _Plan:
    """Which segments of a video become clips, and at which times a clip looks."""

    num_frames: int
    short_side: int | None = None
    window_seconds: float | None = None
    stride_seconds: float | None = None
    segment: Segment | None = None

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise UsageError(f"num_frames ({self.num_frames}) must be at least 1; 16 is a good start.")
        if self.window_seconds is not None and not 0 < self.window_seconds < math.inf:
            raise UsageError(f"window_seconds ({self.window_seconds}) must be above 0, or None for all.")
        if self.stride_seconds is not None and not 0 < self.stride_seconds < math.inf:
            raise UsageError(f"stride_seconds ({self.stride_seconds}) must be above 0; None is the window.")
        if self.short_side is not None and self.short_side < 1:
            raise UsageError(f"short_side ({self.short_side}) must be at least 1 px; None keeps the size.")

    def segments(self, end_seconds: float) -> list[Segment]:
        """Return the segments of a video that ends at `end_seconds`, in the order of their starts."""
        if self.segment:
            start = self.segment.start_seconds
            return [Segment(start, min(self.segment.end_seconds, end_seconds))] if start < end_seconds else []
        window, stride = self.window_seconds, self.stride_seconds
        if window is None or end_seconds <= window + EPSILON_SECONDS:
            return [Segment(0.0, end_seconds)] if end_seconds > 0 else []
        num_windows = 1 + int((end_seconds - window + EPSILON_SECONDS) / stride)
        starts = [i * stride for i in range(num_windows)]
        tail = end_seconds - max(num_windows * stride, starts[-1] + window)
        if tail >= window / self.num_frames:
            starts.append(end_seconds - window)
        return [Segment(start, start + window) for start in starts]

    def targets(self, segment: Segment) -> np.ndarray:
        """Return the times that a clip of `segment` shows: float64 [num_frames], seconds."""
        start, end = segment.start_seconds, segment.end_seconds
        return start + (np.arange(self.num_frames) + 0.5) * (end - start) / self.num_frames

    def shown(self, segment: Segment, times: list[float]) -> list[int]:
        """Return the index of the frame on display at each target, the last with time <= target."""
        return [bisect_right(times, target + EPSILON_SECONDS) - 1 for target in self.targets(segment).tolist()]


def _read(path: Path, plan: _Plan, on_frame: Callable[[], object] | None = None) -> Generator[Clip, None, None]:
    """Yield the clips of a plan in the order of their starts. Note [Trust, then verify]."""
    times: list[float] = []
    with Decoder(path, short_side=plan.short_side, on_frame=on_frame) as decoder:
        missing = yield from _first_pass(decoder, plan, times)
    if missing:
        with Decoder(path, short_side=plan.short_side, on_frame=on_frame) as decoder:
            yield from _second_pass(decoder, plan, times, missing)


def _first_pass(decoder: Decoder, plan: _Plan, times: list[float]) -> Generator[Clip, None, list[Segment]]:
    """Yield the clips that come out as the header promised; return the segments left for a second pass.

    Args:
        times: empty; the time of each frame is added.
    """
    segments = plan.segments(math.inf if plan.segment else decoder.info.duration_seconds)
    # The last window depends on where the video ends, the others only on the video going on.
    settled = segments if plan.segment else segments[:-1]
    targets = np.sort([plan.targets(segment) for segment in segments], axis=None)
    kept: dict[int, np.ndarray] = {}
    num_done, num_past, is_trusted, reach = 0, 0, bool(segments), decoder.frame_seconds
    for time in decoder.times():
        if times:  # where a frame was late, as 25 fps stored as 30, others will be
            reach = max(reach, min(time - times[-1], 2 * decoder.frame_seconds))
        times.append(time)
        while is_trusted and num_done < len(settled) and time >= settled[num_done].end_seconds:
            clip = _make_clip(plan, settled[num_done], times, kept)
            is_trusted = clip is not None
            if is_trusted:
                yield clip
                num_done += 1
                if plan.segment:
                    return []
                _forget(kept, before=plan.shown(segments[num_done], times)[0])
        if not is_trusted:
            kept.clear()
            continue
        num_past_before, num_past = num_past, int(np.searchsorted(targets, time - EPSILON_SECONDS))
        if num_past == num_past_before:  # no target came up while the frame before was shown
            kept.pop(len(times) - 2, None)
        if num_past < len(targets) and targets[num_past] + EPSILON_SECONDS < time + reach:
            kept[len(times) - 1] = decoder.picture()
    missing = _final_segments(decoder, plan, times)[num_done:]
    while missing and (clip := _make_clip(plan, missing[0], times, kept)) is not None:
        yield clip
        missing.pop(0)
    return missing


def _final_segments(decoder: Decoder, plan: _Plan, times: list[float]) -> list[Segment]:
    """Return the segments of a video of which every frame's time is known."""
    end_seconds = decoder.end_seconds(times)
    segments = plan.segments(end_seconds)
    if not segments:
        raise VideoError(
            f"video '{decoder.path}' lasts {end_seconds:.2f} s, but a segment begins at "
            f"{plan.segment.start_seconds:.2f} s; correct the segment."
        )
    if plan.segment and plan.segment.end_seconds - end_seconds > EPSILON_SECONDS:
        logger.warning("video '%s': %s is cut at the end, %.2f s.", decoder.path, plan.segment, end_seconds)
    return segments


def _second_pass(decoder: Decoder, plan: _Plan, times: list[float], segments: list[Segment]) -> Iterator[Clip]:
    """Yield the clips of `segments` of a video whose times are known."""
    needed = [plan.shown(segment, times) for segment in segments]
    wanted = {index for indices in needed for index in indices}
    kept: dict[int, np.ndarray] = {}
    num_done = 0
    for index, _time in enumerate(decoder.times()):
        if index in wanted:
            kept[index] = decoder.picture()
        while num_done < len(segments) and index >= needed[num_done][-1]:
            yield _make_clip(plan, segments[num_done], times, kept)
            num_done += 1
            if num_done == len(segments):
                return
            _forget(kept, before=needed[num_done][0])
    raise VideoError(f"video '{decoder.path}' had {len(times)} frames, now fewer: did it change? Try again.")


def _make_clip(plan: _Plan, segment: Segment, times: list[float], kept: dict[int, np.ndarray]) -> Clip | None:
    """Return the clip of a segment from the kept frames, or None where one is not there."""
    indices = plan.shown(segment, times)
    if any(index not in kept for index in indices):
        return None
    frames = [kept[index] for index in indices]
    return Clip(np.stack(frames), np.array([times[index] for index in indices]), segment)


def _forget(kept: dict[int, np.ndarray], *, before: int) -> None:
    """Drop the frames that no later clip can need."""
    for index in [index for index in kept if index < before]:
        del kept[index]
