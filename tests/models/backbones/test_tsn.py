"""TSN and TSM: torchvision's networks on frames, the shift and where it sits, and the layouts of their weights."""

import copy
import itertools
import re
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torchvision import models
from torchvision.models import get_model, get_model_weights
from upstream import as_mmaction2

from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.backbones import BACKBONES, LAYOUTS, build_backbone
from c3dhash.models.backbones.layouts import unwrap
from c3dhash.models.backbones.tsm import TSM, shift
from c3dhash.models.weights import KNOWN_WEIGHTS, identify_weights, load_backbone, load_into
from c3dhash.records import Preprocessing

TORCHVISION_DIMS = {
    "resnet18": 512,
    "resnet50": 2048,
    "mobilenet_v2": 1280,
    "efficientnet_b0": 1280,
    "convnext_tiny": 768,
}
LITE_DIMS = {"efficientnet_lite0": 1280}  # 1 and 2 are the same code; what is not torchvision's is in its own test
FEATURE_DIMS = TORCHVISION_DIMS | LITE_DIMS
MIN_SIZES = {"convnext_tiny": 32}
NAMES = [f"{kind}_{architecture}" for kind in ("tsn", "tsm") for architecture in FEATURE_DIMS]
TORCHVISION_NAMES = [name for name in NAMES if not name.endswith(tuple(LITE_DIMS))]
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
MINUS_ONE_TO_ONE = Preprocessing("RGB", 1 / 127.5, (1, 1, 1), (1, 1, 1))
LITE = Preprocessing("RGB", 1, (127, 127, 127), (128, 128, 128))
MMACTION2 = Preprocessing("RGB", 1, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def architecture_of(name):
    return name.split("_", 1)[1]


def smallest(name):
    return MIN_SIZES.get(architecture_of(name), 16)


def calibrate(network):
    """Give batch norms the statistics of what they see, as training would: with new ones the signal fades away."""
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        network(torch.randn(4, 3, 2, 64, 64))
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()


@pytest.fixture(scope="module")
def networks():
    """One of each, in evaluation mode, TSM with the weights of TSN; tests must leave them so."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = {name: build_backbone(name).eval() for name in NAMES}
    for architecture in FEATURE_DIMS:
        tsn = built[f"tsn_{architecture}"]
        for key, weight in tsn.named_parameters():
            if key.endswith("layer_scale"):  # starts at 1e-6: hardly anything would come through the blocks
                torch.nn.init.ones_(weight)
        if architecture == "efficientnet_b0":
            calibrate(tsn)
        built[f"tsm_{architecture}"].load_state_dict(tsn.state_dict())
    return built


@pytest.mark.parametrize("name", NAMES)
def test_facts(networks, name):
    network, architecture = networks[name], architecture_of(name)
    assert network.name == name and type(network) is BACKBONES[name]
    assert (network.feature_dim, network.clip_size) == (FEATURE_DIMS[architecture], (8, 224, 224))
    assert network.min_clip_size == (1, smallest(name), smallest(name))
    preprocessing = LITE if architecture in LITE_DIMS else IMAGENET
    assert (network.preprocessing, network.shortcuts, network.shortcut) == (preprocessing, (), None)
    with pytest.raises(UsageError, match=rf"size \({smallest(name) - 1}\) of {name} must be a whole number from"):
        build_backbone(name, size=smallest(name) - 1)


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_names_are_torchvisions(networks, name):
    architecture = architecture_of(name)
    theirs = numbered(architecture)
    head = {"resnet": "fc.", "convnext_tiny": "classifier.2."}.get(re.sub(r"\d+$", "", architecture), "classifier.")
    expected = {f"network.{key}": value.shape for key, value in theirs.items() if not key.startswith(head)}
    if architecture == "mobilenet_v2":
        expected["turned"] = ()
    assert {key: value.shape for key, value in networks[name].state_dict().items()} == expected


@pytest.mark.parametrize("name", NAMES)
def test_clip_sizes_and_bf16(networks, name):
    least = smallest(name)
    for shape in ((1, 3, 1, least, least), (2, 3, 5, 56, 56), (1, 3, 3, 40, 72)):
        clips = torch.randn(shape)
        with torch.inference_mode():
            features = networks[name](clips)
            with torch.autocast("cpu", torch.bfloat16):
                rough = networks[name](clips)
        assert features.shape == rough.shape == (shape[0], networks[name].feature_dim)
        assert features.dtype == rough.dtype == torch.float32
        assert features.isfinite().all() and features.std() > 0
        assert 0 < (rough - features).square().mean().sqrt() < 0.3 * features.std()


@pytest.mark.parametrize("name", NAMES)
def test_the_batch_and_the_memory_format_do_not_matter(networks, name):
    clips = torch.randn(3, 3, 4, 32, 32)
    with torch.inference_mode():
        batch = networks[name](clips)
        alone = torch.cat([networks[name](clip[None]) for clip in clips])
        # as c3dhash.video.normalization.normalize returns them
        views = networks[name](clips.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3))
    for other in (alone, views):
        torch.testing.assert_close(batch, other, rtol=1e-3, atol=1e-3 * batch.std().item())


@pytest.mark.parametrize("architecture", TORCHVISION_DIMS)
def test_tsn_of_a_still_clip_is_the_2d_feature(networks, architecture):
    theirs = get_model(architecture).eval().to(memory_format=torch.channels_last)
    frame, inputs = torch.randn(1, 3, 64, 64), []
    weights = networks[f"tsn_{architecture}"].state_dict()
    theirs.load_state_dict({key.removeprefix("network."): value for key, value in weights.items()}, strict=False)
    last = [layer for layer in theirs.modules() if isinstance(layer, torch.nn.Linear)][-1]
    assert last.out_features == 1000
    last.register_forward_pre_hook(lambda layer, given: inputs.append(given[0]))
    with torch.inference_mode():
        theirs(frame)
        features = networks[f"tsn_{architecture}"](frame[:, :, None].expand(1, 3, 8, 64, 64))
    torch.testing.assert_close(features, inputs[0], rtol=1e-4, atol=1e-4 * inputs[0].std().item())


@pytest.mark.parametrize("name", NAMES)
def test_order_counts_for_tsm_only(networks, name):
    clips = torch.randn(2, 3, 6, 48, 48)
    with torch.inference_mode():
        forth, back = networks[name](clips), networks[name](clips.flip(2))
    change = (forth - back).abs().max() / forth.std()
    assert change > 0.1 if name.startswith("tsm") else change < 1e-4


@pytest.mark.parametrize("name", ["tsn_mobilenet_v2", "tsm_resnet18", "tsn_efficientnet_lite0"])
def test_changes_stand_behind_the_mean(name):
    network, clips = build_backbone(name, num_frames=4, size=48).eval(), torch.randn(2, 3, 4, 48, 48)
    of_frames = []
    describe = network._describe
    network._describe = lambda x, **given: of_frames.append(x) or describe(x, **given)
    with torch.inference_mode():
        mean = network(clips)
        network.add_changes()
        features = network(clips)
    dim = mean.shape[1]
    assert (network.feature_dim, type(network).feature_dim) == (2 * dim, dim)
    assert features.shape == (2, 2 * dim)
    torch.testing.assert_close(features[:, :dim], mean, rtol=0, atol=0)
    frames = of_frames[-1].reshape(2, 4, dim)
    expected = sum((frames[:, place + 1] - frames[:, place]).abs() for place in range(3)) / 3
    torch.testing.assert_close(features[:, dim:], expected)
    assert expected.any()


def test_a_clip_that_stands_still_has_no_changes():
    network = build_backbone("tsn_resnet18", num_frames=6, size=32).eval()
    network.add_changes()
    with torch.inference_mode():
        still = network(torch.randn(2, 3, 1, 32, 32).expand(2, 3, 6, 32, 32))
        one = network(torch.randn(2, 3, 1, 32, 32))
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(torch.randn(2, 3, 3, 32, 32))
    for features in (still, one):
        assert features[:, :512].any() and features[:, 512:].abs().max() < 1e-5
    assert rough.dtype == torch.float32 and rough[:, 512:].any()


def test_changes_are_of_networks_that_see_frame_by_frame():
    network = build_backbone("resnet3d10", num_frames=4, size=32)
    network.add_changes()
    assert (network.has_changes, network.feature_dim) == (False, type(network).feature_dim)


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_counts_and_all_weights_get_a_gradient(networks, name):
    network, size = networks[name], 2 * smallest(name)
    clips = torch.randn(2, 3, 5, size, size, requires_grad=True)
    network(clips).square().mean().backward()
    gradients = {key: weight.grad for key, weight in network.named_parameters()}
    network.zero_grad()
    assert clips.grad.abs().sum(dim=(1, 3, 4)).all()
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.any()] == []


# The shift


def slow_shift(frames, num_frames):
    """Equation of the paper, frame by frame: an eighth of the channels from t + 1, an eighth from t - 1."""
    result = frames.clone()
    fold = frames.shape[1] // 8
    for clip, t, channel in itertools.product(range(len(frames) // num_frames), range(num_frames), range(2 * fold)):
        source = t + 1 if channel < fold else t - 1
        inside = 0 <= source < num_frames
        value = frames[clip * num_frames + source, channel] if inside else torch.zeros_like(frames[0, 0])
        result[clip * num_frames + t, channel] = value
    return result


@pytest.mark.parametrize("num_frames", [1, 2, 6])
@pytest.mark.parametrize("channels", [7, 8, 20, 64])
def test_shift_and_its_gradient_equal_the_slow_loop(num_frames, channels):
    frames = torch.randn(12, channels, 3, 2, dtype=torch.float64, requires_grad=True)
    shifted, expected = shift(frames, num_frames=num_frames), slow_shift(frames, num_frames)
    assert torch.equal(shifted, expected)
    assert shifted.is_contiguous(memory_format=torch.channels_last)
    weight = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((shifted * weight).sum(), frames)
    (expected_gradient,) = torch.autograd.grad((expected * weight).sum(), frames)
    assert torch.equal(gradient, expected_gradient)


def unshifted_branch(block, frames, skip):
    """What a block of the TSN computes when its branch sees `frames` and its skip `skip`."""
    if hasattr(block, "conv1"):  # ResNet: the skip may be a projection, and a ReLU follows the sum
        identity = skip if block.downsample is None else block.downsample(skip)
        out = block.relu(block.bn1(block.conv1(frames)))
        out = block.bn2(block.conv2(out))
        if hasattr(block, "conv3"):
            out = block.bn3(block.conv3(block.relu(out)))
        return torch.relu(out + identity)
    if hasattr(block, "layer_scale"):
        return block.layer_scale * block.block(frames) + skip
    branch = next(getattr(block, name) for name in ("conv", "block", "branch") if hasattr(block, name))
    return branch(frames) + skip


@pytest.mark.parametrize(
    ("architecture", "blocks", "num_shifts"),
    [
        ("resnet18", ["layer1.0", "layer2.0", "layer4.1"], 8),
        ("resnet50", ["layer1.0", "layer2.0", "layer3.5"], 16),
        ("mobilenet_v2", ["features.3", "features.16"], 10),  # of 17 inverted residuals, those with a skip
        ("efficientnet_b0", ["features.2.1", "features.6.3"], 9),  # of 16
        ("efficientnet_lite0", ["blocks.2", "blocks.14"], 9),  # of 16
        ("convnext_tiny", ["features.1.0", "features.5.8"], 18),
    ],
)
def test_the_shift_is_inside_the_residual_branch(networks, architecture, blocks, num_shifts):
    tsm, tsn, seen = networks[f"tsm_{architecture}"].network, networks[f"tsn_{architecture}"].network, {}
    handles = [
        tsm.get_submodule(name).register_forward_hook(
            lambda block, given, output, name=name: seen.update({name: (given[0].clone(), output)})
        )
        for name in blocks
    ]
    with torch.inference_mode():
        networks[f"tsm_{architecture}"](torch.randn(2, 3, 4, 64, 64))
        for name, (given, output) in seen.items():
            expected = unshifted_branch(tsn.get_submodule(name), slow_shift(given, 4), given)
            torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-3 * expected.std().item())
    for handle in handles:
        handle.remove()
    assert list(seen) == blocks
    assert sum(len(layer._forward_pre_hooks) for layer in tsm.modules()) == num_shifts
    assert sum(len(layer._forward_pre_hooks) for layer in tsn.modules()) == 0


def test_clips_of_several_lengths_at_once(networks):
    network = networks["tsm_mobilenet_v2"]
    clips = [torch.randn(1, 3, num_frames, 32, 32) for num_frames in (2, 3, 4, 6) * 4]

    def features(clip):
        with torch.inference_mode():
            return network(clip)

    expected = [features(clip) for clip in clips]
    with ThreadPoolExecutor(4) as threads:
        for value, exact in zip(threads.map(features, clips), expected, strict=True):
            torch.testing.assert_close(value, exact)
    twin = copy.deepcopy(network)
    torch.nn.init.zeros_(network.network.features[18][1].weight)
    try:
        with torch.inference_mode():
            torch.testing.assert_close(twin(clips[0]), expected[0])
    finally:
        network.load_state_dict(twin.state_dict())


# Weights


def numbered(architecture, *, num_classes=1000):
    """torchvision's state dict, each entry filled with a number of its own."""
    with torch.device("meta"):
        weights = get_model(architecture, num_classes=num_classes or 1).state_dict()
    heads = ("fc.", "classifier.2." if architecture.startswith("convnext") else "classifier.")
    return {
        key: torch.tensor(mark(key), device="cpu").expand(value.shape)
        for key, value in weights.items()
        if num_classes or not key.startswith(heads)
    }


def mark(key):
    return zlib.crc32(key.encode()) % 1000 / 1000


def assert_loads_whole(path, name):
    network = build_backbone(name, num_frames=3, size=64)
    report = load_into(network, path)
    assert report.is_complete and not report.unexpected and not report.misshaped
    for key, value in network.state_dict().items():
        if "num_batches" not in key and key != "turned":
            least, most = value.aminmax()
            assert least == most == pytest.approx(mark(key.removeprefix("network."))), key
    assert network.clip_size == (3, 64, 64)
    return report


def recognised(tensors):
    return [name for name, layout in LAYOUTS.items() if layout.recognise(unwrap(tensors))]


@pytest.mark.parametrize(
    ("architecture", "layout"),
    [
        ("mobilenet_v2", "torchvision-mobilenet-v2"),
        ("efficientnet_b0", "torchvision-efficientnet-b0"),
        ("convnext_tiny", "torchvision-convnext-tiny"),
    ],
)
@pytest.mark.parametrize("num_classes", [1000, 21, None])
def test_torchvision_weights(tmp_path, architecture, layout, num_classes):
    tensors, path = numbered(architecture, num_classes=num_classes), tmp_path / "file.pth"
    assert recognised(tensors) == recognised({f"module.{key}": value for key, value in tensors.items()}) == [layout]
    torch.save(tensors, path)
    names = (f"tsn_{architecture}", f"tsm_{architecture}")
    assert identify_weights(path) == (names, None)
    for name in names:
        report = assert_loads_whole(path, name)
        assert report.preprocessing == IMAGENET and len(report.not_used) == (2 if num_classes else 0)
    loaded = load_backbone(path)
    assert (loaded.name, loaded.training, loaded.clip_size) == (names[0], False, (8, 224, 224))
    assert load_backbone(path, backbone=names[1]).name == names[1]


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
@pytest.mark.parametrize("kind", ["tsn", "tsm"])
def test_torchvision_resnets(tmp_path, architecture, kind):
    torch.save(numbered(architecture), tmp_path / "file.pth")
    report = assert_loads_whole(tmp_path / "file.pth", f"{kind}_{architecture}")
    assert report.preprocessing == IMAGENET and len(report.not_used) == 2


def test_1001_classes_are_tf_slims(tmp_path):
    tensors, path = numbered("mobilenet_v2", num_classes=1001), tmp_path / "file.pth"
    assert recognised(tensors) == ["tf-slim-mobilenet-v2"]
    torch.save(tensors, path)
    assert identify_weights(path) == (("tsn_mobilenet_v2", "tsm_mobilenet_v2"), None)
    for name in ("tsn_mobilenet_v2", "tsm_mobilenet_v2"):
        assert assert_loads_whole(path, name).preprocessing == MINUS_ONE_TO_ONE
    assert load_backbone(path).preprocessing == MINUS_ONE_TO_ONE
    assert load_backbone(path, layout="torchvision-mobilenet-v2").preprocessing == IMAGENET


class SamePadding(torch.nn.Conv2d):
    """A 3 x 3 convolution of stride 2 as TensorFlow pads it: in all as much as needed, the odd row at the end."""

    def forward(self, x):
        before = [1 if side % 2 else 0 for side in x.shape[2:]]
        x = torch.nn.functional.pad(x, (before[1], 1, before[0], 1))
        return torch.nn.functional.conv2d(x, self.weight, None, self.stride, 0, self.dilation, self.groups)


@pytest.mark.parametrize("size", [64, 60, 37])
def test_weights_of_tf_slim_see_what_tf_slim_sees(tmp_path, size):
    reference = models.mobilenet_v2(num_classes=1001)
    for layer in reference.modules():  # statistics that the signal survives
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        reference.features.train()(torch.randn(8, 3, 64, 64))
    torch.save(reference.eval().state_dict(), tmp_path / "file.pth")
    num_strided = 0
    for layer in reference.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.stride == (2, 2):
            layer.__class__, num_strided = SamePadding, num_strided + 1
    assert num_strided == 5
    clips = torch.randn(2, 3, 3, size, size)
    with torch.inference_mode():
        expected = torch.stack([reference.features(frames).mean((2, 3)) for frames in clips.unbind(2)]).mean(0)
        plain = load_backbone(tmp_path / "file.pth", layout="torchvision-mobilenet-v2")(clips)
        features = load_backbone(tmp_path / "file.pth")(clips)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-3 * expected.std().item())
    assert (plain - expected).abs().max() > 0.05 * expected.std()


