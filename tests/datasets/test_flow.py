from __future__ import annotations

import cv2
import numpy as np
import pytest
from videos import write_video

from c3dhash.datasets.flow import FlowOptions, draw_flow, extract_flow
from c3dhash.datasets.frames import extract_frames
from c3dhash.errors import UsageError, VideoError
from c3dhash.video.clip_plan import Plan
from c3dhash.video.decoder import Decoder
from c3dhash.video.frame_folder import flow_folder_clips
from c3dhash.video.optical_flow import grey, make_flow, stored_flow

SMALL = FlowOptions(size=48)


def frames_of(path, *, short_side=None):
    with Decoder(path, short_side=short_side) as decoder:
        return [decoder.picture() for _ in decoder.times()]


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source" / "run").mkdir(parents=True)
    write_video(tmp_path / "source" / "run" / "a.avi", 6)
    write_video(tmp_path / "source" / "b.mp4", 3)
    return tmp_path / "source"


def test_a_folder_of_flow_for_each_video(source, tmp_path):
    report = extract_flow(source, tmp_path / "flow", options=SMALL)
    assert (report.written, report.num_frames, report.failed) == (2, 9, {})
    folder = tmp_path / "flow" / "run" / "a"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert names == [*(f"flow_{axis}_{number:05}.jpg" for axis in "xy" for number in range(1, 6)), "times.txt"]
    frames = [grey(frame) for frame in frames_of(source / "run" / "a.avi", short_side=48)]
    expected = stored_flow(make_flow("dis")(frames[2], frames[3]))
    for axis, name in enumerate(("flow_x_00003.jpg", "flow_y_00003.jpg")):
        stored = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        assert np.abs(stored.astype(int) - expected[..., axis]).mean() < 2, "JPEG loses a little"
    (clip,) = flow_folder_clips(folder, Plan(5, 48))
    assert clip.flow.shape == (5, 48, 80, 2)
    assert clip.pts_seconds == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=1e-3)


def test_typed_again_it_goes_on(source, tmp_path):
    target = tmp_path / "flow"
    extract_flow(source, target, options=SMALL)
    again = extract_flow(source, target, options=SMALL)
    assert (again.written, again.unchanged) == (0, 2)
    write_video(source / "b.mp4", 5)
    assert extract_flow(source, target, options=SMALL).written == 1
    with pytest.raises(UsageError, match=r"holds flow fields made with .*'method': 'dis'"):
        extract_flow(source, target, options=FlowOptions(method="farneback", size=48))
    with pytest.raises(UsageError, match="did not write"):
        extract_frames(source, target)
    (target / "b" / "mine.txt").write_text("mine")
    write_video(source / "b.mp4", 7)
    report = extract_flow(source, target, options=SMALL)
    assert len(report.failed) == 1 and (target / "b" / "mine.txt").exists()


def test_a_video_of_one_frame_has_none(source, tmp_path):
    write_video(source / "one.avi", 1)
    report = extract_flow(source, tmp_path / "flow", options=SMALL)
    assert list(report.failed.values()) == [
        f"video '{source / 'one.avi'}' has one frame, and flow is from frame to frame; leave it out."
    ]
    assert not (tmp_path / "flow" / "one").exists()


def test_what_it_looks_like(source, tmp_path):
    draw_flow(source / "run" / "a.avi", tmp_path / "flow.mp4")
    pictures = frames_of(tmp_path / "flow.mp4")
    assert len(pictures) == 6 and pictures[0].shape == (96, 160, 3)
    assert max(picture.max() for picture in pictures) > 60
    with pytest.raises(UsageError, match="is there already"):
        draw_flow(source / "run" / "a.avi", tmp_path / "flow.mp4")
    write_video(tmp_path / "one.avi", 1)
    with pytest.raises(VideoError, match=r"one\.avi' has one frame"):
        draw_flow(tmp_path / "one.avi", tmp_path / "new.mp4")
    assert not (tmp_path / "new.mp4").exists()


@pytest.mark.parametrize(
    "options, message",
    [({"method": "x"}, r"method \('x'\) must be one of"), ({"size": 4}, r"size \(4\) must be at least 16"),
     ({"quality": 0}, r"quality \(0\) must be between")],
)  # fmt: skip
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        FlowOptions(**options)
