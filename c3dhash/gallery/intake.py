"""Entries -> a gallery, in transactions of bounded size: what is there already is left, what differs is told.

A kill at any moment leaves whole videos, those of the finished transactions; the same entries once more add the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

from c3dhash.bits import num_code_bytes
from c3dhash.gallery.checksums import codes_checksum
from c3dhash.gallery.entries import Entry
from c3dhash.gallery.reader import open_reader
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch

CLIPS_PER_TRANSACTION = 20_000  # and a video: one that has more is one transaction
VIDEOS_PER_TRANSACTION = 1_000


@dataclass
class Intake:
    """What was taken in, in videos. clips: codes that were written. conflicts: of each video that was refused, why."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    clips: int = 0
    conflicts: list[str] = field(default_factory=list)


def take_in(
    gallery: Gallery,
    entries: Iterable[Entry],
    *,
    intake: Intake,
    replace: bool = False,
    known_as: Callable[[Entry], str] = lambda entry: entry.video,
    on_video: Callable[[], object] = lambda: None,
) -> None:
    """Add videos to a gallery as its one writer.

    A video that the gallery has under the same name, of the same content and with the same codes, is left as it is. One
    of other content or codes is refused, or, with `replace`, replaced.

    Args:
        entries: with codes of the gallery's length, each name once.
        intake: is filled in, after each transaction.
        known_as: gives the name under which the gallery may have the file of an entry.
        on_video: called for each entry.
    Raises:
        CodesError: codes of another length, or a name that cannot be stored.
        GalleryError: another process writes, or the catalog cannot be written.
    """
    with gallery.writing():
        with open_reader(gallery.path) as reader:
            known = {row.video: (row.content_hash, row.checksum) for row in reader.videos().values()}
        waiting: list[tuple[str, Entry, CodeBatch]] = []
        num_clips = 0
        for entry in entries:
            codes, name = batch_of(entry, hash_length=gallery.hash_length), known_as(entry)
            state = (entry.content_hash, codes_checksum(codes))
            if known.get(name) == state:
                intake.unchanged += 1
            elif name in known and not replace:
                what = "codes" if known[name][0] == entry.content_hash else "content"
                intake.conflicts.append(f"'{name}' is in gallery '{gallery.path}' with other {what}")
            else:
                waiting.append((name if name in known else entry.video, entry, codes))
                num_clips += len(codes.codes)
            if num_clips >= CLIPS_PER_TRANSACTION or len(waiting) >= VIDEOS_PER_TRANSACTION:
                _write(gallery, waiting, known, intake)
                waiting, num_clips = [], 0
            on_video()
        _write(gallery, waiting, known, intake)


def batch_of(entry: Entry, *, hash_length: int) -> CodeBatch:
    """Return the codes of an entry for a gallery.

    Raises:
        CodesError: they have another length.
    """
    codes = entry.codes if len(entry.codes) else entry.codes.reshape(0, num_code_bytes(hash_length))
    return CodeBatch(codes, hash_length, entry.start_seconds, entry.end_seconds)


def _write(
    gallery: Gallery, waiting: list[tuple[str, Entry, CodeBatch]], known: Container[str], intake: Intake
) -> None:
    """Write videos in one transaction."""
    if not waiting:
        return
    with gallery.editing() as edits:
        for name, entry, codes in waiting:
            edits.add(
                name, codes, content_hash=entry.content_hash, size_bytes=entry.size_bytes, mtime_ns=entry.mtime_ns,
                label=entry.label, root=entry.root if name == entry.video else None, added_at=entry.added_at or None,
            )  # fmt: skip
            if entry.missing_since is not None:
                edits.mark_missing(name, since=entry.missing_since)
    for name, _, codes in waiting:
        intake.replaced += name in known
        intake.added += name not in known
        intake.clips += len(codes.codes)
