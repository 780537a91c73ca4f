"""c3dhash data frames: every frame at its time, resumable, and the target is the same data set."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from folders import read_frame_folder
from trees import make_tree
from videos import FPS, frame_numbers, needs_ffmpeg, write_ffmpeg, write_video

from c3dhash.datasets.find import find_dataset
from c3dhash.datasets.frames import FrameOptions, extract_frames
from c3dhash.errors import UsageError
from c3dhash.files import MARKER, temporary_path
from c3dhash.records import Segment
from c3dhash.video.frame_folder import TIMES_FILE
from c3dhash.video.reader import read_clip


def numbers_in(folder) -> list[int]:
    """Return the numbers that the pictures of a frame folder carry, all of them in order."""
    return frame_numbers(read_frame_folder(folder, num_frames=len(list(folder.glob("img_*")))).frames)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two classes with a video each, of 12 and 5 frames."""
    directory = tmp_path_factory.mktemp("source")
    for name, num_frames in (("run/a.b.avi", 12), ("sit/c d.avi", 5)):
        (directory / name).parent.mkdir()
        write_video(directory / name, num_frames)
    make_tree(directory, train="run/a.b.avi 0\n", lists__test="sit/c d.avi 1\n")
    return directory


class TestFrames:
    def test_every_frame(self, source, tmp_path):
        report = extract_frames(source, tmp_path / "frames")
        assert report.to_dict() == {
            "target": str(tmp_path / "frames"), "written": 2, "unchanged": 0, "num_frames": 17, "failed": [],
            "kept": [],
        }  # fmt: skip
        assert numbers_in(tmp_path / "frames/run/a.b") == list(range(12))
        assert sorted(path.name for path in (tmp_path / "frames/sit/c d").iterdir()) == [
            MARKER, *(f"img_{number:05}.jpg" for number in range(1, 6)), TIMES_FILE,
        ]  # fmt: skip

    @pytest.mark.parametrize("segment", [None, Segment(0.1, 0.35)])
    def test_a_clip_is_that_of_the_video(self, source, tmp_path, segment):
        extract_frames(source, tmp_path, options=FrameOptions(picture="png"))
        of_video = read_clip(source / "run/a.b.avi", num_frames=5, segment=segment)
        of_folder = read_frame_folder(tmp_path / "run/a.b", num_frames=5, segment=segment)
        np.testing.assert_array_equal(of_folder.frames, of_video.frames)
        assert of_folder.pts_seconds == pytest.approx(of_video.pts_seconds, abs=1e-6)
        assert of_folder.segment.end_seconds == pytest.approx(of_video.segment.end_seconds)

    @pytest.mark.parametrize(
        ("fps", "expected"),
        [
            (FPS, list(range(12))),
            (12.5, [0, 2, 4, 6, 8, 10]),
            # On display at 0, 0.1, ... 0.4 s of 0.48 s, at 25 fps: floor(2.5 i)
            (10, [0, 2, 5, 7, 10]),
            (50, [number for number in range(12) for _ in (0, 1)]),
            (1, [0]),
        ],
    )
    def test_frame_rate(self, source, tmp_path, fps, expected):
        extract_frames(source, tmp_path, options=FrameOptions(fps=fps))
        assert numbers_in(tmp_path / "run/a.b") == expected
        times = [float(line) for line in (tmp_path / "run/a.b" / TIMES_FILE).read_text().split()]
        assert times == pytest.approx([*(np.arange(len(expected)) / fps), 12 / FPS], abs=1e-6)

    def test_size(self, source, tmp_path):
        extract_frames(source, tmp_path, options=FrameOptions(size=48))
        assert read_frame_folder(tmp_path / "run/a.b", num_frames=1).frames.shape == (1, 48, 80, 3)

    @needs_ffmpeg
    def test_variable_frame_rate(self, tmp_path):
        slow_after_4 = "setpts='if(lt(N,4),N,4+(N-4)*5)/25/TB'"
        write_ffmpeg(tmp_path / "in.mp4", 8, "-vf", slow_after_4, "-fps_mode", "passthrough", "-c:v", "libx264")
        extract_frames(tmp_path, tmp_path / "out")
        of_video = read_clip(tmp_path / "in.mp4", num_frames=12)
        of_folder = read_frame_folder(tmp_path / "out/in", num_frames=12)
        assert frame_numbers(of_folder.frames) == frame_numbers(of_video.frames)
        assert of_folder.pts_seconds == pytest.approx(of_video.pts_seconds, abs=1e-6)

    def test_the_target_is_the_same_data_set(self, source, tmp_path):
        extract_frames(source, tmp_path)
        before, after = find_dataset(source), find_dataset(tmp_path)
        assert (after.format, after.classes) == (before.format, before.classes)
        assert [sample.labels for sample in after.samples] == [sample.labels for sample in before.samples]
        assert (tmp_path / "lists/test.txt").read_text() == "sit/c d.avi 1\n"
        assert {sample.frames is not None for sample in after.samples} == {True}
        assert find_dataset(tmp_path, format="frame_folders").classes == ("run", "sit")


