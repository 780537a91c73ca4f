"""How published checkpoints name their entries, and what pixels the weights in them expect.

A checkpoint is recognised by its keys and shapes, whatever the file is called. Exactly one entry of LAYOUTS
recognises a file; it renames the entries to the backbone's own names and brings the preprocessing.

# Note [2018 or 2020]
The authors of the 3D ResNets published two sets of weights under the same names, trained on different pixels:
2018 on RGB 0-255 minus a mean, 2020 on RGB 0-1 with mean and standard deviation. In this order:
1. 400 classes (Kinetics-400) is 2018; 700, 1039, 1139, 800, 339, 439 or 100 classes (Kinetics-700, Moments in
   Time, STAIR Actions and their unions) is 2020;
2. otherwise (a fine-tuned network, or no head) keys with `module.` are 2018, whose files were all written
   through DataParallel, and so is shortcut A, which 2020 does not have; the rest is 2020.
Whoever knows better names the layout: `load_backbone(path, layout="3d-resnets-2018")`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from c3dhash.backbones.c3d import C3D
from c3dhash.backbones.resnet3d import ResNet3D18
from c3dhash.records import Preprocessing

RESNETS_2018_CLASSES = (400,)
RESNETS_2020_CLASSES = (700, 1039, 1139, 800, 339, 439, 100)
RESNET3D_BLOCKS = {ResNet3D18.num_blocks: ResNet3D18.name}


@dataclass(frozen=True)
class Entries:
    """The entries of a checkpoint without the prefixes that wrappers add.

    tensors: the weights, by upstream's name without `module.` and `backbone.`.
    heads: names beside `backbone.`, where that prefix was there: a hash head, a class head.
    """

    tensors: dict[str, torch.Tensor]
    heads: tuple[str, ...] = ()
    has_module_prefix: bool = False

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of an entry, () where there is none."""
        return tuple(self.tensors[key].shape) if key in self.tensors else ()

    def count(self, pattern: str) -> int:
        """Count the different texts that `pattern` finds at the start of the names."""
        return len({found[0] for key in self.tensors if (found := re.match(pattern, key))})


@dataclass(frozen=True)
class Layout:
    """One way of naming the entries of a backbone.

    recognise: whether a checkpoint has this layout.
    identify: the backbone and shortcut in it; None for what its entries do not tell.
    rename: (pattern, replacement) pairs, applied in order to a name.
    heads: how the names of entries begin that the feature does not need.
    """

    name: str
    recognise: Callable[[Entries], bool]
    identify: Callable[[Entries], tuple[str | None, str | None]]
    rename: tuple[tuple[str, str], ...]
    heads: tuple[str, ...]
    preprocessing: Preprocessing

    def own_name(self, key: str) -> str:
        """Translate upstream's name of an entry to the backbone's own."""
        for pattern, replacement in self.rename:
            key = re.sub(pattern, replacement, key)
        return key


def unwrap(tensors: dict[str, torch.Tensor]) -> Entries:
    """Take `module.` (DataParallel) and `backbone.` (a whole model of ours) off the names."""
    has_module_prefix = all(key.startswith("module.") for key in tensors)
    if has_module_prefix:
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    inside = {key.removeprefix("backbone."): t for key, t in tensors.items() if key.startswith("backbone.")}
    if not inside:
        return Entries(tensors, has_module_prefix=has_module_prefix)
    heads = tuple(key for key in tensors if not key.startswith("backbone."))
    return Entries(inside, heads=heads, has_module_prefix=has_module_prefix)


def _is_resnet3d(entries: Entries) -> bool:
    return len(entries.shape("conv1.weight")) == 5 and len(entries.shape("layer1.0.conv1.weight")) == 5


