"""Layouts of 3D ResNets of each depth and of C3D: recognised once, loaded whole, and computing what upstream does."""

import pytest
import torch
import torch.nn.functional as F
from upstream import fill, filled, golden_shapes, hollow, recognised, resnet3d_shapes

from c3dhash.errors import CheckpointError
from c3dhash.models.backbones import KNOWN_WEIGHTS, LAYOUTS, build_backbone
from c3dhash.models.identify import open_checkpoint
from c3dhash.models.weights import identify_weights, load_backbone, load_into
from c3dhash.records import Preprocessing

KINETICS_2018 = Preprocessing(scale=1.0, mean=(114.7748, 107.7354, 99.4750), std=(1, 1, 1), interval_seconds=1 / 30)
KINETICS_2020 = Preprocessing(mean=(0.4345, 0.4051, 0.3775), std=(0.2768, 0.2713, 0.2737), interval_seconds=1 / 30)
DEPTHS = {
    "resnet3d10": ((1, 1, 1, 1), False),
    "resnet3d18": ((2, 2, 2, 2), False),
    "resnet3d34": ((3, 4, 6, 3), False),
    "resnet3d50": ((3, 4, 6, 3), True),
}


def conv_bn(state, x, conv, norm, *, stride=1):
    """Convolve without a change of size but the stride's, and normalise: upstream's entries, by their keys."""
    weight = state[f"{conv}.weight"]
    x = F.conv3d(x, weight, stride=stride, padding=tuple(length // 2 for length in weight.shape[2:]))
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{norm}.{name}"] for name in names))


def resnet3d_reference(state, x, num_blocks, *, is_deep):
    """Compute the feature of a 3D ResNet from upstream's entries."""
    x = F.relu(conv_bn(state, x, "conv1", "bn1", stride=(1, 2, 2)))
    x = F.max_pool3d(x, 3, stride=2, padding=1)
    for stage, count in enumerate(num_blocks, start=1):
        for block in range(count):
            path, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            last = 3 if is_deep else 2
            out = x
            for number in range(1, last + 1):
                strides_here = number == (2 if is_deep else 1)
                out = conv_bn(
                    state, out, f"{path}.conv{number}", f"{path}.bn{number}", stride=stride if strides_here else 1
                )
                out = F.relu(out) if number < last else out
            if f"{path}.downsample.0.weight" in state:
                x = conv_bn(state, x, f"{path}.downsample.0", f"{path}.downsample.1", stride=stride)
            elif x.shape != out.shape:
                x = F.avg_pool3d(x, 1, stride=stride)
                missing = out.shape[1] - x.shape[1]
                x = torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], dim=1)
            x = F.relu(out + x)
    return x.mean(dim=(2, 3, 4))


@pytest.mark.parametrize(
    ("name", "shortcut"), [("resnet3d10", "B"), ("resnet3d34", "A"), ("resnet3d50", "A"), ("resnet3d50", "B")]
)
def test_3d_resnets_of_each_depth(save, name, shortcut):
    num_blocks, is_deep = DEPTHS[name]
    shapes = resnet3d_shapes(num_blocks, is_deep=is_deep, shortcut=shortcut, num_classes=400)
    state = filled(shapes)
    upstream = {f"module.{key}": tensor for key, tensor in state.items()}
    assert recognised(upstream) == ["3d-resnets-2018"]
    path = save({"arch": "resnet-50", "epoch": 9, "state_dict": upstream})
    network = load_backbone(path)
    assert (network.name, network.shortcut, network.preprocessing) == (name, shortcut, KINETICS_2018)
    report = load_into(network, path)
    assert report.is_complete and (report.unexpected, report.not_used) == ((), ("fc.weight", "fc.bias"))
    clips = torch.randn(2, 3, 5, 36, 36)
    with torch.inference_mode():
        expected = resnet3d_reference(state, clips, num_blocks, is_deep=is_deep)
        features = network(clips)
    assert features.shape == (2, network.feature_dim)
    assert (features - expected).abs().max() < 1e-4 * expected.std()


