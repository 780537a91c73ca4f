"""I3D on RGB and on flow: golden values, TensorFlow's padding, its checkpoints, and every clip size."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pixels import pixels_of
from upstream import fill, golden_arrays, golden_shapes, golden_tensors, hollow_tensors, relative_error

from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.backbones import LAYOUTS, build_backbone
from c3dhash.models.backbones.i3d import I3D, I3DFlow, same_padding
from c3dhash.models.backbones.layouts import unwrap
from c3dhash.models.known_weights import find_file
from c3dhash.models.precision import pick_precision
from c3dhash.models.published import published_run
from c3dhash.models.weight_files import find_weights
from c3dhash.models.weights import KNOWN_WEIGHTS, identify_weights, load_backbone, load_into
from c3dhash.records import Preprocessing

RGB, FLOW = "i3d_rgb_imagenet", "i3d_flow_imagenet"
NAMES = {RGB: "i3d", FLOW: "i3d_flow"}
CHANNELS = {"i3d": 3, "i3d_flow": 2}


@pytest.fixture(scope="module")
def networks():
    """One of each, in evaluation mode; tests must leave them so."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {name: build_backbone(name).eval() for name in CHANNELS}


def recognised(tensors):
    return [name for name, layout in LAYOUTS.items() if layout.recognise(unwrap(tensors))]


@pytest.mark.parametrize("golden", NAMES)
def test_golden_values(tmp_path, golden):
    torch.save(golden_tensors(golden), tmp_path / "file.pt")
    network, arrays = load_backbone(tmp_path / "file.pt"), golden_arrays(golden)
    assert (network.name, network.training) == (NAMES[golden], False)
    clips = np.random.RandomState(20260101).standard_normal((1, CHANNELS[network.name], 16, 224, 224))
    with torch.inference_mode():
        features = network(torch.from_numpy(clips.astype(np.float32)).clip(-1, 1))
    assert relative_error(features, arrays["features"].mean(axis=2)) < 1e-3
    logits = F.linear(features, fill("logits.conv3d.weight", (400, 1024)), fill("logits.conv3d.bias", (400,)))
    assert relative_error(logits, arrays["logits"].mean(axis=2)) < 1e-3


def test_facts():
    assert (I3D.feature_dim, I3D.clip_size, I3D.shortcut) == (1024, (32, 224, 224), None)
    assert I3D.preprocessing == Preprocessing("RGB", 1 / 127.5, (1, 1, 1), (1, 1, 1))
    assert I3DFlow.preprocessing == Preprocessing("flow", 1 / 127.5, (1, 1), (1, 1))


# Checkpoints


@pytest.mark.parametrize("num_classes", [400, 157, None])
@pytest.mark.parametrize("golden", NAMES)
def test_each_layout_is_recognised_once_and_loads_whole(tmp_path, networks, golden, num_classes):
    tensors, name = hollow_tensors(golden), NAMES[golden]
    for key, shape in golden_shapes(golden).items():
        if key.startswith("logits."):
            del tensors[key]
            if num_classes:
                tensors[key] = torch.zeros(num_classes, *shape[1:])
    assert recognised(tensors) == ["i3d-rgb" if name == "i3d" else "i3d-flow"]
    torch.save(tensors, tmp_path / "file.pt")
    assert identify_weights(tmp_path / "file.pt") == ((name,), None)
    network = build_backbone(name, num_frames=8, size=64)
    report = load_into(network, tmp_path / "file.pt")
    assert report.is_complete and len(report.matched) == 57 * 5 and not report.unexpected
    assert report.not_used == (("logits.conv3d.weight", "logits.conv3d.bias") if num_classes else ())
    assert network.clip_size == (8, 64, 64) and pixels_of(network.preprocessing) == type(network).preprocessing
    assert network.mixed_5c.b2b.conv.weight.unique().tolist() == [0.5]


@pytest.mark.parametrize("name", CHANNELS)
def test_a_bare_state_dict_of_ours_is_recognised_once(tmp_path, networks, name):
    weights = networks[name].state_dict()
    assert recognised(weights) == ["c3dhash-i3d" if name == "i3d" else "c3dhash-i3d-flow"]
    torch.save(weights, tmp_path / "mine.pt")
    loaded = load_backbone(tmp_path / "mine.pt")
    assert loaded.name == name
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in weights.items())


