"""Class folders: root/[train,val,test/]class/video, or root/[train,val,test/]class/video/frame.

Classes are the folder names in sorted order. Without split folders the split is our own, whose seed is the
number of the split, so that there are several to average over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from c3dhash.datasets.assemble import NO_SPLIT, Entry, Listing
from c3dhash.datasets.places import SPLIT_WORDS
from c3dhash.errors import DatasetError
from c3dhash.video.frame_folder import has_frames
from c3dhash.video.reader import VIDEO_SUFFIXES, find_videos

FindMedia = Callable[[Path], list[Path]]


def recognise_videos(directory: Path) -> bool:
    """Tell whether a folder holds class folders with videos in them, directly or inside split folders."""
    return any(_class_folders(root, _has_videos) for _, root in _split_roots(directory))


def recognise_frames(directory: Path) -> bool:
    """Tell whether a folder holds two or more class folders of frame folders, directly or inside split folders."""
    return any(len(_class_folders(root, find_frame_folders)) > 1 for _, root in _split_roots(directory))


def read_videos(directory: Path, *, split: int) -> Listing:
    """Read class folders of videos; a class folder's subfolders belong to it."""
    return _read(directory, _has_videos, find_videos)


def read_frames(directory: Path, *, split: int) -> Listing:
    """Read class folders of frame folders."""
    return _read(directory, find_frame_folders, find_frame_folders)


def find_frame_folders(class_dir: Path) -> list[Path]:
    """List the folders of numbered pictures in a folder, sorted."""
    return sorted(path for path in _subfolders(class_dir) if has_frames(path))


def _read(directory: Path, is_class: Callable[[Path], object], find_media: FindMedia) -> Listing:
    found = [
        (split, folder.name, path)
        for split, root in _split_roots(directory)
        for folder in _class_folders(root, is_class)
        for path in find_media(folder)
    ]
    if not found:
        raise DatasetError(f"'{directory}' has no class folders with something in them.")
    classes = tuple(sorted({name for _, name, _ in found}))
    entries = [
        Entry((str(path.relative_to(directory)),), (classes.index(name),), split, f"'{path}'")
        for split, name, path in found
    ]
    return Listing(classes, tuple(entries))


def _split_roots(directory: Path) -> list[tuple[str, Path]]:
    """Return (split, folder) for each split folder, or (NO_SPLIT, directory) where there is no training folder."""
    roots = [(SPLIT_WORDS.get(path.name.lower()), path) for path in _subfolders(directory)]
    roots = [(split, path) for split, path in roots if split]
    if any(split == "train" for split, _ in roots):
        return roots
    return [(NO_SPLIT, directory)]


def _class_folders(root: Path, is_class: Callable[[Path], object]) -> list[Path]:
    return [path for path in _subfolders(root) if is_class(path)]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _has_videos(folder: Path) -> bool:
    return any(path.suffix.lower() in VIDEO_SUFFIXES for path in folder.iterdir())
