"""Networks that map a clip to a feature: one architecture per file, and the dict that names them.

Every backbone is a Backbone (base.py), which maps clips [B, C, T, H, W] to features [B, feature_dim] and carries

    name               its key in BACKBONES
    feature_dim        length of a feature
    clip_size          (T, H, W) it was built for
    min_clip_size      the smallest it takes
    clip_multiple      (frames, pixels) that T, and H and W, must be multiples of
    preprocessing      what its weights expect of the pixels; loading weights sets it (c3dhash.models.weights)
    shortcuts          the shortcut types that it can be built with, () where there is no choice
    shortcut           the one it was built with, or None
    starts_from        another backbone whose weights it takes, too: tsn_flow_* those of tsn_*, or None
    needs_weights      whether its features say something only with weights
    hash_method        how `index` makes bits of its features, or None; as window_seconds and stride_seconds, where
                       nothing else is asked for
    has_changes        whether features also say how frames change: add_changes(), of TSN and TSM
    has_motion         whether features also say what moves and where: add_motion(), of these
    stages()           the network in parts, so that the first can be left as they are and computed once

To add an architecture: a file with a class like these, its LAYOUTS (one for each way in which its weights are
published) and its KNOWN_WEIGHTS, an entry in BACKBONES, and the file's name in _FILES.
"""

from __future__ import annotations

