"""The codes of a gallery in one file that is mapped into memory: read at once, shared by all who search.

    header           512 bytes: magic, hash_length, bytes a code, how many codes and videos, stamp; zeros
    codes            uint8 [G, num_bytes], padded as they are searched
    starts           int64 [V], the position of the first code of each video
    first_ids        int64 [V], the id of that code
    checksum         CRC-32 of all that precedes it

All numbers are little-endian. A file is written beside the one that is in use and renamed: who has that mapped goes on
with it. What another program does to the file in place, such as cutting it short, can end a process that searches.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from c3dhash.errors import GalleryError
from c3dhash.gallery.checked_file import CHECKSUM, HEADER_BYTES, CheckedWriter

MAGIC = b"c3dhash3"
HEADER = struct.Struct("<8sIIqqqq")


class StoredCodes(NamedTuple):
    """What such a file holds.

    codes: uint8 [G, num_bytes]. starts, first_ids: int64 [V]. stamp: two int64, what it is a copy of.
    """

    codes: np.ndarray
    starts: np.ndarray
    first_ids: np.ndarray
    stamp: tuple[int, int]


def write_codes(path: Path, stored: StoredCodes, *, hash_length: int) -> None:
    """Write a file in place; the caller renames.

    Raises:
        OSError: it cannot be written.
    """
    num_codes, num_bytes = stored.codes.shape
    header = HEADER.pack(MAGIC, hash_length, num_bytes, num_codes, len(stored.starts), *stored.stamp)
    with path.open("wb") as file:
        writer = CheckedWriter(file)
        writer.write_header(header)
        writer.write_array(stored.codes)
        for numbers in (stored.starts, stored.first_ids):
            writer.write_array(np.ascontiguousarray(numbers, "<i8"))
        writer.end()


def map_codes(path: Path, *, hash_length: int, num_bytes: int) -> StoredCodes:
    """Map what `write_codes` wrote, after its checksum was compared; the arrays cannot be written to.

    Args:
        hash_length, num_bytes: of its codes, as they should be.
    Raises:
        GalleryError: the file is missing, damaged, of another format, or holds codes of another length.
    """
    try:
        with path.open("rb") as file:
            data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        return _parse(data, hash_length=hash_length, num_bytes=num_bytes)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise GalleryError(f"index '{path}' cannot be read: {reason}.") from error


def _parse(data: np.ndarray, *, hash_length: int, num_bytes: int) -> StoredCodes:
    """Cut the bytes of a file into what it holds.

    Raises:
        ValueError: they are not those of a whole file of such codes.
    """
    end = len(data) - CHECKSUM.size
    if end < HEADER_BYTES or zlib.crc32(data[:end].data) != CHECKSUM.unpack(data[end:].tobytes())[0]:
        raise ValueError("its checksum does not match")
    magic, saved_hash_length, saved_num_bytes, num_codes, num_videos, *stamp = HEADER.unpack_from(data.data)
    if magic != MAGIC:
        raise ValueError(f"it begins with {magic!r} instead of {MAGIC!r}")
    if (saved_hash_length, saved_num_bytes) != (hash_length, num_bytes):
        raise ValueError(
            f"it holds {saved_hash_length}-bit codes in {saved_num_bytes} bytes, "
            f"not {hash_length}-bit ones in {num_bytes}"
        )
    starts_at = HEADER_BYTES + num_codes * num_bytes
    if starts_at + 2 * 8 * num_videos != end:
        raise ValueError(f"{num_codes} codes and {num_videos} videos do not make {len(data)} bytes")
    codes = data[HEADER_BYTES:starts_at].reshape(num_codes, num_bytes)
    starts, first_ids = np.frombuffer(data[starts_at:end].tobytes(), "<i8").reshape(2, num_videos)
    return StoredCodes(codes, starts, first_ids, (stamp[0], stamp[1]))
