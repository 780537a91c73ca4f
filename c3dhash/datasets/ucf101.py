"""UCF101 as its authors publish it: ucfTrainTestlist/ beside the class folders.

Source: Soomro et al., "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", 2012, and the
lists of its action recognition task. Labels of `classInd.txt` and the training lists count from 1. The class is
taken from the directory: the files of `HandstandPushups/` are named `v_HandStandPushups_*`.
"""

from __future__ import annotations

from pathlib import Path

from c3dhash.datasets.base import Dataset, check_videos, infer_group, read_lines
from c3dhash.errors import DatasetError
from c3dhash.records import Sample

LISTS = "ucfTrainTestlist"
VIDEO_FOLDERS = ("", "UCF-101", "UCF101", "videos")


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds the lists of UCF101."""
    return (directory / LISTS / "classInd.txt").is_file()


def read(directory: Path, *, split: int = 1) -> Dataset:
    """Read one of the three official splits: training list -> train, test list -> query."""
    classes = _read_classes(directory / LISTS / "classInd.txt")
    samples: list[Sample] = []
    for list_name, split_name in ((f"trainlist{split:02d}.txt", "train"), (f"testlist{split:02d}.txt", "query")):
        list_path = directory / LISTS / list_name
        if not list_path.is_file():
            raise DatasetError(f"split ({split}) of UCF101 needs '{list_path}', which is not there; splits are 1, 2 and 3.")
        found = [_sample(directory, list_path, number, line, classes, split_name) for number, line in read_lines(list_path)]
        check_videos(found, list_path=list_path)
        samples += found
    return Dataset(directory, "ucf101", tuple(classes), tuple(samples))


def _read_classes(path: Path) -> list[str]:
    classes = []
    for number, line in read_lines(path):
        index, _, name = line.partition(" ")
        if index != str(len(classes) + 1) or not name:
            raise DatasetError(f"'{path}' line {number}: expected '{len(classes) + 1} ClassName', got {line!r}.")
        classes.append(name.strip())
    return classes


def _sample(directory: Path, list_path: Path, number: int, line: str, classes: list[str], split_name: str) -> Sample:
    name, _, rest = line.partition(".avi")
    class_name = name.partition("/")[0]
    label = rest.strip()
    if class_name not in classes:
        raise DatasetError(f"'{list_path}' line {number}: class {class_name!r} of {line!r} is not in classInd.txt.")
    if label and label != str(classes.index(class_name) + 1):
        raise DatasetError(
            f"'{list_path}' line {number}: label {label} does not fit directory {class_name!r}, "
            f"which is class {classes.index(class_name) + 1}."
        )
    candidates = [directory / folder / f"{name}.avi" for folder in VIDEO_FOLDERS]
    video = next((path for path in candidates if path.exists()), candidates[0])
    return Sample(video, (classes.index(class_name),), split_name, infer_group(video, class_name=class_name))
