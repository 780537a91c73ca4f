"""Files that begin with a header of HEADER_BYTES and end with the CRC-32, little-endian, of all that precedes it."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np

HEADER_BYTES = 512
BYTES_AT_A_TIME = 2**24
CHECKSUM = struct.Struct("<I")


class CheckedWriter:
    """Writes such a file, and counts its checksum on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._checksum = 0

    def write_header(self, header: bytes) -> None:
        """Write what the header says, filled up with zeros."""
        self.write(header.ljust(HEADER_BYTES, b"\0"))

    def write(self, block: bytes | memoryview) -> int:
        """Write a block, and return how long it is."""
        self._checksum = zlib.crc32(block, self._checksum)
        return self._file.write(block)

    def write_array(self, values: np.ndarray) -> None:
        """Write the bytes of an array, C-contiguous, some at a time."""
        flat = values.reshape(-1).view(np.uint8)
        for start in range(0, len(flat), BYTES_AT_A_TIME):
            self.write(flat[start : start + BYTES_AT_A_TIME].data)

    def end(self) -> None:
        """Write the checksum."""
        self._file.write(CHECKSUM.pack(self._checksum))
