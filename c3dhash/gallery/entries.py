"""All that a gallery knows, a video at a time, as it is handed from one gallery or file to another.

catalog, damaged or not ──> Entry, Entry, ...  ──> a file (csv_files, npz_files, parquet_files) or another gallery
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from c3dhash.bits import num_code_bytes, spare_bits
from c3dhash.errors import CodesError
from c3dhash.gallery.checksums import clips_checksum
from c3dhash.gallery.reader import CLIP_TABLES, ClipRow, Reader, VideoRow
from c3dhash.gallery.roots import may_be_of
from c3dhash.urls import inside

FORMAT_VERSION = 1
VIDEO_FIELDS = ("video", "root", "label", "content_hash", "size_bytes", "mtime_ns", "added_at", "missing_since")


@dataclass(frozen=True, repr=False)
class Entry:
    """A video with its clips.

    codes: uint8 [N, width]. start_seconds, end_seconds: float64 [N]. The rest as in GalleryVideo; added_at "" for now.
    """

    video: str
    codes: np.ndarray
    start_seconds: np.ndarray
    end_seconds: np.ndarray
    root: str | None = None
    label: str | None = None
    content_hash: str = ""
    size_bytes: int = 0
    mtime_ns: int = 0
    added_at: str = ""
    missing_since: str | None = None

    def __repr__(self) -> str:
        return f"Entry({self.video!r}, codes uint8 {list(self.codes.shape)})"


def check_facts(entry: Entry, *, where: object) -> None:
    """Raise unless a gallery can store what is said of a video.

    Raises:
        CodesError: a text that is not UTF-8, a root that the video does not lie in, or a time that is none.
    """
    for text in (entry.video, entry.root or "", entry.label or "", entry.content_hash):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CodesError(f"'{where}' has text {text!r} that is not valid UTF-8: change it.") from error
    if entry.root is not None and (not may_be_of(entry.root, entry.video) or entry.video == inside(entry.root)):
        raise CodesError(
            f"'{where}' has video {entry.video!r} in root {entry.root!r}; a root is a folder (absolute) around it."
        )
    for name in ("added_at", "missing_since"):
        text = getattr(entry, name) or ""
        try:
            if text:
                datetime.fromisoformat(text)
        except ValueError as error:
            raise CodesError(
                f"'{where}' has {name} {text!r} of video {entry.video!r}; it must be as 2026-11-24T10:00:00+00:00."
            ) from error


@dataclass(frozen=True)
class Header:
    """What is known of all codes together; what a file does not say is None, "" or empty.

    run, engines: as of `Gallery`. not_matches: pairs of content hashes.
    """

    hash_length: int | None = None
    model_fingerprint: str = ""
    model_name: str = ""
    run: Mapping[str, Any] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    not_matches: Sequence[tuple[str, str]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "format_version": FORMAT_VERSION,
            "hash_length": self.hash_length,
            "model_fingerprint": self.model_fingerprint,
            "model_name": self.model_name,
            "run": dict(self.run),
            "engines": dict(self.engines),
            "not_matches": [list(pair) for pair in self.not_matches],
        }

    @classmethod
    def from_dict(cls, content: Any, *, path: object) -> Header:
        """Take JSON values from a file.

        Raises:
            CodesError: they are something else, or of a newer format.
        """
        if not isinstance(content, dict) or not isinstance(content.get("format_version"), int):
            raise CodesError(f"'{path}' has a header without format_version ({content!r}): export it again.")
        if content["format_version"] != FORMAT_VERSION:
            raise CodesError(
                f"'{path}' has format_version {content['format_version']}; this c3dhash reads {FORMAT_VERSION}: update."
            )
        kinds = {"hash_length": int, "model_fingerprint": str, "model_name": str, "run": dict, "engines": dict,
                 "not_matches": list}  # fmt: skip
        for name, kind in kinds.items():
            if not isinstance(content.get(name), kind):
                raise CodesError(f"'{path}' has {name} {content.get(name)!r} in its header: export it again.")
        num_code_bytes(content["hash_length"])
        pairs = content["not_matches"]
        if not all(isinstance(pair, list) and list(map(type, pair)) == [str, str] for pair in pairs):
            raise CodesError(f"'{path}' has not_matches in its header that are no pairs of texts: export it again.")
        values = {name: content[name] for name in kinds}
        return cls(**{**values, "not_matches": [(first, second) for first, second in pairs]})


def header_of(reader: Reader) -> Header:
    """Return what a catalog says of all its codes."""
    return Header(
        hash_length=reader.hash_length,
        model_fingerprint=reader.meta.get("model_fingerprint", ""),
        model_name=reader.meta.get("model_name", ""),
        run=reader.run,
        engines=reader.engines,
        not_matches=reader.not_matches(),
    )


@dataclass
class Losses:
    """What of a damaged catalog is not in the entries, or not as it was written.

    videos: what happened to the clips of each video. num_clips: that are lost, as far as is known. places: that cannot
    be read.
    """

    videos: dict[str, str] = field(default_factory=dict)
    num_clips: int = 0
    places: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.videos or self.num_clips or self.places)


def read_entries(reader: Reader, losses: Losses) -> Iterator[Entry]:
    """Yield the videos of a catalog with all clips that can be read, in the order in which they can be found.

    A video of which clips are lost or changed is yielded with the rest, as one whose file is not known: without content
    hash, size and time. `index` then encodes it again where the file is there.

    Args:
        losses: is filled in.
    """
    for entry in _all_entries(reader, losses):
        try:
            check_facts(entry, where=reader.directory)
        except CodesError:
            losses.videos[entry.video] = "what is said of it cannot be stored any more"
            losses.num_clips += len(entry.codes)
        else:
            yield entry
    losses.places = list(reader.damage)


def _all_entries(reader: Reader, losses: Losses) -> Iterator[Entry]:
    videos, done, names = reader.videos(), set(), {""}
    fits = _Fit(reader.hash_length)
    for table in CLIP_TABLES:
        for video_id, group in groupby(reader.clips(table), key=attrgetter("video_id")):
            rows = list(group)
            row = videos.get(video_id)
            if row is None or video_id in done or row.video in names:
                losses.num_clips += len(rows)
                continue
            done.add(video_id)
            names.add(row.video)
            clips = [clip for clip in rows if fits(clip)]
            losses.num_clips += max(0, row.num_clips - len(clips))
            is_whole = len(rows) == len(clips) == row.num_clips and _is_as_written(row, clips)
            if not is_whole:
                losses.videos[row.video] = f"{len(clips)} of {row.num_clips} clips saved"
            if clips:
                yield _entry(row, clips, fits.num_bytes, is_whole=is_whole)
    for video_id, row in videos.items():
        if video_id not in done and row.video not in names:
            names.add(row.video)
            if row.num_clips:
                losses.videos[row.video] = f"none of {row.num_clips} clips saved"
                losses.num_clips += max(0, row.num_clips)
            else:
                yield _entry(row, [], fits.num_bytes, is_whole=True)


class _Fit:
    """Tells whether a row is a clip that a gallery can take."""

    def __init__(self, hash_length: int) -> None:
        self.num_bytes = num_code_bytes(hash_length)
        self._spare_bits = spare_bits(hash_length)

    def __call__(self, clip: ClipRow) -> bool:
        return clip.is_clip(self.num_bytes) and not clip.code[-1] & self._spare_bits


def _is_as_written(row: VideoRow, clips: Sequence[ClipRow]) -> bool:
    return row.checksum is None or row.checksum == clips_checksum(clip[2:] for clip in clips)


def _entry(row: VideoRow, clips: Sequence[ClipRow], num_bytes: int, *, is_whole: bool) -> Entry:
    codes = np.frombuffer(b"".join(clip.code for clip in clips), np.uint8).reshape(len(clips), num_bytes)
    is_known = is_whole and isinstance(row.content_hash, str)
    return Entry(
        row.video,
        codes,
        np.array([clip.start_seconds for clip in clips], np.float64),
        np.array([clip.end_seconds for clip in clips], np.float64),
        root=row.root,
        label=row.label if isinstance(row.label, str) else None,
        content_hash=row.content_hash if is_known else "",
        size_bytes=row.size_bytes if is_known and isinstance(row.size_bytes, int) else 0,
        mtime_ns=row.mtime_ns if is_known and isinstance(row.mtime_ns, int) else 0,
        added_at=str(row.added_at or ""),
        missing_since=None if row.missing_since is None else str(row.missing_since),
    )
