"""A VideoWriter (c3dhash.video.writer) with PyAV: frames at their own times, with the sound of the source."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from c3dhash.errors import VideoError
from c3dhash.video.writer import AV_CODECS

logger = logging.getLogger(__name__)

TICK_SECONDS = Fraction(1, 90_000)  # the clock of MPEG: whole numbers for all usual frame rates
OPTIONS = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "libvpx-vp9": {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6"},
}


class AVWriter:
    """A VideoWriter.

    Args:
        path, size_px, fps, sound_of: as of `writer.writing_video`.
        name: how errors call it.
    Raises:
        VideoError: FFmpeg cannot write it.
    """

    def __init__(self, path: Path, *, name: str, size_px: tuple[int, int], fps: float, sound_of: Path) -> None:
        self._name = name
        self._sound: _Sound | None = None
        try:
            self._container = av.open(f"file:{path.absolute()}", "w")
            codec = AV_CODECS[path.suffix]
            self._stream = self._container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
            assert isinstance(self._stream, av.VideoStream)
            self._stream.width, self._stream.height = size_px
            is_even = not (size_px[0] % 2 or size_px[1] % 2)
            # Half of the colours are left out where width and height can be halved: what every player shows.
            self._stream.pix_fmt = "yuv420p" if is_even else "yuv444p"
            self._stream.options = OPTIONS[codec]
            self._stream.codec_context.time_base = TICK_SECONDS
            self._sound = _Sound.of(sound_of, self._container)
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"'{name}' cannot be written ({error}).") from error

    def __enter__(self) -> AVWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        with suppress(av.FFmpegError, ValueError):
            self._container.close()

    def write(self, picture: np.ndarray, start_seconds: float, end_seconds: float) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.time_base = TICK_SECONDS
        frame.pts = round(start_seconds / TICK_SECONDS)
        frame.duration = round((end_seconds - start_seconds) / TICK_SECONDS)
        try:
            if self._sound is not None:
                self._sound.copy(self._container, until_seconds=start_seconds)
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            raise VideoError(f"'{self._name}' cannot be written ({error}).") from error

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode(None))
            if self._sound is not None:
                self._sound.copy(self._container, until_seconds=float("inf"))
            self._container.close()
        except av.FFmpegError as error:
            raise VideoError(f"'{self._name}' cannot be written ({error}).") from error


class _Sound:
    """The packets of a source's sound, moved so that its first frame is at 0."""

    def __init__(self, source: av.container.InputContainer, stream: av.AudioStream, copied: av.AudioStream) -> None:
        self._source, self._copied = source, copied
        video = source.streams.video[0]
        first = float((video.start_time or 0) * (video.time_base or 0))
        self._tick = Fraction(stream.time_base or TICK_SECONDS)
        self._shift = round(first / self._tick)
        self._packets: Iterator[av.Packet] = source.demux(stream)
        self._next: av.Packet | None = None

    @classmethod
    def of(cls, path: Path, container: av.container.OutputContainer) -> _Sound | None:
        """Add the sound of a video to a file that is about to be written; None where none fits into it."""
        try:
            source = av.open(f"file:{path.absolute()}", metadata_errors="replace")
        except (av.FFmpegError, ValueError):
            return None
        if not source.streams.audio or not source.streams.video:
            return None
        stream = source.streams.audio[0]
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
        if codec not in container.supported_codecs:
            logger.warning("the sound (%s) does not go into %s files and is left out; .mkv takes any.", codec,
                           container.format.name)  # fmt: skip
            return None
        return cls(source, stream, container.add_stream_from_template(stream))

    def copy(self, container: av.container.OutputContainer, *, until_seconds: float) -> None:
        """Write the packets that begin before a time."""
        while True:
            packet = self._next or next(self._packets, None)
            self._next = None
            if packet is None or packet.dts is None or packet.pts is None:  # the end
                return
            if (packet.pts - self._shift) * self._tick > until_seconds:
                self._next = packet
                return
            if packet.pts >= self._shift:
                packet.pts -= self._shift
                packet.dts -= self._shift
                packet.stream = self._copied
                container.mux(packet)
