"""A gallery on a disk -> its copy in Milvus: what is there already is left alone, what is gone here goes there.

Note [Killed at any moment]
    Both sides are compared in blocks of clip ids. Before a block is changed, it is noted that it is; videos that go
    leave the answers before their clips do, and those that come are in the answers after their clips. So after a kill
    there may be clips of one block that belong to no video, which no answer has: the next push deletes them first.

Note [One who pushes]
    Milvus has no locks. Who pushes notes so, and again every few seconds; a push that finds another one that was heard
    of within LEASE_SECONDS is refused, unless that was a process of this machine that is gone. Two that begin at one
    moment may both see nobody: the one that noted it last goes on, the other ends before its next block. As both copy
    one gallery, what they wrote is the same.
"""

from __future__ import annotations

import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from c3dhash.cluster.address import Address
from c3dhash.cluster.connection import MOST_ROWS, Connection
from c3dhash.cluster.expressions import any_of, stored_label
from c3dhash.cluster.tables import (
    FACTS_ROW,
    STATE_ROW,
    Mark,
    Tables,
    blocks,
    check_index,
    find_tables,
    make_tables,
)
from c3dhash.errors import GalleryError, ModelMismatchError
from c3dhash.files import is_running
from c3dhash.gallery.outgoing import Outgoing, OutgoingVideo, open_outgoing
from c3dhash.gallery.store import Gallery

BLOCK_IDS = 50_000  # clips, about, that are compared at a time
CLIPS_AT_A_TIME, VIDEOS_AT_A_TIME = 10_000, 2_000  # that are sent
GROWN = 2  # times as many clips, of which it is measured again how many lists a search must look through
# Recall of the ten nearest that is looked for. What takes the time is elsewhere: of a million codes around centres,
# searches of 3 ms had 0.66 of the hundred nearest with a target of 0.95, and 0.997 with an eighth of the lists in 3.9.
TARGET = 0.995
LEAST_SHARE_POWER = 8  # of all lists a half to the power of that at the least
LEASE_SECONDS = 60.0
BEAT_SECONDS = 5.0
ROW_FIELDS = ("num_clips", "root_id", "path", "label", "content_hash", "size_bytes", "mtime_ns", "added_at", "checksum")


@dataclass
class PushReport:
    """How many videos came, went, changed but for their codes, or were there; and the clips that were sent.

    recall: of a copy with ivf, what its searches find: see c3dhash.gallery.recall.
    """

    added: int = 0
    removed: int = 0
    updated: int = 0
    unchanged: int = 0
    clips: int = 0
    recall: float | None = None


def push_gallery(
    gallery: Gallery,
    address: Address,
    *,
    index: str | None = None,
    on_videos: Callable[[int], object] = lambda num: None,
) -> PushReport:
    """Bring a copy of a gallery in Milvus up to date, as the gallery is at this moment; the copy is made where need be.

    Args:
        gallery: is only read.
        index: what searches the copy, of config.CLUSTER_INDEXES; None for what does, or the first of them.
        on_videos: called with how many videos were compared, and sent where they differ.
    Raises:
        UsageError: another index, or pymilvus is not installed.
        GalleryError: no server, what lies there is no gallery or that of another one, or another push is under way.
        ModelMismatchError: it holds the codes of another model.
    """
    check_index(index)
    with open_outgoing(gallery) as outgoing:
        mark = Mark(outgoing.identity, gallery.model_fingerprint, gallery.hash_length)
        connection = Connection(address)
        try:
            tables = find_tables(connection)
            if tables is None:
                tables = make_tables(connection, mark)
            _check_mark(tables, mark, gallery)
            tables.make_ready(index=index, num_clips=outgoing.num_clips)
            return _Push(tables, outgoing, gallery).run(index, on_videos)
        finally:
            connection.close()


