"""What happens to the file of a catalog: pages that are zeroed, bits that flip, an end that is cut off."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

PAGE_BYTES = 4096


def settle(path: Path) -> None:
    """Bring all that was written into the file itself."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert connection.execute("PRAGMA page_size").fetchone() == (PAGE_BYTES,)


def pages_with(path: Path, content: bytes) -> list[int]:
    """Return the numbers, from 0, of the pages that hold some bytes."""
    data = path.read_bytes()
    return [page for page in range(len(data) // PAGE_BYTES) if content in data[page * PAGE_BYTES :][:PAGE_BYTES]]


def zero_page(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))


def flip_bit(path: Path, content: bytes, *, bit: int = 0) -> None:
    """Flip a bit of some bytes that stand in the file once."""
    data = bytearray(path.read_bytes())
    assert data.count(content) == 1
    data[data.index(content) + bit // 8] ^= 0x80 >> bit % 8
    path.write_bytes(data)


def cut(path: Path, share: float) -> None:
    """Keep the first pages of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data)) // PAGE_BYTES * PAGE_BYTES])
