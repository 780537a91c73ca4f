"""torchvision's video models: equal to torchvision itself, recognised once each, and mvit at other clip sizes."""

import pytest
import torch
import torchvision.models.video
from pixels import pixels_of
from torch import nn
from upstream import hollow, recognised

from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.backbones import BACKBONES, KNOWN_WEIGHTS, build_backbone
from c3dhash.models.backbones.torchvision_video_weights import resample_positions
from c3dhash.models.published import published_run
from c3dhash.models.weights import identify_weights, load_backbone, load_into

ENUMS = {
    "r3d_18": "R3D_18_Weights",
    "mc3_18": "MC3_18_Weights",
    "r2plus1d_18": "R2Plus1D_18_Weights",
    "s3d": "S3D_Weights",
    "mvit_v1_b": "MViT_V1_B_Weights",
    "mvit_v2_s": "MViT_V2_S_Weights",
    "swin3d_t": "Swin3D_T_Weights",
    "swin3d_s": "Swin3D_S_Weights",
    "swin3d_b": "Swin3D_B_Weights",
}
LAYOUTS_OF = {
    **dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), "torchvision-video-resnet"),
    "s3d": "torchvision-s3d",
    **dict.fromkeys(("mvit_v1_b", "mvit_v2_s"), "torchvision-mvit"),
    **dict.fromkeys(("swin3d_t", "swin3d_s", "swin3d_b"), "torchvision-swin3d"),
}
# Where torchvision takes no smaller clip, or only there gives the same (s3d), this is its default one.
CLIP_SIZES = {"s3d": (16, 224, 224), "mvit_v1_b": (16, 224, 224), "mvit_v2_s": (16, 224, 224)}


def upstream_model(name: str, **options) -> nn.Module:
    """Build torchvision's model with random weights, and statistics and tables that are not at their start either."""
    model = getattr(torchvision.models.video, name)(weights=None, **options).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.running_mean, std=0.1)
        if isinstance(layer, nn.BatchNorm3d | nn.LayerNorm):
            nn.init.normal_(layer.bias, std=0.1)
    for key, table in model.named_parameters():
        if "pos" in key or "relative" in key:
            nn.init.normal_(table, std=0.5)
    return model


def upstream_feature(model: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """Catch what the last linear layer of torchvision's model reads."""
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv3d)][-1]
    seen = []
    hook = last.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].flatten(1)))
    model(clips)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("name", ENUMS)
def test_feature_is_torchvisions(save, name):
    model = upstream_model(name)
    path = save(model.state_dict())
    network = load_backbone(path)
    assert (network.name, network.training) == (name, False)
    report = load_into(network, path)
    assert report.is_complete and (report.layout, report.unexpected) == (LAYOUTS_OF[name], ())
    assert {key.split(".")[0] for key in report.not_used} <= {"fc", "head", "classifier"} and report.not_used
    clips = torch.randn(1, 3, *CLIP_SIZES.get(name, (5, 40, 40)))
    with torch.inference_mode():
        expected, features = upstream_feature(model, clips), network(clips)
    assert features.shape == expected.shape == (1, network.feature_dim)
    assert (features - expected).abs().max() < 1e-5 * expected.std()


@pytest.mark.parametrize("name", ["r3d_18", "s3d", "mvit_v1_b", "swin3d_t"])
def test_class_head_is_torchvisions(save, name):
    model = upstream_model(name)
    run = published_run(name, save(model.state_dict()))
    assert (len(run.labels), run.labels[2]) == (400, "answering questions")
    clips = torch.randn(1, 3, *CLIP_SIZES.get(name, (5, 40, 40)))
    with torch.inference_mode():
        expected, logits = model(clips), run.model(clips).logits
    assert (logits - expected).abs().max() < 1e-5 * expected.std()


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("num_classes", [400, 5])
@pytest.mark.parametrize("name", ENUMS)
def test_each_is_recognised_once(save, name, num_classes, prefix):
    with torch.device("meta"):
        state = getattr(torchvision.models.video, name)(num_classes=num_classes).state_dict()
    tensors = hollow({f"{prefix}{key}": tuple(tensor.shape) for key, tensor in state.items()})
    assert recognised(tensors) == [LAYOUTS_OF[name]]
    assert identify_weights(save({"model": tensors, "epoch": 3})) == ((name,), None)


@pytest.mark.parametrize("name", ENUMS)
def test_preprocessing_is_torchvisions(name):
    transforms = getattr(torchvision.models.video, ENUMS[name]).DEFAULT.transforms()
    expected = (tuple(transforms.mean), tuple(transforms.std))
    preprocessing = BACKBONES[name].preprocessing
    assert (preprocessing.mean, preprocessing.std) == expected
    assert (preprocessing.channels, preprocessing.scale) == ("RGB", 1 / 255)


