"""Galleries as earlier versions of c3dhash made them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from c3dhash.gallery import schema
from c3dhash.gallery.migrations import MIGRATIONS
from c3dhash.gallery.store import CATALOG_NAME, Gallery

# What a gallery of schema 1 has: videos that were indexed, with the times of their files, and one of another program.
VIDEOS = [
    ("{base}/db/wave/a.mp4", "h1", 10, 100, "wave", 2),
    ("{base}/db/b ü.mp4", "h2", 20, 200, None, 1),
    ("clip 7", "h3", 0, 0, None, 1),
    ("/no time.mp4", "h4", 0, 0, None, 0),
]


def make_schema_1(gallery: Path, *, base: Path, videos: list[tuple] = VIDEOS) -> None:
    """Make a gallery as the first schema did; clip number n has the code n."""
    gallery.mkdir(exist_ok=True)
    with closing(sqlite3.connect(gallery / CATALOG_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        meta = {"hash_length": "16", "model_fingerprint": "3f2a", "model_name": "runs/a", "run": "{}"}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        for video_id, (path, *known, num_clips) in enumerate(videos, 1):
            connection.execute("INSERT INTO change DEFAULT VALUES")
            connection.execute(
                "INSERT INTO video VALUES (?, ?, ?, ?, ?, ?, ?, '2024-05-01T00:00:00+00:00')",
                (video_id, path.format(base=base), *known, num_clips),
            )
            for clip in range(num_clips):
                connection.execute(
                    "INSERT INTO clip (video_id, start_seconds, end_seconds, code) VALUES (?, ?, ?, ?)",
                    (video_id, clip, clip + 1, bytes([video_id, clip])),
                )


def make_schema(number: int, gallery: Path, videos: list[tuple]) -> None:
    """Make a gallery of schema 2 or 3; videos: (name, label, is missing), of the clips [n, 0] and [n, 1]."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", MIGRATIONS[:number])
        Gallery.create(gallery, hash_length=16, model_fingerprint="3f2a").close()
    with closing(sqlite3.connect(gallery / CATALOG_NAME, isolation_level=None)) as connection:
        for video_id, (name, label, is_missing) in enumerate(videos, 1):
            connection.execute("INSERT INTO change DEFAULT VALUES")
            connection.execute(
                "INSERT INTO video VALUES (?, 0, ?, ?, 0, 0, ?, 2, '2024-05-01T00:00:00+00:00', ?)",
                (video_id, name, f"h{video_id}", label, "2024-05-02T00:00:00+00:00" if is_missing else None),
            )
            table = "missing_clip" if is_missing else "clip"
            for clip in range(2):
                connection.execute(
                    f"INSERT INTO {table} (video_id, start_seconds, end_seconds, code) VALUES (?, ?, ?, ?)",
                    (video_id, clip, clip + 1, bytes([video_id, clip])),
                )
