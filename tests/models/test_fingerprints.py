from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from tiny import TinyBackbone

from c3dhash.config import ModelConfig
from c3dhash.errors import CheckpointError, ModelMismatchError
from c3dhash.gallery.indexing import open_gallery
from c3dhash.gallery.store import Gallery
from c3dhash.models.backbones import BACKBONES
from c3dhash.models.backbones.shifts import NUM_SHIFTS
from c3dhash.models.fingerprints import fingerprint, is_of_first_rule
from c3dhash.models.hashnet import HashNet, build_model
from c3dhash.models.runs import load_run, save_run
from c3dhash.models.weights import load_backbone
from c3dhash.records import Preprocessing

TINY = ModelConfig(backbone="tiny", hash_length=8)
TSN = ModelConfig(backbone="tsn_mobilenet_v2", num_frames=2, size=32, hash_length=8)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", TinyBackbone)


def build(config: ModelConfig, **given: bool) -> HashNet:
    """Build a network whose tensors are numbered through, the same on every machine."""
    model = build_model(config, num_classes=3, **given)
    with torch.no_grad():
        for place, (_, tensor) in enumerate(sorted(model.state_dict().items())):
            if tensor.is_floating_point():
                numbers = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
                tensor.copy_((numbers % 17 - 8 + place % 5) / 64)
    return model


def with_turned_channels(model: HashNet) -> HashNet:
    model.backbone.preprocessing = Preprocessing("BGR", 1.0, (90, 98, 102.5), (1, 2, 3))
    return model


def headless(model: HashNet) -> HashNet:
    return HashNet(model.backbone, hash_length=None, num_classes=None)


def test_class_scores_and_counters_do_not_change_codes_and_do_not_count():
    model = build(TSN)
    before = fingerprint(model)
    with torch.no_grad():
        model.class_head.weight += 1
        model.class_codes = torch.ones(3, model.hash_head.out_features)
        model.backbone.network.features[0][1].num_batches_tracked += 1
    assert fingerprint(model) == before
    with torch.no_grad():
        model.hash_head.bias[0] += 1e-3
    assert fingerprint(model) != before


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(TSN, backbone="tsm_mobilenet_v2"),
        dataclasses.replace(TSN, num_frames=3),
        dataclasses.replace(TSN, size=48),
    ],
    ids=["shifts in time", "frames", "size"],
)
def test_networks_with_the_same_weights_differ(other):
    model, other_model = build(TSN), build(other)
    assert model.state_dict().keys() == other_model.state_dict().keys()
    assert fingerprint(model) != fingerprint(other_model)
    assert fingerprint(headless(model)) != fingerprint(headless(other_model))


@pytest.mark.parametrize("fact", ["shortcut", "preprocessing"])
def test_facts_that_are_no_weights(fact):
    model = build(TINY)
    before = fingerprint(model)
    setattr(model.backbone, fact, {"shortcut": "A", "preprocessing": Preprocessing("BGR")}[fact])
    assert fingerprint(model) != before


# Frozen: made by the version that knew the first rule only.
@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: with_turned_channels(build(TINY)), "a5694a8d2f07cb7aea7158caafb9e3d7"),
        (lambda: headless(with_turned_channels(build(TINY))), "05e1d469fa1aa607a6cd7779ed313ec3"),
        (lambda: build(TSN), "abc9044d968a4c6a686b68731daccc6b"),
    ],
)
def test_the_first_rule_stays_what_it_was(make, expected):
    model = make()
    assert fingerprint(model, like="0" * 32) == fingerprint(model, like="") == expected
    assert fingerprint(model, like=fingerprint(model)) == fingerprint(model)
    assert is_of_first_rule(expected) and not is_of_first_rule(fingerprint(model))


# Frozen: made by the version before clips could be dense.
@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: build(TSN), "f6b6e81db8fa5910e570f7fad95e5452bbb71dad"),
        (lambda: with_turned_channels(build(TINY)), "e8aab96ce26b28db535b21f43aabe5f9d867cb02"),
        (lambda: headless(build(TINY)), "6943593ab1c79e0d024d0e0d2fc39d3e2672091d"),
    ],
)
def test_networks_with_spread_clips_stay_what_they_were(make, expected):
    assert fingerprint(make()) == expected


@pytest.mark.parametrize(("has_changes", "has_motion"), [(False, False), (True, False), (True, True)])
def test_a_run_keeps_whether_features_say_how_frames_change(tmp_path, has_changes, has_motion):
    model = build_model(TSN, num_classes=3, has_changes=has_changes, has_motion=has_motion).eval()
    save_run(tmp_path / "run", model, config=dataclasses.asdict(TSN), labels=("a", "b", "c"))
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    assert (config["has_changes"], config["has_motion"]) == (has_changes, has_motion)
    if not has_motion:  # as earlier versions wrote it
        del config["has_motion"]
        if not has_changes:
            del config["has_changes"]
        path.write_text(json.dumps(config))
    run = load_run(tmp_path / "run")
    assert run.model.hash_head.in_features == run.model.backbone.feature_dim
    assert run.model.hash_head.in_features == (2560 if has_changes else 1280) + (NUM_SHIFTS if has_motion else 0)
    assert run.fingerprint == fingerprint(model)
    clips = torch.randn(1, 3, 2, 32, 32)
    assert torch.equal(run.model(clips).embedding, model(clips).embedding)


