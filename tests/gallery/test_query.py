from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import numbered_frame, write_frames

from c3dhash.bits import hamming_distances
from c3dhash.config import EncodeConfig
from c3dhash.errors import GalleryError, ModelMismatchError, UsageError
from c3dhash.gallery.chance import chance_of_segments
from c3dhash.gallery.duplicates import find_duplicates
from c3dhash.gallery.evidence import weigh
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.query import _better_of, encode_video, query_codes, query_video, query_videos
from c3dhash.gallery.segments import find_segments
from c3dhash.gallery.store import Gallery
from c3dhash.models.calibration import CALIBRATION_FILE, Calibration, save_calibration
from c3dhash.models.encode import encode_videos
from c3dhash.models.runs import load_run
from c3dhash.records import CodeBatch, Hit
from c3dhash.video.isolation import DecoderPool
from c3dhash.video.reader import read_clips

FP32 = EncodeConfig(precision="fp32", device="cpu")
SHORT = EncodeConfig(precision="fp32", device="cpu", window_seconds=1, stride_seconds=0.5)


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "gallery", hash_length=16, model_fingerprint="a" * 32) as gallery:
        yield gallery


def add(gallery: Gallery, name: str, codes: np.ndarray, label: str | None = None) -> None:
    gallery.add(name, of(codes), content_hash=name, label=label)


def of(codes: np.ndarray) -> CodeBatch:
    """Windows of a second, one after the other."""
    starts = np.arange(len(codes), dtype=np.float64)
    return CodeBatch(codes, 16, starts, starts + 1)


def test_by_hand(gallery):
    add(gallery, "far", np.array([[0xFF, 0xFF]], np.uint8))
    add(gallery, "near", np.array([[0xFF, 0x00], [0x00, 0x01], [0x03, 0x03]], np.uint8), label="walk")
    add(gallery, "same", np.array([[0x0F, 0x0F], [0x00, 0x00]], np.uint8))
    hits = query_codes(gallery, of(np.array([[0, 0]], np.uint8)), top=2)
    assert [(hit.rank, hit.video, hit.distance, hit.start_seconds, hit.end_seconds, hit.label) for hit in hits] == [
        (1, "same", 0, 1.0, 2.0, None),
        (2, "near", 1, 1.0, 2.0, "walk"),
    ]


def test_a_film_that_fills_the_first_list_hides_nothing(gallery):
    """Ten videos at distance 5 from one window are enough for an answer, but not the answer."""
    add(gallery, "film", np.zeros((90, 2), np.uint8))
    for number in range(10):
        add(gallery, f"far {number}", np.array([[0xFF, 0x1F]], np.uint8))
    add(gallery, "near", np.array([[0x00, 0x01]], np.uint8))
    hits = query_codes(gallery, of(np.array([[0x00, 0x00], [0xFF, 0xFF]], np.uint8)), top=4)
    assert [(hit.video, hit.distance) for hit in hits] == [("film", 0), ("near", 1), ("far 0", 3), ("far 1", 3)]


@pytest.mark.parametrize("num_frames", [1, 2, 6, 13, 25, 27, 29, 37])
def test_short_videos(untrained_run, tmp_path, num_frames):
    """Of 1 s windows every 0.5 s at 25 fps: shorter than a stride or a window, one and a little, one and a half."""
    (tmp_path / "db").mkdir()
    lengths = {f"{number}.mp4": number for number in (1, 2, 6, 13, 25, 27, 29, 37, 60)}
    for name, length in lengths.items():
        write_frames(tmp_path / "db" / name, [numbered_frame(7 * length + number) for number in range(length)])
    with open_gallery(tmp_path / "gallery", untrained_run, config=SHORT) as gallery:
        report = index_videos(untrained_run, gallery, [tmp_path / "db"], config=SHORT)
        assert (report.added, report.failed, report.flat_windows) == (9, [], 0)
        name = f"{num_frames}.mp4"
        expected = [(0, min(num_frames / 25, 1))]
        if num_frames > 31:  # a tail of a quarter of a window, the part of a frame, or more
            expected.append((num_frames / 25 - 1, num_frames / 25))
        clips = [clip for clip in gallery.clips(gallery.codes()[0]) if clip.video.endswith(f"/{name}")]
        found = [(clip.start_seconds, clip.end_seconds) for clip in clips]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        query = tmp_path / "query.mp4"
        shutil.copy(tmp_path / "db" / name, query)
        hits = query_video(untrained_run, gallery, query, top=9, config=SHORT)
        assert len(hits) == 9
        assert hits[0].distance == 0 and str(tmp_path / "db" / name) in {hit.video for hit in hits if not hit.distance}
        index_videos(untrained_run, gallery, [query], config=SHORT)
        (group,) = find_duplicates(gallery)
        assert {group.best, group.members[0].video} == {str(query), str(tmp_path / "db" / name)}


