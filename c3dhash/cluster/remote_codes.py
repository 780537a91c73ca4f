"""Codes in Milvus, as evidence searches them for one query: with numbers for the videos that it meets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from c3dhash.cluster.connection import MOST_ROWS
from c3dhash.cluster.expressions import ANY_VIDEO, any_of
from c3dhash.cluster.tables import Near, Tables, arrays_of, blocks
from c3dhash.errors import C3DHashError

VIDEOS_READ, CLIPS_READ = 64, 8_192  # of videos that are likely to be looked at next
FIRST_ASKED, ASKED_FACTOR = 64, 8  # codes a window: then so many times as many


class Changed(C3DHashError):
    """A video that was found is not there any more: somebody pushes. The query is asked again."""


class RemoteCodes:
    """As `gallery.searched.SearchedCodes`. A video's number is the place at which its first clip's id was met.

    Those near the windows of the query are met first, all at once and by rising ids: the order that they have in
    HammingIndex.

    Args:
        tables: of the gallery.
        windows: the codes of the query, uint8 [Q, ceil(hash_length / 8)].
        notes: what was measured on all codes.
        num_videos, num_clips, last_id: of all.
    """

    def __init__(
        self,
        tables: Tables,
        windows: np.ndarray,
        *,
        notes: Mapping[str, Any],
        num_videos: int,
        num_clips: int,
        last_id: int,
    ) -> None:
        self._tables, self._windows, self._last_id = tables, np.unique(windows, axis=0), last_id
        self.hash_length, self.notes = tables.mark.hash_length, dict(notes)
        self.num_videos, self._num_clips = num_videos, num_clips
        self._numbers: dict[int, int] = {}  # the id of a video's first clip -> its number
        self._first_ids: list[int] = []  # by number
        self._videos: dict[int, int] = {}  # the id of a clip -> its video's number
        self._near: dict[int, dict[bytes, tuple[np.ndarray, np.ndarray]]] = {}  # radius -> of each code, what is near
        self._read: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}  # first id -> codes, starts, ends
        self.clips_of: dict[int, int] = {}  # first id of a video that is there -> how many clips it has
        self._order: list[int] = []  # numbers of videos, as they will be looked at

    def __len__(self) -> int:
        return self._num_clips

    @property
    def starts(self) -> np.ndarray:
        raise AssertionError("what is measured on all codes is noted")

    def sample(self, num_codes: int) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("what is measured on all codes is noted")

    def codes(self, start: int, end: int) -> np.ndarray:
        raise AssertionError("what is measured on all codes is noted")

    def near_videos(self, codes: np.ndarray, *, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if radius not in self._near:
            found = self._tables.within(self._windows, radius=radius, last_id=self._last_id)
            for first_id in np.unique(np.concatenate([near.videos for near in found])).tolist():
                self._number(first_id)
            near_windows = zip(self._windows, found, strict=True)
            self._near[radius] = {code.tobytes(): self._of_videos(near) for code, near in near_windows}
        found_videos = [self._near[radius][code.tobytes()] for code in codes]
        queries = np.repeat(np.arange(len(codes)), [len(videos) for videos, _ in found_videos])
        none = [np.empty(0, np.int64)]
        videos = np.concatenate(none + [videos for videos, _ in found_videos])
        return queries, videos, np.concatenate(none + [distances for _, distances in found_videos])

    def _of_videos(self, near: Near) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the videos of codes, rising, and the least distance of each."""
        numbers = np.array([self._numbers[first_id] for first_id in near.videos.tolist()], np.int64)
        order = np.lexsort((near.distances, numbers))
        numbers, firsts = np.unique(numbers[order], return_index=True)
        return numbers, near.distances[order][firsts]

    def search_videos(self, codes: np.ndarray, *, top: int, allowed: Passing) -> tuple[np.ndarray, np.ndarray]:
        """Ask for more and more codes, until the nearest are of enough videos; then for all within a radius."""
        limit, end = FIRST_ASKED, -1
        while limit:
            found = self._tables.nearest(codes, limit=limit, which=allowed.clips)
            full = [int(near.distances[-1]) for near in found if len(near.ids) == limit]
            end = min(full, default=self.hash_length + 1)
            videos = self._first_of(found, top=top, below=end, allowed=allowed)
            if len(videos[0]) == top or (not full and self._tables.index == "flat"):
                return videos
            limit = 0 if limit == MOST_ROWS else min(MOST_ROWS, limit * ASKED_FACTOR)
        if self._tables.index != "flat":  # lists that were looked at have too few: all of them are
            return self._first_of(
                self._tables.nearest(codes, limit=MOST_ROWS, which=allowed.clips, looked_at=self._tables.num_lists),
                top=top, below=self.hash_length + 1, allowed=allowed,
            )  # fmt: skip
        for radius in range(end, self.hash_length + 1):
            found = self._tables.within(codes, radius=radius, last_id=self._last_id)
            videos = self._first_of(found, top=top, below=radius + 1, allowed=allowed)
            if len(videos[0]) == top:
                break
        return videos

    def _first_of(self, found: list[Near], *, top: int, below: int, allowed: Passing) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and clip ids of the nearest videos that may be found, by the nearest clip of each.

        Args:
            below: of farther codes not all are known.
        """
        distances, ids, videos = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        order = np.lexsort((ids, distances))[: int(np.count_nonzero(distances < below))]
        distances, ids, videos = distances[order], ids[order], videos[order]
        firsts = np.sort(np.unique(videos, return_index=True)[1])
        numbers = np.array([self._number(first_id) for first_id in videos[firsts].tolist()], np.int64)
        self._videos.update(zip(ids[firsts].tolist(), numbers.tolist(), strict=True))
        firsts = firsts[allowed[numbers]][:top]
        return distances[firsts], ids[firsts]

    def videos_of(self, ids: np.ndarray) -> np.ndarray:
        return np.array([self._videos[clip_id] for clip_id in ids.tolist()], np.int64)

    def video(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        first_id = self._first_ids[number]
        if first_id not in self._read:
            self._read_on(number)
        codes = self._read[first_id][0]
        return np.arange(first_id, first_id + len(codes)), codes

    def times(self, first_id: int, last_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return when the clips of a video that was looked at start and end: `evidence.Times`."""
        _, starts, ends = self._read[first_id]
        return starts, ends

    def _read_on(self, number: int) -> None:
        """Read the clips of a video, and of those that come behind it."""
        place = self._order.index(number) if number in self._order else None
        following = [number] if place is None else self._order[place : place + VIDEOS_READ]
        wanted: list[int] = []
        for each in following:
            first_id = self._first_ids[each]
            if first_id in self._read:
                continue
            if wanted and len(wanted) + self.clips_of[first_id] > CLIPS_READ:
                break
            wanted += range(first_id, first_id + self.clips_of[first_id])
        rows = self._tables.clips(wanted)
        for first_id in {clip_id for clip_id in wanted if clip_id in self.clips_of}:
            told = [rows.get(clip_id) for clip_id in range(first_id, first_id + self.clips_of[first_id])]
            if any(clip is None or clip[0] != first_id for clip in told):
                raise Changed
            self._keep(first_id, [clip for clip in told if clip is not None])

    def _keep(self, first_id: int, clips: list[tuple[int, float, float, bytes]]) -> None:
        codes, times = arrays_of(clips, hash_length=self.hash_length)
        self._read[first_id] = codes, times[:, 0], times[:, 1]

    def look_at_next(self, numbers: np.ndarray) -> None:
        """Note which videos are likely to be looked at, in this order."""
        self._order = numbers.tolist()

    def first_ids(self, numbers: np.ndarray) -> list[int]:
        """Return by which ids the videos of numbers are known."""
        return [self._first_ids[number] for number in numbers.tolist()]

    def _number(self, first_id: int) -> int:
        if first_id not in self._numbers:
            self._numbers[first_id] = len(self._first_ids)
            self._first_ids.append(first_id)
        return self._numbers[first_id]


