"""Roots: the folders that a gallery was given, so that it can be moved together with its videos.

A video is stored as (root, path in the root). A root is stored twice, as an absolute path and relative to the
gallery; it is looked for beside the gallery first:

    project/gallery/          absolute   /home/ann/project/db         gone, or the original of a copy
    project/db/    <────────  relative   ../db                        moves and is copied with the project

Names that other programs give are kept as they are: root 0, without a folder. A root on a server is its URL, wherever
the gallery is.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence

from c3dhash.urls import inside, is_url

NO_ROOT = 0


def relative_root(gallery: str, folder: str) -> str | None:
    """Return where a folder lies seen from a gallery; None where that says nothing.

    It says nothing of another drive, of all of one, and of a server. Links are followed in both, so that it does not
    matter through which of them either was reached.
    """
    if is_url(folder):
        return None
    folder, gallery = os.path.realpath(folder), os.path.realpath(gallery)
    if folder == os.path.dirname(folder) or os.path.splitdrive(folder)[0] != os.path.splitdrive(gallery)[0]:
        return None
    return os.path.relpath(folder, gallery).replace(os.sep, "/")


def locate_root(gallery: str, absolute: str, relative: str | None, *, paths: Sequence[str] = ()) -> str:
    """Return where a root is now: beside the gallery as it was, where there is such a folder, else where it was.

    Where both are one folder it keeps the name that it was given, links and all. Where they are two, some videos
    tell which of them is meant.

    Args:
        gallery: its folder.
        absolute, relative: the root as it was when it was last indexed.
        paths: of some videos in the root.
    """
    if relative is None:
        return absolute
    beside = os.path.normpath(os.path.join(os.path.realpath(gallery), relative))
    if not os.path.isdir(beside) or os.path.realpath(beside) == os.path.realpath(absolute):
        return absolute
    for folder in (beside, absolute):
        if any(os.path.exists(join(folder, path)) for path in paths):
            return folder
    return absolute if os.path.isdir(absolute) else beside


def join(folder: str, path: str) -> str:
    """Return the name of a video from its root's folder ("" for root 0) and its path in there."""
    if not folder or is_url(folder):
        return f"{folder}/{path}" if folder else path
    return os.path.join(folder, path.replace("/", os.sep))


def holds(folder: str, name: str) -> bool:
    """Tell whether a video of this name may be stored relative to a folder; to "" any may."""
    return not folder or name.startswith(inside(folder))


def may_be_of(root: str, name: str) -> bool:
    """Tell whether a folder can be the root of a video of this name: it is absolute, or on a server, and around it."""
    return (is_url(root) or os.path.isabs(root)) and holds(root, name)


def split(name: str, folder: str) -> str:
    """Return the path of a video in the folder of its root, from a name that `join` gave or would give."""
    if not folder or is_url(folder):
        return name.removeprefix(inside(folder)) if folder else name
    return name.removeprefix(inside(folder)).replace(os.sep, "/")


def real_name(name: str) -> str:
    """Return what a place is known by, with all links followed; on a server there are none."""
    return name if is_url(name) else os.path.realpath(name)


def common_folders(names: Iterable[str]) -> list[str]:
    """Return few folders that hold all files: of each top-level folder the deepest that holds all files in it.

    Args:
        names: absolute paths of files.
    """
    groups: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for folder in {os.path.dirname(name) for name in names}:
        drive, tail = os.path.splitdrive(folder)
        groups[drive, tail.split(os.sep)[1]].add(folder)
    return [os.path.commonpath(group) for group in groups.values()]
