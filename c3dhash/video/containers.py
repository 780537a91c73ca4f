"""What the bytes of a file say before a decoder sees it: no video at all, or a video that is cut short.

FFmpeg opens nearly anything: to it a photo is a video of one frame, and so is the cover of a song; a text
file is an animation, and a playlist is whatever it points to. It plays a file that was cut short up to the
cut, and repeats or blends frames there. All of that looks like success to the caller; hence this page, which
costs a few reads of a few bytes. Damage that leaves the length as it was (a flipped bit, a hole of zeros) is
not seen here, and decoders conceal it.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO

from c3dhash.errors import VideoError

PICTURE_MAGIC = (
    # offset, bytes, what it is
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (8, b"WEBP", "a WebP picture"),
)
ANIMATED = ((0, b"\x89PNG", b"acTL"), (8, b"WEBP", b"ANIM"))  # pictures that move, by a chunk before the first one
NO_VIDEO_MAGIC = (
    *PICTURE_MAGIC,
    (8, b"WAVE", "a sound file"),
    (8, b"M4A ", "a sound file"),
    (0, b"ID3", "a sound file"),
    (0, b"fLaC", "a sound file"),
)
VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".ivf", ".m1v", ".m2t", ".m2ts",
    ".m2v", ".m4v", ".mk3d", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv",
    ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m",
))  # fmt: skip
PATTERN_CHARACTERS = frozenset("%*?{")  # in the name of a picture, FFmpeg reads them as a series of pictures
MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot")
# Videos that begin with a line of text: uncompressed, NUT, a camera's JPEGs in MIME parts.
TEXT_HEADS = (b"YUV4MPEG2", b"nut/multimedia container", b"--")
PLAYLIST_WORDS = (b"ffconcat", b"#EXTM3U", b"<MPD", b"<CompositionPlaylist")
HEAD_OF_TEXT_BYTES = 16  # so many letters at the beginning are a text, whatever follows
TEXT_BYTES = frozenset(range(0x20, 0x100)) - {0x7F} | {0x09, 0x0A, 0x0D}
TS_PACKET_BYTES = 188
# Advanced Systems Format specification, 10.1 and 10.2: the GUIDs of the header and of the file properties.
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
IRREGULAR = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
PADDING_BYTES = 8  # some writers forget the pad byte or the chunk header in the length of the last chunk


def check_container(path: Path) -> str:
    """Refuse a file that is no video or does not hold all the bytes its container announces.

    Returns:
        "avi", "mp4", "matroska", "asf" (WMV), "gif", or "ts" and "other" (not checked for completeness).
    Raises:
        VideoError: missing, no regular file, unreadable, empty, a picture, a sound, a text or cut short; or its name
            is one that FFmpeg reads as a series of pictures.
    """
    check_regular(path)
    may_be_picture = path.suffix and path.suffix.lower() not in VIDEO_SUFFIXES
    if may_be_picture and PATTERN_CHARACTERS & set(str(path.absolute())):
        raise VideoError(
            f"video '{path}' has a name that may mean a series of pictures (with one of % * ? {{); "
            "give it the suffix of a video."
        )
    try:
        with path.open("rb") as file:
            return _check_bytes(path, file)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> VideoError:
    return VideoError(f"video '{path}' cannot be read ({error.strerror}); may it be read?")


def is_still_picture(path: Path) -> bool:
    """Tell by its first bytes whether a file is a picture that does not move; a GIF is a video, whatever it shows.

    Raises:
        VideoError: missing, no regular file, or unreadable.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise _unreadable(path, error) from error
    is_picture = any(_begins(head, offset, magic) for offset, magic, _ in PICTURE_MAGIC)
    return is_picture and not any(_begins(head, offset, magic) and chunk in head for offset, magic, chunk in ANIMATED)


def _begins(head: bytes, offset: int, magic: bytes) -> bool:
    return head[offset : offset + len(magic)] == magic


