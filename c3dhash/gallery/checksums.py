"""The clips of a video -> a checksum, by which it is seen later whether they are as they were written.

A checksum is BLAKE2b of 8 bytes over the clips in the order of their ids: start and end as little-endian float64, then
the bytes of the code. A zero has no sign in it, as SQLite stores none.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from c3dhash.records import CodeBatch

NUM_BYTES = 8
NO_CHECKSUM = b""  # of rows that are no clips: equal to none that was written

_pack_times = struct.Struct("<dd").pack


def clips_checksum(clips: Iterable[tuple[Any, Any, Any]]) -> bytes:
    """Return the checksum of rows (start_seconds, end_seconds, code); NO_CHECKSUM where one is no such thing."""
    digest = hashlib.blake2b(digest_size=NUM_BYTES)
    try:
        for start_seconds, end_seconds, code in clips:
            digest.update(_pack_times(start_seconds + 0.0, end_seconds + 0.0))  # -0.0 + 0.0 is 0.0
            digest.update(code)
    except (TypeError, struct.error):
        return NO_CHECKSUM
    return digest.digest()


def codes_checksum(codes: CodeBatch) -> bytes:
    """Return the checksum of the clips of a video: what `clips_checksum` gives for its rows."""
    width = codes.codes.shape[1]
    rows = np.empty(len(codes.codes), [("start", "<f8"), ("end", "<f8"), ("code", np.uint8, (width,))])
    rows["start"], rows["end"], rows["code"] = codes.start_seconds + 0.0, codes.end_seconds + 0.0, codes.codes
    return hashlib.blake2b(rows.tobytes(), digest_size=NUM_BYTES).digest()
