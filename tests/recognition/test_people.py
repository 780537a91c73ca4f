"""People in videos: what is looked at, by whom, and what goes wrong."""

from __future__ import annotations

import dataclasses
import re
import subprocess

import cv2
import numpy as np
import pytest
import torch
from videos import needs_ffmpeg, write_video

from c3dhash.config import EncodeConfig, PeopleConfig
from c3dhash.errors import UsageError
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.encode import Encoder
from c3dhash.models.hashnet import HashNet
from c3dhash.recognition import people
from c3dhash.recognition.people import find_tracks, recognize_people
from c3dhash.recognition.recognize import recognize_over_time
from c3dhash.recognition.tracks import Track
from c3dhash.recognition.tubes import CONTEXT, tube_shot, tube_windows
from c3dhash.records import Preprocessing
from c3dhash.video.playback import Frame

FP32 = EncodeConfig(precision="fp32", device="cpu")
WINDOWS = {"window_seconds": 2.0, "stride_seconds": 1.0}
HEADER = "seconds,x0,y0,x1,y1,id"


def write_boxes(path, *lines):
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def at_edges(width, height):
    """A picture whose pixels say where they are: x in red, y in green."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(width), np.arange(height)[:, None]
    return picture


def cut(boxes, *, width=200, height=100, size=20, seconds=(0.0, 1.0)):
    """Return x0 y0 x1 y1 of what is cut around a person at each time, from the pixels of the clip."""
    track = Track(1, np.array(seconds, float), np.array(boxes, float), seconds[-1] + 1)
    shot = tube_shot(track, np.array(seconds, float), size=size)
    clip = np.stack([shot.cut(at_edges(width, height), time) for time in seconds])
    assert clip.shape == (len(seconds), size, size, 3)
    return [[*frame[0, 0, :2].tolist(), *frame[-1, -1, :2].tolist()] for frame in clip]


def test_the_square_is_around_the_person():
    side = round(CONTEXT * 40)  # 57 px
    ((x0, y0, x1, y1), _) = cut([[80, 30, 100, 70]] * 2)
    middle = [(x0 + x1) / 2, (y0 + y1) / 2]
    assert middle == pytest.approx([90, 50], abs=2)
    assert x1 - x0 == pytest.approx(side - side / 20, abs=2.5), "from the middle of the first pixel to that of the last"


def test_it_follows_and_keeps_its_size():
    (first, second) = cut([[60, 40, 80, 60], [110, 35, 140, 65]])
    assert second[0] - first[0] == pytest.approx(55, abs=2), "from a middle at 70 to one at 125"
    assert second[2] - second[0] == pytest.approx(first[2] - first[0], abs=1), "that of the larger box"


def test_it_stays_in_the_picture():
    (first, second) = cut([[0, 0, 10, 30], [190, 70, 200, 100]])
    assert first[:2] == pytest.approx([0, 0], abs=2) and second[2:] == pytest.approx([199, 99], abs=2)
    (whole, _) = cut([[10, 0, 190, 100]] * 2)
    assert whole[1] == pytest.approx(0, abs=3) and whole[3] == pytest.approx(99, abs=3), "no longer than the short side"
    assert (whole[0] + whole[2]) / 2 == pytest.approx(100, abs=2) and whole[2] - whole[0] < 100, "a square"


def test_who_fills_the_video_is_seen_as_the_video_is(untrained_run, tmp_path):
    """All the way: with a box around a square video, people say what `--over-time` says of its windows."""
    video = write_video(tmp_path / "a.mp4", 125, width_px=96, height_px=96)
    boxes = write_boxes(tmp_path / "boxes.csv", *(f"{step / 2},0,0,96,96,me" for step in range(10)))
    for smooth in (1, 2):
        (whole,) = recognize_over_time(untrained_run, [video], smooth=smooth, **WINDOWS, config=FP32)
        (found,) = recognize_people(untrained_run, [video], smooth=smooth, **WINDOWS, boxes=boxes, config=FP32)
        (person,) = found.people
        assert found.size_px == (96, 96) and found.error is None
        assert [each.label for each in person.top] == [each.label for each in whole.top]
        assert [each.probability for each in person.top] == pytest.approx(
            [each.probability for each in whole.top], abs=1e-5
        )
        assert [(each.label, each.start_seconds) for each in person.segments] == [
            (each.label, each.start_seconds) for each in whole.segments
        ]
        assert person.segments[-1].end_seconds == pytest.approx(5.0)
        for seconds in (0.1, 2.3, 4.9):
            assert person.classes.at(seconds)[0][0] == whole.classes.at(seconds)[0][0]


def test_what_somebody_does_begins_and_ends_with_them(untrained_run, tmp_path):
    video = write_video(tmp_path / "a.mp4", 125)
    boxes = write_boxes(tmp_path / "boxes.csv", *(f"{1 + step / 2},10,10,60,90,me" for step in range(5)))
    (found,) = recognize_people(untrained_run, [video], **WINDOWS, boxes=boxes, config=FP32)
    (person,) = found.people
    assert person.segments[0].start_seconds == 1.0
    assert person.segments[-1].end_seconds == pytest.approx(person.track.end_seconds) == pytest.approx(3.5)


def test_everybody_has_their_own_windows(untrained_run):
    """Two who are there at different times, in other places: each window sees its own person alone."""
    tracks = [
        Track(1, np.array([0.0, 1.0]), np.array([[10.0, 10, 50, 90]] * 2), 2.0),
        Track(2, np.array([1.0, 2.5]), np.array([[140.0, 10, 180, 90]] * 2), 3.5),
    ]
    encoder = Encoder(untrained_run.model, precision="fp32", device="cpu")
    config = dataclasses.replace(FP32, window_seconds=1.0, stride_seconds=0.5, batch_size=2)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (40, 100, 200, 3)).astype(np.uint8)

    def windows(which, change=None):
        shown = pictures.copy()
        if change is not None:
            shown[:, :, change] = 0
        frames = (Frame(picture, number / 10, (number + 1) / 10) for number, picture in enumerate(shown))
        return list(tube_windows(encoder, which, frames, config=config, is_multi_label=False))

    both = windows(tracks)
    spans = {1: [(0, 1), (0.5, 1.5), (1, 2)], 2: [(1, 2), (1.5, 2.5), (2, 3), (2.5, 3.5)]}
    for track in tracks:
        own = [(start, end) for each, start, end, _ in both if each is track]
        assert own == spans[track.number]
        alone = windows([track])
        others = windows([track], change=slice(115, 200) if track.number == 1 else slice(0, 75))
        theirs = [values for each, _, _, values in both if each is track]
        for values, (*_, by_itself), (*_, without) in zip(theirs, alone, others, strict=True):
            assert by_itself == pytest.approx(values, abs=1e-6)
            assert without == pytest.approx(values, abs=1e-6), "what is elsewhere is not seen"
    dark = windows([tracks[0]], change=slice(0, 75))
    assert any(
        np.abs(values - other).max() > 1e-4
        for (*_, values), (*_, other) in zip(windows([tracks[0]]), dark, strict=True)
    )


class Brightness(Backbone):
    """Sees how bright a clip is, of four frames that follow each other."""

    name, feature_dim, clip_size, kept_format = "brightness", 1, (4, 32, 32), None
    preprocessing = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interval_seconds=0.04)

    def forward(self, clips):
        return clips.mean(dim=(1, 2, 3, 4))[:, None]


@pytest.fixture
def brightness(untrained_run):
    """A run that tells dark from bright, and is not too sure."""
    model = HashNet(Brightness(), hash_length=None, num_classes=2)
    with torch.no_grad():
        model.class_head.weight.copy_(torch.tensor([[-2.0], [2.0]]))
        model.class_head.bias.zero_()
    return dataclasses.replace(untrained_run, labels=("dark", "bright"), model=model.eval())


@pytest.fixture
def flickering(tmp_path):
    """Half a second dark, half a second bright, and so on, with noise; 6 s."""
    writer = cv2.VideoWriter(str(tmp_path / "f.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    rng = np.random.default_rng(0)
    for number in range(150):
        shade = 40 if (number // 13) % 2 == 0 else 220
        writer.write(np.clip(rng.normal(shade, 30, (64, 64, 3)), 0, 255).astype(np.uint8))
    writer.release()
    return tmp_path / "f.avi"


@pytest.mark.parametrize(
    "smooth, options",
    [
        (1, {}),
        (3, {}),
        (1, {"clips_per_window": 1}),
        (1, {"clips_per_window": 3, "batch_size": 4}),
        (1, {"views": 4, "batch_size": 3}),
    ],
)
def test_windows_are_smoothed_and_their_clips_averaged(brightness, flickering, tmp_path, smooth, options):
    """What `--over-time` says of a video that changes all the time, which each of these options changes."""
    boxes = write_boxes(tmp_path / "boxes.csv", *(f"{step / 2},0,0,64,64,me" for step in range(12)))
    config, windows = dataclasses.replace(FP32, **options), {"window_seconds": 0.6, "stride_seconds": 0.3}

    def said(smooth, config):
        (whole,) = recognize_over_time(brightness, [flickering], smooth=smooth, **windows, config=config)
        return [(each.start_seconds, each.label, each.score) for each in whole.segments]

    expected = said(smooth, config)
    if smooth > 1 or "clips_per_window" in options:
        assert expected != said(1, FP32), "else this test says nothing"
    (found,) = recognize_people(brightness, [flickering], smooth=smooth, **windows, boxes=boxes, config=config)
    segments = found.people[0].segments
    assert [(each.start_seconds, each.label) for each in segments] == [each[:2] for each in expected]
    assert [each.score for each in segments] == pytest.approx([each[2] for each in expected], abs=2e-3)


class Everywhere:
    """A detector that finds whom it is told to, and remembers which pictures it saw."""

    begin_score = 0.5

    def __init__(self, boxes):
        self.boxes, self.seen = np.array(boxes, float).reshape(-1, 4), []

    def __call__(self, picture):
        self.seen.append(picture)
        return self.boxes, np.ones(len(self.boxes))


def test_pictures_are_looked_at_every_so_often(tmp_path):
    video = write_video(tmp_path / "a.mp4", 50)  # 2 s
    for every, expected in ((0.25, 8), (0.5, 4), (0.001, 50), (3, 1)):
        detector = Everywhere([[10, 10, 40, 80]])
        tracks, size_px = find_tracks(video, detector, every_seconds=every)
        assert len(detector.seen) == expected and size_px == (160, 96)
        (track,) = tracks
        assert track.end_seconds == pytest.approx(2.0, abs=1e-3) and track.shows(49 / 25), "the last frame has a box"
        assert len(track.seconds) == expected
        assert np.diff(track.seconds) == pytest.approx(max(every, 0.04), abs=0.041)


@pytest.mark.parametrize("fps, num_frames", [(0.5, 6), (0.9, 5), (30, 60)])
def test_in_videos_of_any_rate_somebody_is_there_to_the_end(tmp_path, fps, num_frames):
    video = write_video(tmp_path / "a.avi", num_frames, fps=fps)
    (track,), _ = find_tracks(video, Everywhere([[10, 10, 40, 80]]), every_seconds=0.25)
    assert track.start_seconds == 0 and track.end_seconds == pytest.approx(num_frames / fps, rel=1e-3)


@needs_ffmpeg
def test_the_end_is_that_of_the_last_frame_whatever_the_header_says(untrained_run, tmp_path):
    """The sound is longer than the pictures, and the header goes by it."""
    video = tmp_path / "a.mkv"
    sound = ("-f", "lavfi", "-i", "sine=duration=5")
    pictures = ("-f", "lavfi", "-i", "testsrc=duration=2:rate=25:size=96x96")
    subprocess.run(["ffmpeg", "-v", "error", *pictures, *sound, "-c:v", "mjpeg", video], check=True)
    boxes = write_boxes(tmp_path / "b.csv", "0,0,0,96,96,me", "4,0,0,96,96,me")
    (found,) = recognize_people(untrained_run, [video], boxes=boxes, config=FP32)
    assert re.search(r"4 s is not in .* which lasts 2.0\d s", str(found.error))


def test_nobody(untrained_run, tmp_path, monkeypatch):
    video = write_video(tmp_path / "a.mp4", 20)
    monkeypatch.setattr(people, "make_detector", lambda name, device: Everywhere([]))
    (found,) = recognize_people(untrained_run, [video], config=FP32)
    assert found.people == () and found.error is None


def test_bad_videos_carry_their_errors(untrained_run, tmp_path, monkeypatch):
    good = write_video(tmp_path / "a.mp4", 50)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    monkeypatch.setattr(people, "make_detector", lambda name, device: Everywhere([[10, 10, 40, 80]]))
    bad, found = recognize_people(untrained_run, [tmp_path / "bad.mp4", good], config=FP32)
    assert bad.error is not None and bad.people is None
    assert [person.track.number for person in found.people] == [1]


def test_what_is_refused(untrained_run, tmp_path):
    video = write_video(tmp_path / "a.mp4", 20)
    other = write_video(tmp_path / "b.mp4", 20)
    boxes = write_boxes(tmp_path / "boxes.csv", "0,0,0,96,96,me")
    for options, problem in (
        ({"top": 0}, r"top \(0\) must be 1 or more"),
        ({"smooth": 0}, r"smooth \(0\) must be 1 or more"),
        ({"boxes": tmp_path / "gone.csv"}, "gone.csv' cannot be read"),
    ):
        with pytest.raises(UsageError, match=problem):
            recognize_people(untrained_run, [video], config=FP32, **options)
    with pytest.raises(UsageError, match=r"boxes \('.*'\) are of one video: name one file"):
        recognize_people(untrained_run, [video, other], config=FP32, boxes=boxes)
    flow = dataclasses.replace(untrained_run.model.preprocessing, channels="flow", mean=(0, 0), std=(1, 1))
    before = untrained_run.model.backbone.preprocessing
    untrained_run.model.backbone.preprocessing = flow
    try:
        with pytest.raises(UsageError, match="reads optical flow; take a run on RGB"):
            recognize_people(untrained_run, [video], config=FP32, people=PeopleConfig())
    finally:
        untrained_run.model.backbone.preprocessing = before


def test_a_video_that_changes_between_the_passes(untrained_run, tmp_path, monkeypatch):
    """It is decoded twice; one that ends earlier the second time shows its last frame."""
    video = write_video(tmp_path / "a.mp4", 50)
    shorter = write_video(tmp_path / "b.mp4", 30)
    real = people.find_tracks

    def find(path, detector, *, every_seconds):
        found = real(path, detector, every_seconds=every_seconds)
        shorter.replace(path)
        return found

    monkeypatch.setattr(people, "find_tracks", find)
    monkeypatch.setattr(people, "make_detector", lambda name, device: Everywhere([[10, 10, 40, 80]]))
    (found,) = recognize_people(untrained_run, [video], config=FP32)
    assert found.error is None and len(found.people) == 1
