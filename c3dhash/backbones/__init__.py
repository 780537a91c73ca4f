"""Networks that map a clip to a feature: one architecture per file, and the dict that names them.

Every backbone is an nn.Module that maps clips [B, 3, T, H, W] to features [B, feature_dim], and carries

    name               its key in BACKBONES
    feature_dim        length of a feature
    clip_size          (T, H, W) it was built for; min_clip_size is the smallest it takes
    preprocessing      what its weights expect of the pixels; loading weights sets it (c3dhash.weights)
    shortcuts          the shortcut types that it can be built with, () where there is no choice
    shortcut           the one it was built with, or None

To add an architecture: a file with a class like these, an entry in BACKBONES, and one in
`c3dhash.backbones.layouts.LAYOUTS` for each way in which its weights are published.
"""

from __future__ import annotations

from torch import nn

from c3dhash.backbones.c3d import C3D
from c3dhash.backbones.resnet3d import ResNet3D18
from c3dhash.errors import UsageError

BACKBONES: dict[str, type[nn.Module]] = {
    "c3d": C3D,
    "resnet3d18": ResNet3D18,
}


def backbone_class(name: str) -> type[nn.Module]:
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
) -> nn.Module:
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
    _check_at_least("num_frames", frames, network.min_clip_size[0], network.clip_size[0], name)
    _check_at_least("size", pixels, network.min_clip_size[1], network.clip_size[1], name)
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


def _check_at_least(option: str, value: int, minimum: int, default: int, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise UsageError(
            f"{option} ({value!r}) of {name} must be a whole number from {minimum}; {default} is its default."
        )
