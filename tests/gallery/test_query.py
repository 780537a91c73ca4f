from __future__ import annotations

import numpy as np
import pytest

from c3dhash.bits import hamming_distances
from c3dhash.config import EncodeConfig
from c3dhash.errors import GalleryError, ModelMismatchError, UsageError
from c3dhash.gallery.store import Gallery
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.query import query_codes, query_video
from c3dhash.records import CodeBatch

FP32 = EncodeConfig(precision="fp32", device="cpu")


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "gallery", hash_length=16, model_fingerprint="a" * 32) as gallery:
        yield gallery


def add(gallery: Gallery, name: str, codes: np.ndarray, label: str | None = None) -> None:
    starts = np.arange(len(codes), dtype=np.float64)
    gallery.add(name, CodeBatch(codes, 16, starts, starts + 1), content_hash=name, label=label)


def test_by_hand(gallery):
    add(gallery, "far", np.array([[0xFF, 0xFF]], np.uint8))
    add(gallery, "near", np.array([[0xFF, 0x00], [0x00, 0x01], [0x03, 0x03]], np.uint8), label="walk")
    add(gallery, "same", np.array([[0x0F, 0x0F], [0x00, 0x00]], np.uint8))
    hits = query_codes(gallery, np.array([[0, 0]], np.uint8), top=2)
    assert [(hit.rank, hit.video, hit.distance, hit.start_seconds, hit.end_seconds, hit.label) for hit in hits] == [
        (1, "same", 0, 1.0, 2.0, None),
        (2, "near", 1, 1.0, 2.0, "walk"),
    ]


def test_equals_a_search_of_every_clip(gallery):
    rng = np.random.default_rng(0)
    codes = {f"video {number}": rng.integers(0, 256, (rng.integers(1, 40), 2), np.uint8) for number in range(30)}
    for name, batch in codes.items():
        add(gallery, name, batch)
    query = rng.integers(0, 256, (5, 2), np.uint8)
    nearest = {name: int(hamming_distances(query, batch).min()) for name, batch in codes.items()}
    for top in (1, 7, 30, 100):
        hits = query_codes(gallery, query, top=top)
        assert len(hits) == min(top, 30)
        assert len({hit.video for hit in hits}) == len(hits)
        assert [hit.distance for hit in hits] == sorted(nearest.values())[: len(hits)]
        for hit in hits:
            distances = hamming_distances(query, codes[hit.video])
            assert hit.distance == nearest[hit.video] == distances[:, int(hit.start_seconds)].min()


def test_one_long_video_does_not_hide_the_others(gallery):
    add(gallery, "long", np.zeros((500, 2), np.uint8))
    add(gallery, "short", np.array([[0, 1]], np.uint8))
    hits = query_codes(gallery, np.array([[0, 0]], np.uint8), top=2)
    assert [(hit.video, hit.distance) for hit in hits] == [("long", 0), ("short", 1)]


def test_a_video_finds_itself(untrained_run, motion_dir, tmp_path):
    with open_gallery(tmp_path / "g", untrained_run) as gallery:
        index_videos(untrained_run, gallery, [motion_dir / "gallery"], config=FP32)
        video = sorted((motion_dir / "gallery").glob("*/*.mp4"))[4]
        hits = query_video(untrained_run, gallery, video, top=3, config=FP32)
    assert hits[0].distance == 0
    assert str(video) in {hit.video for hit in hits if hit.distance == 0}


def test_bad_queries(gallery, untrained_run, motion_dir):
    query = np.array([[0, 0]], np.uint8)
    with pytest.raises(GalleryError, match="is empty"):
        query_codes(gallery, query)
    add(gallery, "a", query)
    with pytest.raises(UsageError, match=r"top \(0\)"):
        query_codes(gallery, query, top=0)
    with pytest.raises(ModelMismatchError, match="aaaaaaaa"):
        query_video(untrained_run, gallery, motion_dir)
