"""Do work in threads ahead of the consumer, in order, within bounded memory.

Decoding, resizing and reading a memory map release Python's global lock, so threads overlap them with the
network without a second process, its start-up time or its copies.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from c3dhash.errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WORKERS = 256

_thread = threading.local()


class Stopped(Exception):
    """Ends the work of a thread whose results nobody takes any more; never seen by a user."""


def check_workers(workers: int) -> int:
    """Return the number of workers; refuse what is none.

    Raises:
        UsageError: out of range.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise UsageError(f"workers ({workers}) must be between 1 and {MAX_WORKERS}; the default is 2.")
    return workers


def prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    ahead: int | None = None,
    on_stop: Callable[[], object] = lambda: None,
) -> Iterator[Result]:
    """Yield function(item) for every item, in order, computed by threads ahead of time.

    Where the consumer stops (Ctrl-C), what threads work on is finished first; but for work that calls `stop_point`.

    Args:
        function: called in worker threads; an exception is raised again where its result would be yielded.
        items: consumed as results are taken.
        workers: threads.
        ahead: results that may wait, beyond the one being taken; by default twice the workers.
        on_stop: called at the end, before threads are waited for.
    Raises:
        UsageError: `workers` is out of range; at once.
    """
    return _prefetch(function, items, check_workers(workers), (ahead or 2 * workers) + 1, on_stop)


def _prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    limit: int,
    on_stop: Callable[[], object],
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    stop = threading.Event()
    threads = ThreadPoolExecutor(workers, "c3dhash-loader", initializer=stop_when, initargs=(stop,))
    try:
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        on_stop()
        threads.shutdown(wait=True, cancel_futures=True)


def stop_when(stop: threading.Event) -> None:
    """Make `stop_point` end the work of this thread once an event is set."""
    _thread.stop = stop


def stop_point() -> None:
    """Leave work that takes long, where this thread has been told to stop.

    Raises:
        Stopped: it has.
    """
    stop: threading.Event | None = getattr(_thread, "stop", None)
    if stop is not None and stop.is_set():
        raise Stopped
