"""A gallery here and its copy in Milvus, asked the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from random_codes import BITS, flipped, random_codes

from c3dhash.cluster.address import Address
from c3dhash.cluster.push import push_gallery
from c3dhash.cluster.remote import RemoteGallery
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.same_film import MAX_SCORE, SameFilm, save_same_film
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch, Hit

FINGERPRINT = "a" * 32
LABELS = (None, "walk", 'r"u\\n, “ü”')


def at(codes: np.ndarray) -> CodeBatch:
    starts = np.arange(len(codes), dtype=np.float64)
    return CodeBatch(codes, BITS, starts, starts + 2)


def told(hits: list[Hit]) -> list[tuple[object, ...]]:
    """All that is said of hits; scores to what floats can."""
    return [
        (hit.rank, hit.distance, hit.video, hit.start_seconds, hit.end_seconds, hit.label, round(hit.score, 9),
         hit.same_film, [(*each.__dict__.values(),)[:6] for each in hit.segments])
        for hit in hits
    ]  # fmt: skip


class Both:
    """A gallery here, and its copy."""

    def __init__(self, here: Gallery, there: RemoteGallery, videos: list[np.ndarray]) -> None:
        self.here, self.there, self.videos = here, there, videos

    def check(self, query: CodeBatch, **asked: object) -> list[Hit]:
        """Ask both the same; they say the same."""
        hits = query_codes(self.here, query, **asked)
        assert told(query_codes(self.there, query, **asked)) == told(hits)
        return hits


@contextmanager
def open_both(folder: Path, address: Address) -> Iterator[Both]:
    """Make a gallery of 120 videos, and one that shows nothing, and its copy."""
    rng = np.random.default_rng(0)
    centres = random_codes(rng, 8)
    own = [flipped(rng, centres[rng.integers(0, 8, rng.integers(1, 40))], 0.15) for _ in range(120)]
    videos = [np.concatenate([codes, random_codes(rng, 3)]) for codes in own]
    with Gallery.create(folder, hash_length=BITS, model_fingerprint=FINGERPRINT) as here:
        with here.editing() as edits:
            for number, codes in enumerate(videos):
                edits.add(
                    f"/db/{'ab'[number % 2]}/{number}.mp4", at(codes), content_hash=f"h{number // 2}", size_bytes=1,
                    mtime_ns=2, label=LABELS[number % 3], root="/db",
                    added_at=f"2026-05-{1 + number % 20:02d}T00:00:00+00:00",
                )  # fmt: skip
            edits.add("flat", at(videos[0][:0]), content_hash="", size_bytes=0, mtime_ns=0, label=None)
        counts = np.zeros(MAX_SCORE + 1, np.int64)
        counts[[3, 30]] = 1, 5
        save_same_film(here.path, SameFilm(counts[::-1].copy(), counts, "films"), model_fingerprint=FINGERPRINT)
        push_gallery(here, address)
        with RemoteGallery(str(address)) as there:
            yield Both(here, there, videos)
