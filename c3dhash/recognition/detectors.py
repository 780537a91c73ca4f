"""Pictures -> boxes of the people in them.

    hog             OpenCV's, needs nothing else; finds whole people who stand or walk and have some room around them
    torchvision's   trained on COCO; find people who sit, bend or are cut by the edge, too

Note [Sizes that HOG sees]
    Its window is 64 x 128 px with a person of 96 in it, so that in a picture with a short side of 480 px the smallest
    people that it finds take up a fifth of the height. Pictures are brought to that size, small ones, too: in one of
    240 px a person would have to be 40 % of the height. A picture of 480 x 640 takes 0.3 s of one core.

Note [Thresholds of HOG]
    Ten training clips of UT-Interaction that show one person, pasted into five scenes at 180 to 300 px of 480; boxes of
    tracks that lie in a clip, each once (precision), and key pictures of clips that have one (recall):

        begins with, goes on with     0.6, 0.0   0.6, 0.2   1.0, 0.0   1.0, 0.2   1.0, 0.3
        precision                      0.773      0.820      0.917      0.917      0.934
        recall                         0.966      0.966      0.962      0.962      0.952
        tracks of ten people             15         12         12         11         11
"""

from __future__ import annotations

import logging
from typing import Protocol

import cv2
import numpy as np

from c3dhash.config import HOG, TORCHVISION_DETECTORS
from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.known_weights import KnownWeights, find_file
from c3dhash.models.weight_files import fetch_weights
from c3dhash.recognition.tracks import areas, common_areas
from c3dhash.video.pictures import resize_picture

logger = logging.getLogger(__name__)

HOG_SHORT_SIDE = 480  # px; Note [Sizes that HOG sees]
HOG_STRIDE, HOG_PADDING, HOG_SCALE = (8, 8), (16, 16), 1.05
# A window is 64 x 128 px, and the people that the detector was trained with have a margin of 16 around them.
# Source: Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005, section 4.
HOG_MARGIN_X, HOG_MARGIN_Y = 16 / 64, 16 / 128
HOG_SAME = 0.5  # what two boxes share of the smaller, from which they are of one person: legs look like one, too
PERSON = 1  # COCO's number of people


class Detector(Protocol):
    """Finds people. begin_score: of a box that is a person by itself; less goes on with a track at the most."""

    begin_score: float

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes of a picture, uint8 [H, W, 3] RGB: float64 [N, 4], x0 y0 x1 y1 in px, and scores [N]."""
        ...


def make_detector(name: str, *, device: str = "auto") -> Detector:
    """Make a detector.

    Args:
        name: hog, one of config.TORCHVISION_DETECTORS, or auto, which takes the first of these whose weights are at
            hand, else hog.
        device: as in EncodeConfig; hog is computed on the CPU.
    Raises:
        CheckpointError: the weights cannot be had.
        UsageError: this build of OpenCV has no HOG.
    """
    if name == "auto":
        name = next((known for known in TORCHVISION_DETECTORS if find_file(_weights(known).file_name)), HOG)
        more = "" if name != HOG else "; --detector fasterrcnn_mobilenet_v3_large_fpn finds more, with 74 MB to fetch"
        logger.info("people: found by %s%s", name, more)
    return HogDetector() if name == HOG else TorchvisionDetector(name, device=device)


class HogDetector:
    """People by histograms of oriented gradients. Note [Sizes that HOG sees].

    Source: Dalal and Triggs, CVPR 2005; the weights are those of OpenCV.
    """

    begin_score, min_score = 1.0, 0.2  # distances from the plane: Note [Thresholds of HOG]

    def __init__(self) -> None:
        if not hasattr(cv2, "HOGDescriptor"):
            raise UsageError(
                "detector (hog) is in OpenCV's contributed part, which this build lacks: pip uninstall what pip list "
                "shows of opencv, then pip install opencv-contrib-python-headless; or take another, or --boxes."
            )
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector(), np.float32))

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bgr = np.ascontiguousarray(resize_picture(picture, short_side=HOG_SHORT_SIDE)[..., ::-1])
        scale = np.array(picture.shape[1::-1]) / np.array(bgr.shape[1::-1])  # x, y
        found, weights = self._hog.detectMultiScale(
            bgr, hitThreshold=self.min_score, winStride=HOG_STRIDE, padding=HOG_PADDING, scale=HOG_SCALE,
            groupThreshold=0,
        )  # fmt: skip
        windows: np.ndarray = np.reshape(np.asarray(found, np.float64), (-1, 4))
        margin = windows[:, 2:] * (HOG_MARGIN_X, HOG_MARGIN_Y)
        boxes = np.hstack([windows[:, :2] + margin, windows[:, :2] + windows[:, 2:] - margin]) * np.tile(scale, 2)
        scores = np.asarray(weights, np.float64).ravel()
        kept = strongest(boxes, scores)
        return inside(boxes[kept], scores[kept], picture)


class TorchvisionDetector:
    """People by one of torchvision's detectors with its weights of COCO."""

    begin_score, min_score = 0.7, 0.3  # probability

    def __init__(self, name: str, *, device: str = "auto") -> None:
        from torchvision.models import get_model

        from c3dhash.models.precision import pick_device
        from c3dhash.models.weights import load_checkpoint

        path = fetch_weights(_weights(name))
        network = get_model(name, weights=None, weights_backbone=None)
        try:
            network.load_state_dict(load_checkpoint(path))
        except RuntimeError as error:
            raise CheckpointError(f"weights '{path}' do not fit the detector {name}: download them again.") from error
        self._device = pick_device(device)
        self._network = network.eval().to(self._device)

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(self._device).permute(2, 0, 1) / 255
        with torch.inference_mode():
            (found,) = self._network([pixels])
        boxes, scores = (found[key].double().cpu().numpy() for key in ("boxes", "scores"))
        kept = (found["labels"].cpu().numpy() == PERSON) & (scores >= self.min_score)
        return inside(boxes[kept], scores[kept], picture)


def strongest(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return which boxes, float64 [N, 4], share less than HOG_SAME with every one of a higher score: int [kept]."""
    sizes, kept = areas(boxes), list[int]()
    shares = common_areas(boxes, boxes) / np.maximum(np.minimum(sizes[:, None], sizes), 1e-12)
    for number in np.argsort(-scores, kind="stable"):
        if all(shares[number, other] < HOG_SAME for other in kept):
            kept.append(int(number))
    return np.array(kept, int)


def inside(boxes: np.ndarray, scores: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut boxes, float64 [N, 4], at the edges of a picture [H, W, 3]; those of which nothing is left go."""
    height_px, width_px = picture.shape[:2]
    cut = np.clip(boxes, 0, np.array([width_px, height_px, width_px, height_px], np.float64))
    is_there = (cut[:, 2:] - cut[:, :2] >= 1).all(axis=1)
    return cut[is_there], scores[is_there]


def _weights(name: str) -> KnownWeights:
    """Return the published weights of one of torchvision's detectors."""
    from torchvision.models import get_model_weights

    weights = get_model_weights(name).COCO_V1
    return KnownWeights("coco", weights.url.rsplit("/")[-1], name, "torchvision", torchvision=str(weights))
