"""What a transaction does to a catalog: videos come, go, move, are missing and are back.

A video that is missing keeps its codes in `missing_clip`; to whoever reads `clip`, or follows the log of removals, it
is gone. When it is back its clips get fresh ids: what has a copy takes them in like those of a new video.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from c3dhash.bits import num_code_bytes
from c3dhash.errors import GalleryError
from c3dhash.gallery import roots
from c3dhash.gallery.checksums import codes_checksum
from c3dhash.records import CodeBatch

CLIP_COLUMNS = "video_id, start_seconds, end_seconds, code"


class Edits:
    """One transaction in progress; made by `Catalog.editing`. Videos are called by their names, as in GalleryVideo.

    Args:
        connection: inside a transaction.
        directory: of the gallery.
        revision: the number of the transaction.
        hash_length: of the codes.
        locate: gives the folder of a root's id.
    Attributes:
        num_added: clips that can be found by what was done so far.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        directory: Path,
        revision: int,
        hash_length: int,
        locate: Callable[[int], str],
    ) -> None:
        self._connection, self._directory, self._revision = connection, directory, revision
        self._hash_length = hash_length
        self.num_added = 0
        ids = [row[0] for row in connection.execute("SELECT id FROM root ORDER BY id")]
        self._roots = {locate(root_id): root_id for root_id in reversed(ids)}  # the first of two that became one

    def add(
        self,
        video: str,
        codes: CodeBatch,
        *,
        content_hash: str,
        size_bytes: int,
        mtime_ns: int,
        label: str | None,
        root: str | None = None,
        added_at: str | None = None,
    ) -> np.ndarray:
        """Write a video and its clips in place of what the catalog has under that name.

        Args:
            root: the folder that the video is stored relative to; None keeps that of the earlier video of this name,
                or else the name as it is.
            added_at: when it came, UTC, as GalleryVideo has it; None for now.
        Returns:
            The ids of the clips, int64 [N], consecutive.
        """
        place = self._place(video, root) if root else (self._stored(video) or (roots.NO_ROOT, video))
        self.remove(video)
        # Void scalars become bytes with their trailing zeros; numpy's "S" would drop those.
        blobs = np.ascontiguousarray(codes.codes).view(f"V{codes.codes.shape[1]}").ravel().tolist()
        facts = (content_hash, size_bytes, mtime_ns, label, len(blobs), added_at or _now(), codes_checksum(codes))
        video_id = self._connection.execute(
            "INSERT INTO video (root_id, path, content_hash, size_bytes, mtime_ns, label, num_clips, added_at,"
            " checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, *facts),
        ).lastrowid
        last_id = self._one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'clip'")
        self._connection.executemany(
            f"INSERT INTO clip ({CLIP_COLUMNS}) VALUES ({video_id}, ?, ?, ?)",
            zip(codes.start_seconds.tolist(), codes.end_seconds.tolist(), blobs, strict=True),
        )
        self.num_added += len(blobs)
        return np.arange(last_id + 1, last_id + 1 + len(blobs), dtype=np.int64)

    def codes(self, video: str) -> CodeBatch:
        """Read the codes of a video, whether it is missing or not."""
        query = "SELECT id, code, start_seconds, end_seconds FROM {} WHERE video_id = :video"
        either = f"{query.format('clip')} UNION ALL {query.format('missing_clip')} ORDER BY id"
        found = self._connection.execute(either, {"video": self._find_or_raise(video)})
        rows = [row[1:] for row in found]
        codes = np.frombuffer(b"".join(row[0] for row in rows), np.uint8).reshape(
            len(rows), num_code_bytes(self._hash_length)
        )
        return CodeBatch(codes, self._hash_length, *np.array([row[1:] for row in rows], np.float64).reshape(-1, 2).T)

    def remove(self, video: str) -> bool:
        """Delete a video with its clips; False where there is none of this name."""
        video_id = self._find(video)
        if video_id is None:
            return False
        self._log_removal(video_id)
        self._connection.execute("DELETE FROM video WHERE id = ?", (video_id,))
        return True

    def touch(self, video: str, *, size_bytes: int, mtime_ns: int) -> bool:
        """Note another size and time of a file whose content is what it was; False where there is no such video."""
        statement = "UPDATE video SET size_bytes = ?, mtime_ns = ? WHERE id = ?"
        return bool(self._connection.execute(statement, (size_bytes, mtime_ns, self._find(video))).rowcount)

    def move(self, video: str, to: str, *, root: str, size_bytes: int, mtime_ns: int, label: str | None) -> None:
        """Give a video another name, and the size and time that its file has there; its codes stay."""
        self._connection.execute(
            "UPDATE video SET root_id = ?, path = ?, size_bytes = ?, mtime_ns = ?, label = ? WHERE id = ?",
            (*self._place(to, root), size_bytes, mtime_ns, label, self._find_or_raise(video)),
        )

    def mark_missing(self, video: str, *, since: str | None = None) -> None:
        """Leave a video out of all answers, and keep its codes until its file is back.

        Args:
            since: when it was first missed, UTC, as GalleryVideo has it; None for now.
        """
        video_id = self._find_or_raise(video)
        self._log_removal(video_id)
        self._pass_on("clip", "missing_clip", video_id)
        self._connection.execute("UPDATE video SET missing_since = ? WHERE id = ?", (since or _now(), video_id))

    def bring_back(self, video: str) -> None:
        """Take a missing video into the answers again."""
        video_id = self._find_or_raise(video)
        self.num_added += self._pass_on("missing_clip", "clip", video_id)
        self._connection.execute("UPDATE video SET missing_since = NULL WHERE id = ?", (video_id,))

    def _pass_on(self, source: str, target: str, video_id: int) -> int:
        """Move the clips of a video from one table into another; return how many there are."""
        passed = self._connection.execute(
            f"INSERT INTO {target} ({CLIP_COLUMNS}) SELECT {CLIP_COLUMNS} FROM {source} WHERE video_id = ? ORDER BY id",
            (video_id,),
        )
        self._connection.execute(f"DELETE FROM {source} WHERE video_id = ?", (video_id,))
        return passed.rowcount

    def _log_removal(self, video_id: int) -> None:
        self._connection.execute(
            "INSERT INTO removal SELECT ?, first, last"
            " FROM (SELECT min(id) AS first, max(id) AS last FROM clip WHERE video_id = ?)"
            " WHERE first IS NOT NULL",
            (self._revision, video_id),
        )

    def _place(self, video: str, root: str) -> tuple[int, str]:
        """Return the root's id, made where it is new, and the path in it of a video."""
        if root not in self._roots:
            relative = roots.relative_root(str(self._directory), root)
            statement = "INSERT INTO root (absolute, relative) VALUES (?, ?)"
            self._roots[root] = self._connection.execute(statement, (root, relative)).lastrowid or 0
        return self._roots[root], roots.split(video, root)

    def note_root(self, root: str) -> None:
        """Store where a root lies now, so that it is found from here on where the gallery or its videos move."""
        relative = roots.relative_root(str(self._directory), root)
        self._connection.execute(
            "UPDATE root SET absolute = ?, relative = ? WHERE id = ?", (root, relative, self._roots.get(root))
        )

    def _stored(self, video: str) -> tuple[int, str] | None:
        row = self._connection.execute("SELECT root_id, path FROM video WHERE id = ?", (self._find(video),)).fetchone()
        return None if row is None else (row[0], row[1])

    def _find(self, video: str) -> int | None:
        """Return the id of a video, whichever root it is stored in."""
        for folder, root_id in self._roots.items():
            if roots.holds(folder, video):
                path = roots.split(video, folder)
                found = self._connection.execute(
                    "SELECT id FROM video WHERE root_id = ? AND path = ?", (root_id, path)
                ).fetchone()
                if found is not None:
                    return int(found[0])
        return None

    def _find_or_raise(self, video: str) -> int:
        video_id = self._find(video)
        if video_id is None:
            raise no_video(self._directory, video)
        return video_id

    def _one(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def no_video(directory: Path, video: str) -> GalleryError:
    return GalleryError(f"gallery '{directory}' has no video {video!r}: see its videos().")
