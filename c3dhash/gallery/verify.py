"""A gallery -> what is wrong with it: the catalog against itself, and against the files that are there.

Nothing is written. What is damaged is told apart from files that are gone or changed, for which there is `index`.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from c3dhash.bits import num_code_bytes, spare_bits
from c3dhash.errors import VideoError
from c3dhash.gallery.checksums import clips_checksum
from c3dhash.gallery.contents import hash_files
from c3dhash.gallery.migrations import MIGRATIONS
from c3dhash.gallery.reader import CLIP_TABLES, ClipRow, Reader, VideoRow, open_reader
from c3dhash.gallery.store import Gallery
from c3dhash.urls import is_url

FAULTS = ("damage", "bytes")  # kinds of findings that say that something is wrong
MAX_LINES = 100  # of SQLite's own check
SAVE = "`c3dhash gallery export` saves what can be read"
AGAIN = "take it out (`c3dhash gallery remove`) and index it again"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    kind: "damage", "bytes", "gone", "changed", "back" or "unreadable", as `c3dhash gallery verify --help` explains.
    video: of which video, or None. text: what, and what to do.
    """

    kind: str
    video: str | None
    text: str


@dataclass
class Verification:
    """What was looked at, and what was found. has_checksums: not so in a gallery of a schema before them."""

    num_videos: int = 0
    num_clips: int = 0
    num_files: int = 0
    has_checksums: bool = True
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged, be files gone or changed."""
        return not any(finding.kind in FAULTS for finding in self.findings)


@dataclass
class _Work:
    """What the checks share."""

    reader: Reader
    contents: bool
    workers: int
    on_step: Callable[[str, int], object]
    result: Verification
    videos: dict[int, VideoRow] = field(default_factory=dict)


def verify_gallery(
    gallery: Path,
    *,
    contents: bool = False,
    workers: int = 2,
    on_step: Callable[[str, int], object] = lambda stage, num: None,
) -> Verification:
    """Check a gallery: all CHECKS, each as far as what is damaged lets it.

    Args:
        gallery: its folder.
        contents: also read each file that is there.
        workers: threads that read files.
        on_step: called with what is looked at and how much of it since the last call.
    Raises:
        GalleryError: there is no gallery, or nothing of its catalog can be read.
    """
    with open_reader(gallery) as reader:
        work = _Work(reader, contents, workers, on_step, Verification())
        work.videos = reader.videos()
        work.result.num_videos, work.result.has_checksums = len(work.videos), reader.schema >= 4
        for check in CHECKS:
            try:
                work.result.findings.extend(check(work))
            except sqlite3.DatabaseError as error:
                if "locked" in str(error):
                    raise
                work.result.findings.append(
                    Finding("damage", None, f"SQLite cannot read the catalog ({error}): {SAVE}.")
                )
        for place in reader.damage:
            work.result.findings.append(Finding("damage", None, f"{place} cannot be read: {SAVE}."))
    return work.result


def _check_database(work: _Work) -> Iterator[Finding]:
    """Let SQLite check its own file: pages, indexes, and rows that belong to others."""
    work.on_step("Checking the database", 0)
    for (text,) in work.reader.rows(f"PRAGMA integrity_check({MAX_LINES})"):
        if text != "ok":
            yield Finding("damage", None, f"SQLite says: {' '.join(text.split())}: {SAVE}.")
    lost = Counter((row[0], row[2]) for row in work.reader.rows("PRAGMA foreign_key_check"))
    for (table, parent), num_rows in lost.items():
        yield Finding("damage", None, f"{num_rows} rows of table {table} belong to no {parent}: {SAVE}.")


def _check_clips(work: _Work) -> Iterator[Finding]:
    """Compare the clips of each video with its checksum and with what is said of them."""
    num_bytes, seen = num_code_bytes(work.reader.hash_length), set()
    for table in CLIP_TABLES:
        for video_id, group in groupby(work.reader.clips(table), key=attrgetter("video_id")):
            clips = list(group)
            work.result.num_clips += len(clips)
            work.on_step("Checking clips", len(clips))
            row = work.videos.get(video_id)
            if row is None:
                yield Finding("damage", None, f"clips {clips[0].id} to {clips[-1].id} belong to no video: {SAVE}.")
            elif problem := _problem(row, clips, table, is_again=video_id in seen, num_bytes=num_bytes, work=work):
                yield Finding("damage", row.video, f"'{row.video}': {problem}: {AGAIN}.")
            seen.add(video_id)
    for video_id, row in work.videos.items():
        if row.num_clips and video_id not in seen:
            yield Finding("damage", row.video, f"'{row.video}': none of its {row.num_clips} clips is there: {AGAIN}.")


def _problem(
    row: VideoRow, clips: Sequence[ClipRow], table: str, *, is_again: bool, num_bytes: int, work: _Work
) -> str | None:
    """Say what is wrong with the clips of a video that follow each other; None where nothing is."""
    wrong = next((clip for clip in clips if not clip.is_clip(num_bytes)), None)
    if wrong is not None:
        width = f"a code of {len(wrong.code)} bytes" if isinstance(wrong.code, bytes) else "no code"
        return f"clip {wrong.id} has {width}, or times that are none; {num_bytes} bytes and rising numbers are right"
    if is_again or clips[-1].id - clips[0].id + 1 != len(clips):
        return f"its clips do not follow each other at id {clips[0].id}"
    if (table == "missing_clip") != (row.missing_since is not None):
        return f"its clips are in table {table}, but it is {'not ' * (row.missing_since is None)}missing"
    if len(clips) != row.num_clips:
        return f"it has {len(clips)} clips, {row.num_clips} were written"
    if (spare := spare_bits(work.reader.hash_length)) and any(clip.code[-1] & spare for clip in clips):
        return f"a code has bits beyond its {work.reader.hash_length}"
    if row.checksum is not None and clips_checksum(clip[2:] for clip in clips) != row.checksum:
        return "its clips are not those that were written (checksum)"
    return None


def _check_files(work: _Work) -> Iterator[Finding]:
    """Compare what was noted about files with those that are there; names that other programs gave are no files."""
    by_root: dict[str, list[VideoRow]] = {}
    for row in work.videos.values():
        if row.root is not None or (os.path.isabs(row.video) and row.mtime_ns):
            by_root.setdefault(row.root or "", []).append(row)
    to_read: list[tuple[VideoRow, bool]] = []  # and whether size and time are as noted
    for root, rows in by_root.items():
        if is_url(root):
            text = f"{len(rows)} videos of '{root}' are on a server and were not looked at: `c3dhash index` does that."
            yield Finding("unreadable", None, text)
            continue
        if root and not os.path.isdir(root):
            if num_known := sum(row.missing_since is None for row in rows):
                text = f"folder '{root}' of {num_known} videos is not there: is its disk mounted?"
                yield Finding("gone", None, text)
            continue
        for row in rows:
            work.result.num_files += 1
            work.on_step("Looking at files", 1)
            finding = _look(row)
            can_be_read = finding.kind == "changed" if finding else row.missing_since is None
            if work.contents and can_be_read and row.content_hash:
                to_read.append((row, finding is None))
            elif finding:
                yield finding
    yield from _read(work, to_read)


def _look(row: VideoRow) -> Finding | None:
    """Look at a file without reading it; None where it is as noted."""
    name = row.video
    try:
        facts = os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        if row.missing_since is not None:
            return None
        return Finding("gone", name, f"'{name}' is not there: `c3dhash index` follows it, or marks it missing.")
    except (OSError, ValueError) as error:
        return Finding("unreadable", name, f"'{name}' cannot be looked at: {error}.")
    if row.missing_since is not None:
        return Finding("back", name, f"'{name}' is there again: `c3dhash index` takes it in.")
    if (facts.st_size, facts.st_mtime_ns) == (row.size_bytes, row.mtime_ns):
        return None
    what = f"{facts.st_size} bytes, {row.size_bytes} were noted" if facts.st_size != row.size_bytes else "a new time"
    return Finding("changed", name, f"'{name}' has {what}: `c3dhash index` looks at it again.")


def _read(work: _Work, rows: Sequence[tuple[VideoRow, bool]]) -> Iterator[Finding]:
    """Compare the bytes of files."""
    digests = hash_files((row.video for row, _ in rows), workers=work.workers)
    for (row, is_as_noted), digest in zip(rows, digests, strict=True):
        work.on_step("Reading files", 1)
        if isinstance(digest, VideoError):
            yield Finding("unreadable", row.video, str(digest))
        elif digest != row.content_hash and is_as_noted:
            text = f"'{row.video}' has other bytes at the same size and time: restore it, or touch it and index again."
            yield Finding("bytes", row.video, text)
        elif digest != row.content_hash:
            yield Finding("changed", row.video, f"'{row.video}' has other bytes: `c3dhash index` encodes it again.")


def _check_copy(work: _Work) -> Iterator[Finding]:
    """Compare the codes that are searched in with those of the catalog, where that is sound and up to date."""
    if work.reader.schema < len(MIGRATIONS) or not work.result.is_sound:
        return
    work.on_step("Checking the codes to search in", 0)
    with Gallery.open(work.reader.directory) as gallery:
        problems = [gallery.problem_of_codes_file(), gallery.problem_of_approximate_file()]
    for problem in filter(None, problems):
        yield Finding("damage", None, f"{problem.rstrip('.')}: delete it, and it is made again.")


# What is looked at, in this order. Each may raise sqlite3.DatabaseError where the catalog is damaged.
CHECKS: tuple[Callable[[_Work], Iterator[Finding]], ...] = (_check_database, _check_clips, _check_copy, _check_files)