def test_a_still_picture_is_a_query_of_one_window(untrained_run, motion_dir, tmp_path):
    """A video of that frame, repeated, is found at distance 0."""
    picture = numbered_frame(300)
    cv2.imwrite(str(tmp_path / "a.png"), picture[..., ::-1])
    (tmp_path / "db").mkdir()
    write_frames(tmp_path / "db" / "held.avi", [picture] * 30)
    with open_gallery(tmp_path / "gallery", untrained_run, config=FP32) as gallery:
        index_videos(untrained_run, gallery, [tmp_path / "db", motion_dir / "gallery"], config=FP32)
        hits = query_video(untrained_run, gallery, tmp_path / "a.png", config=FP32)
        assert hits[0].video == str(tmp_path / "db" / "held.avi")
        (segment,) = hits[0].segments
        assert (hits[0].distance, segment.query_start_seconds, segment.query_end_seconds) == (0, 0, 0.04)
        assert np.array_equal(
            encode_video(untrained_run, tmp_path / "a.png", config=FP32).codes,
            encode_video(untrained_run, tmp_path / "db" / "held.avi", config=FP32).codes,
        )
        report = index_videos(untrained_run, gallery, [tmp_path / "a.png"], config=FP32)
        assert "is a PNG picture, not a video" in report.failed[0]["reason"]


@pytest.fixture
def skewed(tmp_path) -> Path:
    """A folder of three videos whose left half tells them from their mirror images."""
    (tmp_path / "db").mkdir()
    for name in range(3):
        frames = [numbered_frame(100 * name + number).copy() for number in range(50)]
        for frame in frames:
            frame[:, 80:] //= 4
        write_frames(tmp_path / "db" / f"{name}.avi", frames)
    return tmp_path / "db"


@pytest.mark.parametrize("config", [FP32, SHORT])
def test_the_mirror_image_of_a_query(untrained_run, tmp_path, skewed, config):
    """Each video once, by the better of both: a flipped copy by its mirror image, what is as it was by itself."""
    with open_gallery(tmp_path / "gallery", untrained_run, config=config) as gallery:
        index_videos(untrained_run, gallery, [skewed], config=config)
        frames = [frame[:, ::-1] for frame in next(read_clips(skewed / "1.avi", num_frames=50)).frames]
        flipped = write_frames(tmp_path / "flipped.avi", frames, fourcc="FFV1")
        as_it_is = query_video(untrained_run, gallery, flipped, config=config)
        hits = query_video(untrained_run, gallery, flipped, mirror=True, config=config)
        assert [hit.rank for hit in hits] == [1, 2, 3] and len({hit.video for hit in hits}) == 3
        assert (hits[0].video, hits[0].distance, hits[0].is_mirrored) == (str(skewed / "1.avi"), 0, True)
        assert as_it_is[0].distance > 0 and not any(hit.is_mirrored for hit in as_it_is)
        unmirrored = [
            replace(hit, is_mirrored=True)
            for hit in query_video(untrained_run, gallery, skewed / "1.avi", config=config)
        ]
        for hit in hits:
            expected = {other.video: other for other in (unmirrored if hit.is_mirrored else as_it_is)}[hit.video]
            assert replace(hit, rank=expected.rank) == expected
        (first,) = query_video(untrained_run, gallery, skewed / "1.avi", mirror=True, top=1, config=config)
        assert (first.video, first.distance, first.is_mirrored) == (str(skewed / "1.avi"), 0, False)


