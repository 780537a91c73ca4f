"""Videos and clips in Milvus, looked up and listed: in the order that lists of a gallery have, by roots and paths.

Note [Pages]
    Milvus sorts by ids alone. Of few videos all are read, and a page is cut out of them. Of many, the page is closed
    in first: Milvus counts how many come before a place among the paths; some thousand places (those of videos that
    are spread over the ids) are searched by halves for the last one before the page, then for the first one behind
    it. Wherever they are, the page is the same: they say only how much is read for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from c3dhash.cluster.connection import MOST_ROWS
from c3dhash.cluster.expressions import ANY_VIDEO, any_of, at_or_behind, before, label_of, named
from c3dhash.cluster.tables import Tables, arrays_of, blocks
from c3dhash.errors import LimitError
from c3dhash.gallery.catalog import GalleryClip, GalleryVideo, VideoTimes
from c3dhash.gallery.roots import holds, join, split
from c3dhash.records import CodeBatch

MOST_SORTED = 4_096  # videos that are read for a page, where there are more places between them
MOST_LISTED = 200_000  # videos that are looked through one by one
NUM_PLACES = 4_096
PLACE_FIELDS = ("root_id", "path")
FIELDS = (*PLACE_FIELDS, "content_hash", "size_bytes", "mtime_ns", "label", "num_clips", "added_at")

Place = tuple[int, str]  # a root's id, and a path in it


class Lists(NamedTuple):
    """What videos are listed of: the collections, and what is known about all. roots: the folder of each."""

    tables: Tables
    roots: Mapping[int, str]
    num_videos: int
    last_id: int

    def video_of(self, row: Mapping[str, Any]) -> GalleryVideo:
        """Return what a row says of a video, with all FIELDS."""
        folder = self.roots.get(row["root_id"], "")
        facts = row["content_hash"], row["size_bytes"], row["mtime_ns"], label_of(row["label"]), row["num_clips"]
        return GalleryVideo(join(folder, row["path"]), *facts, folder or None, None, row["added_at"], row["id"])

    def used_roots(self) -> list[str]:
        """List the folders of roots in which there are videos."""
        used = [
            root_id for root_id in sorted(self.roots) if self.tables.num_videos(f"{ANY_VIDEO} and root_id == {root_id}")
        ]
        return [self.roots[root_id] for root_id in used]

    def video(self, video_id: int) -> GalleryVideo | None:
        """Return a video by the id of its first clip; None where there is none."""
        rows = self.tables.videos(f"{ANY_VIDEO} and id == {video_id}", FIELDS)
        return self.video_of(rows[0]) if rows else None

    def all(self, which: str, num: int, fields: Sequence[str] = FIELDS) -> list[dict[str, Any]]:
        """Return the rows of all videos that an expression chooses.

        Args:
            num: how many these are, about.
        Raises:
            LimitError: there are more than are looked through.
        """
        if num > MOST_LISTED:
            raise LimitError(
                f"gallery '{self.tables.address}' has {num:,} such videos, and {MOST_LISTED:,} at most are looked "
                "through one by one in a database: choose fewer, by label or folder."
            )
        if num <= MOST_ROWS:
            return self.tables.videos(which, fields)
        step = max(MOST_ROWS, self.last_id * MOST_ROWS // num)
        lows = range(1, self.last_id + 1, step)
        return [
            row for low in lows for row in self.tables.videos(f"{which} and id >= {low} and id < {low + step}", fields)
        ]

    def page(
        self, which: str, *, text: str, places: Sequence[Place], offset: int, limit: int
    ) -> tuple[int, list[GalleryVideo]]:
        """Return how many videos there are that an expression chooses, and some of them: as `Gallery.page`.

        Args:
            places: as of `spread_places`.
        Raises:
            LimitError: more videos than are looked through may have the text.
        """
        total, skipped = self.tables.num_videos(which), 0
        if text:
            rows = [row for row in self.all(which, total, PLACE_FIELDS) if text.casefold() in row["path"].casefold()]
            total = len(rows)
        elif not limit or offset >= total:
            rows = []
        else:
            which, num, skipped = self._close_in(which, total, places, offset, offset + limit)
            rows = self.all(which, num, PLACE_FIELDS)
        rows.sort(key=lambda row: (row["root_id"], row["path"]))
        ids = [row["id"] for row in rows[offset - skipped : offset - skipped + limit]]
        videos = self.tables.videos(any_of("id", ids), FIELDS) if ids else []
        return total, sorted(map(self.video_of, videos), key=lambda video: video.video)

    def _close_in(self, which: str, total: int, places: Sequence[Place], start: int, end: int) -> tuple[str, int, int]:
        """Return what chooses a page and not much else, how many that are, and how many come before. Note [Pages]."""
        if total <= MOST_SORTED:
            return which, total, 0
        counts = {-1: 0, len(places): total}  # how many come before a place

        def num_before(number: int) -> int:
            if number not in counts:
                counts[number] = self.tables.num_videos(f"{which} and {before(*places[number])}")
            return counts[number]

        low, high = -1, len(places)  # the last place that has not more before it than the page; the first that has
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if num_before(middle) <= start else (low, middle)
        step = 1
        while num_before(high) < end and high < len(places):
            high, step = min(high + step, len(places)), 2 * step
        parts = [which]
        if low >= 0:
            parts.append(at_or_behind(*places[low]))
        if high < len(places):
            parts.append(before(*places[high]))
        return " and ".join(parts), counts[high] - counts[low], counts[low]

    def spread_places(self) -> list[Place]:
        """Return the places of videos to which clips belong that are spread evenly over the ids, sorted."""
        spread = np.unique(np.linspace(1, max(1, self.last_id), NUM_PLACES).astype(np.int64)).tolist()
        first_ids = {row["video"] for row in self.tables.clip_rows(spread, ("video",)).values()}
        rows = self.tables.videos(any_of("id", sorted(first_ids)), PLACE_FIELDS) if first_ids else []
        return sorted((row["root_id"], row["path"]) for row in rows)

    def middle_clips(self, video_ids: Iterable[int]) -> list[int | None]:
        """Return the id of the clip in the middle of each video."""
        ids = list(video_ids)
        rows = self.tables.videos(f"{ANY_VIDEO} and {any_of('id', ids)}", ("num_clips",)) if ids else []
        middles = {row["id"]: row["id"] + (row["num_clips"] - 1) // 2 for row in rows}
        return [middles.get(video_id) for video_id in ids]

    def codes_of(self, video_id: int) -> tuple[np.ndarray, CodeBatch]:
        """Return the ids and the codes of the clips of a video; none where it is not there."""
        rows = self.tables.videos(f"{ANY_VIDEO} and id == {video_id}", ("num_clips",))
        ids = list(range(video_id, video_id + rows[0]["num_clips"])) if rows else []
        clips = self.tables.clips(ids)
        found, hash_length = [clip_id for clip_id in ids if clip_id in clips], self.tables.mark.hash_length
        codes, times = arrays_of([clips[clip_id] for clip_id in found], hash_length=hash_length)
        return np.array(found, np.int64), CodeBatch(codes, hash_length, times[:, 0], times[:, 1])

    def times_of(self, names: Sequence[str]) -> list[VideoTimes | None]:
        """Return when the clips of videos are, by their names; None of one that is not there."""
        roots = sorted(self.roots.items())
        places = {
            name: [(root_id, split(name, folder)) for root_id, folder in roots if holds(folder, name)] for name in names
        }
        wanted = sorted({place for found in places.values() for place in found})
        rows = self.tables.videos(f"{ANY_VIDEO} and {named(wanted)}", (*PLACE_FIELDS, "num_clips")) if wanted else []
        by_place = {(row["root_id"], row["path"]): row for row in rows}
        found = [next((by_place[place] for place in places[name] if place in by_place), None) for name in names]
        ids = [each for row in found if row is not None for each in _clip_ids(row)]
        clips = self.tables.clip_rows(ids, ("start_seconds", "end_seconds"))
        return [None if row is None else _times(row, clips) for row in found]

    def sample(self, most: int, *, num_clips: int) -> tuple[list[GalleryClip], np.ndarray]:
        """Return all clips, or, where there are more than so many, those of ids that are spread evenly; with codes."""
        if num_clips <= most:
            videos = {row["id"]: row for row in self.all(ANY_VIDEO, self.num_videos)}
            ids = [clip_id for row in videos.values() for clip_id in _clip_ids(row)]
            clips = self.tables.clips(ids)
        else:
            ids = np.unique(np.linspace(1, self.last_id, most).astype(np.int64)).tolist()
            clips = self.tables.clips(ids)
            first_ids = sorted({clip[0] for clip in clips.values()})
            some = [self.tables.videos(any_of("id", each), FIELDS) for each in blocks(first_ids, MOST_ROWS)]
            videos = {row["id"]: row for rows in some for row in rows}
        there = [clip_id for clip_id in ids if clip_id in clips and clips[clip_id][0] in videos]
        codes, _ = arrays_of([clips[clip_id] for clip_id in there], hash_length=self.tables.mark.hash_length)
        return [self.clip_of(clip_id, clips[clip_id], videos[clips[clip_id][0]]) for clip_id in there], codes

    def clip_of(self, clip_id: int, clip: tuple[int, float, float, bytes], row: Mapping[str, Any]) -> GalleryClip:
        """Return a clip, as of `Tables.clips`, with what the row of its video says."""
        name = join(self.roots.get(row["root_id"], ""), row["path"])
        facts = label_of(row["label"]), row["content_hash"], row["num_clips"]
        return GalleryClip(clip_id, name, clip[1], clip[2], *facts, video_id=row["id"])


def _clip_ids(row: Mapping[str, Any]) -> range:
    return range(row["id"], row["id"] + row["num_clips"])


def _times(row: Mapping[str, Any], clips: Mapping[int, Mapping[str, Any]]) -> VideoTimes | None:
    ids = [clip_id for clip_id in _clip_ids(row) if clip_id in clips]
    if not ids:
        return None
    times = np.array([(clips[each]["start_seconds"], clips[each]["end_seconds"]) for each in ids], np.float64)
    return VideoTimes(row["id"], np.array(ids, np.int64), times[:, 0], times[:, 1])
