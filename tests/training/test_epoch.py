"""One pass over the training videos, here on features: what it reads of the device, and when it stops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from tiny import TinyBackbone
from torch.utils._python_dispatch import TorchDispatchMode

from c3dhash.config import TrainConfig
from c3dhash.errors import TrainingError
from c3dhash.evaluation.accuracy import label_average_precision
from c3dhash.models.hashnet import HashNet
from c3dhash.training import epoch, losses
from c3dhash.training.epoch import READ_STEPS, train_epoch
from c3dhash.training.inputs import KeptStages
from c3dhash.training.optimization import make_optimizer, resolve
from c3dhash.training.state import TrainingState


def begin(features: np.ndarray, config: TrainConfig, *, num_classes: int) -> tuple[TrainingState, KeptStages]:
    model = HashNet(TinyBackbone(), hash_length=config.hash_length, num_classes=num_classes)
    inputs = KeptStages(model, features, [1] * len(features), replace(config, freeze_stages=1))
    return TrainingState(model, make_optimizer(model, config)), inputs


def features_of(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make a feature of each row of truth values: a sum of random vectors, one a class, and noise."""
    vectors = np.random.default_rng(99).standard_normal((labels.shape[1], TinyBackbone.feature_dim))
    noise = rng.standard_normal((len(labels), TinyBackbone.feature_dim)) / 2
    return np.maximum(labels @ vectors + noise, 0).astype(np.float32)


class Reads(TorchDispatchMode):
    """Counts how often a number is read out of a tensor: on CUDA, Python waits for the device there."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_no_number_is_read_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_search_width", len)  # as on CUDA
    labels, config = np.arange(300) % 3, resolve(replace(TINY, epochs=1))
    state, inputs = begin(np.random.default_rng(0).random((300, 24), np.float32), config, num_classes=3)
    reads = []
    real = epoch._Means.read
    monkeypatch.setattr(epoch._Means, "read", lambda means: reads.append(means._num_steps) or real(means))
    with Reads() as mode:
        row = train_epoch(state, inputs, labels, config)
        assert mode.count == 0
        torch.ones(1).item()
        assert mode.count == 1
    assert reads == [1, 1 + READ_STEPS, 1 + 2 * READ_STEPS, 50]
    assert set(row) == {"learning_rate", "loss", "triplet_loss", "active_share", "class_loss", "accuracy",
                        "gradient_norm", "seconds", "clips_per_second"}  # fmt: skip


def test_the_means_are_those_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, config = np.arange(24) % 3, resolve(replace(TINY, epochs=1))
    state, inputs = begin(np.random.default_rng(0).random((24, 24), np.float32), config, num_classes=3)
    seen: list[float] = []
    real = epoch.batch_losses

    def remember(*arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
        values = real(*arguments, **options)
        seen.append(values["class_loss"].item())
        return values

    monkeypatch.setattr(epoch, "batch_losses", remember)
    assert train_epoch(state, inputs, labels, config)["class_loss"] == sum(seen) / 4


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("loss", lambda loss: loss * float("inf")),
        ("gradient norm", lambda loss: loss + (loss * 0).sqrt()),  # a finite loss, whose gradient is 0 * inf
    ],
)
@pytest.mark.parametrize("step", [1, 4], ids=["in the first step", "in the last step"])
def test_what_is_not_finite_stops_the_epoch(name: str, spoil: Any, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, config = np.arange(24) % 3, resolve(replace(TINY, epochs=1))
    state, inputs = begin(np.random.default_rng(0).random((24, 24), np.float32), config, num_classes=3)
    real, steps = epoch.batch_losses, []

    def spoiled(*arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
        values = real(*arguments, **options)
        steps.append(0)
        return {**values, "loss": spoil(values["loss"])} if len(steps) == step else values

    monkeypatch.setattr(epoch, "batch_losses", spoiled)
    with pytest.raises(TrainingError, match=rf"the {name} is (nan|inf) in epoch 1: try a learning_rate below 0\.07"):
        train_epoch(state, inputs, labels, config)
    assert len(steps) == step
    assert state.epoch == 0


def test_many_labels_are_learned_beside_the_codes_with_the_defaults() -> None:
    # Twenty classes, a video of one or two. As a mean over the classes the class loss gives a mean AP of 0.17 here.
    rng = np.random.default_rng(0)
    labels = np.eye(20, dtype=bool)[rng.integers(20, size=400)] | (rng.random((400, 20)) < 0.3 / 20)
    features, config = features_of(labels, rng), resolve(TrainConfig(epochs=10, device="cpu"))
    state, inputs = begin(features[:300], config, num_classes=20)
    for _ in range(config.epochs):
        state.end_epoch(train_epoch(state, inputs, labels[:300], config), may_be_best=True)
    scores = inputs.model.heads(torch.from_numpy(features[300:])).logits
    assert np.nanmean(label_average_precision(scores.detach().numpy(), labels[300:])) > 0.8