class Passing:
    """Which videos may be found: those that are there, pass a filter, and were not taken out.

    Args:
        codes: whose numbers are asked for.
        which: an expression about videos. without: the ids of the first clips of videos that may not be found.
        listed: those of all that pass, where they are few; None where they are not.
    """

    def __init__(
        self,
        codes: RemoteCodes,
        tables: Tables,
        *,
        which: str = ANY_VIDEO,
        without: list[int],
        listed: list[int] | None,
    ) -> None:
        self._codes, self._tables, self._which, self._listed = codes, tables, which, listed
        self._without = set(without)
        self._known: dict[int, bool] = {}

    @property
    def clips(self) -> str:
        """What is said of clips, so that others are not found in vain; with too many names nothing is."""
        parts = [] if self._listed is None else [any_of("video", self._listed)]
        if self._without and len(self._without) <= MOST_ROWS:
            parts.append(f"not ({any_of('video', sorted(self._without))})")
        return " and ".join(parts)

    def __getitem__(self, numbers: np.ndarray, /) -> np.ndarray:
        first_ids = self._codes.first_ids(numbers)
        for some in blocks([first_id for first_id in first_ids if first_id not in self._known], MOST_ROWS):
            rows = self._tables.videos(f"{self._which} and {any_of('id', some)}", ("num_clips",))
            self._codes.clips_of.update({row["id"]: row["num_clips"] for row in rows})
            self._known.update(dict.fromkeys(some, False) | {row["id"]: True for row in rows})
        passing = np.array([self._known[each] and each not in self._without for each in first_ids], bool)
        self._codes.look_at_next(numbers[passing])
        return passing

    def __setitem__(self, number: int, is_allowed: bool, /) -> None:
        (first_id,) = self._codes.first_ids(np.array([number]))
        (self._without.discard if is_allowed else self._without.add)(first_id)
