"""What the header of an MP4 or Matroska file says of how its frames are shown, which OpenCV does not hand on.

    MP4        moov ─ mvhd, trak ─┬─ tkhd                      a matrix each; the second is applied first
                                  └─ mdia ─┬─ hdlr             "vide"
                                           └─ minf ─ stbl ─ stsd ─ (codec) ─ colr
    Matroska   Segment ─ Tracks ─ TrackEntry ─ Video ─┬─ Projection     turned by roll, mirrored by yaw
                                                      └─ Colour

Source: ISO/IEC 14496-12, 8.2.2, 8.3.2, 12.1.5; RFC 9559, 5.1.4.1.28; ISO/IEC 23091-2, 8.1 and 8.2 for colours.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

Matrix = tuple[float, float, float, float]  # a b c d: a pixel at (x, y) is shown at (a x + c y, b x + d y)

MOVIE_MATRIX_BYTES = (36, 48)  # from the start of a mvhd box to its matrix, by the box's version
TRACK_MATRIX_BYTES = (40, 52)
SAMPLE_ENTRY_BYTES = 78  # of a VisualSampleEntry before its boxes

SEGMENT, CLUSTER, TRACKS, TRACK, TRACK_TYPE = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0x83
VIDEO, COLOUR, PRIMARIES, TRANSFER, PROJECTION, YAW, ROLL = 0xE0, 0x55B0, 0x55BB, 0x55BA, 0x7670, 0x7673, 0x7675
VIDEO_TRACK = 1


@dataclass(frozen=True)
class Header:
    """matrix: how frames are turned and mirrored. transfer, primaries: the numbers of the transfer characteristics and
    of the colour primaries; None where the file does not say."""

    matrix: Matrix | None = None
    transfer: int | None = None
    primaries: int | None = None


def read_header(path: Path, kind: str) -> Header:
    """Read what a file says of its first video track; an empty Header for other containers and odd files.

    Args:
        kind: as `containers.check_container` names it.
    """
    reader = {"mp4": _read_mp4, "matroska": _read_matroska}.get(kind)
    if reader is None:
        return Header()
    try:
        with path.open("rb") as file:
            return reader(file)
    except (OSError, struct.error, ValueError):
        return Header()


def _read_mp4(file: BinaryIO) -> Header:
    movie_matrix = None
    for name, start, end in _boxes(file, 0, file.seek(0, 2)):
        if name != b"moov":
            continue
        for inner, inner_start, inner_end in _boxes(file, start, end):
            if inner == b"mvhd":
                movie_matrix = _matrix_at(file, inner_start, MOVIE_MATRIX_BYTES)
            elif inner == b"trak" and _is_video(file, inner_start, inner_end):
                return _read_track(file, inner_start, inner_end, movie_matrix)
    return Header()


def _read_track(file: BinaryIO, start: int, end: int, movie_matrix: Matrix | None) -> Header:
    matrix, transfer, primaries = None, None, None
    if place := next(_find(file, start, end, b"tkhd"), None):
        matrix = _matrix_at(file, place[0], TRACK_MATRIX_BYTES)
    if matrix and movie_matrix:
        a, b, c, d = matrix
        e, f, g, h = movie_matrix
        matrix = a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h
    for place in _find(file, start, end, b"mdia", b"minf", b"stbl", b"stsd"):
        for _codec, entry_start, entry_end in _boxes(file, place[0] + 8, place[1]):
            for colour_start, _ in _find(file, entry_start + SAMPLE_ENTRY_BYTES, entry_end, b"colr"):
                file.seek(colour_start)
                kind, *numbers = struct.unpack(">4sHH", file.read(8))
                if kind in (b"nclx", b"nclc"):
                    primaries, transfer = numbers
            return Header(matrix, transfer, primaries)
    return Header(matrix)


def _is_video(file: BinaryIO, start: int, end: int) -> bool:
    for place in _find(file, start, end, b"mdia", b"hdlr"):
        file.seek(place[0] + 8)
        return file.read(4) == b"vide"
    return False


def _matrix_at(file: BinaryIO, start: int, offsets: tuple[int, int]) -> Matrix:
    """Read the matrix (a b u; c d v; x y w) of a box, in 16.16 and 2.30 fixed point."""
    file.seek(start)
    file.seek(start + offsets[file.read(1) == b"\x01"])
    a, b, _u, c, d = struct.unpack(">5i", file.read(20))
    return a / 65536, b / 65536, c / 65536, d / 65536


def _find(file: BinaryIO, start: int, end: int, *names: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of the content of each box at the end of a path of names."""
    for name, inner_start, inner_end in _boxes(file, start, end):
        if name == names[0]:
            if len(names) == 1:
                yield inner_start, inner_end
            else:
                yield from _find(file, inner_start, inner_end, *names[1:])


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the content of the boxes in a stretch of a file; see containers._mp4_end."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        length, content = int.from_bytes(header[:4], "big"), start + 8
        if length == 1:
            length, content = int.from_bytes(header[8:16], "big"), start + 16
        elif length == 0:
            length = end - start
        if length < content - start:
            return
        yield header[4:8], content, min(start + length, end)
        start += length


