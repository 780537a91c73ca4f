from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch

from c3dhash.config import ModelConfig
from c3dhash.errors import CheckpointError, UsageError
from c3dhash.files import MARKER
from c3dhash.models.fingerprints import fingerprint
from c3dhash.models.hashnet import build_model
from c3dhash.models.runs import find_run, load_run, save_run
from c3dhash.models.weights import load_backbone
from c3dhash.records import Preprocessing

SMALL = ModelConfig(num_frames=4, size=16, hash_length=16)
RUN_CONFIG = {"backbone": "resnet3d18", "shortcut": None, "hash_length": 16}


@pytest.mark.parametrize("num_classes, has_hash_head", [(3, True), (3, False), (None, True)])
def test_a_run_comes_back_as_it_was(tmp_path, num_classes, has_hash_head):
    torch.manual_seed(1)
    model = build_model(SMALL, num_classes=num_classes, has_hash_head=has_hash_head).eval()
    model.class_codes = torch.ones(num_classes, 16) if num_classes and has_hash_head else None
    model.backbone.preprocessing = Preprocessing("BGR", 1.0, (90, 98, 102), (1, 1, 1))
    save_run(tmp_path / "run", model, config=RUN_CONFIG, labels=("a b", "c", "d"))
    run = load_run(tmp_path / "run")
    assert run.labels == ("a b", "c", "d")
    assert run.fingerprint == fingerprint(model)
    assert run.model.preprocessing == model.preprocessing
    assert run.model.clip_size == (4, 16, 16)
    clips = torch.randn(2, 3, 4, 16, 16)
    for ours, theirs in zip(run.model(clips), model(clips), strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert not [path for path in (tmp_path / "run").iterdir() if "partial" in path.name]


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": "mine"},
        {"config.json": '{"model_type": "bert"}', "model.safetensors": "mine"},
        {"model.safetensors": "mine"},
        {"labels.txt": "mine"},
        {"config.json": "[]"},
    ],
)
def test_a_run_is_not_written_into_a_folder_of_somebody_else(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=rf"holds what c3dhash train did not write \({', '.join(sorted(files))}\)"):
        save_run(tmp_path, build_model(SMALL, num_classes=2), config=RUN_CONFIG, labels=("a", "b"))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_a_run_of_before_stacks_comes_back(tmp_path):
    """Its record of the pixels lacks the field, and its fingerprint is what it was."""
    config = ModelConfig(backbone="i3d_flow", num_frames=2, size=32, hash_length=16)
    model = build_model(config, num_classes=2).eval()
    save_run(tmp_path / "run", model, config={**RUN_CONFIG, "backbone": "i3d_flow"}, labels=("a", "b"))
    path = tmp_path / "run" / "config.json"
    saved = json.loads(path.read_text())
    assert saved["preprocessing"].pop("stack") == 1
    path.write_text(json.dumps(saved))
    run = load_run(tmp_path / "run")
    assert (run.model.preprocessing.stack, run.model.preprocessing.num_channels) == (1, 2)
    assert run.fingerprint == saved["fingerprint"] == fingerprint(model)


def test_a_run_on_stacks_comes_back(tmp_path):
    config = ModelConfig(backbone="tsn_flow_resnet18", num_frames=2, size=32, hash_length=16)
    model = build_model(config, num_classes=2).eval()
    save_run(tmp_path / "run", model, config={**RUN_CONFIG, "backbone": "tsn_flow_resnet18"}, labels=("a", "b"))
    run = load_run(tmp_path / "run")
    assert run.model.preprocessing == model.preprocessing and run.model.preprocessing.stack == 5
    clips = torch.randn(2, 10, 2, 32, 32)
    assert torch.equal(run.model(clips).embedding, model(clips).embedding)


