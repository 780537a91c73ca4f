"""Which videos of a gallery show the same: against a search for each pair alone, and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from random_codes import BITS, flipped, random_codes

from c3dhash.gallery import pairs
from c3dhash.gallery.pairs import RARE_BITS, _share, needed_bits
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch


def fill(gallery: Gallery, videos: dict[str, np.ndarray], **contents: str) -> None:
    for name, codes in videos.items():
        starts = np.arange(len(codes), dtype=np.float64)
        gallery.add(name, CodeBatch(codes, BITS, starts, starts + 1), content_hash=contents.get(name, name))


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "gallery", hash_length=BITS, model_fingerprint="a" * 32) as gallery:
        yield gallery


def found(gallery: Gallery, **options) -> dict[tuple[str, str], object]:
    return {(first.video, second.video): pair for first, second, pair in gallery.matching_pairs(**options)}


def test_copies_parts_and_what_is_alike_by_chance(gallery):
    rng = np.random.default_rng(0)
    videos = {f"film {number}": random_codes(rng, 30) for number in range(40)}
    videos["copy"] = flipped(rng, videos["film 3"], 0.06)
    videos["part"] = flipped(rng, videos["film 5"][10:18], 0.06)
    videos["inside"] = np.concatenate([random_codes(rng, 12), flipped(rng, videos["film 9"][4:16], 0.06)])
    fill(gallery, videos)
    seen = []
    pairs = found(gallery, on_video=lambda: seen.append(1))
    assert set(pairs) == {("film 3", "copy"), ("film 5", "part"), ("film 9", "inside")}
    assert len(seen) == gallery.num_videos == 43
    copy, part, inside = pairs.values()
    assert (copy.first_share, copy.second_share) == (1, 1)
    (segment,) = part.segments
    assert (segment.query_start_seconds, segment.query_end_seconds) == (10, 18)
    assert (segment.start_seconds, segment.end_seconds, segment.num_clips) == (0, 8, 8)
    assert (part.first_share, part.second_share) == (8 / 30, 1)
    (segment,) = inside.segments
    assert (segment.start_seconds, segment.end_seconds) == (12, 24)
    assert (inside.first_share, inside.second_share) == (12 / 30, 12 / 24)
    turned = inside.turned()
    assert (turned.first, turned.second) == (inside.second, inside.first)
    assert (turned.first_share, turned.second_share) == (12 / 24, 12 / 30)
    assert turned.turned() == inside
    assert (turned.segments[0].query_start_seconds, turned.segments[0].start_seconds) == (12, 4)
    faster = inside._replace(segments=(replace(inside.segments[0], speed=1.25),))
    assert faster.turned().segments[0].speed == 0.8


def test_chance_is_counted_by_the_pairs_of_clips(gallery):
    """Of 1,000 clips there are 499,500 pairs: chance makes the rarest once, and a segment must be 64 times as rare."""
    assert needed_bits(499_500) == pytest.approx(RARE_BITS + math.log2(499_500))
    assert needed_bits(0) == needed_bits(1) == RARE_BITS
    rng = np.random.default_rng(1)
    videos = {f"film {number}": random_codes(rng, 20) for number in range(50)}
    videos["two windows"] = videos["film 7"][4:6]
    videos["three windows"] = videos["film 8"][4:7]
    fill(gallery, videos)
    assert set(found(gallery)) == {("film 8", "three windows")}


def test_an_intro_of_all_makes_no_pair(gallery):
    rng = np.random.default_rng(2)
    intro = random_codes(rng, 8)
    fill(gallery, {f"film {number}": np.concatenate([intro, random_codes(rng, 20)]) for number in range(30)})
    assert found(gallery) == {}


def test_a_radius_takes_the_place_of_evidence(gallery):
    rng = np.random.default_rng(3)
    videos = {f"clip {number}": random_codes(rng, 1) for number in range(20)}
    near = np.unpackbits(videos["clip 4"], axis=1)
    near[:, :3] ^= 1
    videos["near"] = np.packbits(near, axis=1)
    videos["film"] = np.concatenate([random_codes(rng, 5), videos["clip 9"]])
    fill(gallery, videos)
    assert found(gallery) == {}, "a single window is no evidence"
    pairs = found(gallery, radius=3)
    assert {key: [each.distance for each in pair.segments] for key, pair in pairs.items()} == {
        ("clip 4", "near"): [3], ("clip 9", "film"): [0],
    }  # fmt: skip
    assert pairs["clip 9", "film"].segments[0].start_seconds == 5
    assert set(found(gallery, radius=2)) == {("clip 9", "film")}
    everything = found(gallery, radius=48)
    assert len(everything) == 22 * 21 / 2, "each pair once"


def test_the_same_bytes_are_always_a_pair(gallery):
    """Also where codes say nothing; a content that is not known is no content."""
    rng = np.random.default_rng(4)
    common = random_codes(rng, 1)
    videos = {f"clip {number}": common for number in range(6)}
    fill(gallery, videos, **{"clip 1": "same", "clip 4": "same", "clip 0": "", "clip 5": ""})
    pairs = found(gallery)
    assert set(pairs) == {("clip 1", "clip 4")}
    assert pairs["clip 1", "clip 4"].segments[0].distance == 0


def test_an_empty_gallery_has_no_pairs(gallery):
    assert found(gallery) == {}


def test_time_that_two_segments_hold_counts_once():
    codes = CodeBatch(np.zeros((10, 6), np.uint8), BITS, np.arange(10.0), np.arange(10.0) + 2)  # 0 to 11 s
    assert _share([(0, 4), (3, 6)], codes) == 6 / 11
    assert _share([(8, 11), (0, 6), (1, 3)], codes) == 9 / 11


def test_mirror_images_are_pairs_where_they_are_asked_for(gallery):
    """A mirror turns some bits over. Each pair once, by the better of the two; the same bytes are as they are."""
    rng = np.random.default_rng(5)
    mask = np.packbits(np.arange(BITS) % 2 == 1)
    videos = {f"film {number}": random_codes(rng, 30) for number in range(20)}
    videos["copy"] = flipped(rng, videos["film 3"], 0.06)
    videos["mirrored"] = flipped(rng, videos["film 5"], 0.06) ^ mask
    videos["mirrored part"] = flipped(rng, videos["film 9"][10:18], 0.06) ^ mask
    videos["both"] = np.concatenate([videos["film 11"][:16], videos["film 11"][20:26] ^ mask])
    videos["mostly mirrored"] = np.concatenate([videos["film 12"][:6], videos["film 12"][10:26] ^ mask])
    videos["same bytes"] = videos["film 14"] ^ mask
    fill(gallery, videos, **{"film 14": "same", "same bytes": "same"})
    as_they_are = found(gallery)
    assert not any(pair.is_mirrored for pair in as_they_are.values())
    pairs = found(gallery, mirror_mask=mask)
    assert {names: pair.is_mirrored for names, pair in pairs.items()} == {
        ("film 3", "copy"): False, ("film 5", "mirrored"): True, ("film 9", "mirrored part"): True,
        ("film 11", "both"): False, ("film 12", "mostly mirrored"): True, ("film 14", "same bytes"): False,
    }  # fmt: skip
    assert set(as_they_are) == set(pairs) - {("film 5", "mirrored"), ("film 9", "mirrored part")}
    assert pairs["film 11", "both"] == as_they_are["film 11", "both"]
    part = pairs["film 9", "mirrored part"]
    (segment,) = part.segments
    assert (segment.query_start_seconds, segment.query_end_seconds, segment.start_seconds) == (10, 18, 0)
    assert (part.first_share, part.second_share, part.turned().is_mirrored) == (8 / 30, 1, True)


def test_a_copy_that_is_its_own_mirror_image_but_for_a_few_bits_is_as_it_is(gallery):
    rng = np.random.default_rng(8)
    videos = {f"film {number}": random_codes(rng, 30) for number in range(20)}
    videos["copy"] = videos["film 3"]
    fill(gallery, videos)
    for num_bits in (0, 1, 3, 8):
        mask = np.packbits(np.arange(BITS) < num_bits)
        ((names, pair),) = found(gallery, mirror_mask=mask).items()
        assert (names, pair.is_mirrored, pair.segments[0].distance) == (("film 3", "copy"), False, 0)


def test_a_radius_goes_for_mirror_images_too(gallery):
    rng = np.random.default_rng(6)
    mask = np.packbits(np.arange(BITS) < 20)
    videos = {f"clip {number}": random_codes(rng, 1) for number in range(9)}
    videos["mirrored"] = videos["clip 4"] ^ mask
    fill(gallery, videos)
    assert found(gallery, radius=3) == {}
    ((names, pair),) = found(gallery, radius=3, mirror_mask=mask).items()
    assert (names, pair.is_mirrored, pair.segments[0].distance) == (("clip 4", "mirrored"), True, 0)


def test_mirror_images_make_twice_as_many_pairs(gallery, monkeypatch):
    """So a segment must be one bit more improbable: one that is told by half a bit is not told any more."""
    rng = np.random.default_rng(7)
    videos = {f"film {number}": random_codes(rng, 20) for number in range(50)}
    videos["part"] = videos["film 8"][4:7]
    fill(gallery, videos)
    ((_, _, pair),) = gallery.matching_pairs()
    bits = pair.segments[0].score + math.log2(20 * 3)  # of the segment alone
    monkeypatch.setattr(pairs, "RARE_BITS", bits - 0.5 - math.log2(1003 * 1002 / 2))
    mask = np.array([255, 0, 0, 0, 0, 0], np.uint8)
    assert (len(gallery.matching_pairs()), len(gallery.matching_pairs(mirror_mask=mask))) == (1, 0)
