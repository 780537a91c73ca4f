"""Read the text files that come with data sets: lines with their numbers, and names of classes."""

from __future__ import annotations

import re
from pathlib import Path

from c3dhash.errors import DatasetError

# Folders beside the media in which tools keep their lists.
LIST_FOLDERS = frozenset((
    "annotation", "annotations", "file_list", "label_split", "labels", "list", "list_cvt", "lists", "split", "splits",
    "traintestlist", "txt",
))  # fmt: skip
CLASS_FILES = ("labels.txt", "classes.txt", "classInd.txt", "categoryName.txt", "label_map*.txt")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not blank, with their numbers from 1; any line ends, any BOM.

    Raises:
        DatasetError: it is no file, cannot be read or is not UTF-8.
    """
    if path.exists() and not path.is_file():
        raise DatasetError(f"list '{path}' is no file; put a list there, or nothing.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"list '{path}' cannot be read: {error}.") from error
    # Not splitlines(): file names may hold the other characters that it breaks at.
    return [(number, line.strip()) for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1) if line.strip()]


def list_dirs(directory: Path) -> list[Path]:
    """Return a folder and those of its subfolders that hold lists by their name."""
    inner = (path for path in directory.iterdir() if path.name.lower() in LIST_FOLDERS and path.is_dir())
    return [directory, *sorted(inner)]


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read names of classes in either spelling: `Name` a line, or `1 Name` with numbers that count up from 0 or 1.

    Raises:
        DatasetError: a name is there twice.
    """
    lines = read_lines(path)
    numbered = [match for _, line in lines if (match := re.fullmatch(r"(\d+)\s+(.+)", line))]
    names = tuple(line for _, line in lines)
    if len(numbered) == len(lines):
        counted = [int(match[1]) for match in numbered]
        if counted in (list(range(len(lines))), list(range(1, len(lines) + 1))):
            names = tuple(match[2] for match in numbered)
    first_line: dict[str, int] = {}
    for (number, _), name in zip(lines, names, strict=True):
        if name in first_line:
            raise DatasetError(f"'{path}' line {number}: class {name!r} is in line {first_line[name]} too.")
        first_line[name] = number
    return names


def find_class_names(directory: Path) -> tuple[str, ...] | None:
    """Read the names of the classes from the file that holds them, in a folder or its list folders, if any."""
    for pattern in CLASS_FILES:
        for folder in list_dirs(directory):
            for path in sorted(folder.glob(pattern)):
                return read_class_names(path)
    return None


def origin(path: Path, number: int) -> str:
    """Say where a line stands, for errors."""
    return f"'{path}' line {number}"
