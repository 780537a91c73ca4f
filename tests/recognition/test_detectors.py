"""HOG on pictures of people, torchvision's detectors by torchvision itself, and what is missing."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import torch

from c3dhash.config import TORCHVISION_DETECTORS
from c3dhash.errors import CheckpointError, UsageError
from c3dhash.recognition import detectors
from c3dhash.recognition.detectors import HogDetector, TorchvisionDetector, inside, make_detector, strongest

SMALL = "ssdlite320_mobilenet_v3_large"


def figure(height_px=240, width_px=320, *, tall=150, x=160, y=40):
    """Draw somebody who stands: head, body, legs, dark on light."""
    picture = np.full((height_px, width_px, 3), 190, np.uint8)
    unit = tall / 8
    dark = (40, 45, 60)

    def limb(x0, y0, x1, y1, thick):
        start, end = (x + x0 * unit, y + y0 * unit), (x + x1 * unit, y + y1 * unit)
        cv2.line(picture, *(tuple(round(v) for v in point) for point in (start, end)), dark, round(thick * unit))

    cv2.ellipse(picture, (x, round(y + unit * 0.6)), (round(unit * 0.45), round(unit * 0.6)), 0, 0, 360, dark, -1)
    limb(0, 1.8, 0, 4, 1.5)
    for side in (-1, 1):
        limb(0.9 * side, 1.7, 1.1 * side, 4.2, 0.5)
        limb(0.35 * side, 4, 0.55 * side, 7.8, 0.75)
    return cv2.GaussianBlur(picture, (5, 5), 0)


@pytest.mark.parametrize("scale", [1, 2])
def test_hog_finds_who_stands(scale):
    """One box, the figure's: whatever the size of the picture."""
    picture = cv2.resize(figure(), None, fx=scale, fy=scale)
    boxes, scores = HogDetector()(picture)
    assert scores[0] >= HogDetector.begin_score and (scores[1:] < scores[0]).all()
    x0, y0, x1, y1 = boxes[0] / scale
    assert (x0 + x1) / 2 == pytest.approx(160, abs=10)
    assert y0 == pytest.approx(40, abs=25) and y1 == pytest.approx(190, abs=25)


def test_hog_finds_nobody_where_nobody_is():
    boxes, scores = HogDetector()(np.full((240, 320, 3), 190, np.uint8))
    assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_a_build_without_hog(monkeypatch):
    monkeypatch.delattr(cv2, "HOGDescriptor", raising=False)
    with pytest.raises(UsageError, match=r"detector \(hog\) is in OpenCV's contributed part, which this build lacks"):
        make_detector("hog")


def test_one_box_a_person():
    """What lies inside of a stronger one goes, too; neighbours stay."""
    boxes = np.array([[0, 0, 40, 100], [5, 50, 25, 95], [60, 0, 100, 100], [2, 2, 42, 102]], float)
    assert strongest(boxes, np.array([0.9, 0.5, 0.4, 0.95])).tolist() == [3, 2]
    assert strongest(np.zeros((0, 4)), np.zeros(0)).tolist() == []


def test_boxes_end_with_the_picture():
    found = np.array([[-5.0, 3, 400, 250], [330, 3, 400, 250]])
    boxes, scores = inside(found, np.array([0.8, 0.9]), np.zeros((240, 320, 3), np.uint8))
    assert boxes.tolist() == [[0, 3, 320, 240]] and scores.tolist() == [0.8]


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Random weights of a small detector, where torchvision keeps what it fetches."""
    from torchvision.models import get_model

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("C3DHASH_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    torch.manual_seed(0)
    network = get_model(SMALL, weights=None, weights_backbone=None).eval()
    for layers in network.head.classification_head.module_list:
        layers[1].bias.data.view(-1, 91)[:, 1:3] += 1  # it sees people and bicycles
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    torch.save(network.state_dict(), path)
    return path, network


def test_torchvision_finds_what_torchvision_finds(weights):
    """Boxes of people alone, in px of the picture; the network is asked by itself."""
    _, network = weights
    picture = np.random.default_rng(0).integers(0, 255, (120, 200, 3)).astype(np.uint8)
    with torch.inference_mode():
        (found,) = network([torch.from_numpy(picture).permute(2, 0, 1) / 255])
    detector = TorchvisionDetector(SMALL)
    detector.min_score = 0.0
    is_person = found["labels"] == 1
    assert 0 < is_person.sum() < len(is_person), "some are people, and some are not"
    boxes, scores = detector(picture)
    assert boxes == pytest.approx(found["boxes"][is_person].double().numpy())
    assert scores == pytest.approx(found["scores"][is_person].double().numpy())
    detector.min_score = float(scores.max()) + 1e-6
    assert len(detector(picture)[0]) == 0


def test_auto_takes_what_is_there(weights, caplog):
    path, _ = weights
    with caplog.at_level(logging.INFO):
        assert isinstance(make_detector("auto"), TorchvisionDetector)
        path.unlink()
        assert isinstance(make_detector("auto"), HogDetector)
    assert f"people: found by {SMALL}" in caplog.text and "74 MB to fetch" in caplog.text


def test_weights_that_are_not_there_or_do_not_fit(weights):
    path, _ = weights
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="do not fit the detector ssdlite320"):
        make_detector(SMALL)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"weights 'coco' for ssdlite320.* were not downloaded"):
        make_detector(SMALL)


def test_names_and_weights_are_those_of_torchvision():
    from torchvision.models import detection, list_models

    assert set(TORCHVISION_DETECTORS) <= set(list_models(module=detection))
    assert [detectors._weights(name).file_name for name in TORCHVISION_DETECTORS] == [
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
        "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth", "ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
    ]  # fmt: skip
