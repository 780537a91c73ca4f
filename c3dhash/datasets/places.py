"""Where the videos and frame folders that a list names lie.

Lists name a file from some folder of the tool that they were written for, with its suffix or without, and
people keep the same videos re-encoded, or as folders of frames. So a name is looked for in the data set's folder and
in its media folders (`videos/`, `rawframes/`, `UCF-101/`, ...), first as it stands, then as a video with
another suffix or a folder of its name. Every folder is read once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from c3dhash.video.containers import VIDEO_SUFFIXES

MEDIA_FOLDER = re.compile(
    r"(videos?|clips?|avi|mp4|raw_?frames?|frames?|jpe?gs?|png|images?|rgb|rename_images|recompress_videos"
    r"|ucf-?101|hmdb-?51|jhmdb|ccv|kinetics-?\d*|train|training|val|valid|validate|validation|test|testing)([_-].*)?",
    re.IGNORECASE,
)
MEDIA_DEPTH = 2  # JHMDB_video/ReCompress_Videos/

SPLIT_WORDS = {
    "train": "train", "training": "train", "trainlist": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val", "vallist": "val",
    "gallery": "gallery", "database": "gallery", "db": "gallery", "retrieval": "gallery",
    "test": "query", "testing": "query", "testlist": "query", "query": "query", "queries": "query",
}  # fmt: skip


def split_of_name(name: str) -> str | None:
    """Return the split that the name of a list or a folder speaks of, None where it is none or several."""
    splits = {SPLIT_WORDS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def without_suffix(name: str) -> str:
    """Return a name without its suffix where that is one of a video; a dot elsewhere is part of the name."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot + suffix.lower() in VIDEO_SUFFIXES else name


class _Folder(NamedTuple):
    """The content of a folder: all names, and the names of videos and subfolders by their stem."""

    names: frozenset[str]
    by_stem: dict[str, str]


EMPTY_FOLDER = _Folder(frozenset(), {})


class Places:
    """The folders in which a data set's files may lie, each read once."""

    def __init__(self, directory: Path) -> None:
        self._folders: dict[str, _Folder] = {}
        self._media = [directory, *_media_folders(directory, MEDIA_DEPTH)]
        self._roots: dict[str, list[str]] = {}

    def find(self, names: Sequence[str], *, split: str) -> Path | None:
        """Return the path of the first of some names that is there, or None.

        Args:
            names: from the data set's folder or one of its media folders, or absolute.
            split: media folders that are called after it come before the others, those of other splits last.
        """
        if split not in self._roots:
            others = sorted(self._media[1:], key=lambda folder: _order(folder.relative_to(self._media[0]), split))
            self._roots[split] = [str(folder) for folder in (self._media[0], *others)]
        for look in (self._as_named, self._by_stem):
            for root in self._roots[split]:
                for name in names:
                    parent, _, base = (name if name.startswith("/") else f"{root}/{name}").rpartition("/")
                    if found := look(self._read(parent), base):
                        return Path(parent, found)
        return None

    @staticmethod
    def _as_named(folder: _Folder, name: str) -> str | None:
        return name if name in folder.names else None

    @staticmethod
    def _by_stem(folder: _Folder, name: str) -> str | None:
        return folder.by_stem.get(without_suffix(name))

    def _read(self, folder: str) -> _Folder:
        if folder not in self._folders:
            self._folders[folder] = _read_folder(folder)
        return self._folders[folder]


def _media_folders(directory: Path, depth: int) -> list[Path]:
    """Return the media folders in a folder and in those, nearest first."""
    found = sorted(path for path in directory.iterdir() if MEDIA_FOLDER.fullmatch(path.name) and path.is_dir())
    if depth > 1:
        found += [inner for folder in found for inner in _media_folders(folder, depth - 1)]
    return found


def _order(folder: Path, split: str) -> int:
    spoken_of = split_of_name(str(folder))
    return 0 if spoken_of == split else 1 if spoken_of is None else 2


def _read_folder(folder: str) -> _Folder:
    try:
        with os.scandir(folder) as content:
            entries = sorted((entry.is_dir(), entry.name) for entry in content)  # videos before folders
    except OSError:
        return EMPTY_FOLDER
    by_stem: dict[str, str] = {}
    for is_dir, name in entries:
        stem = name if is_dir else without_suffix(name)
        if is_dir or stem != name:
            by_stem.setdefault(stem, name)
    return _Folder(frozenset(name for _, name in entries), by_stem)
