"""Samples of either kind: read in a process of their own, and hashed by what they show."""

from __future__ import annotations

from dataclasses import replace

import breakers
import pytest
from trees import write_flow, write_pictures
from videos import frame_numbers, write_video

from c3dhash.errors import UsageError, VideoError
from c3dhash.records import FrameFolder, Sample, Segment
from c3dhash.video.frame_folder import TIMES_FILE
from c3dhash.video.reader import content_hash
from c3dhash.video.samples import read_sample, sample_hash


class TestSamples:
    def test_read_sample(self, tmp_path):
        video = Sample(write_video(tmp_path / "v.avi", 20), (0,), "train", segment=Segment(0, 0.4))
        folder = Sample(write_pictures(tmp_path / "v", range(20)), (0,), "train", frames=FrameFolder(0, 10))
        assert frame_numbers(read_sample(video, num_frames=10)[0].frames) == list(range(10))
        assert frame_numbers(read_sample(folder, num_frames=10, short_side=96)[0].frames) == list(range(10))

    def test_read_flow(self, tmp_path):
        write_flow(tmp_path, 4)
        sample = Sample(tmp_path, (0,), "train", frames=FrameFolder(1, 2))
        assert read_sample(sample, num_frames=2, channels="flow")[0].flow[:, 0, 0, 0].tolist() == [20, 30]
        before = sample_hash(sample, channels="flow")
        (tmp_path / "flow_y_00003.jpg").write_bytes((tmp_path / "flow_y_00001.jpg").read_bytes())
        assert sample_hash(sample, channels="flow") != before
        video = Sample(write_video(tmp_path / "v.avi", 2), (0,), "train")
        with pytest.raises(UsageError, match=r"v\.avi' is a video and has no flow pictures"):
            read_sample(video, num_frames=2, channels="flow")

    def test_a_crash_costs_one_sample(self, tmp_path, monkeypatch):
        good = Sample(write_video(tmp_path / "v.avi", 20), (0,), "train")
        monkeypatch.setattr("c3dhash.video.samples._window", breakers.crash)
        with pytest.raises(VideoError, match=r"v\.avi': the decoder crashed"):
            read_sample(good, num_frames=2)
        monkeypatch.undo()
        assert frame_numbers(read_sample(good, num_frames=20)[0].frames) == list(range(20))

    def test_hash(self, tmp_path):
        video = Sample(write_video(tmp_path / "v.avi", 2), (0,), "train")
        assert sample_hash(video) == content_hash(video.video)
        sample = Sample(write_pictures(tmp_path / "v", range(3)), (0,), "train", frames=FrameFolder())
        same = replace(sample, video=write_pictures(tmp_path / "w", range(3), name="{}.jpg"))
        assert sample_hash(sample) == sample_hash(same)
        assert sample_hash(replace(sample, frames=FrameFolder(0, 2))) != sample_hash(sample)
        (tmp_path / "v" / TIMES_FILE).write_text("0 1 2 3")
        assert sample_hash(sample) != sample_hash(same)
        write_pictures(tmp_path / "w", range(5, 6), name="{}.jpg")
        assert sample_hash(same) != sample_hash(replace(same, video=write_pictures(tmp_path / "u", range(3))))
