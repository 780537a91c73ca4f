"""Backbones: contract, other clip sizes, gradients of shortcut A. Golden values are in test_weights.py."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from c3dhash.errors import UsageError
from c3dhash.models.backbones import BACKBONES, LAYOUTS, build_backbone
from c3dhash.models.backbones.layouts import unwrap
from c3dhash.models.backbones.resnet3d import BasicBlock, ResNet3D18, shortcut_a
from c3dhash.models.precision import guard_conv3d
from c3dhash.records import Preprocessing


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# Entries that no feature depends on: the last attention of mvit_v2_s moves its distances and queries of places around,
# but of its output the class token alone is read.
UNREAD = {
    "mvit_v2_s": {
        f"network.blocks.15.attn.{name}" for name in ("rel_pos_h", "rel_pos_w", "rel_pos_t", "pool_q.pool.weight")
    }
}


def small_clip(name: str, num_frames: int, size: int) -> tuple[int, int, int]:
    """Round a clip size up to what a backbone takes."""
    network = BACKBONES[name]
    frames, pixels = (
        math.ceil(max(value, network.min_clip_size[axis]) / network.clip_multiple[axis]) * network.clip_multiple[axis]
        for axis, value in enumerate((num_frames, size))
    )
    return frames, pixels, pixels


def clips_for(network: torch.nn.Module, num_frames: int, size: int, *, batch: int = 2) -> torch.Tensor:
    """Draw clips of about this size: [B, C, T, H, W]. mvit takes what it was built for only."""
    is_bound = network.name.startswith("mvit")
    clip_size = network.clip_size if is_bound else small_clip(network.name, num_frames, size)
    return torch.randn(batch, network.preprocessing.num_channels, *clip_size)


def some_sum(features: torch.Tensor) -> torch.Tensor:
    """Weigh features at random: behind a layer norm their plain sum, and that of their squares, never change."""
    return (features * torch.randn_like(features)).sum()


def wake_up(network: torch.nn.Module) -> torch.nn.Module:
    """Let blocks that start as their shortcuts pass something."""
    for layer in network.modules():
        if hasattr(layer, "running_var") and not layer.weight.any():
            torch.nn.init.ones_(layer.weight)
        if hasattr(layer, "layer_scale"):
            torch.nn.init.ones_(layer.layer_scale)
    return network.eval()


@pytest.fixture(scope="module", params=BACKBONES)
def network(request):
    """Each backbone in turn, for small clips, in evaluation mode and guarded as in a HashNet; tests leave it so."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        num_frames, size, _ = small_clip(request.param, 4, 32)
        built = wake_up(build_backbone(request.param, num_frames=num_frames, size=size))
    guard_conv3d(built)
    return built


@pytest.fixture(scope="module")
def c3d():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_backbone("c3d").eval()


def test_backbone_carries_its_facts(network):
    name = network.name
    assert type(network) is BACKBONES[name]
    with torch.device("meta"):
        default = build_backbone(name)
    assert default.clip_size == BACKBONES[name].clip_size == small_clip(name, *default.clip_size[:2])
    assert network.clip_size == small_clip(name, 4, 32)
    assert isinstance(network.preprocessing, Preprocessing)
    assert (network.shortcut in network.shortcuts) if network.shortcuts else (network.shortcut is None)


@pytest.mark.parametrize(("num_frames", "size", "batch"), [(1, 1, 1), (9, 40, 2)])
def test_other_clip_sizes(network, num_frames, size, batch):
    clips = clips_for(network, num_frames, size, batch=batch)
    with torch.inference_mode():
        features = network(clips)
    assert features.shape == (batch, network.feature_dim)
    assert features.dtype == torch.float32
    assert features.isfinite().all() and features.std() > 0


def test_frames_need_not_be_square(network):
    if network.name.startswith("mvit"):
        pytest.skip("takes what it was built for only")
    with torch.inference_mode():
        features = network(clips_for(network, 4, 48)[..., :32])
    assert features.shape == (2, network.feature_dim) and features.std() > 0


def test_feature_of_a_clip_does_not_depend_on_its_batch(network):
    clips = clips_for(network, 4, 32)
    with torch.inference_mode():
        batch = network(clips)
        alone = torch.cat([network(clip[None]) for clip in clips])
    torch.testing.assert_close(batch, alone, rtol=1e-3, atol=1e-3 * batch.std().item())


def test_every_frame_counts(network):
    clips = clips_for(network, 18, 16).requires_grad_()  # with a rest in each halving: 18 9 5 3 2
    (gradient,) = torch.autograd.grad(some_sum(network(clips)), clips)
    assert gradient.abs().sum(dim=(0, 1, 3, 4)).all()


