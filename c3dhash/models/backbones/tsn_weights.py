"""Published weights of the 2D networks of TSN and TSM: how they name their entries, and which files are known."""

from __future__ import annotations

import re

import torch

from c3dhash.models.backbones.layouts import Entries, Layout
from c3dhash.models.backbones.tsn import IMAGENET
from c3dhash.models.known_weights import KnownWeights
from c3dhash.records import Preprocessing

# Source: mmaction2, configs/recognition/tsn and tsm, `data_preprocessor`.
MMACTION2 = Preprocessing(scale=1.0, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
# Source: TF-slim, research/slim/preprocessing/inception_preprocessing.py: [-1, 1].
TF_SLIM = Preprocessing(scale=1 / 127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))


def _architecture(entries: Entries, *, prefix: str = "") -> str | None:
    """Tell torchvision's 2D network by an entry near its end and its number of blocks; None for any other."""
    for name, key, shape, blocks, num_blocks in (
        ("resnet18", "layer4.1.conv2.weight", (512, 512, 3, 3), r"layer\d\.\d+\.", 8),
        ("resnet50", "layer4.2.conv3.weight", (2048, 512, 1, 1), r"layer\d\.\d+\.", 16),
        ("mobilenet_v2", "features.18.0.weight", (1280, 320, 1, 1), r"features\.\d+\.", 19),
        ("efficientnet_b0", "features.8.0.weight", (1280, 320, 1, 1), r"features\.[1-7]\.\d+\.", 16),
        ("convnext_tiny", "features.7.2.block.5.weight", (768, 3072), r"features\.[1357]\.\d+\.", 18),
    ):
        if entries.shape(prefix + key) == shape and entries.count(re.escape(prefix) + blocks) == num_blocks:
            return name
    return None


def own_architecture(entries: Entries, *, num_channels: int) -> str | None:
    """Tell torchvision's 2D network by entries of ours, of which the first layer reads so many channels."""
    first = entries.shape("network.conv1.weight") or entries.shape("network.features.0.0.weight")
    return _architecture(entries, prefix="network.") if first[1:2] == (num_channels,) else None


def _both(architecture: str | None) -> tuple[tuple[str, ...], None]:
    """Name the backbones that take a 2D network's weights."""
    return (f"tsn_{architecture}", f"tsm_{architecture}") if architecture else (), None


def _is_mobilenet_of_slim(entries: Entries) -> bool:
    """TF-slim counts a class "background" in front of the 1000 of ImageNet."""
    return _architecture(entries) == "mobilenet_v2" and entries.shape("classifier.1.weight")[:1] == (1001,)


def turn(tensor: torch.Tensor, _shape: torch.Size) -> torch.Tensor:
    """Turn a kernel by 180 degrees: Note [Padding of TF-slim] in tsn.py."""
    return tensor.flip(2, 3) if tensor.ndim == 4 else tensor


def identify_video_resnet(entries: Entries, *, prefix: str = "", conv: str = "") -> tuple[tuple[str, ...], None]:
    """Tell depth and kind of a 2D ResNet trained on video: with shifts a TSM; without, a TSN, or a start for a TSM.

    prefix, conv: what upstream's names have in front of `layer1` and behind `conv1`.
    """
    blocks = entries.count(rf"{re.escape(prefix)}layer\d\.\d+\.")
    for architecture, num_blocks, last, shape in (
        ("resnet18", 8, "conv2", (512, 512, 3, 3)),
        ("resnet50", 16, "conv3", (2048, 512, 1, 1)),
    ):
        if blocks == num_blocks and entries.shape(f"{prefix}layer4.1.{last}{conv}.weight") == shape:
            is_shifted = any(".net." in key for key in entries.tensors)  # the shifting wrapper of a convolution
            return ((f"tsm_{architecture}",), None) if is_shifted else _both(architecture)
    return (), None


