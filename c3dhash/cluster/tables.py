"""The two collections of a gallery in Milvus: its clips, and its videos.

    NAME          a clip: id, video (the id of its video's first clip), start_seconds, end_seconds, code
    NAME_videos   a video: id (of its first clip), where it is, label, content, ...; its clips are all there
                  -1: how far a push is. -2: what whoever searches must know. (JSON)

What each is stands in its description: whose gallery, of which model. Collections without it are never touched.
Milvus has no transactions. So a video is there when it is in NAME_videos: it comes after its clips, and goes before
them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from c3dhash.bits import num_code_bytes
from c3dhash.cluster.connection import LOAD_SECONDS, MOST_ROWS, Connection
from c3dhash.cluster.expressions import any_of
from c3dhash.config import CLUSTER_INDEXES
from c3dhash.errors import GalleryError, UsageError
from c3dhash.gallery.index import NO_DISTANCE, NO_ID
from c3dhash.gallery.recall import Search

MARK, VERSION = "c3dhash ", 1
STATE_ROW, FACTS_ROW = -1, -2
MAX_TEXT_BYTES = 65_535  # of a field
VIDEO_TEXTS = ("path", "label", "content_hash", "added_at", "checksum", "facts")
VIDEO_NUMBERS = ("root_id", "num_clips", "size_bytes", "mtime_ns")
CLIP_FIELDS = {"id", "video", "start_seconds", "end_seconds", "code"}
VIDEO_FIELDS = {"id", *VIDEO_TEXTS, *VIDEO_NUMBERS, "none"}
LISTS_PER_ROOT, MAX_LISTS, CODES_PER_SEGMENT = 2, 65_536, 10_000_000
LISTS_LOOKED_AT = 1 / 8  # before it was measured how many are needed
FEW_FOUND = 1024  # codes within a radius of a query: as many are asked for at first
QUERIES_AT_A_TIME = 64
INDEX_SECONDS = 0.5  # between two looks at how far an index is
LEAST_IN_LISTS = 1024  # codes of a segment, by Milvus' settings; of fewer all are looked at


class Mark(NamedTuple):
    """Whose codes a collection holds: of which gallery, of which model."""

    gallery: str
    model: str
    hash_length: int

    def description(self) -> str:
        return MARK + json.dumps({"version": VERSION, **self._asdict()})


class Near(NamedTuple):
    """Codes that a search found for a query: int64 [N] each. videos: the ids of the first clips of theirs."""

    distances: np.ndarray
    ids: np.ndarray
    videos: np.ndarray


class Tables:
    """The collections of an address, whose `mark` is known.

    Attributes:
        index: what searches the codes: of config.CLUSTER_INDEXES.
        num_lists, looked_at: of ivf, how many there are, and how many of them a search looks through; 0 where that was
            not measured yet.
        made: what tells these collections from others that had their names, or will have.
    """

    def __init__(self, connection: Connection, mark: Mark, *, made: tuple[int, int] = (0, 0)) -> None:
        self._call, self._new_index, self.address = connection.call, connection.new_index, connection.address
        self.mark, self.made = mark, made
        self.index, self.num_lists, self.looked_at = CLUSTER_INDEXES[0], 1, 0

    def make_ready(self, *, index: str | None, num_clips: int) -> None:
        """See to it that both are indexed, and load them.

        Args:
            index: what is to search the codes, where nothing does yet; None for the first of CLUSTER_INDEXES.
            num_clips: how many there will be.
        """
        if not self._call("list_indexes", self.address.videos):
            self._call("create_index", self.address.videos, self._new_index("none", index_type="BIN_FLAT"))
        if not self._call("list_indexes", self.address.collection):
            self._index_codes(index or CLUSTER_INDEXES[0], num_clips)
        self.load()

    def change_index(self, index: str, *, num_clips: int) -> None:
        """Let something else search the codes; for a moment nothing can be searched."""
        name = self.address.collection
        self._call("release_collection", name)
        for each in self._call("list_indexes", name):
            self._call("drop_index", name, each)
        self._index_codes(index, num_clips)
        self.load()

    def _index_codes(self, index: str, num_clips: int) -> None:
        wanted: dict[str, Any] = {"index_type": "BIN_FLAT"}
        if index == "ivf":
            num_lists = int(LISTS_PER_ROOT * math.sqrt(min(num_clips, CODES_PER_SEGMENT)))
            wanted = {"index_type": "BIN_IVF_FLAT", "params": {"nlist": min(max(1, num_lists), MAX_LISTS)}}
        self._call("create_index", self.address.collection, self._new_index("code", **wanted), timeout=LOAD_SECONDS)

    def load(self) -> None:
        """Have both in the memory of the servers, and note what searches the codes.

        Raises:
            GalleryError: they were never made ready.
        """
        for name in (self.address.videos, self.address.collection):
            if not self._call("list_indexes", name):
                raise self.cut_off()
            if str(self._call("get_load_state", name)["state"]) != "Loaded":
                self._call("load_collection", name, timeout=LOAD_SECONDS)
        self._note_index()

    def cut_off(self) -> GalleryError:
        """Return what is said of a copy of which nothing is known yet."""
        return GalleryError(f"'{self.address}' is empty, its push was cut off: run `c3dhash gallery push` again.")

    def _note_index(self) -> None:
        """Note what searches the codes now."""
        found = self._call("describe_index", self.address.collection, "code")
        self.index = "ivf" if found["index_type"] == "BIN_IVF_FLAT" else "flat"
        self.num_lists = int(found.get("nlist", 1))

    # What is known about all

    def read(self, row: int, *, strong: bool = False) -> dict[str, Any] | None:
        """Return what STATE_ROW or FACTS_ROW holds."""
        rows = self.videos(f"id == {row}", ("facts",), strong=strong)
        return dict(json.loads(rows[0]["facts"])) if rows else None

    def write(self, row: int, content: dict[str, Any]) -> None:
        """Let one of these hold something else.

        Raises:
            GalleryError: it is more than a field can hold.
        """
        text = json.dumps(content, ensure_ascii=False)
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise GalleryError(
                f"what is known about the gallery takes {len(text.encode()):,} bytes, and Milvus holds "
                f"{MAX_TEXT_BYTES:,} of it: index fewer folders, or ones above them, into it."
            )
        empty = dict.fromkeys(VIDEO_TEXTS, "") | dict.fromkeys(VIDEO_NUMBERS, 0)
        self._call("upsert", self.address.videos, [{**empty, "id": row, "facts": text, "none": b"\0"}])

    # Reading

    def videos(self, which: str, fields: Sequence[str], *, strong: bool = False) -> list[dict[str, Any]]:
        """Return the rows of videos that an expression chooses, by rising ids."""
        found = self._call("query", self.address.videos, filter=which, output_fields=["id", *fields],
                           consistency_level=_level(strong))  # fmt: skip
        return sorted(map(dict, found), key=lambda row: row["id"])

    def num_videos(self, which: str) -> int:
        """Count the videos that an expression chooses."""
        (row,) = self._call("query", self.address.videos, filter=which, output_fields=["count(*)"],
                            consistency_level=_level(False))  # fmt: skip
        return int(row["count(*)"])

    def clips(self, ids: Sequence[int]) -> dict[int, tuple[int, float, float, bytes]]:
        """Return video, start, end and code of clips, by their ids; those that are not there are not in it."""
        found = {}
        for clip_id, row in self.clip_rows(ids, ("video", "start_seconds", "end_seconds", "code")).items():
            code = row["code"]
            told = row["video"], row["start_seconds"], row["end_seconds"]
            found[clip_id] = (*told, code[0] if isinstance(code, list) else code)
        return found

    def clip_rows(self, ids: Sequence[int], fields: Sequence[str]) -> dict[int, dict[str, Any]]:
        """Return fields of clips, by their ids; those that are not there are not in it."""
        rows: list[Any] = []
        for some in blocks(ids, MOST_ROWS):
            rows += self._call("query", self.address.collection, filter=any_of("id", some),
                               output_fields=["id", *fields], consistency_level=_level(False))  # fmt: skip
        return {int(row["id"]): row for row in rows}

    def wait(self) -> None:
        """Wait until every clip that was written is seen by all who search."""
        self._call("query", self.address.collection, filter="id == 0", output_fields=["id"],
                   consistency_level=_level(True))  # fmt: skip

    # Searching

    def nearest(
        self,
        codes: np.ndarray,
        *,
        limit: int,
        which: str = "",
        radius: int | None = None,
        looked_at: int | None = None,
    ) -> list[Near]:
        """Return the nearest codes of each query, at most `limit`, by rising distance.

        Args:
            codes: uint8 [Q, ceil(hash_length / 8)].
            which: an expression about clips.
            radius: bits; those that are farther are left out.
            looked_at: how many lists are looked through, in the place of the attribute.
        """
        parameters: dict[str, Any] = {} if radius is None else {"radius": radius + 1}
        if self.index == "ivf":
            usual = self.looked_at or math.ceil(LISTS_LOOKED_AT * self.num_lists)
            parameters["nprobe"] = min(looked_at or usual, self.num_lists)
        found: list[Near] = []
        for some in blocks([code.tobytes() for code in codes], QUERIES_AT_A_TIME):
            answers = self._call(
                "search", self.address.collection, some, limit=limit, anns_field="code", filter=which,
                output_fields=["video"], search_params={"metric_type": "HAMMING", "params": parameters},
                consistency_level=_level(False),
            )  # fmt: skip
            found += [
                Near(
                    np.array([hit["distance"] for hit in hits], np.float64).round().astype(np.int64),
                    np.array([hit["id"] for hit in hits], np.int64),
                    np.array([hit["entity"]["video"] for hit in hits], np.int64),
                )
                for hits in answers
            ]
        return found

    def searched_with(self, looked_at: int) -> Search:
        """Return a search of one code, as `recall.choose_elsewhere` takes it, that looks through so many lists."""

        def search(codes: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
            distances, ids = np.full((1, num), NO_DISTANCE, np.int32), np.full((1, num), NO_ID, np.int64)
            (near,) = self.nearest(codes, limit=num, looked_at=looked_at)
            distances[0, : len(near.ids)], ids[0, : len(near.ids)] = near.distances, near.ids
            return distances, ids

        return search

    def within(self, codes: np.ndarray, *, radius: int, last_id: int) -> list[Near]:
        """Return all codes within a radius of each query.

        Args:
            last_id: the highest id of a clip.
        """
        if radius < 0:
            return [Near(*(np.empty(0, np.int64),) * 3)] * len(codes)
        found = self.nearest(codes, limit=FEW_FOUND, radius=radius)
        for place, near in enumerate(found):
            if len(near.ids) == FEW_FOUND:
                parts = list(self._all_within(codes[place : place + 1], radius, 0, last_id + 1))
                found[place] = Near(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        return found

    def _all_within(self, code: np.ndarray, radius: int, low: int, high: int) -> Iterable[Near]:
        """Yield all codes within a radius that have ids from low up to, and without, high."""
        (near,) = self.nearest(code, limit=MOST_ROWS, radius=radius, which=f"id >= {low} and id < {high}")
        if len(near.ids) < MOST_ROWS or high - low <= MOST_ROWS:
            yield near
            return
        middle = (low + high) // 2
        yield from self._all_within(code, radius, low, middle)
        yield from self._all_within(code, radius, middle, high)

    # Writing

    def insert(self, name: str, rows: list[dict[str, Any]]) -> None:
        self._call("insert", name, rows)

    def update_videos(self, rows: list[dict[str, Any]]) -> None:
        self._call("upsert", self.address.videos, rows)

    def delete(self, name: str, which: str) -> None:
        self._call("delete", name, filter=which)

    def settle(self) -> bool:
        """Have the clips that were written put into files and indexed, which are searched several times as fast.

        Returns:
            Whether searches go by lists: with ivf that is waited for.
        """
        self._call("flush", self.address.collection, timeout=LOAD_SECONDS)
        end = time.monotonic() + LOAD_SECONDS
        while self.index == "ivf" and time.monotonic() < end:
            found = self._call("describe_index", self.address.collection, "code")
            parts = self._call("list_loaded_segments", self.address.collection)
            in_lists = [part.num_rows for part in parts if part.index_name or part.num_rows < LEAST_IN_LISTS]
            if len(in_lists) == len(parts) and sum(in_lists) >= int(found["total_rows"]):
                return True
            time.sleep(INDEX_SECONDS)
        return False


def arrays_of(clips: Sequence[tuple[int, float, float, bytes]], *, hash_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes, uint8 [N, width], and the times, float64 [N, 2], of clips as of `Tables.clips`."""
    codes = np.frombuffer(b"".join(clip[3] for clip in clips), np.uint8)
    times = np.array([clip[1:3] for clip in clips], np.float64).reshape(-1, 2)
    return codes.reshape(len(clips), num_code_bytes(hash_length)), times


