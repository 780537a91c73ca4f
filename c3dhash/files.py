"""Write, replace and delete files so that nothing is found half-written and nothing is lost that we did not write.

Whatever replaces or deletes a file does it here. Three things say that something is ours:

    a temporary name   .c3dhash-partial-PLACE-PROCESS-NUMBER: what is being written, and after a kill a leftover
    a marker           the file .c3dhash in a folder: who of us writes there, and what he must remember
    a seal             a marker with the hash of all that the folder held when it was written

Marked, a folder may hold files of the user too: what is deleted in it is chosen by a name of our own. Sealed, it may
be replaced as a whole while it still is what was sealed.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from c3dhash.errors import UsageError

MARKER = ".c3dhash"
FORMAT_VERSION = 1  # of the marker
LEFTOVER_SECONDS = 24 * 3600  # what a process that we cannot ask about has not touched for so long is a leftover
NUM_NAMED = 3  # files that an error names

_TEMPORARY = re.compile(r"\.c3dhash-partial-(?P<place>[0-9a-f]{8})-(?P<process>\d+)-\d+(\.\w+)?")
_numbers = itertools.count()


def temporary_path(path: Path, *, suffix: str = "") -> Path:
    """Return a name beside `path` that nobody else uses; hidden, and short however long the name of `path` is.

    Args:
        suffix: for writers that choose the format by it.
    """
    return path.with_name(f".c3dhash-partial-{_place()}-{os.getpid()}-{next(_numbers)}{suffix}")


@functools.cache
def _place() -> str:
    """Return 8 hexadecimal digits for where process numbers mean the same: a machine, or a container on it."""
    processes = ""
    with suppress(OSError):  # not Linux
        processes = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.blake2b(f"{platform.node()} {processes}".encode(), digest_size=4).hexdigest()


def _umask() -> int:
    """Return what is taken from the permissions of new files."""
    mask = os.umask(0o077)  # asked by setting it; what is made meanwhile is made for the owner alone
    os.umask(mask)
    return mask


@contextmanager
def replacing(path: Path, *, suffix: str = "", is_durable: bool = True, must_be_free: bool = False) -> Iterator[Path]:
    """Hand out a temporary path; what is a file there in the end takes the place of `path`. An error leaves no trace.

    Args:
        suffix: as of `temporary_path`.
        is_durable: the file is on the disk before it gets its name, so that a power cut leaves the old one or the new
            one; not needed for what can be made again.
        must_be_free: nothing is replaced, as of `require_free`, also not what came meanwhile.
    """
    if must_be_free:
        require_free(path)
    partial = temporary_path(path, suffix=suffix)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # safetensors writes for the owner alone
        if is_durable:
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
        if must_be_free:
            require_free(path)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_text(path: Path, text: str, *, errors: str = "strict", must_be_free: bool = False) -> None:
    """Write a UTF-8 text file; a reader finds the old one or the new one.

    Args:
        errors: as of `str.encode`; "backslashreplace" is for people only, who find a file by its name all the same.
        must_be_free: as of `replacing`.
    """
    with replacing(path, must_be_free=must_be_free) as partial:
        partial.write_text(text, encoding="utf-8", errors=errors)


@contextmanager
def replacing_folder(folder: Path, *, made_by: str, **content: Any) -> Iterator[Path]:
    """Hand out a temporary folder; in the end it is sealed and takes the place of `folder`. An error leaves no trace.

    Args:
        folder: may be replaced, see `is_replaceable`.
        made_by, content: as of `mark`.
    Raises:
        UsageError: there is something in the place that is not as we wrote it; it stays.
    """
    partial = temporary_path(folder)
    partial.mkdir(parents=True)
    try:
        yield partial
        mark(partial, made_by=made_by, digest=folder_digest(partial), **content)
        if not is_replaceable(folder, made_by=made_by):
            raise UsageError(f"'{folder}' is not as c3dhash {made_by} left it and stays; move it away and run again.")
        _exchange(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _exchange(new: Path, folder: Path) -> None:
    """Rename a folder into a place; what is there is deleted once the new one is in it."""
    if not folder.exists():
        new.rename(folder)
        return
    old = temporary_path(folder)
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def is_replaceable(folder: Path, *, made_by: str) -> bool:
    """Tell whether nothing is lost with a folder: it is not there, empty, or what `replacing_folder` wrote."""
    if folder.is_symlink():
        return False
    try:
        if not any(folder.iterdir()):
            return True
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False
    content = read_mark(folder, made_by=made_by)
    return content is not None and content.get("digest") == folder_digest(folder)


def folder_digest(folder: Path) -> str:
    """Return the hash of the names and contents of all that is in a folder, its marker apart: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path == folder / MARKER:
            continue
        if path.is_symlink():
            content = f"link {path.readlink()}"
        else:
            content = file_digest(path) if path.is_file() else "folder"
        digest.update(repr((os.fsencode(path.relative_to(folder)), os.fsencode(content))).encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the BLAKE2b hash of the bytes of a file that fits into memory: 32 hexadecimal digits."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def mark(folder: Path, *, made_by: str, **content: Any) -> None:
    """Note in a folder who of us writes there; several may.

    Args:
        made_by: the command or the part of c3dhash, as errors name it.
        content: what it must remember, as JSON can hold it.
    """
    marks = _read_marks(folder)
    write_text(folder / MARKER, json.dumps({"format_version": FORMAT_VERSION, **marks, made_by: content}) + "\n")


def read_mark(folder: Path, *, made_by: str) -> dict[str, Any] | None:
    """Return what `mark` noted for somebody; None where there is nothing, or nothing that we can read."""
    content = _read_marks(folder).get(made_by)
    return content if isinstance(content, dict) else None


def _read_marks(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_ours = isinstance(content, dict) and content.get("format_version") == FORMAT_VERSION
    return content if is_ours else {}


def claim_folder(folder: Path, *, made_by: str, own_names: tuple[str, ...] = (), **content: Any) -> dict[str, Any]:
    """Make a folder ours to write in: one that is new, empty or marked already.

    Args:
        made_by, content: as of `mark`.
        own_names: what else may be in it.
    Returns:
        The content of the mark: what it was given now, or when the folder was claimed first.
    Raises:
        UsageError: the folder holds something else, or cannot be made.
    """
    known = read_mark(folder, made_by=made_by)
    if known is not None:
        return known
    with _writable(folder):
        _check_free(folder, [path.name for path in folder.iterdir() if path.name not in own_names], made_by=made_by)
        mark(folder, made_by=made_by, **content)
    return content


@contextmanager
def leaving_no_trace(folder: Path) -> Iterator[None]:
    """Delete a folder that this block makes where the block fails with nothing in it yet.

    A folder that was there before stays, and so does one with anything but our marker in it.
    """
    was_there = os.path.lexists(folder)
    try:
        yield
    except BaseException:
        if not was_there and folder.is_dir() and [path.name for path in folder.iterdir()] == [MARKER]:
            (folder / MARKER).unlink()
            folder.rmdir()
        raise


def claim_names(folder: Path, names: Sequence[str], *, made_by: str, first_names: Sequence[str] = ()) -> None:
    """Make some names in a folder ours to write, whatever else it holds: those that are free, or were ours before.

    Args:
        first_names: what a mark that lists no names stands for.
    Raises:
        UsageError: there is a file of these names that is not ours, or the folder cannot be made.
    """
    known = read_mark(folder, made_by=made_by)
    own = set() if known is None else set(known.get("names", first_names))
    if known is None or not own.issuperset(names):
        with _writable(folder):
            taken = [name for name in names if name not in own and os.path.lexists(folder / name)]
            _check_free(folder, taken, made_by=made_by)
            mark(folder, made_by=made_by, names=sorted(own.union(names)))


def require_free(path: Path) -> None:
    """Make sure that a file can be written without replacing anything, before what goes into it is computed.

    Raises:
        UsageError: something is there, or its folder is not, or cannot be written.
    """
    if os.path.lexists(path):
        raise UsageError(f"'{path}' is there already and stays as it is; name another file, or move it away.")
    if not path.parent.is_dir():
        raise UsageError(f"'{path}' cannot be written: there is no folder '{path.parent}'.")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"'{path}' cannot be written: '{path.parent}' is read-only; name another folder.")


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Make a folder; an error says that it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(f"'{folder}' cannot be written ({error.strerror}); name another folder.") from error


def _check_free(folder: Path, names: list[str], *, made_by: str) -> None:
    """Raise where a name of a folder is neither free nor a leftover of ours."""
    strangers = sorted(name for name in names if not _TEMPORARY.fullmatch(name))
    if strangers:
        shown = ", ".join(strangers[:NUM_NAMED]) + (", ..." if len(strangers) > NUM_NAMED else "")
        raise UsageError(
            f"'{folder}' holds what c3dhash {made_by} did not write ({shown}), and that stays as it is; name a new or "
            "an empty folder."
        )


def is_inside(path: Path, folder: Path) -> bool:
    """Tell whether a path is a folder or lies in it, whatever links lead there."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def own_files(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files in a folder whose whole name is of a pattern that is ours, with their facts; no links.

    None where there is no such folder; files that vanish meanwhile are passed over.
    """
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        yield Path(entry.path), entry.stat(follow_symlinks=False)


def delete_own_files(folder: Path, pattern: re.Pattern[str]) -> tuple[int, int]:
    """Delete the files of `own_files`, and leftovers; return how many files and bytes that freed."""
    num_files = num_bytes = 0
    for path, stat in list(own_files(folder, pattern)):
        with suppress(FileNotFoundError):  # another process deletes too
            path.unlink()
            num_files, num_bytes = num_files + 1, num_bytes + stat.st_size
    clear_leftovers(folder)
    return num_files, num_bytes


def clear_leftovers(folder: Path) -> None:
    """Delete what processes that are gone have left half-written in a folder."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return
    for path in paths:
        match = _TEMPORARY.fullmatch(path.name)
        if match and _is_leftover(path, place=match["place"], process_id=int(match["process"])):
            with suppress(OSError):  # another process clears too, or may not be disturbed
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _is_leftover(path: Path, *, place: str, process_id: int) -> bool:
    """Tell whether nobody writes to a temporary file: its process is gone, or it was not touched for a day."""
    if place == _place() and not is_running(process_id):
        return True
    try:
        return time.time() - path.lstat().st_mtime > LEFTOVER_SECONDS
    except FileNotFoundError:
        return False


def is_running(process_id: int) -> bool:
    """Tell whether there is a process of a number, as far as can be told."""
    if os.name != "posix":  # where signal 0 ends the process
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
