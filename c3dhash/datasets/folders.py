"""Class folders: root/[train,val,test/]class/video."""

from __future__ import annotations

from pathlib import Path

from c3dhash.datasets.base import Dataset, infer_group, stratified_split
from c3dhash.records import Sample
from c3dhash.video import VIDEO_SUFFIXES, find_videos

# What people call the splits. A test split is queried with.
SPLIT_FOLDERS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "gallery": "gallery", "database": "gallery", "db": "gallery",
    "test": "query", "testing": "query", "query": "query",
}  # fmt: skip
OWN_SHARES = {"train": 0.64, "val": 0.16, "query": 0.20}


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds class folders with videos in them, directly or inside split folders."""
    return any(_class_folders(root) for _, root in _split_roots(directory))


def read(directory: Path, *, split: int = 1) -> Dataset:
    """Read class folders. Without split folders, 64 % train, 16 % val and 20 % query, dealt by class and group.

    Classes are the folder names in sorted order. `split` is the seed of the own split, so that there are
    several to average over.
    """
    roots = _split_roots(directory)
    classes = sorted({folder.name for _, root in roots for folder in _class_folders(root)})
    samples = [
        Sample(
            video=video,
            labels=(classes.index(folder.name),),
            split=split_name,
            group=infer_group(video, class_name=folder.name),
        )
        for split_name, root in roots
        for folder in _class_folders(root)
        for video in find_videos(folder)
    ]
    if {split_name for split_name, _ in roots} == {"all"}:
        samples = stratified_split(samples, shares=OWN_SHARES, seed=split)
    return Dataset(directory, "folders", tuple(classes), tuple(samples))


def _split_roots(directory: Path) -> list[tuple[str, Path]]:
    """Return (split, folder) for each split folder, or ("all", directory) where there is none."""
    folders = sorted(path for path in directory.iterdir() if path.is_dir())
    roots = [(SPLIT_FOLDERS[path.name.lower()], path) for path in folders if path.name.lower() in SPLIT_FOLDERS]
    if any(split == "train" for split, _ in roots):
        return roots
    return [("all", directory)]


def _class_folders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".") and _has_videos(path)
    )


def _has_videos(folder: Path) -> bool:
    return any(path.suffix.lower() in VIDEO_SUFFIXES for path in folder.iterdir())
