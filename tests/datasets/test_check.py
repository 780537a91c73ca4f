"""c3dhash data check: what is in a data set, and everything that can be wrong with one."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from trees import write_flow, write_list, write_pictures
from videos import write_video

from c3dhash.datasets.check import check_dataset
from c3dhash.errors import DatasetError


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Eight videos of 10 to 17 frames."""
    directory = tmp_path_factory.mktemp("videos")
    return [write_video(directory / f"{i}.avi", 10 + i, fps=10 if i == 7 else 25) for i in range(8)]


@pytest.fixture
def clean_dir(tmp_path, videos):
    """Two classes of 3 training videos and 1 query each."""
    names = [f"{split}/{name}" for split in ("train",) * 3 + ("test",) for name in ("run", "sit")]
    for number, (name, video) in enumerate(zip(names, videos, strict=True)):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(video, tmp_path / name / f"{number}.avi")
    return tmp_path


class TestClean:
    def test_report(self, clean_dir):
        report = check_dataset(clean_dir)
        assert report.is_clean
        assert report.to_dict() == {
            "directory": str(clean_dir),
            "format": "folders",
            "is_clean": True,
            "classes": ["run", "sit"],
            "notes": [],
            "num_videos": {"train": 6, "query": 2},
            "counts": {"train": {"run": 3, "sit": 3}, "query": {"run": 1, "sit": 1}},
            # 10 .. 16 frames at 25 fps, 17 at 10 fps
            "duration_seconds": {"min": 0.4, "median": 0.54, "max": 1.7, "total": round(91 / 25 + 1.7, 3)},
            "frame_rates": {"25": 7, "10": 1},
            "sizes": {"160 x 96": 8},
            "missing": [],
            "unreadable": [],
            "outside": [],
            "duplicates": [],
            "leaks": [],
            "small_classes": {},
        }

    def test_text(self, clean_dir):
        assert check_dataset(clean_dir).to_text().splitlines() == [
            f"{clean_dir}: class folders of videos (folders)",
            "2 classes",
            "train: 6 videos, 3 to 3 a class",
            "query: 2 videos, 1 to 1 a class",
            "durations: 0.40 to 1.70 s, median 0.54 s, 0.00 h in all",
            "frame rates: 7 of 25 fps, 1 of 10 fps",
            "sizes: 8 of 160 x 96",
            "clean",
        ]

    def test_threads_change_nothing(self, clean_dir):
        assert check_dataset(clean_dir, workers=1) == check_dataset(clean_dir, workers=4)

    def test_progress_goes_to_stderr(self, clean_dir, capsys):
        check_dataset(clean_dir)
        out, err = capsys.readouterr()
        assert out == ""
        assert "Checking videos: 100%" in err

    def test_json(self, clean_dir):
        report = check_dataset(clean_dir)
        assert json.loads(json.dumps(report.to_dict())) == report.to_dict()

    def test_folders_of_flow(self, tmp_path):
        """What `data flow` writes: folders without frames; a picture of one axis that is damaged or gone is found."""
        names = [f"{split}/{name}" for split in ("train",) * 3 + ("test",) for name in ("run", "sit")]
        for number, name in enumerate(names):  # of several lengths, else some are the same
            write_flow(tmp_path / name / f"{name.replace('/', '')}{number}", 4 + number)
        report = check_dataset(tmp_path)
        assert report.unreadable == {} and report.is_clean, report.to_text()
        assert report.num_videos == {"train": 6, "query": 2}
        (tmp_path / "train/run/trainrun0/flow_y_00002.jpg").write_bytes(b"cut")
        (tmp_path / "train/sit/trainsit3/flow_x_00003.jpg").unlink()
        report = check_dataset(tmp_path)
        assert sorted(report.unreadable) == ["train/run/trainrun0", "train/sit/trainsit3"]

    def test_frame_folders(self, tmp_path):
        for name, number in (("run", 0), ("run", 1), ("sit", 2), ("sit", 3)):
            write_pictures(tmp_path / "train" / name / f"v{number}", range(number, number + 5))
        report = check_dataset(tmp_path)
        assert report.is_clean
        assert (report.format, report.frame_rates, report.sizes) == ("frame_folders", {"25": 4}, {"160 x 96": 4})
        assert report.durations_seconds == (0.2,) * 4

    def test_videos_are_looked_at_once(self, tmp_path, videos, capsys):
        shutil.copy(videos[0], tmp_path / "a.avi")
        write_list(tmp_path / "train.txt", "a.avi 0 0.1 0\na.avi 0.1 0.2 0\na.avi 0.1 0.3 1\na.avi 0.2 0.3 1\n")
        report = check_dataset(tmp_path)
        assert len(report.durations_seconds) == 1
        assert report.counts == {"train": {"0": 2, "1": 2}}
        assert report.is_clean

    def test_multi_label(self, tmp_path, videos):
        for name in "ab":
            shutil.copy(videos["ab".index(name)], tmp_path / f"{name}.avi")
        write_list(tmp_path / "train.txt", "a.avi 0 1\nb.avi 0 1\n")
        assert check_dataset(tmp_path).counts == {"train": {"0": 2, "1": 2}}


