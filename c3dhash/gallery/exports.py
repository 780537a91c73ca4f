"""A gallery -> a file with all that it knows, also what can be read of a damaged one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from c3dhash.errors import GalleryError, UsageError
from c3dhash.files import clear_leftovers, replacing
from c3dhash.gallery import csv_files, npz_files, parquet_files
from c3dhash.gallery.entries import Entry, Losses, header_of, read_entries
from c3dhash.gallery.reader import open_reader

FORMATS: dict[str, ModuleType] = {".csv": csv_files, ".npz": npz_files, ".parquet": parquet_files}


@dataclass(frozen=True)
class ExportReport:
    """What was written, and of a damaged gallery what could not be."""

    num_videos: int
    num_clips: int
    losses: Losses


def format_of(path: Path) -> ModuleType:
    """Return what reads and writes files of a name.

    Raises:
        UsageError: it ends in nothing that is known.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"'{path}' must end in {', '.join(FORMATS)}: the name says the format.")
    return FORMATS[path.suffix.lower()]


def export_gallery(gallery: Path, path: Path, *, on_video: Callable[[], object] = lambda: None) -> ExportReport:
    """Write all that a gallery knows at this moment: videos, missing ones too, their clips and codes, model, windows.

    Args:
        gallery: its folder; it is only read.
        path: a new file, whose name ends in .csv, .npz or .parquet.
        on_video: called for each video that is written.
    Raises:
        UsageError: the file is there already, or its name has another end.
        MissingExtraError: Parquet, where pyarrow is not installed.
        GalleryError: there is no gallery, nothing of it can be read, or the file cannot be written.
    """
    form = format_of(path)
    losses = Losses()
    num_videos = num_clips = 0

    def counted(entries: Iterable[Entry]) -> Iterator[Entry]:
        nonlocal num_videos, num_clips
        for entry in entries:
            yield entry
            num_videos, num_clips = num_videos + 1, num_clips + len(entry.codes)
            on_video()

    clear_leftovers(path.parent)
    try:
        with replacing(path, must_be_free=True) as partial, open_reader(gallery) as reader:
            form.write(partial, header_of(reader), counted(read_entries(reader, losses)))
    except OSError as error:
        raise GalleryError(
            f"'{path}' cannot be written ({error.strerror or error}): make room, or name another folder."
        ) from error
    return ExportReport(num_videos, num_clips, losses)
