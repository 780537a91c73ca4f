"""Published weights of 3D ResNets: how they name their entries, and which files are known.

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

import dataclasses

from c3dhash.models.backbones.layouts import Entries, Layout
from c3dhash.models.backbones.resnet3d import Bottleneck, ResNet3D, ResNet3D10, ResNet3D18, ResNet3D34, ResNet3D50
from c3dhash.models.known_weights import KnownWeights
from c3dhash.records import Preprocessing

RESNETS_2018_CLASSES = (400,)
RESNETS_2020_CLASSES = (700, 1039, 1139, 800, 339, 439, 100)
# Which architecture has these blocks: (bottlenecks, blocks a stage) -> name.
RESNET3D_BLOCKS: dict[tuple[bool, tuple[int, ...]], str] = {
    (network.block is Bottleneck, network.num_blocks): network.name
    for network in (ResNet3D10, ResNet3D18, ResNet3D34, ResNet3D50)
}


def _is_resnet3d(entries: Entries) -> bool:
    return len(entries.shape("conv1.weight")) == 5 and len(entries.shape("layer1.0.conv1.weight")) == 5


def _is_resnet3d_2018(entries: Entries) -> bool:
    """Decide by Note [2018 or 2020]."""
    num_classes = next(iter(entries.shape("fc.weight")), None)
    if num_classes in RESNETS_2018_CLASSES + RESNETS_2020_CLASSES:
        return num_classes in RESNETS_2018_CLASSES
    return entries.has_module_prefix or _identify_resnet3d(entries, stage="layer")[1] == "A"


def _identify_resnet3d(entries: Entries, *, stage: str) -> tuple[tuple[str, ...], str]:
    """Tell the depth by the kind and number of blocks, and shortcut B by its projections.

    Wide ResNets and ResNeXts have the same entries, with more channels in the middle of a block.
    """
    num_blocks = tuple(entries.count(rf"{stage}{i}\.\d+\.") for i in (1, 2, 3, 4))
    has_bottlenecks = entries.count(rf"{stage}\d\.\d+\.conv3\.") > 0
    has_projections = entries.count(rf"{stage}\d\.\d+\.downsample\.") > 0
    is_narrow = entries.shape(f"{stage}1.0.conv2.weight")[:2] == (64, 64)
    name = RESNET3D_BLOCKS.get((has_bottlenecks, num_blocks)) if is_narrow else None
    return (name,) if name else (), "B" if has_projections else "A"


# 16 consecutive frames, of videos of about 30 a second. Source: Hara et al., CVPR 2018, section 3.2, and the default
# --sample_t_stride 1 of github.com/kenshohara/3D-ResNets-PyTorch, on frames at the rate of the videos.
_INTERVAL_SECONDS = 1 / 30
_RENAME = ((r"^conv1\.", "stem_conv."), (r"^bn1\.", "stem_bn."), (r"^layer(\d)\.", r"stage\1."))
LAYOUTS = (
    Layout(  # resnet-18-kinetics.pth: Hara et al., CVPR 2018
        name="3d-resnets-2018",
        recognise=lambda entries: _is_resnet3d(entries) and _is_resnet3d_2018(entries),
        identify=lambda entries: _identify_resnet3d(entries, stage="layer"),
        rename=_RENAME,
        heads=("fc.",),
        preprocessing=Preprocessing(
            channels="RGB",
            scale=1.0,
            mean=(114.7748, 107.7354, 99.4750),
            std=(1.0, 1.0, 1.0),
            interval_seconds=_INTERVAL_SECONDS,
        ),
    ),
    Layout(  # r3d18_K_200ep.pth: Kataoka et al., arXiv:2004.04968
        name="3d-resnets-2020",
        recognise=lambda entries: _is_resnet3d(entries) and not _is_resnet3d_2018(entries),
        identify=lambda entries: _identify_resnet3d(entries, stage="layer"),
        rename=_RENAME,
        heads=("fc.",),
        preprocessing=dataclasses.replace(ResNet3D.preprocessing, interval_seconds=_INTERVAL_SECONDS),
    ),
    Layout(
        name="c3dhash-resnet3d",
        recognise=lambda entries: len(entries.shape("stem_conv.weight")) == 5,
        identify=lambda entries: _identify_resnet3d(entries, stage="stage"),
        rename=(),
        heads=(),
        preprocessing=ResNet3D.preprocessing,
    ),
)

_HARA = "github.com/kenshohara/3D-ResNets-PyTorch"
KNOWN_WEIGHTS = tuple(
    KnownWeights(name, file_name, backbone, _HARA, interval_seconds=_INTERVAL_SECONDS)
    for backbone, name, file_name in (
        ("resnet3d18", "kinetics400", "resnet-18-kinetics.pth"),
        ("resnet3d18", "kinetics700", "r3d18_K_200ep.pth"),
        ("resnet3d18", "kinetics700-mit", "r3d18_KM_200ep.pth"),
        ("resnet3d34", "kinetics400", "resnet-34-kinetics.pth"),
        ("resnet3d34", "kinetics700", "r3d34_K_200ep.pth"),
        ("resnet3d34", "kinetics700-mit", "r3d34_KM_200ep.pth"),
        ("resnet3d50", "kinetics400", "resnet-50-kinetics.pth"),
        ("resnet3d50", "kinetics700", "r3d50_K_200ep.pth"),
        ("resnet3d50", "kinetics700-mit", "r3d50_KM_200ep.pth"),
        ("resnet3d50", "kinetics700-mit-stair", "r3d50_KMS_200ep.pth"),
        ("resnet3d50", "kinetics700-stair", "r3d50_KS_200ep.pth"),
        ("resnet3d50", "mit", "r3d50_M_200ep.pth"),
        ("resnet3d50", "mit-stair", "r3d50_MS_200ep.pth"),
        ("resnet3d50", "stair", "r3d50_S_200ep.pth"),
    )
)
