"""The whole road on a few real clips: JHMDB, whose containers hold empty packets and overstate their frames."""

from __future__ import annotations

import json
import shutil

import pytest
import safetensors.torch
import torch

from c3dhash.cli import main
from c3dhash.models.backbones import build_backbone
from c3dhash.models.weights import load_backbone, load_into
from c3dhash.records import Preprocessing
from c3dhash.video.reader import read_clips
from c3dhash.video.transforms import center_clip, normalize

pytestmark = pytest.mark.realdata

CLASSES = ("golf", "pour", "walk")
PER_CLASS = {"train.txt": 8, "test.txt": 3}


@pytest.fixture
def jhmdb(real_data, tmp_path):
    """Three classes of JHMDB: 8 training and 3 test clips of each, in the list files they came with."""
    source, target = real_data / "jhmdb", tmp_path / "data" / "jhmdb"
    for list_name, count in PER_CLASS.items():
        lines = (source / list_name).read_text().splitlines()
        chosen = [
            line.replace(f" {label}", f" {CLASSES.index(name)}")
            for name in CLASSES
            for line, label in [(line, line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}/")][:count]
        ]
        assert len(chosen) == count * len(CLASSES)
        for line in chosen:
            video = line.rsplit(" ", 1)[0]
            (target / video).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / video, target / video)
        (target / list_name).write_text("\n".join(chosen) + "\n")
    return target


def test_train_index_query_evaluate(jhmdb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert caught.value.code == 0, captured.err
        return captured.out

    assert "3 classes" in run("data", "check", "data")
    run("train", "--num-frames", 8, "--size", 32, "--epochs", 2, "--classes-per-batch", 3, "--hash-length", 48)
    report = json.loads(run("index", jhmdb, "--json"))
    assert (report["added"], report["clips"], report["failed"]) == (33, 33, [])
    query = next((jhmdb / "walk").iterdir())
    hits = json.loads(run("query", query, "--json", "--top", 5))
    assert len(hits) == 5
    assert hits[0]["distance"] == 0
    assert all(0 <= hit["start_seconds"] < hit["end_seconds"] < 3 for hit in hits)
    numbers = json.loads(run("evaluate", "--json"))
    assert (numbers["num_queries"], numbers["num_gallery"]) == (9, 24)
    assert 0 < numbers["mAP"]["worst"] <= numbers["mAP"]["expected"] <= numbers["mAP"]["best"] <= 1


def test_image_weights_name_what_is_in_a_clip(real_data):
    """ImageNet's classifier, put by hand on the feature of one frame, sees bows and baseball players."""
    folder = real_data.parent / "pretrained"
    path, labels = folder / "mobilenet_v2_imagenet1001.safetensors", folder / "imagenet1001_labels.txt"
    network, weights = load_backbone(path), safetensors.torch.load_file(path)
    names = [line.split(",")[0] for line in labels.read_text().splitlines()]
    assert network.name == "tsn_mobilenet_v2"
    assert network.preprocessing == Preprocessing("RGB", 1 / 127.5, (1, 1, 1), (1, 1, 1))

    def seen(video) -> set[str]:
        clip = next(iter(read_clips(video, num_frames=8, short_side=256)))
        frame = torch.from_numpy(center_clip(clip.frames, size=224))[None, 3:4]
        with torch.inference_mode():
            feature = network(normalize(frame, network.preprocessing))
        logits = feature @ weights["classifier.1.weight"].T + weights["classifier.1.bias"]
        return {names[place] for place in logits[0].topk(5).indices}

    for action, expected, least in (
        ("shoot_bow", {"bow"}, 9),
        ("swing_baseball", {"baseball", "ballplayer", "racket"}, 6),
        ("golf", {"golf ball", "golfcart", "putter", "croquet ball"}, 5),
    ):
        videos = sorted((real_data / "jhmdb" / action).iterdir())[:10]
        assert sum(bool(seen(video) & expected) for video in videos) >= least, action

    report = load_into(build_backbone("tsm_mobilenet_v2"), path)
    assert report.is_complete and set(report.not_used) == {"classifier.1.weight", "classifier.1.bias"}
