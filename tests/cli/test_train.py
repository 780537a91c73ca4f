"""c3dhash train: what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import TinyBackbone

from c3dhash import config
from c3dhash.datasets.synth import make_motion_set
from c3dhash.models.backbones import BACKBONES


@pytest.mark.parametrize(("task", "metric"), [("classify", "accuracy"), ("joint", "mAP")])
def test_the_best_value_has_its_name(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, task: str, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_videos = {"train": 2, "val": 1, "query": 1}
    make_motion_set(tmp_path / "videos", num_classes=2, videos_per_class=num_videos, seed=0)
    monkeypatch.setitem(BACKBONES, "tiny", TinyBackbone)
    code, out, err = run(
        "train", "--data", "videos", "--out", "run", "--backbone", "tiny", "--num-frames", "4", "--size", "16",
        "--epochs", "1", "--task", task, "--classes-per-batch", "2", "--clips-per-class", "2", "--device", "cpu",
        "--precision", "fp32",
    )  # fmt: skip
    assert code == 0, err
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["best_metric"] == f"val_{metric}"
    assert out == f"Best epoch 1 of 1, val {metric} {saved['best_value']:.3f}: run\n"


@pytest.mark.parametrize(("num_cores", "num_workers"), [(1, 2), (2, 2), (6, 6), (64, 16), (None, 2)])
def test_workers_follow_the_cores(num_cores: int | None, num_workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.os, "process_cpu_count", lambda: num_cores, raising=False)
    assert config.default_workers() == num_workers
    monkeypatch.delattr(config.os, "process_cpu_count")
    monkeypatch.setattr(config.os, "sched_getaffinity", lambda process: range(num_cores or 0), raising=False)
    assert config.default_workers() == num_workers
    monkeypatch.delattr(config.os, "sched_getaffinity")
    monkeypatch.setattr(config.os, "cpu_count", lambda: num_cores)
    assert config.default_workers() == num_workers
    for each in (config.TrainConfig(), config.EncodeConfig()):
        assert 2 <= each.workers <= 16
