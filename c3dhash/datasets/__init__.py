"""Data sets: recognise the layout of a folder and read it into one list of samples.

    READERS     name -> module with recognise(directory) and read(directory, split=)
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from c3dhash.datasets import folders, hmdb51, lists, ucf101
from c3dhash.datasets.base import Dataset, carve_val
from c3dhash.errors import DatasetError

__all__ = ["READERS", "Dataset", "carve_val", "find_dataset"]

# In this order: published lists say more than folders do.
READERS: dict[str, ModuleType] = {"ucf101": ucf101, "hmdb51": hmdb51, "lists": lists, "folders": folders}


def recognise(directory: Path) -> str | None:
    """Return the name of the first reader that knows the layout of a folder, or None."""
    return next((name for name, reader in READERS.items() if reader.recognise(directory)), None)


def find_dataset(directory: Path | str, *, split: int = 1) -> Dataset:
    """Read the data set that a folder is, or the one that lies in it.

    Args:
        directory: a data set, or a folder with one data set in it.
        split: which of the official splits.
    Raises:
        DatasetError: no folder, no data set in it, several, or one whose lists are wrong.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise DatasetError(
            f"no data set: folder '{directory}' does not exist. Put videos into class folders under it, "
            f"or generate some: c3dhash data synth {directory}/motion"
        )
    if name := recognise(directory):
        return READERS[name].read(directory, split=split)
    inner = [(path, recognise(path)) for path in sorted(directory.iterdir()) if path.is_dir()]
    found = [(path, name) for path, name in inner if name]
    if not found:
        seen = ", ".join(sorted(path.name for path in directory.iterdir())[:5]) or "nothing"
        raise DatasetError(
            f"no data set in '{directory}' (it holds {seen}). Put videos into class folders under it, "
            f"or generate some: c3dhash data synth {directory}/motion"
        )
    if len(found) > 1:
        names = ", ".join(f"{path.name} ({name})" for path, name in found)
        raise DatasetError(
            f"{len(found)} data sets in '{directory}': {names}. Name one: --data {found[0][0]}"
        )
    path, name = found[0]
    return READERS[name].read(path, split=split)
