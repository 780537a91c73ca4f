"""One writer: the file that a process holds while it writes a gallery, its model or its features.

Who holds it is said in the file. The system lets go of it when the process ends, however that ends, so that a
dead holder is in nobody's way. Readers never need it.

    with writing(gallery_path):      a thread may enter again; other threads and processes wait
        ...

Where the system has no such locks (Windows, some network file systems), a file that only one can make takes its
place: one whose process is dead is taken over on the same machine, and by hand on another.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from c3dhash.errors import GalleryError
from c3dhash.files import is_running, replacing

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

LOCK_NAME = "writer.lock"
EXCLUSIVE_NAME = "writer.pid"  # in its place where there are no locks
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
PATIENCE_SECONDS = 1.0  # waiting no longer than that is not worth a line
SETTLE_SECONDS = 0.2


class _Hold(Protocol):
    """What is held; `release` lets go of it and takes the file away."""

    def release(self) -> None: ...


_held: dict[tuple[str, int], _Hold] = {}  # by folder and thread


@contextlib.contextmanager
def writing(directory: Path, *, timeout_seconds: float | None = None) -> Iterator[None]:
    """Be the one writer of a gallery while the `with` lasts; a thread that is it already goes on.

    Args:
        directory: of the gallery; made where it is missing, and taken away if nothing was written into it.
        timeout_seconds: how long to wait for another writer, who is named in the log; None for as long as it takes.
    Raises:
        GalleryError: another writer is not done in time, or the folder cannot be made or written.
    """
    key = os.path.realpath(directory), threading.get_ident()
    if key in _held:
        yield
        return
    is_made = not directory.exists()
    _held[key] = _wait(directory, timeout_seconds)
    try:
        yield
    finally:
        hold = _held.pop(key, None)  # a forked child has none
        if hold is not None:
            hold.release()
        if is_made:
            with contextlib.suppress(OSError):
                directory.rmdir()  # does so only where it is empty


def _wait(directory: Path, timeout_seconds: float | None) -> _Hold:
    start, pause, is_told = time.monotonic(), 0.001, False
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GalleryError(
                f"gallery '{directory}' cannot be made: {error.strerror}; choose another folder."
            ) from error
        try:
            hold = _try_lock(directory)
        except OSError as error:
            raise GalleryError(
                f"gallery '{directory}' cannot be written ({error.strerror}): get the right to write it, or index "
                "into another folder."
            ) from error
        if hold is not None:
            return hold
        waited = time.monotonic() - start
        if timeout_seconds is not None and waited >= timeout_seconds:
            raise GalleryError(
                f"gallery '{directory}' is being written by {_holder(directory)} (waited {timeout_seconds:g} s): "
                "run again when that is done."
            )
        if waited >= PATIENCE_SECONDS and not is_told:
            is_told = True
            logger.info("gallery '%s' is being written by %s: waiting until that is done.",
                        directory, _holder(directory))  # fmt: skip
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def _try_lock(directory: Path) -> _Hold | None:
    """Take the lock; None where another has it."""
    if fcntl is None:
        return _Exclusive.make(directory / EXCLUSIVE_NAME)
    path = directory / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # its last holder took the folder away
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_file(descriptor, path):  # its last holder took it away, and nobody would see it
            os.close(descriptor)
            return None
    except OSError as error:
        os.close(descriptor)
        if error.errno in NO_LOCKS:
            return _Exclusive.make(directory / EXCLUSIVE_NAME)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    os.ftruncate(descriptor, 0)
    os.write(descriptor, _own_card())
    return _Locked(path, descriptor)


class _Locked:
    """A file that the system has locked for us."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self.descriptor = path, descriptor

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self.descriptor)


class _Exclusive:
    """A file that was made by us, with our card in it."""

    def __init__(self, path: Path, card: bytes) -> None:
        self._path, self._card = path, card

    @classmethod
    def make(cls, path: Path) -> _Exclusive | None:
        """Make the file, or take over that of a dead process of this machine; None where another has it."""
        card = _own_card()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            if not _is_dead(path):
                return None
            with replacing(path, is_durable=False) as partial:
                partial.write_bytes(card)
            time.sleep(SETTLE_SECONDS)  # two may have seen the dead one: the last card in the file is the holder's
        else:
            os.write(descriptor, card)
            os.close(descriptor)
        return cls(path, card) if path.read_bytes() == card else None

    def release(self) -> None:
        with contextlib.suppress(OSError):
            if self._path.read_bytes() == self._card:
                self._path.unlink()


def _own_card() -> bytes:
    """Say who we are, for those who wait."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    card = {"pid": os.getpid(), "host": socket.gethostname(), "command": command,
            "since": datetime.now().astimezone().isoformat(timespec="seconds")}  # fmt: skip
    return json.dumps(card).encode()


def _holder(directory: Path) -> str:
    """Say who holds the lock, as far as it is known."""
    for name in (EXCLUSIVE_NAME, LOCK_NAME):
        card = _read_card(directory / name)
        if card:
            by_hand = f"; if it is not, delete '{directory / name}'" if name == EXCLUSIVE_NAME else ""
            return (
                f"process {card.get('pid')} on {card.get('host')} since {card.get('since')} "
                f"({card.get('command')}{by_hand})"
            )
    return "another process"


def _read_card(path: Path) -> dict[str, object]:
    try:
        card = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def _is_dead(path: Path) -> bool:
    """Tell whether the process whose card is in a file ran on this machine and is gone."""
    card = _read_card(path)
    pid = card.get("pid")
    return card.get("host") == socket.gethostname() and isinstance(pid, int) and not is_running(pid)


def _is_file(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is the one under a name."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)


def _forget_in_child() -> None:
    """A forked child holds nothing; with its copies open, the locks would outlive their holder."""
    for hold in _held.values():
        if isinstance(hold, _Locked):
            os.close(hold.descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
