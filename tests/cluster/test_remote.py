"""Queries of a gallery in Milvus: the hits are those of the gallery that was pushed there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from both import FINGERPRINT, LABELS, Both, at, told
from random_codes import BITS, flipped, random_codes

from c3dhash.cluster import remote_codes, tables
from c3dhash.cluster.push import TARGET, push_gallery
from c3dhash.cluster.remote import RemoteGallery
from c3dhash.cluster.remote_codes import RemoteCodes
from c3dhash.errors import CodesError, GalleryError, MissingExtraError, ModelMismatchError, UsageError
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch

FILTERS = [
    VideoFilter(), VideoFilter(labels=(LABELS[2], "walk")), VideoFilter(added_since="2026-05-15"),
    VideoFilter(labels=("walk",), folder="/db/b", without_content="h7"),
    *(pytest.param(only, marks=pytest.mark.slow) for only in (
        VideoFilter(labels=("walk",)), VideoFilter(folder="/db/a"), VideoFilter(folder="/db/b/7.mp4"),
        VideoFilter(without_content="h5"),
    )),
]  # fmt: skip


@pytest.mark.parametrize("only", FILTERS, ids=str)
def test_the_same_hits(both, only):
    rng = np.random.default_rng(1)
    num_found = 0
    for windows, radius, top in itertools.product((1, 2, 25), (None, 3), (1, 10, 300)):
        codes = both.videos[int(rng.integers(len(both.videos)))][:windows]
        num_found += len(both.check(at(flipped(rng, codes, 0.05)), only=only, radius=radius, top=top))
    assert num_found > 3


def test_at_any_speed_by_embeddings_and_in_a_mirror(both):
    rng = np.random.default_rng(2)
    query = at(flipped(rng, both.videos[5], 0.05))
    slower = CodeBatch(query.codes, BITS, 1.1 * query.start_seconds, 1.1 * query.start_seconds + 2)
    assert both.check(slower, any_speed=True)[0].segments[0].speed != 1
    for top in (1, 20):
        embeddings = rng.normal(size=(1, BITS)).astype(np.float32)
        packed = np.packbits(embeddings > 0, axis=1)
        both.check(CodeBatch(packed, BITS, np.zeros(1), np.ones(1), embeddings=embeddings), top=top)
    hits = both.check(at(random_codes(rng, 3)), mirrored=query)
    assert hits[0].is_mirrored


def test_what_scores_mean_comes_along(both):
    meaning = both.there.same_film()
    assert repr(meaning) == repr(both.here.same_film()) and meaning is not None
    hits = both.check(at(both.videos[4]), same_film=meaning)
    assert hits[0].same_film == meaning.precision(hits[0].score) > 0.5


def near(both: Both, codes: np.ndarray, *, radius: int) -> list[list[tuple[int, int, int]]]:
    """Which query is near which video, by the id of its first clip, at which distance: here, and there."""
    here = both.here._replica.index()
    there = RemoteCodes(both.there._tables, codes, notes={}, num_videos=0, num_clips=0, last_id=len(here))
    answers = []
    for index, first_ids in ((here, lambda videos: here.first_ids[videos]), (there, there.first_ids)):
        queries, videos, distances = index.near_videos(codes, radius=radius)
        answers.append(list(zip(queries.tolist(), map(int, first_ids(videos)), distances.tolist(), strict=True)))
    return answers


@pytest.mark.parametrize("radius", [-1, 0, 1, 4, 9, 20, 48])
@pytest.mark.parametrize("are_lists_short", [False, True])
def test_all_within_a_radius(both, monkeypatch, radius, are_lists_short):
    """Lists that are full say nothing of what is behind them: ids are cut into parts until none is."""
    if are_lists_short:
        monkeypatch.setattr(tables, "FEW_FOUND", 16)
        monkeypatch.setattr(tables, "MOST_ROWS", 256)
    here, there = near(both, both.videos[9][[0, 3, 3, 5]], radius=radius)
    assert there == here and (radius < 0 or len(here) >= 4)
    assert radius != 48 or len(here) == 4 * 120


def test_videos_behind_lists_that_are_full(both, monkeypatch):
    monkeypatch.setattr(remote_codes, "MOST_ROWS", 32)
    monkeypatch.setattr(remote_codes, "FIRST_ASKED", 2)
    query = at(both.videos[9][:1])
    both.check(query, top=100)
    both.check(query, top=30, only=VideoFilter(labels=("walk",)))


@pytest.mark.slow
def test_more_equal_codes_than_milvus_tells(tmp_path, free_address):
    rng = np.random.default_rng(4)
    black = np.repeat(random_codes(rng, 1), 20_000, axis=0)
    videos = [np.concatenate([black[:1], random_codes(rng, 5)]) for _ in range(30)]
    with Gallery.create(tmp_path / "gallery", hash_length=BITS, model_fingerprint=FINGERPRINT) as here:
        here.add("long", at(black), content_hash="long")
        for number, codes in enumerate(videos):
            here.add(f"{number}", at(codes), content_hash=f"{number}")
        push_gallery(here, address := free_address())
        with RemoteGallery(str(address)) as there:
            for query in (black[:1], videos[3], np.concatenate([black[:3], videos[7][1:]])):
                Both(here, there, videos).check(at(query), top=20)


def test_codes_that_do_not_fill_their_bytes(tmp_path, free_address):
    hash_length = 44
    rng = np.random.default_rng(hash_length)

    def batch(num: int) -> CodeBatch:
        bits = rng.random((num, hash_length)) < 0.5
        starts = np.arange(num, dtype=np.float64)
        return CodeBatch(np.packbits(bits, axis=1), hash_length, starts, starts + 1)

    with Gallery.create(tmp_path / "gallery", hash_length=hash_length, model_fingerprint=FINGERPRINT) as here:
        batches = [batch(4) for _ in range(12)]
        for number, codes in enumerate(batches):
            here.add(f"{number}", codes, content_hash=f"{number}")
        push_gallery(here, address := free_address())
        with RemoteGallery(str(address)) as there:
            for number in range(3):
                Both(here, there, []).check(batches[number], top=20)
                one = CodeBatch(batches[number].codes[:1], hash_length, np.zeros(1), np.ones(1))
                Both(here, there, []).check(one, top=20)


@pytest.mark.slow
def test_lists_of_some_find_what_is_near_and_as_many(both, free_address):
    report = push_gallery(both.here, address := free_address(), index="ivf")
    assert report.recall is not None and report.recall >= TARGET
    assert push_gallery(both.here, address).recall == report.recall
    with RemoteGallery(str(address)) as there:
        assert there._tables.index == "ivf" and there._tables.looked_at > 1, "it was measured once codes were in lists"
        copy = Both(both.here, there, both.videos)
        for number in range(0, 120, 10):
            (hit,) = query_codes(there, at(both.videos[number]), top=1)
            assert hit.video == both.check(at(both.videos[number]), top=1)[0].video
        hits = query_codes(there, at(both.videos[0][-1:]), top=300)
        assert len(hits) == 120 and hits[0].distance == 0
        assert told(hits) == told(query_codes(copy.here, at(both.videos[0][-1:]), top=300)), "all lists were looked at"
    assert push_gallery(both.here, address, index="flat").recall is None
    with RemoteGallery(str(address)) as there:
        assert there._tables.index == "flat"
        Both(both.here, there, both.videos).check(at(both.videos[0][-1:]))
        push_gallery(both.here, address)
        assert told(query_codes(there, at(both.videos[3]))) == told(query_codes(both.here, at(both.videos[3])))


def test_bad_filters_and_codes(both):
    query = at(both.videos[0][:1])
    for gallery in (both.here, both.there):
        with pytest.raises(UsageError, match=r"label 'nap' is of no video of gallery '.*': it has .*walk"):
            query_codes(gallery, query, only=VideoFilter(labels=("nap",)))
        with pytest.raises(UsageError, match=r"has no video with clips that passes \(folder '/none'\)"):
            gallery.check_filter(VideoFilter(folder="/none"))
        with pytest.raises(UsageError, match=r"top \(0\) must be 1 or more"):
            query_codes(gallery, query, top=0)
        with pytest.raises(ModelMismatchError, match=r"holds 48-bit codes of model aaaaaaaa…, got a 48-bit model bbbb"):
            gallery.check_model("b" * 32, hash_length=BITS)
        with pytest.raises(CodesError):
            query_codes(gallery, CodeBatch(np.zeros((1, 2), np.uint8), 16, np.zeros(1), np.ones(1)))


def test_no_server_no_gallery(server, free_address, monkeypatch):
    with pytest.raises(GalleryError, match=r"no Milvus at 127\.0\.0\.1:1 lets us in: is it running there"):
        RemoteGallery("milvus://127.0.0.1:1/films")
    address = free_address()
    with pytest.raises(
        GalleryError, match=rf"'{address}' is not there: `c3dhash gallery push --to {address}` makes it"
    ):
        RemoteGallery(str(address))
    monkeypatch.setitem(__import__("sys").modules, "pymilvus", None)
    with pytest.raises(MissingExtraError, match=r"needs the extra milvus: pip install 'c3dhash\[milvus\]'"):
        RemoteGallery(str(address))
