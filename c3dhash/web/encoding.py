"""One thread that encodes what arrives, whoever sent it: what waits, and what comes meanwhile, shares batches.

    requests ──> waiting jobs ──> encoder: those of one kind at a time ──> results, each as it is through

A kind is how videos are read: jobs of another one wait until the network has done with those before them, and nothing
passes by them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from c3dhash.errors import C3DHashError
from c3dhash.web.refusals import Refused, closing_down

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05  # how soon what arrives is noticed while others are encoded


class Kind(NamedTuple):
    """How a video is read.

    task: "query" or "classify". with_mirrored: also in a mirror. is_own: it is the gallery's, and has no limits.
    """

    task: str
    with_mirrored: bool = False
    is_own: bool = False


@dataclass(eq=False)
class Job:
    """A video to encode. num_done: windows that are through, of about num_windows."""

    path: Path
    kind: Kind
    num_windows: int
    num_done: int = 0
    is_running: bool = False
    future: Future[Any] = field(default_factory=Future)
    begun_at: float = 0.0

    def __post_init__(self) -> None:
        self.future.set_running_or_notify_cancel()  # who waits for it may go, and cannot cancel it


class _Stop(Exception):
    """Ends what is being encoded."""


Encode = Callable[
    [Kind, Iterator[Path | None], Callable[[list[Path]], object]], Generator[tuple[Path, Any], None, None]
]


class EncoderThread:
    """The thread, and what waits for it.

    Args:
        encode: yields videos of a kind, of an iterator that yields None while there is none, each with its result, or
            a C3DHashError; calls its third argument with the videos of windows that are through.
    Attributes:
        num_videos, num_windows: that were encoded.
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._change = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: dict[Path, deque[Job]] = {}  # several of one path are of one video of the gallery
        self._is_closing = self._is_stopped = False
        self._seconds_a_job = 1.0  # lately
        self.num_videos = self.num_windows = 0
        self._thread = threading.Thread(target=self._work, name="c3dhash-encoder", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Take a job in; its future gets the result.

        Raises:
            Refused: the server ends.
        """
        with self._change:
            if self._is_closing:
                raise closing_down()
            self._waiting.append(job)
            self._change.notify_all()

    def num_before(self, job: Job) -> int:
        """Return how many jobs are encoded before a job is; 0 for one that is under way."""
        with self._change:
            return self._waiting.index(job) + 1 if job in self._waiting else 0

    @property
    def num_waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    def retry_seconds(self) -> int:
        """Return after how many seconds there may be a place again."""
        return max(1, min(60, round(self._seconds_a_job)))

    def begin_closing(self) -> None:
        """Refuse what waits and what comes; what is under way goes on."""
        with self._change:
            self._is_closing = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._change.notify_all()
        for job in dropped:
            _settle(job, closing_down())

    def stop(self) -> None:
        """Refuse what is under way, too, and end it with the next windows that are through."""
        self.begin_closing()
        with self._change:
            self._is_stopped = True
            self._change.notify_all()
        self._fail_running(closing_down())

    def close(self, *, patience_seconds: float | None = None) -> bool:
        """End the thread, and what is under way: with the batch that the network is at.

        Args:
            patience_seconds: how long to wait for that; None for as long as it takes.
        Returns:
            Whether it has ended.
        """
        self.stop()
        self._thread.join(patience_seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while kind := self._next_kind():
            try:
                with closing(self._encode(kind, self._arriving(kind), self._note_windows)) as results:
                    for path, result in results:
                        self._finish(path, result)
            except _Stop:
                self._fail_running(closing_down())
            except C3DHashError as error:
                self._fail_running(error)
            except Exception:
                logger.exception("the encoder failed")
                self._fail_running(Refused(500, "the encoder failed; the log of the server says why."))

    def _next_kind(self) -> Kind | None:
        """Wait for a job, and return its kind; None at the end."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._is_closing)
            return self._waiting[0].kind if self._waiting else None

    def _arriving(self, kind: Kind) -> Iterator[Path | None]:
        """Yield what waits, in its order, until the first of it is of another kind, or nothing is under way."""
        while True:
            with self._change:
                if not self._waiting and self._running and not self._is_closing:
                    self._change.wait(POLL_SECONDS)
                if self._waiting:
                    if self._waiting[0].kind != kind:
                        return
                    job = self._waiting.popleft()
                    job.is_running, job.begun_at = True, monotonic()
                    self._running.setdefault(job.path, deque()).append(job)
                    path: Path | None = job.path
                elif self._running and not self._is_closing:
                    path = None
                else:
                    return
            yield path

    def _note_windows(self, paths: list[Path]) -> None:
        if self._is_stopped:
            raise _Stop
        self.num_windows += len(paths)
        for path in paths:
            for job in self._running.get(path, ()):
                job.num_done += 1

    def _finish(self, path: Path, result: Any) -> None:
        with self._change:
            jobs = self._running.get(path)
            if not jobs:  # it was refused meanwhile
                return
            job = jobs.popleft()
            if not jobs:
                del self._running[path]
        self.num_videos += 1
        self._seconds_a_job = 0.8 * self._seconds_a_job + 0.2 * (monotonic() - job.begun_at)
        _settle(job, result)

    def _fail_running(self, error: Exception) -> None:
        with self._change:
            jobs = [job for each in self._running.values() for job in each]
            self._running.clear()
        for job in jobs:
            _settle(job, error)


def _settle(job: Job, result: Any) -> None:
    if isinstance(result, Exception):
        job.future.set_exception(result)
    else:
        job.future.set_result(result)
