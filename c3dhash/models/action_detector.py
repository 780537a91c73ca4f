"""What each person of a picture does: a clip and boxes -> the 80 actions of AVA, several at once.

file -> backbone (weights.py) -> maps of its last stage, mean over time -> what lies in a box -> class scores

# Note [Files of action detectors]
mmaction2 publishes SlowOnly R50 and SlowFast R50 in other forms, too, and the entries tell most of them: non-local
blocks, ResNet-101, alpha = 8 (SlowFast 4 x 16), a shared head (ACRN, LFB), a class head that also reads the whole
picture (context) or that has two layers. All are refused. That the maximum over time was taken in the place of the
mean ("temporal-max") no entry tells, only the name of the file: a renamed one would be read wrongly. Nor do entries
tell 4 frames, every 16th, from 8, every 8th: known files are told by their names, and any other file of SlowOnly is
taken for the latter.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.backbones.inflated import InflatedResNet50
from c3dhash.models.backbones.slowfast import ALPHA, LATERAL_FRAMES, SlowFast, SlowOnly
from c3dhash.models.checkpoints import load_checkpoint
from c3dhash.models.weights import find_weights, identify_weights, load_backbone
from c3dhash.video.normalization import normalize

BACKBONES = (SlowOnly.name, SlowFast.name)
ROI_HEAD = "roi_head."
CLASS_HEAD = "roi_head.bbox_head.fc_cls."
# Source: mmaction2, configs/detection/slowonly/slowonly_kinetics400-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb.py and
# its neighbours: frames resized to a short side of 256 px, spatial_strides (1, 2, 2, 1), RoIAlign to 8 x 8. Clips of
# all these networks reach over 64 frames of 30 a second.
SHORT_SIDE = 256
MAP_STRIDE = 16
BOX_CELLS = 8
CLIP_SECONDS = 64 / 30
# Class 1 to 80. Source: ava_action_list_v2.2.pbtxt of research.google.com/ava; v2.1 has the same. 1 to 14 are poses and
# movements, 15 to 63 things done with objects, 64 to 80 with persons. AVA evaluates 60 of them: the others are rare.
AVA_LABELS = (
    "bend/bow (at the waist)", "crawl", "crouch/kneel", "dance", "fall down", "get up", "jump/leap", "lie/sleep",
    "martial art", "run/jog", "sit", "stand", "swim", "walk", "answer phone", "brush teeth", "carry/hold (an object)",
    "catch (an object)", "chop", "climb (e.g., a mountain)", "clink glass", "close (e.g., a door, a box)", "cook",
    "cut", "dig", "dress/put on clothing", "drink", "drive (e.g., a car, a truck)", "eat", "enter", "exit", "extract",
    "fishing", "hit (an object)", "kick (an object)", "lift/pick up", "listen (e.g., to music)",
    "open (e.g., a window, a car door)", "paint", "play board game", "play musical instrument", "play with pets",
    "point to (an object)", "press", "pull (an object)", "push (an object)", "put down", "read",
    "ride (e.g., a bike, a car, a horse)", "row boat", "sail boat", "shoot", "shovel", "smoke", "stir",
    "take a photo", "text on/look at a cellphone", "throw", "touch (an object)", "turn (e.g., a screwdriver)",
    "watch (e.g., TV)", "work on a computer", "write", "fight/hit (a person)", "give/serve (an object) to (a person)",
    "grab (a person)", "hand clap", "hand shake", "hand wave", "hug (a person)", "kick (a person)", "kiss (a person)",
    "lift (a person)", "listen to (a person)", "play with kids", "push (another person)",
    "sing to (e.g., self, a person, a group)", "take (an object) from (a person)",
    "talk to (e.g., self, a person, a group)", "watch (a person)",
)  # fmt: skip


class ActionDetector(nn.Module):
    """Clips and boxes -> logits of the actions of each box; a sigmoid makes probabilities, each by itself.

    A clip shows the whole picture, its short side resized to `short_side` px. Its frames lie `interval_seconds` apart,
    and frame `num_frames // 2`, counted from 0, is the one that the boxes are of:

        k k k k K k k k    K: the frame of the boxes, of 8

    Attributes:
        backbone: "slowonly" or "slowfast".
        labels: the names of the actions, in the order of the logits.
        num_frames, interval_seconds, short_side, preprocessing: what the weights expect of a clip.
    Source: Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019, section 5, "Detection
        architecture"; Gu et al., AVA, CVPR 2018; He et al., Mask R-CNN, ICCV 2017, section 3, for RoIAlign. As in
        mmaction2 (mmaction/models/roi_heads): class 0 is trained on nothing, and is dropped here.
    """

    def __init__(self, network: SlowOnly | SlowFast, labels: tuple[str, ...] = AVA_LABELS) -> None:
        """Take a backbone, whose last stage no longer halves its maps from here on."""
        super().__init__()
        for part in network.modules():
            if isinstance(part, InflatedResNet50):
                part.keep_last_size()
        self.network = network
        self.class_head = nn.Linear(network.feature_dim, len(labels))
        self.backbone = network.name
        self.labels = labels
        self.preprocessing = network.preprocessing
        assert self.preprocessing.interval_seconds is not None  # published weights say it
        self.interval_seconds = self.preprocessing.interval_seconds
        self.num_frames = round(CLIP_SECONDS / self.interval_seconds)
        self.short_side = SHORT_SIDE

    def forward(self, clips: Tensor, boxes: Tensor) -> Tensor:
        """Compute the logits of each box.

        Args:
            clips: uint8 [B, T, H, W, 3], RGB.
            boxes: float [N, 5], index of the clip, x0, y0, x1, y1 in px of the clip; they may reach out of the picture.
        Returns:
            float [N, num_classes], in the dtype of the weights.
        Raises:
            UsageError: clips or boxes of another kind, boxes without an inside or of no clip.
        """
        self._check(clips, boxes)
        dtype = self.class_head.weight.dtype
        maps = self.network.last_maps(normalize(clips, self.preprocessing).to(dtype))
        # [B, C, T, H/16, W/16] of each path -> [B, feature_dim, H/16, W/16]
        features = torch.cat([each.mean(dim=2, dtype=torch.float32) for each in maps], dim=1)
        cells = roi_align(features, boxes.float(), BOX_CELLS, spatial_scale=1 / MAP_STRIDE, aligned=True)
        logits: Tensor = self.class_head(cells.amax(dim=(2, 3)).to(dtype))  # of [N, feature_dim, 8, 8]
        return logits

    def _check(self, clips: Tensor, boxes: Tensor) -> None:
        if clips.dtype != torch.uint8 or clips.ndim != 5 or clips.shape[-1] != 3:
            raise UsageError(f"clips must be uint8 [B, T, H, W, 3], got {clips.dtype} {list(clips.shape)}.")
        if self.backbone == SlowFast.name and clips.shape[1] % ALPHA:
            raise UsageError(f"clips for {self.backbone} must have a multiple of {ALPHA} frames, got {clips.shape[1]}.")
        if not boxes.is_floating_point() or boxes.ndim != 2 or boxes.shape[1] != 5:
            raise UsageError(
                f"boxes must be float [N, 5] (index of the clip, x0 y0 x1 y1), got {boxes.dtype} {list(boxes.shape)}."
            )
        is_known = boxes.isfinite().all(dim=1) & (boxes[:, 0] >= 0) & (boxes[:, 0] < len(clips))
        is_wrong = ~(is_known & (boxes[:, 1:3] < boxes[:, 3:]).all(dim=1))
        if is_wrong.any():
            raise UsageError(
                f"a box must be of one of the {len(clips)} clips, counted from 0, with finite x0 < x1 and y0 < y1, got "
                f"{boxes[is_wrong][0].tolist()}."
            )


def is_action_detector(path: Path | str) -> bool:
    """Tell by its keys whether a checkpoint has a head for boxes, of any kind.

    Raises:
        CheckpointError: not a checkpoint.
    """
    return any(key.removeprefix("module.").startswith(ROI_HEAD) for key in load_checkpoint(path))


def load_action_detector(weights: Path | str, *, backbone: str | None = None) -> ActionDetector:
    """Load an action detector of mmaction2. Note [Files of action detectors] says which.

    Args:
        weights: as for `find_weights`.
        backbone: "slowonly" or "slowfast"; None for the one that a file holds, and slowonly for a short name.
    Returns:
        The detector in evaluation mode, on the CPU.
    Raises:
        CheckpointError: not found, no action detector, or one of another kind.
        UsageError: `backbone` has no action detectors.
    """
    if backbone not in (None, *BACKBONES):
        raise UsageError(f"backbone ({backbone!r}) of an action detector must be one of {', '.join(BACKBONES)}.")
    path = find_weights(weights, backbone=backbone or SlowOnly.name)
    tensors = {key.removeprefix("module."): tensor for key, tensor in load_checkpoint(path).items()}
    if reason := _why_refused(path, tensors):
        raise CheckpointError(
            f"checkpoint '{path}' {reason}: action detectors are mmaction2's SlowOnly R50 and SlowFast R50 8x8, with "
            "one linear layer as class head; `c3dhash models show slowonly` (or slowfast) lists files."
        )
    network = load_backbone(path, backbone=backbone)
    assert isinstance(network, (SlowOnly, SlowFast))
    detector = ActionDetector(network)
    for name, target in (("weight", detector.class_head.weight), ("bias", detector.class_head.bias)):
        with torch.no_grad():
            target.copy_(_class_head_entry(path, tensors, name, (len(target) + 1, *target.shape[1:]))[1:])
    return detector.eval()


def _why_refused(path: Path, tensors: dict[str, Tensor]) -> str | None:
    """Say what a file holds where it is no action detector, or one that is not built here."""
    lateral = tensors.get("backbone.slow_path.conv1_lateral.conv.weight")
    if not any(key.startswith(ROI_HEAD) for key in tensors):
        return f"has no head for boxes ({ROI_HEAD}), and tells nothing of each person"
    if any("non_local_block" in key for key in tensors):
        return "has non-local blocks"
    if any(key.startswith(f"{ROI_HEAD}shared_head.") for key in tensors):
        return "has a head in front of the class head (ACRN, LFB)"
    if lateral is not None and lateral.shape[2] != LATERAL_FRAMES:
        return "is a SlowFast 4x16 (alpha = 8)"
    if any(".layer3.6." in key for key in tensors):
        return "has a backbone that is deeper than ResNet-50"
    if re.search("temporal[-_]max", path.name):
        return "takes the maximum over time, as its name says"
    if not {*identify_weights(path)[0]} & {*BACKBONES}:
        return "has another backbone"
    return None


def _class_head_entry(path: Path, tensors: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the weight or the bias of the class head, checked."""
    key = f"{CLASS_HEAD}{name}"
    if key not in tensors or tuple(tensors[key].shape) != shape:
        held = f"is {list(tensors[key].shape)}" if key in tensors else "is missing"
        raise CheckpointError(
            f"checkpoint '{path}' has another class head: {key} {held}, not {list(shape)} (a class that is not used, "
            f"AVA's {shape[0] - 1} actions). Those that also read the whole picture (context), of two layers, or for "
            "other actions are not read: `c3dhash models show slowonly` (or slowfast) lists files."
        )
    if not tensors[key].isfinite().all():
        raise CheckpointError(f"checkpoint '{path}' holds NaN or infinite values in '{key}': download it again.")
    return tensors[key]
