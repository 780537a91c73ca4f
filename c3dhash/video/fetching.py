"""Videos on servers, by fsspec: listed where they lie, and fetched into a file for as long as that is read.

    s3://bucket/db ──> every folder listed ──> names, sizes, times
    s3://bucket/db/a.mp4 ──> blocks ──> a scratch folder of its own ──> decoded like any file ──> gone

Note [Listings]
    What is not in a listing is taken for gone, so that a listing is whole or none. Folders are listed one by one,
    since fsspec's own walk passes over what fails. One that may not be listed is told apart, and what lies in it is
    unknown; any other failure ends all of it.

Note [Versions]
    A file is the same as long as its size and time are. Times on object stores are in whole seconds; where there is an
    ETag, it decides the digits behind these: so an object that was replaced within a second differs.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from c3dhash.errors import MissingExtraError, StorageError, UsageError, VideoError
from c3dhash.scratch import ScratchFolder
from c3dhash.urls import top_of
from c3dhash.video.containers import VIDEO_SUFFIXES
from c3dhash.video.loader import stop_point

BLOCK_BYTES = 1 << 20  # read at a time; how much is asked of the server at once is fsspec's business
PAUSES_SECONDS = (1.0, 4.0)  # before what failed is tried again; packages for object stores have tried by themselves
STOP_SECONDS = 0.1  # between looking whether anybody still waits
SECOND_NS = 10**9
# What packages of fsspec call the time of a file, and how two of them tell it.
TIMES = ("LastModified", "mtime", "last_modified", "modified", "updated", "modificationTime", "modify", "created")
FTP_TIME = "%Y%m%d%H%M%S"
MILLISECONDS_FROM = 10**11  # as seconds, the year 5138
AGAIN = "the same command goes on"

Result = TypeVar("Result")


class RemoteFile(NamedTuple):
    """A video file on a server; a size or time that the server does not tell is 0. Note [Versions]."""

    url: str
    size_bytes: int
    mtime_ns: int


def list_remote(url: str, *, on_hidden: Callable[[str, str], object]) -> list[RemoteFile]:
    """List the video files (by suffix) in a folder on a server and its subfolders, or the one that is named.

    Hidden ones are skipped, and they are sorted, as `reader.find_videos` does it.

    Args:
        url: as `urls.checked_url` gives it.
        on_hidden: called with the URL of what may not be looked at, and why.
    Raises:
        StorageError: the place is not there, or not all of it could be listed: Note [Listings].
        UsageError: fsspec, or what it needs for this kind of server, is not installed.
    """
    system = _file_system(url)
    system.invalidate_cache()
    if _is_video(url) and (single := _single_file(system, url)):
        return [single]
    found: list[RemoteFile] = []
    waiting, seen = [url], {url}
    while waiting:
        folder = waiting.pop()
        try:
            entries = _entries(system, folder)
        except _Refused as error:
            if folder == url:
                raise StorageError(f"'{url}' cannot be listed ({error}): nothing was changed.") from error
            on_hidden(folder, f"'{folder}' cannot be listed: {error}.")
            continue
        for entry in entries:
            name = _name_in(system, folder, entry["name"])
            if name is None and entry["type"] == "directory" and entry["name"] == f"{_path(system, folder)}/":
                on_hidden(f"{folder}/", f"folder '{folder}//' has no name, and what is in it is left out: rename it.")
            if name is None or name.rpartition("/")[2].startswith(".") or name in seen:
                continue
            seen.add(name)
            if entry["type"] == "directory":
                waiting.append(name)
            elif _is_video(name) and _is_plain(name[len(url) :]):
                found.append(_facts(name, entry) if entry.get("size") is not None else remote_facts(name))
            elif _is_video(name):
                on_hidden(name, f"video '{name}' has an empty part, '.' or '..' in its name: rename it.")
    return sorted(found, key=lambda file: file.url.split("/"))


def _entries(system: Any, folder: str) -> list[dict[str, Any]]:
    """Return what fsspec says is in a folder."""
    found: list[dict[str, Any]] = _asked(folder, "listed", lambda: system.ls(_path(system, folder), detail=True))
    return found


def remote_facts(url: str) -> RemoteFile:
    """Ask the server what a file is now.

    Raises:
        VideoError: it is not there, or may not be read.
        StorageError: nobody answers.
    """
    system = _file_system(url)
    system.invalidate_cache()
    try:
        entry = _asked(url, "looked at", lambda: system.info(_path(system, url)))
        if entry["type"] != "file":
            raise _Refused("it is a folder")
    except _Refused as error:
        raise VideoError(f"video '{url}' cannot be read: {error}.") from error
    return _facts(url, entry)


@contextmanager
def fetched(url: str) -> Iterator[tuple[Path, RemoteFile]]:
    """Hand out a copy of a file in a scratch folder, which goes afterwards, and what the file is on its server.

    In a thread of `loader.prefetch` or of `clip_stream` it ends with the consumer (Ctrl-C), in the middle of a file.

    Raises:
        VideoError: it is not there, may not be read, or changed meanwhile; or there is no room here.
        StorageError: nobody answers, or the line was cut.
    """
    with ScratchFolder("fetched") as folder:
        path = folder / f"video{PurePosixPath(url).suffix}"
        before = remote_facts(url)
        size_bytes = _fetch(url, path)
        facts = remote_facts(url)
        if facts != before or (facts.size_bytes and size_bytes != facts.size_bytes):
            raise VideoError(f"video '{url}' changed while it was fetched; run the command again.")
        yield path, facts


def _fetch(url: str, path: Path) -> int:
    """Copy a file into one of this machine; return its size in bytes."""
    system, is_left = _file_system(url), threading.Event()

    def copy() -> int:
        with system.open(_path(system, url), "rb") as source:
            try:
                target = path.open("wb")
            except OSError as error:
                raise VideoError(f"video '{url}' cannot be fetched into '{path}': {error.strerror}.") from error
            with target:
                while not is_left.is_set() and (block := source.read(BLOCK_BYTES)):
                    try:
                        target.write(block)
                        target.flush()
                    except OSError as error:
                        raise VideoError(f"video '{url}' cannot be fetched into '{path}': {error.strerror}.") from error
        return path.stat().st_size

    try:
        return _asked(url, "fetched", copy)
    except _Refused as error:
        raise VideoError(f"video '{url}' cannot be read: {error}.") from error
    finally:
        is_left.set()


class _Refused(Exception):
    """A server answers that something is not there, or not for us."""


def _asked(url: str, what: str, ask: Callable[[], Result]) -> Result:
    """Return what a server answers; it is asked again where it does not."""
    for pause in (*PAUSES_SECONDS, None):
        try:
            return _patiently(ask)
        except FileNotFoundError as error:
            raise _Refused("it is not there") from error
        except PermissionError as error:
            raise _Refused(f"no permission, {_first_line(error)}") from error
        except (VideoError, UsageError, MemoryError):
            raise
        except ImportError as error:
            raise _missing_package(url, error) from error
        except Exception as error:  # of whatever package fsspec has taken for this kind of server
            if type(error).__module__.startswith("c3dhash."):
                raise
            if pause is None:
                raise StorageError(f"'{url}' could not be {what} ({_first_line(error)}); {AGAIN}.") from error
        stop_point()
        time.sleep(pause)
    raise AssertionError


def _patiently(ask: Callable[[], Result]) -> Result:
    """Return what a call returns that waits for a server: in a thread that is left to itself once nobody wants it."""
    answer: Future[Result] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # raised again where it is waited for
            answer.set_exception(error)

    threading.Thread(target=work, name="c3dhash-fetch", daemon=True).start()
    while not wait([answer], timeout=STOP_SECONDS).done:
        stop_point()
    return answer.result()


def _file_system(url: str) -> Any:
    """Return fsspec's file system of the server of a URL; it keeps one each."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(f"'{url}' needs the extra remote: pip install 'c3dhash[remote]'") from error
    try:
        return fsspec.core.url_to_fs(f"{top_of(url)}/")[0]
    except ImportError as error:
        raise _missing_package(url, error) from error
    except ValueError as error:
        raise UsageError(f"'{url}' is nothing that fsspec opens ({_first_line(error)}).") from error
    except Exception as error:  # of packages that connect at once
        raise StorageError(f"'{top_of(url)}' cannot be reached ({_first_line(error)}); {AGAIN}.") from error


