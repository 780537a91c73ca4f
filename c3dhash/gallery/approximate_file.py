"""An approximate index in one file, beside the codes that it is made of.

    header           512 bytes: magic, hash_length, bytes a code, how many codes and videos, stamp, bytes of the facts
    facts            JSON: the kind, and what was measured when it was built
    starts           int64 [V], the position of the first code of each video
    first_ids        int64 [V], the id of that code
    index            as FAISS writes it
    checksum         CRC-32 of all that precedes it

All numbers are little-endian. Nothing of it is given to FAISS before the checksum was compared.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import faiss
import numpy as np

from c3dhash.errors import GalleryError
from c3dhash.gallery.checked_file import BYTES_AT_A_TIME, CHECKSUM, HEADER_BYTES, CheckedWriter
from c3dhash.gallery.kinds import KINDS
from c3dhash.gallery.recall import Facts

MAGIC = b"c3dhapx1"
HEADER = struct.Struct("<8sIIqqqqq")


class StoredIndex(NamedTuple):
    """What such a file holds.

    index: of FAISS. starts, first_ids: int64 [V]. num_codes: in it. stamp: two int64, what it was built of.
    """

    index: Any
    facts: Facts
    starts: np.ndarray
    first_ids: np.ndarray
    num_codes: int
    stamp: tuple[int, int]


def write_index(path: Path, stored: StoredIndex, *, hash_length: int, num_bytes: int) -> None:
    """Write a file in place; the caller renames.

    Raises:
        OSError: it cannot be written.
    """
    facts = json.dumps(dataclasses.asdict(stored.facts)).encode()
    numbers = stored.num_codes, len(stored.starts), *stored.stamp, len(facts)
    header = HEADER.pack(MAGIC, hash_length, num_bytes, *numbers)
    with path.open("wb") as file:
        writer = CheckedWriter(file)
        writer.write_header(header)
        writer.write(facts)
        for numbers_of_videos in (stored.starts, stored.first_ids):
            writer.write_array(np.ascontiguousarray(numbers_of_videos, "<i8"))
        try:
            faiss.write_index_binary(stored.index, faiss.PyCallbackIOWriter(writer.write, BYTES_AT_A_TIME))
        except RuntimeError as error:  # what `write` raises comes out as FAISS's own
            raise OSError(f"FAISS cannot write it: {error}") from error
        writer.end()


def read_index(path: Path, *, hash_length: int, num_bytes: int) -> StoredIndex:
    """Read what `write_index` wrote.

    Args:
        hash_length, num_bytes: of its codes, as they should be.
    Raises:
        GalleryError: the file is missing, damaged, of another format, or of codes of another length.
    """
    try:
        with path.open("rb") as file:
            return _parse(file, hash_length=hash_length, num_bytes=num_bytes)
    except (OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".") or "there is no memory for it"
        raise GalleryError(f"approximate index '{path}' cannot be read: {reason}.") from error


def is_ours(path: Path) -> bool:
    """Tell whether nothing that another program wrote is lost with a file: it begins as ours do, as far as it goes."""
    try:
        with path.open("rb") as file:
            return MAGIC.startswith(file.read(len(MAGIC)))
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _parse(file: BinaryIO, *, hash_length: int, num_bytes: int) -> StoredIndex:
    """Read an open file.

    Raises:
        ValueError: it is not a whole file of such codes.
    """
    end = os.fstat(file.fileno()).st_size - CHECKSUM.size
    header = file.read(HEADER_BYTES)
    if not header.startswith(MAGIC):
        raise ValueError(f"it begins with {header[: len(MAGIC)]!r} instead of {MAGIC!r}")
    if end < HEADER_BYTES or not _is_whole(file, end):
        raise ValueError("its checksum does not match")
    _, saved_hash_length, saved_num_bytes, num_codes, num_videos, *stamp, num_fact_bytes = HEADER.unpack_from(header)
    if (saved_hash_length, saved_num_bytes) != (hash_length, num_bytes):
        raise ValueError(
            f"it is of {saved_hash_length}-bit codes in {saved_num_bytes} bytes, "
            f"not of {hash_length}-bit ones in {num_bytes}"
        )
    file.seek(HEADER_BYTES)
    facts = Facts(**json.loads(file.read(num_fact_bytes)))
    if facts.kind not in KINDS:
        raise ValueError(f"it is of kind {facts.kind!r}, which this version does not know")
    starts, first_ids = np.frombuffer(file.read(2 * 8 * num_videos), "<i8").astype(np.int64).reshape(2, num_videos)
    index = faiss.read_index_binary(faiss.PyCallbackIOReader(file.read, BYTES_AT_A_TIME))
    if index.ntotal != num_codes or 8 * num_bytes != index.d:
        raise ValueError(f"its index holds {index.ntotal} codes of {index.d} bits, not {num_codes} of {8 * num_bytes}")
    return StoredIndex(index, facts, starts, first_ids, num_codes, (stamp[0], stamp[1]))


def _is_whole(file: BinaryIO, end: int) -> bool:
    file.seek(0)
    checksum, left = 0, end
    while left > 0 and (block := file.read(min(left, BYTES_AT_A_TIME))):
        checksum, left = zlib.crc32(block, checksum), left - len(block)
    return bool(CHECKSUM.pack(checksum) == file.read())
