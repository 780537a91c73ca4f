"""The life of a decoder process, the other end of c3dhash.video.isolation: limits, tasks, signs of life, logs."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path

from c3dhash.errors import C3DHashError, VideoError
from c3dhash.video.messages import receive, send

BEAT_SECONDS = 1.0


def serve() -> None:
    """Run the tasks that come through the socket, until it closes: the life of a process."""
    file_number, memory_bytes = map(int, sys.argv[2:])
    connection = socket.socket(fileno=file_number)
    _set_limits(memory_bytes)
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    logging.getLogger().addHandler(_LogSender(connection))
    beat = _Beat(connection)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            task, path, options, directory = receive(connection)
            try:
                os.chdir(directory)
                for result in task(path, **options, on_frame=beat):
                    send(connection, ("result", result))
                message: tuple[str, C3DHashError | None] = ("done", None)
            except ConnectionError:
                return
            except Exception as error:
                message = ("error", as_video_error(error, path, more_than=f"{memory_bytes / 2**30:.1f} GiB"))
            send(connection, message)


def as_video_error(error: Exception, path: Path, *, more_than: str) -> C3DHashError:
    """Return an error of a task as one that c3dhash knows.

    Args:
        more_than: how much memory there was.
    """
    if isinstance(error, C3DHashError):
        return error
    # OpenCV: Error::StsNoMem, and what C++ throws below it.
    if isinstance(error, MemoryError) or getattr(error, "code", None) == -4 or "bad_alloc" in str(error):
        return VideoError(f"video '{path}' needs more than {more_than} to decode; leave it out.")
    return VideoError(f"video '{path}' failed in the decoder: {error!r}.")


def _set_limits(memory_bytes: int) -> None:
    import resource  # POSIX only

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # a system without this limit, or one that is lower already
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _leave_with_parent(parent: int) -> None:
    """End this process when the parent is gone, also in the middle of a decoder that hangs."""
    while os.getppid() == parent:
        time.sleep(BEAT_SECONDS)
    os._exit(1)


class _Beat:
    """Called with each frame; tells the parent once a second that there are frames."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._last = connection, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last > BEAT_SECONDS:
            send(self._connection, ("beat", None))
            self._last = time.monotonic()


class _LogSender(logging.Handler):
    """Hands log records to the parent, where the user's handlers are."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        send(self._connection, ("log", (record.name, record.levelno, record.getMessage())))
