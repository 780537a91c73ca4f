"""Pictures of stretches of the gallery's videos, made when they are asked for, and the latest of them remembered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from c3dhash.report.previews import Pictures
from c3dhash.web.limited import Workers

MAX_BYTES = 64 << 20


class Stretch(NamedTuple):
    """A stretch of a video, by its content, to hundredths of a second."""

    content_hash: str
    start: int
    end: int
    is_mirrored: bool


class PictureCache:
    """The latest pictures, and those that are being made, each once however many ask for it.

    Args:
        workers: make them.
    """

    def __init__(self, workers: Workers, *, max_bytes: int = MAX_BYTES) -> None:
        self._workers, self._most = workers, max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Stretch, Pictures] = OrderedDict()
        self._coming: dict[Stretch, Future[Pictures]] = {}
        self.num_bytes = 0

    def get(self, stretch: Stretch, make: Callable[[], Pictures]) -> Future[Pictures]:
        """Return the pictures of a stretch, now or later.

        Args:
            make: makes them, in a thread; where it raises, nothing is remembered.
        Raises:
            Refused: too many wait.
        """
        with self._lock:
            known = self._kept.get(stretch)
            if known is not None:
                self._kept.move_to_end(stretch)
                future: Future[Pictures] = Future()
                future.set_result(known)
                return future
            if stretch not in self._coming:
                self._coming[stretch] = self._workers.submit(make)
                is_new = True
            else:
                is_new = False
            future = self._coming[stretch]
        if is_new:
            future.add_done_callback(lambda done: self._take(stretch, done))
        return future

    def _take(self, stretch: Stretch, done: Future[Pictures]) -> None:
        with self._lock:
            self._coming.pop(stretch, None)
            if done.cancelled() or done.exception() is not None:
                return
            self._kept[stretch] = done.result()
            self.num_bytes += _size(done.result())
            while self.num_bytes > self._most and self._kept:
                _, dropped = self._kept.popitem(last=False)
                self.num_bytes -= _size(dropped)


def _size(pictures: Pictures) -> int:
    return len(pictures.still) + len(pictures.moving)
