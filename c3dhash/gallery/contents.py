"""Content hashes of many files, by threads, in order; Ctrl-C is answered in the middle of a file of any size."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from c3dhash.errors import VideoError
from c3dhash.video.reader import content_hash


def hash_files(names: Iterable[str], *, workers: int) -> Iterator[str | VideoError]:
    """Yield the content hash of each file, or the error that kept it from being read."""
    is_stopped = threading.Event()

    def check() -> None:
        if is_stopped.is_set():
            raise VideoError("interrupted.")

    def compute(name: str) -> str | VideoError:
        try:
            return content_hash(name, on_block=check)
        except VideoError as error:
            return error

    waiting: deque[Future[str | VideoError]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="c3dhash-hash") as pool:
        try:
            for name in names:
                waiting.append(pool.submit(compute, name))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            is_stopped.set()  # before the pool waits for its threads
            pool.shutdown(wait=False, cancel_futures=True)
