"""ResNet-50 with kernels that reach over time in some places only: what i3d_r50, slowonly and slowfast are made of.

Its entries are named as in torchvision's 2D ResNets, so that 2D weights find their place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from c3dhash.models.backbones.base import Stage
from c3dhash.models.backbones.layouts import Entries
from c3dhash.records import Preprocessing

NUM_BLOCKS = (3, 4, 6, 3)
# Pixels as mmaction2 feeds them to all its models of this family.
# Source: configs/_base_/models/{i3d_r50,slowonly_r50,slowfast_r50}.py of github.com/open-mmlab/mmaction2.
MMACTION2_PIXELS = Preprocessing(channels="RGB", scale=1.0, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
MMACTION2 = "github.com/open-mmlab/mmaction2"
MMACTION2_RENAME = (
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.bn\.", r"bn\1."),
    (r"downsample\.conv\.", "downsample.0."),
    (r"downsample\.bn\.", "downsample.1."),
    (r"_lateral\.conv\.", "_lateral."),
)


def extend_time(x: torch.Tensor, *, num_frames: int, edge: torch.Tensor) -> torch.Tensor:
    """Put frames before the first and after the last one, so that a convolution keeps the length.

    Args:
        x: [B, C, T, H, W].
        num_frames: how many on each side.
        edge: a number; each new frame is this times the frame that it stands beside: 1 repeats, 0 pads with zeros.
    Returns:
        [B, C, T + 2 * num_frames, H, W].
    """
    before, after = [x[:, :, :1] * edge] * num_frames, [x[:, :, -1:] * edge] * num_frames
    return torch.cat([*before, x, *after], dim=2)


class InflatedBottleneck(nn.Module):
    """Add the result of a k x 1 x 1, a 1 x 3 x 3 and a 1 x 1 x 1 convolution to the input.

    Args:
        in_channels, channels: the block gives 4 * channels.
        stride: over space, of the second convolution.
        num_frames: k, odd.
        has_own_padding: whether the first convolution pads time with zeros; if not, `forward` needs an edge.
    Source: Feichtenhofer et al., SlowFast Networks, ICCV 2019, table 1; Wang et al., Non-local Neural Networks,
        CVPR 2018, section 4, "I3D 3 x 1 x 1".
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int, num_frames: int, has_own_padding: bool) -> None:
        super().__init__()
        self.reach = num_frames // 2
        padding = (self.reach if has_own_padding else 0, 0, 0)
        self.conv1 = nn.Conv3d(in_channels, channels, (num_frames, 1, 1), padding=padding, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv3 = nn.Conv3d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * channels)
        self.downsample = None
        if stride != 1 or in_channels != 4 * channels:
            self.downsample = nn.Sequential(
                nn.Conv3d(in_channels, 4 * channels, 1, stride=(1, stride, stride), bias=False),
                nn.BatchNorm3d(4 * channels),
            )

    def forward(self, x: torch.Tensor, edge: torch.Tensor | None = None) -> torch.Tensor:
        out = x if edge is None or not self.reach else extend_time(x, num_frames=self.reach, edge=edge)
        out = F.relu(self.bn1(self.conv1(out)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


class InflatedResNet50(nn.Module):
    """Stem and four stages; what stands between them is for whoever builds one.

    Args:
        width: channels of the stem; stage i gives 4 * 2^(i - 1) * width.
        stem_frames, stem_stride: length and stride of the stem's kernel over time.
        kernel_frames: for each stage, for each block, the length of its kernel over time.
        lateral_channels: how many channels each stage finds joined to those of the one before.
        has_own_padding: whether convolutions pad time with zeros; if not, `stem` and `stage` need an edge.
    """

    def __init__(
        self,
        *,
        kernel_frames: tuple[tuple[int, ...], ...],
        stem_frames: int,
        stem_stride: int = 1,
        width: int = 64,
        lateral_channels: tuple[int, ...] = (0, 0, 0, 0),
        has_own_padding: bool = True,
    ) -> None:
        super().__init__()
        self.stem_reach = stem_frames // 2
        self.conv1 = nn.Conv3d(
            3,
            width,
            (stem_frames, 7, 7),
            stride=(stem_stride, 2, 2),
            padding=(self.stem_reach if has_own_padding else 0, 3, 3),
            bias=False,
        )
        self.bn1 = nn.BatchNorm3d(width)
        in_channels = width
        for stage, frames_of_blocks in enumerate(kernel_frames):
            in_channels += lateral_channels[stage]
            channels = width * 2**stage
            blocks = []
            for block, frames in enumerate(frames_of_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(
                    InflatedBottleneck(
                        in_channels, channels, stride=stride, num_frames=frames, has_own_padding=has_own_padding
                    )
                )
                in_channels = 4 * channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def stem(self, x: torch.Tensor, edge: torch.Tensor | None = None) -> torch.Tensor:
        """Convolve a clip: [B, 3, T, H, W] -> [B, width, T / stem_stride, H/2, W/2]."""
        if edge is not None and self.stem_reach:
            x = extend_time(x, num_frames=self.stem_reach, edge=edge)
        return F.relu(self.bn1(self.conv1(x)), inplace=True)

    def stage(self, number: int, x: torch.Tensor, edge: torch.Tensor | None = None) -> torch.Tensor:
        """Run stage 1, 2, 3 or 4; the last three halve height and width (see `keep_last_size`)."""
        for block in getattr(self, f"layer{number}"):
            x = block(x, edge)
        return x

    def keep_last_size(self) -> None:
        """Let the last stage no longer halve height and width, for networks that look at parts of its map.

        The strides change, and no weight does.
        """
        block = self.get_submodule("layer4.0")
        assert isinstance(block, InflatedBottleneck) and block.downsample is not None
        for layer in (block.conv2, block.downsample[0]):
            assert isinstance(layer, nn.Conv3d)
            layer.stride = (1, 1, 1)

    def divide(
        self, first: Callable[[torch.Tensor], torch.Tensor], *, edge: torch.Tensor | None = None
    ) -> tuple[Stage, ...]:
        """Return the stages of a backbone that is this network, with the global average behind the last.

        Args:
            first: what it computes up to stage 1, and behind that.
            edge: as of `stage`.
        """
        layers = [self.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
        later = (Stage(partial(self._later, number, edge), (layers[number - 1],)) for number in (2, 3, 4))
        return Stage(first, (self.conv1, self.bn1, layers[0])), *later

    def _later(self, number: int, edge: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
        x = self.stage(number, x, edge)
        if number < 4:
            return x
        return x.mean(dim=(2, 3, 4), dtype=self.conv1.weight.dtype)  # [B, C, T, H/32, W/32] -> [B, C]


def pool_space(x: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
    """Halve height and width by a 3 x 3 maximum; take every `stride`-th frame. Note [Pooling under autocast]."""
    return F.max_pool3d_with_indices(x, (1, 3, 3), stride=(stride, 2, 2), padding=(0, 1, 1))[0]


def start_weights(network: nn.Module) -> None:
    """Fill new weights: He's fan-out; every block starts as its shortcut.

    Source: He et al., Delving Deep into Rectifiers, ICCV 2015; Goyal et al., Accurate, Large Minibatch SGD, 2017,
        section 5.1.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d):  # batch norms start at weight 1, bias 0
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, InflatedBottleneck):
            nn.init.zeros_(layer.bn3.weight)
    network.to(memory_format=torch.channels_last_3d)  # Note [Channels last] in resnet3d.py


def mmaction2_kernel_frames(entries: Entries, path: str = "") -> tuple[tuple[int, ...], ...]:
    """Tell the length over time of each block's first kernel, () where it is no plain ResNet-50 of mmaction2."""
    if entries.count(rf"{path}layer\d\.\d+\.non_local_block\.") or entries.count(rf"{path}layer\d\.\d+\.conv3\.") != 16:
        return ()
    return tuple(
        tuple((*entries.shape(f"{path}layer{stage}.{block}.conv1.conv.weight"), 0, 0, 0)[2] for block in range(count))
        for stage, count in enumerate(NUM_BLOCKS, start=1)
    )
