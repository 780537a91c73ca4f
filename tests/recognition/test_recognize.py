"""Actions of videos: probabilities over windows, and everything that can be wrong with a video or a run."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil

import cv2
import numpy as np
import pytest
from videos import black_frames, numbered_frame, write_frames, write_video

from c3dhash.config import EncodeConfig, ModelConfig
from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.encode import encode_videos
from c3dhash.models.hashnet import build_model
from c3dhash.models.runs import load_run, save_run
from c3dhash.recognition.over_time import answers, segments
from c3dhash.recognition.recognize import recognize_over_time, recognize_videos

FP32 = EncodeConfig(precision="fp32", device="cpu", window_seconds=3, stride_seconds=2)


def multi_label(run):
    return dataclasses.replace(run, config={**run.config, "is_multi_label": True})


def softmax(scores):
    """By the definition, one number at a time."""
    weights = [math.exp(score) for score in scores]
    return [weight / sum(weights) for weight in weights]


def test_the_windows_of_a_video_are_averaged(untrained_run, tmp_path):
    video = write_video(tmp_path / "long.mp4", 250)  # 10 s: windows from 0, 2, 4, 6 and 7 s
    (result,) = encode_videos(untrained_run, [video], config=FP32)
    assert result.scores.shape == (5, 3)
    expected = np.mean([softmax(scores) for scores in result.scores.tolist()], axis=0)
    (recognition,) = recognize_videos(untrained_run, [video], config=FP32)
    assert (recognition.video, recognition.error) == (video, None)
    assert [prediction.label for prediction in recognition.top] == [
        untrained_run.labels[index] for index in np.argsort(-expected)
    ]
    assert [prediction.probability for prediction in recognition.top] == pytest.approx(sorted(expected, reverse=True))
    (best,) = recognize_videos(untrained_run, [video], config=FP32, top=1)
    assert [prediction.label for prediction in best.top] == [recognition.top[0].label]
    assert best.top[0].probability == pytest.approx(recognition.top[0].probability)  # other batches round differently


def test_what_has_no_code_has_classes_and_bars_are_left_in(untrained_run, tmp_path):
    """Of black frames, too, something is said: a class head was trained on pictures as they are."""
    black = write_frames(tmp_path / "black.mp4", black_frames(50))
    frames = [cv2.copyMakeBorder(numbered_frame(number), 32, 32, 0, 0, cv2.BORDER_CONSTANT) for number in range(50)]
    barred = write_frames(tmp_path / "barred.mp4", frames)
    cropped = recognize_videos(untrained_run, [black, barred], config=dataclasses.replace(FP32, crop_bars=True))
    left_in = dataclasses.replace(FP32, crop_bars=False)
    results = list(encode_videos(untrained_run, [black, barred], config=left_in, with_flat=True))
    for recognition, result in zip(cropped, results, strict=True):
        expected = sorted(softmax(result.scores[0].tolist()), reverse=True)
        assert [prediction.probability for prediction in recognition.top] == pytest.approx(expected, abs=1e-5)


def test_several_labels_a_video_do_not_exclude_each_other(untrained_run, tmp_path):
    video = write_video(tmp_path / "long.mp4", 250)
    (result,) = encode_videos(untrained_run, [video], config=FP32)
    expected = np.mean(1 / (1 + np.exp(-result.scores.astype(float))), axis=0)
    (recognition,) = recognize_videos(multi_label(untrained_run), [video], config=FP32)
    assert [prediction.probability for prediction in recognition.top] == pytest.approx(sorted(expected, reverse=True))


def test_folders_and_bad_videos_in_their_order(untrained_run, motion_dir, tmp_path, caplog):
    folder = tmp_path / "folder"
    shutil.copytree(motion_dir / "query" / "move_up", folder / "deep")
    bad, gone = tmp_path / "bad.mp4", tmp_path / "gone.mp4"
    bad.write_bytes(b"no video")
    good = folder / "deep" / "move_up_001.mp4"
    recognitions = list(recognize_videos(untrained_run, [bad, good, str(folder), gone], config=FP32))
    videos = [recognition.video for recognition in recognitions]
    assert videos == [bad, good, folder / "deep" / "move_up_000.mp4", gone]
    assert [bool(recognition.error) for recognition in recognitions] == [True, False, False, True]
    assert [len(recognition.top) for recognition in recognitions] == [0, 3, 3, 0]
    assert "bad.mp4" in caplog.text and "gone.mp4" in caplog.text


def test_a_folder_that_cannot_be_read(untrained_run, motion_dir, tmp_path, monkeypatch, caplog):
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "open")
    (tmp_path / "shut").mkdir()
    real = os.scandir

    def refuse(path):  # root may read everything, so chmod does not do
        if os.fspath(path) == str(tmp_path / "shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    shut, *good = recognize_videos(untrained_run, [tmp_path], config=FP32)
    assert shut.video == tmp_path / "shut" and "shut' cannot be read: Permission denied" in str(shut.error)
    assert [len(recognition.top) for recognition in good] == [3, 3]
    assert "shut' cannot be read" in caplog.text


def test_a_link_that_leads_nowhere_is_a_bad_video(untrained_run, tmp_path):
    (tmp_path / "link.mp4").symlink_to(tmp_path / "gone.mp4")
    (recognition,) = recognize_videos(untrained_run, [tmp_path / "link.mp4"], config=FP32)
    assert "link.mp4" in str(recognition.error)


def test_what_is_refused(untrained_run, tmp_path):
    with pytest.raises(UsageError, match=r"top \(0\) must be 1 or more"):
        recognize_videos(untrained_run, [tmp_path], top=0)
    with pytest.raises(UsageError, match=r"no videos in '.*'\."):
        recognize_videos(untrained_run, [tmp_path])
    model = build_model(ModelConfig(num_frames=4, size=16, hash_length=8), num_classes=None)
    config = {"backbone": "resnet3d18", "shortcut": None, "hash_length": 8}
    save_run(tmp_path / "hash", model, config=config, labels=("a", "b"))
    with pytest.raises(CheckpointError, match=r"run '.*hash' has no class head and recognises nothing: train with"):
        recognize_videos(load_run(tmp_path / "hash"), [tmp_path / "gone.mp4"])


def test_over_time(untrained_run, tmp_path):
    """Windows of two seconds, a second apart: what `answers` and `segments` make of their probabilities."""
    video = write_video(tmp_path / "long.mp4", 250)
    config = dataclasses.replace(FP32, window_seconds=2, stride_seconds=1)
    (whole,) = encode_videos(untrained_run, [video], config=config)
    windows = [
        (start, end, np.array(softmax(scores)))
        for start, end, scores in zip(
            whole.codes.start_seconds, whole.codes.end_seconds, whole.scores.tolist(), strict=True
        )
    ]
    assert len(windows) == 9
    for smooth in (1, 3):
        (found,) = recognize_over_time(untrained_run, [video], smooth=smooth, config=FP32)
        expected = segments(answers(windows, smooth=smooth), untrained_run.labels)
        assert [(s.start_seconds, s.end_seconds, s.label) for s in found.segments] == [
            (s.start_seconds, s.end_seconds, s.label) for s in expected
        ]
        assert [s.score for s in found.segments] == pytest.approx([s.score for s in expected])
        mean = np.mean([probabilities for *_, probabilities in windows], axis=0)
        assert [p.probability for p in found.top] == pytest.approx(sorted(mean, reverse=True))
        assert found.classes.at(0)[0][0] == found.segments[0].label
    (wide,) = recognize_over_time(untrained_run, [video], window_seconds=4, config=FP32)
    assert wide.segments[-1].end_seconds == pytest.approx(10)


def test_over_time_a_bad_video_does_not_stop_the_rest(untrained_run, tmp_path, caplog):
    bad, good = tmp_path / "bad.mp4", write_video(tmp_path / "good.mp4", 30)
    bad.write_bytes(b"no video")
    first, second = recognize_over_time(untrained_run, [bad, good], config=FP32)
    assert (first.video, second.video) == (bad, good)
    assert first.error is not None and first.segments is None
    assert second.segments[-1].end_seconds == pytest.approx(1.2)
    assert "bad.mp4" in caplog.text
    with pytest.raises(UsageError, match=r"top \(0\) must be 1 or more"):
        next(recognize_over_time(untrained_run, [good], top=0))
