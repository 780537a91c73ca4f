"""What changes from epoch to epoch. Saving and restoring is tested where runs are resumed, in test_start.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import TINY
from tiny import TinyBackbone

from c3dhash.models.hashnet import HashNet, build_model
from c3dhash.training.state import TrainingState


@pytest.mark.parametrize(
    ("rows", "best", "metric"),
    [
        ([{"val_mAP": 0.5, "val_accuracy": 0.1}, {"val_mAP": 0.4, "val_accuracy": 0.9}], 1, "val_mAP"),
        ([{"val_mAP": 0.5, "val_accuracy": 0.1}, {"val_mAP": 0.5, "val_accuracy": 0.2}], 2, "val_mAP"),
        ([{"val_accuracy": 0.2}, {"val_accuracy": 0.2}, {"val_accuracy": 0.1}], 2, "val_accuracy"),
        ([], None, None),
    ],
    ids=["mAP first", "accuracy among equals", "the later of equals", "before the first"],
)
def test_the_best_epoch(rows: list[dict[str, float]], best: int | None, metric: str | None) -> None:
    model = HashNet(TinyBackbone(), hash_length=4, num_classes=2)
    state = TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))
    bests = [number for number, row in enumerate(rows, 1) if state.end_epoch(row, may_be_best=True)]
    assert (bests[-1] if bests else None, state.best_metric, state.epoch) == (best, metric, len(rows))
    assert state.history == [{"epoch": number, **row} for number, row in enumerate(rows, 1)]


def test_an_epoch_that_was_not_validated_is_not_the_best() -> None:
    model = HashNet(TinyBackbone(), hash_length=4, num_classes=2)
    state = TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert not state.end_epoch({"loss": 1.0}, may_be_best=False)
    assert state.end_epoch({"loss": 1.0, "val_mAP": 0.5}, may_be_best=True)
    assert not state.end_epoch({"loss": 0.5}, may_be_best=False)
    assert (state.best_epoch, state.best_value, state.best_metric) == (2, [0.5], "val_mAP")


def steps(state: TrainingState, num: int, *, decay: float) -> list[torch.Tensor]:
    """Add 1 to a weight in each step; return it after each."""
    weight, seen = state.model.hash_head.weight, []
    for _ in range(num):
        with torch.no_grad():
            weight += 1
        state.update_average(decay)
        seen.append(weight.detach().clone())
    return seen


def test_the_average_of_the_weights() -> None:
    model = HashNet(TinyBackbone(), hash_length=4, num_classes=2)
    state = TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))
    seen = steps(state, 40, decay=0.5)
    expected = seen[0]
    for number, value in enumerate(seen, 1):
        kept = min(0.5, (1 + number) / (10 + number))
        expected = kept * expected + (1 - kept) * value
    torch.testing.assert_close(state.average["hash_head.weight"], expected)
    with state.averaged():
        torch.testing.assert_close(model.hash_head.weight.detach(), expected)
    assert torch.equal(model.hash_head.weight, seen[-1]), "the network goes on from where it was"
    with pytest.raises(KeyboardInterrupt), state.averaged():
        raise KeyboardInterrupt
    assert torch.equal(model.hash_head.weight, seen[-1])


def test_statistics_of_batch_norms_are_averaged_and_frozen_weights_are_not_kept_twice() -> None:
    model = build_model(replace(TINY, backbone="resnet3d10"), num_classes=2)
    trained = [p for name, p in model.named_parameters() if not name.startswith("backbone.stage1")]
    state = TrainingState(model, torch.optim.SGD(trained, lr=0.1))
    steps(state, 2, decay=0.9)
    assert "backbone.stem_bn.running_var" in state.average and "backbone.stem_bn.weight" in state.average
    assert not any("stage1" in name and name.endswith("conv1.weight") for name in state.average)
    assert not any(name.endswith("num_batches_tracked") for name in state.average)


def test_without_an_average_the_network_stays_itself() -> None:
    model = HashNet(TinyBackbone(), hash_length=4, num_classes=2)
    state = TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.hash_head.weight.detach().clone()
    with state.averaged():
        assert torch.equal(model.hash_head.weight, before)
