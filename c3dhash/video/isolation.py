"""Read videos in processes of their own, so that a broken file costs that file and nothing else.

    thread ──> DecoderPool.stream(read_clips, path, ...) ══ socket ══> process: for clip in read_clips(path, ...)
                 time limit, exit status, retry            clips, ends,    memory limit; no torch
                                                           beats, logs

A decoder is a million lines of C that read bytes of strangers. Where it crashes, hangs or asks for all memory, the
process ends, its file gets a VideoError, and the next file a new process. This is a guard against accidents, not a
sandbox: the process has the rights of the user.

Note [Limits]
    Time is measured while a caller waits, from the last sign of life: a clip, or the beat that the process sends with
    the frames it decodes, once a second. So a long video may take hours, and a hang is noticed after one limit.
    Memory is limited by address space (RLIMIT_AS), where the system enforces it. Measured peaks for clips of 128 px,
    the highest of H.264, H.265 and VP9 with 4 reference frames: 0.4 GiB of 4K, 0.9 GiB of 8K; MEMORY_BYTES is four
    times that. A process sends nothing ahead of its socket, so it holds one clip more than was taken.

Note [Whose crash]
    What one file breaks in a process may crash it at the next. So a file that fails in a process that has read others
    is read again in a new one, and only what happens there is held against it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from c3dhash.errors import C3DHashError, VideoError

Item = TypeVar("Item")
Result = TypeVar("Result")

SILENCE_SECONDS = 60.0
MEMORY_BYTES = 4 << 30
BEAT_SECONDS = 1.0
EXIT_SECONDS = 5.0  # from closing the socket to being gone
# Not by multiprocessing: its "spawn" runs the caller's script again, with all that it imports.
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from c3dhash.video.isolation import serve; serve()"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class DecoderPool:
    """Processes that read one video at a time; each is started when needed, and all are gone after `close`.

    Safe to use from several threads; there are as many processes as calls at the same time.

    Args:
        silence_seconds: how long a process may be silent before it is ended. Note [Limits].
        memory_bytes: how much memory a process may ask for.
    """

    def __init__(self, *, silence_seconds: float = SILENCE_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._silence_seconds, self._memory_bytes = silence_seconds, memory_bytes
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._running: set[_Process] = set()
        self._is_closed = False
        self._lender: DecoderPool | None = None

    def part(self) -> DecoderPool:
        """Return a pool that borrows its processes from this one, and gives them back after each video.

        Its `close` ends those that are at work for it, and leaves the others to this pool.
        """
        part = DecoderPool(silence_seconds=self._silence_seconds, memory_bytes=self._memory_bytes)
        part._lender = self
        return part

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(self, task: Callable[..., Iterator[Result]], path: Path, **options: Any) -> Iterator[Result]:
        """Yield what `task(path, **options, on_frame=beat)` yields in a process.

        Args:
            task: a generator function of an importable module; calls `on_frame()` with each frame that it decodes.
        Raises:
            VideoError: the process crashed, was silent for too long or ran out of memory; or `task` raised it.
        """
        num_given, must_be_fresh = 0, False
        while True:
            process, is_fresh = self._take(must_be_fresh)
            is_done = False
            try:
                for index, result in enumerate(process.run(task, path, options)):
                    if index >= num_given:
                        num_given += 1
                        yield result
                is_done = True
            except C3DHashError:
                is_done = True
                raise
            except TimeoutError as error:
                raise VideoError(
                    f"video '{path}' gave no frame for {self._silence_seconds:g} s; it was given up. "
                    "Copy or download it again, or leave it out."
                ) from error
            except (EOFError, OSError) as error:
                if self._is_closed or is_fresh:
                    raise VideoError(f"video '{path}': the decoder {process.how_it_ended()}; leave it out.") from error
                must_be_fresh = True
            finally:
                self._give_back(process, is_usable=is_done)
            if is_done:
                return

    def call(self, task: Callable[..., Iterator[Result]], path: Path, **options: Any) -> Result:
        """Return the one thing that a task yields; see `stream`."""
        (result,) = self.stream(task, path, **options)
        return result

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
        """Yield function(item) in order, computed in threads that use this pool; close the pool at the end.

        `loader.prefetch` with one difference: where the consumer stops, files at hand are dropped, not read to the end.
        """
        waiting: deque[Future[Result]] = deque()
        threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="c3dhash-isolation")
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            self.close()
            threads.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """End all processes at once; a `stream` that is still read ends with a VideoError."""
        with self._lock:
            self._is_closed = True
            running, idle = list(self._running), self._idle
            self._idle = []
        for process in running:  # the thread that reads from it notices and closes its socket
            process.end()
        for process in idle:
            process.close()

    def _take(self, must_be_fresh: bool) -> tuple[_Process, bool]:
        """Return a process, and whether it is a new one."""
        with self._lock:
            if self._is_closed:
                raise VideoError("the decoder was stopped.")
            if self._lender is not None:
                process, is_fresh = self._lender._take(must_be_fresh)
            else:
                is_fresh = must_be_fresh or not self._idle
                process = _Process(self._silence_seconds, self._memory_bytes) if is_fresh else self._idle.pop()
            self._running.add(process)
            return process, is_fresh

    def _give_back(self, process: _Process, *, is_usable: bool) -> None:
        with self._lock:
            self._running.discard(process)
            is_usable = is_usable and not self._is_closed  # closed: it may have been ended just now
            if is_usable and self._lender is None:
                self._idle.append(process)
                return
        if self._lender is not None:
            self._lender._give_back(process, is_usable=is_usable)
        else:
            process.close()


@lru_cache
def shared_pool() -> DecoderPool:
    """Return the pool of this process, whose processes are kept from one call to the next until it ends.

    Nobody closes it; who must be able to stop takes a `part`.
    """
    pool = DecoderPool()
    atexit.register(pool.close)
    return pool


class _Process:
    """The parent's end of one process."""

    def __init__(self, silence_seconds: float, memory_bytes: int) -> None:
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(silence_seconds)
        arguments = [json.dumps(sys.path), str(theirs.fileno()), str(memory_bytes)]
        with theirs:
            # A session of its own: Ctrl-C in the terminal reaches the parent only, which then ends its processes.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, *arguments], pass_fds=[theirs.fileno()], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ, **_ONE_THREAD},
            )  # fmt: skip

    def run(self, task: Callable, path: Path, options: dict[str, Any]) -> Iterator[Any]:
        _send(self.connection, (task, path, options, os.getcwd()))  # noqa: PTH109 - what paths are relative to now
        while True:
            kind, value = _receive(self.connection)
            if kind == "result":
                yield value
            elif kind == "log":
                logging.getLogger(value[0]).log(value[1], "%s", value[2])
            elif kind == "error":
                raise value
            elif kind == "done":
                return

    def how_it_ended(self) -> str:
        """Say how a process ended that hung up."""
        try:
            status = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return "hung up"
        return f"crashed (signal {-status}, {_signal_name(-status)})" if status < 0 else f"left with status {status}"

    def end(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.end()
        self.connection.close()


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
            task, path, options, directory = _receive(connection)
            try:
                os.chdir(directory)
                for result in task(path, **options, on_frame=beat):
                    _send(connection, ("result", result))
                message = ("done", None)
            except ConnectionError:
                return
            except Exception as error:
                message = ("error", _for_the_file(error, path, memory_bytes))
            _send(connection, message)


def _for_the_file(error: Exception, path: Path, memory_bytes: int) -> C3DHashError:
    """Return an error of a task as one that c3dhash knows."""
    if isinstance(error, C3DHashError):
        return error
    # OpenCV: Error::StsNoMem, and what C++ throws below it.
    if isinstance(error, MemoryError) or getattr(error, "code", None) == -4 or "bad_alloc" in str(error):
        return VideoError(f"video '{path}' needs more than {memory_bytes / 2**30:.1f} GiB to decode; leave it out.")
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
            _send(self._connection, ("beat", None))
            self._last = time.monotonic()


class _LogSender(logging.Handler):
    """Hands log records to the parent, where the user's handlers are."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        _send(self._connection, ("log", (record.name, record.levelno, record.getMessage())))


def _send(connection: socket.socket, message: Any) -> None:
    """Send a message: the number and the lengths of its parts, then the parts: a pickle, and each array as it lies."""
    buffers: list[pickle.PickleBuffer] = []
    parts = [memoryview(pickle.dumps(message, protocol=5, buffer_callback=buffers.append))]
    parts += [buffer.raw() for buffer in buffers]
    connection.sendall(struct.pack(f">Q{len(parts)}Q", len(parts), *(part.nbytes for part in parts)))
    for part in parts:
        connection.sendall(part)


def _receive(connection: socket.socket) -> Any:
    (num_parts,) = struct.unpack(">Q", _receive_bytes(connection, 8))
    lengths = struct.unpack(f">{num_parts}Q", _receive_bytes(connection, 8 * num_parts))
    pickled, *buffers = (_receive_bytes(connection, length) for length in lengths)
    return pickle.loads(pickled, buffers=buffers)


def _receive_bytes(connection: socket.socket, length: int) -> bytearray:
    content = bytearray(length)
    rest = memoryview(content)
    while rest:
        num_read = connection.recv_into(rest)
        if not num_read:
            raise EOFError("the process hung up")
        rest = rest[num_read:]
    return content


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
