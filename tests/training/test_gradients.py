"""The gradient of a batch in parts is that of the whole."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from c3dhash import memory
from c3dhash.config import TrainConfig
from c3dhash.models.hashnet import build_model
from c3dhash.training import gradients
from c3dhash.training.batches import balanced_batches
from c3dhash.training.gradients import backward, fitting_rows
from c3dhash.training.step import batch_losses


class Reader(nn.Module):
    """Two layers; rows are left out at random between them, as in stochastic depth."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.num_rows = nn.Linear(6, 32), nn.Linear(32, 512), []

    def forward(self, batch: Tensor) -> Tensor:
        self.num_rows.append((len(batch), torch.is_grad_enabled()))
        kept = torch.stack([torch.rand(1) for _ in batch]) < 0.7  # the same numbers in parts
        return self.second(torch.relu(self.first(batch)) * kept)


@pytest.fixture
def batch():
    labels = np.arange(24) % 4
    rows = balanced_batches(labels, classes_per_batch=4, clips_per_class=5, seed=(0,))[0]
    return torch.randn(24, 6)[rows], torch.from_numpy(labels[rows])


def gradient_of(batch, *, part_size: int) -> tuple[dict[str, float], list[Tensor], list[tuple[int, bool]]]:
    """Return losses, gradients, and how many rows were read at a time, with a graph or without."""
    rows, labels = batch
    config = TrainConfig(backbone="resnet3d10", margin=14.0, center_weight=1.0, label_smoothing=0.1)
    torch.manual_seed(3)
    heads = build_model(config, num_classes=4)
    heads.dropout, heads.class_codes = 0.5, torch.sign(torch.randn(4, 48))
    heads.train()
    reader = Reader()
    losses = backward(
        reader,
        lambda features: batch_losses(heads.heads(features), labels, config, class_codes=heads.class_codes),
        rows,
        part_size=part_size,
    )
    found = [p.grad for module in (reader, heads.hash_head, heads.class_head) for p in module.parameters()]
    return {name: value.item() for name, value in losses.items()}, found, reader.num_rows


@pytest.mark.parametrize("part_size", [1, 7, 19])
def test_parts_give_the_gradient_of_the_whole(batch, part_size):
    losses, whole, read = gradient_of(batch, part_size=20)
    assert read == [(20, True)]
    in_parts, parts, read = gradient_of(batch, part_size=part_size)
    num_parts = -(-20 // part_size)
    assert [grad for _, grad in read] == [False] * num_parts + [True] * num_parts
    assert max(rows for rows, _ in read) <= part_size
    assert sum(rows for rows, _ in read) == 40
    assert in_parts == pytest.approx(losses, rel=1e-4)
    assert sum(float(gradient.abs().sum()) for gradient in whole[:4]) > 0
    for mine, theirs in zip(parts, whole, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_what_is_drawn_next_is_new(batch):
    """The second pass draws again what the first drew, but not the losses' draws after it."""
    seen: list[Tensor] = []

    def read(part: Tensor) -> Tensor:
        seen.append(torch.rand(1))
        return part * torch.ones(1, requires_grad=True)

    def losses_of(features: Tensor) -> dict[str, Tensor]:
        seen.append(torch.rand(1))
        return {"loss": features.sum()}

    backward(read, losses_of, batch[0], part_size=10)
    assert len(seen) == 5
    assert len({float(draw) for draw in seen[:3]}) == 3
    assert seen[3:] == seen[:2]
    assert float(torch.rand(1)) not in [float(draw) for draw in seen]


def test_rows_fit_by_the_memory_of_the_machine(monkeypatch):
    reader = nn.Sequential(nn.Linear(6, 1000), nn.ReLU(), nn.Linear(1000, 4))
    row_bytes = 4 * (6 + 1000)  # what the layers read; the output of the ReLU is the input of the last
    monkeypatch.setattr(gradients, "total_memory_bytes", lambda: 4 * 100 * row_bytes)
    assert fitting_rows(reader, torch.randn(2, 6)) == 100
    monkeypatch.setattr(gradients, "total_memory_bytes", lambda: row_bytes)
    assert fitting_rows(reader, torch.randn(2, 6)) == 1
    frozen = copy.deepcopy(reader).requires_grad_(False)
    assert fitting_rows(frozen, torch.randn(2, 6)) is None


def test_total_memory_is_at_most_the_limit_of_a_container(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "LIMITS", ())
    machine = memory.total_memory_bytes()
    assert machine > 1 << 28
    for text, expected in (("max", machine), ("1048576", 1 << 20), (str(1 << 62), machine)):
        (tmp_path / "memory.max").write_text(text + "\n")
        monkeypatch.setattr(memory, "LIMITS", (tmp_path / "missing", tmp_path / "memory.max"))
        assert memory.total_memory_bytes() == expected
    monkeypatch.delattr("os.sysconf")
    monkeypatch.setattr(memory, "LIMITS", ())
    assert memory.total_memory_bytes() == memory.UNKNOWN_BYTES
