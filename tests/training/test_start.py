"""A resumed training is the uninterrupted one: its settings, its pixels, its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file
from tiny import NormedBackbone, TinyBackbone

from c3dhash.datasets.samples import Dataset
from c3dhash.errors import TrainingError, UsageError
from c3dhash.models import backbones
from c3dhash.models.backbones import build_backbone
from c3dhash.models.backbones.shifts import NUM_SHIFTS
from c3dhash.models.runs import load_run
from c3dhash.models.weights import weights_metadata
from c3dhash.records import Preprocessing
from c3dhash.training import train
from c3dhash.training.start import begin, can_resume
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache

CONFIG = replace(TINY, backbone="tiny", epochs=4)
OTHER_PIXELS = Preprocessing("BGR", 1 / 127.5, (1.0, 0.9, 1.1), (0.7, 1.0, 1.2))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbones.BACKBONES, "tiny", TinyBackbone)
    monkeypatch.setitem(backbones.BACKBONES, "normed", NormedBackbone)


@pytest.fixture
def cache(tmp_path: Path) -> FrameCache:
    return FrameCache(tmp_path / "frames", max_bytes=1 << 28)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights whose pixels are not those that the backbone reads by default."""
    backbone = build_backbone("tiny", num_frames=CONFIG.num_frames, size=CONFIG.size)
    backbone.preprocessing = OTHER_PIXELS
    path = tmp_path / "tiny.safetensors"
    save_file(dict(backbone.state_dict()), path, metadata=weights_metadata(backbone))
    return path


@contextmanager
def interrupted_in(epoch: int) -> Iterator[None]:
    """Let a training be stopped after the steps of an epoch, before anything is written of it."""
    real, calls = train.validate, []

    def validate(*arguments: Any) -> Any:
        calls.append(0)
        if len(calls) == epoch:
            raise KeyboardInterrupt
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "validate", validate)
        yield


