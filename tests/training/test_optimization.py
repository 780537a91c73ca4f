from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from c3dhash.config import TrainConfig
from c3dhash.errors import UsageError
from c3dhash.models.backbones import build_backbone
from c3dhash.models.hashnet import build_model
from c3dhash.training.optimization import decayed_names, learning_rate, make_optimizer, refuse_unused, resolve


def test_learning_rate_schedule():
    config = resolve(TrainConfig(epochs=10, warmup_epochs=2, learning_rate=1.0))
    assert learning_rate(config, 0) == pytest.approx(0.01)
    assert learning_rate(config, 1) == pytest.approx(0.505)
    assert learning_rate(config, 2) == pytest.approx(1)
    assert learning_rate(config, 6) == pytest.approx(0.5)  # half-way along the cosine
    assert learning_rate(config, 10) == pytest.approx(0, abs=1e-9)
    step = resolve(TrainConfig(epochs=20, warmup_epochs=0, schedule="step", learning_rate=1.0))
    assert [learning_rate(step, epoch) for epoch in (0, 11.9, 12, 17, 19.9)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_defaults_that_depend_on_others():
    assert resolve(TrainConfig()).margin == 14
    assert resolve(TrainConfig(hash_length=64)).margin == 20
    assert resolve(TrainConfig(margin=0.0)).margin == 0
    assert (resolve(TrainConfig()).learning_rate, resolve(TrainConfig()).weight_decay) == (0.07, 5e-4)
    assert resolve(TrainConfig(optimizer="adamw")).learning_rate == 0.001
    whole = resolve(TrainConfig(weights="kinetics400", freeze_stages=0), num_stages=4)
    assert whole.learning_rate == pytest.approx(0.014)
    assert (whole.optimizer, whole.refit, whole.center_weight, whole.epochs) == ("sgd", False, 1.0, 30)
    heads = resolve(TrainConfig(weights="kinetics400", freeze=True), num_stages=4)
    assert (heads.freeze_stages, heads.optimizer, heads.learning_rate, heads.weight_decay) == (4, "adamw", 0.01, 1.0)
    assert (heads.epochs, heads.classes_per_batch, heads.clips_per_class, heads.refit) == (100, 32, 8, True)
    tail = resolve(TrainConfig(weights="kinetics400", device="cpu"), num_stages=4)
    assert (tail.freeze_stages, tail.learning_rate, tail.epochs, tail.freeze_bn) == (3, 0.01, 100, True)
    assert (tail.views, tail.weight_decay, tail.classes_per_batch, tail.clips_per_class) == (3, 1.0, 32, 8)
    framewise = resolve(TrainConfig(weights="imagenet", device="cpu"), num_stages=4, is_2d=True)
    assert (framewise.freeze_stages, framewise.epochs, framewise.views) == (4, 100, 0)
    assert framewise.weight_decay == pytest.approx(30)
    slow = TrainConfig(weights="imagenet", freeze=True, learning_rate=0.1)
    assert resolve(slow, num_stages=4, is_2d=True).weight_decay == pytest.approx(3)
    for change in ({"optimizer": "sgd"}, {"weight_decay": 1.0}, {"freeze": False, "freeze_stages": 3}):
        assert resolve(replace(slow, **change), num_stages=4, is_2d=True).weight_decay == 1
    scaled = replace(slow, learning_rate=None, rate_batch=64)  # of 256 clips at four times the rate
    assert resolve(scaled, num_stages=4, is_2d=True).weight_decay == pytest.approx(7.5)
    assert resolve(replace(slow, learning_rate=0.0), num_stages=4, is_2d=True).weight_decay == pytest.approx(0.3)
    on_flow = resolve(TrainConfig(weights="imagenet", device="cpu"), num_stages=4, starts_from_other=True)
    assert (on_flow.freeze_stages, on_flow.epochs, on_flow.learning_rate) == (0, 30, pytest.approx(0.014))
    undivided = resolve(TrainConfig(weights="kinetics400", device="cpu"))
    assert (undivided.freeze_stages, undivided.views) == (1, 0)
    assert resolve(TrainConfig(), num_stages=4).freeze_stages == 0
    assert resolve(TrainConfig(weights="kinetics400", freeze=True, epochs=7, dropout=0.0), num_stages=4).epochs == 7
    assert resolve(TrainConfig(), shortcut="A").shortcut == "A"


def test_biases_and_normalisation_are_not_decayed():
    model = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.BatchNorm3d(4))
    for optimizer in ("adamw", "sgd"):
        decayed, plain = make_optimizer(model, resolve(TrainConfig(optimizer=optimizer, weight_decay=0.1))).param_groups
        assert [p.ndim for p in decayed["params"]] == [5]
        assert [p.ndim for p in plain["params"]] == [1, 1, 1]
        assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0)


def test_a_step_leaves_something_of_the_weights():
    config = TrainConfig(weights="imagenet", freeze=True, weight_decay=30.0, learning_rate=0.033)
    resolve(config, num_stages=4)
    for change in ({"learning_rate": 0.04}, {"weight_decay": 31.0}, {"rate_batch": 64}):
        with pytest.raises(UsageError, match=r"^weight_decay .* must be less than 1: .* each step takes away\.$"):
            resolve(replace(config, **change), num_stages=4)


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("mvit_v1_b", {"spatial_pos", "temporal_pos"}),
        ("mvit_v2_s", {"rel_pos_h", "rel_pos_w", "rel_pos_t"}),
        ("swin3d_t", {"relative_position_bias_table"}),
        ("tsn_convnext_tiny", {"layer_scale"}),
        ("resnet3d18", set()),
        ("i3d", set()),
    ],
)
def test_tables_of_positions_and_layer_scales_are_not_decayed(name, tables):
    with torch.device("meta"):
        backbone = build_backbone(name)
    parameters, decayed = dict(backbone.named_parameters()), decayed_names(backbone)
    matrices = {each for each, value in parameters.items() if value.ndim > 1}
    assert decayed <= matrices
    assert {each.rpartition(".")[2] for each in matrices - decayed} == tables
    assert all(each.endswith(".weight") for each in decayed)


