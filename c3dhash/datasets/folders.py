"""Class folders: root/[train,val,test/]class/video, or root/[train,val,test/]class/video/frame.

Classes are the folder names in sorted order. What lies deeper in a class folder belongs to the class at the top, and
one class folder with videos directly in it shows that its neighbours are classes too. Without split folders the split
is our own, whose seed is the number of the split, so that there are several to average over.

Note [Subfolders as groups]
    Sets that put the cuts of one recording into one subfolder (UCF11: `basketball/v_shooting_01/`) must not have them
    divided. Others sort by date or source, and a class in one subfolder cannot be split by it. So subfolders count as
    groups in a class that has more of them than there are splits; names that speak of a group come first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from c3dhash.datasets.assemble import NO_SPLIT, Entry, Listing
from c3dhash.datasets.places import SPLIT_WORDS
from c3dhash.datasets.splitting import OWN_SHARES
from c3dhash.errors import DatasetError
from c3dhash.video.containers import VIDEO_SUFFIXES
from c3dhash.video.frame_folder import has_frames
from c3dhash.video.reader import find_videos

FindMedia = Callable[[Path], list[Path]]


def recognise_videos(directory: Path) -> bool:
    """Tell whether a folder holds class folders with videos in them, directly or inside split folders."""
    return any(
        any(_has_videos(path, deep=split != NO_SPLIT) for path in _subfolders(root))
        for split, root in _split_roots(directory)
    )


def recognise_frames(directory: Path) -> bool:
    """Tell whether a folder holds two or more class folders of frame folders, directly or inside split folders."""
    return any(
        sum(any(map(has_frames, _subfolders(path))) for path in _subfolders(root)) > 1
        for _, root in _split_roots(directory)
    )


def read_videos(directory: Path, *, split: int) -> Listing:
    """Read class folders of videos; a class folder's subfolders belong to it."""
    return _read(directory, find_videos)


def read_frames(directory: Path, *, split: int) -> Listing:
    """Read class folders of frame folders."""
    return _read(directory, find_frame_folders)


def find_frame_folders(class_dir: Path) -> list[Path]:
    """List the folders of numbered pictures in a folder and its subfolders, sorted."""
    found: list[Path] = []
    for path in _subfolders(class_dir):
        if has_frames(path):
            found.append(path)
        elif not path.is_symlink():  # which may lead back up
            found += find_frame_folders(path)
    return found


def _read(directory: Path, find_media: FindMedia) -> Listing:
    found = {
        (split, folder): media
        for split, root in _split_roots(directory)
        for folder in _subfolders(root)
        if (media := find_media(folder))
    }
    if not found:
        raise DatasetError(f"'{directory}' has no class folders with something in them.")
    classes = tuple(sorted({folder.name for _, folder in found}))
    entries = [
        Entry(
            (str(path.relative_to(directory)),),
            (classes.index(folder.name),),
            split,
            f"'{path}'",
            group=group if split == NO_SPLIT else None,
        )
        for (split, folder), media in found.items()
        for path, group in zip(media, _groups(folder, media), strict=True)
    ]
    return Listing(classes, tuple(entries))


def _groups(class_dir: Path, media: list[Path]) -> list[str | None]:
    """Return the subfolder of its class folder that each path lies in, where these are groups, else None."""
    parents = [path.relative_to(class_dir).parts[0] if path.parent != class_dir else None for path in media]
    are_groups = len({parent for parent in parents if parent}) > len(OWN_SHARES)
    return [f"{class_dir.name}/{parent}" if parent and are_groups else None for parent in parents]


def _split_roots(directory: Path) -> list[tuple[str, Path]]:
    """Return (split, folder) for each split folder, or (NO_SPLIT, directory) where there is no training folder."""
    named = [(SPLIT_WORDS.get(path.name.lower()), path) for path in _subfolders(directory)]
    roots = [(split, path) for split, path in named if split]
    if any(split == "train" for split, _ in roots):
        return roots
    return [(NO_SPLIT, directory)]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _has_videos(folder: Path, *, deep: bool) -> bool:
    """Tell whether a video lies in a folder, or with `deep` also below it."""
    for _, subfolders, names in os.walk(folder):
        if any(Path(name).suffix.lower() in VIDEO_SUFFIXES for name in names):
            return True
        if not deep:
            subfolders.clear()
    return False