def numbers(run_dir: Path) -> list[dict[str, float]]:
    """What metrics.jsonl says of each epoch, but for the time it took."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if name not in ("seconds", "clips_per_second")} for row in rows]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"freeze": True, "views": 2, "init": "lsh", "refit": True},
        {"optimizer": "adamw", "task": "classify"},
        {"weights": "none", "backbone": "normed", "epochs": 3},
        {
            "weights": "none",
            "backbone": "normed",
            "epochs": 4,
            "ema": 0.9,
            "mixup": 0.3,
            "rand_augment": 9,
            "micro_batch": 2,
            "step_epochs": "2,3",
            "layer_decay": 0.7,
            "sampling": "videos",
            "class_weights": True,
        },
    ],
    ids=["joint", "frozen", "classify", "random with batch norm", "all that may be turned"],
)
def test_a_resumed_run_is_the_uninterrupted_one(
    motion: Dataset, tmp_path: Path, cache: FrameCache, weights: Path, settings: dict[str, Any]
) -> None:
    config = replace(CONFIG, **{"weights": str(weights), **settings})
    whole = train_run(motion, config, run_dir=tmp_path / "whole", cache=cache)
    with interrupted_in(epoch=3):
        train_run(motion, config, run_dir=tmp_path / "resumed", cache=cache)
    torch.manual_seed(99)  # what else the process did must not matter
    resumed = train_run(motion, config, run_dir=tmp_path / "resumed", cache=cache, resume=True)
    assert json.loads((resumed / "config.json").read_text()) == json.loads((whole / "config.json").read_text())
    assert numbers(resumed) == numbers(whole)
    runs = [load_run(path) for path in (whole, resumed)]
    assert runs[0].fingerprint == runs[1].fingerprint
    expected = NormedBackbone.preprocessing if settings.get("weights") == "none" else OTHER_PIXELS
    assert [run.model.preprocessing for run in runs] == [expected, expected]
    states = [torch.load(path / "last.pt", weights_only=True)["model"] for path in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_interrupted_in_the_first_epoch(motion: Dataset, tmp_path: Path, cache: FrameCache, weights: Path) -> None:
    config = replace(CONFIG, weights=str(weights))
    with interrupted_in(epoch=1):
        train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    assert can_resume(tmp_path / "run")
    weights.unlink()  # what it began with is in the run by now
    assert len(numbers(train_run(motion, config, run_dir=tmp_path / "run", cache=cache, resume=True))) == 4


def test_its_own_settings_hold(motion: Dataset, tmp_path: Path, cache: FrameCache) -> None:
    config = replace(CONFIG, margin=3.0, learning_rate=0.02, epochs=1, seed=7)
    run_dir = train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    with pytest.raises(UsageError, match=r"margin \(14\.0\) is not what '.*run' began with \(3\.0\): resume it with"):
        train_run(motion, replace(config, margin=14.0), run_dir=run_dir, cache=cache, resume=True)
    open_settings = replace(config, margin=None, learning_rate=None, epochs=2, workers=1)
    train_run(motion, open_settings, run_dir=run_dir, cache=cache, resume=True)
    saved = load_run(run_dir).config
    assert (saved["margin"], saved["learning_rate"], len(numbers(run_dir))) == (3.0, 0.02, 2)


def test_nothing_to_resume(motion: Dataset, tmp_path: Path, cache: FrameCache) -> None:
    assert not can_resume(tmp_path)
    with pytest.raises(TrainingError, match=r"nothing.*last\.pt"):
        train_run(motion, CONFIG, run_dir=tmp_path / "nothing", cache=cache, resume=True)


def test_other_videos(motion: Dataset, tmp_path: Path, cache: FrameCache) -> None:
    run_dir = train_run(motion, replace(CONFIG, epochs=1), run_dir=tmp_path / "run", cache=cache)
    fewer = Dataset(motion.directory, motion.format, motion.classes, motion.samples[1:-20] + motion.samples[-9:])
    with pytest.raises(TrainingError, match="18 training and val videos"):
        train_run(fewer, CONFIG, run_dir=run_dir, cache=cache, resume=True)


@pytest.mark.parametrize("num_done", [1, 3])
def test_a_refit_that_was_interrupted_goes_on(
    motion: Dataset, tmp_path: Path, cache: FrameCache, weights: Path, num_done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = tuple(replace(s, split="train") if s.split == "val" else s for s in motion.samples)
    dataset = Dataset(motion.directory, motion.format, motion.classes, samples)
    config = replace(CONFIG, weights=str(weights), freeze=True, views=1, val_share=0.34)
    whole = train_run(dataset, config, run_dir=tmp_path / "whole", cache=cache)
    rows = numbers(whole)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 1, 2, 3, 4]
    assert [row.get("refit") for row in rows] == [None] * 4 + [1] * 4
    assert load_run(whole).config["is_refit"]
    real, calls = train.train_epoch, []

    def stop_in_refit(*arguments: Any, **options: Any) -> dict[str, float]:
        calls.append(0)
        if len(calls) == 4 + num_done:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(train, "train_epoch", stop_in_refit)
    with pytest.raises(KeyboardInterrupt):
        train_run(dataset, config, run_dir=tmp_path / "resumed", cache=cache)
    monkeypatch.setattr(train, "train_epoch", real)
    resumed = train_run(dataset, config, run_dir=tmp_path / "resumed", cache=cache, resume=True)
    assert numbers(resumed) == rows
    assert load_run(resumed).fingerprint == load_run(whole).fingerprint


@pytest.mark.parametrize("freeze", [True, False])
def test_a_tsn_with_weights_says_how_frames_change(
    motion: Dataset, tmp_path: Path, cache: FrameCache, freeze: bool
) -> None:
    backbone = build_backbone("tsn_mobilenet_v2", num_frames=CONFIG.num_frames, size=CONFIG.size)
    path = tmp_path / "mobilenet.pth"
    torch.save(backbone.state_dict(), path)
    config = replace(
        CONFIG,
        backbone="tsn_mobilenet_v2",
        epochs=2,
        weights=str(path),
        freeze=freeze,
        freeze_stages=None if freeze else 0,
    )
    with interrupted_in(2):
        train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    run_dir = train_run(motion, config, run_dir=tmp_path / "run", cache=cache, resume=True)
    run = load_run(run_dir)
    assert (run.config["has_changes"], run.config["has_motion"], run.config["weights"]) == (True, freeze, str(path))
    assert run.model.hash_head is not None and run.model.hash_head.in_features == 2 * 1280 + freeze * NUM_SHIFTS
    assert run.model.hash_head.weight[:, 1280:].any()
    assert (run.config["weight_decay"] == pytest.approx(30)) is freeze
    without = train_run(motion, replace(config, weights="none", freeze=False), run_dir=tmp_path / "b", cache=cache)
    config = load_run(without).config
    assert config["has_changes"] is config["has_motion"] is False and config["weights"] is None


@pytest.mark.parametrize("lacks", ["config.json", "last.pt"])
def test_a_training_of_before_the_losses_changed_is_not_resumed(
    motion: Dataset, tmp_path: Path, cache: FrameCache, lacks: str
) -> None:
    run_dir = train_run(motion, replace(CONFIG, epochs=1), run_dir=tmp_path / "run", cache=cache)
    if lacks == "config.json":
        content = json.loads((run_dir / lacks).read_text())
        del content["freeze_stages"]
        (run_dir / lacks).write_text(json.dumps(content))
    else:
        saved = torch.load(run_dir / lacks, weights_only=True)
        saved["losses"] -= 1
        torch.save(saved, run_dir / lacks)
    with pytest.raises(TrainingError, match=r"run' was begun by a version of c3dhash with other losses"):
        train_run(motion, CONFIG, run_dir=run_dir, cache=cache, resume=True)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("last.pt", b""),
        ("last.pt", b"garbage"),
        ("last.pt", b"PK\x03\x04 cut"),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"preprocessing": {"mean": [1]}}'),
    ],
)
def test_a_damaged_run_is_refused(
    motion: Dataset, tmp_path: Path, cache: FrameCache, file: str, content: bytes
) -> None:
    run_dir = train_run(motion, replace(CONFIG, epochs=1), run_dir=tmp_path / "run", cache=cache)
    (run_dir / file).write_bytes(content)
    with pytest.raises(TrainingError, match=rf"{file}' is damaged"):
        train_run(motion, CONFIG, run_dir=run_dir, cache=cache, resume=True)


@pytest.mark.parametrize(
    ("names", "flips"),
    [
        (("walk", "bright", "copyright", "cleft"), True),
        (("turn_left", "walk"), False),
        (("TurnRight", "walk"), False),
        (("Pushing something from LEFT to right",), False),
        (("left",), False),
        (("spin counterclockwise",), False),
        (("handshake", "Leftover food"), True),
    ],
)
def test_classes_that_name_a_side_are_not_mirrored(names: tuple[str, ...], flips: bool, caplog: Any) -> None:
    with caplog.at_level("INFO", logger="c3dhash"):
        assert begin(CONFIG, classes=names)[0].flip is flips
    assert ("clips are not mirrored" in caplog.text) is not flips
    assert begin(replace(CONFIG, flip=True), classes=names)[0].flip is True
    assert begin(replace(CONFIG, flip=False), classes=names)[0].flip is False


@pytest.mark.parametrize(("first", "is_refused"), [(3, True), (4, False)])
def test_crops_behind_frozen_stages_are_not_gone_on_with(
    motion: Dataset, tmp_path: Path, cache: FrameCache, first: int, is_refused: bool
) -> None:
    """An earlier version kept crops where whole pictures are kept now."""
    torch.manual_seed(5)
    built = build_backbone("resnet3d10", num_frames=4, size=16)
    tensors = {name: tensor.contiguous() for name, tensor in built.state_dict().items()}
    save_file(tensors, tmp_path / "w.safetensors", metadata=weights_metadata(built))
    config = replace(
        CONFIG, backbone="resnet3d10", weights=str(tmp_path / "w.safetensors"), freeze_stages=first, views=1, epochs=3
    )
    with interrupted_in(epoch=2):
        train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    del content["step_epochs"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(content))
    if is_refused:
        with pytest.raises(TrainingError, match="with other losses or features"):
            train_run(motion, config, run_dir=tmp_path / "run", cache=cache, resume=True)
    else:
        train_run(motion, config, run_dir=tmp_path / "run", cache=cache, resume=True)