class TestResume:
    def test_what_is_there_is_left_alone(self, source, tmp_path):
        extract_frames(source, tmp_path)
        picture = tmp_path / "sit/c d/img_00001.jpg"
        before = picture.stat().st_mtime_ns
        report = extract_frames(source, tmp_path)
        assert (report.written, report.unchanged, report.num_frames) == (0, 2, 0)
        assert picture.stat().st_mtime_ns == before

    def test_what_was_cut_off_is_written_again(self, source, tmp_path):
        extract_frames(source, tmp_path)
        killed = temporary_path(tmp_path / "run/a.b").name.replace(f"-{os.getpid()}-", "-999999999-")
        (tmp_path / "run/a.b").rename(tmp_path / "run" / killed)
        report = extract_frames(source, tmp_path)
        assert (report.written, report.unchanged) == (1, 1)
        assert numbers_in(tmp_path / "run/a.b") == list(range(12))
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["a.b"]

    @pytest.mark.parametrize("time", [1, 2**31])
    def test_a_changed_video_is_written_again(self, source, tmp_path, time):
        shutil.copytree(source, tmp_path / "in")
        extract_frames(tmp_path / "in", tmp_path / "out")
        changed = write_video(tmp_path / "in/run/a.b.avi", 3)
        os.utime(changed, (time, time))
        assert extract_frames(tmp_path / "in", tmp_path / "out").written == 1
        assert extract_frames(tmp_path / "in", tmp_path / "out").unchanged == 2
        assert numbers_in(tmp_path / "out/run/a.b") == [0, 1, 2]

    def test_other_options(self, source, tmp_path):
        extract_frames(source, tmp_path, options=FrameOptions(fps=5))
        with pytest.raises(UsageError, match=r"holds frames made with {'fps': 5, .*, not {'fps': 6, "):
            extract_frames(source, tmp_path, options=FrameOptions(fps=6))


