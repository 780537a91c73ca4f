"""TSN on stacks of flow: the first kernels averaged over RGB, what pixels become, and the layouts of weights."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model
from upstream import as_mmaction2, recognised

from c3dhash.errors import CheckpointError
from c3dhash.models.backbones import BACKBONES, build_backbone
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.backbones.tsn_flow import pixels_of_flow
from c3dhash.models.weights import KNOWN_WEIGHTS, identify_weights, load_backbone, load_into, weights_metadata
from c3dhash.records import Preprocessing

NETWORKS = {
    "tsn_flow_resnet18": (512, 0.226),
    "tsn_flow_resnet50": (2048, 0.226),
    "tsn_flow_mobilenet_v2": (1280, 0.226),
    "tsn_flow_efficientnet_lite0": (1280, 128.0),
}


def save(network: Backbone, path: Path) -> Path:
    """Write a network as runs do."""
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, path, metadata=weights_metadata(network))
    return path


def first_layer(network: nn.Module) -> nn.Conv2d:
    return next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize("name", NETWORKS)
def test_facts(name):
    network, (feature_dim, std) = build_backbone(name, num_frames=3, size=48).eval(), NETWORKS[name]
    mean = 127.5 if name.endswith("lite0") else 0.5
    pixels = network.preprocessing
    assert (pixels.channels, pixels.stack, pixels.num_channels, pixels.interval_seconds) == ("flow", 5, 10, None)
    assert pixels.mean == (mean,) * 10 and pixels.std == pytest.approx((std,) * 10)
    assert network.starts_from == name.replace("_flow", "") and BACKBONES[name].clip_size == (8, 224, 224)
    clips = torch.randn(2, 10, 3, 48, 48, requires_grad=True)
    features = network(clips)
    assert features.shape == (2, feature_dim) and network.feature_dim == feature_dim
    features.square().sum().backward()
    assert clips.grad.abs().sum(dim=(3, 4)).all(), "each channel of each place counts"


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_network_on_pictures_behind_another_first_layer(name):
    flow, pictures = (
        build_backbone(each, num_frames=2, size=32).state_dict() for each in (name, name.replace("_flow", ""))
    )
    assert list(flow) == list(pictures)
    other = [key for key in flow if flow[key].shape != pictures[key].shape]
    assert len(other) == 1 and flow[other[0]].shape[1] == 10 and pictures[other[0]].shape[1] == 3


# Weights


@pytest.mark.parametrize(
    ("name", "layout"), [("resnet18", "torchvision-resnet"), ("mobilenet_v2", "torchvision-mobilenet-v2")]
)
def test_the_first_kernels_are_the_mean_over_rgb(tmp_path, name, layout):
    theirs = get_model(name)
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    network = build_backbone(f"tsn_flow_{name}", num_frames=2, size=64)
    report = load_into(network, tmp_path / "file.pth")
    assert (report.layout, report.is_complete, report.misshaped, report.unexpected) == (layout, True, (), ())
    kernels, ours = first_layer(theirs).weight, first_layer(network).weight
    assert ours.shape == (len(kernels), 10, *kernels.shape[2:])
    for channel in range(10):
        torch.testing.assert_close(ours[:, channel], (kernels[:, 0] + kernels[:, 1] + kernels[:, 2]) / 3)
    assert network.preprocessing == report.preprocessing == pixels_of_flow(build_backbone(f"tsn_{name}").preprocessing)
    rest = {key.removeprefix("network."): value for key, value in network.state_dict().items()}
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in rest.items()
               if key != "turned" and value.shape != ours.shape)  # fmt: skip


def test_a_flat_picture_gives_as_much_more_as_there_are_channels(tmp_path):
    """The sum over 10 channels of the mean kernel, in the place of that over 3: 10 / 3 times the response."""
    theirs = get_model("resnet18")
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    network = load_backbone(tmp_path / "file.pth", backbone="tsn_flow_resnet18")
    with torch.no_grad():
        of_picture = first_layer(theirs)(torch.full((1, 3, 32, 32), 0.7))
        of_flow = first_layer(network)(torch.full((1, 10, 32, 32), 0.7))
    torch.testing.assert_close(of_flow, of_picture * 10 / 3, rtol=1e-4, atol=1e-5)
    assert of_picture.abs().max() > 0.1


def test_weights_of_tf_slim_are_turned_and_averaged(tmp_path):
    tensors = get_model("mobilenet_v2", num_classes=1001).state_dict()
    torch.save(tensors, tmp_path / "file.pth")
    network = load_backbone(tmp_path / "file.pth", backbone="tsn_flow_mobilenet_v2")
    expected = tensors["features.0.0.weight"].mean(dim=1).flip(1, 2)
    torch.testing.assert_close(first_layer(network).weight[:, 7], expected)
    assert network.turned == 1 and network.preprocessing == Preprocessing(
        "flow", 1 / 127.5, (1,) * 10, (1,) * 10, stack=5
    )


def test_a_run_on_pictures_starts_one_on_flow_and_not_the_other_way(tmp_path):
    pictures = build_backbone("tsn_resnet18", num_frames=3, size=40)
    save(pictures, tmp_path / "rgb.safetensors")
    flow = load_backbone(tmp_path / "rgb.safetensors", backbone="tsn_flow_resnet18")
    torch.testing.assert_close(first_layer(flow).weight[:, 3], first_layer(pictures).weight.mean(dim=1))
    assert (flow.clip_size, flow.preprocessing.stack) == ((3, 40, 40), 5)
    with torch.no_grad():
        first_layer(flow).weight[:, 3] = 7
    flow.preprocessing = dataclasses.replace(flow.preprocessing, mean=(0.25,) * 10)
    save(flow, tmp_path / "flow.safetensors")
    again = load_backbone(tmp_path / "flow.safetensors")
    assert again.name == "tsn_flow_resnet18" and again.preprocessing == flow.preprocessing
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in flow.state_dict().items())
    with pytest.raises(CheckpointError, match=r"holds weights of tsn_flow_resnet18 \(c3dhash\), not of tsn_resnet18"):
        load_into(pictures, tmp_path / "flow.safetensors")
    with pytest.raises(CheckpointError, match=r"holds weights of tsn_resnet18 \(c3dhash\), not of tsn_flow_resnet50"):
        load_into(build_backbone("tsn_flow_resnet50"), tmp_path / "rgb.safetensors")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bare_state_dict_of_ours_is_recognised_once(tmp_path, name):
    weights = build_backbone(name, num_frames=2, size=32).state_dict()
    lite = name.endswith("lite0")
    assert recognised(weights) == ["c3dhash-efficientnet-lite-flow" if lite else "c3dhash-2d-flow"]
    torch.save(weights, tmp_path / "mine.pt")
    assert identify_weights(tmp_path / "mine.pt") == ((name,), None)
    loaded = load_backbone(tmp_path / "mine.pt")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in weights.items())
    assert loaded.preprocessing == BACKBONES[name].preprocessing


def test_the_weights_of_mmaction2(tmp_path):
    """Their kernels read ten channels already, mean 128 and deviation 128."""
    tensors = as_mmaction2(get_model("resnet50").state_dict(), is_shifted=False)
    kernel = torch.randn(64, 10, 7, 7)
    tensors["backbone.conv1.conv.weight"] = kernel
    assert recognised(tensors) == ["mmaction2-2d-flow"]
    torch.save({"state_dict": tensors}, tmp_path / "file.pth")
    network = build_backbone("tsn_flow_resnet50", num_frames=3, size=64)
    report = load_into(network, tmp_path / "file.pth")
    assert report.is_complete and len(report.not_used) == 2 and not report.unexpected
    assert torch.equal(first_layer(network).weight, kernel)
    assert network.preprocessing == Preprocessing("flow", 1, (128,) * 10, (128,) * 10, stack=5)
    with pytest.raises(
        CheckpointError, match=r"holds weights of tsn_flow_resnet50 \(mmaction2-2d-flow\), not of tsn_resnet50"
    ):
        load_backbone(tmp_path / "file.pth", backbone="tsn_resnet50")


def test_known_weights():
    known = [(each.backbone, each.name) for each in KNOWN_WEIGHTS if each.backbone in NETWORKS]
    assert known == [
        ("tsn_flow_resnet18", "imagenet"), ("tsn_flow_resnet50", "imagenet"), ("tsn_flow_resnet50", "imagenet-v2"),
        ("tsn_flow_mobilenet_v2", "imagenet"), ("tsn_flow_mobilenet_v2", "imagenet-v2"),
        ("tsn_flow_mobilenet_v2", "imagenet1001"), ("tsn_flow_efficientnet_lite0", "imagenet"),
        ("tsn_flow_resnet50", "kinetics400"),
    ]  # fmt: skip
