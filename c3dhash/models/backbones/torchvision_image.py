"""2D ResNets of torchvision, trained on ImageNet, as a start for networks of videos."""

from __future__ import annotations

import torch

from c3dhash.models.backbones.layouts import Entries, Layout
from c3dhash.models.known_weights import KnownWeights
from c3dhash.records import Preprocessing

# Who starts from which depth; (blocks a stage, bottlenecks) -> backbones, the usual one first.
_BACKBONES: dict[tuple[tuple[int, ...], bool], tuple[str, ...]] = {
    ((2, 2, 2, 2), False): ("tsn_resnet18", "tsm_resnet18"),
    ((3, 4, 6, 3), True): ("tsn_resnet50", "tsm_resnet50", "i3d_r50"),
}


def inflate(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Repeat a 2D kernel along time and divide it by its length; leave anything else as it is.

    Args:
        tensor: [C_out, C_in, H, W] for a `shape` [C_out, C_in, T, H, W].
    Source: Carreira and Zisserman, Quo Vadis, Action Recognition?, CVPR 2017, section 2.4.
    """
    if tensor.ndim != 4 or len(shape) != 5 or tensor.shape != shape[:2] + shape[3:]:
        return tensor
    return (tensor / shape[2]).unsqueeze(2).expand(shape)


def _identify(entries: Entries) -> tuple[tuple[str, ...], None]:
    """Tell the depth; Wide ResNets and ResNeXts have the same entries with other channels."""
    num_blocks = tuple(entries.count(rf"layer{stage}\.\d+\.") for stage in (1, 2, 3, 4))
    has_bottlenecks = entries.count(r"layer\d\.\d+\.conv3\.") > 0
    is_narrow = entries.shape("layer1.0.conv2.weight")[:2] == (64, 64)
    return (_BACKBONES.get((num_blocks, has_bottlenecks), ()) if is_narrow else ()), None


LAYOUTS = (
    Layout(  # resnet50-0676ba61.pth
        name="torchvision-resnet",
        recognise=lambda entries: (
            entries.shape("conv1.weight") == (64, 3, 7, 7) and len(entries.shape("layer1.0.conv1.weight")) == 4
        ),
        identify=_identify,
        rename=((r"^", "network."),),
        heads=("fc.",),
        preprocessing=Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        adapt=inflate,
        implied=(("edge", 1.0),),  # Note [Still clips] in i3d_r50.py
    ),
)
_SOURCE = "github.com/pytorch/vision"
KNOWN_WEIGHTS = (
    KnownWeights("imagenet", "resnet50-0676ba61.pth", "i3d_r50", _SOURCE, torchvision="ResNet50_Weights.IMAGENET1K_V1"),
    KnownWeights(
        "imagenet-v2", "resnet50-11ad3fa6.pth", "i3d_r50", _SOURCE, torchvision="ResNet50_Weights.IMAGENET1K_V2"
    ),
)