@pytest.mark.parametrize(
    "architecture",
    ["efficientnet_b1", "convnext_small", "mobilenet_v3_small", "densenet121", "resnext50_32x4d", "wide_resnet50_2"],
)
def test_other_image_networks_are_none_of_these(architecture):
    ours = {"tf-slim-mobilenet-v2", "mmaction2-2d", "tsm-authors", "c3dhash-2d"}
    ours |= {f"torchvision-{name}" for name in ("mobilenet-v2", "efficientnet-b0", "convnext-tiny")}
    assert not ours & set(recognised(numbered(architecture)))


def as_tsm_authors(tensors, *, is_shifted):
    """Rename torchvision's entries of a ResNet as the authors of TSM write them."""
    renamed = {"module.new_fc.weight": tensors["fc.weight"][:400], "module.new_fc.bias": tensors["fc.bias"][:400]}
    for key, tensor in tensors.items():
        if is_shifted and re.match(r"layer\d\.\d+\.conv1\.", key):
            key = key.replace(".conv1.", ".conv1.net.")
        if not key.startswith("fc."):
            renamed[f"module.base_model.{key}"] = tensor
    return renamed


WRITERS = {"mmaction2-2d": as_mmaction2, "tsm-authors": as_tsm_authors}


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
@pytest.mark.parametrize("is_shifted", [False, True])
def test_weights_trained_on_video(tmp_path, layout, architecture, is_shifted):
    tensors, path = WRITERS[layout](numbered(architecture), is_shifted=is_shifted), tmp_path / "file.pth"
    assert recognised(tensors) == [layout]
    torch.save({"meta": {"epoch": 50}, "state_dict": tensors}, path)
    names = (f"tsm_{architecture}",) if is_shifted else (f"tsn_{architecture}", f"tsm_{architecture}")
    assert identify_weights(path) == (names, None)
    for name in names:
        report = assert_loads_whole(path, name)
        assert report.preprocessing == (MMACTION2 if layout == "mmaction2-2d" else IMAGENET)
        assert len(report.not_used) == 2
    if is_shifted:
        message = rf"holds weights of tsm_{architecture} \({layout}\), not of tsn_{architecture}"
        with pytest.raises(CheckpointError, match=message):
            load_backbone(path, backbone=f"tsn_{architecture}")


