"""Checksums of a video's clips: golden bytes, the same from arrays and rows, and what they see."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c3dhash.gallery.checksums import NO_CHECKSUM, clips_checksum, codes_checksum
from c3dhash.gallery.reader import open_reader
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch

ROWS = [(0.0, 1.5, b"\x01\x02"), (1.0, 2.5, b"\x00\xff")]
GOLDEN = "61b4e1ca5d503941"


def batch(rows: list[tuple[float, float, bytes]]) -> CodeBatch:
    starts, ends, codes = zip(*rows, strict=True)
    return CodeBatch(np.array([list(code) for code in codes], np.uint8), 16, np.array(starts), np.array(ends))


def test_golden_bytes() -> None:
    by_hand = hashlib.blake2b(digest_size=8)
    for start, end, code in ROWS:
        by_hand.update(struct.pack("<d", start) + struct.pack("<d", end) + code)
    assert clips_checksum(ROWS) == codes_checksum(batch(ROWS)) == by_hand.digest() == bytes.fromhex(GOLDEN)


@given(st.integers(0, 1), st.integers(0, 2), st.integers(0, 63))
def test_any_bit_that_flips_is_seen(row: int, column: int, bit: int) -> None:
    rows = [list(each) for each in ROWS]
    if column == 2:
        code = bytearray(rows[row][2])
        code[bit // 8 % 2] ^= 1 << bit % 8
        rows[row][2] = bytes(code)
    else:
        (word,) = struct.unpack("<q", struct.pack("<d", rows[row][column]))
        (rows[row][column],) = struct.unpack("<d", struct.pack("<q", word ^ (1 << bit if bit < 63 else 1)))
    assert clips_checksum(tuple(each) for each in rows) != clips_checksum(ROWS)


def test_order_and_number_count_and_the_sign_of_zero_does_not() -> None:
    sums = {clips_checksum(rows) for rows in ([], ROWS[:1], ROWS, ROWS[::-1])}
    assert len(sums) == 4
    assert clips_checksum([(-0.0, 1.5, ROWS[0][2])]) == clips_checksum(ROWS[:1])


@pytest.mark.parametrize(
    "row", [("0", 1.0, b"ab"), (0.0, None, b"ab"), (0.0, 1.0, "ab"), (0.0, 1.0, 3), (0.0, 1.0, None)]
)
def test_what_is_no_clip_has_no_checksum(row: tuple) -> None:
    assert clips_checksum([row]) == NO_CHECKSUM


def test_it_is_noted_and_survives_what_happens_to_a_video(tmp_path: Path) -> None:
    def stored() -> bytes:
        with open_reader(tmp_path / "gallery") as reader:
            (row,) = reader.rows("SELECT checksum FROM video")
        return row[0]

    with Gallery.create(tmp_path / "gallery", hash_length=16, model_fingerprint="3f2a") as gallery:
        rows = [(-0.0, 1.5, ROWS[0][2]), ROWS[1]]
        gallery.add("/db/a", batch(rows), content_hash="h", root="/db")
        assert stored() == bytes.fromhex(GOLDEN)
        with gallery.editing() as edits:
            edits.move("/db/a", "/other/b", root="/other", size_bytes=1, mtime_ns=2, label=None)
            edits.mark_missing("/other/b")
        assert stored() == bytes.fromhex(GOLDEN)
        with gallery.editing() as edits:
            edits.bring_back("/other/b")
            assert codes_checksum(edits.codes("/other/b")) == stored()
