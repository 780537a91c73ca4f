"""Other galleries -> this one: videos, labels, roots, notes. They are opened for reading only, and do not change."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from c3dhash.errors import GalleryError, ModelMismatchError, UsageError
from c3dhash.gallery.entries import Entry, Losses, header_of, read_entries
from c3dhash.gallery.intake import Intake, take_in
from c3dhash.gallery.reader import Reader, open_reader
from c3dhash.gallery.scan import RealNames
from c3dhash.gallery.store import Gallery
from c3dhash.gallery.windows import check_same_windows


def merge_galleries(
    gallery: Gallery,
    others: Sequence[Path],
    *,
    replace: bool = False,
    on_video: Callable[[], object] = lambda: None,
) -> Intake:
    """Take the videos of other galleries in, in their order.

    A file that several have is there once, also where they reach it through other links; its first codes count, and
    others of another content are refused, or with `replace` taken. Folders are those where the others find their videos
    now. After a kill the same call goes on.

    Args:
        gallery: is written to, by nobody else meanwhile.
        others: folders of galleries of the same model and windows.
        on_video: called for each video of the others.
    Raises:
        UsageError: one of them is the gallery itself, or there is none.
        ModelMismatchError: another model, length or windows; nothing was merged yet.
        GalleryError: another gallery is damaged; videos before the damage may have come in.
    """
    if not others:
        raise UsageError("name one or more galleries to merge into this one.")
    for other in others:  # before anything is written
        with open_reader(other) as reader:
            _check(gallery, reader, other)
    intake = Intake()
    with gallery.writing():
        for other in others:
            with open_reader(other) as reader:
                _check(gallery, reader, other)
                _merge(gallery, reader, other, intake=intake, replace=replace, on_video=on_video)
        gallery.settle_search()
    return intake


def _check(gallery: Gallery, reader: Reader, other: Path) -> None:
    """Raise unless a gallery is another one, and its codes compare with those of this one."""
    if os.path.samefile(gallery.path, other):
        raise UsageError(f"'{other}' is gallery '{gallery.path}' itself: name others to merge into it.")
    header = header_of(reader)
    if (header.model_fingerprint, header.hash_length) != (gallery.model_fingerprint, gallery.hash_length):
        raise ModelMismatchError(
            f"gallery '{gallery.path}' holds {gallery.hash_length}-bit codes of model {gallery.model_fingerprint[:8]}…,"
            f" '{other}' {header.hash_length}-bit codes of model {header.model_fingerprint[:8]}…: their codes do not "
            "compare; index the videos of one again."
        )
    check_same_windows(gallery, header.run, name=other)


def _merge(
    gallery: Gallery, reader: Reader, other: Path, *, intake: Intake, replace: bool, on_video: Callable[[], object]
) -> None:
    losses, known = Losses(), _KnownFiles(gallery)
    take_in(gallery, read_entries(reader, losses), intake=intake, replace=replace, known_as=known, on_video=on_video)
    header = header_of(reader)
    gallery.note_engines(header.engines)
    if header.not_matches:
        gallery.note_not_matches(header.not_matches)
    if losses:
        first = next(iter(losses.videos), None) or next(iter(losses.places), "clips without a video")
        raise GalleryError(
            f"gallery '{other}' is damaged (at '{first}'), and what could be read was merged: `c3dhash gallery verify "
            f"--gallery {other}` says more."
        )


class _KnownFiles:
    """Gives the name under which a gallery has the file of an entry: Note [One file, one name] in scan.py."""

    def __init__(self, gallery: Gallery) -> None:
        self._real_names = RealNames()
        videos = [*gallery.videos(), *gallery.missing_videos()]
        self._names = {self._real_names(video.video): video.video for video in videos if video.root}

    def __call__(self, entry: Entry) -> str:
        return self._names.get(self._real_names(entry.video), entry.video) if entry.root else entry.video
