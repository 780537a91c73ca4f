"""Which videos may be found, against the definition, and what a query makes of it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from c3dhash.errors import GalleryError, UsageError
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import CATALOG_NAME, Gallery
from c3dhash.records import CodeBatch

BITS = 48


def codes_of(rng: np.random.Generator, num: int) -> CodeBatch:
    starts = np.arange(num, dtype=np.float64)
    return CodeBatch(rng.integers(0, 256, (num, BITS // 8), np.uint8), BITS, starts, starts + 1)


@pytest.fixture
def gallery(tmp_path):
    """Videos of two roots, one in the other's neighbour, and of none; some have no label, and one no clip."""
    rng = np.random.default_rng(0)
    videos = tmp_path / "videos"
    names = [
        ("a.mp4", "golf"), ("day 1/a.mp4", "golf"), ("day 1/b%.mp4", "run"), ("day 1/sub/c.mp4", None),
        ("day 10/d.mp4", "run"), ("day_1/e.mp4", "Läufer"),
    ]  # fmt: skip
    with Gallery.create(tmp_path / "gallery", hash_length=BITS, model_fingerprint="a" * 32) as gallery:
        for root, (name, label) in product((videos, tmp_path / "videos 2"), names):
            gallery.add(
                str(root / name), codes_of(rng, 3), content_hash=f"{root.name}/{name}", label=label, root=str(root)
            )
        for name in ("a/b", "a/b/c", "a/b0"):
            gallery.add(name, codes_of(rng, 1), content_hash=name)
        gallery.add(str(videos / "empty.mp4"), codes_of(rng, 0), content_hash="e", root=str(videos))
        with sqlite3.connect(tmp_path / "gallery" / CATALOG_NAME) as connection:
            connection.execute("UPDATE video SET added_at = '2026-11-23T23:59:59+00:00' WHERE id % 2")
            connection.execute("UPDATE video SET added_at = '2026-11-24T00:00:00+00:00' WHERE NOT id % 2")
        yield gallery


def found(gallery: Gallery, only: VideoFilter, *, windows: int = 1, **options) -> set[str]:
    query = codes_of(np.random.default_rng(5), windows)
    return {hit.video for hit in query_codes(gallery, query, top=100, only=only, **options)}


def passes(video, only: VideoFilter, folder: str | None) -> bool:
    return (
        (not only.labels or video.label in only.labels)
        and (folder is None or f"{video.video}/".startswith(folder.rstrip("/") + "/"))
        and (only.added_since is None or video.added_at[:10] >= only.added_since)
        and video.content_hash != only.without_content
    )


@pytest.mark.parametrize("windows", [1, 3])
def test_what_is_found_is_what_passes(gallery, windows):
    top = gallery.path.parent
    folders = (
        None, f"{top}", f"{top}/videos", f"{top}/videos/", f"{top}/videos/day 1", f"{top}/videos 2/day 1/sub",
        f"{top}/videos/day 1/a.mp4", f"{top}/videos/day_1", "a/b", "a/b/",
    )  # fmt: skip
    tried = 0
    for labels, folder, since, without in product(
        ((), ("golf",), ("golf", "Läufer")), folders, (None, "2026-11-24"), (None, "videos/day 1/a.mp4")
    ):
        only = VideoFilter(labels, folder, since, without)
        expected = {video.video for video in gallery.videos() if video.num_clips and passes(video, only, folder)}
        is_there = any(video.num_clips and passes(video, replace(only, without_content=None), folder)
                       for video in gallery.videos())  # fmt: skip
        if is_there:
            assert found(gallery, only, windows=windows) == expected, only
            tried += 1
        else:
            with pytest.raises(UsageError, match="has no video with clips that passes"):
                found(gallery, only, windows=windows)
    assert tried > 50


def test_a_folder_is_found_from_where_one_stands_and_through_links(gallery, monkeypatch):
    top = gallery.path.parent
    (top / "videos" / "day 1").mkdir(parents=True)
    expected = found(gallery, VideoFilter(folder=str(top / "videos" / "day 1")))
    monkeypatch.chdir(top / "videos")
    assert found(gallery, VideoFilter(folder="day 1")) == found(gallery, VideoFilter(folder="./day 1/")) == expected
    (top / "link").symlink_to(top / "videos")
    (top / "videos" / "latest").symlink_to("day 1")
    for folder in ("link/day 1", "link/latest", "videos/latest"):
        assert found(gallery, VideoFilter(folder=str(top / folder))) == expected, folder


def test_the_best_of_those_that_pass(gallery):
    """They are as many as asked for, though all that are nearer do not pass."""
    rng = np.random.default_rng(9)
    query = codes_of(rng, 4)
    for number in range(20):
        gallery.add(f"same {number}", query, content_hash=f"s{number}", label="same")
    gallery.add("one more", codes_of(rng, 4), content_hash="m", label="golf")
    for part in (query, CodeBatch(query.codes[:1], BITS, query.start_seconds[:1], query.end_seconds[:1])):
        assert {hit.label for hit in query_codes(gallery, part, top=5)} == {"same"}
        hits = query_codes(gallery, part, top=5, only=VideoFilter(("golf",)))
        assert len(hits) == 5 and {hit.label for hit in hits} == {"golf"}


