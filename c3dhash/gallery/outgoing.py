"""A gallery -> what a copy of it elsewhere is made of: its videos that can be found, with their clips, at one moment.

A video is known by the id of its first clip, which is never that of another, also when it is gone, removed or missing:
so a copy that is compared by these ids, block after block, ends up with the same videos and no other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from c3dhash.bits import num_code_bytes
from c3dhash.errors import GalleryError
from c3dhash.gallery.filters import MAX_NAMES
from c3dhash.gallery.reader import Reader, open_reader
from c3dhash.gallery.same_film import content_of
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch


class OutgoingVideo(NamedTuple):
    """A video with clips, whose file is not missing.

    first_id: of its first clip; those of the others follow. root_id, path: where it is, by `Outgoing.facts`. checksum:
    of its clips, hexadecimal. The rest as in GalleryVideo.
    """

    first_id: int
    num_clips: int
    root_id: int
    path: str
    label: str | None
    content_hash: str
    size_bytes: int
    mtime_ns: int
    added_at: str
    checksum: str


class Outgoing:
    """A gallery at one moment; made by `open_outgoing`.

    Attributes:
        identity: of the gallery: the same all its life, and of no other but a copy of its folder.
        state: tells this moment's from every other.
        num_videos, num_clips, last_id: of what can be found; the highest id of a clip.
        facts: what whoever searches the copy must know, as JSON values.
    """

    def __init__(self, gallery: Gallery, reader: Reader) -> None:
        self._reader, self.hash_length = reader, gallery.hash_length
        first = next(reader.rows("SELECT token FROM change ORDER BY revision LIMIT 1"), None)
        if first is None:
            raise GalleryError(f"gallery '{gallery.path}' is empty, and always was: run `c3dhash index DIR` first.")
        self.identity, self.state = str(first[0]), _state(reader)
        clips = "SELECT count(*), coalesce(max(id), 0), count(DISTINCT video_id) FROM clip"
        self.num_clips, self.last_id, self.num_videos = next(reader.rows(clips))
        labels = "SELECT DISTINCT label FROM video WHERE label IS NOT NULL ORDER BY label"
        names = [label for (label,) in reader.rows(labels)]
        same_film = gallery.same_film()
        self.facts: dict[str, Any] = {
            "model_name": gallery.model_name,
            "run": gallery.run,
            "roots": {str(root_id): folder for root_id, folder in reader.root_folders().items()},
            "labels": names[:MAX_NAMES],
            "num_labels": len(names),
            "same_film": None if same_film is None else content_of(same_film),
            "measured": gallery.measured() if self.num_clips else None,
        }

    def videos(self, low: int, high: int) -> list[OutgoingVideo]:
        """Return the videos whose first clip has an id from low up to, and without, high; in the order of these."""
        query = (
            "SELECT min(clip.id), num_clips, root_id, path, label, content_hash, size_bytes, mtime_ns, added_at,"
            " checksum FROM clip JOIN video ON video.id = video_id WHERE clip.id >= ? AND clip.id < ?"
            " AND video_id NOT IN (SELECT video_id FROM clip WHERE id = ?) GROUP BY video.id ORDER BY 1"
        )  # what the clip before the first one belongs to began before
        rows = self._reader.rows(query, low, high, low - 1)
        return [OutgoingVideo._make((*row[:-1], row[-1].hex())) for row in rows]

    def clips(self, video: OutgoingVideo) -> CodeBatch:
        """Return the clips of a video, by rising ids.

        Raises:
            GalleryError: the catalog is damaged.
        """
        query = "SELECT start_seconds, end_seconds, code FROM clip WHERE id >= ? AND id < ? ORDER BY id"
        rows = list(self._reader.rows(query, video.first_id, video.first_id + video.num_clips))
        blob, width = b"".join(row[2] for row in rows), num_code_bytes(self.hash_length)
        if len(rows) != video.num_clips or len(blob) != len(rows) * width:
            raise GalleryError(f"video '{video.path}' is damaged: `c3dhash gallery verify` says more.")
        times = np.array([row[:2] for row in rows], np.float64)
        codes = np.frombuffer(blob, np.uint8).reshape(len(rows), width)
        return CodeBatch(codes, self.hash_length, times[:, 0], times[:, 1])


@contextlib.contextmanager
def open_outgoing(gallery: Gallery) -> Iterator[Outgoing]:
    """Look at a gallery as it is at this moment; whoever writes it meanwhile changes nothing of what is seen.

    Raises:
        GalleryError: nothing was ever in it, or it cannot be read.
    """
    while True:
        with open_reader(gallery.path) as reader:
            outgoing = Outgoing(gallery, reader)
            if gallery.state == outgoing.state:  # what was measured is of this moment, too
                yield outgoing
                return


def _state(reader: Reader) -> tuple[int, int]:
    revision, token = next(reader.rows("SELECT revision, token FROM change ORDER BY revision DESC LIMIT 1"))
    return int(revision), int(token)
