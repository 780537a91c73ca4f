"""Threads for what takes time, and no more waiting for them than they can do soon."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from c3dhash.web.refusals import Refused, closing_down

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Workers:
    """Threads of a name, for the event loop, which never waits itself.

    Args:
        name: what they do, for people.
        num_threads: how many.
        max_waiting: calls that may wait for a thread; who comes then is refused with 429.
    """

    def __init__(self, name: str, *, num_threads: int, max_waiting: int) -> None:
        self._name, self._most = name, num_threads + max_waiting
        self._pool = ThreadPoolExecutor(num_threads, f"c3dhash-{name.split()[0]}")
        self._lock = threading.Lock()
        self._num_calls = 0
        self._is_closed = False

    async def run(self, function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Return what a function returns, called in a thread.

        Raises:
            Refused: too many calls wait, or the server ends.
        """
        return await asyncio.wrap_future(self.submit(partial(function, *args, **kwargs)))

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Call a function in a thread, when one is free.

        Raises:
            Refused: as `run`.
        """
        with self._lock:
            if self._is_closed:
                raise closing_down()
            if self._num_calls >= self._most:
                raise Refused(429, f"too many requests wait for {self._name}: try again in a second.", retry_seconds=1)
            self._num_calls += 1
            future = self._pool.submit(function)
        future.add_done_callback(self._note_end)
        return future

    def _note_end(self, _: Future[Result]) -> None:
        with self._lock:
            self._num_calls -= 1

    def close(self) -> None:
        """Wait for the calls that are under way; those that wait are dropped."""
        with self._lock:
            self._is_closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
