"""UCF101 as its authors publish it: ucfTrainTestlist/ beside the class folders.

Source: Soomro et al., "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", 2012, and the
lists of its action recognition task. Labels of `classInd.txt` and the training lists count from 1. The class is
taken from the directory: the files of `HandstandPushups/` are named `v_HandStandPushups_*`.
"""

from __future__ import annotations

import re
from pathlib import Path

from c3dhash.datasets.assemble import Entry, Listing
from c3dhash.datasets.text import list_dirs, origin, read_lines
from c3dhash.errors import DatasetError

LIST_DIR = "ucfTrainTestlist"
CLASS_FILE = "classInd.txt"


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds the lists of UCF101."""
    return _list_dir(directory) is not None


def read(directory: Path, *, split: int) -> Listing:
    """Read one of the three official splits: training list -> train, test list -> query."""
    list_dir = _list_dir(directory)
    if list_dir is None:
        raise DatasetError(f"'{directory}' has no {LIST_DIR}/{CLASS_FILE}, which UCF101 comes with.")
    classes = _read_classes(list_dir / CLASS_FILE)
    entries: list[Entry] = []
    for list_name, split_name in ((f"trainlist{split:02d}.txt", "train"), (f"testlist{split:02d}.txt", "query")):
        list_path = list_dir / list_name
        if not list_path.is_file():
            raise DatasetError(f"split ({split}) of UCF101 needs '{list_path}', but splits are 1, 2 and 3.")
        for number, line in read_lines(list_path):
            entries.append(_entry(line, classes, split_name, origin(list_path, number)))
    return Listing(tuple(classes), tuple(entries))


def _list_dir(directory: Path) -> Path | None:
    candidates = [directory / LIST_DIR, *list_dirs(directory)]
    return next(
        (path for path in candidates if (path / CLASS_FILE).is_file() and any(path.glob("trainlist[0-9]*.txt"))), None
    )


def _read_classes(path: Path) -> list[str]:
    classes: list[str] = []
    for number, line in read_lines(path):
        index, _, name = line.partition(" ")
        if index != str(len(classes) + 1) or not name:
            raise DatasetError(f"{origin(path, number)}: expected '{len(classes) + 1} ClassName', got {line!r}.")
        classes.append(name.strip())
    return classes


def _entry(line: str, classes: list[str], split_name: str, where: str) -> Entry:
    match = re.fullmatch(r"((?:(.+)/)?[^/]+?)(?:\s+(\d+))?", line)
    name, folder, label = match.groups() if match else (line, None, None)
    class_name = folder and folder.rpartition("/")[2]
    if class_name not in classes:
        raise DatasetError(f"{where}: class {class_name!r} of {line!r} is not in {CLASS_FILE}.")
    index = classes.index(class_name)
    if label and int(label) != index + 1:
        raise DatasetError(f"{where}: label {label} does not fit directory {class_name!r}, which is class {index + 1}.")
    return Entry((name, name.rpartition("/")[2]), (index,), split_name, where)