def test_known_files_are_all_of_torchvisions():
    known = {weights.torchvision: weights for weights in KNOWN_WEIGHTS if weights.backbone in ENUMS}
    members = {
        f"{enum}.{member.name}": (name, member)
        for name, enum in ENUMS.items()
        for member in getattr(torchvision.models.video, enum)
    }
    assert set(known) == set(members) and len(members) == 10
    for key, (name, member) in members.items():
        assert known[key].backbone == name
        assert member.url.endswith(f"/{known[key].file_name}")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("r2plus1d_18", "layer3.1.", "layer3.2."),  # r2plus1d_34 and its like: more blocks
        ("mvit_v2_s", "blocks.15.", "blocks.16."),
        ("swin3d_s", "features.4.17.", "features.4.18."),
    ],
)
def test_deeper_relatives_are_refused(save, name, old, new):
    with torch.device("meta"):
        state = getattr(torchvision.models.video, name)().state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    shapes |= {key.replace(old, new): shape for key, shape in shapes.items() if key.startswith(old)}
    with pytest.raises(CheckpointError, match=rf"layout {LAYOUTS_OF[name]}, but the blocks of no known backbone"):
        load_backbone(save(hollow(shapes)))


def test_siblings_are_told_apart(save):
    path = save(upstream_model("swin3d_t").state_dict())
    with pytest.raises(CheckpointError, match=r"holds weights of swin3d_t \(torchvision-swin3d\), not of swin3d_s"):
        load_backbone(path, backbone="swin3d_s")


# Clip sizes


def test_s3d_averages_all_cells():
    """Beyond 2 x 7 x 7 cells, torchvision would count those in the middle more often."""
    network = build_backbone("s3d", num_frames=9, size=72).eval()
    clips = torch.randn(2, 3, 9, 72, 72)
    with torch.inference_mode():
        cells, features = network.network.features(clips), network(clips)
    assert cells.shape == (2, 1024, 1, 2, 2)
    torch.testing.assert_close(features, cells.mean(dim=(2, 3, 4)))


def test_mvit_v2_at_another_clip_size_is_torchvisions_on_that_input(save):
    """torchvision's model, told of a smaller input, resamples its tables while it runs."""
    model = upstream_model("mvit_v2_s")
    network = build_backbone("mvit_v2_s", num_frames=4, size=64)
    assert network.network.blocks[0].attn.rel_pos_h.shape == (31, 96)
    assert load_into(network, save(model.state_dict())).is_complete
    model.pos_encoding.temporal_size, model.pos_encoding.spatial_size = 2, (16, 16)
    clips = torch.randn(2, 3, 4, 64, 64)
    with torch.inference_mode():
        expected, features = upstream_feature(model, clips), network.eval()(clips)
    assert (features - expected).abs().max() < 1e-4 * expected.std()


def test_mvit_v1_at_another_clip_size_keeps_where_things_are(save):
    model = upstream_model("mvit_v1_b")
    rows, columns = torch.meshgrid(torch.arange(56.0), torch.arange(56.0), indexing="ij")
    with torch.no_grad():
        model.pos_encoding.spatial_pos[:, 0] = rows.flatten()
        model.pos_encoding.spatial_pos[:, 1] = columns.flatten()
        model.pos_encoding.temporal_pos[:, 0] = torch.arange(8.0)
    network = build_backbone("mvit_v1_b", num_frames=8, size=96).eval()
    report = load_into(network, save(model.state_dict()))
    assert report.is_complete and report.misshaped == ()
    positions = network.network.pos_encoding
    places, frames = positions.spatial_pos.reshape(24, 24, 96), positions.temporal_pos[:, 0]
    # The middle of cell i of 24 lies at (i + 0.5) * 56 / 24 - 0.5 of 56. A cubic comes near, and bends at the ends.
    expected = (torch.arange(24) + 0.5) * 56 / 24 - 0.5
    inner = slice(1, -1)
    torch.testing.assert_close(places[inner, inner, 0], expected[inner, None].expand(22, 22), rtol=0, atol=0.05)
    torch.testing.assert_close(places[inner, inner, 1], expected[None, inner].expand(22, 22), rtol=0, atol=0.05)
    torch.testing.assert_close(frames, torch.tensor([0.5, 2.5, 4.5, 6.5]))
    with torch.inference_mode():
        assert network(torch.randn(1, 3, 8, 96, 96)).isfinite().all()


def test_resample_positions_leaves_the_rest():
    table = torch.randn(15, 8)
    for shape in ((15, 8), (7, 4), (7,), (7, 8, 1)):
        assert resample_positions(table, torch.Size(shape)) is table
    assert resample_positions(table.half(), torch.Size((7, 8))).dtype == torch.float16


@pytest.mark.parametrize("name", ["mvit_v1_b", "mvit_v2_s"])
def test_mvit_refuses_clips_of_another_size(name):
    network = build_backbone(name, num_frames=2, size=32)
    message = rf"clips of 4 x 32 x 32 do not fit this {name}, which was built for 2 x 32 x 32: build it for them"
    with pytest.raises(UsageError, match=message):
        network(torch.zeros(1, 3, 4, 32, 32))


def test_new_tables_of_mvit_start_as_torchvisions():
    network = build_backbone("mvit_v2_s", num_frames=8, size=64).network
    table = network.blocks[3].attn.rel_pos_h
    assert table.requires_grad and 0.015 < table.std() < 0.025


def test_state_dict_of_ours_round_trips(save):
    network = build_backbone("mc3_18", num_frames=4, size=32)
    loaded = load_backbone(save(network.state_dict()))
    assert loaded.name == "mc3_18" and pixels_of(loaded.preprocessing) == pixels_of(network.preprocessing)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())
    assert not [key for key in network.state_dict() if not key.startswith("network.")]
