"""Tasks for c3dhash.video.isolation that do what a broken file makes a decoder do; in a file without torch, as
processes import it."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from c3dhash.errors import UsageError
from c3dhash.video.reader import read_clips


def read(path: Path, *, on_frame: Callable[[], object], num_frames: int = 4) -> Iterator[object]:
    """Read a video; or break in the way that the name of the file says."""
    if path.stem in BREAKS:
        BREAKS[path.stem](on_frame)
    yield from read_clips(path, num_frames=num_frames, window_seconds=0.4, on_frame=on_frame)


def crash_after_one(path: Path, *, on_frame: Callable[[], object]) -> Iterator[np.ndarray]:
    yield np.arange(5)
    os.kill(os.getpid(), signal.SIGSEGV)


def crash(path: Path, *, on_frame: Callable[[], object], **options: object) -> Iterator[None]:
    os.kill(os.getpid(), signal.SIGSEGV)
    yield


def fail_when_used(path: Path, *, on_frame: Callable[[], object]) -> Iterator[int]:
    """Yield two numbers; leave after the first if this process read a file before."""
    global num_read
    num_read += 1
    yield 1
    if num_read > 1:
        os._exit(3)
    yield 2


def count_up(path: Path, *, on_frame: Callable[[], object]) -> Iterator[np.ndarray]:
    """Write to the file how far it got, as each megabyte is handed over."""
    for number in range(1000):
        yield np.full(1 << 20, number % 256, np.uint8)
        path.write_text(str(number))


def process_id(path: Path, *, on_frame: Callable[[], object]) -> Iterator[int]:
    yield os.getpid()


def slow_but_alive(path: Path, *, on_frame: Callable[[], object]) -> Iterator[str]:
    for _ in range(50):
        time.sleep(0.1)
        on_frame()
    yield "done"


def loaded_modules(path: Path, *, on_frame: Callable[[], object]) -> Iterator[set[str]]:
    import sys

    yield set(sys.modules)


def complain(path: Path, *, on_frame: Callable[[], object]) -> Iterator[None]:
    logging.getLogger("c3dhash.video.decoder").warning("video '%s' is odd", path)
    raise UsageError("num_frames (0) must be at least 1.")
    yield


def allocate(on_frame: Callable[[], object]) -> None:
    np.ones(8 << 30, np.uint8)


def allocate_in_opencv(on_frame: Callable[[], object]) -> None:
    import cv2

    cv2.resize(np.zeros((1, 1), np.uint8), (60_000, 60_000))


def hang(on_frame: Callable[[], object]) -> None:
    time.sleep(3600)


num_read = 0
BREAKS: dict[str, Callable[[Callable[[], object]], object]] = {
    "segfault": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": lambda _: os.abort(),
    "killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda _: os._exit(7),
    "hang": hang,
    "allocate": allocate,
    "allocate-in-opencv": allocate_in_opencv,
    "bug": lambda _: 1 / 0,
}