def check_regular(path: Path, *, what: str = "video") -> None:
    """Refuse what is no regular file, or a link to one, before it is opened: opening a named pipe may never return.

    Args:
        what: the file is, for errors.
    Raises:
        VideoError: missing, a folder, a pipe, a socket or a device; or the name cannot be one.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise VideoError(f"{what} '{path}' does not exist; check the path.") from error
        reason = getattr(error, "strerror", error)
        raise VideoError(f"{what} {str(path)!r} cannot be read ({reason}); check the path.") from error
    if not stat.S_ISREG(mode):
        kind = next((kind for is_one, kind in IRREGULAR if is_one(mode)), "something else")
        raise VideoError(f"{what} '{path}' is not a file but {kind}; name a regular file.")


def _check_bytes(path: Path, file: BinaryIO) -> str:
    num_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(1024)
    if not head:
        raise VideoError(f"video '{path}' is empty (0 bytes); copy or download it again.")
    for offset, magic, what in NO_VIDEO_MAGIC:
        if _begins(head, offset, magic):
            raise VideoError(f"video '{path}' is {what}, not a video.")
    kind = _kind(head)
    if kind == "other" and _is_text(head):
        raise VideoError(f"video '{path}' is a text or a playlist, not a video: it begins {head[:20]!r}.")
    find_end = {"avi": _riff_end, "mp4": _mp4_end, "matroska": _matroska_end, "asf": _asf_end}.get(kind)
    end = find_end(file, num_bytes) if find_end else num_bytes
    if end > num_bytes + PADDING_BYTES:
        raise _cut_short(path, f"it holds {num_bytes} of the {end} bytes that its container announces")
    if kind == "gif":
        file.seek(max(0, num_bytes - 64))
        if not file.read().rstrip(b"\0").endswith(b";"):
            raise _cut_short(path, f"the end mark of a GIF is missing after {num_bytes} bytes")
    return kind


def _cut_short(path: Path, reason: str) -> VideoError:
    return VideoError(
        f"video '{path}' is cut short: {reason}; copy or download it again, "
        "or keep what is there with: ffmpeg -i VIDEO -c copy REPAIRED."
    )


def _is_text(head: bytes) -> bool:
    """Tell whether a file begins like a text: one that FFmpeg takes for a list would play other files."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(TEXT_HEADS):
        return False
    letters = start[:HEAD_OF_TEXT_BYTES]
    is_ascii = len(letters) == HEAD_OF_TEXT_BYTES and letters.isascii() and TEXT_BYTES.issuperset(letters)
    return is_ascii or TEXT_BYTES.issuperset(head) or any(word in head for word in PLAYLIST_WORDS)


def _kind(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in MP4_FIRST_BOXES:
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:16] == ASF_HEADER:
        return "asf"
    if head[:4] == b"GIF8":
        return "gif"
    if set(head[::TS_PACKET_BYTES]) == {ord("G")}:  # the sync byte of each packet
        return "ts"
    return "other"


def _riff_end(file: BinaryIO, num_bytes: int) -> int:
    """Follow the chunks `RIFF <length> <content>`.

    A length of 0 is a recording that was never closed, and all ones one that was written to a pipe.
    """
    position = 0
    while position < num_bytes:
        file.seek(position)
        header = file.read(8)
        if header[:4] != b"RIFF" or len(header) < 8:
            break
        length = struct.unpack("<I", header[4:])[0]
        if length in (0, 0xFFFFFFFF):
            return 0
        position += 8 + length + length % 2
    return position


def _mp4_end(file: BinaryIO, num_bytes: int) -> int:
    """Follow the boxes `<length> <name> <content>`; length 1: it follows in 64 bits, 0: up to the end."""
    position = 0
    while position < num_bytes:
        file.seek(position)
        header = file.read(16)
        if not header.rstrip(b"\0") or (len(header) >= 8 and not header[4:8].isalnum()):
            break  # what a camera or a disk appended is no box
        if len(header) < 8:
            return position + 8 + PADDING_BYTES + 1
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:
            return 0
        position += length
    return position


def _matroska_end(file: BinaryIO, num_bytes: int) -> int:
    """Read the lengths of the EBML header and of the segment, which holds everything else.

    A length has as many bytes after its first as that has leading zero bits; all ones: not known (live).
    """
    position = 0
    for _element in ("EBML", "Segment"):
        file.seek(position)
        header = file.read(12)
        if len(header) < 12 or not header[4]:
            return position + 12 + PADDING_BYTES + 1 if len(header) < 12 else 0
        length_bytes = 9 - header[4].bit_length()
        length = int.from_bytes(header[4 : 4 + length_bytes], "big") & ((1 << 7 * length_bytes) - 1)
        if length == (1 << 7 * length_bytes) - 1:
            return 0
        position += 4 + length_bytes + length
    return position


def _asf_end(file: BinaryIO, num_bytes: int) -> int:
    """Read the size of the file from its properties; 0 (a broadcast) or no properties: not known."""
    file.seek(0)
    header = file.read(1 << 16)
    start = header.find(ASF_PROPERTIES) + 40  # the object's GUID, its length (8), the file's GUID
    return int.from_bytes(header[start : start + 8], "little") if start >= 40 else 0
