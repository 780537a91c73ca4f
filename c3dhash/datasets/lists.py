"""List files: `path label` a line, one file a split, paths relative to the folder of the lists.

train.txt, and val.txt, gallery.txt, test.txt or query.txt where there are such splits. Labels count from 0. A
path may hold blanks; the label is what stands after the last one. Class names come from labels.txt (`Name` or
`1 Name` a line), else from the folders the videos lie in where each label has one folder, else they are the numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

from c3dhash.datasets.base import Dataset, check_videos, infer_group, read_lines
from c3dhash.errors import DatasetError
from c3dhash.records import Sample

LISTS = {"train.txt": "train", "val.txt": "val", "gallery.txt": "gallery", "db.txt": "gallery",
         "test.txt": "query", "query.txt": "query"}  # fmt: skip


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds a train.txt whose first line ends in a label."""
    path = directory / "train.txt"
    return path.is_file() and bool(re.search(r"\s\d+$", next((line for _, line in read_lines(path)), "")))


def read(directory: Path, *, split: int = 1) -> Dataset:
    """Read the list files of a folder. There is one split only."""
    if split != 1:
        raise DatasetError(f"split ({split}) must be 1: list files have one split.")
    rows = [
        (split_name, directory / list_name, *_parse(directory / list_name, number, line))
        for list_name, split_name in LISTS.items()
        if (directory / list_name).is_file()
        for number, line in read_lines(directory / list_name)
    ]
    classes = _class_names(directory, [(Path(name), label) for _, _, name, label in rows])
    samples = []
    for split_name, list_path, name, label in rows:
        if label >= len(classes):
            raise DatasetError(f"'{list_path}': label {label} of {name!r} must be below {len(classes)}, the number of classes.")
        video = directory / name
        samples.append(Sample(video, (label,), split_name, infer_group(video, class_name=classes[label])))
    check_videos(samples, list_path=directory / "train.txt")
    return Dataset(directory, "lists", classes, tuple(samples))


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read labels.txt in either spelling: `Name` a line, or `1 Name` with numbers that count up from 0 or 1."""
    lines = [line for _, line in read_lines(path)]
    numbers = [re.match(r"(\d+)\s+(?=\S)", line) for line in lines]
    if all(numbers) and [int(match[1]) for match in numbers] in (list(range(len(lines))), list(range(1, len(lines) + 1))):
        return tuple(line[match.end() :] for line, match in zip(lines, numbers, strict=True))
    return tuple(lines)


def _parse(list_path: Path, number: int, line: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.+?)\s+(\d+)", line)
    if not match:
        raise DatasetError(f"'{list_path}' line {number}: expected 'PATH LABEL' with a label of 0 or more, got {line!r}.")
    return match[1].lstrip("/"), int(match[2])


def _class_names(directory: Path, videos: list[tuple[Path, int]]) -> tuple[str, ...]:
    if (directory / "labels.txt").is_file():
        return read_class_names(directory / "labels.txt")
    num_classes = max(label for _, label in videos) + 1
    folders: dict[int, set[str]] = {}
    for video, label in videos:
        folders.setdefault(label, set()).add(video.parent.name)
    names = [next(iter(folders.get(label, {str(label)}))) for label in range(num_classes)]
    if all(len(found) == 1 for found in folders.values()) and len(set(names)) == num_classes and all(names):
        return tuple(names)
    return tuple(str(label) for label in range(num_classes))
