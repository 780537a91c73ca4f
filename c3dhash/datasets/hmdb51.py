"""HMDB51 as its authors publish it: testTrainMulti_7030_splits/ beside the class folders.

Source: Kuehne et al., "HMDB: A Large Video Database for Human Motion Recognition", ICCV 2011. A line of
`<class>_test_split<N>.txt` is a file name, which may hold brackets, `;`, `&`, `#` and more but no blank, and 1 for
training, 2 for testing, 0 for neither.
"""

from __future__ import annotations

import re
from pathlib import Path

from c3dhash.datasets.assemble import Entry, Listing
from c3dhash.datasets.text import list_dirs, origin, read_lines
from c3dhash.errors import DatasetError

OWN_LIST_DIRS = ("testTrainMulti_7030_splits", "test_train_splits")
LIST_NAME = re.compile(r"(?P<class_name>.+)_test_split(?P<split>\d+)\.txt")
SPLIT_OF_CODE = {"1": "train", "2": "query"}


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds the lists of HMDB51, or of another set in their form."""
    return find_list_dir(directory) is not None


def read(directory: Path, *, split: int) -> Listing:
    """Read one of the three official splits: 1 -> train, 2 -> query, 0 is left out."""
    list_dir = find_list_dir(directory)
    if list_dir is None:
        raise DatasetError(f"'{directory}' has no lists '{OWN_LIST_DIRS[0]}/CLASS_test_splitN.txt'.")
    lists = {match["class_name"]: path for path, match in class_lists(list_dir) if int(match["split"]) == split}
    if not lists:
        known = sorted({int(match["split"]) for _, match in class_lists(list_dir)})
        raise DatasetError(f"split ({split}) is not in '{list_dir}'; splits are {', '.join(map(str, known))}.")
    classes = tuple(sorted(lists))
    entries = [
        Entry((f"{name_of}/{name}", f"{name_of}/{name_of}/{name}", name), (label,), SPLIT_OF_CODE[code], where)
        for label, name_of in enumerate(classes)
        for name, code, where in _lines(lists[name_of])
        if code in SPLIT_OF_CODE
    ]
    return Listing(classes, tuple(entries))


def find_list_dir(directory: Path) -> Path | None:
    """Return the folder with lists of a class each, in a data set, or None."""
    candidates = [*(directory / name for name in OWN_LIST_DIRS), *list_dirs(directory)]
    return next((path for path in candidates if path.is_dir() and class_lists(path)), None)


def class_lists(list_dir: Path) -> list[tuple[Path, re.Match[str]]]:
    """Return the lists in a folder, sorted, each with the match of its name."""
    paths = sorted(list_dir.glob("*_test_split*.txt"))
    return [(path, match) for path in paths if (match := LIST_NAME.fullmatch(path.name))]


def _lines(path: Path) -> list[tuple[str, str, str]]:
    """Return (file name, code, where it stands) of every line."""
    rows = []
    for number, line in read_lines(path):
        name, _, code = line.rpartition(" ")
        if code not in ("0", "1", "2") or not name.strip():
            raise DatasetError(f"{origin(path, number)}: expected 'FILE 0|1|2', got {line!r}.")
        rows.append((name.strip(), code, origin(path, number)))
    return rows
