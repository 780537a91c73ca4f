"""Batch norms of published weights, which training must not take apart."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file
from tiny import NormedBackbone
from torch import nn

from c3dhash.models.backbones import BACKBONES
from c3dhash.models.batch_norm import is_folded, training_mode
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import load_run
from c3dhash.models.weights import load_backbone, weights_metadata
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache

CLIPS = (8, 3, 4, 32, 32)


@pytest.fixture
def trained(monkeypatch) -> NormedBackbone:
    """A network whose norms have statistics of clips, and whose features are sparse, as those of trained ones are."""
    monkeypatch.setitem(BACKBONES, "normed", NormedBackbone)
    backbone = NormedBackbone()
    for norm in (backbone.norm, backbone.second_norm):
        norm.momentum = None  # the mean over all that it sees
        nn.init.constant_(norm.weight, 5)
        nn.init.constant_(norm.bias, -5)  # what is a standard deviation above the mean passes the ReLU
    with torch.no_grad():
        for _ in range(4):
            backbone.train()(torch.randn(CLIPS))
    for norm in (backbone.norm, backbone.second_norm):
        norm.momentum = 0.1
    return backbone.eval()


def fold(backbone: NormedBackbone) -> NormedBackbone:
    """Put each norm into the convolution before it, as exporters do; only the shift stays in the norm."""
    backbone = copy.deepcopy(backbone)
    for conv, norm in ((backbone.conv, backbone.norm), (backbone.second, backbone.second_norm)):
        scale = norm.weight.data / (norm.running_var + norm.eps).sqrt()
        conv.weight.data *= scale[:, None, None, None, None]
        norm.bias.data += (conv.bias.data - norm.running_mean) * scale
        conv.bias.data.zero_()
        norm.weight.data.fill_(1)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
    return backbone


def test_folded_norms_are_told_by_their_statistics(trained):
    folded = fold(trained)
    clips = torch.randn(CLIPS)
    torch.testing.assert_close(folded(clips), trained(clips), rtol=1e-4, atol=1e-5)
    assert [is_folded(norm) for norm in (trained.norm, trained.second_norm)] == [False, False]
    assert [is_folded(norm) for norm in (folded.norm, folded.second_norm)] == [True, True]
    new = NormedBackbone()
    assert not is_folded(new.norm), "a network with random weights has the same statistics"
    assert not is_folded(nn.BatchNorm3d(3, affine=False))
    assert not is_folded(nn.BatchNorm3d(3, track_running_stats=False))


def test_in_training_mode_the_batch_takes_a_folded_network_apart(trained):
    """The fault, and that it does not occur: features stay what the weights make of the clips."""
    folded, clips = fold(trained), torch.randn(CLIPS)
    expected = folded(clips)
    plain = copy.deepcopy(folded).train()(clips)
    assert plain.mean() < 0.01 * expected.mean(), "norms of the batch, under shifts for five times as much"
    training_mode(folded, freeze_bn=False)
    assert folded.training and not folded.norm.training
    assert torch.equal(folded(clips), expected)
    assert folded.norm.bias.requires_grad and folded.norm.weight.requires_grad


@pytest.mark.parametrize("freeze_bn", [True, False])
def test_norms_with_statistics_keep_them_where_that_is_asked_for(trained, freeze_bn):
    clips, expected = torch.randn(CLIPS), trained.norm.running_mean.clone()
    training_mode(trained, freeze_bn=freeze_bn)
    trained(clips)
    assert torch.equal(trained.norm.running_mean, expected) == freeze_bn
    assert (trained.norm.training, trained.training) == (not freeze_bn, True)


def test_new_networks_learn_their_statistics():
    new = NormedBackbone()
    training_mode(new, freeze_bn=False)
    for _ in range(2):  # after the first step the biases are no longer zero, nor are the statistics
        new(torch.randn(CLIPS)).sum().backward()
        with torch.no_grad():
            new.norm.bias -= 0.1
        training_mode(new, freeze_bn=False)
        assert new.norm.training


def test_a_run_from_folded_weights_learns_and_stays_folded(trained, motion, tmp_path):
    folded, path = fold(trained), tmp_path / "folded.safetensors"
    save_file(folded.state_dict(), path, metadata=weights_metadata(folded))
    config = replace(TINY, backbone="normed", weights=str(path), size=32, epochs=3, freeze_bn=False, freeze_stages=0)
    run_dir = train_run(motion, config, run_dir=tmp_path / "run", cache=FrameCache(tmp_path / "f", max_bytes=1 << 26))
    for backbone in (load_run(run_dir).model.backbone, load_backbone(run_dir)):
        assert is_folded(backbone.norm) and is_folded(backbone.second_norm)
        assert not torch.equal(backbone.norm.bias, folded.norm.bias), "the shift is learnt"
        model = HashNet(backbone, hash_length=8, num_classes=2)
        training_mode(model, freeze_bn=False)
        assert not model.backbone.norm.training


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"freeze_bn": False}, False),
        ({"classes_per_batch": 3, "clips_per_class": 22}, False),  # 66 clips
        ({"weights": "none"}, False),
        ({"weights": "none", "freeze_bn": True}, True),
    ],
)
def test_with_weights_and_small_batches_statistics_are_kept(trained, motion, tmp_path, settings, expected):
    path = tmp_path / "weights.safetensors"
    save_file(trained.state_dict(), path, metadata=weights_metadata(trained))
    whole = {"backbone": "normed", "weights": str(path), "size": 32, "epochs": 1, "freeze_stages": 0}
    config = replace(TINY, **{**whole, **settings})
    run_dir = train_run(motion, config, run_dir=tmp_path / "run", cache=FrameCache(tmp_path / "f", max_bytes=1 << 26))
    assert json.loads((run_dir / "config.json").read_text())["freeze_bn"] is expected
    backbone = load_run(run_dir).model.backbone
    start = trained if settings.get("weights") != "none" else NormedBackbone()
    assert torch.equal(backbone.norm.running_mean, start.norm.running_mean) == expected
