from __future__ import annotations

import pytest
import torch
from torch import nn

from c3dhash.config import ModelConfig
from c3dhash.errors import UsageError
from c3dhash.models.backbones import build_backbone
from c3dhash.models.hashnet import build_model
from c3dhash.models.precision import GuardedConv3d, autocast, guard_conv3d, pick_device, pick_precision

CPU = torch.device("cpu")


def weight_gradient(conv: nn.Conv3d, clips: torch.Tensor, *, precision: str) -> torch.Tensor:
    conv.zero_grad()
    with autocast(CPU, precision):
        output = conv(clips)
    output.float().square().mean().backward()
    return conv.weight.grad.clone()


# Shapes on which the plain bf16 gradient was garbage (Note [Wrong bf16 weight gradients on CPU]), and one on
# which it was right.
@pytest.mark.parametrize("frames", [1, 2, 3, 8])
@pytest.mark.parametrize("side", [3, 8, 14])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 7])
def test_bf16_weight_gradient_is_right_on_short_clips(frames, side, stride, kernel):
    conv = GuardedConv3d(16, 32, kernel, stride=(1, stride, stride), padding=kernel // 2, bias=False)
    clips = torch.randn(4, 16, frames, side, side)
    exact, bf16 = (weight_gradient(conv, clips, precision=precision) for precision in ("fp32", "bf16"))
    assert ((bf16 - exact).norm() / exact.norm()).item() < 0.03


@pytest.mark.parametrize("frames", [3, 5, 6, 7])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weight_gradient_of_a_long_stride_in_time_is_right_on_short_clips(frames, precision):
    """The stem of s3d; plain fp32 gave garbage from 5 frames on, or a crash."""
    conv = GuardedConv3d(64, 64, (7, 1, 1), stride=(2, 1, 1), padding=(3, 0, 0), bias=False)
    clips = torch.randn(2, 64, frames, 8, 8)
    gradient = weight_gradient(conv, clips, precision=precision)
    exact = weight_gradient(conv.double(), clips.double(), precision="fp32")
    assert ((gradient - exact).norm() / exact.norm()).item() < (1e-4 if precision == "fp32" else 0.03)


def test_the_guard_changes_neither_names_nor_outputs():
    plain = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1, stride=2), nn.Conv3d(4, 4, 3, padding=1))
    clips = torch.randn(2, 3, 4, 8, 8)
    expected, names = plain(clips), list(plain.state_dict())
    guard_conv3d(plain)
    assert all(type(conv) is GuardedConv3d for conv in plain)
    assert list(plain.state_dict()) == names
    assert torch.equal(plain(clips), expected)


def test_networks_are_guarded():
    model = build_model(ModelConfig(num_frames=4, size=16), num_classes=2)
    assert not [name for name, module in model.named_modules() if type(module) is nn.Conv3d]


def test_pick_device():
    assert pick_device("cpu") == CPU
    for name in ("tpu9", "meta", "cuda:x"):
        with pytest.raises(UsageError, match=rf"device \('{name}'\) must be auto, cpu, cuda, cuda:N or mps"):
            pick_device(name)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match=r"'cuda:1'.*--device cpu"):
            pick_device("cuda:1")


def test_apples_gpu(monkeypatch):
    """Which no machine of ours has: what is asked for is taken, and computes in fp32; auto leaves it alone."""
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(UsageError, match=r"device \('mps'\) is not there: .*; use --device cpu"):
        pick_device("mps")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert pick_device("mps") == torch.device("mps")
    assert pick_device("auto").type != "mps"
    assert pick_precision("auto", torch.device("mps")) == pick_precision("fp32", torch.device("mps")) == "fp32"
    with pytest.raises(UsageError, match=r"precision \('bf16'\) is for cpu and cuda"):
        pick_precision("bf16", torch.device("mps"))
    with autocast(torch.device("mps"), "fp32"):
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("backbone", "to_encode"),
    [("i3d", "fp32"), ("r2plus1d_18", "fp32"), ("tsn_efficientnet_lite0", "bf16"), ("mvit_v2_s", "bf16")],
)
def test_3d_convolutions_are_faster_in_fp32_on_cuda(monkeypatch, backbone, to_encode):
    """What is trained, and what is asked for, stays as it is."""
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    cuda, network = torch.device("cuda"), build_backbone(backbone)
    assert pick_precision("auto", cuda, encoder=network) == to_encode
    assert pick_precision("bf16", cuda, encoder=network) == pick_precision("auto", cuda) == "bf16"


def test_pick_precision(monkeypatch):
    assert pick_precision("fp32", CPU) == "fp32"
    assert pick_precision("bf16", CPU) == "bf16"
    for has_bf16, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("c3dhash.models.precision._cpu_has_bf16", lambda has_bf16=has_bf16: has_bf16)
        assert pick_precision("auto", CPU) == expected
