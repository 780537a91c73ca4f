"""What `c3dhash models` tells of the backbones, and the table that it reads that from."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import TinyBackbone
from torch import nn
from torchvision.models.video import R3D_18_Weights, r3d_18

from c3dhash.errors import UsageError
from c3dhash.models import listing
from c3dhash.models.backbones import BACKBONES, build_backbone
from c3dhash.models.costs import count_gflops, measure
from c3dhash.models.known_weights import torchvision_cache
from c3dhash.models.listing import all_backbones, backbone_facts, describe_preprocessing, read_table
from c3dhash.records import Preprocessing

QUICK = ("c3d", "resnet3d18", "tsn_mobilenet_v2", "i3d", "phash")


class Attention(nn.Module):
    """Reads clips as tokens, one a pixel; 3 channels of keys."""

    preprocessing = Preprocessing()
    clip_size = (2, 3, 4)

    def forward(self, clips):
        tokens = clips.flatten(2).transpose(1, 2)  # [B, 24, 3]
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)


class OneConvolution(nn.Conv3d):
    preprocessing = Preprocessing()
    clip_size = (4, 10, 12)

    def __init__(self):
        super().__init__(3, 5, 3, padding=1, stride=(1, 2, 2))


def test_multiply_adds_are_counted_once():
    with torch.device("meta"):
        layer = OneConvolution()
    assert count_gflops(layer) == pytest.approx(4 * 5 * 6 * 5 * (3 * 27) / 1e9)  # outputs x channels out x window


def test_attention_is_counted():
    assert count_gflops(Attention()) == pytest.approx(2 * 24 * 24 * 3 / 1e9)  # scores, and their sum over values


def test_r3d_18_costs_what_torchvision_says():
    with torch.device("meta"):
        network = r3d_18()
    network.preprocessing, network.clip_size = Preprocessing(), (16, 112, 112)
    assert count_gflops(network) == pytest.approx(R3D_18_Weights.KINETICS400_V1.meta["_ops"], rel=1e-3)


def test_facts_are_those_of_the_backbone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torchvision_cache().mkdir(parents=True)
    (torchvision_cache() / "r3d18_K_200ep.pth").touch()
    Path("pretrain").mkdir()
    Path("pretrain/resnet-18-kinetics.pth").touch()
    facts, network = backbone_facts("resnet3d18"), build_backbone("resnet3d18")
    assert facts.num_parameters == sum(parameter.numel() for parameter in network.parameters())
    assert (facts.feature_dim, facts.clip_size, facts.shortcuts) == (512, (16, 112, 112), ("A", "B"))
    assert facts.gflops == pytest.approx(8.308, abs=0.001)
    assert [path for _, path in facts.weights] == [
        Path("pretrain/resnet-18-kinetics.pth"),
        torchvision_cache() / "r3d18_K_200ep.pth",
        None,
    ]
    assert json.loads(json.dumps(facts.to_dict()))["weights"][1]["path"].endswith("r3d18_K_200ep.pth")


def test_the_table_is_of_these_backbones():
    table = read_table()
    assert table, "the files of the backbones changed: python -m c3dhash.models.listing"
    assert list(table) == list(BACKBONES)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in BACKBONES]
)
def test_the_table_is_what_networks_are(name):
    facts, measured, is_network = read_table()[name], measure(name), BACKBONES[name].needs_weights
    assert measured.gflops > 0.1 * is_network and measured.num_parameters >= 1e6 * is_network
    assert dataclasses.replace(facts, gflops=measured.gflops) == measured
    assert facts.gflops == pytest.approx(measured.gflops, rel=1e-3), "versions of PyTorch count a bit differently"


def test_the_table_is_read_without_torch():
    script = (
        "import sys; from c3dhash.cli.main import cli;"
        "[cli(words, standalone_mode=False) for words in (['models'], ['models', 'show', 'c3d'])];"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tsm_convnext_tiny" in done.stdout and "smallest clip" in done.stdout


@pytest.fixture
def c3d_alone():
    """C3D is the only backbone; to count all of them takes seconds."""
    backbones = dict(BACKBONES)
    BACKBONES.clear()
    BACKBONES["c3d"] = backbones["c3d"]
    yield
    BACKBONES.clear()
    BACKBONES.update(backbones)  # in the order that they had


@pytest.mark.parametrize("change", ["an edited file", "a new file", "no table", "half a table"])
def test_a_table_of_other_files_is_not_believed(tmp_path, monkeypatch, c3d_alone, change):
    shutil.copytree(listing.TABLE_PATH.parent, tmp_path / "backbones")
    monkeypatch.setattr(listing, "TABLE_PATH", tmp_path / "backbones" / "table.json")
    assert read_table()["c3d"] == measure("c3d")
    if change == "an edited file":
        (tmp_path / "backbones" / "c3d.py").write_text("class C3D: ...")
    elif change == "a new file":
        (tmp_path / "backbones" / "c4d.py").touch()
    elif change == "no table":
        listing.TABLE_PATH.unlink()
    else:
        listing.TABLE_PATH.write_text(listing.TABLE_PATH.read_text()[:1000])
    assert read_table() == {}
    assert backbone_facts("c3d") == measure("c3d")
    listing.write_table()
    assert read_table() == {"c3d": measure("c3d")}


def test_a_backbone_of_a_program_is_listed(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", TinyBackbone)
    facts = all_backbones()[-1]
    assert (facts.name, facts.feature_dim, facts.weights) == ("tiny", 24, ())
    assert facts.gflops == pytest.approx(2 * 16 * 16 * 24 * 3 * 5**3 / 1e9)


@pytest.mark.parametrize("variables", [{}, {"TORCH_HOME": "/a/torch"}, {"XDG_CACHE_HOME": "/b"}])
def test_torchvisions_cache_is_where_torch_says(monkeypatch, variables):
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with_torch = torchvision_cache()
    assert with_torch == Path(torch.hub.get_dir()) / "checkpoints"
    monkeypatch.delitem(sys.modules, "torch.hub")
    assert torchvision_cache() == with_torch


def test_an_unknown_backbone():
    with pytest.raises(UsageError, match=r"backbone \('c4d'\) must be one of c3d"):
        backbone_facts("c4d")


def test_preprocessing_in_short():
    assert describe_preprocessing(Preprocessing()) == "RGB -1 to 1"
    assert describe_preprocessing(Preprocessing(mean=(0.45,) * 3, std=(0.225,) * 3)) == "RGB -2 to 2.44"
    flow = Preprocessing(channels="flow", scale=2 / 255, mean=(1, 1), std=(1, 1))
    assert describe_preprocessing(flow) == "flow -1 to 1"
    stacks = Preprocessing("flow", 2 / 255, (1,) * 10, (1,) * 10, stack=5)
    assert describe_preprocessing(stacks) == "5 x flow -1 to 1"
    assert stacks.sampling == "spread over the window, at each place the 5 flows between 6 consecutive frames"
    pixels = Preprocessing(channels="BGR", scale=1.0, mean=(90, 98.4, 102), std=(1, 1, 1))
    assert describe_preprocessing(pixels) == "BGR 0 to 255, mean 90 98 102, std 1.00 1.00 1.00"
    assert describe_preprocessing(pixels, with_std=False) == "BGR 0 to 255, mean 90 98 102"
