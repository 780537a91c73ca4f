"""The catalog of a gallery: an SQLite file that knows every video, every clip and its code.

It is the truth; the search index beside it is a copy that is brought up to date from here. For that, every
write transaction adds a row to `change` (its revision), and every video that loses its clips a row to
`removal`. Clip ids are never used again and those of one video are consecutive, so what a copy lacks is:
the clips above its highest id, and the removals after its revision.

Videos are stored relative to roots (roots.py) and called by their names, which are paths that can be opened. One whose
file is missing keeps its codes aside: it is in none of the answers.

A write is on the disk when the call returns, and leaves nothing if the process dies before that. One
process writes at a time; readers go on meanwhile and see the last finished transaction.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.bits import num_code_bytes
from c3dhash.errors import GalleryError
from c3dhash.gallery import roots, schema
from c3dhash.gallery.edits import Edits
from c3dhash.gallery.filters import Condition, VideoFilter, condition
from c3dhash.records import CodeBatch

ROWS_PER_FETCH = 1000  # 64,000 were 15 % slower


@dataclass(frozen=True)
class GalleryVideo:
    """What a gallery knows about a video.

    video: the path of its file where `index` found it, or the name that another program gave it.
    root: the folder that was indexed; None for a name that another program gave.
    added_at, missing_since: when it came, and when its file was first missed, UTC; None for one that is there.
    id: its number in this gallery; another's, once the video is removed or replaced.
    """

    video: str
    content_hash: str
    size_bytes: int
    mtime_ns: int
    label: str | None
    num_clips: int
    root: str | None = None
    missing_since: str | None = None
    added_at: str = field(default="", compare=False)
    id: int = field(default=0, compare=False)


@dataclass(frozen=True)
class GalleryClip:
    """A clip of a gallery: the segment that its code stands for, and what is known of its video.

    id: never that of another clip, also when this one is gone. video_id: as in GalleryVideo.
    """

    id: int
    video: str
    start_seconds: float
    end_seconds: float
    label: str | None
    content_hash: str
    num_clips: int
    video_id: int = field(default=0, compare=False)


@dataclass(frozen=True, repr=False, eq=False)
class VideoTimes:
    """When the clips of a video are: ids, int64 [N], and seconds, float64 [N] each. video_id: as in GalleryVideo."""

    video_id: int
    clip_ids: np.ndarray
    start_seconds: np.ndarray
    end_seconds: np.ndarray

    def __repr__(self) -> str:
        return f"VideoTimes({self.video_id}, {len(self.clip_ids)} clips)"


@dataclass(frozen=True)
class Revision:
    """A state of a catalog; the token (random) tells it from the same number after a backup was restored."""

    number: int
    token: int


EMPTY = Revision(0, 0)


@dataclass(frozen=True, repr=False)
class Changes:
    """What turns a copy of an earlier state into the state `revision`: take videos out, then append others.

    removed: int64 [R], the ids of the first clips of the videos to take out. first_ids, num_clips: int64 [V], of the
    videos to append, in the order of their ids, which are consecutive within a video. Their codes: `Catalog.codes`.
    """

    revision: Revision
    removed: np.ndarray
    first_ids: np.ndarray
    num_clips: np.ndarray

    def __repr__(self) -> str:
        return f"Changes(to revision {self.revision.number}: -{len(self.removed)} +{len(self.first_ids)} videos)"


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
        self._root_folders: dict[int, str] = {roots.NO_ROOT: ""}
        self._connection.create_function("video_name", 2, lambda root, path: roots.join(self._root(root), path))
        self._connection.create_function("holds", 2, lambda path, text: text.casefold() in path.casefold())

    def close(self) -> None:
        self._connection.close()

    def note_moved_roots(self) -> None:
        """Store where the roots are now, where the gallery or its videos were moved; from there they may move on."""
        gallery = str(self.path.absolute().parent)
        rows = self._connection.execute("SELECT id, absolute, relative FROM root WHERE id != ?", (roots.NO_ROOT,))
        folders = [(self._root(row[0]), *row[1:]) for row in rows.fetchall()]
        moved = [folder for folder, *stored in folders
                 if Path(folder).is_dir() and stored != [folder, roots.relative_root(gallery, folder)]]  # fmt: skip
        if moved:
            with self.editing() as edits:
                for folder in moved:
                    edits.note_root(folder)

    def engines(self) -> dict[str, str]:
        """Return what computed the codes -> the day it last did, as in 2026-11-24 (UTC)."""
        with self._errors():
            row = self._connection.execute("SELECT value FROM meta WHERE key = 'engines'").fetchone()
        return dict(json.loads(row[0])) if row else {}

    def note_engines(self, days: Mapping[str, str]) -> None:
        """Note on which day each last computed codes; a later day that is noted already stays.

        No code changes: copies of the catalog stay what they are.
        """
        with self._errors(), schema.writing(self._connection):
            known = self.engines()
            engines = json.dumps({**known, **{name: max(day, known.get(name, "")) for name, day in days.items()}})
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('engines', ?)", (engines,))

    def search_setting(self) -> dict[str, Any]:
        """Return what the gallery is asked to search with, as `note_search_setting` noted it; {} before."""
        with self._errors():
            row = self._connection.execute("SELECT value FROM meta WHERE key = 'search'").fetchone()
        return dict(json.loads(row[0])) if row else {}

    def note_search_setting(self, setting: Mapping[str, Any]) -> None:
        """Note what the gallery is asked to search with. No code changes: copies of the catalog stay what they are."""
        with self._errors(), schema.writing(self._connection):
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('search', ?)", (json.dumps(dict(setting)),))

    @contextlib.contextmanager
    def editing(self) -> Iterator[Edits]:
        """Make one transaction, a revision of its own, of what happens inside; nothing of it where that fails."""
        with self._errors(), schema.writing(self._connection):
            revision = self._connection.execute("INSERT INTO change DEFAULT VALUES").lastrowid
            assert revision is not None
            yield Edits(self._connection, self.path.absolute().parent, revision, self.hash_length, self._root)

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

    def is_state(self, revision: Revision) -> bool:
        """Tell whether the catalog was or is in a state, be it the empty one."""
        is_known = "SELECT count(*) FROM change WHERE revision = ? AND token = ?"
        with self._errors():
            return revision == EMPTY or bool(self._one(is_known, revision.number, revision.token))

    def changes(self, *, since: Revision, last_id: int) -> Changes | None:
        """Read what a copy of an earlier state lacks.

        Args:
            since: the revision of the copy, EMPTY for an empty one.
            last_id: the highest clip id in it, 0 or below where it has none.
        Returns:
            The changes, or None where `since` was never a state of this catalog: the copy is worthless.
        Raises:
            GalleryError: the clips of a video do not follow each other.
        """
        with self.snapshot():
            if not self.is_state(since):
                return None
            removed = self._connection.execute(
                "SELECT first_clip_id FROM removal WHERE revision > ? AND first_clip_id <= ?", (since.number, last_id)
            ).fetchall()
            # Of all clips, the index on videos is fastest; of some, "+" keeps SQLite from going through all of it.
            by_video = "+video_id" if last_id > 0 else "video_id"
            videos = self._connection.execute(
                f"SELECT min(id), max(id), count(*) FROM clip WHERE id > ? GROUP BY {by_video} ORDER BY 1", (last_id,)
            ).fetchall()
            first_ids, last_ids, num_clips = np.array(videos, np.int64).reshape(-1, 3).T
            if np.any(wrong := last_ids - first_ids + 1 != num_clips):
                raise GalleryError(
                    f"catalog '{self.path}' is damaged: between clips {first_ids[wrong][0]} and {last_ids[wrong][0]} "
                    "of one video lie others; restore it from a backup, or index again."
                )
            removed_ids = np.fromiter((row[0] for row in removed), np.int64, len(removed))
            return Changes(self.revision(), removed_ids, first_ids, num_clips)

    def codes(self, *, after_id: int = 0) -> Iterator[np.ndarray]:
        """Read the codes of the clips above an id, in the order of their ids, some at a time.

        Yields:
            uint8 [some, ceil(hash_length / 8)]. All come from one state only inside a `snapshot`.
        Raises:
            GalleryError: codes have another width.
        """
        with self._errors():
            cursor = self._connection.execute("SELECT code FROM clip WHERE id > ? ORDER BY id", (after_id,))
            while rows := cursor.fetchmany(ROWS_PER_FETCH):
                blob = b"".join(map(itemgetter(0), rows))
                if len(blob) != len(rows) * self._num_bytes:
                    raise GalleryError(
                        f"catalog '{self.path}' is damaged: not all codes have {self._num_bytes} bytes; "
                        "`c3dhash gallery verify` says which."
                    )
                yield np.frombuffer(blob, np.uint8).reshape(len(rows), self._num_bytes)

    def clips(self, ids: Iterable[int]) -> list[GalleryClip]:
        """Look clips up, in the order of `ids`.

        Raises:
            GalleryError: an id is not in the catalog.
        """
        with self.snapshot():
            found = [(int(clip_id), self.clip(int(clip_id))) for clip_id in ids]
        for clip_id, clip in found:
            if clip is None:
                raise GalleryError(f"gallery '{self.path.parent}' has no clip {clip_id}: take ids from search.")
        return [clip for _, clip in found if clip is not None]

    def clip(self, clip_id: int) -> GalleryClip | None:
        """Return a clip that can be found; None where there is none with this id."""
        query = (
            "SELECT clip.id, video_name(root_id, path), start_seconds, end_seconds, label, content_hash, num_clips,"
            " video_id"
            " FROM clip JOIN video ON video.id = video_id WHERE clip.id = ?"
        )
        with self._errors():
            row = self._connection.execute(query, (clip_id,)).fetchone()
        return None if row is None else GalleryClip(*row)

    def times(self, first_id: int, last_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return when the clips from an id to another start and end, float64 [N] each, seconds."""
        query = "SELECT start_seconds, end_seconds FROM clip WHERE id BETWEEN ? AND ? ORDER BY id"
        with self._errors():
            rows = np.array(self._connection.execute(query, (first_id, last_id)).fetchall(), np.float64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]

    def first_clips(self, chosen: VideoFilter) -> np.ndarray:
        """Return the id of the first clip of each video that passes a filter and has clips, int64 [V].

        Whatever its content is.
        """
        with self.snapshot():
            return self._first_clips(*self._condition(chosen))

    def first_clips_of(self, content_hash: str) -> np.ndarray:
        """Return the id of the first clip of each video with this content, int64 [V]."""
        with self._errors():
            return self._first_clips("content_hash = ?", [content_hash])

    def _condition(self, chosen: VideoFilter) -> Condition:
        root_ids = [row[0] for row in self._connection.execute("SELECT id FROM root")]
        return condition(chosen, {root_id: self._root(root_id) for root_id in root_ids})

    def _first_clips(self, where: str, parameters: Sequence[object]) -> np.ndarray:
        query = f"SELECT min(clip.id) FROM video JOIN clip ON video_id = video.id WHERE {where} GROUP BY video.id"
        rows = self._connection.execute(query, tuple(parameters)).fetchall()
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def labels(self) -> list[str]:
        """List the labels that videos have, each once, by name."""
        with self._errors():
            rows = self._connection.execute("SELECT DISTINCT label FROM video WHERE label IS NOT NULL ORDER BY label")
            return [row[0] for row in rows]

    def videos(self, only: VideoFilter | None = None) -> list[GalleryVideo]:
        """List the videos whose files are not missing, in the order of their names.

        Args:
            only: which, whatever their content; None for all.
        """
        with self.snapshot():
            where, parameters = self._condition(only or VideoFilter())
            return self._videos(f"missing_since IS NULL AND {where}", parameters)

    def missing_videos(self, only: VideoFilter | None = None) -> list[GalleryVideo]:
        """List the videos whose files are missing, in the order of their names."""
        with self.snapshot():
            where, parameters = self._condition(only or VideoFilter())
            return self._videos(f"missing_since IS NOT NULL AND {where}", parameters)

    def video(self, video_id: int) -> GalleryVideo | None:
        """Return the video of a number, missing or not; None where there is none."""
        return next(iter(self._videos("id = ?", (video_id,))), None)

    def page(
        self, only: VideoFilter, *, text: str, is_missing: bool, offset: int, limit: int
    ) -> tuple[int, list[GalleryVideo]]:
        """Return how many videos there are of a kind, and some of these in the order of their names.

        Args:
            only: which, whatever their content.
            text: is in their paths below their roots, in upper or lower case; "" is in all.
            is_missing: those whose files are missing, or those that are there.
            offset, limit: leave out so many, and return so many at most.
        """
        with self.snapshot():
            where, parameters = self._condition(only)
            where = f"missing_since IS {'NOT ' * is_missing}NULL AND ({where})"
            if text:
                where, parameters = f"{where} AND holds(path, ?)", [*parameters, text]
            total = int(self._one(f"SELECT count(*) FROM video WHERE {where}", *parameters))
            order = f"{where} ORDER BY root_id, path LIMIT ? OFFSET ?"
            return total, self._videos(order, [*parameters, limit, offset])

    def root_folders(self) -> list[str]:
        """List the roots that videos are stored in, as GalleryVideo has them; with "" for those without one."""
        with self._errors():
            rows = self._connection.execute("SELECT DISTINCT root_id FROM video ORDER BY root_id").fetchall()
            return [self._root(root_id) for (root_id,) in rows]

    def failures(self) -> list[dict[str, str]]:
        """Return the videos that `index` could not take in, each with its reason: see c3dhash.gallery.failures."""
        with self._errors():
            row = self._connection.execute("SELECT value FROM meta WHERE key = 'failures'").fetchone()
        return list(json.loads(row[0])) if row else []

    def note_failures(self, failures: Sequence[Mapping[str, str]]) -> None:
        """Note these in the place of what was noted. No code changes: copies of the catalog stay what they are."""
        with self._errors(), schema.writing(self._connection):
            text = json.dumps(list(map(dict, failures)))
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('failures', ?)", (text,))

    def video_id(self, name: str) -> int | None:
        """Return the number of a video by its name; None where there is none of this name."""
        query = "SELECT id FROM video WHERE root_id = ? AND path = ?"
        with self._errors():
            for (root_id,) in self._connection.execute("SELECT id FROM root").fetchall():
                folder = self._root(root_id)
                if roots.holds(folder, name):
                    row = self._connection.execute(query, (root_id, roots.split(name, folder))).fetchone()
                    if row is not None:
                        return int(row[0])
        return None

    def codes_of(self, video_id: int) -> tuple[np.ndarray, CodeBatch]:
        """Return the clips of a video: ids int64 [N] by their times, and codes; none of one that is missing.

        Raises:
            GalleryError: codes have another width.
        """
        query = "SELECT id, code, start_seconds, end_seconds FROM clip WHERE video_id = ? ORDER BY id"
        with self._errors():
            rows = self._connection.execute(query, (video_id,)).fetchall()
        blob = b"".join(row[1] for row in rows)
        if len(blob) != len(rows) * self._num_bytes:
            raise GalleryError(f"catalog '{self.path}' is damaged: not all codes have {self._num_bytes} bytes.")
        times = np.array([row[2:] for row in rows], np.float64).reshape(-1, 2)
        codes = np.frombuffer(blob, np.uint8).reshape(len(rows), self._num_bytes)
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        return ids, CodeBatch(codes, self.hash_length, times[:, 0], times[:, 1])

    def middle_clip(self, video_id: int) -> int | None:
        """Return the id of the clip in the middle of a video, of two the first; None where it has none."""
        query = "SELECT min(id) + (count(*) - 1) / 2 FROM clip WHERE video_id = ?"
        with self._errors():
            found = self._one(query, video_id)
        return None if found is None else int(found)

    def _videos(self, where: str, parameters: Sequence[object] = ()) -> list[GalleryVideo]:
        query = (
            "SELECT root_id, path, content_hash, size_bytes, mtime_ns, label, num_clips, missing_since, added_at, id"
            f" FROM video WHERE {where}"
        )
        with self.snapshot():
            rows = self._connection.execute(query, tuple(parameters))
            videos = [
                GalleryVideo(
                    roots.join(self._root(root_id), path),
                    content_hash,
                    size_bytes,
                    mtime_ns,
                    label,
                    num_clips,
                    self._root(root_id) or None,
                    *told,
                )
                for root_id, path, content_hash, size_bytes, mtime_ns, label, num_clips, *told in rows
            ]
        return sorted(videos, key=attrgetter("video"))

    def not_matches(self) -> set[tuple[str, str]]:
        """Return the pairs of contents that somebody said are no match, each in its order."""
        with self._errors():
            rows = self._connection.execute("SELECT content_hash, other_content_hash FROM not_match").fetchall()
        return {(row[0], row[1]) for row in rows}

    def note_not_matches(self, pairs: Iterable[tuple[str, str]], *, are_matches: bool) -> None:
        """Note pairs of contents that are no match, or take that back. No code changes: copies stay what they are."""
        statement = (
            "DELETE FROM not_match WHERE content_hash = ? AND other_content_hash = ?"
            if are_matches
            else "INSERT OR IGNORE INTO not_match VALUES (?, ?)"
        )
        with self._errors(), schema.writing(self._connection):
            self._connection.executemany(statement, [tuple(sorted(pair)) for pair in pairs])

    def num_clips(self) -> int:
        """Count the clips by going through the videos; the index knows it at once."""
        with self._errors():
            return int(self._one("SELECT coalesce(sum(num_clips), 0) FROM video WHERE missing_since IS NULL"))

    def _root(self, root_id: int) -> str:
        """Return the folder of a root where it is now; looked for once."""
        if root_id not in self._root_folders:
            query = "SELECT path FROM video WHERE root_id = ? AND missing_since IS NULL LIMIT 3"
            paths = [row[0] for row in self._connection.execute(query, (root_id,))]
            (stored,) = self._connection.execute("SELECT absolute, relative FROM root WHERE id = ?", (root_id,))
            gallery = str(self.path.absolute().parent)
            self._root_folders[root_id] = roots.locate_root(gallery, *stored, paths=paths)
        return self._root_folders[root_id]

    def _one(self, query: str, *parameters: object) -> Any:
        """Return the value of a query that yields one."""
        return self._connection.execute(query, parameters).fetchone()[0]

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return schema.gallery_errors(self.path, timeout_seconds=self._timeout_seconds)