@pytest.mark.parametrize(("golden", "other"), [(RGB, "i3d_flow"), (FLOW, "i3d")])
def test_rgb_and_flow_are_not_mixed_up(tmp_path, networks, golden, other):
    torch.save(hollow_tensors(golden), tmp_path / "file.pt")
    before = networks[other].conv_1a.conv.weight.clone()
    with pytest.raises(CheckpointError, match=rf"holds weights of {NAMES[golden]} \(i3d-\w+\), not of {other}: build"):
        load_into(networks[other], tmp_path / "file.pt")
    with pytest.raises(
        CheckpointError, match=rf"holds weights of {NAMES[golden]} .*, not of {other}: name {NAMES[golden]}"
    ):
        load_backbone(tmp_path / "file.pt", backbone=other)
    assert torch.equal(networks[other].conv_1a.conv.weight, before)


FLAX_UNITS = {
    "conv_1a": "Conv3d_1a_7x7", "conv_2b": "Conv3d_2b_1x1", "conv_2c": "Conv3d_2c_3x3", "b0": "Branch_0/Conv3d_0a_1x1",
    "b1a": "Branch_1/Conv3d_0a_1x1", "b1b": "Branch_1/Conv3d_0b_3x3", "b2a": "Branch_2/Conv3d_0a_1x1",
    "b2b": "Branch_2/Conv3d_0b_3x3", "b3b": "Branch_3/Conv3d_0b_1x1",
}  # fmt: skip


def as_flax(network):
    """The entries of a network as the package has them: kernels [T, H, W, in, out], no scale, statistics of 5 axes."""
    found = {}
    for name, tensor in network.state_dict().items():
        *block, unit, layer, entry = name.split(".")
        place = "/".join([part.replace("mixed_", "Mixed_") for part in block] + [FLAX_UNITS[unit]])
        if layer == "conv":
            found[f"params/{place}/Conv_0/kernel"] = tensor.permute(2, 3, 4, 1, 0).contiguous()
        elif entry == "bias":
            found[f"params/{place}/BatchNorm_0/bias"] = tensor
        elif entry.startswith("running_"):
            found[f"batch_stats/{place}/BatchNorm_0/{entry[8:]}"] = tensor.reshape(1, 1, 1, 1, -1)
    return found


def test_the_checkpoint_of_the_package(tmp_path, networks):
    network = networks["i3d"]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm3d):  # so that one taken for another is seen
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                torch.nn.init.normal_(module.bias)
        kernel, bias = torch.randn(1, 1, 1, 1024, 400), torch.randn(400)
    head = "params/Logits/Conv3d_0c_1x1/Conv_0"
    tensors = {**as_flax(network), f"{head}/kernel": kernel, f"{head}/bias": bias}
    assert recognised(tensors) == ["i3d-flax"]
    torch.save(tensors, tmp_path / "file.pt")
    loaded, own = load_backbone(tmp_path / "file.pt").state_dict(), network.state_dict()
    assert all(torch.equal(loaded[name], own[name]) for name in own if not name.endswith("num_batches_tracked"))
    run = published_run("i3d", tmp_path / "file.pt")
    assert torch.equal(run.model.class_head.weight, kernel[0, 0, 0].T) and torch.equal(run.model.class_head.bias, bias)


@pytest.mark.skipif(not find_file("i3d-kinetics-400.safetensors"), reason="run `c3dhash models fetch i3d` first")
def test_the_weights_of_the_package_give_the_golden_logits():
    run = published_run("i3d", "kinetics400")
    clips = np.random.RandomState(20260101).standard_normal((1, 16, 224, 224, 3)).clip(-1, 1).astype(np.float32)
    with torch.inference_mode():
        logits = run.model(torch.from_numpy(clips).permute(0, 4, 1, 2, 3)).logits[0].numpy()
    golden = [1.9552258, 0.43857187, 1.6377001, -0.84964734, 2.8535616, 0.73510146, -0.3017311, -2.5875235]
    assert np.abs(logits[::57] - golden).max() < 1e-3
    assert (logits.argmax(), run.labels[153]) == (153, "hitting baseball")
    assert logits.max() == pytest.approx(6.759546, abs=1e-3) and logits.std() == pytest.approx(2.3974724, abs=1e-4)


def test_known_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pretrain").mkdir()
    known = {(weights.backbone, weights.name): weights.file_name for weights in KNOWN_WEIGHTS}
    for backbone, stream, name in (("i3d", "rgb", "kinetics400-port"), ("i3d_flow", "flow", "kinetics400")):
        assert known[backbone, name] == f"{stream}_imagenet.pt"
        assert known[backbone, "charades"] == f"{stream}_charades.pt"
        (tmp_path / "pretrain" / f"{stream}_imagenet.pt").touch()
        found = find_weights(name, backbone=backbone)
        assert found == Path("pretrain") / f"{stream}_imagenet.pt"