def _check_mark(tables: Tables, mark: Mark, gallery: Gallery) -> None:
    """Raise unless a collection is of this gallery, and of its model."""
    own = tables.mark
    if (own.model, own.hash_length) != (mark.model, mark.hash_length):
        raise ModelMismatchError(
            f"'{tables.address}' holds {own.hash_length}-bit codes of model {own.model[:8]}…, gallery '{gallery.path}' "
            f"{mark.hash_length}-bit ones of {mark.model[:8]}…: name another collection."
        )
    if own.gallery != mark.gallery:
        raise GalleryError(
            f"'{tables.address}' is the copy of another gallery than '{gallery.path}': name another collection, or "
            "merge the galleries first (c3dhash gallery merge)."
        )


class _Push:
    """One push, by one process."""

    def __init__(self, tables: Tables, outgoing: Outgoing, gallery: Gallery) -> None:
        self._tables, self._outgoing, self._gallery, self._report = tables, outgoing, gallery, PushReport()
        self._looked_at: dict[str, Any] = {}  # how many lists a search looks through, and what was measured of that
        self._writer: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "at": 0.0,
        }

    def run(self, index: str | None, on_videos: Callable[[int], object]) -> PushReport:
        tables, outgoing = self._tables, self._outgoing
        before = tables.read(STATE_ROW, strong=True) or {}
        self._check_alone(before)
        self._last_id = max(outgoing.last_id, int(before.get("last_id", 0)))
        self._looked_at = before.get("looked_at", {})
        self._note(before.get("open"))
        if index not in (None, tables.index):
            tables.change_index(index, num_clips=outgoing.num_clips)
            self._looked_at = {}
        if before.get("open"):
            self._clean(*before["open"])
        tables.write(FACTS_ROW, {**outgoing.facts, "num_videos": outgoing.num_videos, "num_clips": outgoing.num_clips})
        for low in range(1, self._last_id + 1, BLOCK_IDS):
            ours = outgoing.videos(low, low + BLOCK_IDS)
            self._bring_up(ours, low, low + BLOCK_IDS)
            on_videos(len(ours))
        self._check_ours()
        tables.wait()
        self._note_complete()
        is_much = self._report.clips >= CLIPS_AT_A_TIME
        has_grown = outgoing.num_clips >= GROWN * self._looked_at.get("num_clips", 0)
        if (is_much or (tables.index == "ivf" and has_grown)) and tables.settle():
            self._choose_lists()
            self._note_complete()
        self._report.recall = self._looked_at.get("recall")
        return self._report

    def _note_complete(self) -> None:
        told = {"state": list(self._outgoing.state), "last_id": self._outgoing.last_id, "is_complete": True}
        self._tables.write(STATE_ROW, {**told, "looked_at": self._looked_at})
        self._tables.videos("id == 0", ("id",), strong=True)  # as `Tables.wait`, of videos

    def _choose_lists(self) -> None:
        """Measure how many lists a search must look through."""
        tables, num_clips = self._tables, self._outgoing.num_clips
        if self._outgoing.num_videos < 2:
            return
        efforts = sorted({math.ceil(tables.num_lists / 2**power) for power in range(LEAST_SHARE_POWER + 1)})
        lists, recall = self._gallery.choose_effort(tables.searched_with, efforts, target=TARGET)
        self._looked_at = {"lists": lists, "recall": recall, "num_clips": num_clips}

    def _bring_up(self, ours: Sequence[OutgoingVideo], low: int, high: int) -> None:
        """Let the videos there be those here, of a block."""
        tables, report = self._tables, self._report
        theirs = {row["id"]: row for row in tables.videos(f"id >= {low} and id < {high}", ROW_FIELDS, strong=True)}
        rows = {video.first_id: _row(video) for video in ours}
        gone = [row for row in theirs.values() if not _has_codes(rows.get(row["id"]), row)]
        coming = [video for video in ours if not _has_codes(rows[video.first_id], theirs.get(video.first_id))]
        named = {video.first_id for video in coming}
        changed = [row for row in rows.values() if row["id"] not in named and not _is_same(row, theirs[row["id"]])]
        report.unchanged += len(ours) - len(coming) - len(changed)
        if gone or coming or changed:
            self._note([low, high])
            self._remove(gone)
            self._add(coming)
            for some in blocks(changed, VIDEOS_AT_A_TIME):
                tables.update_videos([{**row, "facts": "", "none": b"\0"} for row in some])
            report.added += len(coming)
            report.updated += len(changed)
            report.removed += sum(row["id"] not in rows for row in gone)
        elif time.time() - self._writer["at"] > BEAT_SECONDS:
            self._note(None)

    def _remove(self, gone: Sequence[dict[str, Any]]) -> None:
        for some in blocks([row["id"] for row in gone], MOST_ROWS):
            self._tables.delete(self._tables.address.videos, any_of("id", some))
        ids = [clip_id for row in gone for clip_id in range(row["id"], row["id"] + row["num_clips"])]
        for some in blocks(ids, MOST_ROWS):
            self._tables.delete(self._tables.address.collection, any_of("id", some))

    def _add(self, coming: Sequence[OutgoingVideo]) -> None:
        name, rows = self._tables.address.collection, []
        for video in coming:
            rows += _clip_rows(video, self._outgoing)
            if len(rows) >= CLIPS_AT_A_TIME:
                self._send(name, rows)
                rows = []
        self._send(name, rows)
        if coming:
            self._tables.wait()
        for some in blocks(coming, VIDEOS_AT_A_TIME):
            told = [{**_row(video), "facts": "", "none": b"\0"} for video in some]
            self._tables.insert(self._tables.address.videos, told)

    def _send(self, name: str, rows: list[dict[str, Any]]) -> None:
        for some in blocks(rows, CLIPS_AT_A_TIME):
            self._tables.insert(name, some)
        self._report.clips += len(rows)

    def _clean(self, low: int, high: int) -> None:
        """Delete the clips of a block that belong to no video: Note [Killed at any moment]."""
        known = [row["id"] for row in self._tables.videos(f"id >= {low} and id < {high}", ("id",), strong=True)]
        without = f" and not ({any_of('video', known)})" if known else ""
        self._tables.delete(self._tables.address.collection, f"video >= {low} and video < {high}{without}")

    # Note [One who pushes]

    def _check_alone(self, state: dict[str, Any]) -> None:
        writer = state.get("writer")
        if writer is None:
            return
        silent = time.time() - writer["at"]
        is_gone = writer["host"] == self._writer["host"] and not is_running(writer["pid"])
        if silent < LEASE_SECONDS and not is_gone:
            raise GalleryError(
                f"'{self._tables.address}' is being pushed to by process {writer['pid']} on {writer['host']}, last "
                f"heard of {max(0, silent):.0f} s ago: wait for it; one that was killed is passed over after "
                f"{LEASE_SECONDS:.0f} s."
            )

    def _check_ours(self) -> None:
        """Raise where another process noted since that it pushes."""
        state = self._tables.read(STATE_ROW, strong=True) or {}
        if (state.get("writer") or {}).get("id") != self._writer["id"]:
            raise GalleryError(f"another push to '{self._tables.address}' began: this one ends; what it did is kept.")

    def _note(self, block: list[int] | None) -> None:
        """Note that this process pushes, and which block it changes now."""
        if self._writer["at"]:
            self._check_ours()
        self._writer["at"] = time.time()
        self._tables.write(
            STATE_ROW,
            {
                "writer": self._writer, "open": block, "last_id": self._last_id, "is_complete": False,
                "looked_at": self._looked_at,
            },
        )  # fmt: skip


def _row(video: OutgoingVideo) -> dict[str, Any]:
    return {
        "id": video.first_id,
        **{name: getattr(video, name) for name in ROW_FIELDS},
        "label": stored_label(video.label),
    }


def _clip_rows(video: OutgoingVideo, outgoing: Outgoing) -> list[dict[str, Any]]:
    clips = outgoing.clips(video)
    times = zip(clips.start_seconds.tolist(), clips.end_seconds.tolist(), clips.codes, strict=True)
    return [
        {"id": clip_id, "video": video.first_id, "start_seconds": start, "end_seconds": end, "code": code.tobytes()}
        for clip_id, (start, end, code) in enumerate(times, video.first_id)
    ]


def _has_codes(row: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Tell whether two rows are of the same clips; either may be missing."""
    names = "num_clips", "checksum"
    return row is not None and other is not None and all(row[name] == other[name] for name in names)


def _is_same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(row[name] == other[name] for name in ROW_FIELDS)
