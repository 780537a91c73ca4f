"""List files: train.txt, val.txt, test.txt, ... with a video a line, in one of five conventions.

A list is a .txt, .csv or .lst file whose name speaks of one split (`train`, `trainlist01`, `db_20_420`,
`ucf101_val_split_2_videos`), in the data set's folder or a list folder (`annotations/`, `lists/`, ...). A number
after that word or after `split` is that of the split: `--split 2` reads the lists of split 2. Which convention a
list follows is found by looking: one that reads most of its lines, and whose paths are there.

Paths count from the data set's folder or one of its media folders. Where they are none of that (lists that
were written for another machine), leading folders are left off until they fit, as many for all paths of a list.
Class names come from labels.txt (`Name` or `1 Name`), else from the folders the videos lie in where each label has
one folder, else they are the numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from c3dhash.datasets.assemble import Entry, Listing
from c3dhash.datasets.conventions import CONVENTIONS, Line, class_folder
from c3dhash.datasets.places import SPLIT_WORDS, Places, split_of_name
from c3dhash.datasets.samples import SPLITS
from c3dhash.datasets.text import find_class_names, list_dirs, origin, read_lines
from c3dhash.errors import DatasetError

LIST_SUFFIXES = (".txt", ".csv", ".lst")
NUM_LOOKED_AT = 200  # lines of a list that decide on its convention
NUM_LOOKED_FOR = 20  # paths of a list that are looked for on disk to decide where they count from

_WORDS = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))
_SPLIT_NUMBER = re.compile(rf"(?:split|fold|{_WORDS})[_-]?0*(?P<number>[1-9]\d?)(?!\d)")
_COUNTS = re.compile(rf"(?:{_WORDS})[_-]\d+_\d+$")  # train_10_210: 10 of each class, 210 in all


@dataclass(frozen=True)
class _ListFile:
    """A list file. number: of its split, None where its name has none. variant: its folder and the rest of its
    name, which are the same for lists that belong together."""

    path: Path
    split: str
    number: int | None
    variant: str


@dataclass(frozen=True)
class _Lists:
    """Lists that belong together, in one convention. found_share: of the paths looked for, those that are there."""

    files: tuple[_ListFile, ...]
    convention: str
    found_share: float


@dataclass(frozen=True)
class _Row:
    """A line of a list, the split of the list, and where it stands."""

    split: str
    line: Line
    origin: str


def recognise(directory: Path, *, convention: str) -> bool:
    """Tell whether a folder holds lists in a convention."""
    files = find_list_files(directory)
    numbers = sorted({file.number or 1 for file in files})
    found = _choose(directory, files, split=numbers[0], only=None) if numbers else []
    return bool(found) and found[0].convention == convention


def read(directory: Path, *, split: int, convention: str) -> Listing:
    """Read the lists of a split."""
    files = find_list_files(directory)
    if not files:
        raise DatasetError(f"'{directory}' has no list files such as train.txt and test.txt.")
    numbers = sorted({file.number or 1 for file in files})
    if split not in numbers:
        known = ", ".join(map(str, numbers))
        raise DatasetError(f"split ({split}) has no list in '{directory}'; there are lists of split {known}.")
    found = _choose(directory, files, split=split, only=convention)
    if not found:
        form = CONVENTIONS[convention].form
        raise DatasetError(f"no list of split {split} in '{directory}' has lines '{form}'.")
    lists = found[0]
    _check_twins(lists.files)
    rows = [row for file in lists.files for row in _rows(file, convention)]
    classes = find_class_names(directory) or _class_names([row.line for row in rows])
    entries = [
        Entry((name,), row.line.labels or (), row.split, row.origin, row.line.segment, row.line.frames)
        for row, name in zip(rows, _names(directory, rows), strict=True)
    ]
    notes = [
        f"'{other.files[0].path}' and what belongs to it is not read."
        for other in _choose(directory, files, split=split, only=None)
        if other.files != lists.files and other.found_share
    ]
    return Listing(classes, tuple(entries), tuple(notes))


def twins(directory: Path, names: list[str]) -> list[Path]:
    """Return the lists in a folder that would be read together with lists of some names, were these written there."""
    variants = {_list_file(directory / name, "train").variant for name in names}
    return [file.path for file in find_list_files(directory) if file.variant in variants]


def find_list_files(directory: Path) -> list[_ListFile]:
    """Return the files of a data set that may be lists, by their names."""
    paths = (path for folder in list_dirs(directory) for path in sorted(folder.iterdir()))
    return [
        _list_file(path, split)
        for path in paths
        if path.suffix.lower() in LIST_SUFFIXES and (split := split_of_name(path.stem)) and path.is_file()
    ]


def _list_file(path: Path, split: str) -> _ListFile:
    stem = path.stem.lower()
    number = None if _COUNTS.search(stem) else _SPLIT_NUMBER.search(stem)
    words = [word for word in re.findall(r"[a-z]+", stem) if word not in (*SPLIT_WORDS, "split", "fold", "list")]
    return _ListFile(path, split, int(number["number"]) if number else None, " ".join([str(path.parent), *words]))


def _choose(directory: Path, files: list[_ListFile], *, split: int, only: str | None) -> list[_Lists]:
    """Return the lists of a split, best first: whose paths are there, whose number it is, of videos.

    Args:
        only: the convention they must be in; None for any.
    """
    variants: dict[str, list[_ListFile]] = {}
    for file in files:
        variants.setdefault(file.variant, []).append(file)
    found = []
    for variant in variants.values():
        numbered = [file for file in variant if file.number == split]
        covered = {file.split for file in numbered}
        common = [file for file in variant if file.number is None and file.split not in covered]
        if (numbered or (common and split == 1)) and (lists := _look(directory, [*numbered, *common], only=only)):
            rank = (not lists.found_share, not numbered, -list(CONVENTIONS).index(lists.convention))
            found.append((rank, lists))
    return [lists for _, lists in sorted(found, key=lambda ranked: ranked[0])]


def _look(directory: Path, files: list[_ListFile], *, only: str | None) -> _Lists | None:
    """Find the convention of lists that belong together by their first, the training list where there is one."""
    files = sorted(files, key=lambda file: SPLITS.index(file.split))
    lines = [line for _, line in read_lines(files[0].path)[:NUM_LOOKED_AT]]
    parsed = {
        name: [line for line in map(convention.parse, lines) if line and line.labels is not None]
        for name, convention in CONVENTIONS.items()
        if only in (None, name)
    }
    places = Places(directory)
    found_share = {
        name: _best_drop(places, files[0].split, [line.path for line in parsed[name]])[1]
        for name in _likely({name: len(found) for name, found in parsed.items()})
    }
    if not found_share:
        return None
    best = max(found_share, key=lambda name: found_share[name])
    return _Lists(tuple(files), best, found_share[best])


def _likely(num_parsed: dict[str, int]) -> list[str]:
    """Return the conventions that a list may follow, by the number of its lines that they read.

    One that says more is preferred although it does not read some lines: these are wrong, and must not turn times
    into labels. Only an offset is in every line or in none.
    """
    most = max(num_parsed.values())
    return [
        name
        for name, count in num_parsed.items()
        if 2 * count > most and not (name == "rawframes_offset" and count < num_parsed.get("rawframes", 0))
    ]


def _best_drop(places: Places, split: str, names: list[str]) -> tuple[int, float]:
    """Return how many leading folders to leave off of some paths, and the share of them that is then there.

    None where any path is there as it stands: the others are missing then, and without their folders they could
    be found under the name of another video (`gallery/walk/1.mp4` as `train/walk/1.mp4`).
    """
    names = names[:: -(-len(names) // NUM_LOOKED_FOR)]
    num_hits = [
        sum(places.find([_without_leading(name, drop)], split=split) is not None for name in names)
        for drop in range(1 + min(name.count("/") for name in names))
    ]
    drop = 0 if num_hits[0] else num_hits.index(max(num_hits))
    return drop, num_hits[drop] / len(names)


def _without_leading(name: str, drop: int) -> str:
    return name.split("/", drop)[drop]


def _check_twins(files: tuple[_ListFile, ...]) -> None:
    first: dict[str, Path] = {}
    for file in files:
        if file.split in first:
            raise DatasetError(f"two lists for {file.split}: '{first[file.split]}' and '{file.path}'; move one away.")
        first[file.split] = file.path


def _rows(file: _ListFile, convention: str) -> list[_Row]:
    rows = []
    for number, text in read_lines(file.path):
        line = CONVENTIONS[convention].parse(text)
        if line is None and file.split == "query":
            bare = CONVENTIONS["lists"].parse(text)
            line = bare if bare and bare.labels is None else None
        if line is None or (line.labels is None and file.split != "query"):
            form = CONVENTIONS[convention].form
            raise DatasetError(f"{origin(file.path, number)}: expected '{form}', labels from 0, got {text!r}.")
        rows.append(_Row(file.split, line, origin(file.path, number)))
    return rows


def _names(directory: Path, rows: list[_Row]) -> list[str]:
    """Return the path of every row, without the leading folders that do not fit."""
    places = Places(directory)
    drops = {
        split: _best_drop(places, split, [row.line.path for row in rows if row.split == split])[0]
        for split in {row.split for row in rows}
    }
    return [_without_leading(row.line.path, drops[row.split]) for row in rows]


def _class_names(lines: list[Line]) -> tuple[str, ...]:
    """Name the classes after the folders of their videos where that is clear, else by their numbers."""
    folders: dict[int, set[str]] = {}
    for line in lines:
        for label in line.labels or ():
            folders.setdefault(label, set()).add(class_folder(line.path))
    num_classes = max(folders, default=-1) + 1
    names = [next(iter(folders.get(label, {str(label)}))) for label in range(num_classes)]
    if all(len(found) == 1 for found in folders.values()) and len(set(names)) == num_classes and all(names):
        return tuple(names)
    return tuple(str(label) for label in range(num_classes))
