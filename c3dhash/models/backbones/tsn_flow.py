"""TSN on optical flow: the 2D network reads, at each of T places, a stack of flows as one picture of 2 L channels.

    video    T places, spread over the window, L + 1 frames that follow each other at each ──> L flows ──> 2 L channels
    weights  of the network on pictures; the kernels of its first layer are averaged over RGB, once for each channel

# Note [Cross-modality initialisation]
A first kernel w [out, 3, h, w] becomes w' [out, 2 L, h, w], each channel of which is the mean of the three. A picture
that is c everywhere, in each channel, then gives 2 L c mean(w) in the place of 3 c mean(w): 2 L / 3 times as much. That
is left so, as the authors of TSN do: flow is mostly no motion, 0 once the mean is taken off, and varies less than
pictures; and where the batch norm behind the layer is trained, it takes what it gets.

# Note [Pixels of flow]
Flow is stored in 8 bits, -20 to 20 px as 0 to 255, so that no motion is 127.5 and a mirror image, 255 - v, lies as far
from it. So the mean is 127.5, at the scale of the weights, and the deviation is the mean of those of the weights over
RGB: a step of 1 in 255 is to the first layer what it was in pictures. With torchvision's weights these are 0.5 and
0.226, as the authors of TSN have them; with EfficientNet-Lite's 127.5 and 128. mmaction2, also from torchvision's
weights, takes 128 and 128, which makes flow weaker by 2.2; its own weights bring that with them.
Source: github.com/yjxiong/tsn-pytorch, models.py (_prepare_base_model, _construct_flow_model).
"""

from __future__ import annotations

import torch
from torch import nn

from c3dhash.models.backbones.efficientnet_lite import (
    LITE,
    TSNEfficientNetLite0,
    identify_own,
    is_own,
    known_weights,
)
from c3dhash.models.backbones.layouts import Layout
from c3dhash.models.backbones.tsn import IMAGENET, TSN, TSNMobileNetV2, TSNResNet18, TSNResNet50
from c3dhash.models.backbones.tsn_weights import (
    MMACTION2_RENAME,
    MMACTION2_SOURCE,
    identify_video_resnet,
    image_weights,
    own_architecture,
)
from c3dhash.models.known_weights import KnownWeights
from c3dhash.records import Preprocessing

STACK = 5  # L. Source: Wang et al., Temporal Segment Networks, ECCV 2016, section 4.2


def pixels_of_flow(pictures: Preprocessing, *, stack: int = STACK) -> Preprocessing:
    """Return how stacks of flow are read by a network whose weights read pictures. Note [Pixels of flow]."""
    mean, std = 127.5 * pictures.scale, sum(pictures.std) / len(pictures.std)
    return Preprocessing("flow", pictures.scale, (mean,) * (2 * stack), (std,) * (2 * stack), stack=stack)


