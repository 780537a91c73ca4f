"""Several processes train the network that one would: here by gloo, on real ones."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from processes import Processes
from safetensors.torch import save_file
from tiny import TinyBackbone
from torch import nn

from c3dhash.config import TrainConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.errors import UsageError
from c3dhash.models.backbones import build_backbone
from c3dhash.models.hashnet import HashNet, build_model
from c3dhash.models.weights import weights_metadata
from c3dhash.training import inputs as training_inputs
from c3dhash.training import log
from c3dhash.training.gradients import backward
from c3dhash.training.launch import VARIABLES, joined, launched
from c3dhash.training.losses import inverse_class_weights
from c3dhash.training.optimization import refuse_unused, resolve
from c3dhash.training.ranks import ALONE, OwnRows, Ranks
from c3dhash.training.step import batch_losses
from c3dhash.training.sync_norms import synchronize
from c3dhash.training.train import train_run
from c3dhash.training.videos import training_videos
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader

CONFIG = replace(TINY, backbone="tiny", mixup=0.4, ema=0.9)
TIMINGS = {"seconds", "clips_per_second"}


class Small(nn.Module):
    """A backbone with a batch norm, of clips of four numbers in two channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 8), nn.BatchNorm1d(2), nn.Linear(16, 24)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.norm(self.first(batch))).flatten(1))


def gradients(labels: torch.Tensor, part_size: int, has_norm: bool) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Return the losses of a batch, and the gradients and statistics after it, as all ranks together find them."""
    config = TrainConfig(backbone="tiny", hash_length=16, margin=5.0, center_weight=1.0, label_smoothing=0.1)
    with joined(replace(config, device="cpu"), run_dir=Path("none")) as ranks:
        torch.manual_seed(3)
        model = HashNet(TinyBackbone(), hash_length=16, num_classes=4)
        model.backbone, model.dropout, model.class_codes = Small(), 0.5, torch.sign(torch.randn(4, 16))
        batch = 3 * torch.randn(len(labels), 2, 4)
        weights = torch.from_numpy(inverse_class_weights(labels.numpy(), num_classes=4))
        model.train()
        model.backbone.norm.train(has_norm)
        if ranks.size > 1:
            synchronize(model, ranks)
        own = OwnRows(ranks, ranks.share(len(labels)), len(labels), seed=ranks.rank) if ranks.size > 1 else None
        losses = backward(
            model.backbone,
            lambda features: batch_losses(model.heads(features), labels, config, class_codes=model.class_codes,
                                          class_weights=weights),
            batch if own is None else own.own(batch), part_size=part_size, own=own,
        )  # fmt: skip
        ranks.sum_gradients(model)
        found = {name: value.grad for name, value in model.named_parameters()} | dict(model.named_buffers())
        return {name: float(value) for name, value in losses.items()}, found


SINGLE = torch.arange(23) % 4
SEVERAL = torch.rand(23, 4, generator=torch.Generator().manual_seed(1)) < 0.4


@pytest.mark.parametrize(
    ("labels", "part_size", "has_norm"),
    [(SINGLE, 23, True), (SEVERAL, 23, True), (SINGLE, 3, False)],
    ids=["one label", "several labels", "in parts"],
)
def test_losses_and_gradients_are_those_of_one_process(tmp_path, labels, part_size, has_norm):
    """Of 23 clips, which no number of ranks divides; with dropout before the heads, and batch norms of all clips."""
    ((losses, expected),) = Processes(1, gradients, labels, part_size, has_norm, folder=tmp_path).results()
    assert losses["triplet_loss"] > 1 and losses["class_loss"] > 0.5 and losses["center_loss"] > 0.3
    assert (expected["backbone.norm.num_batches_tracked"] == 1) == has_norm
    assert all(expected[f"{name}.weight"].abs().max() > 1e-3 for name in ("backbone.first", "class_head", "hash_head"))
    for size in (2, 4):
        for mine, found in Processes(size, gradients, labels, part_size, has_norm, folder=tmp_path).results():
            assert mine == pytest.approx(losses, rel=1e-5)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def train(dataset: Dataset, config: TrainConfig, run_dir: Path, resume: bool = False) -> list[int]:
    """Train, and return which videos this rank has encoded."""
    seen: list[Any] = []
    real, samples = training_inputs.encode_samples, {sample: n for n, sample in enumerate(dataset.samples)}

    def encode(encoder: Any, mine: list[Any], **options: Any) -> Any:
        seen.extend(samples[sample] for sample in mine)
        return real(encoder, mine, **options)

    training_inputs.encode_samples = encode
    log.plot_curves = lambda *_: None  # most of the time that so small a training takes
    cache = FrameCache(run_dir.parent / "frames", max_bytes=1 << 28)
    train_run(dataset, config, run_dir=run_dir, cache=cache, resume=resume)
    return seen


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run_dir / "last.pt", weights_only=True)
    return {**state["model"], **{f"average of {name}": value for name, value in state["average"].items()}}


def rows_of(run_dir: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in rows]


def assert_same_runs(mine: Path, other: Path) -> None:
    for row, expected in zip(rows_of(mine), rows_of(other), strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-5)
    weights, expected = weights_of(mine), weights_of(other)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_a_training_is_that_of_one_process(tmp_path, motion):
    """Clips are mixed across ranks; every video is encoded by one of them."""
    ((expected,)) = Processes(1, train, motion, CONFIG, tmp_path / "1", folder=tmp_path).results()
    assert len(expected) == 2 * (6 + 12), "val and gallery videos, in each epoch"
    for size in (2, 4):
        seen = Processes(size, train, motion, CONFIG, tmp_path / str(size), folder=tmp_path).results()
        assert (
            sorted(chain.from_iterable(seen)) == sorted(expected) and max(map(len, seen)) <= len(expected) // size + 2
        )
        assert_same_runs(tmp_path / str(size), tmp_path / "1")


def test_batch_norms_of_all_ranks(tmp_path, motion):
    """With sync_bn the training is that of one process, which it is not without."""
    config = replace(TINY, backbone="normed", sync_bn=True, flip=True)
    Processes(1, train, motion, config, tmp_path / "1", folder=tmp_path).results()
    Processes(2, train, motion, config, tmp_path / "2", folder=tmp_path).results()
    assert_same_runs(tmp_path / "2", tmp_path / "1")


def test_statistics_of_own_clips_are_averaged(tmp_path, motion):
    """Without sync_bn the run has the mean of the ranks' statistics, near those of one process but not the same."""
    config = replace(TINY, backbone="normed", epochs=1, learning_rate=0.0, flip=True)
    for size in (1, 2):
        Processes(size, train, motion, config, tmp_path / str(size), folder=tmp_path).results()
    mine, expected = (weights_of(tmp_path / str(size))["backbone.norm.running_mean"] for size in (2, 1))
    assert 0 < (mine - expected).abs().max() < 1e-4 < expected.abs().max(), "a mean of means, but of two batches each"


