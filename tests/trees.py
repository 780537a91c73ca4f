"""Lay out data sets for tests: empty files for readers, which look at names only; and frame folders."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from videos import numbered_frame

from c3dhash.datasets.samples import Dataset


def make_tree(root: Path, *media: str, **texts: str) -> Path:
    """Make files under a folder.

    Args:
        media: paths of empty files; one that ends in "/" is a folder with frames 1 to 3.
        texts: name -> content of text files; "__" in a name stands for "/", and ".txt" is added.
    """
    for name in media:
        path = root / name
        names = ["img_00001.jpg", "img_00002.jpg", "img_00003.jpg"] if name.endswith("/") else [""]
        for inner in names:
            (path / inner).parent.mkdir(parents=True, exist_ok=True)
            (path / inner).touch()
    for name, text in texts.items():
        write_list(root / f"{name.replace('__', '/')}.txt", text)
    return root


def write_pictures(folder: Path, numbers: range, *, name: str = "img_{:05}.jpg", first: int = 1) -> Path:
    """Write frames that carry their numbers, the first under the number `first`."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, number in enumerate(numbers):
        cv2.imwrite(str(folder / name.format(place + first)), numbered_frame(number)[..., ::-1])
    return folder


def write_flow(folder: Path, num_frames: int, *, name: str = "flow_{}_{:05}.jpg") -> Path:
    """Write grey pictures: 10, 20, ... in x and 200, 199, ... in y."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, num_frames + 1):
        for axis, value in (("x", 10 * number), ("y", 201 - number)):
            cv2.imwrite(str(folder / name.format(axis, number)), np.full((24, 32), value, np.uint8))
    return folder


def write_list(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())  # line ends as they are given
    return path


def found(dataset: Dataset) -> list[tuple[str, tuple[str, ...], str]]:
    """Return (path, class names, split) of every sample."""
    return [
        (
            sample.video.relative_to(dataset.directory).as_posix(),
            tuple(dataset.classes[label] for label in sample.labels),
            sample.split,
        )
        for sample in dataset.samples
    ]
