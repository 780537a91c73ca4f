"""i3d_r50, slowonly and slowfast: still clips, mmaction2's checkpoints, and a reference written on their entries."""

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from pixels import pixels_of
from upstream import conv_module_shapes, filled, hollow, mmaction2_resnet50_shapes, recognised

from c3dhash.errors import CheckpointError
from c3dhash.models.backbones import BACKBONES, KNOWN_WEIGHTS, build_backbone
from c3dhash.models.backbones.inflated import extend_time
from c3dhash.models.backbones.torchvision_image import inflate
from c3dhash.models.weights import identify_weights, load_backbone, load_into, weights_metadata
from c3dhash.records import Preprocessing

MMACTION2 = Preprocessing("RGB", 1.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# As in mmaction2's configs: inflate = 1 is a kernel of three frames.
I3D = [[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]
SLOW = [[1] * 3, [1] * 4, [3] * 6, [3] * 3]
FAST = [[3] * 3, [3] * 4, [3] * 6, [3] * 3]


def checkpoint_shapes(name: str, *, lateral_frames: int = 7) -> dict[str, tuple[int, ...]]:
    """List the entries of mmaction2's checkpoint of a recogniser, with its head."""
    if name == "slowfast":
        shapes = mmaction2_resnet50_shapes(
            "backbone.slow_path.", stem_frames=1, kernel_frames=SLOW, lateral_frames=lateral_frames
        ) | mmaction2_resnet50_shapes("backbone.fast_path.", stem_frames=5, kernel_frames=FAST, width=8)
        return shapes | {"cls_head.fc_cls.weight": (400, 2304), "cls_head.fc_cls.bias": (400,)}
    stem_frames, kernel_frames = (5, I3D) if name == "i3d_r50" else (1, SLOW)
    shapes = mmaction2_resnet50_shapes("backbone.", stem_frames=stem_frames, kernel_frames=kernel_frames)
    return shapes | {"cls_head.fc_cls.weight": (400, 2048), "cls_head.fc_cls.bias": (400,)}


class Reference:
    """What mmaction2's modules compute, on the entries below a path: zeros around everything, in time too."""

    def __init__(self, state, path):
        self.state = {key.removeprefix(path): tensor for key, tensor in state.items() if key.startswith(path)}

    def conv(self, key, x, *, stride=1):
        weight = self.state[f"{key}.conv.weight"]
        return F.conv3d(x, weight, stride=stride, padding=tuple(length // 2 for length in weight.shape[2:]))

    def module(self, key, x, *, stride=1):
        norm = [self.state[f"{key}.bn.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(self.conv(key, x, stride=stride), *norm)

    def stem(self, x, *, stride=1):
        x = F.relu(self.module("conv1", x, stride=(stride, 2, 2)))
        return F.max_pool3d(x, (1, 3, 3), stride=(stride, 2, 2), padding=(0, 1, 1))

    def stage(self, number, x):
        block = 0
        while f"layer{number}.{block}.conv1.conv.weight" in self.state:
            key, stride = f"layer{number}.{block}", (1, 2, 2) if number > 1 and block == 0 else 1
            out = F.relu(self.module(f"{key}.conv1", x))
            out = F.relu(self.module(f"{key}.conv2", out, stride=stride))
            out = self.module(f"{key}.conv3", out)
            x = F.relu(out + (self.module(f"{key}.downsample", x, stride=stride) if block == 0 else x))
            block += 1
        return x


def reference(name, state, clips):
    """Compute the feature of a clip as mmaction2 does."""
    if name == "slowfast":
        slow_path, fast_path = Reference(state, "backbone.slow_path."), Reference(state, "backbone.fast_path.")
        slow, fast = slow_path.stem(F.interpolate(clips, scale_factor=(1 / 4, 1, 1))), fast_path.stem(clips)
        for number in range(1, 5):
            lateral = slow_path.conv(
                "conv1_lateral" if number == 1 else f"layer{number - 1}_lateral", fast, stride=(4, 1, 1)
            )
            slow = slow_path.stage(number, torch.cat((slow, lateral), dim=1))
            fast = fast_path.stage(number, fast)
        return torch.cat([F.adaptive_avg_pool3d(x, 1).flatten(1) for x in (slow, fast)], dim=1)
    network = Reference(state, "backbone.")
    x = network.stage(1, network.stem(clips, stride=2 if name == "i3d_r50" else 1))
    if name == "i3d_r50":
        x = F.max_pool3d(x, (2, 1, 1))
    for number in (2, 3, 4):
        x = network.stage(number, x)
    return F.adaptive_avg_pool3d(x, 1).flatten(1)


@pytest.mark.parametrize("name", ["i3d_r50", "slowonly", "slowfast"])
def test_checkpoints_of_mmaction2(save, name):
    state = filled(checkpoint_shapes(name))
    layout = f"mmaction2-{name.removesuffix('_r50')}"
    assert recognised(state) == [layout]
    path = save({"meta": {"epoch": 100}, "state_dict": state})
    network = load_backbone(path)
    assert (network.name, pixels_of(network.preprocessing)) == (name, MMACTION2)
    assert network.clip_size == BACKBONES[name].clip_size
    report = load_into(network, path)
    assert report.is_complete and not report.unexpected
    assert set(report.not_used) == {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"}
    clips = torch.randn(2, 3, 16, 36, 36)
    with torch.inference_mode():
        features, expected = network(clips), reference(name, state, clips)
    assert features.shape == expected.shape == (2, network.feature_dim)
    assert (features - expected).abs().max() < 1e-4 * expected.std()


def test_state_dict_of_ours_round_trips(save):
    network = build_backbone("slowfast")
    path = save(network.state_dict())
    assert identify_weights(path) == (("slowfast",), None)
    loaded = load_backbone(path)
    assert loaded.preprocessing == MMACTION2
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())


def non_local(shapes):
    """Non-local blocks between the others, as of i3d_imagenet-pretrained-r50-nl-gaussian."""
    return shapes | conv_module_shapes("backbone.layer2.1.non_local_block.g", (256, 512, 1, 1, 1))


def with_inflated_last_stage(shapes):
    return {
        key: (*shape[:2], 3, *shape[3:]) if ".layer4." in key and "conv1.conv" in key else shape
        for key, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("shapes", "layout"),
    [
        (non_local(checkpoint_shapes("i3d_r50")), "mmaction2-i3d"),
        (non_local(checkpoint_shapes("slowonly")), "mmaction2-slowonly"),
        (with_inflated_last_stage(checkpoint_shapes("i3d_r50")), "mmaction2-i3d"),
        (
            {key: shape for key, shape in checkpoint_shapes("slowonly").items() if "layer3.5" not in key},
            "mmaction2-slowonly",
        ),
        (checkpoint_shapes("slowfast", lateral_frames=5), "mmaction2-slowfast"),  # 4 x 16, alpha = 8
    ],
)
def test_relatives_are_refused(save, shapes, layout):
    with pytest.raises(CheckpointError, match=rf"has the layout {layout}, but the blocks of no known backbone"):
        load_backbone(save({"state_dict": hollow(shapes)}))


def test_slowonly_on_optical_flow_is_not_recognised(save):
    tensors = hollow(checkpoint_shapes("slowonly")) | {"backbone.conv1.conv.weight": torch.zeros(64, 2, 1, 7, 7)}
    assert recognised(tensors) == []
    with pytest.raises(CheckpointError, match=r"has no known layout"):
        load_backbone(save(tensors))


def test_i3d_and_slowonly_are_told_apart_by_their_stem(save):
    path = save({"state_dict": hollow(checkpoint_shapes("i3d_r50"))})
    with pytest.raises(CheckpointError, match=r"holds weights of i3d_r50 \(mmaction2-i3d\), not of slowonly: name"):
        load_backbone(path, backbone="slowonly")


# Still clips


@pytest.fixture(scope="module")
def image_network():
    """torchvision's 2D ResNet-50 with random weights and statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet50(weights=None).eval()
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(layer.running_var, 0.5, 2)
                torch.nn.init.normal_(layer.running_mean, std=0.1)
                torch.nn.init.normal_(layer.bias, std=0.1)
    return network


@pytest.fixture(scope="module")
def still_network(image_network, tmp_path_factory):
    path = tmp_path_factory.mktemp("imagenet") / "resnet50-0676ba61.pth"
    torch.save(image_network.state_dict(), path)
    network = load_backbone(path, backbone="i3d_r50")
    report = load_into(network, path)
    assert report.is_complete and (report.unexpected, report.not_used) == ((), ("fc.weight", "fc.bias"))
    assert network.preprocessing == IMAGENET
    return network


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 8, 9, 13, 32])
def test_a_still_clip_gives_the_feature_of_its_picture(image_network, still_network, num_frames):
    pictures, seen = torch.randn(2, 3, 40, 40), []
    hook = image_network.fc.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        image_network(pictures)
        features = still_network(pictures[:, :, None].expand(-1, -1, num_frames, -1, -1))
    hook.remove()
    assert (features - seen[0]).abs().max() < 1e-4 * seen[0].abs().max()
    assert seen[0].std() > 0


def test_how_the_ends_are_padded_goes_with_the_weights(save, still_network, tmp_path):
    assert still_network.edge == 1
    upstream = load_backbone(save({"state_dict": hollow(checkpoint_shapes("i3d_r50"))}))
    assert upstream.edge == 0
    state = {f"backbone.{key}": value.contiguous() for key, value in upstream.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "model.safetensors", metadata=weights_metadata(upstream))
    assert load_backbone(tmp_path).edge == 0
    assert load_into(upstream, save(still_network.state_dict())).layout == "c3dhash-i3d-r50"
    assert upstream.edge == 1


def test_i3d_sees_all_frames_but_the_last_one_of_a_multiple_of_four():
    network = build_backbone("i3d_r50").eval()
    for num_frames, unseen in ((16, [15]), (17, []), (18, []), (19, [])):
        clips = torch.randn(1, 3, num_frames, 16, 16, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(clips).sum(), clips)
        assert (gradient.abs().sum(dim=(0, 1, 3, 4)) == 0).nonzero().flatten().tolist() == unseen


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_extend_time(edge):
    clip = torch.arange(1.0, 4).reshape(1, 1, 3, 1, 1)
    extended = extend_time(clip, num_frames=2, edge=torch.tensor(edge)).flatten().tolist()
    assert extended == [edge, edge, 1, 2, 3, 3 * edge, 3 * edge]


def test_inflate():
    kernel = torch.randn(4, 3, 7, 7)
    inflated = inflate(kernel, torch.Size((4, 3, 5, 7, 7)))
    torch.testing.assert_close(inflated.sum(dim=2), kernel)
    assert torch.equal(inflated[:, :, 0], inflated[:, :, 4])
    for shape in ((4, 3, 7, 7), (4, 2, 5, 7, 7), (4,)):
        assert inflate(kernel, torch.Size(shape)) is kernel


# torchvision's 2D ResNets


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("resnet18", ("tsn_resnet18", "tsm_resnet18")),
        ("resnet34", ()),
        ("resnet50", ("tsn_resnet50", "tsm_resnet50", "i3d_r50")),
        ("resnet101", ()),
        ("wide_resnet50_2", ()),
        ("resnext50_32x4d", ()),
    ],
)
def test_2d_resnets_of_torchvision(save, model, names):
    with torch.device("meta"):
        shapes = {key: tuple(tensor.shape) for key, tensor in getattr(torchvision.models, model)().state_dict().items()}
    tensors = {f"module.{key}": tensor for key, tensor in hollow(shapes).items()}
    assert recognised(tensors) == ["torchvision-resnet"]
    assert identify_weights(save({"state_dict": tensors})) == (names, None)


def test_known_image_weights_are_torchvisions():
    known = [weights for weights in KNOWN_WEIGHTS if weights.torchvision.startswith("ResNet50_Weights.")]
    members = {f"ResNet50_Weights.{member.name}": member for member in torchvision.models.ResNet50_Weights}
    assert {weights.torchvision for weights in known if weights.backbone == "i3d_r50"} == set(members)
    for weights in known:
        assert members[weights.torchvision].url.endswith(f"/{weights.file_name}")
    transforms = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    assert (tuple(transforms.mean), tuple(transforms.std)) == (IMAGENET.mean, IMAGENET.std)
