"""SlowFast: a path that sees few frames and one that sees all of them with an eighth of the channels; and SlowOnly."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from c3dhash.models.backbones.base import Backbone, Stage
from c3dhash.models.backbones.inflated import (
    MMACTION2,
    MMACTION2_PIXELS,
    MMACTION2_RENAME,
    InflatedResNet50,
    mmaction2_kernel_frames,
    pool_space,
    start_weights,
)
from c3dhash.models.backbones.layouts import Entries, Layout
from c3dhash.models.known_weights import KnownWeights

SLOW_KERNEL_FRAMES = ((1, 1, 1), (1, 1, 1, 1), (3, 3, 3, 3, 3, 3), (3, 3, 3))
FAST_KERNEL_FRAMES = ((3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3, 3, 3), (3, 3, 3))
ALPHA = 4  # the fast path sees as many times the frames of the slow one
BETA_INVERSE = 8  # the slow path has as many times the channels of the fast one
LATERAL_FRAMES = 7


class SlowOnly(Backbone):
    """Map clips to the global average of the slow path's last stage; time keeps its length all the way.

    The clips are few frames far apart: in the paper 8, every 8th one of a video.

    Source: Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019, table 1, slow pathway: kernels
        over time in res4 and res5 only, padded with zeros. Default preprocessing: that of mmaction2's weights.
    """

    name = "slowonly"
    feature_dim = 2048
    clip_size = (8, 224, 224)
    preprocessing = MMACTION2_PIXELS

    def __init__(self, *, num_frames: int = 8, size: int = 224) -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)
        self.network = InflatedResNet50(kernel_frames=SLOW_KERNEL_FRAMES, stem_frames=1)
        start_weights(self)

    def stages(self) -> tuple[Stage, ...]:
        return self.network.divide(self._stages_0_1)

    def last_maps(self, clips: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what the global average is taken of: one map, [B, 2048, T, H/32, W/32]."""
        x = self._stages_0_1(clips)
        for number in (2, 3, 4):
            x = self.network.stage(number, x)
        return (x,)

    def _stages_0_1(self, clips: torch.Tensor) -> torch.Tensor:
        x = clips.contiguous(memory_format=torch.channels_last_3d)
        x = pool_space(self.network.stem(x))  # [B, 64, T, H/4, W/4]
        return self.network.stage(1, x)


