"""What a backbone is and costs, found by building it on the meta device, where nothing is allocated."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from c3dhash.models.backbones import backbone_class, build_backbone
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.listing import BackboneFacts
from c3dhash.models.weight_files import weights_of


def measure(name: str) -> BackboneFacts:
    """Collect what is known of a backbone.

    Raises:
        UsageError: `name` is not in BACKBONES.
    """
    network, built = backbone_class(name), _build_on_meta(name)
    return BackboneFacts(
        name=name,
        feature_dim=network.feature_dim,
        num_parameters=sum(parameter.numel() for parameter in built.parameters()),
        gflops=count_gflops(built),
        clip_size=network.clip_size,
        min_clip_size=network.min_clip_size,
        clip_multiple=network.clip_multiple,
        shortcuts=network.shortcuts,
        preprocessing=network.preprocessing,
        known_weights=weights_of(name),
    )


def _build_on_meta(name: str) -> Backbone:
    try:
        with torch.device("meta"):
            return build_backbone(name)
    except NotImplementedError:  # it computes its widths with tensors, as torchvision's RegNets do
        return build_backbone(name).to("meta")


def count_gflops(backbone: Backbone) -> float:
    """Count what one clip costs in a forward pass, in 10^9 multiply-adds.

    A multiply-add counts once, as papers on video networks count: r3d_18 on 16 x 112 x 112 is 40.7, as torchvision
    states. Convolutions, matrix products and attention are counted, and nothing else.

    Args:
        backbone: on the meta device, so that only shapes are computed.
    """
    clips = torch.empty((1, backbone.preprocessing.num_channels, *backbone.clip_size), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone.eval()(clips)
    return float(counter.get_total_flops()) / 2 / 1e9  # it counts a multiply-add as two
