"""Catalog files: made whole or not at all, migrated, refused with a reason."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from c3dhash.errors import GalleryError
from c3dhash.gallery import schema

META = {"hash_length": "48", "model_fingerprint": "3f2a"}


def connect(path: Path) -> sqlite3.Connection:
    return schema.connect(path, timeout_seconds=0.05)[0]


def run_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.sqlite"
    assert schema.create(path, meta=META, timeout_seconds=0.05)
    return path


def test_catalog_is_made_once(path: Path) -> None:
    assert not schema.create(path, meta={"hash_length": "64"}, timeout_seconds=0.05)
    connection, meta = schema.connect(path, timeout_seconds=0.05)
    connection.close()
    assert meta == META


def test_unfinished_catalog_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    path.touch()  # as a process killed before its first commit leaves it
    with pytest.raises(GalleryError, match=r"is no gallery, its catalog\.sqlite is empty: run `c3dhash index DIR`"):
        connect(path)
    assert schema.create(path, meta=META, timeout_seconds=0.05)
    connect(path).close()


def test_missing_catalog(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match=f"'{tmp_path}' is no gallery, it has no c.sqlite: run `c3dhash index"):
        connect(tmp_path / "c.sqlite")


def test_newer_schema_is_refused(path: Path) -> None:
    run_sql(path, f"PRAGMA user_version = {len(schema.MIGRATIONS) + 4}")
    with pytest.raises(GalleryError, match=r"has schema 8, this c3dhash knows up to 4: update c3dhash"):
        connect(path)


def test_older_schema_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = ("ALTER TABLE video ADD COLUMN fps REAL", "UPDATE meta SET value = value || '!'")
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, added])
    for _ in range(2):  # the second time there is nothing to do
        connection, meta = schema.connect(path, timeout_seconds=0.05)
        with closing(connection):
            assert connection.execute("PRAGMA user_version").fetchone() == (5,)
            assert connection.execute("SELECT fps FROM video").fetchall() == []
            assert meta["model_fingerprint"] == "3f2a!"


def test_failed_migration_leaves_the_old_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ("ALTER TABLE video ADD COLUMN fps REAL", "ALTER TABLE nowhere ADD COLUMN fps REAL")
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, broken])
    with pytest.raises(GalleryError, match="no such table: nowhere"):
        connect(path)
    monkeypatch.undo()
    with (
        closing(connect(path)) as connection,
        pytest.raises(sqlite3.OperationalError, match="no such column"),
    ):
        connection.execute("SELECT fps FROM video")


@pytest.mark.parametrize("content", [b"not a database " * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(content)
    with pytest.raises(GalleryError, match=r"catalog\.sqlite' cannot be used \(file is not a database\)"):
        connect(path)
    with pytest.raises(GalleryError, match="file is not a database"):
        schema.create(path, meta=META, timeout_seconds=0.05)
    assert path.read_bytes() == content


def test_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    run_sql(path, "CREATE TABLE bookmarks (url)", "PRAGMA application_id = 77")
    for use in (connect, lambda path: schema.create(path, meta=META, timeout_seconds=0.05)):
        with pytest.raises(GalleryError, match=r"belongs to another program \(id 77, 1 tables\): move it away"):
            use(path)


def test_damaged_pages_are_reported(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(GalleryError, match="malformed"):
        connect(path)


def test_locked_catalog_says_how_long_it_waited(path: Path) -> None:
    with closing(connect(path)) as writer, closing(connect(path)) as other:
        writer.execute("BEGIN IMMEDIATE")
        connect(path).close()  # a reader is not kept out
        with (
            pytest.raises(GalleryError, match=r"is locked by another process \(waited 0\.05 s\): run again"),
            schema.gallery_errors(path, timeout_seconds=0.05),
            schema.writing(other),
        ):
            pass
        writer.execute("ROLLBACK")


def test_failed_transaction_leaves_nothing(path: Path) -> None:
    with closing(connect(path)) as connection:
        with pytest.raises(KeyboardInterrupt), schema.writing(connection):
            connection.execute("INSERT INTO change DEFAULT VALUES")
            raise KeyboardInterrupt
        assert connection.execute("SELECT count(*) FROM change").fetchone() == (0,)


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def without_rights(code: str) -> str:
    """Run Python code as a user who, unlike root, cannot write where a mode forbids it; return its output."""
    imports = "import os, sys, pathlib\nfrom c3dhash import errors\nfrom c3dhash.gallery import schema\n"
    drop = f"{imports}os.geteuid() or os.setuid(65534)\n"
    done = subprocess.run([sys.executable, "-c", drop + code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


CONNECT = """
try:
    connection, meta = schema.connect(pathlib.Path({path!r}), timeout_seconds=0.05)
    print(meta, connection.execute("SELECT count(*) FROM change").fetchone())
    with schema.gallery_errors(pathlib.Path("c"), timeout_seconds=0.05), schema.writing(connection):
        connection.execute("INSERT INTO change DEFAULT VALUES")
