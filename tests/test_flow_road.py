"""Optical flow: a network for it trains on folders of flow, and computes that of the videos it encodes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from c3dhash.config import EncodeConfig, EvaluateConfig, TrainConfig
from c3dhash.datasets.find import find_dataset
from c3dhash.evaluation.evaluate import evaluate_run
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.query import query_video
from c3dhash.models.runs import load_run
from c3dhash.recognition.recognize import recognize_videos
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader

SETTINGS = TrainConfig(
    backbone="i3d_flow", num_frames=2, size=32, hash_length=16, epochs=1, classes_per_batch=2, clips_per_class=2,
    weights="none", precision="fp32", device="cpu",
)  # fmt: skip


@pytest.fixture
def flow_data(tmp_path):
    """Class folders of flow: things move to the right, or down."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        for label, axis in (("right", "x"), ("down", "y")):
            for number in range(count):
                folder = tmp_path / "data" / split / label / f"{label}_{split}_{number}"
                folder.mkdir(parents=True)
                for frame in range(1, 5):
                    for each in "xy":
                        flow = np.full((40, 48), 220 if each == axis else 128) + rng.integers(-5, 6, (40, 48))
                        cv2.imwrite(str(folder / f"flow_{each}_{frame:05}.png"), flow.astype(np.uint8))
    return tmp_path / "data"


def test_train_and_evaluate(flow_data, tmp_path):
    dataset, cache = find_dataset(flow_data), FrameCache(tmp_path / "frames", max_bytes=1 << 26)
    assert len(dataset.samples) == 14
    run = load_run(train_run(dataset, SETTINGS, run_dir=tmp_path / "run", cache=cache))
    reader = ClipReader(*run.model.clip_size[:2], cache, run.model.preprocessing.channels)
    clip = reader.evaluation_clips(dataset.split("query")[0])[0]
    assert clip.shape == (2, 32, 32, 2)
    assert abs(int(clip.mean()) - (220 + 128) // 2) < 3
    report = evaluate_run(
        run, dataset, reader=reader, config=EvaluateConfig(compare=False), encode=EncodeConfig(device="cpu")
    )
    assert (report.numbers["num_queries"], report.numbers["num_gallery"]) == (4, 6)
    assert 0 < report.numbers["mAP"]["expected"] <= 1


def test_videos_are_indexed_and_recognised(motion, flow_data, tmp_path):
    """Their flow is computed on the way."""
    cache = FrameCache(tmp_path / "frames", max_bytes=1 << 26)
    run = load_run(train_run(find_dataset(flow_data), SETTINGS, run_dir=tmp_path / "flow", cache=cache))
    config = EncodeConfig(device="cpu", precision="fp32")
    with open_gallery(tmp_path / "gallery", run) as gallery:
        report = index_videos(run, gallery, [motion.directory / "gallery"], config=config)
        assert (report.added, report.failed) == (9, [])
        video = motion.split("gallery")[0].video
        assert query_video(run, gallery, video, config=config)[0].distance == 0
    (recognition,) = recognize_videos(run, [video], config=config)
    assert {prediction.label for prediction in recognition.top} == {"right", "down"}
