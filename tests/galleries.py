"""Galleries for tests: each clip has a code of its own, which says whose it is."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from damage import settle

from c3dhash.gallery.exports import export_gallery
from c3dhash.gallery.store import CATALOG_NAME, Gallery
from c3dhash.records import CodeBatch

FINGERPRINT = "3f2a" * 8
WINDOWS = {"window_seconds": 10.0, "stride_seconds": None, "clips_per_window": None, "views": 1}


def code_of(video: int, clip: int, *, num_bytes: int = 6) -> bytes:
    return hashlib.blake2b(f"{video} {clip}".encode(), digest_size=num_bytes).digest()


def batch_of(video: int, *, num_clips: int = 10) -> CodeBatch:
    """The codes of a video; clip n stands for the seconds n to n + 1.5."""
    codes = b"".join(code_of(video, clip) for clip in range(num_clips))
    starts = np.arange(num_clips, dtype=np.float64)
    return CodeBatch(np.frombuffer(codes, np.uint8).reshape(-1, 6), 48, starts, starts + 1.5)


def name_of(video: int, root: str | None = "/db") -> str:
    return f"{root}/{video}.mp4" if root else f"{video}.mp4"


def make_gallery(
    path: Path, videos: Iterable[int], *, root: str | None = "/db", num_clips: int = 10, missing: Iterable[int] = ()
) -> Path:
    """Make a gallery, all of it in the one file: videos ROOT/N.mp4 of content hN, every third without a label."""
    model = {"hash_length": 48, "model_fingerprint": FINGERPRINT, "model_name": "runs/a"}
    with Gallery.create(path, **model, run=WINDOWS) as gallery:
        with gallery.editing() as edits:
            for video in videos:
                edits.add(
                    name_of(video, root), batch_of(video, num_clips=num_clips), content_hash=f"h{video}",
                    size_bytes=100 + video, mtime_ns=200, label=(None, "wave", "golf, “ü”")[video % 3], root=root,
                    added_at="2026-05-01T00:00:00+00:00",
                )  # fmt: skip
            for video in missing:
                edits.mark_missing(name_of(video, root), since="2026-05-02T00:00:00+00:00")
        gallery.note_engine("torch 2")
        gallery.note_not_matches([("h1", "h2")])
    settle(path / CATALOG_NAME)
    return path


def content_of(gallery: Path) -> str:
    """All that a gallery knows, as text."""
    with tempfile.TemporaryDirectory() as folder:
        report = export_gallery(gallery, Path(folder) / "all.csv")
        assert not report.losses
        return (Path(folder) / "all.csv").read_text()
