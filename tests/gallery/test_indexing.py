from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
from videos import black_frames, write_frames

from c3dhash.config import EncodeConfig, IndexConfig
from c3dhash.errors import GalleryError, ModelMismatchError, UsageError
from c3dhash.gallery.duplicates import find_duplicates
from c3dhash.gallery.indexing import folder_label, index_videos, open_gallery
from c3dhash.gallery.plan import make_plan
from c3dhash.gallery.query import query_video
from c3dhash.gallery.store import CATALOG_NAME, Gallery
from c3dhash.models.clip_stream import ClipStream
from c3dhash.models.encode import encode_videos

FP32 = EncodeConfig(precision="fp32", device="cpu")
READ = ClipStream._read


@pytest.fixture
def videos(motion_dir, tmp_path) -> Path:
    """A folder of six videos in class folders, free to change."""
    shutil.copytree(motion_dir / "query", tmp_path / "db")
    return tmp_path / "db"


@pytest.fixture
def gallery(untrained_run, tmp_path):
    with open_gallery(tmp_path / "gallery", untrained_run) as gallery:
        yield gallery


def names(gallery: Gallery) -> set[str]:
    return {Path(video.video).name for video in gallery.videos()}


def test_a_gallery_follows_its_folder(untrained_run, gallery, videos):
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    assert (report.added, report.clips, report.failed) == (6, 6, [])
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    assert (report.added, report.unchanged, report.clips) == (0, 6, 0)

    files = sorted(videos.glob("*/*.mp4"))
    files[0].unlink()
    shutil.copy(files[2], files[1])  # changed content
    os.utime(files[3], (1, 1))  # touched, the same content
    shutil.copy(files[4], videos / "new.mp4")
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    assert (report.added, report.updated, report.missing, report.removed) == (1, 1, 1, 0)
    assert (report.unchanged, report.clips) == (4, 2)
    assert names(gallery) == {path.name for path in videos.rglob("*.mp4")}
    assert len(gallery) == 6


def test_unreadable_files_are_reported_and_do_not_stop_the_rest(untrained_run, gallery, videos):
    (videos / "broken.mp4").write_bytes(b"\0" * 1000)
    (videos / "empty.avi").write_bytes(b"")
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    assert report.added == 6
    assert {Path(failure["video"]).name for failure in report.failed} == {"broken.mp4", "empty.avi"}
    assert all(failure["reason"] for failure in report.failed)


def test_a_video_that_shows_nothing_is_known_and_has_no_code(untrained_run, gallery, videos):
    """It is decoded once, and told by name; a copy of it has no code, either."""
    write_frames(videos / "black.mp4", black_frames(50))
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    assert (report.added, report.clips, report.failed) == (7, 6, [])
    assert (report.flat_windows, report.flat_videos, report.without_codes) == (1, 1, [str(videos / "black.mp4")])
    assert {Path(video.video).name: video.num_clips for video in gallery.videos()}["black.mp4"] == 0
    shutil.copy(videos / "black.mp4", videos / "copy.mp4")
    (videos / "black.mp4").rename(videos / "renamed.mp4")
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    assert (report.added, report.moved, report.unchanged, report.clips) == (1, 1, 6, 0)
    assert len(report.without_codes) == 1
    assert find_duplicates(gallery) == []
    assert len(query_video(untrained_run, gallery, sorted(videos.glob("*/*.mp4"))[0], config=FP32)) == 6


def test_a_gallery_of_nothing_is_not_empty(untrained_run, gallery, videos, tmp_path):
    (tmp_path / "dark").mkdir()
    write_frames(tmp_path / "dark" / "black.mp4", black_frames(50))
    index_videos(untrained_run, gallery, [tmp_path / "dark"], config=FP32)
    with pytest.raises(GalleryError, match=r"has only videos that show nothing \(1\), which have no codes"):
        query_video(untrained_run, gallery, sorted(videos.glob("*/*.mp4"))[0], config=FP32)


def test_a_video_that_breaks_keeps_its_earlier_codes(untrained_run, gallery, videos):
    index_videos(untrained_run, gallery, [videos], config=FP32)
    broken = sorted(videos.glob("*/*.mp4"))[0]
    broken.write_bytes(broken.read_bytes()[:500])
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    assert [failure["video"] for failure in report.failed] == [str(broken)]
    assert broken.name in names(gallery)


def test_a_video_that_changes_meanwhile_is_reported_and_taken_next_time(untrained_run, gallery, videos, monkeypatch):
    files = sorted(videos.glob("*/*.mp4"))

    def slow(run, paths, **options):
        for result in encode_videos(run, paths, **options):
            if result.video == files[0]:
                shutil.copy(files[3], files[0])
            if result.video == files[1]:
                files[1].unlink()
            yield result

    monkeypatch.setattr("c3dhash.gallery.indexing.encode_videos", slow)
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    monkeypatch.undo()
    assert report.added == 4
    assert {failure["video"] for failure in report.failed} == {str(files[0]), str(files[1])}
    assert index_videos(untrained_run, gallery, [videos], config=FP32).added == 1


