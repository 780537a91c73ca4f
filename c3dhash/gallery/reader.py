"""A catalog as it is, for what looks at all of it: nothing is migrated or written, and damage is passed over.

Note [Around the damage]
    A table is read in the order of its ids. Where SQLite cannot go on, the next id is tried, and the one after it,
    until a row is there again: a page that is lost costs the rows on it and no others. After NEAR_IDS ids the steps
    double. Where a page is lost that says where others are, all of these are lost.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from c3dhash.bits import MAX_HASH_LENGTH
from c3dhash.errors import GalleryError
from c3dhash.gallery import roots, schema
from c3dhash.gallery.store import CATALOG_NAME

NEAR_IDS = 100_000  # that are tried one by one; each takes some microseconds
NUM_DOUBLINGS = 44
TIMEOUT_SECONDS = 10.0
CLIP_TABLES = ("clip", "missing_clip")
DAMAGE = ("malformed", "disk I/O error", "not a database", "unsupported file format")  # what SQLite says of it


class VideoRow(NamedTuple):
    """What a catalog says of a video; its name and root as in GalleryVideo. checksum: None of schemas without."""

    video: str
    root: str | None
    content_hash: str
    size_bytes: int
    mtime_ns: int
    label: str | None
    num_clips: int
    added_at: str
    missing_since: str | None
    checksum: bytes | None


class ClipRow(NamedTuple):
    """A row of a table of clips; of a damaged catalog, anything may be in its fields."""

    id: int
    video_id: Any
    start_seconds: Any
    end_seconds: Any
    code: Any

    def is_clip(self, num_bytes: int) -> bool:
        """Tell whether these are times, the first not behind the second, and a code of so many bytes."""
        start, end = self.start_seconds, self.end_seconds
        times = isinstance(start, float) and isinstance(end, float) and -math.inf < start <= end < math.inf
        return times and isinstance(self.code, bytes) and len(self.code) == num_bytes


class Reader:
    """An open catalog at one moment, whatever is written meanwhile; made by `open_reader`.

    Attributes:
        directory: of the gallery. schema: its number.
        meta: the table of that name; what could not be read is not in it.
        damage: of each place that could not be read, where it is; grows while the catalog is read.
    """

    def __init__(self, connection: sqlite3.Connection, directory: Path) -> None:
        self._connection, self.directory = connection, directory
        self.damage: list[str] = []
        (self.schema,) = self._first("PRAGMA user_version")
        self.meta: dict[str, str] = dict(self._all("meta", "SELECT key, value FROM meta"))

    def rows(self, query: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of any query; damage raises sqlite3.DatabaseError."""
        yield from self._connection.execute(query, parameters)

    @property
    def hash_length(self) -> int:
        """The length of the codes, bits; where it cannot be read any more, as many as there are in a code."""
        with contextlib.suppress(KeyError, ValueError, TypeError):
            if 1 <= int(self.meta["hash_length"]) <= MAX_HASH_LENGTH:
                return int(self.meta["hash_length"])
        self._note("meta", None)
        codes = (clip.code for clip in self.clips("clip") if isinstance(clip.code, bytes))
        return next((8 * len(code) for code in codes if 1 <= 8 * len(code) <= MAX_HASH_LENGTH), 8)

    @property
    def run(self) -> dict[str, Any]:
        """What was noted of the run that made the codes: the windows."""
        return self._json("run")

    @property
    def engines(self) -> dict[str, str]:
        """As `Gallery.engines`."""
        return self._json("engines")

    @property
    def search_setting(self) -> dict[str, Any]:
        """As `Catalog.search_setting`."""
        return self._json("search")

    def _json(self, key: str) -> dict[str, Any]:
        try:
            content = json.loads(self.meta.get(key, "{}"))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            self._note("meta", None)
            return {}
        return content

    def not_matches(self) -> list[tuple[str, str]]:
        """As `Gallery.not_matches`."""
        query = "SELECT content_hash, other_content_hash FROM not_match"
        return self._all("not_match", query) if self.schema >= 3 else []

    def root_folders(self) -> dict[int, str]:
        """Return where the roots are now, by id; "" for names that other programs gave."""
        folders = {roots.NO_ROOT: ""}
        if self.schema < 2:
            return folders
        gallery = str(self.directory.absolute())
        for root_id, *stored in self._all("root", "SELECT id, absolute, relative FROM root WHERE id != 0"):
            query = f"SELECT path FROM video WHERE root_id = {root_id} AND missing_since IS NULL LIMIT 3"
            paths = [path for (path,) in self._all("video", query)]
            folders[root_id] = roots.locate_root(gallery, *stored, paths=paths)
        return folders

    def videos(self) -> dict[int, VideoRow]:
        """Return all videos, missing ones too, by id in the order in which they came."""
        root_id, missing_since = ("root_id", "missing_since") if self.schema >= 2 else (roots.NO_ROOT, "NULL")
        checksum = "checksum" if self.schema >= 4 else "NULL"
        query = (
            f"SELECT id, {root_id}, path, content_hash, size_bytes, mtime_ns, label, num_clips, added_at,"
            f" {missing_since}, {checksum} FROM video WHERE id >= ? ORDER BY id"
        )
        folders, videos = self.root_folders(), {}
        for video_id, root, path, *facts in self._scan("video", query):
            if isinstance(path, str) and isinstance(facts[4], int):
                folder = folders.get(root, "")
                videos[video_id] = VideoRow(roots.join(folder, path), folder or None, *facts)
            else:
                self._note("video", video_id)
        return videos

    def clips(self, table: str) -> Iterator[ClipRow]:
        """Yield the clips of a table, by rising id."""
        if table == "clip" or self.schema >= 2:
            query = f"SELECT id, video_id, start_seconds, end_seconds, code FROM {table} WHERE id >= ? ORDER BY id"
            yield from itertools.starmap(ClipRow, self._scan(table, query))

    def _scan(self, table: str, query: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query from an id on, which is first in each: Note [Around the damage]."""
        first = 0
        while True:
            try:
                for row in self._connection.execute(query, (first,)):
                    if row[0] < first:
                        break  # out of order: what a damaged page says is no row
                    first = row[0] + 1
                    yield row
                else:
                    return
            except sqlite3.DatabaseError as error:
                _raise_unless_damage(error)
            row = self._next_row(query, first)
            if row is None or row[0] > first:
                self._note(table, first)
            if row is None:
                return
            yield row
            first = row[0] + 1

    def _next_row(self, query: str, first: int) -> tuple[Any, ...] | None:
        """Return the first row from an id on that can be read; None where there is nothing any more.

        It may be the row of `first` itself: Python loses the last row before an error.
        """
        steps = itertools.chain(range(NEAR_IDS), (NEAR_IDS << times for times in range(NUM_DOUBLINGS)))
        for step in steps:
            try:
                row: tuple[Any, ...] | None = self._connection.execute(f"{query} LIMIT 1", (first + step,)).fetchone()
            except sqlite3.DatabaseError as error:
                _raise_unless_damage(error)
                continue
            if row is None or row[0] >= first + step:
                return row
        return None

    def _all(self, table: str, query: str) -> list[Any]:
        """Return the rows of a small table, as far as it can be read."""
        found: list[Any] = []
        try:
            found.extend(self._connection.execute(query))
        except sqlite3.DatabaseError as error:
            _raise_unless_damage(error)
            self._note(table, None)
        return found

    def _first(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._connection.execute(query).fetchone()
        return row

    def _note(self, table: str, first: int | None) -> None:
        place = f"table {table}" + ("" if first is None else f" from id {first} on")
        if place not in self.damage:
            self.damage.append(place)


@contextlib.contextmanager
def open_reader(gallery: Path) -> Iterator[Reader]:
    """Open the catalog of a gallery as it is at this moment, also a damaged one; what is beside it stays as it was.

    Raises:
        GalleryError: there is no gallery, it is of a newer c3dhash, or its first page is lost.
    """
    path = Path(gallery) / CATALOG_NAME
    if not path.is_file() or not path.stat().st_size:
        raise GalleryError(f"'{gallery}' is no gallery, it has no {CATALOG_NAME}: name one with --gallery DIR.")
    with (
        schema.gallery_errors(path, timeout_seconds=TIMEOUT_SECONDS),
        schema.looking(path, timeout_seconds=TIMEOUT_SECONDS) as connection,
    ):
        yield Reader(connection, Path(gallery))


def _raise_unless_damage(error: sqlite3.DatabaseError) -> None:
    if not any(text in str(error) for text in DAMAGE):
        raise error
