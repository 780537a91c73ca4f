"""The frames of samples on disk, compressed, one file a sample.

A file is named by what is in it - the video's content, the segment, the size and the decoder - so that several runs
share one folder, a changed video is decoded again, and a half-written file is never found: it is renamed when it is
whole. The folder may be any: only files of our own names are read, counted and deleted in it, and the last two only
where our marker says that it is a cache.

Note [Size of the cache]
The folder is read when a cache is opened and when it may be full; between the two a process counts what it writes
itself. The files unused for longest go then, and a share of SLACK more, so that the folder is read once in that share
of writing, not for each file. What other processes write is seen at the next reading, which comes at the latest when
this one has written SLACK of the size: so P processes may be over it by (P - 1) * SLACK for a moment.

Note [A cache too small for one run]
What was used since the cache was opened is never deleted for something else: epochs go through the samples in new
random orders, so all of them are as likely to be next, and to put one in the place of another costs a decode of a whole
video and wins nothing. Of a run's samples the share that fits is found in every epoch; the rest is read from the
videos, only what their clips show. (If the least recently used went instead, a share f that fits would be found with
the probability f + (1 - f) ln(1 - f): 0.15 for a half.)
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from c3dhash.config import CacheConfig
from c3dhash.errors import UsageError, VideoError
from c3dhash.files import clear_leftovers, delete_own_files, mark, own_files, read_mark, replacing
from c3dhash.video.hashes import RememberedHashes
from c3dhash.video.loader import stop_point
from c3dhash.video.stored import Chunk, StoredFrames, TooLarge, Unkept, write_frames

logger = logging.getLogger(__name__)

MADE_BY = "cache"
SUFFIX = ".frames"
OLD_SUFFIX = ".npy"  # clips of earlier versions, which nothing reads any more
OWN_NAME = re.compile(rf"c3dhash-[0-9a-f]{{32}}(?:{re.escape(SUFFIX)}|{re.escape(OLD_SUFFIX)})")
HASHES_FILE = "c3dhash-hashes.sqlite"
HASHES_NAME = re.compile(re.escape(HASHES_FILE) + "(-journal)?")
SLACK = 1 / 16  # of the size, see Note [Size of the cache]


class FrameCache:
    """A folder of compressed frames, for any number of threads and processes at once.

    Args:
        directory: made where needed.
        max_bytes: largest size of the files in it; 0 keeps nothing, hashes neither.
        quality: of the pictures, as in CacheConfig.
    """

    def __init__(self, directory: Path, *, max_bytes: int, quality: int = CacheConfig.cache_quality) -> None:
        self.directory = Path(directory).expanduser()
        self.max_bytes, self.quality = max_bytes, quality
        self.hashes = RememberedHashes(self.directory / HASHES_FILE if max_bytes else None)
        self._lock = threading.Lock()
        self._opened_ns = time.time_ns()
        self._num_bytes = 0  # of the files in the folder, as far as we know
        self._num_written = 0  # bytes, since the folder was read
        self._num_pending = 0  # bytes that were counted and are to get their names, so that the folder lacks them
        self._is_writable = True
        self._is_full = False  # of what this run uses
        self._unkept: set[Path] = set()  # what is not to be tried again
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

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self.max_bytes > 0

    def _open(self) -> None:
        if read_mark(self.directory, made_by=MADE_BY) is None:
            try:
                mark(self.directory, made_by=MADE_BY)
            except OSError as error:
                self._stop_keeping(error)
                return
        clear_leftovers(self.directory)
        self._evict(room_bytes=0)

    def frames(
        self,
        key: str,
        *,
        choose: Callable[[StoredFrames], list[int]],
        compress: Callable[..., Iterator[Chunk]],
    ) -> np.ndarray | None:
        """Return some frames of a sample, after keeping all of them where they are not there.

        Args:
            key: says everything that decides the frames (content hash, segment, size, decoder), but for the quality.
            choose: says which of the frames.
            compress: makes them, as `write_frames` takes them, of a `quality`.
        Returns:
            uint8 [T, H, W, C]; None where they are not kept, and must be read from the video.
        """
        path = self.path(key)
        if (frames := self._read(path, choose)) is not None:
            return frames
        return self._read(path, choose) if self._keep(path, compress) else None

    def path(self, key: str) -> Path:
        """Return the file of the frames under a key, whether it is there or not."""
        digest = hashlib.blake2b(f"{key} quality {self.quality}".encode(), digest_size=16).hexdigest()
        return self.directory / f"c3dhash-{digest}{SUFFIX}"

    def _read(self, path: Path, choose: Callable[[StoredFrames], list[int]]) -> np.ndarray | None:
        """Return the frames that are chosen of a file; None where it is not there, or damaged."""
        if not self.is_on:
            return None
        try:
            stored = StoredFrames(path)
            frames = stored.frames(choose(stored))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("the cached frames in '%s' cannot be read (%s) and are made again.", path, error)
            return None
        _note_use(path)
        return frames

    def _keep(self, path: Path, compress: Callable[..., Iterator[Chunk]]) -> bool:
        """Write the frames of a sample to a file; where that fails, go on without. Return whether they are there."""
        if not self.is_on or not self._is_writable or self._is_full or path in self._unkept:
            return False
        num_pending = 0
        try:
            with (
                replacing(path, is_durable=False) as partial,
                closing(_stoppable(compress(quality=self.quality))) as chunks,
            ):
                num_bytes = write_frames(partial, chunks, max_bytes=self.max_bytes)
                self._make_room(num_bytes)
                num_pending = num_bytes
                _note_use(partial)
        except OSError as error:
            self._stop_keeping(error)
        except TooLarge:
            self._unkept.add(path)
            self._say("the frame cache '%s' (%.2f GiB) is smaller than a video: --cache-gib.", self.max_bytes / 2**30)
        except (Unkept, VideoError) as error:  # whether a video is readable decides who reads what is needed of it
            logger.debug("'%s' is not written: %s", path, error)
            self._unkept.add(path)
        else:
            return True
        finally:
            with self._lock:
                self._num_pending -= num_pending
        return False

    def _stop_keeping(self, error: OSError) -> None:
        self._is_writable = False
        self._say("the frame cache '%s' cannot be written (%s); what is not in it is decoded every time.", error)

    def _make_room(self, num_bytes: int) -> None:
        """Count a file that is about to get its name, and delete others for it.

        Raises:
            Unkept: there is no room.
        """
        with self._lock:
            is_full = self._num_bytes + num_bytes > self.max_bytes
            if is_full or self._num_written > self.max_bytes * SLACK:
                self._evict(room_bytes=num_bytes)
            if self._num_bytes + num_bytes > self.max_bytes:
                self._is_full = True
                self._say(
                    "the frame cache '%s' (%.1f GiB) does not hold the videos of this run; the rest of them is decoded "
                    "every time: --cache-gib.",
                    self.max_bytes / 2**30,
                )
                raise Unkept("the cache is full")
            self._num_bytes += num_bytes
            self._num_written += num_bytes
            self._num_pending += num_bytes

    def _evict(self, *, room_bytes: int) -> None:
        """Read the folder; where it lacks room, delete the files unused for longest, see Note [Size of the cache]."""
        files = sorted(
            (path.suffix == SUFFIX, stat.st_mtime_ns, stat.st_size, path)
            for path, stat in own_files(self.directory, OWN_NAME)
        )
        num_bytes = sum(size for _, _, size, _ in files) + self._num_pending
        is_over = num_bytes + room_bytes > self.max_bytes
        for is_current, used_ns, size, path in files if is_over else ():
            num_left = num_bytes - size + room_bytes
            if num_bytes + room_bytes <= self.max_bytes and num_left < self.max_bytes * (1 - SLACK):
                break
            if is_current and used_ns > self._opened_ns:  # Note [A cache too small for one run]
                break
            with suppress(OSError):  # where a file that is mapped cannot be deleted
                path.unlink(missing_ok=True)
                num_bytes -= size
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


def open_cache(config: CacheConfig) -> FrameCache:
    """Return the cache that the options of a command ask for."""
    return FrameCache(config.directory, max_bytes=config.max_bytes, quality=config.cache_quality)


def _stoppable(chunks: Iterator[Chunk]) -> Generator[Chunk, None, None]:
    """Hand on chunks as long as somebody waits for what becomes of them."""
    for chunk in chunks:
        stop_point()
        yield chunk


def cache_usage(directory: Path) -> tuple[int, int]:
    """Return how many files of frames there are, those of earlier versions too, and their size in bytes.

    None where the folder is not marked as ours.
    """
    directory = Path(directory).expanduser()
    if read_mark(directory, made_by=MADE_BY) is None:
        return 0, 0
    sizes = [stat.st_size for _, stat in own_files(directory, OWN_NAME)]
    return len(sizes), sum(sizes)


def clear_cache(directory: Path) -> tuple[int, int]:
    """Delete all cached frames and the remembered hashes; return how many files and their bytes that freed.

    The folder stays, with its marker and whatever else is in it.
    """
    directory = Path(directory).expanduser()
    if read_mark(directory, made_by=MADE_BY) is None:
        return 0, 0
    freed = delete_own_files(directory, OWN_NAME)
    delete_own_files(directory, HASHES_NAME)
    return freed
