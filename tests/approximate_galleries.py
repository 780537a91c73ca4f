"""Galleries for tests of approximate indexes: codes around centres, as trained ones lie, in videos of several clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from random_codes import BITS, flipped, random_codes

from c3dhash.gallery.index import HammingIndex
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch


def near_codes(num: int, *, seed: int = 0, num_centres: int = 40) -> np.ndarray:
    """Codes around centres that are the same for every seed."""
    centres = random_codes(np.random.default_rng(99), num_centres)
    rng = np.random.default_rng(seed)
    return flipped(rng, centres[rng.integers(0, num_centres, num)], 1 / 12)


def make_index(codes: np.ndarray, *, num_clips: int = 7, first_id: int = 1, index: HammingIndex | None = None):
    """Append codes to an index, as videos of some clips."""
    index = index or HammingIndex(BITS)
    starts = np.arange(0, len(codes), num_clips)
    lengths = np.diff(np.append(starts, len(codes)))
    index.add([codes], first_ids=starts.astype(np.int64) + first_id, num_clips=lengths.astype(np.int64))
    return index


def batch_of(codes: np.ndarray) -> CodeBatch:
    starts = np.arange(len(codes), dtype=np.float64)
    return CodeBatch(codes, BITS, starts, starts + 1)


def add_videos(gallery: Gallery, codes: np.ndarray, *, num_clips: int = 7, name: str = "video") -> None:
    with gallery.editing() as edits:
        for start in range(0, len(codes), num_clips):
            edits.add(
                f"{name} {start}", batch_of(codes[start : start + num_clips]), content_hash=f"{name} {start}",
                size_bytes=0, mtime_ns=0, label="even" if start // num_clips % 2 == 0 else "odd",
            )  # fmt: skip


def make_gallery(path: Path, codes: np.ndarray, **options: object) -> Gallery:
    gallery = Gallery.create(path, hash_length=BITS, model_fingerprint="f")
    add_videos(gallery, codes, **options)
    return gallery
