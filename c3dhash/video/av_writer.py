"""A VideoWriter (c3dhash.video.writer) with PyAV: frames at their own times, with the sound of the source."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from c3dhash.errors import VideoError
from c3dhash.video.av_capture import open_file
from c3dhash.video.writer import AV_CODECS

logger = logging.getLogger(__name__)

TICK_SECONDS = Fraction(1, 90_000)  # the clock of MPEG: whole numbers for all usual frame rates
OPTIONS = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "libvpx-vp9": {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6"},
}


class AVWriter:
    """A VideoWriter.

    Sound that a kind of file does not take, or whose times make no sense, is left out, and that is logged.

    Args:
        path, size_px, fps, sound_of: as of `writer.writing_video`.
        name: how errors call it.
    Raises:
        VideoError: FFmpeg cannot write it.
    """

    def __init__(self, path: Path, *, name: str, size_px: tuple[int, int], fps: float, sound_of: Path) -> None:
        self._path, self._name, self._size_px, self._fps = path, name, size_px, fps
        self._last_pts = -1
        self._sound = _Sound.of(sound_of)
        with self._errors():
            try:
                self._open()
            except (av.FFmpegError, ValueError):
                if self._sound is None:
                    raise
                self._drop_sound(f"its codec ({self._sound.codec}) does not go into {path.suffix} files")
                self._open()

    def _open(self) -> None:
        """Open the file and write its header, which says whether it takes what it is to hold."""
        self._container = av.open(f"file:{self._path.absolute()}", "w")
        try:
            codec = AV_CODECS[self._path.suffix]
            self._stream = self._container.add_stream(codec, rate=Fraction(self._fps).limit_denominator(1001))
            assert isinstance(self._stream, av.VideoStream)
            self._stream.width, self._stream.height = self._size_px
            # Half of the colours are left out where width and height can be halved: what every player shows.
            self._stream.pix_fmt = "yuv444p" if self._size_px[0] % 2 or self._size_px[1] % 2 else "yuv420p"
            self._stream.options = OPTIONS[codec]
            self._stream.codec_context.time_base = TICK_SECONDS
            if self._sound is not None:
                self._sound.add_to(self._container)
            self._container.start_encoding()
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> AVWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
            else:
                self._abandon()
        finally:
            if self._sound is not None:
                self._sound.close()

    def write(self, picture: np.ndarray, start_seconds: float, end_seconds: float) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.time_base = TICK_SECONDS
        frame.pts = max(round(start_seconds / TICK_SECONDS), self._last_pts + 1)  # no two at the same time
        frame.duration = max(round(end_seconds / TICK_SECONDS) - frame.pts, 1)
        self._last_pts = frame.pts
        self._copy_sound(until_seconds=start_seconds)
        with self._errors():
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left."""
        with self._errors():
            self._container.mux(self._stream.encode(None))
        self._copy_sound(until_seconds=float("inf"))
        with self._errors():
            self._container.close()

    def _copy_sound(self, *, until_seconds: float) -> None:
        if self._sound is None:
            return
        try:
            self._sound.copy(self._container, until_seconds=until_seconds)
        except (av.FFmpegError, ValueError) as error:
            self._drop_sound(f"it cannot be read or copied any further ({error.strerror})"
                             if isinstance(error, av.FFmpegError) else "it cannot be copied any further")  # fmt: skip

    def _drop_sound(self, reason: str) -> None:
        logger.warning("the sound of '%s' is left out: %s.", self._name, reason)
        if self._sound is not None:
            self._sound.close()
        self._sound = None

    def _abandon(self) -> None:
        with suppress(av.FFmpegError, ValueError):
            self._container.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, ValueError) as error:
            reason = error.strerror if isinstance(error, av.FFmpegError) else error
            raise VideoError(f"'{self._name}' cannot be written ({reason}); try another kind of file.") from error


class _Sound:
    """The packets of a source's sound, moved so that its first frame is at 0.

    codec: its name.
    """

    def __init__(self, source: av.container.InputContainer, stream: av.AudioStream, codec: str) -> None:
        self._source, self._stream, self.codec = source, stream, codec
        video = source.streams.video[0]
        first = float((video.start_time or 0) * (video.time_base or 0))
        self._tick = Fraction(stream.time_base or TICK_SECONDS)
        self._shift = round(first / self._tick)
        self._packets: Iterator[av.Packet] = source.demux(stream)
        self._next: av.Packet | None = None
        self._last_dts: int | None = None
        self._copied: av.AudioStream | None = None

    @classmethod
    def of(cls, path: Path) -> _Sound | None:
        """Open the sound of a video; None where there is none."""
        try:
            source = open_file(path)
        except (av.FFmpegError, ValueError):
            return None
        if source.streams.audio and source.streams.video and source.streams.audio[0].codec_context is not None:
            stream = source.streams.audio[0]
            return cls(source, stream, stream.codec_context.codec.canonical_name)
        source.close()
        return None

    def add_to(self, container: av.container.OutputContainer) -> None:
        """Add the stream to a file.

        Raises:
            ValueError: it does not take the codec.
        """
        if self.codec not in container.supported_codecs:
            raise ValueError(self.codec)
        self._copied = container.add_stream_from_template(self._stream)

    def copy(self, container: av.container.OutputContainer, *, until_seconds: float) -> None:
        """Write the packets that begin before a time. Those whose times go back are left out."""
        while True:
            packet = self._next or next(self._packets, None)
            self._next = None
            if packet is None:
                return
            if not packet.size or packet.dts is None or packet.pts is None:
                continue
            if (packet.pts - self._shift) * self._tick > until_seconds:
                self._next = packet
                return
            if packet.pts >= self._shift and (self._last_dts is None or packet.dts > self._last_dts):
                self._last_dts = packet.dts
                packet.pts -= self._shift
                packet.dts -= self._shift
                packet.stream = self._copied
                container.mux(packet)

    def close(self) -> None:
        self._source.close()
