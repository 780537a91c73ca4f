"""Frame folders read as if they were the video: the right pictures, at the right times, or an error."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from folders import read_flow_folder, read_frame_folder
from trees import write_flow, write_pictures
from videos import FPS, frame_numbers, write_video

from c3dhash.errors import UsageError, VideoError
from c3dhash.records import FrameFolder, Segment
from c3dhash.video.frame_folder import (
    ASSUMED_FPS,
    TIMES_FILE,
    has_frames,
    list_frames,
)
from c3dhash.video.reader import choose_frames, read_clip


class TestOrder:
    @pytest.mark.parametrize(
        ("name", "first"),
        [
            ("img_{:05}.jpg", 1),
            ("image_{:05}.jpg", 1),
            ("frame{:06}.png", 0),
            ("{}.jpg", 0),
            ("{:04}.jpg", 7),
            ("a_{}.bmp", 1),
        ],
    )
    def test_by_number_not_as_text(self, tmp_path, name, first):
        folder = write_pictures(tmp_path / "v", range(12), name=name, first=first)
        clip = read_frame_folder(folder, num_frames=12)
        assert frame_numbers(clip.frames) == list(range(12))

    def test_every_fifth_frame_under_its_number(self, tmp_path):
        for number in range(0, 25, 5):
            write_pictures(tmp_path, range(number, number + 1), name="{}.png", first=number)
        assert frame_numbers(read_frame_folder(tmp_path, num_frames=5).frames) == [0, 5, 10, 15, 20]

    def test_other_files_are_left_alone(self, tmp_path):
        write_pictures(tmp_path, range(3))
        write_flow(tmp_path, 3)
        (tmp_path / ".hidden_1.jpg").touch()
        (tmp_path / "notes 1.txt").touch()
        (tmp_path / "cover.jpg").touch()
        assert len(list_frames(tmp_path)) == 3

    def test_known_names_beside_others(self, tmp_path):
        write_pictures(tmp_path, range(3))
        write_pictures(tmp_path, range(10, 13), name="mask_{}.png")
        assert frame_numbers(read_frame_folder(tmp_path, num_frames=3).frames) == [0, 1, 2]

    def test_gap(self, tmp_path):
        write_pictures(tmp_path, range(5))
        (tmp_path / "img_00004.jpg").unlink()
        with pytest.raises(VideoError, match=r"gap between img_00003.jpg and img_00005.jpg"):
            read_frame_folder(tmp_path, num_frames=2)

    def test_number_twice(self, tmp_path):
        write_pictures(tmp_path, range(2))
        write_pictures(tmp_path, range(1), name="img_1.png")
        with pytest.raises(VideoError, match=r"number 1 twice: img_"):
            list_frames(tmp_path)

    def test_several_kinds(self, tmp_path):
        write_pictures(tmp_path, range(2), name="left_{}.jpg")
        write_pictures(tmp_path, range(3), name="right_{}.jpg")
        with pytest.raises(VideoError, match=r"several kinds of pictures: 2 left_\*, 3 right_\*"):
            list_frames(tmp_path)

    def test_no_pictures(self, tmp_path):
        (tmp_path / "cover.jpg").touch()
        with pytest.raises(VideoError, match=r"has no numbered pictures, it holds nothing of the kind"):
            list_frames(tmp_path)

    def test_no_folder(self, tmp_path):
        with pytest.raises(VideoError, match=r"frame folder '.*gone' cannot be read \(No such file"):
            read_frame_folder(tmp_path / "gone", num_frames=2)

    def test_has_frames(self, tmp_path):
        assert not has_frames(tmp_path)
        (tmp_path / "notes.txt").touch()
        assert not has_frames(tmp_path)
        write_flow(tmp_path / "flow", 2)
        assert has_frames(tmp_path / "flow")
        write_pictures(tmp_path, range(1))
        assert has_frames(tmp_path)
        assert not has_frames(tmp_path / "img_00001.jpg")


class TestClips:
    @pytest.mark.parametrize("num_available", [1, 2, 15, 16, 17, 40])
    @pytest.mark.parametrize("num_frames", [1, 16])
    def test_frames_are_those_of_choose_frames(self, tmp_path, num_available, num_frames):
        write_pictures(tmp_path, range(num_available))
        clip = read_frame_folder(tmp_path, num_frames=num_frames)
        chosen = choose_frames(num_available, num_frames)
        assert frame_numbers(clip.frames) == chosen.tolist()
        assert clip.pts_seconds == pytest.approx(chosen / ASSUMED_FPS)
        assert clip.segment == Segment(0, num_available / ASSUMED_FPS)

    @pytest.mark.parametrize("segment", [None, Segment(0.2, 0.9), Segment(0.5, 99)])
    def test_clip_is_that_of_the_video(self, tmp_path, segment):
        video = write_video(tmp_path / "v.avi", 30)
        write_pictures(tmp_path / "v", range(30))
        assert FPS == ASSUMED_FPS
        of_video = read_clip(video, num_frames=8, segment=segment)
        of_folder = read_frame_folder(tmp_path / "v", num_frames=8, segment=segment)
        assert frame_numbers(of_folder.frames) == frame_numbers(of_video.frames)
        assert of_folder.pts_seconds == pytest.approx(of_video.pts_seconds)
        assert of_folder.segment == of_video.segment

    def test_times_of_their_own(self, tmp_path):
        write_pictures(tmp_path, range(4))
        (tmp_path / TIMES_FILE).write_text("0\n0.1\n0.2\n2.0\n3.0\n")
        clip = read_frame_folder(tmp_path, num_frames=3)
        # Looks at 0.5, 1.5 and 2.5 s; frame 2 is on display from 0.2 to 2 s.
        assert frame_numbers(clip.frames) == [2, 2, 3]
        assert clip.pts_seconds.tolist() == [0.2, 0.2, 2.0]
        assert clip.segment == Segment(0, 3)

    def test_part_of_a_folder(self, tmp_path):
        write_pictures(tmp_path, range(10))
        clip = read_frame_folder(tmp_path, num_frames=3, frames=FrameFolder(4, 3))
        assert frame_numbers(clip.frames) == [4, 5, 6]
        assert clip.pts_seconds[0] == 0
        assert frame_numbers(read_frame_folder(tmp_path, num_frames=2, frames=FrameFolder(8)).frames) == [8, 9]

    def test_part_with_times(self, tmp_path):
        write_pictures(tmp_path, range(4))
        (tmp_path / TIMES_FILE).write_text("0 0.1 0.2 2.0 3.0")
        clip = read_frame_folder(tmp_path, num_frames=2, frames=FrameFolder(2, 2))
        assert frame_numbers(clip.frames) == [2, 3]
        assert clip.pts_seconds.tolist() == pytest.approx([0, 1.8])

    @pytest.mark.parametrize("part", [FrameFolder(0, 11), FrameFolder(5, 6), FrameFolder(10)])
    def test_part_that_is_not_there(self, tmp_path, part):
        write_pictures(tmp_path, range(10))
        with pytest.raises(VideoError, match=rf"has 10 pictures; those from {part.offset} to 1[01] are asked for"):
            read_frame_folder(tmp_path, num_frames=2, frames=part)

    def test_short_side(self, tmp_path):
        write_pictures(tmp_path, range(2))
        clip = read_frame_folder(tmp_path, num_frames=2, short_side=48)
        assert clip.frames.shape == (2, 48, 80, 3)
        assert frame_numbers(clip.frames) == [0, 1]

    def test_colours_and_grey_pictures(self, tmp_path):
        cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 8, 3), (0, 0, 255), np.uint8))  # red, in BGR
        cv2.imwrite(str(tmp_path / "2.png"), np.full((8, 8), 77, np.uint8))
        frames = read_frame_folder(tmp_path, num_frames=2).frames
        assert frames[:, 0, 0].tolist() == [[255, 0, 0], [77, 77, 77]]

    @pytest.mark.parametrize(("name", "value"), [("num_frames", 0), ("short_side", 0)])
    def test_arguments_out_of_range(self, tmp_path, name, value):
        write_pictures(tmp_path, range(2))
        with pytest.raises(UsageError, match=rf"{name} \(0\) must be at least 1"):
            read_frame_folder(tmp_path, **{"num_frames": 2, name: value})

    def test_segment_after_the_end(self, tmp_path):
        write_pictures(tmp_path, range(25))
        with pytest.raises(VideoError, match=r"lasts 1.00 s, but a segment begins at 1.50 s"):
            read_frame_folder(tmp_path, num_frames=2, segment=Segment(1.5, 2))


class TestDamage:
    @pytest.mark.parametrize("name", ["img_{:05}.jpg", "img_{:05}.png"])
    @pytest.mark.parametrize("tenths", range(10))
    def test_cut_short(self, tmp_path, name, tenths):
        write_pictures(tmp_path, range(3), name=name)
        path = tmp_path / name.format(2)
        content = path.read_bytes()
        num_bytes = len(content) * tenths // 10
        path.write_bytes(content[:num_bytes])
        with pytest.raises(VideoError, match=rf"picture '.*{path.name}' is damaged or no picture \({num_bytes} bytes"):
            read_frame_folder(tmp_path, num_frames=3)

    def test_no_picture_at_all(self, tmp_path):
        (tmp_path / "1.jpg").write_text("not a picture")
        with pytest.raises(VideoError, match=r"1.jpg' is damaged or no picture \(13 bytes\)"):
            read_frame_folder(tmp_path, num_frames=1)

    def test_a_link_to_nowhere(self, tmp_path):
        (tmp_path / "1.jpg").symlink_to(tmp_path / "gone.jpg")
        with pytest.raises(VideoError, match=r"1.jpg' does not exist"):
            read_frame_folder(tmp_path, num_frames=1)

    def test_sizes_that_change(self, tmp_path):
        write_pictures(tmp_path, range(1))
        cv2.imwrite(str(tmp_path / "img_00002.jpg"), np.zeros((50, 60, 3), np.uint8))
        with pytest.raises(VideoError, match=r"img_00002.jpg' is 60 x 50, the ones before are 160 x 96 px"):
            read_frame_folder(tmp_path, num_frames=2)

    @pytest.mark.parametrize(
        ("times", "text"),
        [
            ("0 1", r"has 2 times, 2 pictures need 3"),
            ("0 1 soon", r"times.txt' must hold a time in seconds a line: .*soon"),
            ("0 1 2 3", r"has 4 times, 2 pictures need 3"),
            ("0 2 1", r"must hold times that do not fall, got 0 after 2"),
            ("0 nan 1", r"must hold times that do not fall"),
        ],
    )
    def test_wrong_times(self, tmp_path, times, text):
        write_pictures(tmp_path, range(2))
        (tmp_path / TIMES_FILE).write_text(times)
        with pytest.raises(VideoError, match=text):
            read_frame_folder(tmp_path, num_frames=2)


class TestFlow:
    @pytest.mark.parametrize("name", ["flow_{}_{:05}.jpg", "{}_{}.png"])
    def test_pairs(self, tmp_path, name):
        write_pictures(tmp_path, range(12))
        write_flow(tmp_path, 11, name=name)
        clip = read_flow_folder(tmp_path, num_frames=11)
        assert clip.flow.shape == (11, 24, 32, 2)
        assert clip.flow[:, 12, 16].tolist() == [[10 * i, 201 - i] for i in range(1, 12)]
        assert clip.pts_seconds == pytest.approx(np.arange(11) / ASSUMED_FPS)
        assert repr(clip) == f"FlowClip(flow uint8 [11, 24, 32, 2], {clip.segment})"

    def test_part_and_size(self, tmp_path):
        write_flow(tmp_path, 10)
        clip = read_flow_folder(tmp_path, num_frames=2, short_side=12, frames=FrameFolder(4, 2))
        assert clip.flow.shape == (2, 12, 16, 2)
        assert clip.flow[:, 0, 0, 0].tolist() == [50, 60]

    def test_times_of_the_frames(self, tmp_path):
        write_pictures(tmp_path, range(3))
        write_flow(tmp_path, 2)
        (tmp_path / TIMES_FILE).write_text("0 1 3 4")
        assert read_flow_folder(tmp_path, num_frames=2).pts_seconds.tolist() == [0, 1]

    def test_a_list_counts_frames(self, tmp_path):
        write_flow(tmp_path, 4)  # of 5 frames
        assert read_flow_folder(tmp_path, num_frames=4, frames=FrameFolder(0, 5)).flow[:, 0, 0, 0].tolist() == [
            10, 20, 30, 40,
        ]  # fmt: skip
        with pytest.raises(VideoError, match="has 4 pictures; those from 0 to 6 are asked for"):
            read_flow_folder(tmp_path, num_frames=4, frames=FrameFolder(0, 6))

    def test_flow_is_no_picture(self, tmp_path):
        write_flow(tmp_path, 2)
        with pytest.raises(VideoError, match=r"has no numbered pictures, it holds 2 flow_x_\*, 2 flow_y_\*"):
            read_frame_folder(tmp_path, num_frames=2)

    def test_no_flow(self, tmp_path):
        write_pictures(tmp_path, range(2))
        with pytest.raises(VideoError, match=r"has no optical flow in x, it holds 2 img_\*"):
            read_flow_folder(tmp_path, num_frames=2)

    def test_half_of_it(self, tmp_path):
        write_flow(tmp_path, 3)
        (tmp_path / "flow_y_00003.jpg").unlink()
        with pytest.raises(VideoError, match=r"has 3 pictures of flow in x and 2 in y"):
            read_flow_folder(tmp_path, num_frames=2)
