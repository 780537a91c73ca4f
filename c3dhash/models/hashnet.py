"""HashNet: a backbone with a hash head and a class head beside each other."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c3dhash.bits import num_code_bytes
from c3dhash.config import ModelConfig
from c3dhash.models.backbones import build_backbone
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.precision import guard_conv3d
from c3dhash.models.scaling import FeatureScaling
from c3dhash.records import Preprocessing

LARGEST_VOTE = 5.0  # of the hash head, in a logit


class Outputs(NamedTuple):
    """What a network says about a batch of clips, all float32; None where it lacks the head.

    feature: [B, feature_dim]. embedding: [B, hash_length] in (-1, 1). logits: [B, num_classes].
    """

    feature: Tensor
    embedding: Tensor | None
    logits: Tensor | None


class HashNet(nn.Module):
    """A backbone whose feature is read by a hash head (linear, tanh) and a class head (linear).

    Where classes have codes, the logits are those of the class head and LARGEST_VOTE times the likeness of the
    embedding and the code of each class, from -1 to 1. In training they are the class head's alone: with the votes in
    its loss, which are surer than smoothed labels allow, it learns to take them back, and nothing else. Five folds of
    JHMDB's training list, heads alone, three seeds, accuracy (336 videos: standard error of each 0.03):

                                I3D     EfficientNet-Lite0
        class head              0.691   0.439
        nearest code            0.672   0.511
        both                    0.688   0.501
        votes in the loss: both 0.679   0.470   (the class head alone then 0.019 and 0.032)

    Args:
        backbone: carries feature_dim, clip_size and preprocessing.
        hash_length: bits, or None for a network that only classifies.
        num_classes: or None for a network that only hashes.
        has_unit_features: whether the heads read the feature at length 1.

    scaling, dropout: of a network in training: what stands between the feature and the heads.
    class_codes: +1 or -1, float [num_classes, hash_length]: `training.centers`; None where it was trained without.
    """

    class_codes: Tensor | None
    scaling: FeatureScaling | None
    dropout: float

    def __init__(
        self,
        backbone: Backbone,
        *,
        hash_length: int | None,
        num_classes: int | None,
        has_unit_features: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.has_unit_features = has_unit_features
        self.scaling, self.dropout = None, 0.0
        self.register_buffer("class_codes", None)
        self.hash_head: nn.Linear | None = None
        self.class_head: nn.Linear | None = None
        if hash_length is not None:
            num_code_bytes(hash_length)
            self.hash_head = nn.Linear(backbone.feature_dim, hash_length)
        if num_classes is not None:
            self.class_head = nn.Linear(backbone.feature_dim, num_classes)
        guard_conv3d(self)

    @property
    def clip_size(self) -> tuple[int, int, int]:
        return self.backbone.clip_size

    @property
    def preprocessing(self) -> Preprocessing:
        return self.backbone.preprocessing

    def forward(self, clips: Tensor) -> Outputs:
        """Read normalised clips, float [B, C, T, H, W].

        Raises:
            UsageError: C is not what the backbone reads.
        """
        self.preprocessing.check_channels(clips.shape[1])
        return self.heads(self.backbone(clips).float())

    def heads(self, feature: Tensor) -> Outputs:
        """Read features, float32 [B, feature_dim]. The heads compute in float32 also under autocast."""
        with torch.autocast(feature.device.type, enabled=False):
            read = self.head_inputs(feature)
            if self.dropout:
                read = F.dropout(read, self.dropout, training=self.training)
            embedding = None if self.hash_head is None else torch.tanh(self.hash_head(read))
            logits = None if self.class_head is None else self.class_head(read)
            if logits is not None and embedding is not None and self.class_codes is not None and not self.training:
                likeness = embedding.detach() @ self.class_codes.T / self.class_codes.shape[1]
                logits = logits + LARGEST_VOTE * likeness
        return Outputs(feature, embedding, logits)

    def head_inputs(self, feature: Tensor) -> Tensor:
        """Return what the heads read of features, float32 [B, feature_dim] both."""
        if self.has_unit_features:
            feature = F.normalize(feature, dim=1)
        return feature if self.scaling is None else self.scaling(feature)

    def without_scaling(self) -> HashNet:
        """Return a network that gives the same without a scaling of features; it shares the backbone."""
        if self.scaling is None:
            return self
        twin = HashNet(self.backbone, hash_length=None, num_classes=None, has_unit_features=self.has_unit_features)
        twin.hash_head = None if self.hash_head is None else self.scaling.folded(self.hash_head)
        twin.class_head = None if self.class_head is None else self.scaling.folded(self.class_head)
        twin.class_codes = self.class_codes
        return twin

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        codes = state_dict.get(f"{prefix}class_codes")
        self.class_codes = None if codes is None else torch.empty_like(codes)
        super()._load_from_state_dict(state_dict, prefix, *args)


def build_model(
    config: ModelConfig,
    *,
    num_classes: int | None,
    has_hash_head: bool = True,
    has_unit_features: bool = False,
    has_changes: bool = False,
    has_motion: bool = False,
) -> HashNet:
    """Build an untrained network.

    Args:
        has_unit_features: as for HashNet.
        has_changes, has_motion: whether features also say how frames change, and what moves and where, of a backbone
            that looks at each by itself.
    """
    backbone = build_backbone(config.backbone, num_frames=config.num_frames, size=config.size, shortcut=config.shortcut)
    if has_changes:
        backbone.add_changes()
    if has_motion:
        backbone.add_motion()
    hash_length = config.hash_length if has_hash_head else None
    return HashNet(backbone, hash_length=hash_length, num_classes=num_classes, has_unit_features=has_unit_features)
