"""One pass over a video file: the time of every frame, the pictures of some.

OpenCV decodes; a file of which it decodes nothing, or whose colours it converts, is tried with PyAV, where that is
installed.

Note [Clock]
    CAP_PROP_POS_MSEC after grab() is the presentation time of the frame, and times here count from the first
    frame. `Clock` undoes what is wrong with it. It is 0 where the decoder knows no time (the last frames of
    an AVI with B-frames, every frame of a raw stream): such a frame comes one frame duration after the one
    before. It jumps back, or hours ahead, where recordings were joined without rewriting their times: the
    joint becomes one frame duration. Matroska and Flash round to 1 ms: a time within 1 ms of a whole number
    of frame durations is moved there, so that rounding does not decide which of two frames is chosen.

Note [Lying headers]
    The frame count of a header is a claim. AVI files drop frames inside, which count but never decode (all of
    JHMDB: 25 fps stored as 30), so fewer frames than claimed are no error by themselves. They are one where
    their time is missing too, more than 8 frames and more than 10 % of it: then the end of the video was
    lost, and frames spread over the rest would be the wrong ones. Matroska claims the duration of its longest
    stream, which may be the sound; there the check of the bytes in c3dhash.video.containers must do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from c3dhash.errors import VideoError
from c3dhash.records import VideoInfo
from c3dhash.video.captures import CONVERTS_INTERLACED, Capture, Claims, OpenCVCapture
from c3dhash.video.containers import check_container
from c3dhash.video.display import Display, has_wide_colours, make_display, warn_of_conversion, warn_of_hdr
from c3dhash.video.headers import Header, read_header
from c3dhash.video.limits import Limits

if TYPE_CHECKING:
    from c3dhash.video.av_capture import AVCapture

logger = logging.getLogger(__name__)

MAX_FPS = 1000  # above it the header states the tick of its clock (90000) and not a frame rate
MAX_CLAIMED_SECONDS = 24 * 3600  # a longer claim is not planned with: it may be garbage
MAX_GAP_SECONDS = 3600  # a longer pause between two frames is a broken clock (MPEG clocks wrap after 26 h)
MAX_HELD_FRAMES = 16  # what an H.264 decoder may hold back: H.264 A.3.1, max_dec_frame_buffering
CLOCK_ROUNDING_SECONDS = 0.001
FAR_SECONDS = 10.0  # a segment that begins later is sought, where that can be trusted
SEEKABLE_KINDS = frozenset(("mp4", "matroska"))  # of c3dhash.video.containers
SEEK_MARGIN_SECONDS = 0.5  # OpenCV counts frames by the frame rate, which may vary
STILL_SECONDS = 0.04  # how long a video of one frame without a frame rate lasts
MIN_SAME_PICTURES = 4
NEEDS_AV = {"av01": "AV1"}  # codecs that OpenCV may know and not decode, by their four letters
RECODE = "write it anew with: ffmpeg -i VIDEO -c:v libx264 NEW.mp4"


def believe(path: Path, claims: Claims, display: Display) -> VideoInfo:
    """Return what a header says, with 0 for a frame rate or a number of frames that it cannot mean."""
    fps = claims.fps if 1 / MAX_GAP_SECONDS <= claims.fps <= MAX_FPS else 0.0
    num_frames = claims.num_frames if 0 < claims.num_frames <= MAX_CLAIMED_SECONDS * fps else 0
    return VideoInfo(path, *display.size_px(claims.width_px, claims.height_px), fps, num_frames)


def max_missing(claimed: int) -> float:
    """Return how many of the claimed frames may be missing at the end. Note [Lying headers]."""
    return max(8, 0.1 * claimed)


def end_of_last(times: list[float], frame_seconds: float) -> float:
    """Return the end of the last frame.

    It lasts `frame_seconds`, what the header's frame rate says, or, where half of the frames do not keep to it
    within 10 %, the median of the frames before it.
    """
    last_seconds = frame_seconds
    median_seconds = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    if median_seconds and not 0.9 < median_seconds / (last_seconds or np.inf) < 1.1:
        last_seconds = median_seconds
    return times[-1] + (last_seconds or STILL_SECONDS)


class Clock:
    """Turn what OpenCV reports into seconds from the first frame, not decreasing. Note [Clock]."""

    def __init__(self, frame_seconds: float) -> None:
        self.frame_seconds = frame_seconds
        self.time = 0.0
        self.num_frames = self.num_guessed = self.num_jumps = 0
        self._zero = self._reported = 0.0

    def tick(self, reported: float) -> float:
        """Return the time of the next frame, for which OpenCV reports `reported` seconds."""
        self.num_frames += 1
        if self.num_frames == 1:
            self._zero = self._reported = reported
            return 0.0
        is_missing = reported == 0 and self._reported >= 0
        is_jump = not is_missing and not 0 <= reported - self._reported <= MAX_GAP_SECONDS
        if not is_missing:
            time = self._snap(reported - self._zero)
            self._reported = reported
        if is_missing or is_jump:
            if not self.frame_seconds:
                raise VideoError(f"frame {self.num_frames - 1} has no usable time, the header no frame rate")
            time = self.time + self.frame_seconds
            self.num_guessed += 1
        if is_jump:
            self._zero = reported - time
            self.num_jumps += 1
        self.time = max(self.time, time)
        return self.time

    def leap(self, reported: float) -> None:
        """Go on from a frame for which OpenCV reports `reported` seconds, without those before it."""
        self._reported = reported

    def _snap(self, time: float) -> float:
        if not self.frame_seconds:
            return time
        grid = round(time / self.frame_seconds) * self.frame_seconds
        return grid if abs(time - grid) <= min(CLOCK_ROUNDING_SECONDS, self.frame_seconds / 8) else time


class Decoder:
    """One pass over the frames of a video, in order. Use one object per pass and thread.

    Args:
        short_side: px, of the pictures; the video's own where None.
        on_frame: called with each frame that is decoded, also with those that nobody looks at.
        limits: of what is read; None for none.
    """

    def __init__(
        self,
        path: Path,
        *,
        short_side: int | None = None,
        on_frame: Callable[[], object] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.path, self.short_side, self._on_frame = path, short_side, on_frame or (lambda: None)
        self._limits = limits
        self._has_landed = False  # on a frame whose time `times` has not given
        self._has_grabbed = False  # or tried to
        self._kind = check_container(path)
        try:
            str(path).encode()
        except UnicodeEncodeError as error:  # OpenCV would crash
            raise VideoError(f"video {str(path)!r} has a name that is not valid UTF-8; rename it.") from error
        header = read_header(path, self._kind)
        self._capture = self._open(header)
        claims = self._capture.claims
        if has_wide_colours(header) and isinstance(self._capture, OpenCVCapture):
            warn_of_conversion(path)
        else:
            warn_of_hdr(path, header.transfer)
        self._display = make_display(header, pixel_aspect=claims.pixel_aspect, degrees=claims.degrees)
        self.info = believe(path, claims, self._display)
        if limits is not None:
            limits.check_header(self.info)
        self.frame_seconds = 1 / self.info.fps if self.info.fps else 0.0
        self.clock = Clock(self.frame_seconds)

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._check_pictures()
        self._capture.close()

    def _open(self, header: Header) -> Capture:
        if has_wide_colours(header) and (other := _open_with_av(self.path)):
            return other
        capture = OpenCVCapture(self.path)
        if capture.is_open:
            return capture if CONVERTS_INTERLACED else _open_interlaced(self.path) or capture
        if other := _open_with_av(self.path):
            return other
        raise VideoError(
            f"video '{self.path}' has no picture that can be decoded: it is no video, sound only, damaged, or "
            f"of a codec that OpenCV lacks; {RECODE}."
        )

    def times(self) -> Iterator[float]:
        """Go through the frames: grab one, yield its time in seconds from the first; never decreasing."""
        while self._has_landed or self._grab():
            self._has_landed = False
            try:
                time = self.clock.tick(self._capture.seconds())
            except VideoError as error:
                raise VideoError(f"video '{self.path}': {error}; {RECODE}.") from error
            if self._limits is not None:
                self._limits.check_time(self.path, time)
            yield time

    def seek(self, seconds: float) -> bool:
        """Go to a frame at or before a time, in seconds from the first frame; `times` goes on from there.

        Returns:
            False where that cannot be trusted; the decoder is then of no more use. Only where a container has
            times that do not jump (MP4, Matroska), and where OpenCV reports such a time after the seek.
        """
        if self._kind not in SEEKABLE_KINDS or not self._grab():
            return False
        first = self._capture.seconds()
        self.clock.tick(first)
        self._capture.seek(first + seconds - SEEK_MARGIN_SECONDS)
        self._has_landed = self._grab()
        landed = self._capture.seconds()
        self.clock.leap(landed)
        return self._has_landed and first < landed <= first + seconds

    def _grab(self) -> bool:
        is_grabbed = self._capture.grab()
        if not is_grabbed and not self._has_grabbed and (other := _open_with_av(self.path)):
            self._capture.close()
            self._capture = other
            is_grabbed = other.grab()
        self._has_grabbed = True
        if is_grabbed:
            self._on_frame()
        return is_grabbed

    def picture(self) -> np.ndarray:
        """Return the frame whose time came last: uint8 [H, W, 3], RGB, as it is shown, resized to `short_side`."""
        frame = self._capture.picture()
        if frame is None:
            index = self.clock.num_frames - 1
            raise VideoError(f"video '{self.path}': frame {index} does not decode; {RECODE}.")
        return self._display.to_rgb(frame, self.short_side)

    def end_seconds(self, times: list[float]) -> float:
        """Return the end of the last frame; check first that a pass that gave `times` saw the whole video.

        Raises:
            VideoError: nothing decodes, the end is missing (Note [Lying headers]), the clock makes no sense.
        """
        if not times:
            raise VideoError(self._why_nothing_decodes())
        if len(times) == 1 and self._capture.claims.fps > MAX_FPS:
            raise VideoError(f"video '{self.path}' is a sound file with a cover picture, not a video.")
        end_seconds = end_of_last(times, self.frame_seconds)
        self._check_claims(len(times), end_seconds)
        self._check_clock()
        return end_seconds

    def _why_nothing_decodes(self) -> str:
        codec = NEEDS_AV.get(self._capture.claims.codec.lower())
        if codec and _av_capture() is None:
            return (
                f"video '{self.path}' is {codec}, which this build of OpenCV does not decode, but PyAV does: "
                "pip install c3dhash[av]."
            )
        return f"video '{self.path}' has no frame that decodes; copy or download it again."

    def _check_claims(self, num_frames: int, end_seconds: float) -> None:
        claimed, claimed_seconds = self.info.num_frames, self.info.duration_seconds
        missing = min(claimed - num_frames, (claimed_seconds - end_seconds) * self.info.fps)
        if self._kind != "matroska" and missing > max_missing(claimed):
            raise VideoError(
                f"video '{self.path}' is damaged: {num_frames} of {claimed} frames decode, "
                f"{end_seconds:.2f} of {claimed_seconds:.2f} s; copy or download it again, or {RECODE}."
            )

    def _check_pictures(self) -> None:
        """Say where all pictures are the same, which may have a reason. Note [Interlaced] of c3dhash.video.captures."""
        capture = self._capture
        if CONVERTS_INTERLACED or not isinstance(capture, OpenCVCapture) or _av_capture() is not None:
            return
        if capture.num_pictures >= MIN_SAME_PICTURES and capture.are_all_same:
            logger.warning(
                "video '%s': all its pictures are the same; if it is not a still it is interlaced, which this build of "
                "OpenCV does not convert: pip install c3dhash[av].",
                self.path,
            )

    def _check_clock(self) -> None:
        num_frames, num_jumps = self.clock.num_frames, self.clock.num_jumps
        if num_jumps > 1 + num_frames // 50:
            raise VideoError(f"video '{self.path}': its times jump {num_jumps} times in {num_frames} frames; {RECODE}.")
        if num_jumps or self.clock.num_guessed > MAX_HELD_FRAMES:
            logger.warning(
                "video '%s': %d of %d frames have no usable time; counted at %g frames per second instead.",
                self.path, self.clock.num_guessed, num_frames, self.info.fps,
            )  # fmt: skip


def _open_with_av(path: Path) -> AVCapture | None:
    """Open a video with PyAV; return None where that cannot be."""
    make = _av_capture()
    try:
        return make(path) if make else None
    except Exception as error:  # PyAV's own, and ours of a file that does not suit
        logger.debug("video '%s' is not read with PyAV either: %s.", path, error)
        return None


def _open_interlaced(path: Path) -> AVCapture | None:
    """Open a video with PyAV if its first frame is interlaced. Note [Interlaced] of c3dhash.video.captures."""
    capture = _open_with_av(path)
    if capture is None:
        return None
    is_interlaced = capture.grab() and capture.is_interlaced()
    capture.close()
    return _open_with_av(path) if is_interlaced else None


@cache
def _av_capture() -> type[AVCapture] | None:
    """Return what reads with PyAV, or None where that is not installed."""
    try:
        from c3dhash.video.av_capture import AVCapture
    except ImportError:
        return None
    return AVCapture