def content(directory: Path) -> dict[str, bytes]:
    """Return name -> bytes of all files but our markers."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != MARKER
    }


class TestNothingIsLost:
    @pytest.mark.parametrize(
        "name", ["run/a.b/flow_x_00001.jpg", "run/a.b/img_00001.jpg", "labels.csv", "train.txt", "frames.json", "run"]
    )
    def test_a_folder_that_it_did_not_make_is_left_alone(self, source, tmp_path, name):
        make_tree(tmp_path, name)
        before = content(tmp_path)
        with pytest.raises(UsageError, match=rf"holds what c3dhash data frames did not write \({name.split('/')[0]}\)"):
            extract_frames(source, tmp_path)
        assert content(tmp_path) == before
        assert not (tmp_path / MARKER).exists()

    def test_a_target_that_is_a_file(self, source, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match=r"file' cannot be written \(File exists\); name another folder"):
            extract_frames(source, tmp_path / "file")

    @pytest.mark.parametrize("change", ["added", "edited", "deleted", "folder", "link", "marker"])
    def test_a_frame_folder_that_was_changed(self, source, tmp_path, change):
        """Only where its video changed, too, is there anything to decide."""
        shutil.copytree(source, tmp_path / "in")
        extract_frames(tmp_path / "in", tmp_path / "out")
        folder = tmp_path / "out/run/a.b"
        if change == "added":
            (folder / "flow_x_00001.jpg").write_bytes(b"mine")
        if change == "edited":
            (folder / "img_00002.jpg").write_bytes(b"retouched")
        if change == "deleted":
            (folder / "img_00012.jpg").unlink()
        if change == "folder":
            (folder / "masks").mkdir()
        if change == "link":
            folder.rename(tmp_path / "elsewhere")
            folder.symlink_to(tmp_path / "elsewhere")
        if change == "marker":
            (folder / MARKER).write_text("{")
        before = content(tmp_path / "out")
        if change != "marker":
            assert extract_frames(tmp_path / "in", tmp_path / "out").unchanged == 2
        os.utime(tmp_path / "in/run/a.b.avi", (1, 1))
        report = extract_frames(tmp_path / "in", tmp_path / "out")
        assert (report.written, report.unchanged) == (0, 1)
        (reason,) = report.failed.values()
        assert f"the place of its frames, '{folder}', holds what c3dhash did not write" in reason
        assert content(tmp_path / "out") == before

    def test_a_list_that_was_changed_stays(self, source, tmp_path):
        shutil.copytree(source, tmp_path / "in")
        assert extract_frames(tmp_path / "in", tmp_path / "out").kept == ()
        (tmp_path / "out/train.txt").write_text("mine")
        (tmp_path / "in/lists/test.txt").write_text("sit/c d.avi 0\n")
        make_tree(tmp_path / "out", val="mine, too")
        (tmp_path / "in/val.txt").write_text("run/a.b.avi 1\n")
        for _ in range(2):
            report = extract_frames(tmp_path / "in", tmp_path / "out")
            assert report.to_dict()["kept"] == ["train.txt", "val.txt"]
            assert "kept: list 'val.txt' is not as it was copied; delete it" in report.to_text()
        assert (tmp_path / "out/train.txt").read_text() == "mine"
        assert (tmp_path / "out/val.txt").read_text() == "mine, too"
        assert (tmp_path / "out/lists/test.txt").read_text() == "sit/c d.avi 0\n"
        (tmp_path / "out/train.txt").unlink()
        assert extract_frames(tmp_path / "in", tmp_path / "out").kept == ("val.txt",)
        assert (tmp_path / "out/train.txt").read_text() == (source / "train.txt").read_text()

    def test_a_list_behind_a_link_stays(self, source, tmp_path):
        shutil.copytree(source, tmp_path / "in")
        extract_frames(tmp_path / "in", tmp_path / "out")
        (tmp_path / "out/train.txt").rename(tmp_path / "mine.txt")
        (tmp_path / "out/train.txt").symlink_to(tmp_path / "mine.txt")
        (tmp_path / "in/train.txt").write_text("run/a.b.avi 1\n")
        assert extract_frames(tmp_path / "in", tmp_path / "out").kept == ("train.txt",)
        assert (tmp_path / "mine.txt").read_text() == (source / "train.txt").read_text()

    def test_a_list_that_cannot_be_copied(self, source, tmp_path):
        shutil.copytree(source, tmp_path / "in")
        extract_frames(tmp_path / "in", tmp_path / "out")
        (tmp_path / "out/train.txt").unlink()
        (tmp_path / "out/train.txt").mkdir()
        with pytest.raises(UsageError, match=r"cannot copy the lists to '.*out' \(Is a directory"):
            extract_frames(tmp_path / "in", tmp_path / "out")

    @pytest.mark.parametrize("target", ["in", "in/../in", "link", "."])
    def test_a_target_that_is_the_source_or_holds_it(self, source, tmp_path, target):
        shutil.copytree(source, tmp_path / "in")
        (tmp_path / "link").symlink_to(tmp_path / "in")
        before = content(tmp_path)
        with pytest.raises(UsageError, match=r"target '.*' is the source '.*in' or holds it"):
            extract_frames(tmp_path / "in", tmp_path / target)
        assert content(tmp_path) == before

    @pytest.mark.parametrize("target", ["in/out", "in/../in/out", "link/out"])
    def test_a_target_inside_the_source_is_no_part_of_it(self, source, tmp_path, target):
        shutil.copytree(source, tmp_path / "in")
        (tmp_path / "link").symlink_to(tmp_path / "in")
        for _ in range(2):
            extract_frames(tmp_path / "in", tmp_path / target)
        shutil.copy(source / "run/a.b.avi", tmp_path / "in/out/stray.avi")
        extract_frames(tmp_path / "in", tmp_path / "in/other", options=FrameOptions(fps=5))
        extract_frames(tmp_path / "in", tmp_path / target)
        assert {path.name for path in (tmp_path / "in/out").iterdir()} == {
            "run", "sit", "lists", "train.txt", "stray.avi", MARKER,
        }  # fmt: skip
        assert not (tmp_path / "in/other/out/train.txt").exists()


class TestErrors:
    def test_a_bad_video_stops_nothing(self, source, tmp_path, caplog):
        shutil.copytree(source, tmp_path / "in")
        (tmp_path / "in/run/bad.mp4").touch()
        content = (source / "run/a.b.avi").read_bytes()
        (tmp_path / "in/sit/cut.avi").write_bytes(content[: len(content) // 2])
        with caplog.at_level(logging.WARNING):
            report = extract_frames(tmp_path / "in", tmp_path / "out")
        assert (report.written, len(report.failed)) == (2, 2)
        assert "bad.mp4' is empty" in report.failed[str(tmp_path / "in/run/bad.mp4")]
        assert report.to_dict()["failed"][0]["video"] == str(tmp_path / "in/run/bad.mp4")
        assert report.to_text().splitlines()[1].startswith("failed: video")
        assert "2 videos written (17 frames), 0 unchanged, 2 failed" in report.to_text()
        assert sorted(path.name for path in (tmp_path / "out").glob("[rs]*/*")) == ["a.b", "c d"]

    def test_two_videos_for_one_folder(self, tmp_path):
        make_tree(tmp_path, "run/a.avi", "run/a.mp4")
        with pytest.raises(UsageError, match=r"a.avi' and '.*a.mp4' would both become '.*out/run/a'"):
            extract_frames(tmp_path, tmp_path / "out")

    def test_a_video_in_the_folder_of_another(self, tmp_path):
        make_tree(tmp_path, "run.avi", "run/a.avi")
        with pytest.raises(UsageError, match=r"run/a.avi' would become a folder in that of '.*run.avi'; rename one"):
            extract_frames(tmp_path, tmp_path / "out")

    def test_no_videos(self, tmp_path):
        with pytest.raises(UsageError, match=r"no videos in '"):
            extract_frames(tmp_path, tmp_path / "out")

    def test_no_folder(self, tmp_path):
        with pytest.raises(UsageError, match=r"gone' is not a folder"):
            extract_frames(tmp_path / "gone", tmp_path / "out")

    def test_a_folder_that_cannot_be_written(self, source, tmp_path):
        extract_frames(source, tmp_path)
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").write_text("a file where a folder must be")
        assert "holds what c3dhash did not write" in str(extract_frames(source, tmp_path).failed)
        (tmp_path / "run").unlink()
        (tmp_path / "run").symlink_to("nowhere")
        with pytest.raises(UsageError, match=r"cannot write '.*run/a.b' \(File exists\)"):
            extract_frames(source, tmp_path)

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"fps": 0}, r"fps \(0\)"),
            ({"fps": float("nan")}, r"fps \(nan\)"),
            ({"size": 0}, r"size \(0\)"),
            ({"picture": "gif"}, r"picture \('gif'\) must be one of jpg, png"),
            ({"quality": 101}, r"quality \(101\)"),
        ],
    )
    def test_options_out_of_range(self, options, text):
        with pytest.raises(UsageError, match=text):
            FrameOptions(**options)


@pytest.mark.realdata
def test_real_clips(real_data, tmp_path):
    source = tmp_path / "in/clap"
    source.mkdir(parents=True)
    for video in sorted((real_data / "jhmdb/clap").glob("*.avi"))[:4]:
        shutil.copy(video, source)
    assert extract_frames(tmp_path / "in", tmp_path / "out").failed == {}
    for video in source.iterdir():
        of_video = read_clip(video, num_frames=16)
        of_folder = read_frame_folder(tmp_path / "out/clap" / video.stem, num_frames=16)
        assert of_folder.pts_seconds == pytest.approx(of_video.pts_seconds, abs=1e-5)
        assert np.abs(of_folder.frames.astype(int) - of_video.frames).mean() < 3  # JPEG
