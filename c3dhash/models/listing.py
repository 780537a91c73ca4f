"""What the backbones are: size, cost, what they read, and which of their weights lie on this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from c3dhash.models.backbones import BACKBONES, backbone_class, build_backbone
from c3dhash.models.backbones.layouts import KnownWeights
from c3dhash.models.weight_files import find_file, weights_of
from c3dhash.records import Preprocessing


@dataclass(frozen=True)
class BackboneFacts:
    """A backbone, at its default clip.

    num_parameters: without heads. gflops: of one clip, see count_gflops. weights: each known file, and where it
    was found, or None.
    """

    name: str
    feature_dim: int
    num_parameters: int
    gflops: float
    clip_size: tuple[int, int, int]
    min_clip_size: tuple[int, int]
    clip_multiple: tuple[int, int]
    shortcuts: tuple[str, ...]
    preprocessing: Preprocessing
    weights: tuple[tuple[KnownWeights, Path | None], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "backbone": self.name,
            "feature_dim": self.feature_dim,
            "parameters": self.num_parameters,
            "gflops": round(self.gflops, 3),
            "clip_size": list(self.clip_size),
            "min_clip_size": list(self.min_clip_size),
            "clip_multiple": list(self.clip_multiple),
            "shortcuts": list(self.shortcuts),
            "preprocessing": asdict(self.preprocessing),
            "weights": [
                {
                    "name": known.name,
                    "file": known.file_name,
                    "source": known.source,
                    "torchvision": known.torchvision or None,
                    "is_found": path is not None,
                    "path": None if path is None else str(path),
                }
                for known, path in self.weights
            ],
        }


def backbone_facts(name: str) -> BackboneFacts:
    """Collect what is known of a backbone. Nothing is allocated: it is built on the meta device.

    Raises:
        UsageError: `name` is not in BACKBONES.
    """
    network = backbone_class(name)
    with torch.device("meta"):
        built = build_backbone(name)
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
        weights=tuple((known, find_file(known.file_name)) for known in weights_of(name)),
    )


def all_backbones() -> list[BackboneFacts]:
    """Collect the facts of every backbone, in the order of BACKBONES."""
    return [backbone_facts(name) for name in BACKBONES]


def count_gflops(backbone: nn.Module) -> float:
    """Count what one clip costs in a forward pass, in 10^9 multiply-adds.

    A multiply-add counts once, as papers on video networks count: r3d_18 on 16 x 112 x 112 is 40.7, as torchvision
    states. Convolutions, matrix products and attention are counted, and nothing else.

    Args:
        backbone: on the meta device, so that only shapes are computed.
    """
    clips = torch.empty((1, backbone.preprocessing.num_channels, *backbone.clip_size), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone.eval()(clips)
    return counter.get_total_flops() / 2 / 1e9  # it counts a multiply-add as two


def describe_preprocessing(preprocessing: Preprocessing, *, with_std: bool = True) -> str:
    """Say shortly what is read: the channels and, of the pixels, the range that they are brought to.

    Where channels differ: their range before the mean is taken off, the mean, and the standard deviation.
    """
    top, mean, std = 255 * preprocessing.scale, preprocessing.mean, preprocessing.std
    if len({*mean}) == len({*std}) == 1:
        return f"{preprocessing.channels} {-mean[0] / std[0]:.3g} to {(top - mean[0]) / std[0]:.3g}"
    text = f"{preprocessing.channels} 0 to {top:.3g}, mean {_short(mean)}"
    return f"{text}, std {_short(std)}" if with_std else text


def _short(values: tuple[float, ...]) -> str:
    """Write numbers with two figures behind the point below 10 (and no 0 before it), else with none."""
    texts = (f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}" for value in values)
    return " ".join(text.removeprefix("0") if "." in text else text for text in texts)
