from __future__ import annotations

import dataclasses
import itertools
import time

import cv2
import numpy as np
import pytest
from videos import frame_numbers, numbered_frame

from c3dhash.config import EncodeConfig
from c3dhash.errors import UsageError, VideoError
from c3dhash.models.encode import Encoder
from c3dhash.models.scores import class_probabilities
from c3dhash.recognition import live
from c3dhash.recognition.live import LastFrames, recognize_live
from c3dhash.records import Preprocessing
from c3dhash.video.transforms import center_clip

FP32 = EncodeConfig(precision="fp32", device="cpu")


def last_frames(**options) -> LastFrames:
    return LastFrames(**{"num_frames": 4, "window_seconds": 1.0, "interval_seconds": None, "short_side": 96, **options})


def test_a_clip_is_spread_over_the_last_window():
    frames = last_frames()
    assert frames.clip() is None
    for number in range(61):
        frames.add(numbered_frame(number), 100 + number / 20)
        if number == 19:
            assert frames.clip() is None, "not a whole window yet"
    clip, newest, seconds, num_frames = frames.clip()
    # 20 frames a second: the middles of the four quarters of the last second lie 17.5, 12.5, 7.5 and 2.5 frames back
    assert frame_numbers(clip) == [42, 47, 52, 57]
    assert frame_numbers(newest[None]) == [60]
    assert (seconds, num_frames) == (pytest.approx(3), 61)
    assert len(frames._frames) <= 22, "older ones are let go"


def test_a_dense_clip_ends_now():
    frames = last_frames(interval_seconds=0.1, window_seconds=0.4)
    for number in range(30):
        frames.add(numbered_frame(number), number / 20)
    clip, *_ = frames.clip()
    assert frame_numbers(clip) == [23, 25, 27, 29]


def test_frames_are_kept_small():
    frames = last_frames(short_side=48, window_seconds=0.1)
    for number in range(4):
        frames.add(numbered_frame(number, width_px=320, height_px=192), number / 20)
    clip, newest, *_ = frames.clip()
    assert clip.shape == (4, 48, 80, 3) and newest.shape == (192, 320, 3)


class PacedCamera:
    """Gives a numbered frame every hundredth of a second, whoever takes them."""

    def __init__(self, num_frames: int) -> None:
        self._numbers, self.is_released = iter(range(num_frames)), False
        self._started = time.monotonic()

    def read(self):
        number = next(self._numbers, None)
        if number is None:
            return False, None
        time.sleep(max(0.0, self._started + number / 100 - time.monotonic()))
        return True, cv2.cvtColor(numbered_frame(number), cv2.COLOR_RGB2BGR)

    def release(self) -> None:
        self.is_released = True


def test_a_camera_is_followed_and_never_waits(untrained_run, monkeypatch):
    camera = PacedCamera(120)
    monkeypatch.setattr(live, "_open", lambda name: camera)
    slow = Encoder.features

    def features(self, clips):
        time.sleep(0.1)  # a network that takes as long as ten frames
        return slow(self, clips)

    monkeypatch.setattr(Encoder, "features", features)
    answers = list(recognize_live(untrained_run, "0", window_seconds=0.3, config=FP32))
    assert camera.is_released
    assert 1 <= len(answers) < 15, "of 120 frames"
    counts = [answer.num_frames for answer in answers]
    assert counts == sorted(set(counts)) and counts[-1] == 120, "up to the last frame"
    for answer in answers:
        assert frame_numbers(answer.picture[None]) == [answer.num_frames - 1], "the newest frame, not one that waited"
        assert answer.label in untrained_run.labels and 0 < answer.probability < 1


def test_the_answer_is_the_mean_over_the_last_clips(untrained_run, monkeypatch):
    monkeypatch.setattr(live, "_open", lambda name: PacedCamera(60))
    clips = []
    real = live.clip_views

    def spy(clip, **options):
        clips.append(clip)
        return real(clip, **options)

    monkeypatch.setattr(live, "clip_views", spy)
    answers = list(recognize_live(untrained_run, "0", smooth=3, window_seconds=0.2, config=FP32))
    encoder = Encoder(untrained_run.model, device="cpu", precision="fp32", engine="torch")
    scores = [encoder(center_clip(clip, size=16)[None]).scores for clip in clips]
    single = class_probabilities(np.concatenate(scores), is_multi_label=False)
    for place, answer in enumerate(answers):
        mean = single[max(0, place - 2) : place + 1].mean(axis=0)
        assert answer.label == untrained_run.labels[mean.argmax()]
        assert answer.probability == pytest.approx(mean.max(), abs=1e-5)


def test_whoever_stops_listening_ends_the_camera(untrained_run, monkeypatch):
    camera = PacedCamera(10_000)
    monkeypatch.setattr(live, "_open", lambda name: camera)
    answers = recognize_live(untrained_run, "0", window_seconds=0.1, config=FP32)
    assert len(list(itertools.islice(answers, 2))) == 2
    answers.close()
    assert camera.is_released


def test_a_camera_that_ends_too_early(untrained_run, monkeypatch):
    monkeypatch.setattr(live, "_open", lambda name: PacedCamera(5))
    with pytest.raises(VideoError, match=r"camera \(0\) ended before it had given 2\.0 s of frames"):
        list(recognize_live(untrained_run, "0", config=FP32))


def test_what_is_refused(untrained_run, tmp_path):
    with pytest.raises(VideoError, match=r"camera \(.*gone\.mp4\) cannot be opened"):
        recognize_live(untrained_run, str(tmp_path / "gone.mp4"))
    with pytest.raises(UsageError, match=r"smooth \(0\) must be 1 or more clips"):
        recognize_live(untrained_run, "0", smooth=0)
    with pytest.raises(UsageError, match=r"window_seconds \(-3\) must be above 0"):
        recognize_live(untrained_run, "0", window_seconds=-3)
    flow = dataclasses.replace(untrained_run, model=untrained_run.model)
    before = untrained_run.model.backbone.preprocessing
    untrained_run.model.backbone.preprocessing = Preprocessing(channels="flow", mean=(0.5, 0.5), std=(0.5, 0.5))
    try:
        with pytest.raises(UsageError, match=r"camera \(0\): resnet3d10 reads optical flow"):
            recognize_live(flow, "0")
    finally:
        untrained_run.model.backbone.preprocessing = before
