"""C3D: eight 3 x 3 x 3 convolutions, five poolings, two fully connected layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from c3dhash.models.backbones.base import Backbone, Stage
from c3dhash.models.backbones.layouts import Layout
from c3dhash.models.known_weights import KnownWeights
from c3dhash.records import Preprocessing


class C3D(Backbone):
    """Map clips to fc7 after ReLU.

    In front of fc6 the last pooling's output is averaged (or repeated) to 1 x 4 x 4 cells. A clip of
    16 x 112 x 112 has just these, so that its feature does not change; any other clip fits the same fc6.
    Poolings round up, so that no frame or row is left out and a short clip keeps a frame; where the sides
    are multiples of 16 this changes nothing.

    Source: Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks, ICCV 2015,
        section 3.3 and figure 3; dropout 0.5 as in the authors' Caffe model. The last pooling is padded by
        one row and column, as in the PyTorch ports whose checkpoints are in use (7 x 7 -> 4 x 4). The
        initialisation is not the paper's: He et al., Delving Deep into Rectifiers, ICCV 2015, equation 10.
    """

    name = "c3d"
    feature_dim = 4096
    clip_size = (16, 112, 112)
    preprocessing = Preprocessing()

    def __init__(self, *, num_frames: int = 16, size: int = 112) -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)
        self.conv1a = nn.Conv3d(3, 64, 3, padding=1)
        self.conv2a = nn.Conv3d(64, 128, 3, padding=1)
        self.conv3a = nn.Conv3d(128, 256, 3, padding=1)
        self.conv3b = nn.Conv3d(256, 256, 3, padding=1)
        self.conv4a = nn.Conv3d(256, 512, 3, padding=1)
        self.conv4b = nn.Conv3d(512, 512, 3, padding=1)
        self.conv5a = nn.Conv3d(512, 512, 3, padding=1)
        self.conv5b = nn.Conv3d(512, 512, 3, padding=1)
        self.fc6 = nn.Linear(512 * 1 * 4 * 4, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.dropout = nn.Dropout(0.5)
        for layer in self.children():
            if isinstance(layer, nn.Conv3d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.to(memory_format=torch.channels_last_3d)  # Note [Channels last] in resnet3d.py

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage(self._stages_1_2, (self.conv1a, self.conv2a)),
            Stage(self._stage_3, (self.conv3a, self.conv3b)),
            Stage(self._stage_4, (self.conv4a, self.conv4b)),
            Stage(self._stage_5, (self.conv5a, self.conv5b)),
            Stage(self._linear, (self.fc6, self.fc7)),
        )

    def _stages_1_2(self, clips: torch.Tensor) -> torch.Tensor:
        x = clips.contiguous(memory_format=torch.channels_last_3d)
        x = F.relu(self.conv1a(x), inplace=True)
        x = _max_pool(x, (1, 2, 2))  # [B, 64, T, H/2, W/2]
        x = F.relu(self.conv2a(x), inplace=True)
        return _max_pool(x, (2, 2, 2))  # [B, 128, T/2, H/4, W/4]

    def _stage_3(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv3a(x), inplace=True)
        x = F.relu(self.conv3b(x), inplace=True)
        return _max_pool(x, (2, 2, 2))  # [B, 256, T/4, H/8, W/8]

    def _stage_4(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv4a(x), inplace=True)
        x = F.relu(self.conv4b(x), inplace=True)
        return _max_pool(x, (2, 2, 2))  # [B, 512, T/8, H/16, W/16]

    def _stage_5(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv5a(x), inplace=True)
        x = F.relu(self.conv5b(x), inplace=True)
        return _max_pool(x, (2, 2, 2), padding=(0, 1, 1))  # [B, 512, T/16, H/32 + 1/2, W/32 + 1/2]

    def _linear(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool3d(x, (1, 4, 4)).flatten(1)  # [B, 512, 1, 4, 4] -> [B, 8192]
        x = self.dropout(F.relu(self.fc6(x), inplace=True))
        feature: torch.Tensor = self.dropout(F.relu(self.fc7(x), inplace=True))
        return feature.to(self.fc7.weight.dtype)


def _max_pool(x: torch.Tensor, size: tuple[int, ...], padding: tuple[int, ...] = (0, 0, 0)) -> torch.Tensor:
    """Pool without overlap. Note [Pooling under autocast] in resnet3d.py says why with indices."""
    return F.max_pool3d_with_indices(x, size, padding=padding, ceil_mode=True)[0]


# 16 consecutive frames, of videos of about 30 a second. Source: Tran et al., ICCV 2015, sections 3.2 and 3.3; mmaction2
# samples so, too (clip_len=16, frame_interval=1), and its UCF101 has 25 frames a second.
_INTERVAL_SECONDS, _UCF101_INTERVAL_SECONDS = 1 / 30, 1 / 25
_C3D_FLAT_RENAME = (
    (r"^features\.0\.", "conv1a."),
    (r"^features\.3\.", "conv2a."),
    (r"^features\.6\.", "conv3a."),
    (r"^features\.8\.", "conv3b."),
    (r"^features\.11\.", "conv4a."),
    (r"^features\.13\.", "conv4b."),
    (r"^features\.16\.", "conv5a."),
    (r"^features\.18\.", "conv5b."),
    (r"^classifier\.0\.", "fc6."),
    (r"^classifier\.3\.", "fc7."),
)
LAYOUTS = (
    Layout(  # c3d-pretrained.pth: Sports-1M weights of Tran et al., ported to PyTorch
        name="c3d-flat",
        recognise=lambda entries: entries.shape("features.0.weight") == (64, 3, 3, 3, 3),
        identify=lambda entries: (("c3d",), None),
        rename=_C3D_FLAT_RENAME,
        heads=("fc8.", "classifier.6."),
        preprocessing=Preprocessing(
            channels="BGR", scale=1.0, mean=(90.0, 98.0, 102.0), std=(1.0, 1.0, 1.0), interval_seconds=_INTERVAL_SECONDS
        ),
    ),
    # c3d.pickle: the authors' Sports-1M model ported by D. Abati, with 487 classes.
    # Source: C3D_model.py and predict.py of github.com/DavideA/c3d-pytorch, which feeds RGB 0-255 without a mean.
    Layout(
        name="c3d-pytorch",
        recognise=lambda entries: (
            entries.shape("conv1.weight") == (64, 3, 3, 3, 3) and len(entries.shape("conv3a.weight")) == 5
        ),
        identify=lambda entries: (("c3d",), None),
        rename=((r"^conv([12])\.", r"conv\1a."),),
        heads=("fc8.",),
        preprocessing=Preprocessing(
            channels="RGB", scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interval_seconds=_INTERVAL_SECONDS
        ),
    ),
    # c3d_sports1m_pretrain_20201016-dcc47ddc.pth, and what was fine-tuned from it with mmaction2.
    # Source: configs/_base_/models/c3d_sports1m_pretrained.py of github.com/open-mmlab/mmaction2. Its mean is one
    # of BGR pixels, but its pixels are RGB in that order.
    Layout(
        name="mmaction2-c3d",
        recognise=lambda entries: entries.shape("conv1a.conv.weight") == (64, 3, 3, 3, 3),
        identify=lambda entries: (("c3d",), None),
        rename=((r"^(conv\d[ab])\.conv\.", r"\1."),),
        heads=("fc8.",),
        preprocessing=Preprocessing(
            channels="RGB",
            scale=1.0,
            mean=(104.0, 117.0, 128.0),
            std=(1.0, 1.0, 1.0),
            interval_seconds=_INTERVAL_SECONDS,
        ),
    ),
    Layout(  # a state dict of ours; a run says which preprocessing, a bare one has the architecture's
        name="c3dhash-c3d",
        recognise=lambda entries: len(entries.shape("conv1a.weight")) == 5,
        identify=lambda entries: (("c3d",), None),
        rename=(),
        heads=(),
        preprocessing=C3D.preprocessing,
    ),
)
_MMACTION2 = "github.com/open-mmlab/mmaction2"
KNOWN_WEIGHTS = tuple(
    KnownWeights(name, file_name, "c3d", source, interval_seconds=interval_seconds)
    for name, file_name, source, interval_seconds in (
        ("sports1m", "c3d-pretrained.pth", "github.com/jfzhang95/pytorch-video-recognition", _INTERVAL_SECONDS),
        ("sports1m-487", "c3d.pickle", "github.com/DavideA/c3d-pytorch", _INTERVAL_SECONDS),
        ("sports1m-mmaction2", "c3d_sports1m_pretrain_20201016-dcc47ddc.pth", _MMACTION2, _INTERVAL_SECONDS),
        (
            "ucf101-mmaction2",
            "c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb_20220811-31723200.pth",
            _MMACTION2,
            _UCF101_INTERVAL_SECONDS,
        ),
    )
)