@pytest.mark.parametrize(("freeze_stages", "size"), [pytest.param(3, 4, marks=pytest.mark.slow), (4, 2)])
def test_frozen_stages_are_divided_by_videos(tmp_path, motion, freeze_stages, size):
    """Each rank keeps its videos; of a batch of four it has as many rows as there are of these, or none."""
    torch.manual_seed(5)
    backbone = build_backbone("resnet3d10", num_frames=4, size=16)
    tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    save_file(tensors, tmp_path / "w.safetensors", metadata=weights_metadata(backbone))
    config = replace(
        TINY, weights=str(tmp_path / "w.safetensors"), freeze_stages=freeze_stages, views=1, init="lsh",
        classes_per_batch=2, epochs=1,
    )  # fmt: skip
    for number in (1, size):
        Processes(number, train, motion, config, tmp_path / str(number), folder=tmp_path).results()
    assert_same_runs(tmp_path / str(size), tmp_path / "1")


def test_going_on_with_another_number_of_ranks(tmp_path, motion):
    config = replace(CONFIG, epochs=3)
    Processes(1, train, motion, config, tmp_path / "whole", folder=tmp_path).results()
    stopped = Processes(2, stop_after, motion, config, tmp_path / "run", 1, folder=tmp_path)
    assert 0 not in stopped.exit_codes() and len(rows_of(tmp_path / "run")) == 1
    Processes(4, train, motion, config, tmp_path / "run", True, folder=tmp_path).results()
    assert_same_runs(tmp_path / "run", tmp_path / "whole")


def test_what_cannot_be_divided_or_synchronized_is_refused(tmp_path, motion):
    with pytest.raises(UsageError, match=r"leave out --sync-bn or --micro-batch"):
        replace(TINY, sync_bn=True, micro_batch=2)
    for settings in ({"freeze_bn": True}, {"weights": "some", "freeze_stages": 0}, {"freeze_stages": 3}):
        given = replace(TINY, sync_bn=True, **settings)
        with pytest.raises(UsageError, match=r"these keep their statistics: leave out --sync-bn"):
            refuse_unused(given, resolve(given, num_stages=4), num_stages=4)
    config = resolve(replace(TINY, freeze_stages=4), num_stages=4)
    model = build_model(config, num_classes=3)
    reader = ClipReader.of_network(
        model.clip_size, model.preprocessing, FrameCache(tmp_path / "frames", max_bytes=1 << 28)
    )
    videos = training_videos(motion, reader, config)
    with pytest.raises(UsageError, match=r"18 videos cannot be divided among 19 processes: start fewer"):
        training_inputs.keep_stages(model, reader, videos, config, run_dir=tmp_path, ranks=Ranks(0, 19))


def fetch(path: Path) -> bool:
    """Write a file where it is not there yet, slowly; return whether it was."""
    with joined(replace(CONFIG, device="cpu"), run_dir=path) as ranks, ranks.one_on_each_machine_first():
        is_there = path.exists()
        time.sleep(0.3)
        path.write_text("weights")
        return is_there


def test_weights_are_fetched_once_on_a_machine(tmp_path):
    assert Processes(3, fetch, tmp_path / "weights", folder=tmp_path).results() == [False, True, True]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ALONE),
        ({"WORLD_SIZE": "4"}, ALONE),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, Ranks(3, 4, 1, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, ALONE),
    ],
)
def test_the_environment_says_who_this_is(monkeypatch, variables, expected):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched() == expected


@pytest.mark.parametrize("variables", [{"RANK": "4", "WORLD_SIZE": "4"}, {"RANK": "one", "WORLD_SIZE": "4"}])
def test_an_environment_of_no_launcher_is_refused(monkeypatch, variables):
    for name, value in {"MASTER_ADDR": "127.0.0.1", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"RANK={variables['RANK']}, WORLD_SIZE=4.* is not what torchrun makes"):
        launched()


def stop_after(dataset: Dataset, config: TrainConfig, run_dir: Path, epochs: int, resume: bool = False) -> None:
    """Train until some epoch is written."""
    from c3dhash.training import train as loop

    real = loop.train_epoch

    def train_epoch(state: Any, *arguments: Any, **options: Any) -> Any:
        if state.epoch == epochs:
            raise KeyboardInterrupt
        return real(state, *arguments, **options)

    loop.train_epoch = train_epoch
    train(dataset, config, run_dir, resume)
