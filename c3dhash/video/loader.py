"""Do work in threads ahead of the consumer, in order, within bounded memory.

Decoding, resizing and reading a memory map release Python's global lock, so threads overlap them with the
network without a second process, its start-up time or its copies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int | None = None
) -> Iterator[Result]:
    """Yield function(item) for every item, in order, computed by threads ahead of time.

    Args:
        function: called in worker threads; an exception is raised again where its result would be yielded.
        items: consumed as results are taken.
        workers: threads.
        ahead: results that may wait, beyond the one being taken; by default twice the workers.
    """
    waiting: deque[Future[Result]] = deque()
    limit = (ahead or 2 * workers) + 1
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="c3dhash-loader")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
