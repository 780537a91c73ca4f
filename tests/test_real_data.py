"""The whole road on a few real clips: JHMDB, whose containers hold empty packets and overstate their frames."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from c3dhash.cli import main
from c3dhash.models.backbones import build_backbone
from c3dhash.models.batch_norm import is_folded
from c3dhash.models.known_weights import find_file
from c3dhash.models.runs import load_run
from c3dhash.models.weights import load_backbone, load_checkpoint, load_into
from c3dhash.records import Preprocessing
from c3dhash.video.normalization import normalize
from c3dhash.video.reader import read_clips
from c3dhash.video.transforms import center_clip

pytestmark = pytest.mark.realdata

CLASSES = ("golf", "pour", "walk")
PER_CLASS = {"train.txt": 8, "test.txt": 3}


def copy_jhmdb(source: Path, target: Path, classes: tuple[str, ...], *, per_class: dict[str, int]) -> Path:
    """Take some classes of JHMDB, and so many clips of each, in the list files that they came with."""
    for list_name, count in per_class.items():
        lines = (source / list_name).read_text().splitlines()
        chosen = [
            line.replace(f" {label}", f" {classes.index(name)}")
            for name in classes
            for line, label in [(line, line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}/")][:count]
        ]
        assert len(chosen) >= 8 * len(classes) or list_name == "test.txt"
        for line in chosen:
            video = line.rsplit(" ", 1)[0]
            (target / video).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / video, target / video)
        (target / list_name).write_text("\n".join(chosen) + "\n")
    return target


@pytest.fixture
def jhmdb(real_data, tmp_path):
    """Three classes: 8 training and 3 test clips of each."""
    return copy_jhmdb(real_data / "jhmdb", tmp_path / "data" / "jhmdb", CLASSES, per_class=PER_CLASS)


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


@pytest.mark.slow
def test_a_network_with_folded_norms_is_trained_whole_and_does_not_fall_apart(real_data, tmp_path, run):
    """Its statistics stay what they are: with those of batches it had 0.2. Heads alone, from the same weights, too."""
    classes = ("golf", "pour", "walk", "pullup", "shoot_bow", "wave")
    copy_jhmdb(real_data / "jhmdb", tmp_path / "data" / "jhmdb", classes, per_class={"train.txt": 16, "test.txt": 99})
    weights = real_data.parent / "pretrained" / "mobilenet_v2_imagenet1001.safetensors"
    network = ("--backbone", "tsn_mobilenet_v2", "--weights", weights, "--num-frames", 4, "--size", 112)
    mean_ap = {}
    for name, settings in {
        "heads": ("--freeze", "--epochs", 60),
        "all": ("--freeze-stages", 0, "--epochs", 40, "--learning-rate", 0.003, "--no-freeze-bn"),
    }.items():
        code, _, err = run("train", "--out", name, "--seed", 1, *network, *settings)
        assert code == 0, err
        code, out, err = run("evaluate", "--model", name, "--no-compare", "--json")
        assert code == 0, err
        mean_ap[name] = json.loads(out)["mAP"]["expected"]
    assert mean_ap["all"] > 0.7 and mean_ap["heads"] > 0.7, mean_ap
    start, backbone = load_backbone(weights), load_run(tmp_path / "all").model.backbone
    norms = [name for name, module in backbone.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and all(is_folded(backbone.get_submodule(name)) for name in norms)
    assert not torch.equal(backbone.get_submodule(norms[0]).bias, start.get_submodule(norms[0]).bias)


@pytest.mark.parametrize(
    ("file_name", "head", "backbone", "preprocessing"),
    [
        (
            "mobilenet_v2_imagenet1001.safetensors",
            "classifier.1",
            "tsn_mobilenet_v2",
            Preprocessing("RGB", 1 / 127.5, (1, 1, 1), (1, 1, 1)),
        ),
        (
            "efficientnet-lite0-57934424.safetensors",
            "_fc",
            "tsn_efficientnet_lite0",
            Preprocessing("RGB", 1.0, (127, 127, 127), (128, 128, 128)),
        ),
    ],
)
def test_image_weights_name_what_is_in_a_clip(real_data, file_name, head, backbone, preprocessing):
    """ImageNet's classifier, put by hand on the feature of one frame, sees bows and baseball players."""
    folder = real_data.parent / "pretrained"
    path = folder / file_name if (folder / file_name).is_file() else find_file(file_name)
    if path is None:
        pytest.skip(f"{file_name} is not on this machine")
    network, weights = load_backbone(path), load_checkpoint(path)
    lines = (folder / "imagenet1001_labels.txt").read_text().splitlines()
    names = [line.split(",")[0] for line in lines][-len(weights[f"{head}.bias"]) :]  # with or without "background"
    assert (network.name, network.preprocessing) == (backbone, preprocessing)

    def seen(video) -> set[str]:
        clip = next(iter(read_clips(video, num_frames=8, short_side=256)))
        frame = torch.from_numpy(center_clip(clip.frames, size=224))[None, 3:4]
        with torch.inference_mode():
            feature = network(normalize(frame, network.preprocessing))
        logits = feature @ weights[f"{head}.weight"].T + weights[f"{head}.bias"]
        return {names[place] for place in logits[0].topk(5).indices}

    for action, expected, least in (
        ("shoot_bow", {"bow"}, 9),
        ("swing_baseball", {"baseball", "ballplayer", "racket"}, 6),
        ("golf", {"golf ball", "golfcart", "putter", "croquet ball"}, 5),
    ):
        videos = sorted((real_data / "jhmdb" / action).iterdir())[:10]
        assert sum(bool(seen(video) & expected) for video in videos) >= least, action

    report = load_into(build_backbone(backbone.replace("tsn", "tsm")), path)
    assert report.is_complete and set(report.not_used) == {f"{head}.weight", f"{head}.bias"}
