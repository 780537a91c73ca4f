"""The SQLite file of a gallery: its tables, its numbered migrations, and how it is made and opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from c3dhash.errors import GalleryError

# MIGRATIONS[n] takes a catalog from schema n to schema n + 1. One that was released is never edited.
MIGRATIONS = [
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE video (
            id INTEGER PRIMARY KEY,
            path TEXT NOT NULL UNIQUE,
            content_hash TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            label TEXT,
            num_clips INTEGER NOT NULL,
            added_at TEXT NOT NULL
        )""",
        # AUTOINCREMENT: the id of a clip that was removed is never given to another.
        """CREATE TABLE clip (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            video_id INTEGER NOT NULL REFERENCES video (id) ON DELETE CASCADE,
            start_seconds REAL NOT NULL,
            end_seconds REAL NOT NULL,
            code BLOB NOT NULL
        )""",
        "CREATE INDEX clip_of_video ON clip (video_id)",
        "CREATE TABLE change (revision INTEGER PRIMARY KEY, token INTEGER NOT NULL DEFAULT (random()))",
        """CREATE TABLE removal (
            revision INTEGER NOT NULL REFERENCES change (revision),
            first_clip_id INTEGER NOT NULL,
            last_clip_id INTEGER NOT NULL
        )""",
        "CREATE INDEX removal_of_change ON removal (revision)",
    ),
]
APPLICATION_ID = int.from_bytes(b"c3dh", "big")  # SQLite's place for whose file this is


def create(path: Path, *, meta: Mapping[str, str], timeout_seconds: float) -> bool:
    """Make an empty catalog, unless there is one. One whose making was cut off counts as none.

    Args:
        path: the file; its folder exists.
        meta: goes into the table `meta`.
        timeout_seconds: how long to wait for another process.
    Returns:
        Whether it was made; a catalog that is there is left as it is.
    Raises:
        GalleryError: the file is something else, or cannot be written.
    """
    with (
        gallery_errors(path, timeout_seconds=timeout_seconds),
        contextlib.closing(_connect(path, timeout_seconds=timeout_seconds, options="mode=rwc")) as connection,
        writing(connection),
    ):
        if _schema(path, connection):
            return False
        _migrate(connection, from_schema=0)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        return True


def connect(path: Path, *, timeout_seconds: float) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Open a catalog and bring its schema up to date; for reading only where its folder cannot be written.

    Args:
        path: the file.
        timeout_seconds: how long this connection waits for a process that writes.
    Returns:
        A connection without implicit transactions, which threads may pass on to each other, and `meta`.
    Raises:
        GalleryError: the file is missing, no catalog, of a newer schema, damaged or locked.
    """
    if not path.is_file():
        raise GalleryError(f"'{path.parent}' is no gallery, it has no {path.name}: run `c3dhash index DIR` first.")
    is_writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    with gallery_errors(path, timeout_seconds=timeout_seconds), contextlib.ExitStack() as on_error:
        if is_writable:
            connection = _connect(path, timeout_seconds=timeout_seconds, options="mode=rw")
        else:
            connection = _connect_read_only(path, timeout_seconds=timeout_seconds)
        on_error.callback(connection.close)
        schema = _schema(path, connection)
        if schema == 0:
            raise GalleryError(
                f"'{path.parent}' is no gallery, its {path.name} is empty: run `c3dhash index DIR` first."
            )
        if schema > len(MIGRATIONS):
            raise GalleryError(
                f"gallery '{path.parent}' has schema {schema}, this c3dhash knows up to {len(MIGRATIONS)}: "
                f"update c3dhash, or index into another folder."
            )
        if is_writable:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA foreign_keys = ON")
        if schema < len(MIGRATIONS):
            with writing(connection):
                _migrate(connection, from_schema=_schema(path, connection))
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        on_error.pop_all()
    return connection, meta


@contextlib.contextmanager
def gallery_errors(path: Path, *, timeout_seconds: float) -> Iterator[None]:
    """Turn SQLite's errors into a GalleryError that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        if "locked" in str(error):
            problem = f"is locked by another process (waited {timeout_seconds:g} s): run again later"
        elif "closed" in str(error):
            problem = "is closed: open the gallery again"
        elif "readonly" in str(error):
            problem = "is read-only here: get the right to write it, or index into another folder"
        else:
            problem = f"cannot be used ({error}): restore it from a backup, or index into another folder"
        raise GalleryError(f"catalog '{path}' {problem}.") from error


@contextlib.contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Make one transaction of what happens inside, on the disk at the end; nothing of it where that fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """Let everything that is read inside come from one state of the catalog."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _connect(path: Path, *, timeout_seconds: float, options: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?{options}"
    return sqlite3.connect(uri, uri=True, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)


def _connect_read_only(path: Path, *, timeout_seconds: float) -> sqlite3.Connection:
    """Open a catalog in a folder where nothing can be written.

    SQLite shares the write-ahead log through a file beside it. Where a process that writes keeps that file
    open it is simply read. Where there is none, the catalog is opened as one that nobody changes, unless it
    has a log left over from a killed process: what is in there would be missed.
    """
    connection = _connect(path, timeout_seconds=timeout_seconds, options="mode=ro")
    try:
        connection.execute("PRAGMA user_version").fetchone()
        return connection
    except sqlite3.OperationalError:
        connection.close()
    log_path = path.with_name(path.name + "-wal")
    if log_path.exists() and log_path.stat().st_size:
        raise GalleryError(f"'{log_path}' holds unfinished work: open the gallery once where it can be written.")
    return _connect(path, timeout_seconds=timeout_seconds, options="mode=ro&immutable=1")


def _schema(path: Path, connection: sqlite3.Connection) -> int:
    """Return the schema number of a catalog, 0 for an empty database.

    Raises:
        GalleryError: the database belongs to another program.
    """
    application_id, schema, num_tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if application_id == APPLICATION_ID:
        return schema
    if application_id or schema or num_tables:
        raise GalleryError(
            f"'{path}' belongs to another program (id {application_id}, {num_tables} tables): move it away."
        )
    return 0


def _migrate(connection: sqlite3.Connection, *, from_schema: int) -> None:
    """Run the migrations from a schema on; inside the caller's transaction."""
    for schema in range(from_schema, len(MIGRATIONS)):
        for statement in MIGRATIONS[schema]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema + 1}")
