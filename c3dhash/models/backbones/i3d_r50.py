"""I3D with a ResNet-50: a 2D network inflated, so that it may start from weights of ImageNet.

# Note [Still clips]
A 2D kernel repeated k times along time and divided by k gives on a still clip what it gives on the picture, wherever
all its k frames are there. Beside the first and the last frame some are missing: padding them with zeros makes the
network darker there, and by the last stage no frame is free of it. Here the first and the last frame are repeated
instead, so that with 2D weights the feature of a still clip of any length is the 2D network's. Weights that were
trained on videos with zeros around them (mmaction2) need their zeros. Which it is belongs to the weights: `edge`,
an entry of the state dict, is 1 or 0, the factor with which the outermost frame goes on.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

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
from c3dhash.records import Preprocessing

# Every other block reaches over three frames; in the first stage all do.
KERNEL_FRAMES = ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1))


class I3DR50(Backbone):
    """Map clips to the global average of the last stage.

    Time is halved by the stem, by the pooling behind it and by the one behind the first stage, which rounds up: no
    clip is too short. The weights of mmaction2 were trained on 32 frames, every other one of a video; 8 or 16 work
    too, with 1 or 2 frames left in the last stages instead of 4. Note [Still clips] says how the ends are padded.
    In a clip of 4 n frames the last one is not seen, as published: the stem's kernels reach 2 frames to each side
    of frames 0, 4, 8, ...

    Source: Carreira and Zisserman, Quo Vadis, Action Recognition?, CVPR 2017, section 2.4 (inflation); Wang et al.,
        Non-local Neural Networks, CVPR 2018, table 1 and section 4 (ResNet-50); which kernels are inflated, and the
        first pooling of 1 x 3 x 3 instead of 3 x 3 x 3, from configs/_base_/models/i3d_r50.py of mmaction2.
        Default preprocessing: torchvision's ImageNet weights.
    """

    name = "i3d_r50"
    edge: torch.Tensor
    feature_dim = 2048
    clip_size = (32, 224, 224)
    preprocessing = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

    def __init__(self, *, num_frames: int = 32, size: int = 224) -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)
        self.network = InflatedResNet50(
            kernel_frames=KERNEL_FRAMES, stem_frames=5, stem_stride=2, has_own_padding=False
        )
        self.register_buffer("edge", torch.ones(()))
        start_weights(self)

    def stages(self) -> tuple[Stage, ...]:
        return self.network.divide(self._stages_0_1, edge=self.edge)

    def _stages_0_1(self, clips: torch.Tensor) -> torch.Tensor:
        x = clips.contiguous(memory_format=torch.channels_last_3d)
        x = self.network.stem(x, self.edge)  # [B, 64, T/2, H/2, W/2]
        x = pool_space(x, stride=2)  # [B, 64, T/4, H/4, W/4]
        x = self.network.stage(1, x, self.edge)  # [B, 256, T/4, H/4, W/4]
        return F.max_pool3d_with_indices(x, (2, 1, 1), ceil_mode=True)[0]  # [B, 256, T/8, H/4, W/4]


def _identify_mmaction2(entries: Entries) -> tuple[tuple[str, ...], None]:
    return ((I3DR50.name,) if mmaction2_kernel_frames(entries) == KERNEL_FRAMES else ()), None


# Every second frame of videos of about 30 a second. Source: `32x2x1` in the names of mmaction2's files.
_INTERVAL_SECONDS = 2 / 30
LAYOUTS = (
    Layout(  # i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb_20220812-e213c223.pth
        name="mmaction2-i3d",
        recognise=lambda entries: entries.shape("conv1.conv.weight") == (64, 3, 5, 7, 7),
        identify=_identify_mmaction2,
        rename=(*MMACTION2_RENAME, (r"^", "network.")),
        heads=("cls_head.",),
        preprocessing=dataclasses.replace(MMACTION2_PIXELS, interval_seconds=_INTERVAL_SECONDS),
        implied=(("edge", 0.0),),
    ),
    Layout(  # a state dict of ours
        name="c3dhash-i3d-r50",
        recognise=lambda entries: entries.shape("network.conv1.weight") == (64, 3, 5, 7, 7),
        identify=lambda entries: ((I3DR50.name,), None),
        rename=(),
        heads=(),
        preprocessing=I3DR50.preprocessing,
    ),
)
KNOWN_WEIGHTS = (
    KnownWeights(
        "kinetics400",
        "i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb_20220812-e213c223.pth",
        "i3d_r50",
        MMACTION2,
        interval_seconds=_INTERVAL_SECONDS,
    ),
    KnownWeights(
        "kinetics400-dense",
        "i3d_imagenet-pretrained-r50_8xb8-dense-32x2x1-100e_kinetics400-rgb_20220812-9f46003f.pth",
        "i3d_r50",
        MMACTION2,
        interval_seconds=_INTERVAL_SECONDS,
    ),
)