_TORCHVISION_RENAME = ((r"^", "network."),)
MMACTION2_RENAME = (
    (r"\.net\.", "."),
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.bn\.", r"bn\1."),
    (r"downsample\.conv\.", "downsample.0."),
    (r"downsample\.bn\.", "downsample.1."),
    (r"^", "network."),
)
LAYOUTS = (
    Layout(  # mobilenet_v2-*.pth
        name="torchvision-mobilenet-v2",
        recognise=lambda entries: _architecture(entries) == "mobilenet_v2" and not _is_mobilenet_of_slim(entries),
        identify=lambda entries: _both("mobilenet_v2"),
        rename=_TORCHVISION_RENAME,
        heads=("classifier.",),
        preprocessing=IMAGENET,
        implied=(("turned", 0.0),),
    ),
    Layout(  # mobilenet_v2_imagenet1001.safetensors; Note [Padding of TF-slim] in tsn.py
        name="tf-slim-mobilenet-v2",
        recognise=_is_mobilenet_of_slim,
        identify=lambda entries: _both("mobilenet_v2"),
        rename=_TORCHVISION_RENAME,
        heads=("classifier.",),
        preprocessing=TF_SLIM,
        adapt=turn,
        implied=(("turned", 1.0),),
    ),
    Layout(  # efficientnet_b0_rwightman-*.pth
        name="torchvision-efficientnet-b0",
        recognise=lambda entries: _architecture(entries) == "efficientnet_b0",
        identify=lambda entries: _both("efficientnet_b0"),
        rename=_TORCHVISION_RENAME,
        heads=("classifier.",),
        preprocessing=IMAGENET,
    ),
    Layout(  # convnext_tiny-*.pth; classifier.0 is a normalisation and part of the feature
        name="torchvision-convnext-tiny",
        recognise=lambda entries: _architecture(entries) == "convnext_tiny",
        identify=lambda entries: _both("convnext_tiny"),
        rename=_TORCHVISION_RENAME,
        heads=("classifier.2.",),
        preprocessing=IMAGENET,
    ),
    Layout(  # mmaction2's tsn_*r50*.pth and tsm_*r50*.pth
        name="mmaction2-2d",
        recognise=lambda entries: (
            entries.shape("conv1.conv.weight") == (64, 3, 7, 7) and "layer1.0.conv1.bn.weight" in entries.tensors
        ),
        identify=lambda entries: identify_video_resnet(entries, conv=".conv"),
        rename=MMACTION2_RENAME,
        heads=("fc.",),
        preprocessing=MMACTION2,
    ),
    Layout(  # TSM_*_RGB_resnet50_*.pth of the authors of TSM, and the TSNs that their code trains
        name="tsm-authors",
        recognise=lambda entries: (
            entries.shape("base_model.conv1.weight") == (64, 3, 7, 7) and "base_model.bn1.weight" in entries.tensors
        ),
        identify=lambda entries: identify_video_resnet(entries, prefix="base_model."),
        rename=((r"^base_model\.", "network."), (r"\.net\.", ".")),
        heads=("new_fc.", "base_model.fc."),
        preprocessing=IMAGENET,
    ),
    Layout(
        name="c3dhash-2d",
        recognise=lambda entries: own_architecture(entries, num_channels=3) is not None,
        identify=lambda entries: _both(own_architecture(entries, num_channels=3)),
        rename=(),
        heads=(),
        preprocessing=IMAGENET,
    ),
)

# The name to type, the file, the network, and what torchvision calls it.
# Source: the URLs of torchvision.models.*_Weights.
_TORCHVISION_FILES = (
    ("imagenet", "resnet18-f37072fd.pth", "resnet18", "ResNet18_Weights.IMAGENET1K_V1"),
    ("imagenet", "resnet50-0676ba61.pth", "resnet50", "ResNet50_Weights.IMAGENET1K_V1"),
    ("imagenet-v2", "resnet50-11ad3fa6.pth", "resnet50", "ResNet50_Weights.IMAGENET1K_V2"),
    ("imagenet", "mobilenet_v2-b0353104.pth", "mobilenet_v2", "MobileNet_V2_Weights.IMAGENET1K_V1"),
    ("imagenet-v2", "mobilenet_v2-7ebf99e0.pth", "mobilenet_v2", "MobileNet_V2_Weights.IMAGENET1K_V2"),
    (
        "imagenet",
        "efficientnet_b0_rwightman-7f5810bc.pth",
        "efficientnet_b0",
        "EfficientNet_B0_Weights.IMAGENET1K_V1",
    ),
    ("imagenet", "convnext_tiny-983f1562.pth", "convnext_tiny", "ConvNeXt_Tiny_Weights.IMAGENET1K_V1"),
)
_SLIM_FILE = "mobilenet_v2_imagenet1001.safetensors"
MMACTION2_SOURCE = "github.com/open-mmlab/mmaction2"


def image_weights(kind: str) -> tuple[KnownWeights, ...]:
    """List the known weights of the 2D networks for a kind of backbone, "tsn", "tsm" or "tsn_flow"."""
    torchvision = [
        KnownWeights(name, file_name, f"{kind}_{architecture}", "github.com/pytorch/vision", torchvision=member)
        for name, file_name, architecture, member in _TORCHVISION_FILES
    ]
    slim = KnownWeights("imagenet1001", _SLIM_FILE, f"{kind}_mobilenet_v2", "github.com/google-coral/test_data")
    return (*torchvision, slim)


KNOWN_WEIGHTS = (
    *image_weights("tsn"),
    KnownWeights(
        "kinetics400",
        "tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb_20220906-2692d16c.pth",
        "tsn_resnet50",
        MMACTION2_SOURCE,
    ),
)
