"""How PyTorch computes while a training runs. What CUDA refuses is shown with an operation that a CPU refuses, too."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY
from tiny import TinyBackbone

from c3dhash.datasets.samples import Dataset
from c3dhash.errors import TrainingError
from c3dhash.models import backbones
from c3dhash.training.computing import computing
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache


@pytest.mark.parametrize(
    ("device", "deterministic", "benchmark"),
    [("cpu", False, False), ("cuda", False, True), ("cuda", True, False), ("cpu", True, False)],
)
def test_pytorch_is_as_before_afterwards(
    device: str, deterministic: bool, benchmark: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    def settings() -> tuple[bool, bool, str | None]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        )

    before = settings()
    with pytest.raises(KeyboardInterrupt), computing(torch.device(device), deterministic=deterministic):
        assert settings() == (deterministic, benchmark, ":4096:8" if deterministic else None)
        raise KeyboardInterrupt
    assert settings() == before


class PutBackbone(TinyBackbone):
    """Uses an operation that PyTorch cannot compute the same each time."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        feature = super().forward(clips)
        feature.detach().clone().put_(torch.tensor([0]), torch.tensor([1.0]))
        return feature


def test_what_cannot_be_the_same_each_time_is_refused(
    motion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(backbones.BACKBONES, "tiny", PutBackbone)
    config = replace(TINY, backbone="tiny", epochs=1, deterministic=True)
    cache = FrameCache(tmp_path / "frames", max_bytes=1 << 28)
    with pytest.raises(TrainingError, match="put_ of this network cannot be computed the same each time on cpu: leave"):
        train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    monkeypatch.setitem(backbones.BACKBONES, "tiny", TinyBackbone)
    train_run(motion, config, run_dir=tmp_path / "other", cache=cache)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes$"), computing(torch.device("cpu"), deterministic=True):
        raise RuntimeError("shapes")
