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

# Note [2018 or 2020]
The authors of the 3D ResNets published two sets of weights under the same names, trained on different pixels:
2018 on RGB 0-255 minus a mean, 2020 on RGB 0-1 with mean and standard deviation. In this order:
1. 400 classes (Kinetics-400) is 2018; 700, 1039, 1139, 800, 339, 439 or 100 classes (Kinetics-700, Moments in
   Time, STAIR Actions and their unions) is 2020;
2. otherwise (a fine-tuned network, or no head) keys with `module.` are 2018, whose files were all written
   through DataParallel, and so is shortcut A, which 2020 does not have; the rest is 2020.
Whoever knows better names the layout: `load_backbone(path, layout="3d-resnets-2018")`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from c3dhash.backbones.layouts import Entries, KnownWeights, Layout
from c3dhash.records import Preprocessing

RESNETS_2018_CLASSES = (400,)
RESNETS_2020_CLASSES = (700, 1039, 1139, 800, 339, 439, 100)


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


class BasicBlock(nn.Module):
    """Add the result of two 3 x 3 x 3 convolutions to the input.

    Source: He et al., CVPR 2016, figure 5 left; shortcut B is the projection of section 3.3.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, shortcut: str) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stride = stride
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(out_channels)
        self.is_same_size = stride == 1 and in_channels == out_channels
        self.downsample = None
        if shortcut == "B" and not self.is_same_size:
            self.downsample = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm3d(out_channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            x = self.downsample(x)
        elif not self.is_same_size:
            x = shortcut_a(x, out_channels=self.out_channels, stride=self.stride)
        out += x
        return F.relu(out, inplace=True)


class ResNet3D18(nn.Module):
    """Map clips to the global average of the last stage.

    Source: Hara et al., Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, CVPR 2018,
        section 3.2 and table 2; the 7 x 7 x 7 stem strides over space only, as in the authors' code.
        Default preprocessing: mean and standard deviation of Kinetics, as used by the authors since 2020.
        Initialisation: He et al., Delving Deep into Rectifiers, ICCV 2015, fan-out.
    """

    name = "resnet3d18"
    num_blocks = (2, 2, 2, 2)
    feature_dim = 512
    clip_size = (16, 112, 112)
    min_clip_size = (1, 16, 16)
    clip_multiple = (1, 1)
    preprocessing = Preprocessing(mean=(0.4345, 0.4051, 0.3775), std=(0.2768, 0.2713, 0.2737))
    shortcuts = ("A", "B")
    shortcut = "B"

    def __init__(self, *, num_frames: int = 16, size: int = 112, shortcut: str = "B") -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)
        self.shortcut = shortcut
        self.stem_conv = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.stem_bn = nn.BatchNorm3d(64)
        self.stage1 = _stage(64, 64, self.num_blocks[0], stride=1, shortcut=shortcut)
        self.stage2 = _stage(64, 128, self.num_blocks[1], stride=2, shortcut=shortcut)
        self.stage3 = _stage(128, 256, self.num_blocks[2], stride=2, shortcut=shortcut)
        self.stage4 = _stage(256, 512, self.num_blocks[3], stride=2, shortcut=shortcut)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):  # batch norms start at weight 1, bias 0
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, BasicBlock):
                # Every block starts as its shortcut, so that the first filters learn from the first step on.
                # Source: Goyal et al., Accurate, Large Minibatch SGD, 2017, section 5.1.
                nn.init.zeros_(layer.bn2.weight)
        self.to(memory_format=torch.channels_last_3d)  # Note [Channels last]

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Compute features.

        Args:
            clips: float [B, 3, T, H, W], preprocessed as `preprocessing` says.
        Returns:
            [B, 512], at least 0, in the dtype of the weights (under autocast, too).
        """
        x = clips.contiguous(memory_format=torch.channels_last_3d)
        x = F.relu(self.stem_bn(self.stem_conv(x)), inplace=True)  # [B, 64, T, H/2, W/2]
        x = F.max_pool3d_with_indices(x, 3, stride=2, padding=1)[0]  # Note [Pooling under autocast]
        x = self.stage1(x)  # [B, 64, T/2, H/4, W/4]
        x = self.stage2(x)  # [B, 128, T/4, H/8, W/8]
        x = self.stage3(x)  # [B, 256, T/8, H/16, W/16]
        x = self.stage4(x)  # [B, 512, T/16, H/32, W/32]
        return x.mean(dim=(2, 3, 4), dtype=self.stem_conv.weight.dtype)


