"""The catalog of a gallery: an SQLite file that knows every video, every clip and its code.

It is the truth; the search index beside it is a copy that is brought up to date from here. For that, every
write transaction adds a row to `change` (its revision), and every video that loses its clips a row to
`removal`. Clip ids are never used again and those of one video are consecutive, so what a copy lacks is:
the clips above its highest id, and the removals after its revision.

A write is on the disk when the call returns, and leaves nothing if the process dies before that. One
process writes at a time; readers go on meanwhile and see the last finished transaction.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.gallery import schema
from c3dhash.bits import num_code_bytes
from c3dhash.errors import GalleryError
from c3dhash.records import CodeBatch

ROWS_PER_FETCH = 1000  # 64,000 were 15 % slower


@dataclass(frozen=True)
class GalleryVideo:
    """What a gallery knows about a video; `video` is its path as it was given when it was added."""

    video: str
    content_hash: str
    size_bytes: int
    mtime_ns: int
    label: str | None
    num_clips: int


@dataclass(frozen=True)
class GalleryClip:
    """A clip of a gallery: the segment that its code stands for, and its video's path and label."""

    id: int
    video: str
    start_seconds: float
    end_seconds: float
    label: str | None


@dataclass(frozen=True)
class Revision:
    """A state of a catalog; the token (random) tells it from the same number after a backup was restored."""

    number: int
    token: int


EMPTY = Revision(0, 0)


@dataclass(frozen=True, repr=False)
class Changes:
    """What turns a copy of an earlier state into the state `revision`: take out, then append.

    removed_ids: int64 [R]. ids: int64 [N], rising. video_ids: int64 [N], one number a video, whose clips follow each
    other. codes: uint8 [N, ceil(hash_length / 8)].
    """

    revision: Revision
    removed_ids: np.ndarray
    ids: np.ndarray
    video_ids: np.ndarray
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.removed_ids) + len(self.ids)

    def __repr__(self) -> str:
        return f"Changes(to revision {self.revision.number}: -{len(self.removed_ids)} +{len(self.ids)} clips)"


