"""The copy of a backbone that only infers computes what the backbone does, without batch norms."""

from __future__ import annotations

import pytest
import torch
from small import awake
from torch.nn.modules.batchnorm import _BatchNorm

from c3dhash.models.backbones import BACKBONES
from c3dhash.models.freezing import freeze_backbone

# One of each way to write a network.
FAST = ("resnet3d10", "i3d", "tsm_efficientnet_lite0", "tsn_mobilenet_v2", "tsm_resnet18", "c3d")
SLOW = sorted(set(BACKBONES) - set(FAST))


def check(name: str) -> None:
    backbone = awake(name)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    frozen = freeze_backbone(backbone)
    assert not any(isinstance(module, _BatchNorm) for module in frozen.modules())
    clips = torch.randn(2, backbone.preprocessing.num_channels, *backbone.clip_size)
    with torch.inference_mode():
        expected, features = backbone(clips), frozen(clips)
    assert expected.std() > 0
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())
    assert all(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("name", FAST)
def test_the_same_features_without_batch_norms(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_the_same_features_of_every_backbone(name):
    check(name)


@pytest.mark.parametrize("turned", [0.0, 1.0])
@pytest.mark.parametrize("name", ["tsn_mobilenet_v2", "tsm_mobilenet_v2"])
def test_frames_are_turned_where_the_weights_say_so(name, turned):
    backbone = awake(name)
    backbone.turned.fill_(turned)
    frozen = freeze_backbone(backbone)
    assert frozen.is_turned is bool(turned) and backbone.is_turned is None
    clips = torch.randn(1, 3, *backbone.clip_size)
    with torch.inference_mode():
        torch.testing.assert_close(frozen(clips), backbone(clips), rtol=1e-3, atol=1e-4)


class Twice(torch.nn.Module):
    """A convolution that is used with a batch norm and without one."""

    preprocessing = BACKBONES["resnet3d10"].preprocessing
    min_clip_size = (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv3d(3, 3, 1), torch.nn.BatchNorm3d(3)
        self.norm.running_var.fill_(9.0)

    def settle(self) -> None: ...

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(self.conv(clips))).mean(dim=(2, 3, 4))


def test_a_convolution_that_is_used_twice_is_left_alone():
    backbone = Twice().eval()
    clips = torch.randn(2, 3, 2, 8, 8)
    torch.testing.assert_close(freeze_backbone(backbone)(clips), backbone(clips))