def test_a_run_is_written_over_itself_and_beside_what_training_wrote(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    model = build_model(SMALL, num_classes=2)
    save_run(tmp_path, model, config=RUN_CONFIG, labels=("a", "b"))
    (tmp_path / MARKER).unlink()  # a run of an earlier version
    save_run(tmp_path, model, config=RUN_CONFIG, labels=("a", "c"))
    (tmp_path / "notes.txt").touch()  # the user's, in a run
    save_run(tmp_path, model, config=RUN_CONFIG, labels=("a", "d"))
    assert load_run(tmp_path).labels == ("a", "d")


def test_a_failed_save_leaves_the_rest_as_it_was(tmp_path):
    save_run(tmp_path, build_model(SMALL, num_classes=2), config=RUN_CONFIG, labels=("a", "b"))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").mkdir()  # no file can take its place
    before = {path.name: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=r"cannot be written \(Is a directory\): look for room and rights"):
        save_run(tmp_path, build_model(SMALL, num_classes=2), config=RUN_CONFIG, labels=("c", "d"))
    assert {path.name: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_backbone_of_a_run_brings_its_preprocessing(tmp_path, untrained_run):
    backbone = load_backbone(untrained_run.path)
    assert backbone.preprocessing == untrained_run.model.preprocessing
    assert backbone.clip_size == untrained_run.model.clip_size
    clips = torch.randn(1, 3, 4, 16, 16)
    assert torch.equal(backbone(clips), untrained_run.model(clips).feature)


def test_a_classifier_makes_no_codes(tmp_path):
    model = build_model(SMALL, num_classes=2, has_hash_head=False)
    save_run(tmp_path, model, config=RUN_CONFIG, labels=("a", "b"))
    with pytest.raises(CheckpointError, match="makes no codes"):
        _ = load_run(tmp_path).hash_length


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "labels.txt"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_damaged_run_is_refused(tmp_path, untrained_run, file, damage):
    run = tmp_path / "run"
    shutil.copytree(untrained_run.path, run)
    content = (run / file).read_bytes()
    (run / file).unlink()
    if damage != "missing":
        (run / file).write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    if (file, damage) == ("labels.txt", "cut"):
        (run / file).write_bytes(content.split(b"\n")[0])
    with pytest.raises(CheckpointError, match=str(run)):
        load_run(run)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("hash_length", 24, "size mismatch"),
        ("hash_length", 16.0, r"hash_length \(16\.0\) must be a whole number"),
        ("hash_length", 8.9, r"hash_length \(8\.9\) must be a whole number"),
        ("hash_length", float("nan"), r"hash_length \(nan\) must be a whole number"),
        ("hash_length", [16], r"hash_length \(\[16\]\) must be a whole number"),
        ("hash_length", True, r"hash_length \(True\) must be a whole number"),
        ("hash_length", "16", r"hash_length \('16'\) must be a whole number"),
        ("hash_length", None, r"hash_length \(None\) must be a whole number"),
        ("hash_length", -1, r"hash_length \(-1\) must be between 1 and 1024"),
        ("num_frames", 4.5, r"num_frames \(4\.5\) must be a whole number"),
        ("backbone", "resnet19", r"backbone \('resnet19'\) must be one of"),
        ("backbone", ["resnet3d18"], "unhashable"),
        ("preprocessing", {"channels": "GRB"}, r"channels \('GRB'\) must be"),
        ("preprocessing", {"mean": "abc"}, "could not convert"),
    ],
)
def test_a_config_that_is_not_of_the_weights_is_refused(tmp_path, untrained_run, name, value, reason):
    run = tmp_path / "run"
    shutil.copytree(untrained_run.path, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, name: value}))
    with pytest.raises(CheckpointError, match=rf"run '{run}' is damaged: its weights and .* do not fit \(.*{reason}"):
        load_run(run)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", b"[1]", r"is damaged: its config\.json holds a list"),
        ("config.json", b"{}", r"is damaged: .*config\.json lacks 'backbone'"),
        ("config.json", b"\xff{}", "cannot be read: 'utf-8'"),
        ("labels.txt", b"\xff", "cannot be read: 'utf-8'"),
    ],
)
def test_files_that_hold_something_else(tmp_path, untrained_run, file, content, reason):
    shutil.copytree(untrained_run.path, tmp_path / "run")
    (tmp_path / "run" / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"run '{tmp_path / 'run'}' {reason}"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize("load", [find_run, load_run])
def test_a_run_that_was_moved_is_looked_for(tmp_path, untrained_run, load, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nothing = r"'runs/a' is no run directory, it does not exist; nor is there a run beside it or under 'runs/'"
    with pytest.raises(CheckpointError, match=nothing):
        load("runs/a")
    (tmp_path / "runs").mkdir()
    for age, place in enumerate(("runs/b", "models/c")):
        shutil.copytree(untrained_run.path, tmp_path / place)
        os.utime(tmp_path / place / "model.safetensors", (1_700_000_000 - age,) * 2)
    with pytest.raises(CheckpointError, match=r"it does not exist; was it moved\? There is 'runs/b'\.$"):
        load("runs/a")
    with pytest.raises(CheckpointError, match=r"'models/c/x' is .* There is 'runs/b', 'models/c'\.$"):
        load("models/c/x")
    with pytest.raises(
        CheckpointError, match=r"'models' is .*, it has no config\.json; .* There is 'runs/b', 'models/c'"
    ):
        load("models")
    for number in range(6):
        shutil.copytree(untrained_run.path, tmp_path / "many" / str(number))
    with pytest.raises(CheckpointError, match=r"There is ('many/\d', ){5}\.\.\.\.$"):
        load("many")


def test_find_run_takes_the_newest_finished(tmp_path, untrained_run):
    with pytest.raises(CheckpointError, match="no finished run"):
        find_run(runs_dir=tmp_path)
    for age, (name, finished) in enumerate([("running", False), ("new", True), ("old", True)]):
        shutil.copytree(untrained_run.path, tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps({**config, "finished": finished}))
        stamp = 1_700_000_000 - age
        os.utime(tmp_path / name / "model.safetensors", (stamp, stamp))
    assert find_run(runs_dir=tmp_path) == tmp_path / "new"
    assert find_run(tmp_path / "running") == tmp_path / "running"


def test_preprocessing_is_part_of_the_run(untrained_run):
    config = json.loads((untrained_run.path / "config.json").read_text())
    assert np.allclose(config["preprocessing"]["mean"], untrained_run.model.preprocessing.mean)
