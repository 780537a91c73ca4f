"""TSM: TSN whose 2D network sees a part of the neighbouring frames in every residual branch."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import nn

from c3dhash.models.backbones.efficientnet_lite import (
    LiteBlock,
    TSNEfficientNetLite0,
    TSNEfficientNetLite1,
    TSNEfficientNetLite2,
)
from c3dhash.models.backbones.tsn import (
    TSN,
    TSNConvNeXtTiny,
    TSNEfficientNetB0,
    TSNMobileNetV2,
    TSNResNet18,
    TSNResNet50,
)
from c3dhash.models.backbones.tsn_weights import MMACTION2_SOURCE, image_weights
from c3dhash.models.known_weights import KnownWeights

SHIFTED_SHARE = 1 / 8  # of the channels, each way; Source: Lin et al., ICCV 2019, section 3.3
_num_frames: ContextVar[int] = ContextVar("num_frames")  # of the clips that are being computed


def shift(frames: torch.Tensor, *, num_frames: int) -> torch.Tensor:
    """Give each frame an eighth of the channels of the next frame, and another of the previous one.

        channels    frame 0  1  2
        first 1/8         1  2  .     from the next frame, zeros at the end
        second 1/8        .  0  1     from the previous frame, zeros at the start
        the rest          0  1  2

    Args:
        frames: float [B * T, C, H, W]; fastest in channels_last, where it costs as much as a copy.
        num_frames: T.
    Returns:
        [B * T, C, H, W], in channels_last.
    Source: Lin et al., TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019, section 3 and figure 1.
    """
    fold = int(frames.shape[1] * SHIFTED_SHARE)
    clips = frames.reshape(-1, num_frames, *frames.shape[1:]).movedim(2, 4)  # [B * T, C, H, W] -> [B, T, H, W, C]
    following, previous, rest = clips[..., :fold], clips[..., fold : 2 * fold], clips[..., 2 * fold :]
    following = F.pad(following[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))
    previous = F.pad(previous[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
    return torch.cat((following, previous, rest), dim=4).movedim(4, 2).flatten(0, 1)  # back to [B * T, C, H, W]


class TSM(TSN):
    """TSN with shifts inside the residual branches: the order of the frames counts, and no weight is added.

    The shift is a hook in front of the first layer of a branch, so that names and weights stay those of the 2D network.

    Source: Lin et al., ICCV 2019, section 3.3 (residual shift). In ResNets in front of every block's first convolution;
        in MobileNetV2 and the EfficientNets of every inverted residual that has a skip, as in the authors' code for the
        former; in ConvNeXt, which the paper does not have, of every block's depthwise convolution.
    """

    def __init__(self, *, num_frames: int, size: int) -> None:
        super().__init__(num_frames=num_frames, size=size)
        for branch in _residual_branches(self.network):
            branch.register_forward_pre_hook(_shift_input)

    def run_layers(self, layers: tuple[nn.Module, ...], frames: torch.Tensor, *, num_frames: int) -> torch.Tensor:
        token = _num_frames.set(num_frames)
        try:
            return super().run_layers(layers, frames, num_frames=num_frames)
        finally:
            _num_frames.reset(token)


def _shift_input(branch: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    return shift(inputs[0], num_frames=_num_frames.get())


def _residual_branches(network: nn.Module) -> Iterator[nn.Module]:
    """Yield what a 2D network computes beside each of its skips."""
    from torchvision.models.convnext import CNBlock
    from torchvision.models.efficientnet import MBConv
    from torchvision.models.mobilenetv2 import InvertedResidual
    from torchvision.models.resnet import BasicBlock, Bottleneck

    for block in network.modules():
        if isinstance(block, BasicBlock | Bottleneck):
            yield block.conv1
        elif isinstance(block, InvertedResidual) and block.use_res_connect:
            yield block.conv
        elif isinstance(block, CNBlock) or (isinstance(block, MBConv) and block.use_res_connect):
            yield block.block
        elif isinstance(block, LiteBlock) and block.has_skip:
            yield block.branch


class TSMResNet18(TSM):
    __doc__ = TSNResNet18.__doc__
    name, architecture, feature_dim = "tsm_resnet18", TSNResNet18.architecture, TSNResNet18.feature_dim


class TSMResNet50(TSM):
    __doc__ = TSNResNet50.__doc__
    name, architecture, feature_dim = "tsm_resnet50", TSNResNet50.architecture, TSNResNet50.feature_dim


class TSMMobileNetV2(TSM, TSNMobileNetV2):
    __doc__ = TSNMobileNetV2.__doc__
    name, architecture, feature_dim = "tsm_mobilenet_v2", TSNMobileNetV2.architecture, TSNMobileNetV2.feature_dim


class TSMEfficientNetB0(TSM):
    __doc__ = TSNEfficientNetB0.__doc__
    name, architecture, feature_dim = (
        "tsm_efficientnet_b0",
        TSNEfficientNetB0.architecture,
        TSNEfficientNetB0.feature_dim,
    )


class TSMEfficientNetLite0(TSM, TSNEfficientNetLite0):
    __doc__ = TSNEfficientNetLite0.__doc__
    name = "tsm_efficientnet_lite0"


class TSMEfficientNetLite1(TSM, TSNEfficientNetLite1):
    __doc__ = TSNEfficientNetLite1.__doc__
    name = "tsm_efficientnet_lite1"


class TSMEfficientNetLite2(TSM, TSNEfficientNetLite2):
    __doc__ = TSNEfficientNetLite2.__doc__
    name = "tsm_efficientnet_lite2"


class TSMConvNeXtTiny(TSM):
    __doc__ = TSNConvNeXtTiny.__doc__
    name, architecture, feature_dim = "tsm_convnext_tiny", TSNConvNeXtTiny.architecture, TSNConvNeXtTiny.feature_dim
    min_clip_size = TSNConvNeXtTiny.min_clip_size


LAYOUTS = ()  # those in tsn_weights.py and efficientnet_lite.py: the names are the same
KNOWN_WEIGHTS = (
    *image_weights("tsm"),
    KnownWeights(
        "kinetics400",
        "tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb_20220831-64d69186.pth",
        "tsm_resnet50",
        MMACTION2_SOURCE,
    ),
    KnownWeights(
        "kinetics400-authors",
        "TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth",
        "tsm_resnet50",
        "github.com/mit-han-lab/temporal-shift-module",
    ),
)
