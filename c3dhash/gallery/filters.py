"""Which videos of a gallery may be found: by label, by folder, by the day they came, and not the query itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

from c3dhash.errors import UsageError
from c3dhash.gallery import roots
from c3dhash.urls import is_url, lies_in

MAX_NAMES = 20  # of labels in a message
Video = TypeVar("Video")


@dataclass(frozen=True)
class VideoFilter:
    """What a video must be to be found. Without anything, all are.

    labels: its label is one of these; () for any, and for none.
    folder: it lies in this folder or in one below, or is this file; or so begins the name that another program gave it.
    added_since: the day it came or a later one, UTC, as in 2026-11-24.
    without_content: its bytes are others than those with this content hash: not the query itself.
    place: a root, as GalleryVideo has it ("" for None), and a folder in it with "/" between its parts ("" for all of
        it): the same, where a name comes from a stranger, of which the file system is asked nothing.

    Raises:
        UsageError: no day, labels that are no tuple, or text that is not UTF-8.
    """

    labels: tuple[str, ...] = ()
    folder: str | None = None
    added_since: str | None = None
    without_content: str | None = None
    place: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.labels, str):
            raise UsageError(f"labels ({self.labels!r}) must be several, or a tuple of one: ({self.labels!r},).")
        for text in (*self.labels, self.folder or "", *(self.place or ())):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise UsageError(f"{text!r} is not valid UTF-8, and no name in a gallery is like it.") from error
        if self.added_since is not None and not _is_day(self.added_since):
            raise UsageError(f"added_since ({self.added_since!r}) must be a day, as in 2026-11-24.")

    def __bool__(self) -> bool:
        return self != VideoFilter()

    def __str__(self) -> str:
        parts = [" or ".join(f"label {label!r}" for label in self.labels)] if self.labels else []
        if self.folder is not None:
            parts.append(f"folder '{self.folder}'")
        if self.place is not None:
            parts.append(f"folder '{self.place[1] or self.place[0]}'")
        if self.added_since is not None:
            parts.append(f"added since {self.added_since}")
        return ", ".join(parts)


def unknown_label(label: str, names: Sequence[str], *, num_labels: int, gallery: Path | str) -> UsageError:
    """Return what is said where no video has a label.

    Args:
        names: labels that there are, MAX_NAMES or more of them where there are so many. num_labels: how many there are.
        gallery: its path.
    """
    more = f" and {num_labels - MAX_NAMES} more" if num_labels > MAX_NAMES else ""
    there = f"it has {', '.join(names[:MAX_NAMES])}{more}." if names else "no video has one."
    return UsageError(f"label {label!r} is of no video of gallery '{gallery}': {there}")


def nothing_passes(only: VideoFilter, *, gallery: Path | str) -> UsageError:
    """Return what is said where no video passes a filter."""
    return UsageError(f"gallery '{gallery}' has no video with clips that passes ({only}).")


Condition = tuple[str, list[object]]  # SQL about the table `video`, and its parameters
Place = tuple[int, str | None]  # a root's id, and the path of a folder or file in it; None for all of the root


def condition(chosen: VideoFilter, root_folders: Mapping[int, str]) -> Condition:
    """Say in SQL what a video must be, but for its content.

    Args:
        root_folders: of each root, where it is now, as the gallery names its videos; "" for `roots.NO_ROOT`.
    """
    parts: list[Condition] = []
    if chosen.labels:
        parts.append((f"label IN ({', '.join('?' * len(chosen.labels))})", list(chosen.labels)))
    parts += [_any(_below(*place) for place in either) for either in places(chosen, root_folders)]
    if chosen.added_since is not None:
        parts.append(("added_at >= ?", [chosen.added_since]))
    texts, parameters = zip(*parts, strict=True) if parts else ((), ())
    return " AND ".join(texts) or "1", [value for part in parameters for value in part]


def places(chosen: VideoFilter, root_folders: Mapping[int, str]) -> list[list[Place]]:
    """Say where a video must lie, folder by folder that a filter names: in one of these places; in none for [].

    Args:
        root_folders: as of `condition`.
    """
    found = []
    if chosen.folder is not None:
        of_roots = [_in_root(root_id, folder, chosen.folder) for root_id, folder in root_folders.items()]
        found.append([place for of_root in of_roots for place in of_root])
    if chosen.place is not None:
        wanted, path = chosen.place
        inside = path.rstrip("/") if path else None
        found.append([(root_id, inside) for root_id, folder in root_folders.items() if folder == wanted])
    return found


def _in_root(root_id: int, root: str, wanted: str) -> list[Place]:
    """Say where in a root the videos of a folder lie."""
    if root_id == roots.NO_ROOT:
        return [(root_id, wanted.rstrip("/"))]
    if is_url(wanted) != is_url(root):
        return []
    found: list[Place] = []
    for resolve in (_without_slash,) if is_url(root) else (os.path.abspath, os.path.realpath):  # there may be links
        folder, place = resolve(wanted), resolve(root)
        if lies_in(place, folder):
            return [(root_id, None)]
        if lies_in(folder, place):
            found.append((root_id, roots.split(folder, place)))
    return list(dict.fromkeys(found))


def _any(parts: Iterable[Condition]) -> Condition:
    some = list(parts)
    return "(" + (" OR ".join(text for text, _ in some) or "0") + ")", [value for _, part in some for value in part]


def _below(root_id: int, path: str | None) -> Condition:
    if path is None:
        return "root_id = ?", [root_id]
    return "(root_id = ? AND (path = ? OR path > ? AND path < ?))", [root_id, path, *bounds(path)]


def bounds(path: str) -> tuple[str, str]:
    """Return two texts between which all paths below a folder lie, and no other: of "a/b", "a/b/" and "a/b0"."""
    return f"{path}/", f"{path}0"  # "0" follows "/"


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def find_video(known: Mapping[str, Video], name: str) -> Video | None:
    """Return which of the videos of a gallery, by their names, is meant by a name or by a path as seen from here."""
    paths = (name,) if is_url(name) else (name, os.path.abspath(name), os.path.realpath(name))
    return next((known[path] for path in paths if path in known), None)