except errors.GalleryError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_read_only_folder_is_read(open_dir: Path) -> None:
    path = open_dir / "catalog.sqlite"
    schema.create(path, meta=META, timeout_seconds=0.05)
    connection = connect(path)
    connection.execute("INSERT INTO change DEFAULT VALUES")
    beside = path.with_name("catalog.sqlite-wal")
    unfinished = beside.read_bytes()
    try:
        open_dir.chmod(0o555)
        readable = without_rights(CONNECT.format(path=str(path)))  # while a writer is there
        assert "'3f2a'} (1,)" in readable
        open_dir.chmod(0o755)
        connection.close()
        open_dir.chmod(0o555)
        readable = without_rights(CONNECT.format(path=str(path)))
        assert "'3f2a'} (1,)" in readable
        assert "catalog 'c' is read-only here" in readable
        open_dir.chmod(0o755)
        beside.write_bytes(unfinished)  # as if the writer had been killed
        open_dir.chmod(0o555)
        assert "-wal' holds unfinished work" in without_rights(CONNECT.format(path=str(path)))
    finally:
        open_dir.chmod(0o755)
        connection.close()


def test_a_full_disk_says_so_and_loses_nothing(path: Path) -> None:
    with closing(connect(path)) as connection:
        connection.execute("INSERT INTO change DEFAULT VALUES")
        (num_pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {num_pages}")
        with (
            pytest.raises(GalleryError, match="cannot be written, its disk is full; nothing is lost: make room"),
            schema.gallery_errors(path, timeout_seconds=0.05),
            schema.writing(connection),
        ):
            connection.execute("INSERT INTO meta VALUES ('big', ?)", ("x" * 100_000,))
        assert connection.execute("SELECT count(*) FROM change").fetchone() == (1,)


def journal_mode(path: Path) -> str:
    with closing(connect(path)) as connection:
        connection.execute("INSERT INTO change DEFAULT VALUES")
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def test_where_no_log_can_be_shared_there_is_a_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert journal_mode(path) == "wal"
    monkeypatch.setattr(schema, "file_system", lambda _: "nfs4")
    assert journal_mode(path) == "delete", "also where it was made elsewhere"
    monkeypatch.setattr(schema, "file_system", lambda _: None)
    assert journal_mode(path) == "wal"
    with closing(connect(path)):  # another process has the log open, and it stays
        monkeypatch.setattr(schema, "file_system", lambda _: "nfs")
        assert journal_mode(path) == "wal"
    assert journal_mode(path) == "delete"
    monkeypatch.setattr(schema, "file_system", lambda _: None)
    real = schema._connect
    monkeypatch.setattr(  # an SQLite without shared memory
        schema, "_connect", lambda path, *, options, **more: real(path, options=f"{options}&vfs=unix-dotfile", **more)
    )
    assert journal_mode(path) == "delete"


def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    (tmp_path / "a disk" / "gallery").mkdir(parents=True)
    disk = str(tmp_path / "a disk").replace(" ", "\\040")
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nhost:/x {disk} nfs4 rw 0 0\n/dev/b {tmp_path}/a\\040d xfs rw 0 0\n")
    assert schema.file_system(tmp_path / "a disk" / "gallery" / "c.sqlite", mounts=mounts) == "nfs4"
    assert schema.file_system(tmp_path, mounts=mounts) == "ext4"
    assert schema.file_system(tmp_path, mounts=tmp_path / "none") is None