def test_a_folder_has_one_name(untrained_run, gallery, videos, monkeypatch):
    index_videos(untrained_run, gallery, [videos], config=FP32)
    monkeypatch.chdir(videos / "move_up")
    report = index_videos(untrained_run, gallery, [Path("../../db")], config=FP32)
    assert (report.added, report.unchanged) == (0, 6)


def test_videos_of_a_folder_that_cannot_be_read_stay(untrained_run, gallery, videos, monkeypatch):
    index_videos(untrained_run, gallery, [videos], config=FP32)
    hidden = videos / "move_up"
    hidden.rename(videos.parent / "away")
    real_walk = os.walk

    def walk(top, onerror=None, **options):
        onerror(PermissionError(13, "Permission denied", str(hidden)))
        return real_walk(top, onerror=onerror, **options)

    monkeypatch.setattr("c3dhash.video.reader.os.walk", walk)
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    assert (report.missing, report.unchanged) == (0, 4)
    assert report.failed == [{"video": str(hidden), "reason": f"'{hidden}' cannot be read: Permission denied."}]


def test_a_gallery_has_one_kind_of_windows(untrained_run, tmp_path, videos):
    short = EncodeConfig(precision="fp32", device="cpu", window_seconds=0.4)
    with open_gallery(tmp_path / "short", untrained_run, config=short) as gallery:
        report = index_videos(untrained_run, gallery, [videos])  # takes the gallery's
        assert report.clips > 6
        with pytest.raises(UsageError, match=r"windows of 0\.4 s .* got windows of 10\.0 s"):
            index_videos(untrained_run, gallery, [videos], config=FP32)


def test_a_gallery_remembers_the_clips_of_its_windows(untrained_run, tmp_path, videos):
    model = copy.deepcopy(untrained_run.model)
    model.backbone.preprocessing = dataclasses.replace(model.preprocessing, interval_seconds=1 / 25)
    dense = dataclasses.replace(untrained_run, model=model, fingerprint="d" * 40)
    two = dataclasses.replace(FP32, clips_per_window=2, views=2)
    with open_gallery(tmp_path / "two", dense, config=two) as gallery:
        assert index_videos(dense, gallery, [videos]).added == 6  # takes the gallery's
        ids, codes = gallery.codes()
        name = gallery.clips(ids)[0].video
        (result,) = encode_videos(dense, [Path(name)], config=two)
        assert np.array_equal(codes[:1], result.codes.codes)
        (hit, *_) = query_video(dense, gallery, name)
        assert hit.distance == 0
        with pytest.raises(
            UsageError, match=r"windows of 10\.0 s every None s with 2 clips each in 2 views, got windows of 10\.0 s"
        ):
            index_videos(dense, gallery, [videos], config=FP32)
    with pytest.raises(UsageError, match=r"clips_per_window \(2\) must be 1"):
        open_gallery(tmp_path / "none", untrained_run, config=two)
    assert not (tmp_path / "none").exists()


def test_a_gallery_from_before_there_were_views_goes_on_with_one(untrained_run, tmp_path, videos, monkeypatch):
    windows = {"window_seconds": 10.0, "stride_seconds": None}
    monkeypatch.setattr("c3dhash.gallery.indexing.windows_of", lambda _: windows)
    with open_gallery(tmp_path / "old", untrained_run, config=FP32) as gallery:
        assert "views" not in gallery.run
        assert index_videos(untrained_run, gallery, [videos], config=FP32).added == 6
    monkeypatch.undo()
    with open_gallery(tmp_path / "old", untrained_run, config=FP32) as gallery:
        assert index_videos(untrained_run, gallery, [videos], config=FP32).unchanged == 6
        with pytest.raises(UsageError, match=r"got windows of 10\.0 s every None s in 2 views"):
            index_videos(untrained_run, gallery, [videos], config=dataclasses.replace(FP32, views=2))


def test_a_gallery_from_before_there_were_clips_of_a_window(untrained_run, tmp_path, videos):
    """It has not heard of them, and its network sees one."""
    windows = {"window_seconds": 10.0, "stride_seconds": None}
    options = {"hash_length": 16, "model_fingerprint": untrained_run.fingerprint, "run": windows}
    Gallery.create(tmp_path / "old", **options).close()
    with open_gallery(tmp_path / "old", untrained_run) as gallery:
        assert index_videos(untrained_run, gallery, [videos], config=FP32).added == 6
        assert query_video(untrained_run, gallery, gallery.videos()[0].video)[0].distance == 0


def test_another_model_is_told_the_way_out(untrained_run, tmp_path):
    Gallery.create(tmp_path / "other", hash_length=16, model_fingerprint="f" * 32).close()
    with pytest.raises(ModelMismatchError, match="--gallery NAME"):
        open_gallery(tmp_path / "other", untrained_run)


def test_folders_beside_are_left_alone(untrained_run, gallery, videos, motion_dir):
    index_videos(untrained_run, gallery, [videos], config=FP32)
    other = motion_dir / "val"
    report = index_videos(untrained_run, gallery, [other], config=FP32)
    assert (report.added, report.missing) == (6, 0)
    assert len(gallery) == 12
    single = sorted((motion_dir / "train").glob("*/*.mp4"))[0]
    assert index_videos(untrained_run, gallery, [single], config=FP32).added == 1


