"""All frames of a sample in one file, each compressed on its own, so that any clip of it is a few small pictures.

    mark | picture | picture | ... | times float64 [N + 1] | offsets int64 [N + 1] | sums int64 [N + 1] | N int64, mark

The table stands behind the pictures, since a file is written while its video is decoded. `times` are those of the
frames, in seconds from the first of the video, and the end of the last; `sums` are the CRC-32 of each picture, and that
of times and offsets. Pictures are JPEG, or PNG where nothing may be
lost; optical flow is a grey picture, horizontal and vertical flow beside each other. Numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

MARK = b"c3dhash frames 1"
LOSSLESS = 100  # the quality at which pictures are PNG
# A sample of more frames is read from its video each time: decoding all of them takes longer than looking for those of
# many clips, and their file takes the room of a hundred short ones. 10,000 are 6 min 40 s at 25 frames a second.
MAX_FRAMES = 10_000
CHUNK_BYTES = 1 << 20

_FOOTER = struct.Struct(f"<q{len(MARK)}s")


class Unkept(Exception):
    """The frames of a sample are not kept, and read from its video each time; never seen by a user."""


class TooLarge(Unkept):
    """Its file would be larger than all files may be."""


@dataclass(frozen=True)
class Chunk:
    """Some frames of a sample, compressed, in order.

    times: seconds. pictures: a file each. end_seconds: of the sample, in the last chunk.
    """

    times: list[float]
    pictures: list[bytes]
    end_seconds: float | None = None


def compress(frames: Iterable[tuple[float, np.ndarray | None]], *, quality: int) -> Iterator[Chunk]:
    """Compress frames as they come, and hand them on in chunks.

    Args:
        frames: time and picture of each, uint8 [H, W, 3] (RGB) or [H, W, 2] (flow); at last the end, without a picture.
        quality: of JPEG, or LOSSLESS.
    Raises:
        Unkept: there are more than MAX_FRAMES, or they change their size.
    """
    times: list[float] = []
    pictures: list[bytes] = []
    num_frames, num_bytes, shape = 0, 0, None
    for time, frame in frames:
        if frame is None:
            yield Chunk(times, pictures, end_seconds=time)
            return
        num_frames, shape = num_frames + 1, shape or frame.shape
        if num_frames > MAX_FRAMES or frame.shape != shape:
            raise Unkept(f"frame {num_frames} is {frame.shape}, the first {shape}")
        times.append(time)
        pictures.append(_to_picture(frame, quality))
        num_bytes += len(pictures[-1])
        if num_bytes > CHUNK_BYTES:
            yield Chunk(times, pictures)
            times, pictures, num_bytes = [], [], 0


def write_frames(path: Path, chunks: Iterable[Chunk], *, max_bytes: int) -> int:
    """Write the frames of a sample to a file; return its size in bytes.

    Raises:
        TooLarge: the file would be larger than `max_bytes`.
        Unkept: the chunks stop before the end.
    """
    times: list[float] = []
    offsets = [len(MARK)]
    sums: list[int] = []
    end_seconds: float | None = None
    with path.open("wb") as file:
        file.write(MARK)
        for chunk in chunks:  # to its end: a decoder process that is left before is lost
            times += chunk.times
            end_seconds = chunk.end_seconds
            for picture in chunk.pictures:
                file.write(picture)
                offsets.append(offsets[-1] + len(picture))
                sums.append(zlib.crc32(picture))
            if offsets[-1] > max_bytes:
                raise TooLarge(f"it takes more than {max_bytes} bytes")
        if end_seconds is None:
            raise Unkept("it has no end")
        table = np.array([*times, end_seconds], "<f8").tobytes() + np.array(offsets, "<i8").tobytes()
        file.write(table + np.array([*sums, zlib.crc32(table)], "<i8").tobytes())
        file.write(_FOOTER.pack(len(times), MARK))
        return file.tell()


class StoredFrames:
    """The frames of a sample in a file of `write_frames`, which stays readable where it is deleted.

    Raises:
        ValueError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._content = np.memmap(path, np.uint8, mode="r")
        num_frames, mark = _FOOTER.unpack(self._content[-_FOOTER.size :].tobytes().rjust(_FOOTER.size))
        column_bytes = 8 * (num_frames + 1)
        table = self._content[-3 * column_bytes - _FOOTER.size : -_FOOTER.size].tobytes()
        if mark != MARK or num_frames < 1 or len(table) != 3 * column_bytes:
            raise ValueError(f"it ends with {num_frames} frames and {mark!r}")
        *self._sums, table_sum = np.frombuffer(table, "<i8", offset=2 * column_bytes).tolist()
        if zlib.crc32(table[: 2 * column_bytes]) != table_sum:
            raise ValueError("its table is damaged")
        *self.times, self.end_seconds = np.frombuffer(table, "<f8", num_frames + 1).tolist()
        self._offsets = np.frombuffer(table, "<i8", num_frames + 1, offset=column_bytes).tolist()

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, each once: uint8 [T, H, W, 3], RGB, or [T, H, W, 2], flow.

        Raises:
            ValueError: a picture is damaged.
        """
        decoded = {index: self._frame(index) for index in dict.fromkeys(indices)}
        return np.stack([decoded[index] for index in indices])

    def _frame(self, index: int) -> np.ndarray:
        content = self._content[self._offsets[index] : self._offsets[index + 1]]
        if zlib.crc32(content.tobytes()) != self._sums[index]:
            raise ValueError(f"the picture of frame {index} is damaged")
        picture = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        if picture is None:
            raise ValueError(f"the picture of frame {index} is damaged")
        if picture.ndim == 2:
            return np.stack(np.split(picture, 2, axis=1), axis=-1)  # [H, 2 W] -> [H, W, 2]
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _to_picture(frame: np.ndarray, quality: int) -> bytes:
    if frame.shape[2] == 2:
        picture = np.concatenate([frame[..., 0], frame[..., 1]], axis=1)
    else:
        picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    if quality == LOSSLESS:
        return cv2.imencode(".png", picture)[1].tobytes()
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
