"""torchvision's weights of its video models: how to tell them apart, and the files that it publishes."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F

from c3dhash.models.backbones.layouts import Entries, Layout
from c3dhash.models.backbones.torchvision_video import (
    HALVES,
    IMAGENET,
    KINETICS,
    MC318,
    R3D18,
    S3D,
    MViTV1B,
    MViTV2S,
    R2Plus1D18,
    Swin3DB,
    Swin3DS,
    Swin3DT,
)
from c3dhash.models.known_weights import KnownWeights
from c3dhash.records import Preprocessing


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
    kinds: dict[tuple[int, ...], tuple[str, ...]] = {(3, 3, 3): (R3D18.name,), (1, 3, 3): (MC318.name,)}
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
    """Bring a table of positions to another length; leave anything else as it is. See Note [Position tables of MViT] in
    torchvision_video.py.

    Args:
        tensor: [N, C] for a `shape` [M, C]. Where both N and M are squares, the rows are the places of a square frame;
            other tables have 2 n - 1 distances or the 8 pairs of frames of published weights, which are none.
    """
    if tensor.ndim != 2 or len(shape) != 2 or tensor.shape[1] != shape[1] or tensor.shape[0] == shape[0]:
        return tensor
    side, new_side = math.isqrt(tensor.shape[0]), math.isqrt(shape[0])
    rows = tensor.float().T[None]  # [N, C] -> [1, C, N]
    if (side**2, new_side**2) == (tensor.shape[0], shape[0]):
        grid = rows.reshape(1, -1, side, side)
        resampled = F.interpolate(grid, size=(new_side, new_side), mode="bicubic").flatten(2)
    else:
        resampled = F.interpolate(rows, size=shape[0], mode="linear")
    return resampled[0].T.to(tensor.dtype)


# Frames a second. Source: `frame_rate` in the meta data of each of torchvision.models.video's weights.
_FRAME_RATES = {
    R3D18.name: 15,
    MC318.name: 15,
    R2Plus1D18.name: 15,
    S3D.name: 15,
    MViTV1B.name: 7.5,
    MViTV2S.name: 7.5,
    Swin3DT.name: 15,
    Swin3DS.name: 15,
    Swin3DB.name: 15,
}


def _dense(pixels: Preprocessing, backbone: str) -> Preprocessing:
    return dataclasses.replace(pixels, interval_seconds=1 / _FRAME_RATES[backbone])


_RENAME = (
    (r"^(fc|head|head\.1|classifier\.1)\.(?=(weight|bias)$)", "class_head."),
    (r"^(?!network\.|class_head\.)", "network."),
)
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
        preprocessing=_dense(KINETICS, R3D18.name),
    ),
    Layout(  # s3d-d76dad2f.pth
        name="torchvision-s3d",
        recognise=lambda entries: _bare(entries).shape("features.0.0.0.weight") == (64, 3, 1, 7, 7),
        identify=lambda entries: ((S3D.name,), None),
        rename=_RENAME,
        heads=("classifier.",),
        preprocessing=_dense(KINETICS, S3D.name),
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
        preprocessing=_dense(HALVES, MViTV2S.name),
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
        preprocessing=_dense(IMAGENET, Swin3DT.name),
    ),
)

_SOURCE = "github.com/pytorch/vision"
KNOWN_WEIGHTS = tuple(
    KnownWeights(name, file_name, backbone, _SOURCE, torchvision=member, interval_seconds=1 / _FRAME_RATES[backbone])
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