def _stage(in_channels: int, out_channels: int, num_blocks: int, *, stride: int, shortcut: str) -> nn.Module:
    """Stack blocks; the first one changes size and channels."""
    blocks = [BasicBlock(in_channels, out_channels, stride=stride, shortcut=shortcut)]
    for _ in range(num_blocks - 1):
        blocks.append(BasicBlock(out_channels, out_channels, stride=1, shortcut=shortcut))
    return nn.Sequential(*blocks)


RESNET3D_BLOCKS = {ResNet3D18.num_blocks: ResNet3D18.name}


def _is_resnet3d(entries: Entries) -> bool:
    return len(entries.shape("conv1.weight")) == 5 and len(entries.shape("layer1.0.conv1.weight")) == 5


def _is_resnet3d_2018(entries: Entries) -> bool:
    """Decide by Note [2018 or 2020]."""
    num_classes = next(iter(entries.shape("fc.weight")), None)
    if num_classes in RESNETS_2018_CLASSES + RESNETS_2020_CLASSES:
        return num_classes in RESNETS_2018_CLASSES
    return entries.has_module_prefix or _identify_resnet3d(entries, stage="layer")[1] == "A"


def _identify_resnet3d(entries: Entries, *, stage: str) -> tuple[tuple[str, ...], str]:
    """Tell the depth by the number of blocks, and shortcut B by its projections."""
    num_blocks = tuple(entries.count(rf"{stage}{i}\.\d+\.") for i in (1, 2, 3, 4))
    has_bottlenecks = entries.count(rf"{stage}\d\.\d+\.conv3\.") > 0
    has_projections = entries.count(rf"{stage}\d\.\d+\.downsample\.") > 0
    name = None if has_bottlenecks else RESNET3D_BLOCKS.get(num_blocks)
    return (name,) if name else (), "B" if has_projections else "A"


_RESNET3D_RENAME = ((r"^conv1\.", "stem_conv."), (r"^bn1\.", "stem_bn."), (r"^layer(\d)\.", r"stage\1."))
LAYOUTS = (
    Layout(  # resnet-18-kinetics.pth: Hara et al., CVPR 2018
        name="3d-resnets-2018",
        recognise=lambda entries: _is_resnet3d(entries) and _is_resnet3d_2018(entries),
        identify=lambda entries: _identify_resnet3d(entries, stage="layer"),
        rename=_RESNET3D_RENAME,
        heads=("fc.",),
        preprocessing=Preprocessing(channels="RGB", scale=1.0, mean=(114.7748, 107.7354, 99.4750), std=(1.0, 1.0, 1.0)),
    ),
    Layout(  # r3d18_K_200ep.pth: Kataoka et al., arXiv:2004.04968
        name="3d-resnets-2020",
        recognise=lambda entries: _is_resnet3d(entries) and not _is_resnet3d_2018(entries),
        identify=lambda entries: _identify_resnet3d(entries, stage="layer"),
        rename=_RESNET3D_RENAME,
        heads=("fc.",),
        preprocessing=ResNet3D18.preprocessing,
    ),
    Layout(
        name="c3dhash-resnet3d",
        recognise=lambda entries: len(entries.shape("stem_conv.weight")) == 5,
        identify=lambda entries: _identify_resnet3d(entries, stage="stage"),
        rename=(),
        heads=(),
        preprocessing=ResNet3D18.preprocessing,
    ),
)

_HARA = "github.com/kenshohara/3D-ResNets-PyTorch"
KNOWN_WEIGHTS = (
    KnownWeights("kinetics400", "resnet-18-kinetics.pth", "resnet3d18", _HARA),
    KnownWeights("kinetics700", "r3d18_K_200ep.pth", "resnet3d18", _HARA),
    KnownWeights("kinetics700-mit", "r3d18_KM_200ep.pth", "resnet3d18", _HARA),
)