def test_order_of_frames_counts(network):
    if network.name.startswith(("tsn", "phash")):
        pytest.skip("the mean over frames has no order")
    clips = clips_for(network, 4, 32)
    with torch.inference_mode():
        forth, back = network(clips), network(clips.flip(2))
    assert (forth - back).abs().max() > 0.01 * forth.std()  # rounding alone gives a ten-thousandth of that


def test_bf16_autocast_gives_float32_features_close_to_float32(network):
    clips = clips_for(network, 4, 32)
    with torch.inference_mode():
        exact = network(clips)
        with torch.autocast("cpu", torch.bfloat16):
            features = network(clips)
    assert features.dtype == torch.float32
    difference = (features - exact).abs().max()
    assert difference < 0.15 * exact.std()
    assert difference > 0 or not network.needs_weights  # what is no network computes in float32 all the same


def test_all_weights_get_a_gradient(network):
    if not network.needs_weights:
        pytest.skip("it has none")
    some_sum(network(clips_for(network, 4, 32))).backward()
    gradients = {key: weight.grad for key, weight in network.named_parameters()}
    network.zero_grad()
    without = {key for key, gradient in gradients.items() if gradient is None or not gradient.any()}
    assert without == UNREAD.get(network.name, set())


@pytest.mark.parametrize("name", [name for name, network in BACKBONES.items() if network.needs_weights])
def test_state_dict_of_ours_is_recognised_once(name):
    with torch.device("meta"):
        network = build_backbone(name)
    entries = unwrap(network.state_dict())
    found = [layout for layout in LAYOUTS.values() if layout.recognise(entries)]
    assert len(found) == 1
    names, shortcut = found[0].identify(entries)
    assert name in names and shortcut == network.shortcut
    assert {found[0].own_name(key) for key in entries.tensors} == set(network.state_dict())


def test_listing_backbones_does_not_import_torchvision():
    script = "import sys, c3dhash.models.backbones; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_c3d_is_the_paper_network_at_112(c3d):
    network, clips = c3d, torch.randn(1, 3, 16, 112, 112)
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


def test_c3d_drops_out_in_training_only(c3d):
    network, clips = c3d, torch.randn(1, 3, 4, 16, 16)
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


def test_c3d_keeps_the_size_of_activations(c3d):
    with torch.inference_mode():
        features = c3d(torch.randn(2, 3, 8, 32, 32))
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


def test_build_backbone_takes_a_clip_size_and_a_shortcut():
    network, default = build_backbone("resnet3d18", num_frames=8, size=56, shortcut="A"), build_backbone("resnet3d18")
    assert (network.clip_size, network.shortcut) == ((8, 56, 56), "A")
    assert (ResNet3D18.clip_size, default.shortcut) == ((16, 112, 112), "B")
    keys, keys_b = set(network.state_dict()), set(default.state_dict())
    assert keys < keys_b
    assert {key.rsplit(".", 2)[0] for key in keys_b - keys} == {f"stage{i}.0.downsample" for i in (2, 3, 4)}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, r"backbone \('resnet19'\) must be one of c3d, .*, resnet3d10, resnet3d18, "),
        ("c3d", {"num_frames": 0}, r"num_frames \(0\) of c3d must be a whole number from 1; 16 is"),
        ("c3d", {"size": 15}, r"size \(15\) of c3d must be a whole number from 16; 112 is"),
        ("resnet3d18", {"size": 8}, r"size \(8\) of resnet3d18 must be a whole number from 16"),
        ("resnet3d18", {"size": 56.0}, r"size \(56\.0\) of resnet3d18 must be a whole number"),
        ("resnet3d18", {"num_frames": True}, r"num_frames \(True\)"),
        ("resnet3d18", {"shortcut": "C"}, r"shortcut \('C'\) of resnet3d18 must be one of A, B; the def"),
        (
            "slowfast",
            {"num_frames": 30},
            r"num_frames \(30\) of slowfast must be a multiple of 4 from 4; 32 is its def",
        ),
        ("mvit_v2_s", {"num_frames": 15}, r"num_frames \(15\) of mvit_v2_s must be a multiple of 2 from 2; 16 is"),
        ("mvit_v1_b", {"size": 112}, r"size \(112\) of mvit_v1_b must be a multiple of 32 from 32; 224 is its default"),
        ("s3d", {"num_frames": 4}, r"num_frames \(4\) of s3d must be a whole number from 5; 16 is its default"),
        ("s3d", {"shortcut": "B"}, r"shortcut \('B'\) is not for s3d, which has none: leave it out"),
        ("c3d", {"shortcut": "A"}, r"shortcut \('A'\) is not for c3d, which has none: leave it out"),
    ],
)
def test_what_cannot_be_built(name, options, message):
    with pytest.raises(UsageError, match=message):
        build_backbone(name, **options)
