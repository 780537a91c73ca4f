"""The video models of torchvision as they are, without their classification heads.

torchvision is imported when a model is built, not before: it takes a second, and listing backbones needs none of it.

# Note [Position tables of MViT]
MViT's positions belong to a clip size: mvit_v1_b adds a table of the places in a frame and one of the frames to its
input, mvit_v2_s has, in each attention, a table of the distances between queries and keys along each axis. A model for
another clip size has tables of other lengths, and the weights' are resampled when they are loaded: linearly over
distances and frames, bicubically over places. The former is what torchvision's mvit_v2_s does itself when its input
does not fit its tables.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from c3dhash.errors import UsageError
from c3dhash.models.backbones.base import Backbone, Stage
from c3dhash.records import Preprocessing

KINETICS = Preprocessing(mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989))
HALVES = Preprocessing(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

# The axes of a clip (T, H, W) that the rows of MViT's tables of positions, or of distances (rel_), stand for.
POSITION_TABLES = {"temporal_pos": (0,), "spatial_pos": (1, 2), "rel_pos_t": (0,), "rel_pos_h": (1,), "rel_pos_w": (2,)}


class TorchvisionVideo(Backbone):
    """Map clips to what torchvision's last linear layer would read; the classes below name the models.

    Source: torchvision.models.video; preprocessing from its weight enums. New weights are torchvision's.
    """

    heads: tuple[str, ...]  # attributes of torchvision's model that are left out
    memory_format = torch.channels_last_3d  # Note [Channels last] in resnet3d.py

    def __init__(self, *, num_frames: int | None = None, size: int | None = None) -> None:
        super().__init__()
        import torchvision.models.video

        frames, pixels = num_frames or self.clip_size[0], size or self.clip_size[1]
        self.clip_size = (frames, pixels, pixels)
        self.network = getattr(torchvision.models.video, self.name)(weights=None)
        for head in self.heads:
            setattr(self.network, head, nn.Identity())
        for layer in self.network.modules():
            if isinstance(layer, nn.Conv3d):  # torchvision's own kinds add constructors only,
                layer.__class__ = nn.Conv3d  # but c3dhash.models.precision guards this very class
        self.to(memory_format=self.memory_format)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(self._whole, (self,)),)

    def _whole(self, clips: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network(clips.contiguous(memory_format=self.memory_format))
        return features.to(next(self.parameters()).dtype)


class _VideoResNet(TorchvisionVideo):
    """Source: Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018."""

    feature_dim = 512
    clip_size = (16, 112, 112)
    preprocessing = KINETICS
    heads = ("fc",)

    def stages(self) -> tuple[Stage, ...]:
        layers = [self.network.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
        return (
            Stage(self._stages_0_1, (self.network.get_submodule("stem"), layers[0])),
            Stage(layers[1], (layers[1],)),
            Stage(layers[2], (layers[2],)),
            Stage(self._stage_4, (layers[3],)),
        )

    def _stages_0_1(self, clips: torch.Tensor) -> torch.Tensor:
        x = self.network.get_submodule("stem")(clips.contiguous(memory_format=self.memory_format))
        out: torch.Tensor = self.network.get_submodule("layer1")(x)
        return out

    def _stage_4(self, x: torch.Tensor) -> torch.Tensor:
        x = self.network.get_submodule("avgpool")(self.network.get_submodule("layer4")(x))
        return x.flatten(1).to(next(self.parameters()).dtype)


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

    def stages(self) -> tuple[Stage, ...]:
        features = self.network.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        parts = (features[:5], features[5:8], features[8:14], features[14:])  # behind each pooling
        return tuple(Stage(partial(self._part, number, part), (part,)) for number, part in enumerate(parts))

    def _part(self, number: int, part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = part(x.contiguous(memory_format=self.memory_format))
        return out if number < 3 else out.mean(dim=(2, 3, 4), dtype=next(self.parameters()).dtype)


class _MViT(TorchvisionVideo):
    """Attention over all of a clip, in stages that pool it. It takes clips of the size that it was built for only."""

    feature_dim = 768
    clip_size = (16, 224, 224)
    min_clip_size = (2, 32, 32)
    clip_multiple = (2, 32)  # the input is divided into cells of 2 x 4 x 4, and height and width halved three times
    preprocessing = HALVES
    heads = ("head",)
    memory_format = torch.contiguous_format

    def __init__(self, *, num_frames: int | None = None, size: int | None = None) -> None:
        super().__init__(num_frames=num_frames, size=size)
        if self.clip_size != _MViT.clip_size:
            self._start_tables()

    def _start_tables(self) -> None:
        """Replace the tables of a model for 16 x 224 x 224, which is all that torchvision builds.

        n positions along an axis become n * size / default size, and 2 n - 1 distances become as many as fit those.
        """
        for module in self.network.modules():
            for name, axes in POSITION_TABLES.items():
                if (table := getattr(module, name, None)) is None:
                    continue
                is_distance = name.startswith("rel_")
                length = (table.shape[0] + 1) // 2 if is_distance else table.shape[0]
                for axis in axes:
                    length = length * self.clip_size[axis] // _MViT.clip_size[axis]
                length = 2 * length - 1 if is_distance else length
                new_table = nn.Parameter(table.new_empty(length, table.shape[1]))
                setattr(module, name, nn.init.trunc_normal_(new_table, std=0.02))  # as torchvision does
        positions = self.network.pos_encoding
        positions.temporal_size = self.clip_size[0] // 2
        positions.spatial_size = (self.clip_size[1] // 4, self.clip_size[2] // 4)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Compute features, as every Backbone does.

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
