"""Places -> the video files that are there now, each once and each under one name.

Note [One file, one name]
A file is known by the real path of its folder, with all links followed, and its own name in it. However a folder is
reached - through a new link to it, a relative path, a link inside another folder - its videos are those that the
gallery knows. A new one is named after the root that it really lies in; after the link, where that leads out of all.
On a server there are no links: a file has the URL of its place and its path in there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from c3dhash.errors import UsageError
from c3dhash.gallery.roots import holds
from c3dhash.urls import checked_url, is_url, lies_in
from c3dhash.video.fetching import list_remote
from c3dhash.video.reader import find_videos


@dataclass(frozen=True)
class File:
    """A video file as it was when it was found.

    name: its absolute path, or its URL. real: what it is known by, see Note [One file, one name]. root: the folder that
    it is stored relative to.
    """

    name: str
    real: str
    root: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Place:
    """What was asked for: a folder or a file, which there may not be; the number of video files in it."""

    name: str
    real: str
    is_there: bool
    is_folder: bool
    num_found: int

    def holds(self, real: str) -> bool:
        """Tell whether a file lies in the place, or is it."""
        return lies_in(real, self.real)


@dataclass
class Scan:
    """What is in some places.

    files: sorted within a place, each once.
    hidden: the real paths of folders and files that could not be looked at: what lies there is unknown.
    failed: why, for people.
    """

    places: list[Place] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def refuse_missing_places(self) -> None:
        """Raise unless all places exist and there is something in them."""
        for place in self.places:
            if not place.is_there:
                raise missing_place(place.name)
        if not self.files and not self.failed:
            raise UsageError(f"no videos in {', '.join(repr(place.name) for place in self.places)}.")


def refuse_missing_places(places: Sequence[Path | str]) -> None:
    """Raise unless all places on this machine exist, to be asked before weights are fetched and a network is built."""
    for place in places:
        if not is_url(place) and not os.path.exists(place):
            raise missing_place(str(place))


def missing_place(name: str) -> UsageError:
    """Return the error of a place that is not there."""
    return UsageError(f"'{name}' does not exist; name a folder of videos.")


class RealNames:
    """Real names of files, see Note [One file, one name]; each folder is looked at once."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        if is_url(name):
            return name
        folder, base = os.path.split(name)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], base)


def scan_places(
    places: Sequence[Path | str], *, roots: Sequence[str] = (), on_file: Callable[[], object] = lambda: None
) -> Scan:
    """Find the video files in folders, with their subfolders, and single files.

    Args:
        places: folders or files, also URLs of them; one here that does not exist is noted as such.
        roots: the folders that the gallery knows already.
        on_file: called for each file that is found.
    Raises:
        StorageError: a place on a server could not be listed as a whole.
    """
    scan, real_names, seen = Scan(), RealNames(), set[str]()
    here = [Path(place) for place in places if not is_url(place)]
    urls = [checked_url(str(place)) for place in places if is_url(place)]
    bases = [*sorted(filter(is_url, roots), key=len, reverse=True), *sorted(urls, key=len)]
    for url in dict.fromkeys(urls):
        _scan_server(scan, url, bases, seen, on_file)
    homes = _Homes([root for root in roots if not is_url(root)], here)
    for place in here:
        name = os.path.abspath(place)
        unreadable: list[OSError] = []
        is_folder = os.path.isdir(name)
        names = [str(path) for path in find_videos(name, on_error=unreadable.append)] if is_folder else [name]
        is_there = os.path.exists(name)
        real = os.path.realpath(name) if is_folder or not is_there else real_names(name)
        scan.places.append(Place(name, real, is_there, is_folder, len(names) if is_there else 0))
        for error in unreadable:
            scan.hidden.append(os.path.realpath(error.filename))
            _fail(scan, error.filename, f"'{readable(error.filename)}' cannot be read: {error.strerror}.")
        for found in names if is_there else ():
            real = real_names(found)
            if real not in seen:
                seen.add(real)
                _take(scan, found, real, homes, place=name)
                on_file()
    return scan


def _scan_server(scan: Scan, url: str, bases: Sequence[str], seen: set[str], on_file: Callable[[], object]) -> None:
    """Add what is in a place on a server.

    Args:
        bases: what files may be stored relative to, the best first; else it is their folder.
    """

    def hide(name: str, reason: str) -> None:
        scan.hidden.append(name)
        _fail(scan, name, reason)

    found = list_remote(url, on_hidden=hide)
    scan.places.append(Place(url, url, True, [file.url for file in found] != [url], len(found)))
    for file in found:
        if not _is_utf8(file.url):
            hide(file.url, f"video name '{readable(file.url)}' is not valid UTF-8: rename the file.")
        elif file.url not in seen:
            seen.add(file.url)
            root = next((base for base in bases if holds(base, file.url)), file.url.rpartition("/")[0])
            scan.files.append(File(file.url, file.url, root, file.size_bytes, file.mtime_ns))
            on_file()


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(name: str) -> str:
    """Return a file name as text that can be printed: bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _take(scan: Scan, found: str, real: str, homes: _Homes, *, place: str) -> None:
    """Add one file to what was found, or say why not."""
    root, name = homes.place(found, real, place=place)
    try:
        name.encode()
        facts = os.stat(found)
    except UnicodeEncodeError:
        _fail(scan, name, f"video name '{readable(name)}' is not valid UTF-8: rename the file.")
    except OSError as error:
        _fail(scan, name, f"video '{name}' cannot be read: {error.strerror}.")
    else:
        if stat.S_ISREG(facts.st_mode):
            scan.files.append(File(name, real, root, facts.st_size, facts.st_mtime_ns))
            return
        _fail(scan, name, f"video '{name}' is no regular file: take it out of the folder.")
    scan.hidden.append(real)


def _fail(scan: Scan, name: str, reason: str) -> None:
    scan.failed.append({"video": readable(name), "reason": reason})


class _Homes:
    """Which root a file is stored relative to: the deepest known one that holds it, else the place it was found in."""

    def __init__(self, roots: Sequence[str], places: Sequence[Path]) -> None:
        known = {os.path.realpath(root): root for root in roots}
        new: dict[str, str] = {}
        for place in sorted(os.path.abspath(place) for place in places):
            folder = place if os.path.isdir(place) else os.path.dirname(place)
            new.setdefault(os.path.realpath(folder), folder)
        self._bases = [*sorted(known.items(), key=lambda item: -len(item[0])),
                       *sorted(new.items(), key=lambda item: len(item[0]))]  # fmt: skip
        self._folders: dict[str, tuple[str, str] | None] = {}

    def place(self, found: str, real: str, *, place: str) -> tuple[str, str]:
        """Return the root and the name of a file that was found, by a walk, in a place."""
        folder, base = os.path.split(real)
        home = self._home(folder)
        if home is not None:
            return home[0], os.path.join(home[1], base)
        root = self._home(os.path.realpath(place))  # a link leads out of all: its name counts
        assert root is not None
        return root[0], os.path.join(root[1], os.path.relpath(found, place))

    def _home(self, folder: str) -> tuple[str, str] | None:
        """Return the root of a real folder and the folder's name in there; None outside of all."""
        if folder not in self._folders:
            inside = os.path.join(folder, "")
            bases = (item for item in self._bases if inside.startswith(os.path.join(item[0], "")))
            base = next(bases, None)
            self._folders[folder] = base and (base[1], os.path.join(base[1], inside[len(os.path.join(base[0], "")) :]))
        return self._folders[folder]
