"""Ctrl-C while modules are being imported.

A KeyboardInterrupt inside the initialization of an extension module leaves it half made: the import then fails with
another error, or the interpreter aborts at its end. As commands import what is heavy when they run, this is not rare.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

RECHECK_SECONDS = 0.02


@contextlib.contextmanager
def imports_end_first() -> Iterator[None]:
    """Within it Ctrl-C, where it arrives during an import, raises KeyboardInterrupt when that import has ended.

    A second one raises at once. Nothing changes outside the main thread, without interval timers (Windows), and where
    SIGINT is not Python's own (ignored, say, by a shell for what runs in the background).
    """
    is_python = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not (is_python and hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()):
        yield
        return
    waiting = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal waiting
        is_second = waiting and number == signal.SIGINT
        waiting = not is_second and _is_importing(frame)
        if not waiting:
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, RECHECK_SECONDS)

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGALRM, previous)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
