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

Note [Where there are no processes]
    A process inherits its socket, has its own session and limits: POSIX. On Windows videos are decoded in this process,
    which one line of warning says; what breaks a decoder there breaks more than a file.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from c3dhash.errors import C3DHashError, VideoError
from c3dhash.video.decoder_process import as_video_error
from c3dhash.video.loader import prefetch
from c3dhash.video.messages import receive, send

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

CAN_ISOLATE = os.name == "posix"  # Note [Where there are no processes]
SILENCE_SECONDS = 60.0
MEMORY_BYTES = 4 << 30
EXIT_SECONDS = 5.0  # from closing the socket to being gone
STOPPED = "the decoder was stopped."
MAX_LINES = 10_000  # of logs that are remembered, so that each is said once
# Not by multiprocessing: its "spawn" runs the caller's script again, with all that it imports.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from c3dhash.video.decoder_process import serve; serve()"
)
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
        self._owner = os.getpid()
        self._said: set[tuple[str, str]] = set()
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
        if not CAN_ISOLATE:
            yield from self._stream_here(task, path, options)
            return
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
        return prefetch(function, items, workers=workers, on_stop=self.close)

    def close(self) -> None:
        """End all processes at once; a `stream` that is still read ends with a VideoError."""
        if os.getpid() != self._owner:  # a fork of the process whose pool it is
            return
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
                raise VideoError(STOPPED)
            if self._lender is not None:
                process, is_fresh = self._lender._take(must_be_fresh)
            else:
                is_fresh = must_be_fresh or not self._idle
                process = self._start() if is_fresh else self._idle.pop()
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

    def _start(self) -> _Process:
        return _Process(self._silence_seconds, self._memory_bytes, self._log)

    def _log(self, name: str, level: int, text: str) -> None:
        """Log what a process has to say of a file, each line once, however many of them read it and how often."""
        if (name, text) not in self._said:
            if len(self._said) >= MAX_LINES:
                self._said.clear()
            self._said.add((name, text))
            logging.getLogger(name).log(level, "%s", text)

    def _stream_here(
        self, task: Callable[..., Iterator[Result]], path: Path, options: dict[str, Any]
    ) -> Iterator[Result]:
        """Yield what a task yields in this process. Note [Where there are no processes]."""
        with _saying:  # threads that begin together say it once, too
            _warn_of_no_processes()

        def beat() -> None:
            if self._is_closed:
                raise VideoError(STOPPED)

        try:
            beat()
            yield from task(path, **options, on_frame=beat)
        except C3DHashError:
            raise
        except Exception as error:
            raise as_video_error(error, path, more_than="the memory that is free") from error


def shared_pool() -> DecoderPool:
    """Return the pool of this process, whose processes are kept from one call to the next until it ends.

    Nobody closes it; who must be able to stop takes a `part`.
    """
    return _pool_of(os.getpid())  # a fork must not talk to the processes of its parent


@lru_cache(maxsize=1)
def _pool_of(process_id: int) -> DecoderPool:
    pool = DecoderPool()
    atexit.register(pool.close)
    return pool


_saying = threading.Lock()


@lru_cache(maxsize=1)
def _warn_of_no_processes() -> None:
    logger.warning(
        "this system (%s) has no decoder processes: videos are decoded in this one, which a broken file may end.",
        sys.platform,
    )


class _Process:
    """The parent's end of one process."""

    def __init__(self, silence_seconds: float, memory_bytes: int, log: Callable[[str, int, str], None]) -> None:
        self._log = log
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(silence_seconds)
        arguments = [json.dumps(sys.path), str(theirs.fileno()), str(memory_bytes)]
        with theirs:
            # A session of its own: Ctrl-C in the terminal reaches the parent only, which then ends its processes.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, *arguments], pass_fds=[theirs.fileno()], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ, **_ONE_THREAD},
            )  # fmt: skip

    def run(self, task: Callable[..., Iterator[Any]], path: Path, options: dict[str, Any]) -> Iterator[Any]:
        send(self.connection, (task, path, options, os.getcwd()))  # noqa: PTH109 - what paths are relative to now
        while True:
            kind, value = receive(self.connection)
            if kind == "result":
                yield value
            elif kind == "log":
                self._log(*value)
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


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
