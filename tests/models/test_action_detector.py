"""Action detectors: mmaction2's checkpoints, its logits, RoIAlign by hand, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pixels import pixels_of
from upstream import conv_module_shapes, filled, golden_arrays, hollow, mmaction2_resnet50_shapes, relative_error

from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.action_detector import AVA_LABELS, ActionDetector, is_action_detector, load_action_detector
from c3dhash.models.backbones import KNOWN_WEIGHTS, build_backbone
from c3dhash.models.backbones.inflated import MMACTION2_PIXELS
from c3dhash.models.backbones.slowfast import SlowFast, SlowOnly
from c3dhash.models.known_weights import KnownWeights
from c3dhash.models.published import published_run
from c3dhash.models.weights import load_backbone, load_into

Shapes = dict[str, tuple[int, ...]]
SLOW = [[1] * 3, [1] * 4, [3] * 6, [3] * 3]
FAST = [[3] * 3, [3] * 4, [3] * 6, [3] * 3]
NUM_FRAMES = {"slowonly": 4, "slowfast": 8}
# Index of the clip, x0, y0, x1, y1: of each clip a box and a second one; one reaches out of the picture, one is small.
BOXES = torch.tensor(
    [[0, 3.0, 5.0, 60.5, 61.0], [1, 20.0, -4.0, 95.0, 40.0], [0, 70.0, 30.0, 75.0, 36.0], [1, 0.0, 0.0, 96.0, 64.0]]
)


def detector_shapes(
    name: str,
    *,
    head: str = "roi_head.bbox_head.fc_cls",
    width: int | None = None,
    num_classes: int = 81,
    lateral_frames: int = 7,
) -> Shapes:
    """List the entries of mmaction2's checkpoint of an action detector."""
    if name == "slowfast":
        shapes = mmaction2_resnet50_shapes(
            "backbone.slow_path.", stem_frames=1, kernel_frames=SLOW, lateral_frames=lateral_frames
        ) | mmaction2_resnet50_shapes("backbone.fast_path.", stem_frames=5, kernel_frames=FAST, width=8)
    else:
        shapes = mmaction2_resnet50_shapes("backbone.", stem_frames=1, kernel_frames=SLOW)
    width = width or {"slowonly": 2048, "slowfast": 2304}[name]
    return shapes | {f"{head}.weight": (num_classes, width), f"{head}.bias": (num_classes,)}


def pixels(name: str) -> torch.Tensor:
    """Two clips of noise, wider than high, as the golden values were made of."""
    clips = np.random.RandomState(20260101).randint(0, 256, (2, NUM_FRAMES[name], 64, 96, 3))
    return torch.from_numpy(clips.astype(np.uint8))


@pytest.fixture(scope="module", params=["slowonly", "slowfast"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActionDetector]:
    path = tmp_path_factory.mktemp("ava") / "epoch_8.pth"
    torch.save({"meta": {"epoch": 8}, "state_dict": filled(detector_shapes(request.param))}, path)
    yield load_action_detector(path)
    path.unlink()


@torch.inference_mode()
def test_logits_are_mmaction2s(detector: ActionDetector) -> None:
    """tests/golden/ava_detectors.npz: the 81 class scores of mmaction2 1.2.0, class 0 first.

    Its ResNet3dSlowOnly and ResNet3dSlowFast, built as its configs say, SingleRoIExtractor3D and BBoxHeadAVA, filled by
    the rule of upstream.py, on `pixels` and BOXES; with torchvision's RoIAlign in the place of mmcv's compiled one:
    the test below has it by hand.
    """
    logits = detector(pixels(detector.backbone), BOXES)
    expected = golden_arrays("ava_detectors")[detector.backbone]
    assert (logits.shape, expected.shape) == ((4, 80), (4, 81))
    assert relative_error(logits, expected[:, 1:]) < 1e-4


def test_what_a_detector_says_of_its_clips(detector: ActionDetector) -> None:
    is_fast = detector.backbone == "slowfast"
    assert not detector.training
    assert detector.labels == AVA_LABELS
    assert (detector.num_frames, detector.short_side) == (32 if is_fast else 8, 256)
    assert detector.interval_seconds == pytest.approx((2 if is_fast else 8) / 30)
    assert pixels_of(detector.preprocessing) == MMACTION2_PIXELS


def sample(feature_map: np.ndarray, y: float, x: float) -> np.ndarray:
    """Interpolate [C, H, W] at a place, its pixels at whole numbers; 0 where it is a pixel or more outside."""
    height, width = feature_map.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(feature_map))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = (1 - dx) * feature_map[:, top, left] + dx * feature_map[:, top, right]
    lower = (1 - dx) * feature_map[:, bottom, left] + dx * feature_map[:, bottom, right]
    return np.asarray((1 - dy) * upper + dy * lower)