def _missing_package(url: str, error: ImportError) -> MissingExtraError:
    return MissingExtraError(f"'{url}' needs a package that is not there: {_first_line(error)}.")


def _path(system: Any, url: str) -> str:
    """Return what a file system calls a file."""
    return str(system._strip_protocol(url))


def _single_file(system: Any, url: str) -> RemoteFile | None:
    """Return the file of a URL; None where it is a folder, or is not there."""
    try:
        entry = _asked(url, "looked at", lambda: system.info(_path(system, url)))
    except _Refused:
        return None
    return _facts(url, entry) if entry["type"] == "file" else None


def _name_in(system: Any, folder: str, name: str) -> str | None:
    """Return the URL of what was listed in a folder; None for what lies elsewhere, as links of a page may."""
    own = _path(system, folder).rstrip("/")
    told = str(name).rstrip("/")
    return f"{folder}/{told[len(own) + 1 :]}" if told.startswith(f"{own}/") and told != own else None


def _is_video(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES


def _is_plain(path: str) -> bool:
    """Tell whether a path has no part that a file system here could not have: it stays what it is as a `Path`."""
    return not {"", ".", ".."} & set(path.lstrip("/").split("/")) and not path.startswith("//")


def _facts(url: str, entry: Mapping[str, Any]) -> RemoteFile:
    """Return what an entry of a listing says of a file. Note [Versions]."""
    mtime_ns = next((_seconds(entry[key]) * SECOND_NS for key in TIMES if entry.get(key)), 0)
    if etag := entry.get("ETag"):
        digest = hashlib.blake2b(str(etag).encode(), digest_size=8).digest()
        mtime_ns += int.from_bytes(digest, "big") % SECOND_NS
    return RemoteFile(url, int(entry.get("size") or 0), mtime_ns)


def _seconds(moment: datetime | str | float) -> int:
    """Return a moment in whole seconds since 1970, however a package tells it; 0 where that is not understood."""
    if isinstance(moment, str):
        try:
            is_of_ftp = moment[:14].isdecimal()
            moment = datetime.strptime(moment[:14], FTP_TIME) if is_of_ftp else _iso(moment)
        except ValueError:
            return 0
    if isinstance(moment, datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return int(moment if moment < MILLISECONDS_FROM else moment / 1000)


def _iso(text: str) -> datetime:
    return datetime.fromisoformat(f"{text[:19]}+00:00" if text.endswith("Z") else text)  # 3.10 knows no Z


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(". ")