class SlowFast(Backbone):
    """Map clips to the global averages of both paths' last stages, the slow one's first.

    The fast path sees all frames of a clip, the slow one the first of every four (alpha = 4), so that the number of
    frames is a multiple of 4. After the stem and the first three stages, convolutions of 7 frames that stride by 4
    carry the fast path's channels over, joined to the slow one's. This is the paper's 8 x 8, R50, which its authors
    and mmaction2 (slowfast_r50_8xb8-8x8x1) build with alpha = 4 and lateral kernels of 7 frames. The 4 x 16, with
    alpha = 8 and 5 frames, is another network, and its weights are refused.

    Source: Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019, table 1 and section 3.3,
        "time-strided convolution", beta = 1/8; which frames the slow path sees, and laterals without batch norm and
        ReLU, from mmaction/models/backbones/resnet3d_slowfast.py of mmaction2. Default preprocessing: that of
        mmaction2's weights.
    """

    name = "slowfast"
    feature_dim = 2048 + 2048 // BETA_INVERSE
    clip_size = (32, 224, 224)
    min_clip_size = (ALPHA, 16, 16)
    clip_multiple = (ALPHA, 1)
    preprocessing = MMACTION2_PIXELS

    def __init__(self, *, num_frames: int = 32, size: int = 224) -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)
        fast_channels = [64 // BETA_INVERSE] + [channels // BETA_INVERSE for channels in (256, 512, 1024)]
        self.slow_path = InflatedResNet50(
            kernel_frames=SLOW_KERNEL_FRAMES,
            stem_frames=1,
            lateral_channels=tuple(2 * channels for channels in fast_channels),
        )
        self.fast_path = InflatedResNet50(kernel_frames=FAST_KERNEL_FRAMES, stem_frames=5, width=64 // BETA_INVERSE)
        for place, channels in zip(("conv1", "layer1", "layer2", "layer3"), fast_channels, strict=True):
            lateral = nn.Conv3d(
                channels,
                2 * channels,
                (LATERAL_FRAMES, 1, 1),
                stride=(ALPHA, 1, 1),
                padding=(LATERAL_FRAMES // 2, 0, 0),
                bias=False,
            )
            self.slow_path.add_module(f"{place}_lateral", lateral)
        start_weights(self)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(self._both_paths, (self,)),)  # not divided: between its stages there are two paths

    def last_maps(self, clips: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what the global averages are taken of: [B, 2048, T/4, H/32, W/32] and [B, 256, T, H/32, W/32]."""
        fast = clips.contiguous(memory_format=torch.channels_last_3d)
        slow = clips[:, :, ::ALPHA].contiguous(memory_format=torch.channels_last_3d)
        slow = pool_space(self.slow_path.stem(slow))  # [B, 64, T/4, H/4, W/4]
        fast = pool_space(self.fast_path.stem(fast))  # [B, 8, T, H/4, W/4]
        slow = torch.cat(
            [slow, self.slow_path.get_submodule("conv1_lateral")(fast)], dim=1
        )  # [B, 64 + 16, T/4, H/4, W/4]
        for stage in (1, 2, 3):
            slow, fast = self.slow_path.stage(stage, slow), self.fast_path.stage(stage, fast)
            lateral = self.slow_path.get_submodule(f"layer{stage}_lateral")
            slow = torch.cat([slow, lateral(fast)], dim=1)  # a quarter more channels
        return self.slow_path.stage(4, slow), self.fast_path.stage(4, fast)

    def _both_paths(self, clips: torch.Tensor) -> torch.Tensor:
        dtype = self.slow_path.conv1.weight.dtype
        means = [path.mean(dim=(2, 3, 4), dtype=dtype) for path in self.last_maps(clips)]  # [B, 2048], [B, 256]
        return torch.cat(means, dim=1)


def _identify_slowonly(entries: Entries) -> tuple[tuple[str, ...], None]:
    return ((SlowOnly.name,) if mmaction2_kernel_frames(entries) == SLOW_KERNEL_FRAMES else ()), None


def _identify_slowfast(entries: Entries) -> tuple[tuple[str, ...], None]:
    is_known = (
        mmaction2_kernel_frames(entries, "slow_path.") == SLOW_KERNEL_FRAMES
        and mmaction2_kernel_frames(entries, "fast_path.") == FAST_KERNEL_FRAMES
        and entries.shape("slow_path.conv1_lateral.conv.weight")[2:3] == (LATERAL_FRAMES,)
    )
    return ((SlowFast.name,) if is_known else ()), None


# Every 8th frame of videos of about 30 a second, every 16th for 4x16; 32 frames for SlowFast, every 2nd.
# Source: `8x8x1` and `4x16x1` in the names of mmaction2's files, and Feichtenhofer et al., ICCV 2019, section 4:
# SlowFast 8x8 has tau = 8 and alpha = 4.
_SLOWONLY_INTERVAL_SECONDS, _SLOWONLY_4X16_INTERVAL_SECONDS, _SLOWFAST_INTERVAL_SECONDS = 8 / 30, 16 / 30, 2 / 30
LAYOUTS = (
    Layout(  # slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb_20220901-2132fc87.pth
        name="mmaction2-slowonly",
        recognise=lambda entries: entries.shape("conv1.conv.weight") == (64, 3, 1, 7, 7),
        identify=_identify_slowonly,
        rename=(*MMACTION2_RENAME, (r"^", "network.")),
        heads=("cls_head.",),
        preprocessing=dataclasses.replace(MMACTION2_PIXELS, interval_seconds=_SLOWONLY_INTERVAL_SECONDS),
    ),
    Layout(  # slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb_20220818-1cb6dfc8.pth
        name="mmaction2-slowfast",
        recognise=lambda entries: len(entries.shape("slow_path.conv1.conv.weight")) == 5,
        identify=_identify_slowfast,
        rename=MMACTION2_RENAME,
        heads=("cls_head.",),
        preprocessing=dataclasses.replace(MMACTION2_PIXELS, interval_seconds=_SLOWFAST_INTERVAL_SECONDS),
    ),
    Layout(  # a state dict of ours
        name="c3dhash-slowonly",
        recognise=lambda entries: entries.shape("network.conv1.weight") == (64, 3, 1, 7, 7),
        identify=lambda entries: ((SlowOnly.name,), None),
        rename=(),
        heads=(),
        preprocessing=SlowOnly.preprocessing,
    ),
    Layout(  # a state dict of ours
        name="c3dhash-slowfast",
        recognise=lambda entries: len(entries.shape("slow_path.conv1.weight")) == 5,
        identify=lambda entries: ((SlowFast.name,), None),
        rename=(),
        heads=(),
        preprocessing=SlowFast.preprocessing,
    ),
)
# Action detectors (c3dhash.models.action_detector), short name and file. They began with weights of Kinetics-400, of
# Kinetics-700 (k700) or of OmniSource. ava-kinetics: trained on AVA-Kinetics. Source: README.md of
# configs/detection/{slowonly,slowfast} of mmaction2; for those of December 2020, of configs/detection/ava of version 0.
_AVA_SLOWONLY = (
    ("ava-kinetics", "slowonly_k400-pre-r50_8xb8-8x8x1-10e_ava-kinetics-rgb_20221205-8f8dff3b.pth"),
    ("ava-kinetics-k700", "slowonly_k700-pre-r50_8xb8-8x8x1-10e_ava-kinetics-rgb_20221205-16a01c37.pth"),
)
_AVA_SLOWONLY_4X16 = (
    ("ava", "slowonly_kinetics400-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb_20220906-953ef5fe.pth"),
    ("ava-k700", "slowonly_kinetics700-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb_20220906-b3b6d44e.pth"),
    ("ava-kinetics-4x16", "slowonly_k400-pre-r50_8xb8-4x16x1-10e_ava-kinetics-rgb_20221205-33e3ca7c.pth"),
    ("ava-kinetics-4x16-k700", "slowonly_k700-pre-r50_8xb8-4x16x1-10e_ava-kinetics-rgb_20221205-a07e8c15.pth"),
    ("ava-2020", "slowonly_kinetics_pretrained_r50_4x16x1_20e_ava_rgb_20201217-40061d5f.pth"),
    ("ava-omnisource", "slowonly_omnisource_pretrained_r50_4x16x1_20e_ava_rgb_20201217-0c6d2e98.pth"),
)
_AVA_SLOWFAST = (
    ("ava", "slowfast_kinetics400-pretrained-r50_8xb6-8x8x1-cosine-10e_ava22-rgb_20220906-d934a48f.pth"),
    ("ava21", "slowfast_kinetics400-pretrained-r50_8xb8-8x8x1-20e_ava21-rgb_20220906-39133ec7.pth"),
    ("ava-2020", "slowfast_kinetics_pretrained_r50_8x8x1_20e_ava_rgb_20201217-ae225e97.pth"),
)
KNOWN_WEIGHTS = tuple(
    KnownWeights(name, file_name, backbone, MMACTION2, interval_seconds=interval_seconds)
    for backbone, interval_seconds, name, file_name in (
        (
            "slowonly",
            _SLOWONLY_INTERVAL_SECONDS,
            "kinetics400",
            "slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb_20220901-2132fc87.pth",
        ),
        (
            "slowonly",
            _SLOWONLY_4X16_INTERVAL_SECONDS,
            "kinetics400-4x16",
            "slowonly_r50_4x16x1_256e_8xb16_kinetics400-rgb_20220901-f6a40d08.pth",
        ),
        (
            "slowonly",
            _SLOWONLY_INTERVAL_SECONDS,
            "kinetics400-imagenet",
            "slowonly_imagenet-pretrained-r50_8xb16-8x8x1-steplr-150e_kinetics400-rgb_20220901-df42dc84.pth",
        ),
        (
            "slowonly",
            _SLOWONLY_INTERVAL_SECONDS,
            "kinetics700-imagenet",
            "slowonly_imagenet-pretrained-r50_16xb16-8x8x1-steplr-150e_kinetics700-rgb_20221013-15b93b10.pth",
        ),
        (
            "slowonly",
            _SLOWONLY_INTERVAL_SECONDS,
            "kinetics710-imagenet",
            "slowonly_imagenet-pretrained-r50_32xb8-8x8x1-steplr-150e_kinetics710-rgb_20230612-12ce977c.pth",
        ),
        (
            "slowfast",
            _SLOWFAST_INTERVAL_SECONDS,
            "kinetics400",
            "slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb_20220818-1cb6dfc8.pth",
        ),
        (
            "slowfast",
            _SLOWFAST_INTERVAL_SECONDS,
            "kinetics400-steplr",
            "slowfast_r50_8xb8-8x8x1-steplr-256e_kinetics400-rgb_20220818-b62a501f.pth",
        ),
        *(("slowonly", _SLOWONLY_INTERVAL_SECONDS, name, file_name) for name, file_name in _AVA_SLOWONLY),
        *(("slowonly", _SLOWONLY_4X16_INTERVAL_SECONDS, name, file_name) for name, file_name in _AVA_SLOWONLY_4X16),
        *(("slowfast", _SLOWFAST_INTERVAL_SECONDS, name, file_name) for name, file_name in _AVA_SLOWFAST),
    )
)
