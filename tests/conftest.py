"""What all tests share: a small motion set, a tiny run trained on it, and the real clips where they are."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from c3dhash.cli import main
from c3dhash.config import ModelConfig, TrainConfig
from c3dhash.datasets.find import find_dataset
from c3dhash.datasets.samples import Dataset
from c3dhash.datasets.synth import make_motion_set
from c3dhash.models.hashnet import build_model
from c3dhash.models.runs import Run, load_run, save_run
from c3dhash.video.cache import FrameCache

settings.register_profile("c3dhash", deadline=None)  # how long an example takes says something of the machine alone
settings.load_profile("c3dhash")

# The smallest clips on which everything still happens.
TINY = TrainConfig(
    backbone="resnet3d10",
    num_frames=4,
    size=16,
    hash_length=16,
    epochs=2,
    classes_per_batch=3,
    clips_per_class=2,
    precision="fp32",
    device="cpu",
)


@pytest.fixture(autouse=True)
def restore_random_state():
    """Seed what is global, and put it back, so that no test depends on the one before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.fixture(scope="session")
def motion_dir(tmp_path_factory) -> Path:
    """Three motions: 4 train, 2 val, 3 gallery and 2 query videos of each."""
    directory = tmp_path_factory.mktemp("motion")
    return make_motion_set(
        directory, num_classes=3, videos_per_class={"train": 4, "val": 2, "gallery": 3, "query": 2}, seed=1
    )


@pytest.fixture(scope="session")
def motion(motion_dir) -> Dataset:
    return find_dataset(motion_dir)


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory, motion) -> Run:
    """A run of TINY's network with random weights: what needs codes, not good ones."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("runs") / "untrained"
    model = build_model(
        ModelConfig(backbone=TINY.backbone, num_frames=4, size=16, hash_length=16), num_classes=len(motion.classes)
    )
    save_run(
        path,
        model,
        config={"backbone": TINY.backbone, "shortcut": None, "hash_length": 16, "finished": True},
        labels=motion.classes,
    )
    return load_run(path)


@pytest.fixture
def no_cache(tmp_path) -> FrameCache:
    return FrameCache(tmp_path / "frames", max_bytes=0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips and codes; the test is skipped without it."""
    path = os.environ.get("C3DHASH_REAL_DATA")
    if not path:
        pytest.skip("C3DHASH_REAL_DATA does not point to real clips and codes")
    return Path(path)


@pytest.fixture(autouse=True)
def logger_as_it_was():
    """The command line sets the logger up for itself, and a process has other tests."""
    logger = logging.getLogger("c3dhash")
    handlers, level, propagate = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder: run("index", "db") -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("C3DHASH_OFFLINE", "1")  # nothing is fetched by accident

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return call
