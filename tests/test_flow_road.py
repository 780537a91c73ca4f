"""Optical flow: a network for it trains on folders of flow, and computes that of the videos it encodes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from c3dhash.config import EncodeConfig, EvaluateConfig, TrainConfig
from c3dhash.datasets.find import find_dataset
from c3dhash.datasets.flow import FlowOptions, extract_flow
from c3dhash.datasets.samples import Dataset
from c3dhash.datasets.synth import make_motion_set, write_video
from c3dhash.errors import VideoError
from c3dhash.evaluation.evaluate import evaluate_run
from c3dhash.evaluation.evaluate_classes import evaluate_classes
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.query import query_video, query_videos
from c3dhash.models.runs import Run, load_run
from c3dhash.recognition.recognize import recognize_videos
from c3dhash.records import FrameFolder, Preprocessing, Sample
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader
from c3dhash.video.reader import read_clip
from c3dhash.video.transforms import decoded_short_side

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
                for frame in range(1, 8):
                    for each in "xy":
                        flow = np.full((40, 48), 220 if each == axis else 128) + rng.integers(-5, 6, (40, 48))
                        cv2.imwrite(str(folder / f"flow_{each}_{frame:05}.png"), flow.astype(np.uint8))
    return tmp_path / "data"


@pytest.mark.parametrize(("backbone", "num_channels"), [("i3d_flow", 2), ("tsn_flow_resnet18", 10)])
def test_train_and_evaluate(flow_data, tmp_path, backbone, num_channels):
    dataset, cache = find_dataset(flow_data), FrameCache(tmp_path / "frames", max_bytes=1 << 26)
    assert len(dataset.samples) == 14
    config = dataclasses.replace(SETTINGS, backbone=backbone)
    run = load_run(train_run(dataset, config, run_dir=tmp_path / "run", cache=cache))
    reader = ClipReader.of_network(run.model.clip_size, run.model.preprocessing, cache)
    sample = dataset.split("query")[0]
    clip = reader.evaluation_clips(sample)[0]
    assert clip.shape == (2, 32, 32, num_channels)
    means = [float(clip[..., axis::2].mean()) for axis in (0, 1)]
    label = dataset.classes[sample.labels[0]]
    assert means == pytest.approx([220, 128] if label == "right" else [128, 220], abs=3)
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
        held = np.stack([read_clip(video, num_frames=1).frames[0]] * 12)  # nothing moves, which is all that it sees
        write_video(tmp_path / "held.mp4", held, fps=25)
        cv2.imwrite(str(tmp_path / "a.png"), held[0])
        queries = [tmp_path / "a.png", tmp_path / "held.mp4", video]
        still, nothing, hits = (answer for _, answer in query_videos(run, gallery, queries, config=config))
        assert str(still) == (
            f"picture '{tmp_path / 'a.png'}' does not move, and this network reads optical flow only: take a video."
        )
        assert isinstance(nothing, VideoError) and "nothing moves" in str(nothing)
        assert hits[0].distance == 0
    (recognition,) = recognize_videos(run, [video], config=config)
    assert {prediction.label for prediction in recognition.top} == {"right", "down"}


ENCODE = EncodeConfig(device="cpu", precision="fp32", engine="torch")


@pytest.fixture(scope="module")
def directions(tmp_path_factory) -> Dataset:
    """Things move up, or down: the same pictures in another order."""
    counts = {"train": 8, "val": 2, "gallery": 2, "query": 8}
    return find_dataset(
        make_motion_set(tmp_path_factory.mktemp("data"), num_classes=2, videos_per_class=counts, seed=1)
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> FrameCache:
    return FrameCache(tmp_path_factory.mktemp("frames"), max_bytes=1 << 28)


@pytest.fixture(scope="module")
def train(directions, tmp_path_factory, cache):
    """Train the same network on pictures and on stacks of flow, from nothing, on the same videos."""

    def train(**options) -> dict[str, Run]:
        config, folder = dataclasses.replace(SETTINGS, clips_per_class=8, **options), tmp_path_factory.mktemp("runs")
        configs = [dataclasses.replace(config, backbone=name) for name in ("tsn_resnet18", "tsn_flow_resnet18")]
        paths = [train_run(directions, each, run_dir=folder / each.backbone, cache=cache) for each in configs]
        return {each.backbone: load_run(path) for each, path in zip(configs, paths, strict=True)}

    return train


@pytest.mark.slow
def test_stacks_tell_directions_apart_and_pictures_do_not(directions, train, cache):
    found = {}
    for name, run in train(epochs=4, task="classify", hash_length=48).items():
        reader = ClipReader.of_network(run.model.clip_size, run.model.preprocessing, cache)
        found[name] = evaluate_classes(run, directions, reader=reader, encode=ENCODE).numbers["accuracy@1"]
    assert found["tsn_flow_resnet18"] >= 0.85, found
    assert found["tsn_resnet18"] <= 0.7, found


def test_a_folder_of_flow_holds_the_stacks_of_its_video(tmp_path):
    """As `data flow` writes it, but for what JPEG does: the same places, in the same order."""
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 256, (20, 30, 3), np.uint8), (240, 160), interpolation=cv2.INTER_CUBIC)
    frames = [np.roll(texture, (number, number * (number + 1) // 4), axis=(0, 1)) for number in range(24)]
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", np.stack(frames), fps=24)
    options = FlowOptions(size=decoded_short_side(96), quality=100)
    extract_flow(tmp_path / "videos", tmp_path / "flow", options=options)
    video = Sample(tmp_path / "videos" / "a.mp4", (0,), "query")
    folder = Sample(tmp_path / "flow" / "a", (0,), "query", frames=FrameFolder())
    stacks = Preprocessing("flow", 1, (128,) * 10, (128,) * 10, stack=5)
    reader = ClipReader.of_network((3, 96, 96), stacks, FrameCache(tmp_path / "frames", max_bytes=0))
    (computed,), (stored,) = (reader.evaluation_clips(sample).astype(int) for sample in (video, folder))
    assert computed.shape == stored.shape == (3, 96, 96, 10)
    assert np.abs(computed - stored).mean() < 0.5
    xy_exchanged, later = stored[..., [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]], np.roll(stored, 2, axis=-1)
    for other in (stored[::-1], xy_exchanged, later):
        assert np.abs(computed - other).mean() > 1.5


def test_the_commands_on_stacks(run, directions, train):
    streams = train(epochs=1)
    rgb, flow = (str(streams[name].path) for name in ("tsn_resnet18", "tsn_flow_resnet18"))
    code, out, _ = run(
        "evaluate", "--model", flow, "--data", directions.directory, "--no-compare", "--json", "--engine", "torch"
    )
    assert code == 0 and json.loads(out)["num_queries"] == 16
    code, out, _ = run(
        "evaluate", "--runs", rgb, flow, "--fuse", "0,1", "--task", "classify", "--data", directions.directory, "--json"
    )
    assert code == 0 and json.loads(out)["runs"][1]["accuracy@1"] == json.loads(out)["accuracy@1"]
    code, out, _ = run("index", directions.directory / "gallery", "--model", flow, "--gallery", "g", "--json")
    assert code == 0 and json.loads(out)["added"] == 4 and not json.loads(out)["failed"]
    video = directions.split("gallery")[0].video
    code, out, _ = run("query", video, "--gallery", "g", "--json")
    assert code == 0 and json.loads(out)[0]["distance"] == 0 and Path(json.loads(out)[0]["video"]).name == video.name
    code, out, _ = run(
        "classify", video, "--model", flow, "--over-time", "--window-seconds", "0.5", "--views", "2", "--json"
    )
    assert code == 0 and json.loads(out)[0]["segments"]
    code, out, _ = run("classify", video, "--runs", rgb, flow, "--fuse", "mean", "--json")
    assert code == 0 and len(json.loads(out)[0]["top5"]) == 2
    code, _, err = run("classify", "--camera", "0", "--model", flow)
    assert code == 2 and "tsn_flow_resnet18 reads optical flow; take a run on RGB" in err
