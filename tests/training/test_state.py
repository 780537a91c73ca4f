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
    bests = [number for number, row in enumerate(rows, 1) if state.end_epoch(row)]
    assert (bests[-1] if bests else None, state.best_metric, state.epoch) == (best, metric, len(rows))
    assert state.history == [{"epoch": number, **row} for number, row in enumerate(rows, 1)]
