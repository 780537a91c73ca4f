"""Bits of which the query is sure count more; the definition, and what it does to an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from c3dhash.bits import pack_codes
from c3dhash.errors import CodesError
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch


def batch(bits: np.ndarray, embeddings: np.ndarray | None = None) -> CodeBatch:
    times = np.arange(len(bits), dtype=np.float64)
    return CodeBatch(pack_codes(bits), bits.shape[1], times, times + 1, embeddings=embeddings)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    with Gallery.create(tmp_path / "gallery", hash_length=8, model_fingerprint="x") as gallery:
        yield gallery


def flipped(*bits: int) -> np.ndarray:
    """A code of ones, but for some bits."""
    code = np.ones(8, bool)
    code[list(bits)] = False
    return code


def test_by_hand(gallery: Gallery) -> None:
    sure, unsure = 0, 7
    gallery.add("sure", batch(np.stack([flipped(sure)])), content_hash="")
    gallery.add("unsure", batch(np.stack([flipped(sure, 1, 2), flipped(unsure), flipped(unsure)])), content_hash="")
    gallery.add("both unsure", batch(np.stack([flipped(unsure, 6)])), content_hash="")
    gallery.add("none", batch(np.stack([flipped()])), content_hash="")
    embedding = np.array([[0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.3, 0.1]], np.float32)
    query = np.ones((1, 8), bool)
    plain = [(hit.video, hit.distance) for hit in query_codes(gallery, batch(query))]
    assert plain == [("none", 0), ("sure", 1), ("unsure", 1), ("both unsure", 2)]
    finer = query_codes(gallery, batch(query, embedding))
    found = [(hit.video, hit.distance, hit.start_seconds) for hit in finer]
    # 0, 0.1, 0.1 + 0.3, 0.9; of two clips with 0.1 the first
    assert found == [("none", 0, 0.0), ("unsure", 1, 1.0), ("both unsure", 2, 0.0), ("sure", 1, 0.0)]
    assert [hit.video for hit in query_codes(gallery, batch(query, embedding), top=2)] == ["none", "unsure"]
    within = query_codes(gallery, batch(query, embedding), radius=1)
    assert [hit.video for hit in within] == ["none", "unsure", "sure"]


def test_a_clip_beyond_the_radius_is_not_the_nearest(gallery: Gallery) -> None:
    gallery.add("a", batch(np.stack([flipped(5, 6, 7), flipped(0)])), content_hash="")
    embedding = np.array([[0.9] * 5 + [0.01] * 3], np.float32)
    for radius, place in ((3, 0.0), (2, 1.0)):
        (hit,) = query_codes(gallery, batch(np.ones((1, 8), bool), embedding), radius=radius)
        assert hit.start_seconds == place


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definition(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits, labels = rng.random((40, 12)) < 0.5, np.sort(rng.integers(0, 15, 40))
    embedding = rng.normal(size=(1, 12)).astype(np.float32)
    with Gallery.create(tmp_path / "gallery", hash_length=12, model_fingerprint="x") as gallery:
        for label in range(15):
            gallery.add(f"{label:02}", batch(bits[labels == label]), content_hash="")
        hits = query_codes(gallery, batch(embedding > 0, embedding), top=20)
    finer = (np.abs(embedding) * ((embedding > 0) != bits)).sum(axis=1)
    best = {label: finer[labels == label].min() for label in set(labels.tolist())}
    assert [int(hit.video) for hit in hits] == sorted(best, key=best.__getitem__)


def test_many_windows_are_ranked_by_evidence_alone(gallery: Gallery) -> None:
    bits = np.random.default_rng(0).random((6, 8)) < 0.5
    gallery.add("a", batch(bits), content_hash="")
    embeddings = np.where(bits, 1, -1).astype(np.float32) * np.random.default_rng(1).random((6, 8), np.float32)
    assert query_codes(gallery, batch(bits)) == query_codes(gallery, batch(bits, embeddings))


def test_embeddings_of_another_shape() -> None:
    with pytest.raises(CodesError, match=r"1 codes of 8 bits need embeddings \[1, 8\], got \[1, 7\]"):
        batch(np.ones((1, 8), bool), np.ones((1, 7), np.float32))