def test_labels_are_what_the_folder_says(untrained_run, gallery, videos):
    shutil.copy(sorted(videos.glob("*/*.mp4"))[0], videos / "loose.mp4")
    index_videos(untrained_run, gallery, [videos], config=FP32)
    labels = {Path(video.video).name: video.label for video in gallery.videos()}
    assert labels["loose.mp4"] is None
    assert labels["move_up_000.mp4"] == "move_up"
    assert folder_label(Path("x/spin/a.mp4"), ("move_up",)) is None


def test_the_gallery_of_another_model_is_refused(untrained_run, tmp_path, videos):
    with (
        Gallery.create(tmp_path / "other", hash_length=16, model_fingerprint="f" * 32) as other,
        pytest.raises(ModelMismatchError, match="ffffffff"),
    ):
        index_videos(untrained_run, other, [videos], config=FP32)


def test_a_missing_folder_is_refused(untrained_run, gallery, tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        index_videos(untrained_run, gallery, [tmp_path / "nowhere"], config=FP32)


def rows(path: Path) -> list[tuple]:
    """All that a catalog says about videos and clips."""
    with closing(sqlite3.connect(path / CATALOG_NAME)) as connection:
        return [
            *connection.execute("SELECT root_id, path, content_hash, num_clips FROM video ORDER BY id"),
            *connection.execute(
                "SELECT clip.id, path, start_seconds, code FROM clip JOIN video ON video.id = video_id"
            ),
        ]


def read_slowly(stream, number, video, *, pauses):
    time.sleep(pauses.pop())
    READ(stream, number, video)


def test_a_gallery_is_the_same_whatever_the_threads_did(untrained_run, videos, tmp_path, monkeypatch):
    (videos / "broken.mp4").write_bytes(b"\0" * 1000)
    config = EncodeConfig(precision="fp32", device="cpu", workers=3, batch_size=1)
    found = []
    for seed in range(3):
        pauses = list(np.random.default_rng(seed).permutation(7) / 50)
        monkeypatch.setattr(ClipStream, "_read", partialmethod(read_slowly, pauses=pauses))
        with open_gallery(tmp_path / str(seed), untrained_run, config=config) as gallery:
            assert index_videos(untrained_run, gallery, [videos], config=config).added == 6
        found.append(rows(tmp_path / str(seed)))
    assert found[0] == found[1] == found[2]
    assert [row[1] for row in found[0][:6]] == sorted(row[1] for row in found[0][:6]), "in the order of the names"


def test_two_that_index_at_once_encode_everything_once(untrained_run, videos, tmp_path):
    """Threads here; to the lock they are like processes."""
    reports = []

    def work():
        with open_gallery(tmp_path / "gallery", untrained_run, config=FP32) as gallery:
            reports.append(index_videos(untrained_run, gallery, [videos], config=FP32))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((report.added, report.unchanged) for report in reports) == [(0, 6), (6, 0)]


def test_one_that_drops_what_another_holds_waits_for_it(untrained_run, gallery, videos, monkeypatch):
    index_videos(untrained_run, gallery, [videos], config=FP32)
    files = sorted(videos.glob("*/*.mp4"))
    files[0].touch()
    files[1].unlink()
    inside, may_go_on = threading.Event(), threading.Event()

    def slow(*arguments, **options):
        inside.set()
        assert may_go_on.wait(10)
        return make_plan(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("c3dhash.gallery.indexing.make_plan", slow)
        reports = []
        thread = threading.Thread(
            target=lambda: reports.append(index_videos(untrained_run, gallery, [videos], config=FP32))
        )
        thread.start()
        assert inside.wait(10)
    with Gallery.open(gallery.path, timeout_seconds=0.01) as other:
        with pytest.raises(GalleryError, match="is being written by process"):
            index_videos(untrained_run, other, [videos], config=FP32, index=IndexConfig(wait_seconds=0))
        with pytest.raises(GalleryError, match="is being written by process"):
            other.remove([str(files[0])])
        may_go_on.set()
        thread.join()
        report = index_videos(untrained_run, other, [videos], config=FP32, index=IndexConfig(prune=True))
    assert (reports[0].unchanged, reports[0].missing) == (5, 1)
    assert (report.unchanged, report.removed) == (5, 1)


def test_a_name_that_is_not_utf8_is_reported_in_readable_form(untrained_run, gallery, videos):
    odd = os.fsdecode(os.fsencode(videos) + b"/odd\xff.mp4")
    shutil.copy(sorted(videos.glob("*/*.mp4"))[0], odd)
    report = index_videos(untrained_run, gallery, [videos], config=FP32)
    assert report.added == 6
    assert [failure["video"] for failure in report.failed] == [f"{videos}/odd\\xff.mp4"]
    assert "is not valid UTF-8: rename the file" in report.failed[0]["reason"]
    json.dumps(dataclasses.asdict(report), ensure_ascii=False).encode()
