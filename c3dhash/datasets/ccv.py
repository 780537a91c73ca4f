"""CCV, the Columbia Consumer Videos: lists of ids beside 0/1 matrices of labels; a video may have several or none.

Source: Jiang et al., "Consumer Video Understanding: A Benchmark Database and an Evaluation of Human and Machine
Performance", ICMR 2011. Line i of `trainVidID.txt` is a YouTube id, line i of `trainLabel.txt` its 20 columns.
The classes are named by categoryName.txt (or labels.txt); without it they are the numbers of their columns.
"""

from __future__ import annotations

import re
from pathlib import Path

from c3dhash.datasets.assemble import Entry, Listing
from c3dhash.datasets.text import find_class_names, list_dirs, origin, read_lines
from c3dhash.errors import DatasetError

PARTS = {"train": "train", "val": "val", "gallery": "gallery", "test": "query"}


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds the id and label lists of CCV."""
    return _list_dir(directory) is not None


def read(directory: Path, *, split: int) -> Listing:
    """Read the lists: train -> train, test -> query. There is one split only."""
    if split != 1:
        raise DatasetError(f"split ({split}) must be 1: CCV has one split.")
    list_dir = _list_dir(directory)
    if list_dir is None:
        raise DatasetError(f"'{directory}' has no trainVidID.txt with trainLabel.txt, which CCV comes with.")
    entries: list[Entry] = []
    num_columns: int | None = None
    for part, split_name in PARTS.items():
        if (list_dir / f"{part}VidID.txt").is_file():
            found, num_columns = _read_part(list_dir, part, split_name, num_columns)
            entries += found
    classes = find_class_names(directory) or tuple(str(column + 1) for column in range(num_columns or 0))
    if len(classes) != num_columns:
        raise DatasetError(f"'{directory}' names {len(classes)} classes, its label files have {num_columns} columns.")
    return Listing(classes, tuple(entries))


def _list_dir(directory: Path) -> Path | None:
    return next(
        (
            path
            for path in list_dirs(directory)
            if (path / "trainVidID.txt").is_file() and (path / "trainLabel.txt").is_file()
        ),
        None,
    )


def _read_part(list_dir: Path, part: str, split_name: str, num_columns: int | None) -> tuple[list[Entry], int | None]:
    """Return the entries of a split, and the number of columns, which must be the same in all label files."""
    ids_path, labels_path = list_dir / f"{part}VidID.txt", list_dir / f"{part}Label.txt"
    ids, rows = read_lines(ids_path), read_lines(labels_path)
    if len(ids) != len(rows):
        raise DatasetError(f"'{ids_path}' has {len(ids)} lines, '{labels_path}' has {len(rows)}; they must be as many.")
    entries = []
    for (number, name), (row_number, row) in zip(ids, rows, strict=True):
        columns = re.split(r"[\s,]+", row)
        num_columns = num_columns or len(columns)
        if len(columns) != num_columns or not set(columns) <= {"0", "1"}:
            where = origin(labels_path, row_number)
            raise DatasetError(f"{where}: expected {num_columns} columns of 0 or 1, got {row!r}.")
        labels = tuple(column for column, value in enumerate(columns) if value == "1")
        entries.append(Entry((name,), labels, split_name, origin(ids_path, number)))
    return entries, num_columns
