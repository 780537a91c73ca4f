"""Decoded frames on disk: uint8 arrays, memory-mapped, one file a clip.

A file is named by what is in it - the video's content and how it was sampled - so that several runs share
one folder, a changed video is decoded again, and a half-written file is never found: it is renamed when
it is whole. The folder has a largest size; past it nothing more is kept in this process, and the next one
starts by deleting what was not used for the longest time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from c3dhash.errors import UsageError

logger = logging.getLogger(__name__)


class FrameCache:
    """A folder of decoded clips.

    Args:
        directory: made where needed.
        max_bytes: largest size of the folder; 0 keeps nothing.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self.directory = Path(directory).expanduser()
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._full_reported = False
        self._num_bytes = 0
        if max_bytes:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                self._num_bytes = self._evict()
            except OSError as error:
                raise UsageError(
                    f"cache '{directory}' cannot be used ({error.strerror}); name another folder with --cache, or none "
                    "with --cache-gib 0."
                ) from error

    def frames(self, key: str, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the frames kept under a key, decoding and keeping them where they are not there.

        Args:
            key: says everything that decides the frames (content hash, sampling, size).
            decode: makes them, uint8 [T, H, W, 3].
        Returns:
            uint8 [T, H, W, 3], read-only where it is mapped.
        """
        if not self.max_bytes:
            return decode()
        path = self.directory / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.npy"
        try:
            frames = np.load(path, mmap_mode="r")
            with suppress(OSError):  # somebody else's cache
                os.utime(path)
            return frames
        except FileNotFoundError:
            pass
        except (OSError, ValueError, EOFError):
            logger.warning("the cached frames in '%s' cannot be read and are made again.", path)
        frames = decode()
        if self._reserve(frames.nbytes):
            self._keep(path, frames)
        return frames

    def _keep(self, path: Path, frames: np.ndarray) -> None:
        """Write frames to a file; where that fails, go on without."""
        partial = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}.partial")
        try:
            with partial.open("wb") as file:
                np.save(file, frames)
            partial.replace(path)
        except OSError as error:
            logger.warning(
                "the frame cache '%s' cannot be written (%s); clips are decoded every time.", self.directory, error
            )
            with suppress(OSError):
                partial.unlink()
            self.max_bytes = self._num_bytes = 0

    def _reserve(self, num_bytes: int) -> bool:
        with self._lock:
            if self._num_bytes + num_bytes > self.max_bytes:
                if not self._full_reported:
                    logger.warning(
                        "the frame cache '%s' is full (%.1f GiB); further clips are decoded every time.",
                        self.directory,
                        self.max_bytes / 2**30,
                    )
                    self._full_reported = True
                return False
            self._num_bytes += num_bytes
            return True

    def _evict(self) -> int:
        """Delete leftovers and, while the folder is over its size, the clips unused for longest; return its size."""
        for leftover in self.directory.glob(".*.partial"):
            process_id = leftover.name.split(".")[2]
            if process_id.isdigit() and not _is_running(int(process_id)):
                leftover.unlink(missing_ok=True)
        files = []
        for path in self.directory.glob("*.npy"):
            with suppress(FileNotFoundError):  # another process deletes too
                stat = path.stat()
                files.append((stat.st_mtime, stat.st_size, path))
        files.sort()
        num_bytes = sum(size for _, size, _ in files)
        for _, size, path in files:
            if num_bytes <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            num_bytes -= size
        return num_bytes


def cache_usage(directory: Path) -> tuple[int, int]:
    """Return how many cached clips there are, and their size in bytes."""
    sizes = [path.stat().st_size for path in _cached_files(directory)]
    return len(sizes), sum(sizes)


def clear_cache(directory: Path) -> tuple[int, int]:
    """Delete every cached clip; return how many files and bytes that freed."""
    freed = cache_usage(directory)
    for path in _cached_files(directory):
        path.unlink(missing_ok=True)
    return freed


def _cached_files(directory: Path) -> list[Path]:
    directory = Path(directory).expanduser()
    return [*directory.glob("*.npy"), *directory.glob(".*.partial")]


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