from c3dhash.errors import UsageError
from c3dhash.models.backbones import (
    c3d,
    efficientnet_lite,
    i3d,
    i3d_r50,
    phash,
    resnet3d_weights,
    slowfast,
    torchvision_image,
    torchvision_video_weights,
    tsm,
    tsn_flow,
    tsn_weights,
)
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.backbones.c3d import C3D
from c3dhash.models.backbones.efficientnet_lite import (
    TSNEfficientNetLite0,
    TSNEfficientNetLite1,
    TSNEfficientNetLite2,
)
from c3dhash.models.backbones.i3d import I3D, I3DFlow
from c3dhash.models.backbones.i3d_r50 import I3DR50
from c3dhash.models.backbones.layouts import Layout
from c3dhash.models.backbones.phash import PHash
from c3dhash.models.backbones.resnet3d import ResNet3D10, ResNet3D18, ResNet3D34, ResNet3D50
from c3dhash.models.backbones.slowfast import SlowFast, SlowOnly
from c3dhash.models.backbones.torchvision_video import (
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
from c3dhash.models.backbones.tsm import (
    TSMConvNeXtTiny,
    TSMEfficientNetB0,
    TSMEfficientNetLite0,
    TSMEfficientNetLite1,
    TSMEfficientNetLite2,
    TSMMobileNetV2,
    TSMResNet18,
    TSMResNet50,
)
from c3dhash.models.backbones.tsn import TSNConvNeXtTiny, TSNEfficientNetB0, TSNMobileNetV2, TSNResNet18, TSNResNet50
from c3dhash.models.backbones.tsn_flow import (
    TSNFlowEfficientNetLite0,
    TSNFlowMobileNetV2,
    TSNFlowResNet18,
    TSNFlowResNet50,
)
from c3dhash.models.known_weights import KnownWeights

BACKBONES: dict[str, type[Backbone]] = {
    "c3d": C3D,
    "i3d": I3D,
    "i3d_flow": I3DFlow,
    "resnet3d10": ResNet3D10,
    "resnet3d18": ResNet3D18,
    "resnet3d34": ResNet3D34,
    "resnet3d50": ResNet3D50,
    "i3d_r50": I3DR50,
    "slowonly": SlowOnly,
    "slowfast": SlowFast,
    "r3d_18": R3D18,
    "mc3_18": MC318,
    "r2plus1d_18": R2Plus1D18,
    "s3d": S3D,
    "mvit_v1_b": MViTV1B,
    "mvit_v2_s": MViTV2S,
    "swin3d_t": Swin3DT,
    "swin3d_s": Swin3DS,
    "swin3d_b": Swin3DB,
    "tsn_resnet18": TSNResNet18,
    "tsn_resnet50": TSNResNet50,
    "tsn_mobilenet_v2": TSNMobileNetV2,
    "tsn_efficientnet_b0": TSNEfficientNetB0,
    "tsn_efficientnet_lite0": TSNEfficientNetLite0,
    "tsn_efficientnet_lite1": TSNEfficientNetLite1,
    "tsn_efficientnet_lite2": TSNEfficientNetLite2,
    "tsn_convnext_tiny": TSNConvNeXtTiny,
    "tsn_flow_resnet18": TSNFlowResNet18,
    "tsn_flow_resnet50": TSNFlowResNet50,
    "tsn_flow_mobilenet_v2": TSNFlowMobileNetV2,
    "tsn_flow_efficientnet_lite0": TSNFlowEfficientNetLite0,
    "tsm_resnet18": TSMResNet18,
    "tsm_resnet50": TSMResNet50,
    "tsm_mobilenet_v2": TSMMobileNetV2,
    "tsm_efficientnet_b0": TSMEfficientNetB0,
    "tsm_efficientnet_lite0": TSMEfficientNetLite0,
    "tsm_efficientnet_lite1": TSMEfficientNetLite1,
    "tsm_efficientnet_lite2": TSMEfficientNetLite2,
    "tsm_convnext_tiny": TSMConvNeXtTiny,
    "phash": PHash,
}

_FILES = (
    c3d,
    i3d,
    resnet3d_weights,
    i3d_r50,
    slowfast,
    torchvision_image,
    torchvision_video_weights,
    tsn_weights,
    efficientnet_lite,
    tsn_flow,
    tsm,
    phash,
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for file in _FILES for layout in file.LAYOUTS}
KNOWN_WEIGHTS: tuple[KnownWeights, ...] = tuple(known for file in _FILES for known in file.KNOWN_WEIGHTS)


def backbone_class(name: str) -> type[Backbone]:
    """Return the class of a backbone.

    Raises:
        UsageError: `name` is not in BACKBONES.
    """
    if name not in BACKBONES:
        names = ", ".join(BACKBONES)
        raise UsageError(f"backbone ({name!r}) must be one of {names}; resnet3d18 is a good start.")
    return BACKBONES[name]


def build_backbone(
    name: str, *, num_frames: int | None = None, size: int | None = None, shortcut: str | None = None
) -> Backbone:
    """Build a backbone with new random weights.

    Args:
        name: a key of BACKBONES.
        num_frames: frames of a clip, or None for the architecture's default.
        size: height and width of a clip in pixels, or None for the architecture's default.
        shortcut: "A" or "B" for 3D ResNets, or None for the architecture's default.
    Raises:
        UsageError: an unknown name, a clip that the architecture cannot take, a shortcut it does not have.
    """
    network = backbone_class(name)
    frames = network.clip_size[0] if num_frames is None else num_frames
    pixels = network.clip_size[1] if size is None else size
    for axis, option, value in ((0, "num_frames", frames), (1, "size", pixels)):
        _check(option, value, network.min_clip_size[axis], network.clip_multiple[axis], network.clip_size[axis], name)
    if shortcut is None:
        return network(num_frames=frames, size=pixels)
    if not network.shortcuts:
        raise UsageError(f"shortcut ({shortcut!r}) is not for {name}, which has none: leave it out.")
    if shortcut not in network.shortcuts:
        raise UsageError(
            f"shortcut ({shortcut!r}) of {name} must be one of {', '.join(network.shortcuts)}; "
            f"the default is {network.shortcut}."
        )
    return network(num_frames=frames, size=pixels, shortcut=shortcut)


def _check(option: str, value: int, minimum: int, multiple: int, default: int, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum or value % multiple:
        rule = "a whole number" if multiple == 1 else f"a multiple of {multiple}"
        raise UsageError(f"{option} ({value!r}) of {name} must be {rule} from {minimum}; {default} is its default.")
