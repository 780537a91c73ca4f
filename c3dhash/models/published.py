"""Published weights as they are: backbone and class head of a file, as a run that recognises without training."""

from __future__ import annotations

from pathlib import Path

import torch

from c3dhash.errors import CheckpointError
from c3dhash.models.action_detector import is_action_detector
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.fingerprints import fingerprint
from c3dhash.models.hashnet import HashNet
from c3dhash.models.identify import open_checkpoint
from c3dhash.models.runs import Run
from c3dhash.models.weights import find_weights, load_backbone

HEAD = "class_head."  # how layouts name a class head


def published_run(backbone: str, weights: Path | str) -> Run:
    """Load a network with the class head that its weights were published with.

    Args:
        backbone: a key of BACKBONES.
        weights: as for `find_weights`.
    Returns:
        A run without a hash head, in evaluation mode; its path is that of the weights.
    Raises:
        CheckpointError: the weights are not found or do not fit, or have no class head whose classes are known, or one
            for people in boxes.
        UsageError: `backbone` is not a known name.
    """
    path = find_weights(weights, backbone=backbone)
    if is_action_detector(path):
        raise CheckpointError(
            f"weights '{path}' for {backbone} recognise what people in boxes do, not whole clips: "
            f"c3dhash classify VIDEO --people --backbone {backbone} --weights {weights}."
        )
    network = load_backbone(path, backbone=backbone)
    head = _class_head(path, network)
    if head is None:
        raise CheckpointError(
            f"weights '{path}' for {backbone} bring no class head that is known here: train one (c3dhash train), or "
            "take weights with one, such as --backbone i3d --weights kinetics400."
        )
    weight, bias = head
    labels = _labels(len(bias))
    if labels is None:
        raise CheckpointError(
            f"weights '{path}' for {backbone} tell {len(bias)} classes apart, whose names are not known; known are the "
            "400 of Kinetics-400 and the 1000 of ImageNet: train a class head (c3dhash train), or take other weights."
        )
    model = HashNet(network, hash_length=None, num_classes=len(labels))
    assert model.class_head is not None
    with torch.no_grad():
        model.class_head.weight.copy_(weight)
        model.class_head.bias.copy_(bias)
    config = {"backbone": backbone, "weights": str(weights)}
    return Run(path, config, labels, model.eval(), fingerprint(model))


def _class_head(path: Path, network: Backbone) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Read weight [classes, feature_dim] and bias [classes] of a linear class head.

    Returns:
        None where there is none, or where it was trained on features of another network: a TSM can start from the
        weights of a TSN, but what it makes of them the class head has never seen.
    """
    checkpoint = open_checkpoint(path, layout=None)
    if network.name != next(iter(checkpoint.backbones), network.name):
        return None
    own_name, adapt = checkpoint.layout.own_name, checkpoint.layout.adapt
    found = {own_name(key): tensor for key, tensor in checkpoint.entries.tensors.items()}
    weight, bias = found.get(f"{HEAD}weight"), found.get(f"{HEAD}bias")
    if weight is None or bias is None:
        return None
    shape = torch.Size((bias.numel(), network.feature_dim))
    if weight.numel() != shape.numel():
        return None
    return (adapt(weight, shape) if adapt else weight).reshape(shape), bias


def _labels(num_classes: int) -> tuple[str, ...] | None:
    """Return the names of the classes, in the order of the class scores; None where they are not known.

    Source: Kinetics-400 counts its classes in the order of their names, ImageNet in that of WordNet's numbers, and
        torchvision lists both.
    """
    from torchvision.models import MobileNet_V2_Weights
    from torchvision.models.video import R3D_18_Weights

    lists = (R3D_18_Weights.KINETICS400_V1.meta["categories"], MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])
    return next((tuple(names) for names in lists if len(names) == num_classes), None)
