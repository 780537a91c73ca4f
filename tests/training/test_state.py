"""What changes from epoch to epoch. Saving and restoring is tested where runs are resumed, in test_start.py."""

from __future__ import annotations

import pytest
import torch
from tiny import TinyBackbone

from c3dhash.models.hashnet import HashNet
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
