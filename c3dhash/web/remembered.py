"""Uploads that were searched with: their codes, what was recognised, and pictures of their windows; the latest of them.

Each has a random number, by which a result can be linked and searched with again. Its file is gone by then.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from c3dhash.records import CodeBatch
from c3dhash.report.previews import Pictures
from c3dhash.web.encoding import Job
from c3dhash.web.refusals import Refused

MAX_PICTURES_BYTES = 64 << 20  # of all of them


@dataclass(eq=False)
class Remembered:
    """A video that was sent, or is to be classified.

    name: as its sender calls it. seconds: by its header; 0 where that does not say. codes: its own, and those of its
    mirror image where they were asked for. classes: [(label, probability)] where it was classified, which it is still
    to be where are_classes_coming. pictures: of its windows, by their numbers in `codes`. settled: is done once codes,
    classes or an error are here, which is a little after the job is.
    """

    id: str
    name: str
    job: Job
    content_hash: str = ""
    seconds: float = 0.0
    codes: list[CodeBatch] = field(default_factory=list)
    classes: list[tuple[str, float]] | None = None
    error: Exception | None = None
    pictures: dict[int, Pictures] = field(default_factory=dict)
    are_pictures_made: bool = False
    are_classes_coming: bool = False
    settled: Future[None] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.settled.set_running_or_notify_cancel()  # who waits for it may go, and cannot cancel it

    @property
    def status(self) -> str:
        """queued, encoding, done or failed."""
        if self.error is not None:
            return "failed"
        if self.codes or self.classes is not None:
            return "done"
        return "encoding" if self.job.is_running else "queued"

    def finish(self, result: Any) -> None:
        """Take a result in: codes, or classes."""
        if self.job.kind.task == "query":
            self.codes = result
        else:
            self.classes = result
        self.settled.set_result(None)

    def fail(self, error: Exception) -> None:
        """Take in why there is no result."""
        self.error = error
        self.settled.set_result(None)

    @property
    def num_picture_bytes(self) -> int:
        return sum(len(each.still) + len(each.moving) for each in list(self.pictures.values()))


class Memory:
    """What is remembered: the latest, by when it was last asked for.

    Args:
        max_queries: how many; what is not encoded yet is not forgotten.
    """

    def __init__(self, *, max_queries: int) -> None:
        self._most = max_queries
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Remembered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, name: str, job: Job, *, content_hash: str = "", seconds: float = 0.0) -> Remembered:
        """Remember a video that is to be encoded, and forget what is too much."""
        remembered = Remembered(secrets.token_urlsafe(16), name, job, content_hash, seconds)
        with self._lock:
            self._kept[remembered.id] = remembered
            settled = [key for key, each in self._kept.items() if each.status in ("done", "failed")]
            for key in settled[: max(0, len(self._kept) - self._most)]:
                del self._kept[key]
        return remembered

    def get(self, query_id: str) -> Remembered:
        """Return what has a number.

        Raises:
            Refused: nothing has it, or not any more.
        """
        with self._lock:
            found = self._kept.get(query_id)
            if found is None:
                raise Refused(404, "no query has this number, or not any more: send the video again.")
            self._kept.move_to_end(query_id)
            return found

    def searchable(self, query_id: str) -> Remembered:
        """Return what has a number, where it was sent to be searched with.

        Raises:
            Refused: nothing has it, or not any more; or it was classified.
        """
        found = self.get(query_id)
        if found.job.kind.task != "query":
            raise Refused(409, "this number is of a video that was classified: send it to be searched with.")
        return found

    def add_picture(self, remembered: Remembered, number: int, pictures: Pictures) -> None:
        """Keep the pictures of a window, and drop those of what was not asked for the longest where it is too much."""
        with self._lock:
            remembered.pictures[number] = pictures
            total = sum(each.num_picture_bytes for each in self._kept.values())
            for each in self._kept.values():
                if total <= MAX_PICTURES_BYTES:
                    break
                total -= each.num_picture_bytes
                each.pictures = {}


def between(codes: CodeBatch, *, start_seconds: float | None, end_seconds: float | None) -> np.ndarray:
    """Choose the windows of a stretch: those of which half or more lies in it; or else those that most does of.

    Args:
        start_seconds, end_seconds: of the stretch; None for the start or the end of the video.
    Returns:
        int64, rising; empty where no window has anything of it.
    """
    start = 0.0 if start_seconds is None else start_seconds
    end = np.inf if end_seconds is None else end_seconds
    shared = np.minimum(codes.end_seconds, end) - np.maximum(codes.start_seconds, start)
    lengths = codes.end_seconds - codes.start_seconds
    inside = np.flatnonzero(shared >= 0.5 * lengths - 1e-9)
    if len(inside) or not len(shared) or shared.max() <= 0:
        return inside
    return np.flatnonzero(shared >= shared.max() - 1e-9)


def chosen(codes: CodeBatch, windows: np.ndarray) -> CodeBatch:
    """Return some windows of a video, by their numbers."""
    return CodeBatch(
        codes.codes[windows], codes.hash_length, codes.start_seconds[windows], codes.end_seconds[windows],
        embeddings=None if codes.embeddings is None else codes.embeddings[windows],
    )  # fmt: skip