@pytest.mark.parametrize("name", DEPTHS)
@pytest.mark.parametrize(
    ("prefix", "num_classes", "shortcut", "layout"),
    [
        ("module.", 400, "A", "3d-resnets-2018"),
        ("", 400, "B", "3d-resnets-2018"),  # resnet-34-kinetics-cpu.pth has no prefix
        ("", 1139, "B", "3d-resnets-2020"),
        ("", 101, "B", "3d-resnets-2020"),
        ("module.", 101, "B", "3d-resnets-2018"),
    ],
)
def test_2018_or_2020_of_each_depth(save, name, prefix, num_classes, shortcut, layout):
    num_blocks, is_deep = DEPTHS[name]
    shapes = resnet3d_shapes(num_blocks, is_deep=is_deep, shortcut=shortcut, num_classes=num_classes)
    tensors = {prefix + key: tensor for key, tensor in hollow(shapes).items()}
    assert recognised(tensors) == [layout]
    assert identify_weights(save(tensors)) == ((name,), shortcut)


def test_wide_resnet_is_not_a_resnet3d50(save):
    """wideresnet-50-kinetics.pth: the same keys, twice the channels within a block."""
    shapes = resnet3d_shapes((3, 4, 6, 3), is_deep=True, shortcut="B", num_classes=400)
    wide = {
        key: tuple(
            2 * size
            if (axis == 0 and ".conv3." not in key and ".conv" in key) or (axis == 1 and ".conv2." in key)
            else size
            for axis, size in enumerate(shape)
        )
        for key, shape in shapes.items()
    }
    with pytest.raises(CheckpointError, match=r"layout 3d-resnets-2018, but the blocks of no known backbone"):
        load_backbone(save(hollow(wide)))


def test_known_3d_resnets_are_named_after_their_depth():
    for known in KNOWN_WEIGHTS:
        if known.backbone.startswith("resnet3d"):
            depth = known.backbone.removeprefix("resnet3d")
            assert known.file_name.startswith((f"resnet-{depth}-", f"r3d{depth}_"))


# C3D


def c3d_shapes(style: str) -> dict[str, tuple[int, ...]]:
    """List the entries of a C3D as D. Abati's port or mmaction2 name them."""
    shapes = {}
    layers = {"1a": (64, 3), "2a": (128, 64), "3a": (256, 128), "3b": (256, 256), "4a": (512, 256), "4b": (512, 512)}
    for name, channels in (layers | {"5a": (512, 512), "5b": (512, 512)}).items():
        key = (
            f"backbone.conv{name}.conv" if style == "mmaction2" else f"conv{name.replace('1a', '1').replace('2a', '2')}"
        )
        shapes |= {f"{key}.weight": (*channels, 3, 3, 3), f"{key}.bias": channels[:1]}
    prefix = "backbone." if style == "mmaction2" else ""
    for name, features in (("fc6", (4096, 8192)), ("fc7", (4096, 4096))):
        shapes |= {f"{prefix}{name}.weight": features, f"{prefix}{name}.bias": features[:1]}
    head, num_classes = ("cls_head.fc_cls", 101) if style == "mmaction2" else ("fc8", 487)
    return shapes | {f"{head}.weight": (num_classes, 4096), f"{head}.bias": (num_classes,)}


@pytest.mark.parametrize(
    ("style", "layout", "mean", "head"),
    [("abati", "c3d-pytorch", (0, 0, 0), "fc8"), ("mmaction2", "mmaction2-c3d", (104, 117, 128), "cls_head.fc_cls")],
)
def test_layouts_of_c3d(save, style, layout, mean, head):
    tensors = hollow(c3d_shapes(style))
    first, last = ("backbone.conv1a.conv", "backbone.fc7") if style == "mmaction2" else ("conv1", "fc7")
    filling = {
        f"{key}.{kind}": fill(f"{key}.{kind}", tensors[f"{key}.{kind}"].shape)
        for key in (first, last)
        for kind in ("weight", "bias")
    }
    tensors |= filling
    assert recognised(tensors) == [layout]
    path = save({"meta": {}, "state_dict": tensors} if style == "mmaction2" else tensors)
    network = build_backbone("c3d", num_frames=4, size=16)
    report = load_into(network, path)
    assert report.is_complete and report.layout == layout
    assert (report.unexpected, set(report.not_used)) == ((), {f"{head}.weight", f"{head}.bias"})
    assert network.preprocessing == Preprocessing(
        channels="RGB", scale=1.0, mean=mean, std=(1, 1, 1), interval_seconds=1 / 30
    )
    assert identify_weights(path) == (("c3d",), None)
    for own, key in (("conv1a", first), ("fc7", last)):
        assert torch.equal(getattr(network, own).weight, filling[f"{key}.weight"])
    assert network.conv5b.bias.unique().tolist() == [0.5]


