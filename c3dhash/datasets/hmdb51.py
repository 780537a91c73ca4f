"""HMDB51 as its authors publish it: testTrainMulti_7030_splits/ beside the class folders.

Source: Kuehne et al., "HMDB: A Large Video Database for Human Motion Recognition", ICCV 2011. A line of
`<class>_test_split<N>.txt` is a file name, which may hold brackets, `;`, `&`, `#` and more but no blank, and 1 for
training, 2 for testing, 0 for neither.
"""

from __future__ import annotations

import re
from pathlib import Path

from c3dhash.datasets.base import Dataset, check_videos, infer_group, read_lines
from c3dhash.errors import DatasetError
from c3dhash.records import Sample

LISTS = ("testTrainMulti_7030_splits", "test_train_splits", "splits")
LIST_NAME = re.compile(r"(?P<class_name>.+)_test_split(?P<split>\d+)\.txt")
VIDEO_FOLDERS = ("", "videos", "hmdb51", "hmdb51_org", "ReCompress_Videos")
SPLIT_OF_CODE = {"1": "train", "2": "query"}


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds the lists of HMDB51 (or of JHMDB, which has the same form)."""
    return any(LIST_NAME.fullmatch(path.name) for path in _lists_dir(directory).glob("*_test_split*.txt"))


def read(directory: Path, *, split: int = 1) -> Dataset:
    """Read one of the three official splits: 1 -> train, 2 -> query, 0 is left out."""
    lists = {
        match["class_name"]: path
        for path in sorted(_lists_dir(directory).glob("*.txt"))
        if (match := LIST_NAME.fullmatch(path.name)) and int(match["split"]) == split
    }
    if not lists:
        raise DatasetError(f"split ({split}) is not in '{_lists_dir(directory)}'; splits are 1, 2 and 3.")
    classes = sorted(lists)
    samples: list[Sample] = []
    for label, class_name in enumerate(classes):
        found = []
        for number, line in read_lines(lists[class_name]):
            name, _, code = line.rpartition(" ")
            if code not in ("0", "1", "2") or not name.strip():
                raise DatasetError(f"'{lists[class_name]}' line {number}: expected 'FILE 0|1|2', got {line!r}.")
            if code in SPLIT_OF_CODE:
                video = _find_video(directory, class_name, name.strip())
                group = infer_group(video, class_name=class_name)
                found.append(Sample(video, (label,), SPLIT_OF_CODE[code], group))
        check_videos(found, list_path=lists[class_name])
        samples += found
    return Dataset(directory, "hmdb51", tuple(classes), tuple(samples))


def _lists_dir(directory: Path) -> Path:
    return next((directory / name for name in LISTS if (directory / name).is_dir()), directory / LISTS[0])


def _find_video(directory: Path, class_name: str, name: str) -> Path:
    candidates = [directory / folder / class_name / name for folder in VIDEO_FOLDERS]
    return next((path for path in candidates if path.exists()), candidates[0])