class Catalog:
    """An open catalog, for one thread at a time.

    Args:
        path: the file; `schema.create` makes one.
        timeout_seconds: how long to wait for another process that writes.
    Raises:
        GalleryError: the file is missing, no catalog, of a newer schema, damaged or locked; also from every
            method, where SQLite fails.
    """

    def __init__(self, path: Path, *, timeout_seconds: float) -> None:
        self.path = path
        self._timeout_seconds = timeout_seconds
        self._connection, self.meta = schema.connect(path, timeout_seconds=timeout_seconds)
        self.hash_length = int(self.meta["hash_length"])
        self._num_bytes = num_code_bytes(self.hash_length)

    def close(self) -> None:
        self._connection.close()

    def add_video(
        self,
        video: str,
        codes: CodeBatch,
        *,
        content_hash: str,
        size_bytes: int,
        mtime_ns: int,
        label: str | None,
    ) -> np.ndarray:
        """Write a video and its clips in place of what the catalog has under that path; one transaction.

        Returns:
            The ids of the clips, int64 [N], consecutive.
        """
        # Void scalars become bytes with their trailing zeros; numpy's "S" would drop those.
        blobs = np.ascontiguousarray(codes.codes).view(f"V{self._num_bytes}").ravel().tolist()
        added_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with self._writing() as revision:
            self._delete(video, revision)
            video_id = self._connection.execute(
                "INSERT INTO video (path, content_hash, size_bytes, mtime_ns, label, num_clips, added_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (video, content_hash, size_bytes, mtime_ns, label, len(blobs), added_at),
            ).lastrowid
            last_id = self._one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'clip'")
            self._connection.executemany(
                f"INSERT INTO clip (video_id, start_seconds, end_seconds, code) VALUES ({video_id}, ?, ?, ?)",
                zip(codes.start_seconds.tolist(), codes.end_seconds.tolist(), blobs, strict=True),
            )
        return np.arange(last_id + 1, last_id + 1 + len(blobs), dtype=np.int64)

    def remove_videos(self, videos: Iterable[str]) -> None:
        """Remove videos and their clips, all of them or none; one transaction.

        Raises:
            GalleryError: one of them is not in the catalog.
        """
        with self._writing() as revision:
            for video in videos:
                if not self._delete(video, revision):
                    raise self._no_video(video)

    def touch_video(self, video: str, *, size_bytes: int, mtime_ns: int) -> None:
        """Note another size and time of a file whose content, and so its codes, are what they were.

        Raises:
            GalleryError: the video is not in the catalog.
        """
        with self._writing():
            statement = "UPDATE video SET size_bytes = ?, mtime_ns = ? WHERE path = ?"
            if not self._connection.execute(statement, (size_bytes, mtime_ns, video)).rowcount:
                raise self._no_video(video)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything that is read inside come from one state of the catalog; nothing can be written inside."""
        with self._errors():
            if self._connection.in_transaction:
                yield
                return
            with schema.reading(self._connection):
                yield

    def revision(self) -> Revision:
        """Return the state that the catalog is in; takes microseconds."""
        with self._errors():
            row = self._connection.execute(
                "SELECT revision, token FROM change ORDER BY revision DESC LIMIT 1"
            ).fetchone()
        return Revision(*row) if row else EMPTY

    def changes(self, *, since: Revision, last_id: int) -> Changes | None:
        """Read what a copy of an earlier state lacks, in one pass over the clips that are new to it.

        Args:
            since: the revision of the copy, EMPTY for an empty one.
            last_id: the highest clip id in it, 0 where it has none.
        Returns:
            The changes, or None where `since` was never a state of this catalog: the copy is worthless.
        """
        with self.snapshot():
            is_known = "SELECT count(*) FROM change WHERE revision = ? AND token = ?"
            if since != EMPTY and not self._one(is_known, since.number, since.token):
                return None
            ranges = self._connection.execute(
                "SELECT first_clip_id, last_clip_id FROM removal WHERE revision > ? AND first_clip_id <= ?",
                (since.number, last_id),
            )
            removed = [np.arange(first, last + 1, dtype=np.int64) for first, last in ranges]
            removed_ids = np.concatenate([np.empty(0, np.int64), *removed])
            return Changes(self.revision(), removed_ids, *self._codes(after_id=last_id))

    def clips(self, ids: Iterable[int]) -> list[GalleryClip]:
        """Look clips up, in the order of `ids`.

        Raises:
            GalleryError: an id is not in the catalog.
        """
        query = (
            "SELECT clip.id, path, start_seconds, end_seconds, label"
            " FROM clip JOIN video ON video.id = video_id WHERE clip.id = ?"
        )
        with self.snapshot():
            rows = [(int(clip_id), self._connection.execute(query, (int(clip_id),)).fetchone()) for clip_id in ids]
        for clip_id, row in rows:
            if row is None:
                raise GalleryError(f"gallery '{self.path.parent}' has no clip {clip_id}: take ids from search.")
        return [GalleryClip(*row) for _, row in rows]

    def videos(self) -> list[GalleryVideo]:
        """List the videos, in the order of their paths."""
        query = "SELECT path, content_hash, size_bytes, mtime_ns, label, num_clips FROM video ORDER BY path"
        with self._errors():
            return [GalleryVideo(*row) for row in self._connection.execute(query)]

    def num_clips(self) -> int:
        """Count the clips by going through the videos; the index knows it at once."""
        with self._errors():
            return int(self._one("SELECT coalesce(sum(num_clips), 0) FROM video"))

    def _codes(self, *, after_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read the clips above an id: ids and video ids int64 [N], and codes uint8 [N, num_bytes]; by rising id."""
        room = self._one("SELECT count(*) FROM clip WHERE id > ?", after_id)
        ids, video_ids = np.empty(room, np.int64), np.empty(room, np.int64)
        codes = np.empty((room, self._num_bytes), np.uint8)
        cursor = self._connection.execute("SELECT id, video_id, code FROM clip WHERE id > ? ORDER BY id", (after_id,))
        end = 0
        while rows := cursor.fetchmany(ROWS_PER_FETCH):
            start, end = end, end + len(rows)
            ids[start:end] = np.fromiter(map(itemgetter(0), rows), np.int64, len(rows))
            video_ids[start:end] = np.fromiter(map(itemgetter(1), rows), np.int64, len(rows))
            blob = b"".join(map(itemgetter(2), rows))
            if len(blob) != len(rows) * self._num_bytes:
                raise GalleryError(
                    f"catalog '{self.path}' is damaged: not all codes of clips {rows[0][0]} to {rows[-1][0]} "
                    f"have {self._num_bytes} bytes; restore it from a backup, or index again."
                )
            codes[start:end] = np.frombuffer(blob, np.uint8).reshape(len(rows), self._num_bytes)
        return ids[:end], video_ids[:end], codes[:end]

    def _delete(self, video: str, revision: int) -> bool:
        """Delete a video and log its clip ids; False where the catalog has no such video."""
        video_id = self._one("SELECT max(id) FROM video WHERE path = ?", video)
        if video_id is None:
            return False
        self._connection.execute(
            "INSERT INTO removal SELECT ?, first, last"
            " FROM (SELECT min(id) AS first, max(id) AS last FROM clip WHERE video_id = ?)"
            " WHERE first IS NOT NULL",
            (revision, video_id),
        )
        self._connection.execute("DELETE FROM video WHERE id = ?", (video_id,))
        return True

    def _one(self, query: str, *parameters: object) -> Any:
        """Return the value of a query that yields one."""
        return self._connection.execute(query, parameters).fetchone()[0]

    def _no_video(self, video: str) -> GalleryError:
        return GalleryError(f"gallery '{self.path.parent}' has no video {video!r}: see its videos().")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[int]:
        """Make one transaction, a revision of its own, of what happens inside; yield its number."""
        with self._errors(), schema.writing(self._connection):
            yield self._connection.execute("INSERT INTO change DEFAULT VALUES").lastrowid

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return schema.gallery_errors(self.path, timeout_seconds=self._timeout_seconds)
