from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from c3dhash.config import EncodeConfig
from c3dhash.errors import ModelMismatchError, UsageError
from c3dhash.gallery.indexing import folder_label, index_videos, open_gallery
from c3dhash.gallery.store import Gallery
from c3dhash.models.encode import encode_videos

FP32 = EncodeConfig(precision="fp32", device="cpu")


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
        with pytest.raises(UsageError, match=r"windows of 0\.4 s .* got 10\.0 s"):
            index_videos(untrained_run, gallery, [videos], config=FP32)


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
