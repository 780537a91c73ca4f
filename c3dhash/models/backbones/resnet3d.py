"""3D ResNets: residual networks with every convolution extended over time.

# Note [Channels last]
Weights and clips are kept in the memory format channels_last_3d. On CPU, poolings are some ten times faster in
it, and a whole forward pass or a bf16 training step 10 to 30 % (a float32 training step on small clips is
somewhat slower). It is a matter of strides only: shapes, values and the names in a state dict are the same.
Whoever writes weights with safetensors makes them contiguous first.

# Note [Pooling under autocast]
On CPU, autocast casts the input of `max_pool3d` to float32 and the next convolution casts it back, which
takes longer than the pooling; a maximum of bf16 values is exact anyway. `max_pool3d_with_indices`, which
`max_pool3d` calls, is not cast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from c3dhash.models.backbones.base import Backbone, Stage
from c3dhash.records import Preprocessing


def shortcut_a(x: torch.Tensor, *, out_channels: int, stride: int) -> torch.Tensor:
    """Bring a block's input to the size of its output: subsample, then append zero channels.

    Args:
        x: float [B, C, T, H, W].
        out_channels: at least C.
        stride: along T, H and W.
    Returns:
        [B, out_channels, ceil(T / stride), ceil(H / stride), ceil(W / stride)]; the gradient flows to `x`.
    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 3.3, option A.
        Public code for 3D ResNets cuts the gradient here (`.data`); this does not.
    """
    x = x[:, :, ::stride, ::stride, ::stride]
    return F.pad(x, (0, 0, 0, 0, 0, 0, 0, out_channels - x.shape[1]))


class _Block(nn.Module):
    """What both kinds of blocks share: the shortcut around the convolutions of `residual`."""

    expansion: int

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _add_shortcut(self, in_channels: int, out_channels: int, *, stride: int, shortcut: str) -> None:
        self.out_channels = out_channels
        self.stride = stride
        self.is_same_size = stride == 1 and in_channels == out_channels
        self.downsample = None
        if shortcut == "B" and not self.is_same_size:
            self.downsample = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm3d(out_channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.residual(x)
        if self.downsample is not None:
            x = self.downsample(x)
        elif not self.is_same_size:
            x = shortcut_a(x, out_channels=self.out_channels, stride=self.stride)
        out += x
        return F.relu(out, inplace=True)


class BasicBlock(_Block):
    """Add the result of two 3 x 3 x 3 convolutions to the input.

    Source: He et al., CVPR 2016, figure 5 left; shortcut B is the projection of section 3.3.
    """

    expansion = 1

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(out_channels)
        self._add_shortcut(in_channels, out_channels, stride=stride, shortcut=shortcut)

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        result: torch.Tensor = self.bn2(self.conv2(out))
        return result


class Bottleneck(_Block):
    """Add the result of a 1 x 1 x 1, a 3 x 3 x 3 and a 1 x 1 x 1 convolution to the input; the second one strides.

    Source: He et al., CVPR 2016, figure 5 right; Hara et al., CVPR 2018, figure 3.
    """

    expansion = 4

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, shortcut: str) -> None:
        super().__init__()
        channels = out_channels // self.expansion
        self.conv1 = nn.Conv3d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv3 = nn.Conv3d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self._add_shortcut(in_channels, out_channels, stride=stride, shortcut=shortcut)

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        result: torch.Tensor = self.bn3(self.conv3(out))
        return result


class ResNet3D(Backbone):
    """Map clips to the global average of the last stage; the classes below give it its depth.

    Source: Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, CVPR 2018,
        section 3.2 and table 2; the 7 x 7 x 7 stem strides over space only, as in the authors' code.
        Default preprocessing: mean and standard deviation of Kinetics, as used by the authors since 2020.
        Initialisation: He et al., Delving Deep into Rectifiers, ICCV 2015, fan-out.
    """

    clip_size = (16, 112, 112)
    preprocessing = Preprocessing(mean=(0.4345, 0.4051, 0.3775), std=(0.2768, 0.2713, 0.2737))
    shortcuts = ("A", "B")
    shortcut: str = "B"
    block: type[BasicBlock] | type[Bottleneck]
    num_blocks: tuple[int, ...]

    def __init__(self, *, num_frames: int = 16, size: int = 112, shortcut: str = "B") -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)
        self.shortcut = shortcut
        self.stem_conv = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.stem_bn = nn.BatchNorm3d(64)
        widths = [64] + [channels * self.block.expansion for channels in (64, 128, 256, 512)]
        self.stage1 = self._stage(1, widths, stride=1)
        self.stage2 = self._stage(2, widths, stride=2)
        self.stage3 = self._stage(3, widths, stride=2)
        self.stage4 = self._stage(4, widths, stride=2)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):  # batch norms start at weight 1, bias 0
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            # Every block starts as its shortcut, so that the first filters learn from the first step on.
            # Source: Goyal et al., Accurate, Large Minibatch SGD, 2017, section 5.1.
            elif isinstance(layer, BasicBlock):
                nn.init.zeros_(layer.bn2.weight)
            elif isinstance(layer, Bottleneck):
                nn.init.zeros_(layer.bn3.weight)
        self.to(memory_format=torch.channels_last_3d)  # Note [Channels last]

    def _stage(self, number: int, widths: list[int], *, stride: int) -> nn.Sequential:
        """Stack blocks; the first one changes size and channels, from widths[number - 1] to widths[number]."""
        blocks = [self.block(widths[number - 1], widths[number], stride=stride, shortcut=self.shortcut)]
        for _ in range(self.num_blocks[number - 1] - 1):
            blocks.append(self.block(widths[number], widths[number], stride=1, shortcut=self.shortcut))
        return nn.Sequential(*blocks)

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage(self._stages_0_1, (self.stem_conv, self.stem_bn, self.stage1)),
            Stage(self.stage2, (self.stage2,)),  # [B, 128 or 512, T/4, H/8, W/8]
            Stage(self.stage3, (self.stage3,)),  # [B, 256 or 1024, T/8, H/16, W/16]
            Stage(self._stage_4, (self.stage4,)),
        )

    def _stages_0_1(self, clips: torch.Tensor) -> torch.Tensor:
        x = clips.contiguous(memory_format=torch.channels_last_3d)
        x = F.relu(self.stem_bn(self.stem_conv(x)), inplace=True)  # [B, 64, T, H/2, W/2]
        x = F.max_pool3d_with_indices(x, (3, 3, 3), (2, 2, 2), (1, 1, 1))[0]  # Note [Pooling under autocast]
        out: torch.Tensor = self.stage1(x)  # [B, 64 or 256, T/2, H/4, W/4]
        return out

    def _stage_4(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stage4(x)  # [B, 512 or 2048, T/16, H/32, W/32]
        return x.mean(dim=(2, 3, 4), dtype=self.stem_conv.weight.dtype)


class ResNet3D10(ResNet3D):
    """The shallowest: one block a stage. No weights of it are published."""

    name, feature_dim = "resnet3d10", 512
    block, num_blocks = BasicBlock, (1, 1, 1, 1)


class ResNet3D18(ResNet3D):
    """Two blocks a stage."""

    name, feature_dim = "resnet3d18", 512
    block, num_blocks = BasicBlock, (2, 2, 2, 2)


class ResNet3D34(ResNet3D):
    """The deepest of basic blocks."""

    name, feature_dim = "resnet3d34", 512
    block, num_blocks = BasicBlock, (3, 4, 6, 3)


class ResNet3D50(ResNet3D):
    """As many blocks as resnet3d34, but bottlenecks, and a longer feature."""

    name, feature_dim = "resnet3d50", 2048
    block, num_blocks = Bottleneck, (3, 4, 6, 3)