@pytest.mark.parametrize("windows", [1, 4])
def test_within_a_radius(gallery, windows):
    query = codes_of(np.random.default_rng(5), windows)
    near = query.codes.copy()
    near[:, 0] ^= 0b0000_0111  # at distance 3 in every clip
    gallery.add("near", CodeBatch(near, BITS, query.start_seconds, query.end_seconds), content_hash="n")
    distances = {hit.video: hit.distance for hit in query_codes(gallery, query, top=100)}
    for radius in (0, 2, 3, 16, BITS):
        within = {video for video, distance in distances.items() if distance <= radius}
        assert {hit.video for hit in query_codes(gallery, query, top=100, radius=radius)} == within
    assert query_codes(gallery, query, radius=2) == []


def flip(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes at a distance of so many bits, 8 or less, from each."""
    codes = codes.copy()
    codes[:, 0] ^= (1 << bits) - 1
    return codes


def test_a_radius_leaves_the_order_and_the_segments_as_they_are(gallery):
    """What is too far takes no place, neither of a video with segments nor by some other clip of its own."""
    rng = np.random.default_rng(3)
    query = codes_of(rng, 12)
    times = query.start_seconds, query.end_seconds
    stray = rng.permutation(query.codes)[:1]
    far = CodeBatch(flip(query.codes, 4), BITS, *times)
    strayed = codes_of(rng, 14)
    strayed.codes[:12], strayed.codes[13:] = far.codes, stray
    near = codes_of(rng, 12)
    near.codes[3:7] = flip(query.codes[3:7], 1)
    for name, codes in (("far", far), ("far, and a clip that is near", strayed), ("near", near)):
        gallery.add(name, codes, content_hash=name)
    assert [hit.video for hit in query_codes(gallery, query, top=3)][2] == "near"
    for top in (1, 2, 3, 10):
        hits = query_codes(gallery, query, top=top, radius=3)
        assert [(hit.video, hit.distance, len(hit.segments)) for hit in hits] == [("near", 1, 1)], top


@pytest.mark.parametrize("windows", [1, 3])
def test_no_hits_are_asked_for(gallery, windows):
    with pytest.raises(UsageError, match=r"top \(0\) must be 1 or more"):
        query_codes(gallery, codes_of(np.random.default_rng(0), windows), top=0)


def test_filters_that_make_no_sense():
    for fields in ({"labels": "golf"}, {"added_since": "2026-2-1"}, {"added_since": "1.2.2026"}, {"folder": "\udcff"}):
        with pytest.raises(UsageError, match=r"labels|added_since|UTF-8"):
            VideoFilter(**fields)


def test_the_query_is_all_there_is(tmp_path):
    codes = codes_of(np.random.default_rng(0), 2)
    with Gallery.create(tmp_path / "gallery", hash_length=BITS, model_fingerprint="a" * 32) as gallery:
        with pytest.raises(GalleryError, match="is empty"):
            query_codes(gallery, codes, only=VideoFilter(("golf",)))
        gallery.check_filter(VideoFilter(("golf",)))
        gallery.add("a", codes, content_hash="a")
        assert query_codes(gallery, codes, only=VideoFilter(without_content="a")) == []


def test_a_label_that_no_video_has(gallery):
    with pytest.raises(UsageError, match=r"label 'Golf' is of no video of gallery .*: it has Läufer, golf, run\."):
        found(gallery, VideoFilter(("golf", "Golf")))


def test_a_missing_video_is_not_found(gallery):
    """Its label is known, and its clips lie aside."""
    with sqlite3.connect(gallery.path / CATALOG_NAME) as connection:
        connection.execute("INSERT INTO missing_clip SELECT * FROM clip WHERE video_id = 1")
        connection.execute("INSERT INTO removal SELECT max(revision), 1, 3 FROM change")
        connection.execute("DELETE FROM clip WHERE video_id = 1")
        connection.execute("UPDATE video SET missing_since = '2026-11-24' WHERE id = 1")
    with pytest.raises(UsageError, match="passes"):
        found(gallery, VideoFilter(folder=f"{gallery.path.parent}/videos/a.mp4"))


def test_a_message_does_not_list_hundreds_of_labels(gallery):
    for number in range(30):
        gallery.add(f"{number}", codes_of(np.random.default_rng(0), 1), content_hash=f"{number}", label=f"l{number:02}")
    with pytest.raises(UsageError, match=r"it has Läufer, golf, l00, .*l16, l17 and 13 more\.$"):
        gallery.check_filter(VideoFilter(("sprint",)))
