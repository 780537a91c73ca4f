"""The video models of torchvision as they are, without their classification heads.

torchvision is imported when a model is built, not before: it takes a second, and listing backbones needs none of it.

# Note [Position tables of MViT]
MViT's positions belong to a clip size: mvit_v1_b adds a table of the places of a frame and one of the frames to its
input, mvit_v2_s has, in each attention, a table of the distances between queries and keys along each axis. For another
clip size the weights' tables are resampled when they are loaded: linearly over distances or frames, bicubically over
the places. mvit_v2_s of torchvision does the former itself when its input does not fit its tables.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from c3dhash.backbones.layouts import Entries, KnownWeights, Layout
from c3dhash.errors import UsageError
from c3dhash.records import Preprocessing

KINETICS = Preprocessing(mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989))
HALVES = Preprocessing(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class TorchvisionVideo(nn.Module):
    """Map clips to what torchvision's last linear layer would read; the classes below name the models.

    Source: torchvision.models.video; preprocessing from its weight enums. New weights are torchvision's.
    """

    clip_multiple = (1, 1)
    shortcuts = ()
    shortcut = None
    heads: tuple[str, ...]  # attributes of torchvision's model that are left out
    memory_format = torch.channels_last_3d  # Note [Channels last] in resnet3d.py

    def __init__(self, *, num_frames: int | None = None, size: int | None = None) -> None:
        super().__init__()
        import torchvision.models.video

        frames, pixels = num_frames or self.clip_size[0], size or self.clip_size[1]
        self.clip_size = (frames, pixels, pixels)
        self.network = getattr(torchvision.models.video, self.name)(weights=None, **self._options())
        for head in self.heads:
            setattr(self.network, head, nn.Identity())
        for layer in self.network.modules():
            if isinstance(layer, nn.Conv3d):  # torchvision's own kinds add constructors only,
                layer.__class__ = nn.Conv3d  # but c3dhash.precision guards this very class
        self.to(memory_format=self.memory_format)

    def _options(self) -> dict[str, object]:
        return {}

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Compute features.

        Args:
            clips: float [B, 3, T, H, W], preprocessed as `preprocessing` says.
        Returns:
            [B, feature_dim], in the dtype of the weights (under autocast, too).
        """
        features = self.network(clips.contiguous(memory_format=self.memory_format))
        return features.to(next(self.parameters()).dtype)


class _VideoResNet(TorchvisionVideo):
    """Source: Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018."""

    feature_dim = 512
    clip_size = (16, 112, 112)
    min_clip_size = (1, 16, 16)
    preprocessing = KINETICS
    heads = ("fc",)


class R3D18(_VideoResNet):
    """3D convolutions in all stages."""

    name = "r3d_18"


class MC318(_VideoResNet):
    """3D convolutions in the stem and the first stage, 2D ones behind them."""

    name = "mc3_18"


class R2Plus1D18(_VideoResNet):
    """Each 3D convolution as a 2D one and one over time."""

    name = "r2plus1d_18"


class S3D(TorchvisionVideo):
    """Inception with each 3D convolution as a 2D one and one over time.

    torchvision averages 2 x 7 x 7 cells at a time and then these means; here all cells are averaged at once, which
    takes any clip, and is the same where 2 x 7 x 7 cells are all there are: from 13 to 16 frames of 224 pixels.

    Source: Xie et al., Rethinking Spatiotemporal Feature Learning, ECCV 2018.
    """

    name = "s3d"
    feature_dim = 1024
    clip_size = (16, 224, 224)
    min_clip_size = (5, 17, 17)  # two frames and two rows are left for the last pooling, which halves them
    preprocessing = KINETICS
    heads = ("avgpool", "classifier")

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Compute features: see TorchvisionVideo.forward."""
        cells = self.network.features(clips.contiguous(memory_format=self.memory_format))
        return cells.mean(dim=(2, 3, 4), dtype=next(self.parameters()).dtype)


class _MViT(TorchvisionVideo):
    """Attention over all of a clip, in stages that pool it. It takes clips of the size that it was built for only."""

    feature_dim = 768
    clip_size = (16, 224, 224)
    min_clip_size = (2, 32, 32)
    clip_multiple = (2, 32)  # the input is divided into cells of 2 x 4 x 4, and height and width halved three times
    preprocessing = HALVES
    heads = ("head",)
    memory_format = torch.contiguous_format

    def _options(self) -> dict[str, object]:
        return {"spatial_size": self.clip_size[1:], "temporal_size": self.clip_size[0]}

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Compute features: see TorchvisionVideo.forward.

        Raises:
            UsageError: a clip of another size.
        """
        if clips.shape[2:] != self.clip_size:
            given, expected = (" x ".join(map(str, size)) for size in (clips.shape[2:], self.clip_size))
            raise UsageError(
                f"clips of {given} do not fit this {self.name}, which was built for {expected}: build it for them "
                "(num_frames, size)."
            )
        return super().forward(clips)