def test_stages_behind_frozen_ones_follow_the_heads_slowly():
    config = resolve(TrainConfig(backbone="i3d", weights="kinetics400", freeze_stages=3), num_stages=4)
    with torch.device("meta"):
        model = build_model(config, num_classes=5)
    groups = make_optimizer(model, config).param_groups
    heads, stage = [g for g in groups if g["share"] == 1.0], [g for g in groups if g["share"] != 1.0]
    assert {p.shape for g in heads for p in g["params"]} == {
        p.shape for n, p in model.named_parameters() if "head" in n
    }
    assert {(g["share"], g["weight_decay"]) for g in stage} == {(0.1, 0.05), (0.1, 0.0)}
    assert {g["weight_decay"] for g in heads} == {1.0, 0.0}


def test_the_rate_falls_at_the_epochs_that_are_given():
    milestones = resolve(TrainConfig(epochs=50, warmup_epochs=0, step_epochs="20,40", learning_rate=1.0))
    assert milestones.schedule == "step"
    rates = [learning_rate(milestones, epoch) for epoch in (0, 19.9, 20, 39.9, 40, 49.9)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    every = resolve(TrainConfig(epochs=16, warmup_epochs=0, step_every=5, learning_rate=1.0))
    assert [learning_rate(every, epoch) for epoch in (4.9, 5, 10, 15.5)] == pytest.approx([1, 0.1, 0.01, 0.001])
    for bad in ("20,20", "40,20", "0,3", "", "a", "1.5", "3,"):
        with pytest.raises(UsageError, match=r"step_epochs \(.*\) must be rising whole numbers"):
            TrainConfig(step_epochs=bad)
    with pytest.raises(UsageError, match=r"schedule \(cosine\) has no steps"):
        TrainConfig(schedule="cosine", step_every=5)
    with pytest.raises(UsageError, match="give one of them"):
        TrainConfig(step_epochs="3", step_every=5)


def test_rates_fall_with_depth():
    """resnet3d10 has four stages; the last has all of the backbone's rate, which is half of the heads'."""
    config = resolve(TrainConfig(backbone="resnet3d10", layer_decay=0.5, backbone_rate=0.5), num_stages=4)
    model = build_model(config, num_classes=5)
    groups = make_optimizer(model, config).param_groups
    share_of = {id(p): group["share"] for group in groups for p in group["params"]}
    assert len(share_of) == len(list(model.parameters()))
    for name, value in model.named_parameters():
        if name.startswith("backbone."):
            stage = 1 if "stem" in name else int(name.split("stage")[1][0])
            assert share_of[id(value)] == 0.5 * 0.5 ** (4 - stage), name
        else:
            assert share_of[id(value)] == 1, name
    frozen = resolve(TrainConfig(backbone="resnet3d10", weights="x", layer_decay=0.5, freeze_stages=2), num_stages=4)
    shares = {group["share"] for group in make_optimizer(model, frozen).param_groups}
    assert shares == {1.0, 0.1, 0.05}
    with pytest.raises(UsageError, match=r"layer_decay \(0.5\) needs a backbone of several stages"):
        make_optimizer(build_model(TrainConfig(backbone="slowfast"), num_classes=2), replace(config, layer_decay=0.5))


@pytest.mark.parametrize(
    ("frozen", "settings", "reason"),
    [
        (4, {"layer_decay": 0.5}, "layer_decay (0.5) is of a backbone that is trained"),
        (4, {"backbone_rate": 0.5}, "backbone_rate (0.5) is of a backbone that is trained"),
        (4, {"micro_batch": 2}, "micro_batch (2) is of a backbone that is trained"),
        (4, {"cutmix": 1.0}, "cutmix (1.0) is of a backbone that is trained"),
        (4, {"rand_augment": 9}, "rand_augment (9) changes clips, and frozen stages see only what is indexed"),
        (4, {"min_crop_scale": 0.5}, "min_crop_scale (0.5) changes clips"),
        (4, {"crop": "fixed"}, "crop (fixed) changes clips"),
        (2, {"crop": "fixed"}, "crop (fixed) is of clips that are cut, and windows of whole pictures are seen"),
        (2, {"rotation": 5.0, "views": 0}, "rotation (5.0) changes clips"),
        (4, {"crop": "fixed", "views": 2}, None),
        (4, {"color_jitter": 0.2, "views": 2, "mixup": 0.2, "ema": 0.9}, None),
        (2, {"layer_decay": 0.5, "cutmix": 1.0, "micro_batch": 2, "min_crop_scale": 0.5, "rotation": 5.0}, None),
        (0, {"layer_decay": 0.5, "cutmix": 1.0, "micro_batch": 2, "crop": "resized", "rand_augment": 3}, None),
    ],
)
def test_what_frozen_stages_would_make_nothing_of(frozen, settings, reason):
    given = TrainConfig(weights="x", freeze_stages=frozen, **settings)
    config = resolve(given, num_stages=4)
    if reason is None:
        refuse_unused(given, config, num_stages=4)
    else:
        with pytest.raises(UsageError, match=re.escape(reason)):
            refuse_unused(given, config, num_stages=4)
