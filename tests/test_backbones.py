"""Backbones: contract, other clip sizes, gradients of shortcut A. Golden values are in test_weights.py."""

import math

import pytest
import torch
import torch.nn.functional as F

from c3dhash.backbones import BACKBONES, build_backbone
from c3dhash.backbones.resnet3d import BasicBlock, ResNet3D18, shortcut_a
from c3dhash.errors import UsageError
from c3dhash.records import Preprocessing


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def networks():
    """One of each, in evaluation mode; tests must leave them so."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = {name: build_backbone(name).eval() for name in BACKBONES}
    for layer in built["resnet3d18"].modules():
        if isinstance(layer, torch.nn.BatchNorm3d):  # those at the ends of blocks start at 0: nothing would pass them
            torch.nn.init.ones_(layer.weight)
    return built


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_carries_its_facts(networks, name):
    network = networks[name]
    assert isinstance(network, BACKBONES[name])
    assert network.name == name
    assert network.clip_size == BACKBONES[name].clip_size == (16, 112, 112)
    assert isinstance(network.preprocessing, Preprocessing)
    assert network.shortcut is None or network.shortcut in network.shortcuts
    assert network.feature_dim == {"c3d": 4096, "resnet3d18": 512}[name]


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("shape", [(1, 3, 1, 16, 16), (2, 3, 8, 56, 56), (2, 3, 17, 40, 72)])
def test_other_clip_sizes(networks, name, shape):
    with torch.inference_mode():
        features = networks[name](torch.randn(shape))
    assert features.shape == (shape[0], networks[name].feature_dim)
    assert features.dtype == torch.float32
    assert features.isfinite().all() and features.std() > 0


@pytest.mark.parametrize("name", BACKBONES)
def test_feature_of_a_clip_does_not_depend_on_its_batch(networks, name):
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.inference_mode():
        batch = networks[name](clips)
        alone = torch.cat([networks[name](clip[None]) for clip in clips])
    torch.testing.assert_close(batch, alone, rtol=1e-3, atol=1e-3 * batch.std().item())


@pytest.mark.parametrize("name", BACKBONES)
def test_every_frame_counts(networks, name):
    clips = torch.randn(2, 3, 18, 16, 16, requires_grad=True)  # with a rest in each halving: 18 9 5 3 2
    (gradient,) = torch.autograd.grad(networks[name](clips).sum(), clips)
    assert gradient.abs().sum(dim=(0, 1, 3, 4)).all()


@pytest.mark.parametrize("name", BACKBONES)
def test_order_of_frames_counts(networks, name):
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.inference_mode():
        forth, back = networks[name](clips), networks[name](clips.flip(2))
    assert (forth - back).abs().max() > 0.1 * forth.std()


@pytest.mark.parametrize("name", BACKBONES)
def test_bf16_autocast_gives_float32_features_close_to_float32(networks, name):
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.inference_mode():
        exact = networks[name](clips)
        with torch.autocast("cpu", torch.bfloat16):
            features = networks[name](clips)
    assert features.dtype == torch.float32
    assert 0 < (features - exact).abs().max() < 0.1 * exact.std()


@pytest.mark.parametrize("name", BACKBONES)
def test_all_weights_get_a_gradient(networks, name):
    network = networks[name]
    network(torch.randn(2, 3, 2, 16, 16)).square().mean().backward()
    gradients = {key: weight.grad for key, weight in network.named_parameters()}
    network.zero_grad()
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.any()] == []


def test_c3d_is_the_paper_network_at_112(networks):
    network, clips = networks["c3d"], torch.randn(1, 3, 16, 112, 112)
    x = clips
    with torch.inference_mode():
        for names, kernel, padding in (
            ("1a", (1, 2, 2), 0),
            ("2a", 2, 0),
            ("3a 3b", 2, 0),
            ("4a 4b", 2, 0),
            ("5a 5b", 2, (0, 1, 1)),
        ):
            for name in names.split():
                layer = getattr(network, f"conv{name}")
                x = F.relu(F.conv3d(x, layer.weight, layer.bias, padding=1))
            x = F.max_pool3d(x, kernel, padding=padding)
        assert x.shape == (1, 512, 1, 4, 4)
        fc6 = F.relu(F.linear(x.reshape(1, 8192), network.fc6.weight, network.fc6.bias))
        fc7 = F.relu(F.linear(fc6, network.fc7.weight, network.fc7.bias))
        features = network(clips)
    torch.testing.assert_close(features, fc7, rtol=1e-3, atol=1e-4 * fc7.std().item())


def test_c3d_drops_out_in_training_only(networks):
    network, clips = networks["c3d"], torch.randn(1, 3, 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(clips), network(clips))
        kept = network(clips) > 0
        dropped = network.train()(clips)[kept] == 0
        network.eval()
    assert 0.55 < dropped.float().mean() < 0.75  # half by the second dropout, and some by the first one


def test_new_weights_follow_he():
    network = ResNet3D18()
    weight = network.stage2[0].conv1.weight  # [128, 64, 3, 3, 3]: fan-out 128 * 27
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 27)), rel=0.02)
    assert torch.equal(network.stem_bn.weight, torch.ones(64)) and not network.stem_bn.bias.any()


def test_c3d_keeps_the_size_of_activations(networks):
    with torch.inference_mode():
        features = networks["c3d"](torch.randn(2, 3, 8, 32, 32))
    assert 0.05 < features.square().mean().sqrt() < 20  # weights of a ninth of He's variance would give 1e-4


def concatenated_shortcut(x, out_channels, stride):
    """Shortcut A written out: every stride-th sample, and a block of zeros behind the channels."""
    batch, channels, frames, height, width = x.shape
    rows = [
        x[:, :, t, h, w]
        for t in range(0, frames, stride)
        for h in range(0, height, stride)
        for w in range(0, width, stride)
    ]
    size = [len(range(0, length, stride)) for length in (frames, height, width)]
    sampled = torch.stack(rows, dim=2).reshape(batch, channels, *size)
    return torch.cat([sampled, x.new_zeros(batch, out_channels - channels, *size)], dim=1)


@pytest.mark.parametrize("shape", [(2, 3, 4, 6, 6), (1, 2, 1, 7, 5), (1, 4, 3, 2, 1)])
def test_shortcut_a_and_its_gradient_equal_a_concatenation(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    out, expected = shortcut_a(x, out_channels=8, stride=2), concatenated_shortcut(x, 8, 2)
    assert torch.equal(out, expected)
    weight = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    (expected_gradient,) = torch.autograd.grad((expected * weight).sum(), x)
    assert gradient.any() and torch.equal(gradient, expected_gradient)


def test_gradient_flows_through_the_shortcut_of_a_block():
    block = BasicBlock(4, 8, stride=2, shortcut="A").double()
    torch.nn.init.zeros_(block.bn2.weight)  # the convolutions give nothing: what is left is the shortcut
    x = torch.rand(2, 4, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 8, 2, 3, 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((block(x) * weight).sum(), x)
    expected = torch.zeros_like(x)
    expected[:, :, ::2, ::2, ::2] = weight[:, :4]
    torch.testing.assert_close(gradient, expected)


def test_build_backbone_takes_a_clip_size_and_a_shortcut(networks):
    network = build_backbone("resnet3d18", num_frames=8, size=56, shortcut="A")
    assert (network.clip_size, network.shortcut) == ((8, 56, 56), "A")
    assert (ResNet3D18.clip_size, networks["resnet3d18"].shortcut) == ((16, 112, 112), "B")
    keys, keys_b = set(network.state_dict()), set(networks["resnet3d18"].state_dict())
    assert keys < keys_b
    assert {key.rsplit(".", 2)[0] for key in keys_b - keys} == {f"stage{i}.0.downsample" for i in (2, 3, 4)}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, r"backbone \('resnet19'\) must be one of c3d, resnet3d18"),
        ("c3d", {"num_frames": 0}, r"num_frames \(0\) of c3d must be a whole number from 1; 16 is"),
        ("c3d", {"size": 15}, r"size \(15\) of c3d must be a whole number from 16; 112 is"),
        ("resnet3d18", {"size": 8}, r"size \(8\) of resnet3d18 must be a whole number from 16"),
        ("resnet3d18", {"size": 56.0}, r"size \(56\.0\) of resnet3d18 must be a whole number"),
        ("resnet3d18", {"num_frames": True}, r"num_frames \(True\)"),
        ("resnet3d18", {"shortcut": "C"}, r"shortcut \('C'\) of resnet3d18 must be one of A, B; the def"),
        ("c3d", {"shortcut": "A"}, r"shortcut \('A'\) is not for c3d, which has none: leave it out"),
    ],
)
def test_what_cannot_be_built(name, options, message):
    with pytest.raises(UsageError, match=message):
        build_backbone(name, **options)
