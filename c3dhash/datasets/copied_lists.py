"""Copy the list files of a data set into a folder of ours, and leave those alone that were changed there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from c3dhash.errors import UsageError
from c3dhash.files import file_digest, is_inside, mark, read_mark, replacing

LIST_SUFFIXES = frozenset((".txt", ".csv", ".json", ".lst"))


def copy_lists(source: Path, target: Path, *, made_by: str) -> tuple[str, ...]:
    """Copy the list files in a folder and its subfolders; return the names of those that are not replaced.

    The marker of the target remembers the hash of every list as it was copied. A list is replaced while it is that
    copy; what the user wrote or changed there stays.

    Args:
        target: a folder that carries our mark; it may lie in `source`, and is no part of it.
        made_by: whose mark; other folders that carry it are no part of the source either.
    Raises:
        UsageError: a list cannot be read or written.
    """
    content = read_mark(target, made_by=made_by) or {}
    copied: dict[str, str] = dict(content.get("lists", {}))
    kept = []
    try:
        for path in _lists(source, target, made_by):
            name, digest = path.relative_to(source).as_posix(), file_digest(path)
            copy = target / name
            there = file_digest(copy) if copy.is_file() else None
            if copy.is_symlink() or there not in (None, digest, copied.get(name)):
                kept.append(name)
                continue
            if there != digest:
                copy.parent.mkdir(parents=True, exist_ok=True)
                with replacing(copy) as partial:
                    shutil.copyfile(path, partial)
            copied[name] = digest
        mark(target, made_by=made_by, **{**content, "lists": copied})
    except OSError as error:
        raise UsageError(f"cannot copy the lists to '{target}' ({error.strerror}: '{error.filename}').") from error
    return tuple(kept)


def _lists(source: Path, target: Path, made_by: str) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(source):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if not name.startswith(".")
            and not is_inside(Path(folder, name), target)
            and read_mark(Path(folder, name), made_by=made_by) is None
        )
        for name in sorted(names):
            if Path(name).suffix.lower() in LIST_SUFFIXES and not name.startswith("."):
                yield Path(folder, name)
