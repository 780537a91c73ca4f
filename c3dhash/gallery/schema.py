"""The SQLite file of a gallery: how it is made, opened, and brought up to date; its tables are in migrations.py."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from c3dhash.errors import GalleryError
from c3dhash.gallery.migrations import MIGRATIONS

# Between machines these share neither memory nor always locks.
NETWORK_FILE_SYSTEMS = frozenset((
    "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "smb3", "smbfs",
))  # fmt: skip
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
        _migrate(path, connection, from_schema=0)
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
            raise _newer(path, schema)
        if is_writable:
            _choose_journal(path, connection)
        elif schema < len(MIGRATIONS):
            connection = _copy_in_memory(connection)
            on_error.callback(connection.close)
        if schema < len(MIGRATIONS):
            with writing(connection):
                _migrate(path, connection, from_schema=_schema(path, connection))
        connection.execute("PRAGMA foreign_keys = ON")  # not before: it would drop the clips with the old table
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        on_error.pop_all()
    return connection, meta


@contextlib.contextmanager
def looking(path: Path, *, timeout_seconds: float) -> Iterator[sqlite3.Connection]:
    """Open a catalog of any schema for reading, at one moment; as far as it can be read, also where it is damaged.

    Args:
        path: the file.
        timeout_seconds: how long to wait for a process that writes.
    Raises:
        GalleryError: the file is no catalog, of a newer schema, or its first page is lost.
    """
    log_path = path.with_name(path.name + "-wal")
    is_alone = not (log_path.exists() and log_path.stat().st_size)
    try:
        with contextlib.closing(_connect_read_only(path, timeout_seconds=timeout_seconds)) as connection:
            _open_as_it_is(path, connection)
            with reading(connection):
                yield connection
    finally:
        if is_alone and log_path.exists():  # SQLite made it, to share, and takes it away itself
            with contextlib.suppress(sqlite3.Error), contextlib.closing(
                _connect(path, timeout_seconds=0, options="mode=rw")
            ) as connection:  # fmt: skip
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _open_as_it_is(path: Path, connection: sqlite3.Connection) -> None:
    """Make sure that a file is a catalog that can be read, whatever its schema."""
    # Text that is damaged is shown, and a catalog that was cut off is read up to there.
    connection.text_factory = lambda text: text.decode("utf-8", "backslashreplace")
    connection.execute("PRAGMA writable_schema = ON")
    try:
        schema = _schema(path, connection)
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise
        raise GalleryError(
            f"catalog '{path}' cannot be read at all ({error}): restore it from a backup, or index into another folder."
        ) from error
    if schema == 0:
        raise GalleryError(f"'{path.parent}' is no gallery, its {path.name} is empty: name one that has videos.")
    if schema > len(MIGRATIONS):
        raise _newer(path, schema)


def _newer(path: Path, schema: int) -> GalleryError:
    return GalleryError(
        f"gallery '{path.parent}' has schema {schema}, this c3dhash knows up to {len(MIGRATIONS)}: "
        f"update c3dhash, or index into another folder."
    )


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
        elif "is full" in str(error):
            problem = (
                "cannot be written, its disk is full; nothing is lost: make room, then type the same command again"
            )
        elif "disk I/O" in str(error):
            problem = (
                "cannot be read or written, its disk refuses (disk I/O error); nothing that was done is lost: look for "
                "room, limits and faults, then type the same command again"
            )
        else:
            problem = (
                f"cannot be used ({error}): `c3dhash gallery export` saves what can be read; restore it from a backup, "
                "import that, or index into another folder"
            )
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
    except sqlite3.DatabaseError:
        return connection  # it is damaged, as whoever reads it will see
    log_path = path.with_name(path.name + "-wal")
    if log_path.exists() and log_path.stat().st_size:
        raise GalleryError(f"'{log_path}' holds unfinished work: open the gallery once where it can be written.")
    return _connect(path, timeout_seconds=timeout_seconds, options="mode=ro&immutable=1")


def _copy_in_memory(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Copy a catalog of an earlier schema from a folder that cannot be written, so that it can be migrated."""
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with contextlib.closing(connection):
        connection.backup(copy)
    return copy


def _choose_journal(path: Path, connection: sqlite3.Connection) -> None:
    """Keep a write-ahead log, beside which readers go on while one writes; on other machines' disks, a journal.

    The log is shared through memory, which the machines of a network file system do not have in common.
    """
    with contextlib.suppress(sqlite3.OperationalError):
        wanted = "DELETE" if file_system(path) in NETWORK_FILE_SYSTEMS else "WAL"
        (mode,) = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
        if mode in ("wal", "delete"):
            return
    with contextlib.suppress(sqlite3.OperationalError):  # another process has it open: it stays as that has it
        connection.execute("PRAGMA journal_mode = DELETE")


def file_system(path: Path, *, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the name of the file system that a file is on; None where the system does not tell.

    Args:
        mounts: lines of device, folder, file system, and more; as Linux has them.
    """
    try:
        lines = [line.split(" ") for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()]
    except OSError:
        return None
    folders = [str(path.resolve()), *map(str, path.resolve().parents)]
    found = {folder.replace("\\040", " "): kind for _, folder, kind, *_ in lines}  # the last one lies on top
    return next((found[folder] for folder in folders if folder in found), None)


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
        return int(schema)
    if application_id or schema or num_tables:
        raise GalleryError(
            f"'{path}' belongs to another program (id {application_id}, {num_tables} tables): move it away."
        )
    return 0


def _migrate(path: Path, connection: sqlite3.Connection, *, from_schema: int) -> None:
    """Run the migrations from a schema on; inside the caller's transaction."""
    for schema in range(from_schema, len(MIGRATIONS)):
        for step in MIGRATIONS[schema]:
            if isinstance(step, str):
                connection.execute(step)
            else:
                step(connection, path.absolute().parent)
        connection.execute(f"PRAGMA user_version = {schema + 1}")