def _is_resnet3d_2018(entries: Entries) -> bool:
    """Decide by Note [2018 or 2020]."""
    num_classes = next(iter(entries.shape("fc.weight")), None)
    if num_classes in RESNETS_2018_CLASSES + RESNETS_2020_CLASSES:
        return num_classes in RESNETS_2018_CLASSES
    return entries.has_module_prefix or _identify_resnet3d(entries, stage="layer")[1] == "A"


def _identify_resnet3d(entries: Entries, *, stage: str) -> tuple[str | None, str]:
    """Tell the depth by the number of blocks, and shortcut B by its projections."""
    num_blocks = tuple(entries.count(rf"{stage}{i}\.\d+\.") for i in (1, 2, 3, 4))
    has_bottlenecks = entries.count(rf"{stage}\d\.\d+\.conv3\.") > 0
    has_projections = entries.count(rf"{stage}\d\.\d+\.downsample\.") > 0
    return None if has_bottlenecks else RESNET3D_BLOCKS.get(num_blocks), "B" if has_projections else "A"


_RESNET3D_RENAME = ((r"^conv1\.", "stem_conv."), (r"^bn1\.", "stem_bn."), (r"^layer(\d)\.", r"stage\1."))
_C3D_FLAT_RENAME = (
    (r"^features\.0\.", "conv1a."),
    (r"^features\.3\.", "conv2a."),
    (r"^features\.6\.", "conv3a."),
    (r"^features\.8\.", "conv3b."),
    (r"^features\.11\.", "conv4a."),
    (r"^features\.13\.", "conv4b."),
    (r"^features\.16\.", "conv5a."),
    (r"^features\.18\.", "conv5b."),
    (r"^classifier\.0\.", "fc6."),
    (r"^classifier\.3\.", "fc7."),
)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(  # resnet-18-kinetics.pth: Hara et al., CVPR 2018
            name="3d-resnets-2018",
            recognise=lambda entries: _is_resnet3d(entries) and _is_resnet3d_2018(entries),
            identify=lambda entries: _identify_resnet3d(entries, stage="layer"),
            rename=_RESNET3D_RENAME,
            heads=("fc.",),
            preprocessing=Preprocessing(
                channels="RGB", scale=1.0, mean=(114.7748, 107.7354, 99.4750), std=(1.0, 1.0, 1.0)
            ),
        ),
        Layout(  # r3d18_K_200ep.pth: Kataoka et al., arXiv:2004.04968
            name="3d-resnets-2020",
            recognise=lambda entries: _is_resnet3d(entries) and not _is_resnet3d_2018(entries),
            identify=lambda entries: _identify_resnet3d(entries, stage="layer"),
            rename=_RESNET3D_RENAME,
            heads=("fc.",),
            preprocessing=ResNet3D18.preprocessing,
        ),
        Layout(  # c3d-pretrained.pth: Sports-1M weights of Tran et al., ported to PyTorch
            name="c3d-flat",
            recognise=lambda entries: entries.shape("features.0.weight") == (64, 3, 3, 3, 3),
            identify=lambda entries: ("c3d", None),
            rename=_C3D_FLAT_RENAME,
            heads=("fc8.", "classifier.6."),
            preprocessing=Preprocessing(
                channels="BGR", scale=1.0, mean=(90.0, 98.0, 102.0), std=(1.0, 1.0, 1.0)
            ),
        ),
        Layout(  # a state dict of ours; a run says which preprocessing, a bare one has the architecture's
            name="c3dhash-c3d",
            recognise=lambda entries: len(entries.shape("conv1a.weight")) == 5,
            identify=lambda entries: ("c3d", None),
            rename=(),
            heads=(),
            preprocessing=C3D.preprocessing,
        ),
        Layout(
            name="c3dhash-resnet3d",
            recognise=lambda entries: len(entries.shape("stem_conv.weight")) == 5,
            identify=lambda entries: _identify_resnet3d(entries, stage="stage"),
            rename=(),
            heads=(),
            preprocessing=ResNet3D18.preprocessing,
        ),
    )
}