def blocks(values: Sequence[Any], size: int) -> Iterable[list[Any]]:
    """Yield some values at a time."""
    for start in range(0, len(values), size):
        yield list(values[start : start + size])


def find_tables(connection: Connection) -> Tables | None:
    """Return the collections of an address; None where there are none.

    Raises:
        GalleryError: what lies there is no gallery, or half of one.
    """
    address = connection.address
    of_clips, of_videos = (_found(connection, name) for name in (address.collection, address.videos))
    if of_clips is None:
        return None
    if of_videos is None:
        raise GalleryError(
            f"'{address}' is half a gallery: collection '{address.videos}' is gone; drop '{address.collection}', then "
            "push again."
        )
    if of_videos.mark != of_clips.mark:
        raise GalleryError(
            f"'{address}' is no gallery: '{address.collection}' and '{address.videos}' are of two; name another "
            "collection."
        )
    return Tables(connection, of_clips.mark, made=(of_clips.collection_id, of_videos.collection_id))


class _Found(NamedTuple):
    """A collection of ours."""

    mark: Mark
    collection_id: int


def _found(connection: Connection, name: str) -> _Found | None:
    """Return the mark of a collection; None where there is none of this name.

    Raises:
        GalleryError: it is not ours, of another version, or has other fields.
    """
    if not connection.call("has_collection", name):
        return None
    found = connection.call("describe_collection", name)
    text = found.get("description", "")
    try:
        content = json.loads(text.removeprefix(MARK)) if text.startswith(MARK) else {}
        version, mark = content.pop("version", 0), None
        mark = Mark(**content) if version == VERSION else None
    except (ValueError, TypeError, AttributeError):
        version, mark = 0, None
    if version > VERSION:
        raise GalleryError(f"'{connection.address}' is of a newer c3dhash (version {version}): update c3dhash.")
    is_videos = name == connection.address.videos
    fields = {field["name"]: field for field in found["fields"]}
    if mark is None or set(fields) != (VIDEO_FIELDS if is_videos else CLIP_FIELDS):
        raise GalleryError(
            f"collection '{name}' of '{connection.address}' is no gallery of c3dhash (it has "
            f"{', '.join(sorted(fields))}), and left as it is: name another one."
        )
    return _Found(mark, int(found["collection_id"]))