class MViTV1B(_MViT):
    """Source: Fan et al., Multiscale Vision Transformers, ICCV 2021."""

    name = "mvit_v1_b"


class MViTV2S(_MViT):
    """Source: Li et al., MViTv2: Improved Multiscale Vision Transformers, CVPR 2022."""

    name = "mvit_v2_s"


class _Swin3D(TorchvisionVideo):
    """Attention within windows that shift; what does not fill a window is padded.

    Source: Liu et al., Video Swin Transformer, CVPR 2022.
    """

    feature_dim = 768
    clip_size = (32, 224, 224)
    min_clip_size = (1, 16, 16)
    preprocessing = IMAGENET
    heads = ("head",)
    memory_format = torch.contiguous_format


class Swin3DT(_Swin3D):
    """The tiny one: six blocks in the third stage."""

    name = "swin3d_t"


class Swin3DS(_Swin3D):
    """The small one: eighteen blocks in the third stage."""

    name = "swin3d_s"


class Swin3DB(_Swin3D):
    """The base one: as deep as swin3d_s, with more channels."""

    name = "swin3d_b"
    feature_dim = 1024


def _bare(entries: Entries) -> Entries:
    """Take our own prefix off: a state dict of ours is then named as torchvision's."""
    return Entries({key.removeprefix("network."): tensor for key, tensor in entries.tensors.items()})


def _identify_resnet(entries: Entries) -> tuple[str, ...]:
    """Tell the kind of the second stage's convolutions; two blocks a stage, without a third convolution."""
    counts = tuple(entries.count(rf"layer{stage}\.\d+\.") for stage in (1, 2, 3, 4))
    if counts != (2, 2, 2, 2) or entries.count(r"layer\d\.\d+\.conv3\."):
        return ()
    if entries.shape("layer2.0.conv1.0.0.weight")[2:] == (1, 3, 3):
        return (R2Plus1D18.name,)
    kinds = {(3, 3, 3): (R3D18.name,), (1, 3, 3): (MC318.name,)}
    return kinds.get(entries.shape("layer2.0.conv1.0.weight")[2:], ())


def _identify_mvit(entries: Entries) -> tuple[str, ...]:
    """Tell by the tables: v1 has those of places, v2 those of distances. Both have sixteen blocks."""
    if entries.count(r"blocks\.\d+\.") != 16 or entries.shape("conv_proj.weight")[0] != 96:
        return ()
    if "pos_encoding.spatial_pos" in entries.tensors:
        return (MViTV1B.name,)
    return (MViTV2S.name,) if "blocks.0.attn.rel_pos_h" in entries.tensors else ()


def _identify_swin(entries: Entries) -> tuple[str, ...]:
    """Tell by the channels, and the number of blocks of the third stage."""
    kinds = {(96, 6): (Swin3DT.name,), (96, 18): (Swin3DS.name,), (128, 18): (Swin3DB.name,)}
    return kinds.get((entries.shape("patch_embed.proj.weight")[0], entries.count(r"features\.4\.\d+\.")), ())


