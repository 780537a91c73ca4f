"""What takes long and is the same until the gallery changes: computed by threads of its own, while others answer."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from c3dhash.errors import GalleryError
from c3dhash.gallery.served import GalleryPlace, ServedGallery
from c3dhash.web.refusals import Refused, closing_down

MAX_KEPT, MAX_WAITING = 8, 4  # results; computations
PATIENCE_SECONDS = 1.0  # how long an answer waits for what is computed


class Ended(Exception):
    """Ends a computation whose result nobody takes any more."""


@dataclass(eq=False)
class Progress:
    """How far a computation is, in what it counts."""

    stop: threading.Event
    done: int = 0
    total: int = 0

    def advance(self, num: int = 1) -> None:
        """Note that some more is done.

        Raises:
            Ended: the server ends.
        """
        if self.stop.is_set():
            raise Ended
        self.done += num


Compute = Callable[[ServedGallery, Progress], Any]


@dataclass(eq=False)
class Computation:
    """A result that is there, or on its way."""

    state: Hashable
    progress: Progress
    future: Future[Any] = field(default_factory=Future)

    @property
    def has_failed(self) -> bool:
        """Whether the gallery could not be read; it may be again."""
        return self.future.done() and isinstance(self.future.exception(), GalleryError)

    async def is_done(self) -> bool:
        """Wait a moment for the result; tell whether it is there."""
        done, _ = await asyncio.wait([asyncio.wrap_future(self.future)], timeout=PATIENCE_SECONDS)
        for each in done:
            each.cancelled() or each.exception()  # it is told by `result`
        return bool(done)

    async def result(self) -> Any:
        """Wait for the result, and return it.

        Raises:
            Exception: why there is none.
        """
        return await asyncio.shield(asyncio.wrap_future(self.future))


class Computed:
    """Results by key, each of the state of the gallery that it was asked for.

    Its threads open the gallery anew: a computation over all videos keeps no search waiting. There is one for what
    takes seconds, and one for what may take minutes.

    Args:
        place: where it lies.
    """

    def __init__(self, place: GalleryPlace) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._kept: OrderedDict[Hashable, Computation] = OrderedDict()
        self._pools = {is_slow: ThreadPoolExecutor(1, "c3dhash-computed") for is_slow in (False, True)}

    def get(self, key: Hashable, state: Hashable, compute: Compute, *, is_slow: bool = False) -> Computation:
        """Return the computation of a key for a state of the gallery; it is begun where there is none.

        Args:
            key: says what is computed.
            state: what the result depends on.
            compute: computes it, from an open gallery, and says how far it is.
            is_slow: it may take minutes.
        Raises:
            Refused: too many others wait, or the server ends.
        """
        with self._lock:
            if self._stop.is_set():
                raise closing_down()
            known = self._kept.get(key)
            if known is not None and known.state == state and not known.has_failed:
                self._kept.move_to_end(key)
                return known
            if sum(not each.future.done() for each in self._kept.values()) >= MAX_WAITING:
                raise Refused(429, "too much is being computed about the gallery: try again later.", retry_seconds=5)
            computation = Computation(state, Progress(self._stop))
            computation.future = self._pools[is_slow].submit(self._run, compute, computation.progress)
            self._kept[key] = computation
            self._kept.move_to_end(key)
            num_surplus = max(0, len(self._kept) - MAX_KEPT)
            for old in [name for name, each in self._kept.items() if each.future.done()][:num_surplus]:
                del self._kept[old]
            return computation

    def forget(self, key: Hashable) -> None:
        """Forget a result."""
        with self._lock:
            self._kept.pop(key, None)

    def _run(self, compute: Compute, progress: Progress) -> Any:
        progress.advance(0)
        with closing(self._place.open()) as gallery:
            return compute(gallery, progress)

    def close(self) -> None:
        """End what is computed."""
        with self._lock:
            self._stop.set()
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)