def make_tables(connection: Connection, mark: Mark) -> Tables:
    """Make the collections of an address. What is left of a gallery without clips, as a kill leaves it, is made anew.

    Raises:
        GalleryError: what is left is of another gallery.
    """
    address, types = connection.address, connection.types
    width = 8 * num_code_bytes(mark.hash_length)
    left = _found(connection, address.videos)
    if left is not None and left.mark != mark:
        raise GalleryError(
            f"collection '{address.videos}' of '{address}' is of another gallery, and left as it is: name another one."
        )
    if left is not None:
        connection.call("drop_collection", address.videos)
    schema = connection.new_schema(mark.description())
    schema.add_field("id", types.INT64, is_primary=True)
    for field in VIDEO_NUMBERS:
        schema.add_field(field, types.INT64)
    for field in VIDEO_TEXTS:
        schema.add_field(field, types.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field("none", types.BINARY_VECTOR, dim=8)  # without a vector there is no collection
    connection.call("create_collection", address.videos, schema=schema)
    schema = connection.new_schema(mark.description())
    schema.add_field("id", types.INT64, is_primary=True)
    schema.add_field("video", types.INT64)
    for field in ("start_seconds", "end_seconds"):
        schema.add_field(field, types.DOUBLE)
    schema.add_field("code", types.BINARY_VECTOR, dim=width)
    connection.call("create_collection", address.collection, schema=schema)
    return Tables(connection, mark)


def check_index(index: str | None) -> None:
    """Raise a UsageError where nothing of this name searches codes in Milvus."""
    if index is not None and index not in CLUSTER_INDEXES:
        raise UsageError(f"index ({index!r}) must be one of {', '.join(CLUSTER_INDEXES)}.")


def _level(strong: bool) -> str:
    """Return how much of what others wrote must be seen: all of it, or all but that of the last moment."""
    return "Strong" if strong else "Bounded"
