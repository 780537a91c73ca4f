"""Data sets: recognise the layout of a folder and read it into one list of samples.

    READERS     name -> how to recognise a layout, how to read it

A reader turns lists into a Listing and knows nothing of what is on disk; `assemble` (assemble.py) finds the videos.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from c3dhash.datasets import ccv, folders, hmdb51, jhmdb, json_lists, kinetics, lists, ucf101
from c3dhash.datasets.assemble import Listing, assemble
from c3dhash.datasets.conventions import CONVENTIONS
from c3dhash.datasets.samples import Dataset
from c3dhash.datasets.splitting import carve_val
from c3dhash.errors import DatasetError, UsageError

__all__ = ["READERS", "Dataset", "carve_val", "find_dataset", "recognise"]

SEARCH_DEPTH = 3  # data/jhmdb/Frames/class/
NUM_SHOWN = 5  # names of a folder's content in an error


@dataclass(frozen=True)
class Reader:
    """How one layout is recognised and read, and a word on what it is."""

    recognise: Callable[[Path], bool]
    read: Callable[..., Listing]
    what: str


# In this order: published lists say more than list files, and those more than folders do.
READERS: dict[str, Reader] = {
    "ucf101": Reader(ucf101.recognise, ucf101.read, "UCF101 with ucfTrainTestlist/"),
    "jhmdb": Reader(jhmdb.recognise, jhmdb.read, "JHMDB with splits/"),
    "hmdb51": Reader(hmdb51.recognise, hmdb51.read, "HMDB51 with testTrainMulti_7030_splits/"),
    "ccv": Reader(ccv.recognise, ccv.read, "CCV with trainVidID.txt and trainLabel.txt"),
    "kinetics": Reader(kinetics.recognise, kinetics.read, "Kinetics with its csv files"),
    "json": Reader(json_lists.recognise, json_lists.read, "JSON lists of 3D-ResNets or ActivityNet"),
    **{
        name: Reader(
            partial(lists.recognise, convention=name),
            partial(lists.read, convention=name),
            f"list files with lines '{convention.form}'",
        )
        for name, convention in CONVENTIONS.items()
    },
    "folders": Reader(folders.recognise_videos, folders.read_videos, "class folders of videos"),
    "frame_folders": Reader(folders.recognise_frames, folders.read_frames, "class folders of frame folders"),
}


def recognise(directory: Path) -> str | None:
    """Return the name of the first reader that knows the layout of a folder, or None."""
    return next((name for name, reader in READERS.items() if reader.recognise(directory)), None)


def find_dataset(
    directory: Path | str, *, split: int = 1, format: str | None = None, allow_missing: bool = False
) -> Dataset:
    """Read the data set that a folder is, or the one that lies in it.

    Args:
        directory: a data set, or a folder with one data set in it.
        split: which of the official splits; of class folders, the seed of the own split.
        format: a key of READERS that decides how the folder is read; None recognises it by looking.
        allow_missing: leave out videos that are listed but not there, with a note, instead of an error.
    Raises:
        UsageError: no such format.
        DatasetError: no folder, no data set in it, several, or one whose lists are wrong.
    """
    directory = Path(directory)
    if format is not None and format not in READERS:
        raise UsageError(f"format ({format!r}) must be one of {', '.join(READERS)}.")
    if not directory.is_dir():
        raise DatasetError(
            f"no data set: folder '{directory}' does not exist. Put videos into class folders under it, "
            f"or generate some: c3dhash data synth {directory}/motion"
        )
    found = _search(directory, format, depth=SEARCH_DEPTH)
    if len(found) > 1:
        names = ", ".join(f"{path.relative_to(directory)} ({name})" for path, name in found)
        raise DatasetError(f"{len(found)} data sets in '{directory}': {names}. Name one: --data {found[0][0]}")
    if not found and format is None:
        seen = ", ".join(sorted(path.name for path in directory.iterdir())[:NUM_SHOWN]) or "nothing"
        raise DatasetError(
            f"no data set in '{directory}' (it holds {seen}). Put videos into class folders under it, "
            f"or generate some: c3dhash data synth {directory}/motion"
        )
    path, name = found[0] if found else (directory, str(format))
    return assemble(path, name, READERS[name].read(path, split=split), seed=split, allow_missing=allow_missing)


def _search(directory: Path, format: str | None, *, depth: int) -> list[tuple[Path, str]]:
    """Return (folder, reader) of the data sets in a folder, itself first; none lies inside another."""
    name = recognise(directory) if format is None else format if READERS[format].recognise(directory) else None
    if name:
        return [(directory, name)]
    if depth == 0:
        return []
    inner = (path for path in sorted(directory.iterdir()) if path.is_dir() and not path.name.startswith("."))
    return [found for path in inner for found in _search(path, format, depth=depth - 1)]
