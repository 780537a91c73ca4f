"""Decoded frames on disk: uint8 arrays, memory-mapped, one file a clip.

A file is named by what is in it - the video's content and how it was sampled - so that several runs share
one folder, a changed video is decoded again, and a half-written file is never found: it is renamed when
it is whole. The folder may be any: only files of our own names are read, counted and deleted in it, and the last two
only where our marker says that it is a cache.

Note [Size of the cache]
The folder is read when a cache is opened and when it may be full; between the two a process counts what it writes
itself. The clips unused for longest go then, and a share of SLACK more, so that the folder is read once in that
share of writing, not for each clip. What other processes write is seen at the next reading, which comes at the latest
when this one has written SLACK of the size: so P processes may be over it by (P - 1) * SLACK for a moment.

Note [A cache too small for one run]
Epochs go through the clips in new random orders. Of a run's clips let the share f fit. A clip at place u of one
epoch and v of the next is still there where fewer than f other clips came between: (1 - u) of them in the first epoch,
and of those in the second the share u that is not among them, v u. So it is found where u (1 - v) > 1 - f, which has
the probability f + (1 - f) ln(1 - f): 0.67 at f = 0.9, but 0.15 at f = 0.5. Hence the warning.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from c3dhash.errors import UsageError
from c3dhash.files import clear_leftovers, delete_own_files, mark, own_files, read_mark, replacing
from c3dhash.video.hashes import RememberedHashes

logger = logging.getLogger(__name__)

MADE_BY = "cache"
CLIP_NAME = re.compile(r"c3dhash-[0-9a-f]{32}\.npy")
HASHES_FILE = "c3dhash-hashes.sqlite"
HASHES_NAME = re.compile(re.escape(HASHES_FILE) + "(-journal)?")
HEADER_BYTES = 128  # of a file that numpy writes
SLACK = 1 / 16  # of the size, see Note [Size of the cache]


class FrameCache:
    """A folder of decoded clips, for any number of threads and processes at once.

    Args:
        directory: made where needed.
        max_bytes: largest size of the clips in it; 0 keeps nothing, hashes neither.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self.directory = Path(directory).expanduser()
        self.max_bytes = max_bytes
        self.hashes = RememberedHashes(self.directory / HASHES_FILE if max_bytes else None)
        self._lock = threading.Lock()
        self._opened_ns = time.time_ns()
        self._num_bytes = 0  # of the clips in the folder, as far as we know
        self._num_written = 0  # bytes, since the folder was read
        self._is_writable = True
        self._said: set[str] = set()
        if max_bytes:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"cache '{directory}' cannot be used ({error.strerror}); name another folder with --cache, or none "
                    "with --cache-gib 0."
                ) from error
            self._open()

    def _open(self) -> None:
        if read_mark(self.directory, made_by=MADE_BY) is None:
            try:
                mark(self.directory, made_by=MADE_BY)
            except OSError as error:
                self._stop_keeping(error)
                return
        clear_leftovers(self.directory)
        self._evict(room_bytes=0)

    def frames(self, key: str, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the frames kept under a key, decoding and keeping them where they are not there.

        Args:
            key: says everything that decides the frames (content hash, sampling, size, decoder).
            decode: makes them, uint8 [T, H, W, 3].
        Returns:
            uint8 [T, H, W, 3], read-only where it is mapped.
        """
        if not self.max_bytes:
            return decode()
        path = self.path(key)
        try:
            frames: np.ndarray = np.load(path, mmap_mode="r")
            _note_use(path)
            return frames
        except FileNotFoundError:
            pass
        except (OSError, ValueError, EOFError):
            logger.warning("the cached frames in '%s' cannot be read and are made again.", path)
        frames = decode()
        if self._make_room(frames.nbytes + HEADER_BYTES):
            self._keep(path, frames)
        return frames

    def path(self, key: str) -> Path:
        """Return the file of the frames under a key, whether it is there or not."""
        return self.directory / f"c3dhash-{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.npy"

    def _keep(self, path: Path, frames: np.ndarray) -> None:
        """Write frames to a file; where that fails, go on without."""
        try:
            with replacing(path, is_durable=False) as partial, partial.open("wb") as file:
                np.save(file, frames)
                _note_use(partial)
        except OSError as error:
            self._stop_keeping(error)

    def _stop_keeping(self, error: OSError) -> None:
        self._is_writable = False
        self._say("the frame cache '%s' cannot be written (%s); what is not in it is decoded every time.", error)

    def _make_room(self, num_bytes: int) -> bool:
        """Count a clip that is about to be written, and delete others for it; return whether there is room."""
        with self._lock:
            if not self._is_writable or num_bytes > self.max_bytes:
                if self._is_writable:
                    self._say("the frame cache '%s' is smaller than a clip of %d bytes: --cache-gib.", num_bytes)
                return False
            is_full = self._num_bytes + num_bytes > self.max_bytes
            if is_full or self._num_written > self.max_bytes * SLACK:
                self._evict(room_bytes=num_bytes)
            if self._num_bytes + num_bytes > self.max_bytes:
                return False
            self._num_bytes += num_bytes
            self._num_written += num_bytes
            return True

    def _evict(self, *, room_bytes: int) -> None:
        """Read the folder; where it lacks room, delete the clips unused for longest, see Note [Size of the cache]."""
        files = sorted((stat.st_mtime_ns, stat.st_size, path) for path, stat in own_files(self.directory, CLIP_NAME))
        num_bytes = sum(size for _, size, _ in files)
        is_over = num_bytes + room_bytes > self.max_bytes
        for used_ns, size, path in files if is_over else ():
            num_left = num_bytes - size + room_bytes
            if num_bytes + room_bytes <= self.max_bytes and num_left < self.max_bytes * (1 - SLACK):
                break
            with suppress(OSError):  # where a file that is mapped cannot be deleted
                path.unlink(missing_ok=True)
                num_bytes -= size
            if used_ns > self._opened_ns:
                self._say(
                    "the frame cache '%s' (%.1f GiB) does not hold the clips of this run, and those unused for longest "
                    "are decoded again: --cache-gib.",
                    self.max_bytes / 2**30,
                )
        self._num_bytes, self._num_written = num_bytes, 0

    def _say(self, text: str, *values: object) -> None:
        """Log a warning about the folder, once."""
        if text not in self._said:
            self._said.add(text)
            logger.warning(text, self.directory, *values)


def _note_use(path: Path) -> None:
    """Set the time of a file, finer than the kernel's clock where it is our own."""
    now_ns = time.time_ns()
    with suppress(OSError):  # somebody else's cache, or deleted since
        try:
            os.utime(path, ns=(now_ns, now_ns))
        except PermissionError:  # of another user in our group
            os.utime(path)


def cache_usage(directory: Path) -> tuple[int, int]:
    """Return how many cached clips there are, and their size in bytes; none where the folder is not marked as ours."""
    directory = Path(directory).expanduser()
    if read_mark(directory, made_by=MADE_BY) is None:
        return 0, 0
    sizes = [stat.st_size for _, stat in own_files(directory, CLIP_NAME)]
    return len(sizes), sum(sizes)


def clear_cache(directory: Path) -> tuple[int, int]:
    """Delete every cached clip and the remembered hashes; return how many clips and their bytes that freed.

    The folder stays, with its marker and whatever else is in it.
    """
    directory = Path(directory).expanduser()
    if read_mark(directory, made_by=MADE_BY) is None:
        return 0, 0
    freed = delete_own_files(directory, CLIP_NAME)
    delete_own_files(directory, HASHES_NAME)
    return freed