def cells_by_hand(feature_map: np.ndarray, box: list[float]) -> np.ndarray:
    """RoIAlign of one box in px: 8 x 8 cells, each the mean of evenly spaced samples, one a pixel of the map."""
    x0, y0, x1, y1 = (value / 16 - 0.5 for value in box)  # pixel 0 of the map is around 8 px
    cell_height, cell_width = (y1 - y0) / 8, (x1 - x0) / 8
    rows, columns = max(1, int(np.ceil(cell_height))), max(1, int(np.ceil(cell_width)))
    cells = np.zeros((len(feature_map), 8, 8))
    for i, j in np.ndindex(8, 8):
        places = [
            (y0 + (i + (row + 0.5) / rows) * cell_height, x0 + (j + (column + 0.5) / columns) * cell_width)
            for row, column in np.ndindex(rows, columns)
        ]
        cells[:, i, j] = np.mean([sample(feature_map, y, x) for y, x in places], axis=0)
    return cells


@torch.inference_mode()
def test_boxes_are_cut_out_of_the_mean_over_time(detector: ActionDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is of a picture of 352 x 192 px, so that a cell of a large box takes several samples."""
    dims = (2048, 256) if detector.backbone == "slowfast" else (2048,)
    maps = tuple(torch.randn(2, channels, 2 + place, 12, 22) for place, channels in enumerate(dims))
    monkeypatch.setattr(type(detector.network), "last_maps", lambda self, clips: maps)
    boxes = torch.cat([BOXES, torch.tensor([[1, 10.0, -20.0, 340.0, 190.0]])])
    logits = detector(torch.zeros(2, 4, 192, 352, 3, dtype=torch.uint8), boxes)
    features = torch.cat([each.mean(dim=2) for each in maps], dim=1).numpy()
    for row, (clip, *box) in zip(logits, boxes.tolist(), strict=True):
        largest = cells_by_hand(features[int(clip)], box).max(axis=(1, 2))
        expected = detector.class_head.weight.numpy() @ largest + detector.class_head.bias.numpy()
        assert relative_error(row, expected) < 1e-4


@pytest.mark.parametrize("name", ["slowonly", "slowfast"])
@torch.inference_mode()
def test_only_detectors_keep_the_size_in_the_last_stage(name: str) -> None:
    clips = torch.randn(1, 3, 4, 64, 96)
    network = build_backbone(name).eval()
    assert isinstance(network, (SlowOnly, SlowFast))
    network.preprocessing = replace(network.preprocessing, interval_seconds=8 / 30)
    features, keys, maps = network(clips), list(network.state_dict()), network.last_maps(clips)
    assert {each.shape[-2:] for each in maps} == {(2, 3)}
    torch.testing.assert_close(torch.cat([each.mean(dim=(2, 3, 4)) for each in maps], dim=1), features)
    ActionDetector(network)
    assert {each.shape[-2:] for each in network.last_maps(clips)} == {(4, 6)}  # a 16th of 64 x 96
    assert list(network.state_dict()) == keys


@torch.inference_mode()
def test_a_box_sees_its_own_clip_and_where_it_lies(detector: ActionDetector) -> None:
    clips = pixels(detector.backbone)
    logits = detector(clips, BOXES)
    for clip in (0, 1):
        own = BOXES[:, 0] == clip
        changed = clips.clone()
        changed[1 - clip] = 255 - changed[1 - clip]
        torch.testing.assert_close(detector(changed, BOXES)[own], logits[own], rtol=1e-4, atol=1e-2)
        assert (detector(changed, BOXES)[~own] - logits[~own]).abs().max() > 10
        alone = BOXES[own] * torch.tensor([0.0, 1, 1, 1, 1])
        torch.testing.assert_close(detector(clips[clip : clip + 1], alone), logits[own], rtol=1e-4, atol=1e-2)
    turned = clips.transpose(2, 3)  # a picture that is higher than wide, and the box of x and y exchanged
    assert detector(turned, BOXES[:, [0, 2, 1, 4, 3]]).shape == (4, 80)
    assert detector(clips, BOXES[:0]).shape == (0, 80)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clips": torch.zeros(2, 4, 64, 96, 3)}, r"clips must be uint8 .* got torch.float32 \[2, 4, 64, 96, 3\]"),
        ({"clips": torch.zeros(2, 3, 4, 64, 96, dtype=torch.uint8)}, r"clips must be uint8 .* \[2, 3, 4, 64, 96\]"),
        ({"boxes": BOXES[:, 1:]}, r"boxes must be float \[N, 5\] .* got torch.float32 \[4, 4\]"),
        ({"boxes": BOXES.long()}, r"boxes must be float .* got torch.int64"),
        ({"boxes": BOXES + torch.tensor([1.0, 0, 0, 0, 0])}, r"one of the 2 clips, .* got \[2.0, 20.0, -4.0, 95.0"),
        ({"boxes": BOXES - torch.tensor([1.0, 0, 0, 0, 0])}, r"one of the 2 clips, .* got \[-1.0, 3.0, 5.0"),
        ({"boxes": torch.tensor([[0, 9.0, 5, 9, 6]])}, r"x0 < x1 and y0 < y1, got \[0.0, 9.0, 5.0, 9.0, 6.0\]"),
        ({"boxes": torch.tensor([[0, 1.0, 6, 9, 5]])}, r"x0 < x1 and y0 < y1, got \[0.0, 1.0, 6.0, 9.0, 5.0\]"),
        ({"boxes": torch.tensor([[0, 1.0, 2, torch.nan, 5]])}, r"x0 < x1 and y0 < y1, got \[0.0, 1.0, 2.0, nan, 5.0\]"),
        ({"boxes": torch.tensor([[0, 1.0, 2, torch.inf, 5]])}, r"finite x0 < x1 and y0 < y1, got \[0.0, 1.0, 2.0, inf"),
        ({"boxes": torch.tensor([[torch.nan, 1.0, 2, 4, 5]])}, r"one of the 2 clips, .* got \[nan, 1.0, 2.0, 4.0"),
    ],
)
def test_clips_and_boxes_of_another_kind(
    detector: ActionDetector, change: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        detector(change.get("clips", pixels(detector.backbone)), change.get("boxes", BOXES))


def test_frames_that_slowfast_cannot_divide(detector: ActionDetector) -> None:
    if detector.backbone == "slowfast":
        with pytest.raises(UsageError, match=r"clips for slowfast must have a multiple of 4 frames, got 6"):
            detector(torch.zeros(1, 6, 32, 32, 3, dtype=torch.uint8), BOXES[:1])
    else:
        assert detector(torch.zeros(1, 1, 32, 32, 3, dtype=torch.uint8), BOXES[:1]).shape == (1, 80)


# Files


def test_the_80_actions_are_avas() -> None:
    assert len({*AVA_LABELS}) == 80
    named = {1: "bend/bow (at the waist)", 14: "walk", 17: "carry/hold (an object)", 59: "touch (an object)"}
    for number, name in {**named, 63: "write", 64: "fight/hit (a person)", 74: "listen to (a person)"}.items():
        assert AVA_LABELS[number - 1] == name
    assert (AVA_LABELS[78], AVA_LABELS[79]) == ("talk to (e.g., self, a person, a group)", "watch (a person)")


@pytest.mark.parametrize("known", [known for known in KNOWN_WEIGHTS if known.name.startswith("ava")])
def test_known_files_say_how_many_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: KnownWeights) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrain").mkdir()
    torch.save({"state_dict": hollow(detector_shapes(known.backbone))}, tmp_path / "pretrain" / known.file_name)
    backbone = None if known.backbone == "slowonly" else known.backbone  # slowonly is the default for short names
    detector = load_action_detector(known.file_name if known.name == "ava21" else known.name, backbone=backbone)
    expected = 32 if known.backbone == "slowfast" else 4 if "4x16" in known.file_name else 8
    assert (detector.backbone, detector.num_frames) == (known.backbone, expected)
    assert detector.interval_seconds == known.interval_seconds


@pytest.mark.parametrize("prefix", ["", "module."])
def test_detectors_are_told_by_their_keys(save: Callable[..., Path], prefix: str) -> None:
    shapes = {f"{prefix}{key}": shape for key, shape in detector_shapes("slowonly").items()}
    path = save({"state_dict": hollow(shapes)})
    assert is_action_detector(path)
    assert load_action_detector(path).backbone == "slowonly"
    without = {key: tensor for key, tensor in hollow(shapes).items() if "roi_head" not in key}
    assert not is_action_detector(save({"state_dict": without}))
    with pytest.raises(CheckpointError, match=r"has no head for boxes \(roi_head.\), and tells nothing of each person"):
        load_action_detector(save({"state_dict": without}))


def with_entry(name: str, key: str, shape: tuple[int, ...]) -> Shapes:
    return detector_shapes(name) | {key: shape}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (with_entry("slowonly", "backbone.layer2.1.non_local_block.g.conv.weight", (256, 512, 1, 1, 1)), "non-local"),
        (with_entry("slowonly", "roi_head.shared_head.convs.0.conv.weight", (2304, 2304, 3, 3)), r"\(ACRN, LFB\)"),
        (detector_shapes("slowfast", lateral_frames=5), r"is a SlowFast 4x16 \(alpha = 8\)"),
        (
            detector_shapes("slowonly") | conv_module_shapes("backbone.layer3.6.conv1", (256, 1024, 3, 1, 1)),
            "deeper than ResNet-50",
        ),
        (detector_shapes("slowonly", width=4096), r"fc_cls.weight is \[81, 4096\], not \[81, 2048\]"),  # context
        (detector_shapes("slowfast", width=4608), r"fc_cls.weight is \[81, 4608\], not \[81, 2304\]"),
        (detector_shapes("slowonly", num_classes=61), r"fc_cls.weight is \[61, 2048\], not \[81, 2048\]"),
        (detector_shapes("slowonly", head="roi_head.bbox_head.fc_cls.2"), r"fc_cls.weight is missing, not \[81"),
        (
            {key: shape for key, shape in detector_shapes("slowonly").items() if not key.endswith("fc_cls.bias")},
            r"fc_cls.bias is missing, not \[81\]",
        ),
        (
            {key.replace("fast_path", "third_path"): shape for key, shape in detector_shapes("slowfast").items()},
            "has another backbone",
        ),
    ],
)
def test_other_detectors_are_refused(save: Callable[..., Path], shapes: Shapes, message: str) -> None:
    path = save({"state_dict": hollow(shapes)})
    assert is_action_detector(path)
    with pytest.raises(CheckpointError, match=message):
        load_action_detector(path)


@pytest.mark.parametrize("part", ["temporal-max", "temporal_max"])
def test_the_maximum_over_time_is_refused_by_the_name_of_the_file(save: Callable[..., Path], part: str) -> None:
    path = save({"state_dict": hollow(detector_shapes("slowfast"))}, f"slowfast_r50-{part}_8xb6-8x8x1_ava22-rgb.pth")
    with pytest.raises(CheckpointError, match=r"takes the maximum over time, as its name says"):
        load_action_detector(path)


def test_damaged_class_heads_and_other_backbones(save: Callable[..., Path]) -> None:
    tensors = hollow(detector_shapes("slowonly"))
    path = save({"state_dict": tensors})
    with pytest.raises(CheckpointError, match=r"holds weights of slowonly .* not of slowfast"):
        load_action_detector(path, backbone="slowfast")
    with pytest.raises(UsageError, match=r"backbone \('c3d'\) of an action detector must be one of slowonly, slowfast"):
        load_action_detector(path, backbone="c3d")
    tensors["roi_head.bbox_head.fc_cls.bias"] = torch.full((81,), torch.nan)
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in 'roi_head.bbox_head.fc_cls.bias'"):
        load_action_detector(save({"state_dict": tensors}))


def test_a_class_head_of_boxes_is_none_of_clips(save: Callable[..., Path]) -> None:
    """The backbone alone can be loaded; what recognises whole clips says which command is for boxes."""
    path = save({"state_dict": hollow(detector_shapes("slowonly"))})
    network = load_backbone(path)
    report = load_into(network, path)
    assert (network.name, report.is_complete, report.unexpected) == ("slowonly", True, ())
    assert set(report.not_used) == {f"roi_head.bbox_head.fc_cls.{kind}" for kind in ("weight", "bias")}
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 2, 64, 64)).shape == (1, 2048)
    with pytest.raises(CheckpointError, match=r"people in boxes .* --people --backbone slowonly --weights .*file.pth"):
        published_run("slowonly", path)