def test_the_names_that_upstream_uses():
    """A few entries of published files, so that the writers above cannot be wrong in the way that the layouts are."""
    video = as_mmaction2(numbered("resnet50"), is_shifted=True)
    for key in (
        "backbone.conv1.conv.weight",
        "backbone.conv1.bn.running_mean",
        "backbone.layer1.0.conv1.conv.net.weight",
        "backbone.layer1.0.conv3.bn.bias",
        "backbone.layer1.0.downsample.conv.weight",
        "backbone.layer1.0.downsample.bn.weight",
        "cls_head.fc_cls.weight",
    ):
        assert key in video
    assert "backbone.layer1.0.conv1.conv.weight" in as_mmaction2(numbered("resnet50"), is_shifted=False)
    assert "module.base_model.layer4.2.conv1.net.weight" in as_tsm_authors(numbered("resnet50"), is_shifted=True)


@pytest.mark.parametrize("layout", WRITERS)
def test_other_video_networks_are_refused(tmp_path, layout):
    path = tmp_path / "file.pth"
    torch.save(WRITERS[layout](numbered("resnet101"), is_shifted=True), path)
    with pytest.raises(CheckpointError, match=rf"has the layout {layout}, but the blocks of no known backbone"):
        load_backbone(path)
    flow = WRITERS[layout](numbered("resnet50"), is_shifted=False)
    stem = next(key for key in flow if key.endswith((".conv1.conv.weight", "base_model.conv1.weight")))
    flow[stem] = torch.zeros(64, 20, 7, 7)  # ten flows; five are known
    torch.save(flow, path)
    with pytest.raises(CheckpointError, match="has no known layout"):
        load_backbone(path)


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_a_bare_state_dict_of_ours_is_recognised_once(tmp_path, networks, name):
    weights = networks[name].state_dict()
    assert recognised(weights) == ["c3dhash-2d"]
    torch.save(weights, tmp_path / "mine.pt")
    loaded = load_backbone(tmp_path / "mine.pt", backbone=name)
    assert loaded.name == name and isinstance(loaded, TSM) == name.startswith("tsm")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in weights.items())


@pytest.mark.parametrize("kind", ["tsn", "tsm"])
def test_known_files_are_torchvisions(kind):
    of_kind = [known for known in KNOWN_WEIGHTS if known.backbone.startswith(kind) and "_flow_" not in known.backbone]
    known = {weights.torchvision: weights for weights in of_kind}
    expected = {
        f"{member.__class__.__name__}.{member.name}": (architecture, member)
        for architecture in TORCHVISION_DIMS
        for member in get_model_weights(architecture)
    }
    assert known.keys() - {""} == expected.keys()
    for key, (architecture, member) in expected.items():
        enum, name = key.split(".")
        assert getattr(models, enum)[name] is member
        assert known[key].file_name == member.url.rsplit("/", 1)[1]
        assert known[key].backbone == f"{kind}_{architecture}"
        assert known[key].name == {"IMAGENET1K_V1": "imagenet", "IMAGENET1K_V2": "imagenet-v2"}[name]
        preset = member.transforms()
        assert (tuple(preset.mean), tuple(preset.std)) == (IMAGENET.mean, IMAGENET.std)


def test_torchvision_is_imported_when_a_network_is_built():
    script = "import sys, c3dhash.models.backbones; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