def test_runs_whose_features_are_no_more_are_refused(tmp_path):
    save_run(tmp_path, build_model(TSN, num_classes=3), config=dataclasses.asdict(TSN), labels=("a", "b", "c"))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "has_shifts": True}))
    with pytest.raises(CheckpointError, match="does not have any more: train it again"):
        load_run(tmp_path)


def test_changes_count_in_a_network_without_heads():
    kinds = ({}, {"has_changes": True}, {"has_changes": True, "has_motion": True})
    assert len({fingerprint(headless(build(TSN, **kind))) for kind in kinds}) == 3


def test_stacks_count():
    model = build(TSN)
    before = fingerprint(model)
    pixels = {"channels": "flow", "mean": (0.5,) * 2, "std": (0.2,) * 2}
    model.backbone.preprocessing = Preprocessing(**pixels)
    of_flow = fingerprint(model)
    model.backbone.preprocessing = Preprocessing("flow", mean=(0.5,) * 6, std=(0.2,) * 6, stack=3)
    of_stacks = fingerprint(model)
    assert len({before, of_flow, of_stacks}) == 3
    assert not is_of_first_rule(fingerprint(model, like="")), "of a time that knew no stacks"


def test_how_time_is_sampled_counts():
    model = build(TINY)
    found = {fingerprint(model)}
    for interval_seconds in (1 / 25, 1 / 24):
        model.backbone.preprocessing = Preprocessing(interval_seconds=interval_seconds)
        found.add(fingerprint(model))
        assert fingerprint(model, like="") == fingerprint(model)  # the first rule does not know of it
    assert len(found) == 3


def test_a_run_keeps_how_it_samples_time(tmp_path):
    model = build(TINY)
    model.backbone.preprocessing = Preprocessing(interval_seconds=1 / 30)
    save_run(tmp_path / "run", model, config=dataclasses.asdict(TINY), labels=("a", "b", "c"))
    run = load_run(tmp_path / "run")
    assert run.model.preprocessing.interval_seconds == 1 / 30
    assert run.fingerprint == fingerprint(model)
    assert load_backbone(tmp_path / "run").preprocessing == run.model.preprocessing
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["preprocessing"]["interval_seconds"]  # as earlier versions wrote it
    path.write_text(json.dumps(config))
    assert load_run(tmp_path / "run").model.preprocessing == Preprocessing()


@pytest.mark.parametrize("states_it", [True, False])
def test_a_run_and_a_gallery_of_the_first_rule_go_on_together(tmp_path, states_it):
    save_run(tmp_path / "run", build(TSN), config=dataclasses.asdict(TSN), labels=("a", "b", "c"))
    new = load_run(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert new.fingerprint == config["fingerprint"] == fingerprint(new.model)
    # What the first version wrote: a fingerprint of its rule, and at the very start none.
    first = "abc9044d968a4c6a686b68731daccc6b"
    del config["fingerprint"]
    config |= {"fingerprint": first} if states_it else {}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    Gallery.create(tmp_path / "gallery", hash_length=8, model_fingerprint=first).close()
    run = load_run(tmp_path / "run")
    with open_gallery(tmp_path / "gallery", run) as gallery:
        gallery.check_model(run.fingerprint, hash_length=run.hash_length)
    with pytest.raises(ModelMismatchError, match=f"model {first[:8]}"):
        open_gallery(tmp_path / "gallery", new)


def test_a_gallery_of_one_architecture_is_refused_with_the_other(tmp_path):
    for name in ("tsn_mobilenet_v2", "tsm_mobilenet_v2"):
        config = dataclasses.replace(TSN, backbone=name)
        save_run(tmp_path / name, build(config), config=dataclasses.asdict(config), labels=("a", "b", "c"))
    tsn, tsm = load_run(tmp_path / "tsn_mobilenet_v2"), load_run(tmp_path / "tsm_mobilenet_v2")
    open_gallery(tmp_path / "gallery", tsn).close()
    with pytest.raises(ModelMismatchError, match=f"holds 8-bit codes of model {tsn.fingerprint[:8]}"):
        open_gallery(tmp_path / "gallery", tsm)


def test_a_run_by_hand_under_another_architecture_is_another(tmp_path):
    save_run(tmp_path / "run", build(TSN), config=dataclasses.asdict(TSN), labels=("a", "b", "c"))
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps({**config, "backbone": "tsm_mobilenet_v2"}))
    assert load_run(tmp_path / "run").fingerprint != load_run(tmp_path / "copy").fingerprint