def test_a_video_and_its_mirror_image_are_of_one_decoding(untrained_run, tmp_path, skewed, monkeypatch):
    read = []

    def stream(pool, task, path, **options):
        read.append(path.name)
        return as_it_is(pool, task, path, **options)

    as_it_is = DecoderPool.stream
    with open_gallery(tmp_path / "gallery", untrained_run, config=FP32) as gallery:
        index_videos(untrained_run, gallery, [skewed], config=FP32)
        monkeypatch.setattr(DecoderPool, "stream", stream)
        videos = [skewed / "0.avi", skewed / "2.avi"]
        found = list(query_videos(untrained_run, gallery, videos, mirror=True, config=FP32))
    assert [hits[0].distance for _, hits in found] == [0, 0]
    assert sorted(read) == ["0.avi", "2.avi"]


def test_the_finer_order_of_a_video_and_its_mirror_image(untrained_run, tmp_path, skewed):
    """By asymmetric distance from either embedding: bits of which that one is sure count more."""
    (result,) = encode_videos(untrained_run, [skewed / "0.avi"], config=FP32, with_mirrored=True)
    sides = [each.codes.embeddings[0].astype(np.float64) for each in (result, result.mirrored)]
    rng = np.random.default_rng(0)
    config = {"hash_length": untrained_run.hash_length, "model_fingerprint": untrained_run.fingerprint}
    codes = {f"{number:02}": rng.random(untrained_run.hash_length) < 0.5 for number in range(40)}
    with Gallery.create(tmp_path / "gallery", **config) as gallery:
        for name, bits in codes.items():
            batch = CodeBatch(np.packbits(bits[None], axis=1), len(bits), np.zeros(1), np.ones(1))
            gallery.add(name, batch, content_hash=name)
        hits = query_video(untrained_run, gallery, skewed / "0.avi", mirror=True, top=15, config=FP32)
    finer = {
        (name, is_mirrored): np.abs(side)[bits != (side > 0)].sum()
        for name, bits in codes.items()
        for is_mirrored, side in enumerate(sides)
    }
    best = sorted((min((finer[name, side], side) for side in (0, 1)), name) for name in codes)
    assert [(hit.video, hit.is_mirrored) for hit in hits] == [(name, side == 1) for (_, side), name in best[:15]]
    assert len({hit.is_mirrored for hit in hits}) == 2 and [hit.rank for hit in hits] == list(range(1, 16))
    distances = [hit.distance for hit in hits]
    assert distances != sorted(distances), "the order is not that of the bits"


def test_which_of_two_hits_is_the_better_one():
    """By score, then by distance; of one window by the finer distance; of ties the one that is not mirrored."""

    def hit(video: str, score: float, distance: int, *, is_mirrored: bool = False) -> tuple[Hit, float]:
        return Hit(1, distance, video, 0.0, 1.0, None, score, (), is_mirrored=is_mirrored), distance / 8

    plain = [hit("a", 9.0, 4), hit("b", 5.0, 1), hit("c", 0.0, 7)]
    mirrored = [hit("b", 7.0, 2, is_mirrored=True), hit("a", 9.0, 4, is_mirrored=True), hit("d", 0.0, 6)]
    found = _better_of(plain, mirrored, top=3, by_distance=False)
    assert [(each.rank, each.video, each.score, each.is_mirrored) for each in found] == [
        (1, "a", 9.0, False), (2, "b", 7.0, True), (3, "d", 0.0, False),
    ]  # fmt: skip
    found = _better_of(plain, mirrored, top=9, by_distance=True)
    assert [(each.video, each.distance, each.is_mirrored) for each in found] == [
        ("b", 1, False), ("a", 4, False), ("d", 6, False), ("c", 7, False),
    ]  # fmt: skip


