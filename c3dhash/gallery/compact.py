"""A gallery -> the same on less disk: SQLite writes its file anew, without the pages that nothing is on any more.

Clip ids and revisions stay, and so does the log of changes: whoever has a copy of the codes finds nothing to do, and an
older copy still learns what was removed. SQLite makes one transaction of it, so that a kill leaves the file as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from c3dhash.errors import GalleryError
from c3dhash.files import clear_leftovers
from c3dhash.gallery import lock, schema
from c3dhash.gallery.store import CATALOG_NAME, DEFAULT_TIMEOUT_SECONDS, Gallery

SPARE_BYTES = 1 << 20  # beyond what SQLite may write


@dataclass(frozen=True)
class CompactReport:
    """The bytes of all files in a gallery's folder, and those of its catalog with the log, before and after.

    is_settled: False where a process that reads kept the log, which goes with the last of them.
    """

    bytes_before: int
    bytes_after: int
    catalog_bytes_before: int
    catalog_bytes_after: int
    is_settled: bool


def compact_gallery(gallery: Path, *, timeout_seconds: float | None = None) -> CompactReport:
    """Write the catalog of a gallery anew, as small as it can be, and delete what killed processes left in its folder.

    What is found, in which order, and all ids stay as they are.

    Args:
        gallery: its folder.
        timeout_seconds: how long to wait for another writer; None for as long as it takes.
    Raises:
        GalleryError: there is no gallery, it cannot be written, or there is no room for a second copy of the catalog.
    """
    Gallery.open(gallery).close()  # refuses what is none, and brings it up to date
    path = gallery / CATALOG_NAME
    with lock.writing(gallery, timeout_seconds=timeout_seconds):
        before, catalog_before = _folder_bytes(gallery), _catalog_bytes(path)
        clear_leftovers(gallery)
        with schema.gallery_errors(path, timeout_seconds=DEFAULT_TIMEOUT_SECONDS):
            connection, _ = schema.connect(path, timeout_seconds=DEFAULT_TIMEOUT_SECONDS)
            with contextlib.closing(connection):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                _require_room(path)
                connection.execute("VACUUM")
                is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return CompactReport(before, _folder_bytes(gallery), catalog_before, _catalog_bytes(path), not is_busy)


def _require_room(path: Path) -> None:
    """Raise unless there is room for what SQLite writes: a copy among temporary files, and one in the log."""
    num_bytes = _catalog_bytes(path) + SPARE_BYTES
    places = {os.stat(folder).st_dev: folder for folder in (_temporary_folder(), path.parent)}
    for folder in places.values():
        num_copies = 1 + (len(places) == 1)
        free = shutil.disk_usage(folder).free
        if free < num_copies * num_bytes:
            raise GalleryError(
                f"gallery '{path.parent}' cannot be made smaller: that takes {num_copies * num_bytes / 1e6:.1f} MB for "
                f"a while, and there are {free / 1e6:.1f} MB on the disk of '{folder}': make room first."
            )


def _temporary_folder() -> Path:
    """Return where SQLite puts its temporary files. Source: sqlite.org/tempfiles.html, section 5."""
    named = [os.environ[name] for name in ("SQLITE_TMPDIR", "TMPDIR") if os.environ.get(name)]
    places = map(Path, (*named, "/var/tmp", "/usr/tmp", "/tmp"))
    return next((place for place in places if place.is_dir() and os.access(place, os.W_OK | os.X_OK)), Path())


def _catalog_bytes(path: Path) -> int:
    files = (path.with_name(path.name + end) for end in ("", "-wal", "-journal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _folder_bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