def resample_positions(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Bring a table of positions to another length; leave anything else as it is. See Note [Position tables of MViT].

    Args:
        tensor: [N, C] for a `shape` [M, C]. Where both N and M are squares, the rows are the places of a square frame;
            other tables have 2 n - 1 distances or the 8 pairs of frames of published weights, which are none.
    """
    if tensor.ndim != 2 or len(shape) != 2 or tensor.shape[1] != shape[1] or tensor.shape[0] == shape[0]:
        return tensor
    side, new_side = math.isqrt(tensor.shape[0]), math.isqrt(shape[0])
    rows = tensor.float().T[None]  # [N, C] -> [1, C, N]
    if (side**2, new_side**2) == (tensor.shape[0], shape[0]):
        grid = rows.unflatten(2, (side, side))
        resampled = F.interpolate(grid, size=(new_side, new_side), mode="bicubic").flatten(2)
    else:
        resampled = F.interpolate(rows, size=shape[0], mode="linear")
    return resampled[0].T.to(tensor.dtype)


_RENAME = ((r"^(?!network\.)", "network."),)
LAYOUTS = (
    Layout(  # r3d_18-b3b3357e.pth, mc3_18-a90a0ba3.pth, r2plus1d_18-91a641e6.pth; a state dict of ours, too
        name="torchvision-video-resnet",
        recognise=lambda entries: (
            _bare(entries).shape("stem.0.weight") in ((64, 3, 3, 7, 7), (45, 3, 1, 7, 7))
            and _bare(entries).count(r"layer1\.0\.conv1\.0\.") == 1
        ),
        identify=lambda entries: (_identify_resnet(_bare(entries)), None),
        rename=_RENAME,
        heads=("fc.",),
        preprocessing=KINETICS,
    ),
    Layout(  # s3d-d76dad2f.pth
        name="torchvision-s3d",
        recognise=lambda entries: _bare(entries).shape("features.0.0.0.weight") == (64, 3, 1, 7, 7),
        identify=lambda entries: ((S3D.name,), None),
        rename=_RENAME,
        heads=("classifier.",),
        preprocessing=KINETICS,
    ),
    Layout(  # mvit_v1_b-dbeb1030.pth, mvit_v2_s-ae3be167.pth
        name="torchvision-mvit",
        recognise=lambda entries: (
            len(_bare(entries).shape("conv_proj.weight")) == 5
            and bool(_bare(entries).shape("pos_encoding.class_token"))
        ),
        identify=lambda entries: (_identify_mvit(_bare(entries)), None),
        rename=_RENAME,
        heads=("head.",),
        preprocessing=HALVES,
        adapt=resample_positions,
    ),
    Layout(  # swin3d_t-7615ae03.pth and its like
        name="torchvision-swin3d",
        recognise=lambda entries: (
            len(_bare(entries).shape("patch_embed.proj.weight")) == 5
            and bool(_bare(entries).shape("features.0.0.attn.relative_position_bias_table"))
        ),
        identify=lambda entries: (_identify_swin(_bare(entries)), None),
        rename=_RENAME,
        heads=("head.",),
        preprocessing=IMAGENET,
    ),
)

_SOURCE = "download.pytorch.org/models"
KNOWN_WEIGHTS = tuple(
    KnownWeights(name, file_name, backbone, _SOURCE, torchvision=member)
    for backbone, name, file_name, member in (
        ("r3d_18", "kinetics400", "r3d_18-b3b3357e.pth", "R3D_18_Weights.KINETICS400_V1"),
        ("mc3_18", "kinetics400", "mc3_18-a90a0ba3.pth", "MC3_18_Weights.KINETICS400_V1"),
        ("r2plus1d_18", "kinetics400", "r2plus1d_18-91a641e6.pth", "R2Plus1D_18_Weights.KINETICS400_V1"),
        ("s3d", "kinetics400", "s3d-d76dad2f.pth", "S3D_Weights.KINETICS400_V1"),
        ("mvit_v1_b", "kinetics400", "mvit_v1_b-dbeb1030.pth", "MViT_V1_B_Weights.KINETICS400_V1"),
        ("mvit_v2_s", "kinetics400", "mvit_v2_s-ae3be167.pth", "MViT_V2_S_Weights.KINETICS400_V1"),
        ("swin3d_t", "kinetics400", "swin3d_t-7615ae03.pth", "Swin3D_T_Weights.KINETICS400_V1"),
        ("swin3d_s", "kinetics400", "swin3d_s-da41c237.pth", "Swin3D_S_Weights.KINETICS400_V1"),
        ("swin3d_b", "kinetics400", "swin3d_b_1k-24f7c7c6.pth", "Swin3D_B_Weights.KINETICS400_V1"),
        (
            "swin3d_b",
            "kinetics400-imagenet22k",
            "swin3d_b_22k-7c6ae6fa.pth",
            "Swin3D_B_Weights.KINETICS400_IMAGENET22K_V1",
        ),
    )
)