class TSNFlow(TSN):
    """TSN whose 2D network reads stacks of optical flow, L = STACK: [B, 2 L, T, H, W].

    It starts from weights of the network on pictures, of which it is the temporal stream.

    Source: Wang et al., Temporal Segment Networks, ECCV 2016, sections 3.2 (stacks, cross-modality pre-training) and
        4.2; Simonyan and Zisserman, Two-Stream Convolutional Networks, NIPS 2014. As in TSN of pictures, the average is
        taken of features. New first kernels: as those of the other layers, He et al., ICCV 2015, fan-out.
    """

    def build_network(self) -> nn.Module:
        network = super().build_network()
        first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
        first.in_channels = type(self).preprocessing.num_channels
        first.weight = nn.Parameter(torch.empty(first.out_channels, first.in_channels, *first.kernel_size))
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        return network

    def fit_tensor(self, tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Average the first kernel over RGB. Note [Cross-modality initialisation]."""
        if tensor.ndim != 4 or tensor.shape[1] != 3 or shape[1] == 3:
            return tensor
        return tensor.mean(dim=1, keepdim=True).expand(-1, shape[1], -1, -1)

    def fit_preprocessing(self, preprocessing: Preprocessing) -> Preprocessing:
        return preprocessing if preprocessing.channels == "flow" else pixels_of_flow(preprocessing)


def _of_flow(found: tuple[tuple[str, ...], None]) -> tuple[tuple[str, ...], None]:
    """Name the network on flow in the place of that on pictures, the first of those found."""
    return tuple(name.replace("tsn_", "tsn_flow_") for name in found[0] if name.startswith("tsn_")), None


class TSNFlowResNet18(TSNFlow, TSNResNet18):
    __doc__ = TSNResNet18.__doc__
    name, starts_from, preprocessing = "tsn_flow_resnet18", "tsn_resnet18", pixels_of_flow(IMAGENET)


class TSNFlowResNet50(TSNFlow, TSNResNet50):
    __doc__ = TSNResNet50.__doc__
    name, starts_from, preprocessing = "tsn_flow_resnet50", "tsn_resnet50", pixels_of_flow(IMAGENET)


class TSNFlowMobileNetV2(TSNFlow, TSNMobileNetV2):
    __doc__ = TSNMobileNetV2.__doc__
    name, starts_from, preprocessing = "tsn_flow_mobilenet_v2", "tsn_mobilenet_v2", pixels_of_flow(IMAGENET)


class TSNFlowEfficientNetLite0(TSNFlow, TSNEfficientNetLite0):
    __doc__ = TSNEfficientNetLite0.__doc__
    name, starts_from, preprocessing = "tsn_flow_efficientnet_lite0", "tsn_efficientnet_lite0", pixels_of_flow(LITE)


_ARCHITECTURES = ("resnet18", "resnet50", "mobilenet_v2")
# Source: mmaction2, configs/recognition/tsn/tsn_imagenet-pretrained-r50_8xb32_5x1x3-110e_kinetics400-flow.py.
_MMACTION2 = Preprocessing("flow", 1.0, (128.0,) * (2 * STACK), (128.0,) * (2 * STACK), stack=STACK)
LAYOUTS = (
    Layout(  # mmaction2's tsn_r50_*_flow_*.pth
        name="mmaction2-2d-flow",
        recognise=lambda entries: (
            entries.shape("conv1.conv.weight") == (64, 2 * STACK, 7, 7)
            and "layer1.0.conv1.bn.weight" in entries.tensors
        ),
        identify=lambda entries: _of_flow(identify_video_resnet(entries, conv=".conv")),
        rename=MMACTION2_RENAME,
        heads=("fc.",),
        preprocessing=_MMACTION2,
    ),
    Layout(
        name="c3dhash-2d-flow",
        recognise=lambda entries: own_architecture(entries, num_channels=2 * STACK) in _ARCHITECTURES,
        identify=lambda entries: ((f"tsn_flow_{own_architecture(entries, num_channels=2 * STACK)}",), None),
        rename=(),
        heads=(),
        preprocessing=pixels_of_flow(IMAGENET),
    ),
    Layout(
        name="c3dhash-efficientnet-lite-flow",
        recognise=lambda entries: is_own(entries, num_channels=2 * STACK),
        identify=lambda entries: _of_flow(identify_own(entries)),
        rename=(),
        heads=(),
        preprocessing=pixels_of_flow(LITE),
    ),
)
KNOWN_WEIGHTS = (
    *(known for known in image_weights("tsn_flow") if known.backbone.removeprefix("tsn_flow_") in _ARCHITECTURES),
    known_weights("tsn_flow", "efficientnet_lite0"),
    KnownWeights(
        "kinetics400", "tsn_r50_320p_1x1x8_110e_kinetics400_flow_20200705-1f39486b.pth", "tsn_flow_resnet50",
        MMACTION2_SOURCE,
    ),
)  # fmt: skip