class TestFindings:
    def test_unreadable(self, clean_dir, videos):
        (clean_dir / "train/run/empty.mp4").touch()
        (clean_dir / "test/sit/cut.avi").write_bytes(videos[0].read_bytes()[:5000])
        report = check_dataset(clean_dir)
        assert not report.is_clean
        assert set(report.unreadable) == {"train/run/empty.mp4", "test/sit/cut.avi"}
        assert "is empty (0 bytes)" in report.unreadable["train/run/empty.mp4"]
        assert report.num_videos == {"train": 6, "query": 2}
        assert "  train/run/empty.mp4: video" in report.to_text()
        assert {row["video"]: row["reason"] for row in report.to_dict()["unreadable"]} == report.unreadable

    def test_damaged_frames(self, tmp_path):
        for name in ("run", "sit"):
            for number in range(3):
                write_pictures(tmp_path / f"train/{name}/v{number}", range(number, number + 4), name="{}.jpg")
        (tmp_path / "train/run/v0/3.jpg").write_bytes(b"\xff\xd8\xff")
        (tmp_path / "train/sit/v1/2.jpg").unlink()
        report = check_dataset(tmp_path)
        assert "3.jpg' is damaged" in report.unreadable["train/run/v0"]
        assert "gap between 1.jpg and 3.jpg" in report.unreadable["train/sit/v1"]
        write_pictures(tmp_path / "train/run/v0", range(4), name="{}.jpg")
        write_pictures(tmp_path / "train/sit/v1", range(1), name="{}.jpg", first=2)
        shutil.copy(tmp_path / "train/run/v0/1.jpg", tmp_path / "train/sit/v2/1.jpg")
        assert check_dataset(tmp_path).unreadable == {}

    def test_frames_of_several_sizes(self, tmp_path):
        for name in ("run", "sit"):
            write_pictures(tmp_path / f"train/{name}/v", range(3))
        cv2.imwrite(str(tmp_path / "train/run/v/img_00002.jpg"), np.zeros((10, 20, 3), np.uint8))
        reason = check_dataset(tmp_path).unreadable["train/run/v"]
        assert "pictures of several sizes: 2 of 160 x 96, 1 of 20 x 10" in reason

    def test_frames_without_a_duration(self, tmp_path):
        for name in ("run", "sit"):
            write_pictures(tmp_path / f"train/{name}/v", range(2))
        (tmp_path / "train/run/v/times.txt").write_text("0 0 0")
        assert "lasts 0 s by its times" in check_dataset(tmp_path).unreadable["train/run/v"]

    def test_missing(self, tmp_path, videos):
        for i in range(4):
            shutil.copy(videos[i], tmp_path / f"{i}.avi")
        write_list(tmp_path / "train.txt", "0.avi 0\n1.avi 0\n2.avi 1\n3.avi 1\nrun/gone.avi 1\n")
        report = check_dataset(tmp_path)
        assert report.missing == ("run/gone.avi",)
        assert report.to_text().splitlines()[-3:] == ["missing: 1", "  run/gone.avi", "not clean: missing"]

    def test_duplicates_by_content(self, clean_dir):
        shutil.copy(clean_dir / "train/run/0.avi", clean_dir / "test/sit/other name.avi")
        report = check_dataset(clean_dir)
        assert report.duplicates == (("test/sit/other name.avi", "train/run/0.avi"),)
        assert "  test/sit/other name.avi = train/run/0.avi" in report.to_text()

    def test_groups_that_straddle(self, tmp_path, videos):
        names = ["v_A_g01_c01", "v_A_g02_c01", "v_B_g01_c01", "v_B_g02_c01", "v_A_g01_c02", "v_B_g03_c01"]
        for name, video in zip(names, videos, strict=False):
            shutil.copy(video, tmp_path / f"{name}.avi")
        train = "".join(f"{name}.avi {'AB'.index(name[2])}\n" for name in names[:4])
        write_list(tmp_path / "train.txt", train)
        write_list(tmp_path / "test.txt", "v_A_g01_c02.avi 0\nv_B_g03_c01.avi 1\nv_B_g02_c01.avi 1\n")
        write_list(tmp_path / "labels.txt", "A\nB\n")
        report = check_dataset(tmp_path)
        assert report.leaks == {"A/g01": {"train": 1, "query": 1}, "B/g02": {"train": 1, "query": 1}}
        assert report.to_dict()["leaks"][0] == {"group": "A/g01", "splits": {"train": 1, "query": 1}}
        assert "  A/g01: 1 of train, 1 of query" in report.to_text()

    def test_a_video_in_two_splits(self, tmp_path, videos):
        for i in range(4):
            shutil.copy(videos[i], tmp_path / f"{i}.avi")
        write_list(tmp_path / "train.txt", "0.avi 0\n1.avi 0\n2.avi 1\n3.avi 1\n")
        write_list(tmp_path / "test.txt", "3.avi 1\n")
        assert check_dataset(tmp_path).leaks == {"3.avi": {"train": 1, "query": 1}}

    def test_classes_too_small_for_a_triplet(self, clean_dir, videos):
        (clean_dir / "train/wave").mkdir()
        shutil.copy(videos[0], clean_dir / "train/wave/a.avi")
        (clean_dir / "train/run/0.avi").unlink()  # its copy in wave/ is no duplicate then
        report = check_dataset(clean_dir)
        assert report.small_classes == {"wave": 1}
        assert "  wave: 1 of at least 2 training videos" in report.to_text()

    def test_segments_outside_their_video(self, tmp_path, videos):
        for number, video in enumerate(videos):
            shutil.copy(video, tmp_path / f"{number}.avi")
        # Videos 0 to 3 last 0.40, 0.44, 0.48 and 0.52 s; lists round.
        write_list(tmp_path / "train.txt", "0.avi 0 0.4 0\n1.avi 50 70 0\n2.avi 0.2 0.55 1\n3.avi 0.3 0.7 1\n")
        write_list(tmp_path / "test.txt", "4.avi 0.0 0.4 0\n5.avi 0.56 0.57 1\n")
        report = check_dataset(tmp_path)
        assert not report.is_clean
        assert [
            (part["video"], part["start_seconds"], part["end_seconds"], round(part["duration_seconds"], 2))
            for part in report.to_dict()["outside"]
        ] == [("1.avi", 50, 70, 0.44), ("3.avi", 0.3, 0.7, 0.52)]
        lines = report.to_text().splitlines()
        assert "  1.avi: 50 to 70 s of 0.44 s" in lines
        assert lines[-1] == "not clean: segments outside their video"

    def test_no_labels_at_all_are_one_line(self, tmp_path, videos):
        shutil.copy(videos[0], tmp_path / "a.avi")
        write_list(tmp_path / "train.txt", "a.avi -1\n")
        with pytest.raises(
            DatasetError, match=r"none of the 1 videos in .*, read as lists, has a label \(-1 is none\)"
        ):
            check_dataset(tmp_path)

    def test_only_the_first_findings_are_shown(self, clean_dir):
        for number in range(12):
            (clean_dir / f"train/run/empty{number:02d}.mp4").touch()
        lines = check_dataset(clean_dir).to_text().splitlines()
        assert lines[-3].startswith("  train/run/empty09.mp4: ")
        assert lines[-2:] == ["  ... and 2 more", "not clean: unreadable"]

    def test_nothing_readable(self, tmp_path):
        for name in ("run", "sit"):
            (tmp_path / "train" / name).mkdir(parents=True)
            (tmp_path / "train" / name / "a.mp4").touch()
        report = check_dataset(tmp_path)
        assert len(report.unreadable) == 2
        assert report.small_classes == {"run": 0, "sit": 0}
        assert report.to_dict()["duration_seconds"]["total"] == 0

    def test_wrong_lists_are_an_error(self, tmp_path):
        write_list(tmp_path / "train.txt", "a.avi 0\nb.avi\n")
        with pytest.raises(DatasetError, match=r"train.txt' line 2: expected 'PATH LABEL'"):
            check_dataset(tmp_path)


@pytest.mark.realdata
def test_real_clips_are_clean(real_data):
    report = check_dataset(real_data / "jhmdb")
    assert report.is_clean
    assert set(report.frame_rates) == {"25", "26"}  # 25 fps in containers that say 30; a few lack a frame or two
    assert report.sizes == {"320 x 240": 604}
    assert sum(report.counts["train"].values()) == 336
    assert min(report.durations_seconds) == pytest.approx(0.6)
