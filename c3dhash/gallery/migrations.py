"""The tables of a catalog, as numbered steps from one schema to the next."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from c3dhash.gallery import roots
from c3dhash.gallery.checksums import clips_checksum


def _name_roots(connection: sqlite3.Connection, directory: Path) -> None:
    """Split the absolute paths of schema 1 into roots and paths in them; names of other programs stay as they are.

    `index` noted the time of every file, other programs mostly give none.
    """
    query = "SELECT id, path FROM video WHERE mtime_ns != 0"
    rows = connection.execute(query)
    names = {video_id: name for video_id, name in rows if os.path.isabs(name) and name == os.path.normpath(name)}
    folders = sorted(roots.common_folders(names.values()), reverse=True)  # "/", which holds the others, comes last
    for root_id, folder in enumerate(folders, roots.NO_ROOT + 1):
        relative = roots.relative_root(str(directory), folder)
        connection.execute("INSERT INTO root VALUES (?, ?, ?)", (root_id, folder, relative))
        inside = [(root_id, roots.split(name, folder), video_id) for video_id, name in names.items()
                  if name.startswith(os.path.join(folder, ""))]  # fmt: skip
        connection.executemany("UPDATE video SET root_id = ?, path = ? WHERE id = ?", inside)
        for _, _, video_id in inside:
            del names[video_id]


def _note_checksums(connection: sqlite3.Connection, directory: Path) -> None:
    """Note a checksum for each video of schema 3, of its clips as they are now."""
    query = "SELECT start_seconds, end_seconds, code FROM {} WHERE video_id = ? ORDER BY id"
    videos = connection.execute("SELECT id, missing_since IS NULL FROM video").fetchall()
    for video_id, is_there in videos:
        clips = connection.execute(query.format("clip" if is_there else "missing_clip"), (video_id,))
        connection.execute("UPDATE video SET checksum = ? WHERE id = ?", (clips_checksum(clips), video_id))


Step = str | Callable[[sqlite3.Connection, Path], None]  # SQL, or a function of the gallery's folder
# MIGRATIONS[n] takes a catalog from schema n to schema n + 1. One that was released is never edited.
MIGRATIONS: list[Sequence[Step]] = [
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
    (
        "CREATE TABLE root (id INTEGER PRIMARY KEY, absolute TEXT NOT NULL, relative TEXT)",  # see roots.py
        f"INSERT INTO root VALUES ({roots.NO_ROOT}, '', NULL)",
        """CREATE TABLE rooted_video (
            id INTEGER PRIMARY KEY,
            root_id INTEGER NOT NULL REFERENCES root (id),
            path TEXT NOT NULL,
            content_hash TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            label TEXT,
            num_clips INTEGER NOT NULL,
            added_at TEXT NOT NULL,
            missing_since TEXT,
            UNIQUE (root_id, path)
        )""",
        f"""INSERT INTO rooted_video SELECT id, {roots.NO_ROOT}, path, content_hash, size_bytes, mtime_ns, label,
            num_clips, added_at, NULL FROM video""",
        "DROP TABLE video",
        "ALTER TABLE rooted_video RENAME TO video",
        # The clips of videos whose files are missing: `clip` holds what can be found, and nothing else.
        """CREATE TABLE missing_clip (
            id INTEGER PRIMARY KEY,
            video_id INTEGER NOT NULL REFERENCES video (id) ON DELETE CASCADE,
            start_seconds REAL NOT NULL,
            end_seconds REAL NOT NULL,
            code BLOB NOT NULL
        )""",
        "CREATE INDEX missing_clip_of_video ON missing_clip (video_id)",
        _name_roots,
    ),
    (
        # Content hashes, the lower one first: what was said of two files holds where they are moved, too.
        """CREATE TABLE not_match (
            content_hash TEXT NOT NULL,
            other_content_hash TEXT NOT NULL,
            PRIMARY KEY (content_hash, other_content_hash)
        ) WITHOUT ROWID""",
    ),
    (
        "ALTER TABLE video ADD COLUMN checksum BLOB NOT NULL DEFAULT x''",  # of its clips, see checksums.py
        _note_checksums,
    ),
]