def test_backbone_of_mmaction2_c3d_alone(save):
    """c3d_sports1m_pretrain_20201016-dcc47ddc.pth has neither prefix nor head."""
    tensors = {
        key.removeprefix("backbone."): tensor
        for key, tensor in hollow(c3d_shapes("mmaction2")).items()
        if "cls" not in key
    }
    assert recognised(tensors) == ["mmaction2-c3d"]
    assert identify_weights(save(tensors)) == (("c3d",), None)


def test_orders_of_c3d_agree():
    """All layouts of C3D name the same tensors: their shapes in the order of the network are equal."""
    flat = [
        shape for key, shape in golden_shapes("c3d_sports1m").items() if "fc8" not in key and "classifier.6" not in key
    ]
    for style in ("abati", "mmaction2"):
        assert list(c3d_shapes(style).values())[:-2] == flat


# Frames a second: of the weights that sample time densely; all others spread their frames.
FRAMES_A_SECOND = {
    "c3d": 30, "i3d": 25, "i3d_flow": 25, "resnet3d18": 30, "resnet3d34": 30, "resnet3d50": 30, "slowonly": 30 / 8,
    "slowfast": 15, "i3d_r50": 15, "r3d_18": 15, "mc3_18": 15, "r2plus1d_18": 15, "s3d": 15, "mvit_v1_b": 7.5,
    "mvit_v2_s": 7.5, "swin3d_t": 15, "swin3d_s": 15, "swin3d_b": 15,
}  # fmt: skip
EXCEPTIONS = {
    ("c3d", "ucf101-mmaction2"): 25, ("i3d", "charades"): 24, ("i3d_flow", "charades"): 24,
    **{("slowonly", name): 30 / 16 for name in ("kinetics400-4x16", "ava", "ava-k700", "ava-2020", "ava-omnisource",
       "ava-kinetics-4x16", "ava-kinetics-4x16-k700")},
    ("i3d_r50", "imagenet"): None, ("i3d_r50", "imagenet-v2"): None,
}  # fmt: skip


@pytest.mark.parametrize("known", KNOWN_WEIGHTS, ids=lambda known: f"{known.backbone}-{known.name}")
def test_known_weights_sample_time_as_they_were_trained(known):
    expected = EXCEPTIONS.get((known.backbone, known.name), FRAMES_A_SECOND.get(known.backbone))
    assert known.interval_seconds == (expected and pytest.approx(1 / expected))


def test_layouts_sample_time_as_the_known_files_do():
    """Our own files say themselves how they were trained; a bare state dict of ours is spread."""
    published = {round(1 / layout.preprocessing.interval_seconds, 2) for layout in LAYOUTS.values()
                 if layout.preprocessing.interval_seconds}  # fmt: skip
    assert published == {30, 25, 15, 7.5, 3.75}
    own = [layout for layout in LAYOUTS.values() if layout.name.startswith("c3dhash")]
    assert own and all(layout.preprocessing.interval_seconds is None for layout in own)


def test_the_file_name_decides_between_weights_of_one_layout(tmp_path):
    tensors = hollow(c3d_shapes("mmaction2"))
    known = next(known for known in KNOWN_WEIGHTS if known.name == "ucf101-mmaction2")
    for name, fps in ((known.file_name, 25), ("renamed.pth", 30)):
        torch.save({"state_dict": tensors}, tmp_path / name)
        found = open_checkpoint(tmp_path / name, layout=None)
        assert found.preprocessing.interval_seconds == pytest.approx(1 / fps)
