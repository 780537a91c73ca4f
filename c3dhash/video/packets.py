"""Clips with PyAV: the times of all packets first, then only those frames that clips show.

    file ──> packets, none decoded ──> Timeline ──> Plan ──> seek, decode, look; seek, decode, look ──> Clip, Clip, ...
                                                             └─ is it the frame that was expected?

Note [Packets first]
    A packet says when its frame is shown, and reading it costs a hundredth of decoding it. So all times are known
    before the first frame is decoded, and it is decoded what clips show: from the last key frame before each, and
    without the frames that no other is made from and nobody looks at.
    Packets may lie: some never become a frame, others are damaged. So what comes out is checked: every frame that is
    looked at, every I- and P-frame decoded on the way, the first frame of the video, and the last (of a segment: the
    one after) must come, in order, whole, and with the time that was expected. A picture is handed out when the next
    one is there, and the last when all of this held. Where anything does not, this module gives up (Unsuited), and
    c3dhash.video.passes, which believes no packet, decides whether the video is good or damaged. Damage in what is not
    decoded is not seen: the frames that are handed out are right nonetheless. (c3dhash data check decodes everything.)
    For a segment far into an MP4 or Matroska file only its first packets and those around the segment are read: there
    are no clocks that jump in these containers, so nothing between them can change the times.

Note [Same frames]
    Both roads give the same frames, byte by byte. They share the rules for times (Clock), the plan and the resizing,
    and colours are converted by swscale with the settings of OpenCV. That takes PyAV 17 and OpenCV 5: earlier ones call
    swscale in another way, and HD (BT.709) then differs by 1 of 255 on average, by 5 at most.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path

import av
import numpy as np

from c3dhash.records import Clip, Segment
from c3dhash.video.av_capture import Converter, claims_of, open_video, tick_of
from c3dhash.video.clip_plan import Plan, Unsuited, clips_from, final_segments
from c3dhash.video.containers import check_container
from c3dhash.video.decoder import (
    FAR_SECONDS,
    MAX_HELD_FRAMES,
    SEEKABLE_KINDS,
    believe,
    end_of_last,
    max_missing,
)
from c3dhash.video.display import make_display, warn_of_hdr
from c3dhash.video.headers import read_header
from c3dhash.video.limits import Limits
from c3dhash.video.timeline import Run, Timeline

# Codecs whose key frames are known to make everything after them decode as it does from the start. (A GIF, for
# one, calls all of its frames key frames.)
CODECS = frozenset(("av1", "h264", "hevc", "mjpeg", "mpeg2video", "mpeg4", "vp8", "vp9"))
# Those of which FFmpeg leaves out, with NONREF, only what no other frame is made from: nal_ref_idc = 0 (H.264 7.4.1),
# B-pictures. H.265's "sub-layer non-reference pictures" are made use of by higher sub-layers (H.265 3.1).
SKIPPABLE_CODECS = frozenset(("h264", "mpeg2video", "mpeg4"))
KEPT_BYTES = 16 << 20  # packets of a smaller video are kept from the first reading to the second
MIN_SEEK_PACKETS = 32  # fewer are read over faster than sought


def read(path: Path, plan: Plan, on_frame: Callable[[], object] | None = None) -> Iterator[Clip]:
    """Yield the clips of a plan, window after window, the same as `passes.read`.

    Raises:
        VideoError: the file is no video, or cut short.
        Unsuited: anything else; clips that were yielded before are good.
    """
    kind = check_container(path)
    try:
        str(path).encode()  # what OpenCV cannot open is refused by its road
        with closing(_Reader(path, kind, plan.short_side, on_frame, plan.limits)) as reader:
            timeline = reader.timeline(plan.segment, may_leap=kind in SEEKABLE_KINDS)
            is_inside = plan.segment is not None and timeline.has_passed(plan.segment.end_seconds)
            if is_inside:
                segments = plan.segments(math.inf)
            elif plan.segments(end_seconds := reader.end_seconds(timeline, kind)):
                segments = final_segments(plan, path, end_seconds)
            else:
                raise Unsuited("the segment begins after its end")
            times = timeline.times
            planned = plan.clips(segments)
            wanted = {index for clip in planned for index in clip.shown(times)}
            beyond = bisect_left(times, segments[-1].end_seconds) if is_inside else len(times) - 1
            pictures = reader.pictures(timeline, wanted, first_and_last={0, beyond})
            yield from clips_from(pictures, planned=planned, times=times)
    except (av.FFmpegError, ValueError) as error:
        raise Unsuited(str(error)) from error


class _Reader:
    """One open video."""

    def __init__(
        self,
        path: Path,
        kind: str,
        short_side: int | None,
        on_frame: Callable[[], object] | None,
        limits: Limits | None = None,
    ) -> None:
        self._path, self._short_side, self._on_frame = path, short_side, on_frame or (lambda: None)
        self._limits, self._converter = limits, Converter()
        self._shape: tuple[int, int, str] | None = None
        self._open()
        if self._codec.codec.canonical_name not in CODECS:
            raise Unsuited(f"its codec is {self._codec.codec.canonical_name}")
        self._tick_seconds = float(tick_of(self._stream))
        self._header, claims = read_header(path, kind), claims_of(self._container, self._stream)
        self._display = make_display(self._header, pixel_aspect=claims.pixel_aspect)
        self.info = believe(path, claims, self._display)
        if limits is not None:
            limits.check_header(self.info)
        if not self.info.fps:
            raise Unsuited("it has no frame rate")
        warn_of_hdr(path, int(self._codec.color_trc))

    def _open(self) -> None:
        self._container, self._stream = open_video(self._path)
        self._codec = self._stream.codec_context
        self._packets = self._demux()
        self._position = 0  # of the packet that comes next
        self._kept: list[av.Packet] = []

    def close(self) -> None:
        self._container.close()

    def _demux(self) -> Iterator[av.Packet]:
        for packet in self._container.demux(self._stream):
            self._on_frame()
            if packet.size:  # an AVI has empty ones for frames that were dropped, and the last one has no content
                yield packet

    def timeline(self, segment: Segment | None, *, may_leap: bool) -> Timeline:
        """Read the times of all packets, or up to the end of a segment, or around it; see Note [Packets first].

        Args:
            may_leap: whether a segment that is far into the video may be sought.
        """
        if not segment:
            return self._scan(math.inf)
        if may_leap and segment.start_seconds > FAR_SECONDS:
            timeline = self._scan(segment.end_seconds, leap_seconds=segment.start_seconds)
            if timeline.has_passed(segment.end_seconds):
                return timeline
            self.close()  # to find out where the video ends, all is read
            self._open()
        return self._scan(segment.end_seconds)

    def _scan(self, until_seconds: float, *, leap_seconds: float = 0.0) -> Timeline:
        """Read packets up to a time; leave out those from the first ones to a key frame before another time."""
        pts: list[int] = []
        is_key: list[bool] = []
        is_hidden: list[bool] = []
        first, num_late, num_bytes, gap = math.inf, 0, 0, None
        while (packet := next(self._packets, None)) is not None:
            if packet.pts is None or packet.is_corrupt:
                raise Unsuited(f"packet {len(pts)} has no time or is damaged")
            pts.append(packet.pts)
            is_key.append(packet.is_keyframe)
            is_hidden.append(packet.is_discard)
            num_bytes += packet.size
            if num_bytes <= KEPT_BYTES:
                self._kept.append(packet)
            first = min(first, math.inf if packet.is_discard else packet.pts)
            if self._limits is not None and first < math.inf:
                self._limits.check_time(self._path, (packet.pts - first) * self._tick_seconds)
            num_late = num_late + 1 if packet.pts > first + until_seconds / self._tick_seconds else 0
            # Frames leave their order by MAX_HELD_FRAMES at most: so many later, all that is shown before has come.
            if num_late > MAX_HELD_FRAMES:
                break
            if leap_seconds and is_hidden.count(False) > MAX_HELD_FRAMES:
                gap = self._leap(pts, int(first + leap_seconds / self._tick_seconds))
                leap_seconds = 0.0
        self._position = len(pts)
        if num_bytes > KEPT_BYTES:
            self._kept.clear()
        return Timeline(
            pts, is_key, is_hidden, tick_seconds=self._tick_seconds, frame_seconds=1 / self.info.fps, gap=gap
        )

    def _leap(self, pts: list[int], target: int) -> int | None:
        """Seek to a key frame at or before a time; return the position of the gap, None where there is none."""
        self._container.seek(target, stream=self._stream)
        known = set(pts)
        self._packets = self._demux()
        landed = next(self._packets, None)
        if landed is not None and landed.pts in known:
            self._packets = (packet for packet in self._packets if packet.pts not in known)
            return None
        if landed is None or landed.pts is None or landed.pts > target or not landed.is_keyframe:
            raise Unsuited("a seek did not land on a key frame before the segment")
        self._packets = chain((landed,), self._packets)
        return len(pts)

    def end_seconds(self, timeline: Timeline, kind: str) -> float:
        """Return the end of the last frame of a video that was scanned to its end. See `Decoder.end_seconds`."""
        times, frame_seconds = timeline.times, 1 / self.info.fps
        end_seconds = end_of_last(times, frame_seconds)
        missing = (self.info.duration_seconds - end_seconds) * self.info.fps
        if kind != "matroska" and missing > max_missing(self.info.num_frames):
            raise Unsuited(f"{missing:.0f} of {self.info.num_frames} frames are missing at the end")
        return end_seconds

    def pictures(
        self, timeline: Timeline, wanted: set[int], *, first_and_last: set[int]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield index and picture of the frames that are wanted, in order: uint8 [H, W, 3], RGB, upright, resized.

        Args:
            first_and_last: what must decode as well, so that the times are what they seem.
        """
        held: tuple[int, np.ndarray] | None = None
        for run in timeline.runs(sorted(wanted | first_and_last)):
            for index, frame in self._decode(timeline, run):
                if index not in wanted:
                    continue
                if held:
                    yield held
                held = index, self._picture(frame)
        if held:
            yield held

    def _decode(self, timeline: Timeline, run: Run) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode a run; yield the frames that it is asked for, and check that all came that must."""
        can_skip = timeline.is_reordered and self._codec.codec.canonical_name in SKIPPABLE_CODECS
        due = iter(timeline.due(run, only_anchors=can_skip))
        last = -1
        next_due: float = next(due)
        for frame in self._frames(timeline, run, can_skip=can_skip):
            if frame.pts is not None and frame.pts < timeline.pts[run.start]:
                continue  # made from frames before the key frame too
            index = timeline.index_of.get(frame.pts, -1)
            if not last < index <= next_due or frame.is_corrupt:
                raise Unsuited(f"frame {index} came after {last}, when {next_due} was due, or is damaged")
            last = index
            if index == next_due:
                next_due = next(due, math.inf)
            if index in run.asked:
                yield index, frame
        if next_due < math.inf:
            raise Unsuited(f"frame {next_due} did not come")

    def _frames(self, timeline: Timeline, run: Run, *, can_skip: bool) -> Iterator[av.VideoFrame]:
        """Yield what comes out of the decoder for the packets of a run."""
        self._go_to(timeline, run.start)
        self._codec.flush_buffers()
        for position in range(run.start, run.end + 1):
            packet = self._next_packet(timeline)
            if can_skip:
                is_asked = timeline.index_of.get(timeline.pts[position]) in run.asked
                self._codec.skip_frame = "DEFAULT" if is_asked else "NONREF"
            yield from self._codec.decode(packet)
        yield from self._codec.decode(None)

    def _go_to(self, timeline: Timeline, position: int) -> None:
        """Make the packet at a position, a key frame, the one that comes next."""
        if self._kept:
            self._packets, self._position = iter(self._kept[position:]), position
        elif not 0 <= position - self._position < MIN_SEEK_PACKETS and not self._seek(timeline, position):
            self.close()
            self._open()
        while self._position < position:
            self._next_packet(timeline)

    def _seek(self, timeline: Timeline, position: int) -> bool:
        """Go to a key frame, or to one before it; return False where the container cannot."""
        with suppress(av.FFmpegError):
            self._container.seek(timeline.pts[position], stream=self._stream)
            packets = self._demux()
            first = next(packets, None)
            if first is not None and (landed := timeline.position_of.get(first.pts, position + 1)) <= position:
                self._packets, self._position = chain((first,), packets), landed
                return True
        return False

    def _next_packet(self, timeline: Timeline) -> av.Packet:
        packet = next(self._packets, None)
        if packet is None or packet.pts != timeline.pts[self._position]:
            raise Unsuited(f"packet {self._position} is not what it was")
        self._position += 1
        return packet

    def _picture(self, frame: av.VideoFrame) -> np.ndarray:
        shape = frame.width, frame.height, frame.format.name
        if self._limits is not None:
            self._limits.check_picture(self._path, *shape[:2])
        self._shape = self._shape or shape
        if shape != self._shape:
            raise Unsuited(f"a frame is {shape}, the first was {self._shape}")
        if self._header.matrix is None and frame.rotation:
            raise Unsuited(f"it is turned by {frame.rotation} degrees, and its header is not known")
        return self._display.to_rgb(self._converter.to_bgr(frame, shape[:2]), self._short_side)