def test_a_gallery_of_mirror_images_is_not_asked_with_them(untrained_run, tmp_path, skewed):
    config = replace(FP32, views=2)
    with open_gallery(tmp_path / "gallery", untrained_run, config=config) as gallery:
        index_videos(untrained_run, gallery, [skewed], config=config)
        with pytest.raises(UsageError, match=r"are of 2 views, half of them mirror images"):
            query_video(untrained_run, gallery, skewed / "0.avi", mirror=True)


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_look_at_every_clip(gallery, seed):
    """Few centres, many ties, films beside single clips, several windows; videos are replaced and removed."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 256, (3, 2), np.uint8)
    model: dict[str, list[tuple[int, np.ndarray]]] = {}  # video -> its clips: id, code

    def codes_near_centres(num: int) -> np.ndarray:
        flips = np.packbits(rng.random((num, 16)) < rng.choice([0.0, 0.1, 0.3]), axis=1)
        return centres[rng.integers(0, 3, num)] ^ flips

    next_id = 1
    for _ in range(60):
        name, codes = f"video {rng.integers(0, 25)}", codes_near_centres(int(rng.choice([1, 3, 80], p=[0.6, 0.3, 0.1])))
        add(gallery, name, codes)
        model[name] = list(enumerate(codes, next_id))
        next_id += len(codes)
        if rng.random() < 0.1:
            removed = str(rng.choice(list(model)))
            gallery.remove([removed])
            del model[removed]
    for num_windows in (1, 2, 7, 30):
        query = of(codes_near_centres(num_windows))
        index = gallery._replica.index()
        points, _ = weigh(index, query.codes)
        best = []  # the definition: of each video (-score, -improbability of its best segment, distance, id), sorted
        for name, clips in model.items():
            codes = np.stack([code for _, code in clips])
            segments = find_segments(points, query, of(codes)) if num_windows > 1 else []
            distances = hamming_distances(query.codes, codes).min(axis=0)
            place = segments[0][1] if segments else int(np.argmin(distances))
            distance = segments[0][0].distance if segments else int(distances[place])
            start = segments[0][0].start_seconds if segments else float(place)
            bits = [chance_of_segments(index).bits(segment.score) for segment, _ in segments]
            score = sum(max(0, each - math.log2(num_windows * len(codes))) for each in bits)
            best.append((-score, -max(bits, default=0), distance, clips[place][0], name, start))
        for top in (1, 7, 100):
            hits = query_codes(gallery, query, top=top)
            assert [(hit.distance, hit.video, hit.start_seconds) for hit in hits] == [
                (distance, name, start) for *_, distance, _, name, start in sorted(best)[:top]
            ]
            assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    query = codes_near_centres(1)
    assert query_codes(gallery, of(query[:0])) == []


@pytest.mark.parametrize("num_windows, num_examined", [(1, 0), (2, 6)])
def test_a_query_asks_the_catalog_for_the_clips_that_it_needs(gallery, num_windows, num_examined):
    """No count, no sum: what they cost grows with the gallery, and is known beside the codes."""
    for number in range(30):
        add(gallery, f"video {number}", np.array([[number, number]], np.uint8))
    query_codes(gallery, of(np.zeros((num_windows, 2), np.uint8)), top=3)
    statements: list[str] = []
    gallery._catalog._connection.set_trace_callback(statements.append)
    query_codes(gallery, of(np.zeros((num_windows, 2), np.uint8)), top=3)
    assert (len(gallery), gallery.num_videos) == (30, 30)
    gallery._catalog._connection.set_trace_callback(None)
    looked_up = [re.search(r"clip\.id = (\d+)$", statement) for statement in statements]
    assert [int(match[1]) for match in looked_up if match] == [1, 2, 3]
    others = {statement for statement, match in zip(statements, looked_up, strict=True) if not match}
    state = {"BEGIN", "SELECT revision, token FROM change ORDER BY revision DESC LIMIT 1", "ROLLBACK"}
    state.add("SELECT value FROM meta WHERE key = 'search'")  # exact, or an approximate index
    times = {statement for statement in others if "start_seconds, end_seconds FROM clip WHERE id BETWEEN" in statement}
    assert others == state | times and len(times) == num_examined


def test_an_answer_is_of_one_state_while_another_process_writes(gallery, monkeypatch):
    add(gallery, "a", np.array([[0, 0]], np.uint8))
    add(gallery, "b", np.array([[0, 1]], np.uint8))
    look_up = gallery._catalog.clips

    def remove_then_look_up(ids):
        with Gallery.open(gallery.path) as other:
            other.remove(["a"])
        return look_up(ids)

    query = of(np.zeros((1, 2), np.uint8))
    monkeypatch.setattr(gallery._catalog, "clips", remove_then_look_up)
    assert [hit.video for hit in query_codes(gallery, query)] == ["a", "b"]
    monkeypatch.setattr(gallery._catalog, "clips", look_up)
    assert [hit.video for hit in query_codes(gallery, query)] == ["b"]


def test_a_video_finds_itself(untrained_run, motion_dir, tmp_path):
    with open_gallery(tmp_path / "g", untrained_run) as gallery:
        index_videos(untrained_run, gallery, [motion_dir / "gallery"], config=FP32)
        video = sorted((motion_dir / "gallery").glob("*/*.mp4"))[4]
        hits = query_video(untrained_run, gallery, video, top=3, config=FP32)
    assert hits[0].distance == 0
    assert str(video) in {hit.video for hit in hits if hit.distance == 0}


def test_bad_queries(gallery, untrained_run, motion_dir):
    query = of(np.array([[0, 0]], np.uint8))
    with pytest.raises(GalleryError, match="is empty"):
        query_codes(gallery, query)
    add(gallery, "a", query.codes)
    with pytest.raises(UsageError, match=r"top \(0\)"):
        query_codes(gallery, query, top=0)
    with pytest.raises(ModelMismatchError, match="aaaaaaaa"):
        query_video(untrained_run, gallery, motion_dir)
    with gallery.editing() as edits:
        edits.mark_missing("a")
    with pytest.raises(GalleryError, match=r"has only videos whose files are missing \(1\)"):
        query_codes(gallery, query)


def test_hits_say_what_their_distance_means(gallery):
    """By how many pairs of clips the distance is the smallest of: windows of the query times clips of the video."""
    add(gallery, "short", np.array([[0x00, 0x07]], np.uint8))
    add(gallery, "long", np.array([[0x00, 0x07], *[[0xFF, 0xFF]] * 4], np.uint8))
    counts = np.arange(17) * 10
    calibration = Calibration(counts, counts // (2 + np.arange(17)), "by hand")
    for windows in (np.zeros((1, 2), np.uint8), np.zeros((3, 2), np.uint8)):
        hits = query_codes(gallery, of(windows), calibration=calibration)
        found = {hit.video: (hit.distance, hit.precision) for hit in hits}
        assert found == {
            "short": (3, calibration.precision(3, num_pairs=len(windows))),
            "long": (3, calibration.precision(3, num_pairs=5 * len(windows))),
        }
        assert found["long"][1] < found["short"][1]
    assert query_codes(gallery, of(np.zeros((1, 2), np.uint8)))[0].precision is None


def test_a_damaged_calibration_keeps_nobody_from_asking(untrained_run, motion_dir, tmp_path, caplog):
    path = shutil.copytree(untrained_run.path, tmp_path / "run")
    run = load_run(path)
    with open_gallery(tmp_path / "gallery", run) as gallery:
        index_videos(run, gallery, [motion_dir / "gallery" / "move_up"], config=FP32)
        video = motion_dir / "query" / "move_up" / "move_up_000.mp4"
        save_calibration(path, Calibration(np.full(17, 2), np.ones(17, np.int64), "x"))
        assert query_video(run, gallery, video)[0].precision == pytest.approx(0.5)
        (path / CALIBRATION_FILE).write_text("{")
        assert query_video(run, gallery, video)[0].precision is None
    assert "calibration.json' cannot be used" in caplog.text