def _read_matroska(file: BinaryIO) -> Header:
    num_bytes = file.seek(0, 2)
    for number, start, end in _elements(file, 0, num_bytes):
        if number != SEGMENT:
            continue
        for inner, inner_start, inner_end in _elements(file, start, end):
            if inner == CLUSTER:
                return Header()
            if inner == TRACKS:
                return _read_tracks(file, inner_start, inner_end)
    return Header()


def _read_tracks(file: BinaryIO, start: int, end: int) -> Header:
    for track, track_start, track_end in _elements(file, start, end):
        content = {number: place for number, *place in _elements(file, track_start, track_end)}
        if track == TRACK and TRACK_TYPE in content and _unsigned(file, *content[TRACK_TYPE]) == VIDEO_TRACK:
            video = {number: place for number, *place in _elements(file, *content.get(VIDEO, (0, 0)))}
            colour = {number: place for number, *place in _elements(file, *video.get(COLOUR, (0, 0)))}
            shown = {number: place for number, *place in _elements(file, *video.get(PROJECTION, (0, 0)))}
            yaw, roll = (_float(file, *shown[number]) if number in shown else 0.0 for number in (YAW, ROLL))
            transfer, primaries = (
                _unsigned(file, *colour[number]) if number in colour else None for number in (TRANSFER, PRIMARIES)
            )
            return Header(_turned(yaw, roll) if shown else None, transfer, primaries)
    return Header()


def _turned(yaw: float, roll: float) -> Matrix:
    """Return the matrix of a picture that is mirrored where yaw is 180, then turned counterclockwise by `roll`."""
    cosine, sine = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    mirror = -1 if abs(yaw) == 180 else 1
    return mirror * cosine, -mirror * sine, sine, cosine


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of the content of the elements in a stretch; see containers._matroska_end."""
    while start < end:
        file.seek(start)
        header = file.read(12)
        id_bytes = 9 - header[0].bit_length() if header and header[0] else 9
        if id_bytes > 4 or len(header) < id_bytes + 1 or not header[id_bytes]:
            return
        length_bytes = 9 - header[id_bytes].bit_length()
        length = int.from_bytes(header[id_bytes : id_bytes + length_bytes], "big") & ((1 << 7 * length_bytes) - 1)
        content = start + id_bytes + length_bytes
        is_open = length == (1 << 7 * length_bytes) - 1
        start = end if is_open else content + length
        yield int.from_bytes(header[:id_bytes], "big"), content, min(start, end)


def _unsigned(file: BinaryIO, start: int, end: int) -> int:
    file.seek(start)
    return int.from_bytes(file.read(min(8, end - start)), "big")


def _float(file: BinaryIO, start: int, end: int) -> float:
    file.seek(start)
    content = file.read(min(8, end - start))
    return float(struct.unpack(">f" if len(content) == 4 else ">d", content)[0]) if content else 0.0