# The network


def tensorflow_windows(length, kernel, stride):
    """TensorFlow's SAME, written out: which input positions each output sees."""
    num_outputs = -(-length // stride)
    total = max((num_outputs - 1) * stride + kernel - length, 0)
    starts = [index * stride - total // 2 for index in range(num_outputs)]
    return [[place for place in range(start, start + kernel) if 0 <= place < length] for start in starts]


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (2, 2), (1, 2), (1, 1)])
@pytest.mark.parametrize("length", range(1, 18))
def test_padding_is_tensorflows(length, kernel, stride):
    """A convolution of ones counts what each window sees; the pooling finds its greatest."""
    before, behind = same_padding(length, kernel, stride)
    line = torch.arange(1.0, length + 1)[None, None]
    windows = tensorflow_windows(length, kernel, stride)
    sums = F.conv1d(F.pad(line, (before, behind)), torch.ones(1, 1, kernel), stride=stride)[0, 0]
    assert sums.tolist() == [sum(place + 1 for place in window) for window in windows]
    assert before <= kernel // 2, "PyTorch's poolings take no more"
    top = F.max_pool1d(line, kernel, stride, padding=before, ceil_mode=True)[0, 0]
    assert top.tolist() == [max(window) + 1 for window in windows if window]


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (2, 8, 56, 56), (1, 17, 40, 72), (1, 40, 32, 32)])
def test_other_clip_sizes(networks, name, shape):
    clips = torch.randn(shape[0], CHANNELS[name], *shape[1:])
    with torch.inference_mode():
        features = networks[name](clips)
        with torch.autocast("cpu", torch.bfloat16):
            rough = networks[name](clips)
    assert features.shape == rough.shape == (shape[0], 1024)
    assert features.dtype == rough.dtype == torch.float32
    assert features.isfinite().all() and features.std() > 0
    if shape[-1] > 32 or shape[1] < 40 or pick_precision("auto", torch.device("cpu")) == "bf16":
        # Elsewhere bf16 must be asked for, and where AVX512 has none PyTorch 2.14's 1 x 1 x 1 convolutions of several
        # maps of one pixel are wrong in it: (1, 832, 5, 1, 1), channels last, is off by its standard deviation.
        assert 0 < (rough - features).abs().max() < 0.2 * features.std()


def test_feature_is_the_average_pool_then_the_mean_over_time(networks):
    network, maps = networks["i3d"], []
    hook = network.mixed_5c.register_forward_hook(lambda block, inputs, output: maps.append(output))
    with torch.inference_mode():
        features = network(torch.randn(1, 3, 40, 64, 64))
    hook.remove()
    assert maps[0].shape == (1, 1024, 5, 2, 2)
    pooled = torch.stack([maps[0][:, :, t : t + 2].mean(dim=(2, 3, 4)) for t in range(4)])
    torch.testing.assert_close(features, pooled.mean(dim=0))


@pytest.mark.parametrize("name", CHANNELS)
def test_every_frame_and_their_order_count(networks, name):
    clips = torch.randn(1, CHANNELS[name], 19, 32, 32, requires_grad=True)
    features = networks[name](clips)
    (gradient,) = torch.autograd.grad(features.sum(), clips)
    assert gradient.abs().sum(dim=(0, 1, 3, 4)).all()
    with torch.inference_mode():
        back = networks[name](clips.flip(2))
    assert (features - back).abs().max() > 0.1 * features.std()


@pytest.mark.parametrize("name", CHANNELS)
def test_all_weights_get_a_gradient(networks, name):
    network = networks[name]
    network(torch.randn(2, CHANNELS[name], 8, 32, 32)).square().mean().backward()
    gradients = {key: weight.grad for key, weight in network.named_parameters()}
    network.zero_grad()
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.any()] == []


def test_new_weights_keep_the_size_of_activations(networks):
    with torch.inference_mode():
        features = networks["i3d"].train()(torch.randn(4, 3, 8, 64, 64))
    networks["i3d"].eval()
    assert 0.1 < features.square().mean().sqrt() < 2


def test_what_cannot_be_built():
    for name, (option, value) in itertools.product(CHANNELS, [("size", 8), ("num_frames", 0)]):
        with pytest.raises(UsageError, match=rf"{option} \({value}\) of {name} must be a whole number from"):
            build_backbone(name, **{option: value})
    with pytest.raises(UsageError, match=r"shortcut \('A'\) is not for i3d, which has none"):
        build_backbone("i3d", shortcut="A")
