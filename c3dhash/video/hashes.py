"""Content hashes of files, remembered on disk, so that a start need not read a data set to see that it is the same.

A hash is kept under the path, size, times and inode of the file it is of; of a frame folder, under those of all its
pictures. One that was changed a moment ago is not remembered: a second change within the clock's tick would not be
seen. Whatever is wrong with the file of the hashes costs time only: they are computed again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

MAX_HASHES = 1 << 20  # 100 MB on disk; beyond it the oldest are forgotten
RACY_NS = 2_000_000_000  # FAT counts time in steps of two seconds; no file system in larger ones
BUSY_SECONDS = 5.0
SETUP = (
    "PRAGMA synchronous = OFF",  # what a power cut takes is computed again
    "CREATE TABLE IF NOT EXISTS hash (number INTEGER PRIMARY KEY, files BLOB UNIQUE, content TEXT NOT NULL)",
    f"DELETE FROM hash WHERE number <= (SELECT max(number) FROM hash) - {MAX_HASHES}",
)


class RememberedHashes:
    """A file of hashes, which several processes and threads may share.

    Args:
        path: made where needed; None remembers nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_new = False  # made in the place of a damaged one

    def get(self, files: Sequence[Path], compute: Callable[[], str], *, about: str = "") -> str:
        """Return a hash of the content of some files, computed where it is not remembered of them as they are now.

        Args:
            files: all that `compute` reads; one that is missing is a fact like another.
            about: what else decides the hash.
        """
        if self.path is None:
            return compute()
        now = time.time_ns()
        key, newest = _state(files, about)
        if (known := self._query("SELECT content FROM hash WHERE files = ?", key)) is not None:
            return known
        content = compute()
        if newest < now - RACY_NS and _state(files, about)[0] == key:
            self._query("INSERT OR REPLACE INTO hash (files, content) VALUES (?, ?)", key, content)
        return content

    def _query(self, statement: str, *values: str | bytes) -> str | None:
        """Run a statement and return the text it gives, if any; None also where the file cannot be used."""
        with self._lock:
            while self.path is not None:
                try:
                    row = self._open(self.path).execute(statement, values).fetchone()
                    return str(row[0]) if row else None
                except sqlite3.Error as error:
                    logger.info("the remembered hashes in '%s' cannot be used (%s).", self.path, error)
                    self.path = self._after(error, self.path)
        return None

    def _open(self, path: Path) -> sqlite3.Connection:
        if self._connection is None:
            # Threads take turns by our own lock.
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            weakref.finalize(self, self._connection.close)
            for statement in SETUP:
                self._connection.execute(statement)
        return self._connection

    def _after(self, error: sqlite3.Error, path: Path) -> Path | None:
        """Close the file; return where to go on: in a new one where this was damaged, the first time, else nowhere."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._is_new or isinstance(error, sqlite3.OperationalError):  # locked, no room, no permission
            return None
        self._is_new = True
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return None
        return path


def _state(files: Sequence[Path], about: str) -> tuple[bytes, int]:
    """Return a key of the facts of some files that change with their contents, and the newest of their times, ns."""
    digest = hashlib.blake2b(about.encode(), digest_size=16)
    newest = 0
    for path in files:
        facts: tuple[int, ...] = ()
        with suppress(OSError):  # missing
            stat = path.stat()
            facts = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            newest = max(newest, stat.st_mtime_ns, stat.st_ctime_ns)
        digest.update(repr((os.fsencode(path.absolute()), facts)).encode())
    return digest.digest(), newest
