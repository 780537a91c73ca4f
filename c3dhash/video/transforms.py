"""Crop, resize and mirror clips; turn them into what the network reads.

Everything random is drawn once a clip, never once a frame. Clips stay uint8 [T, H, W, 3] until they are a
batch on the device; `normalize` makes the float tensor there.

# Note [Flow clips]
A clip uint8 [T, H, W, 2] is optical flow, horizontal and vertical, 0 to 255 for -20 to 20 px a frame. It is cut and
resized like a picture, and its values stay those of the full frame, as is usual (Wang et al., ECCV 2016; Carreira and
Zisserman, CVPR 2017). In a mirror what moves to the left moves to the right: the horizontal channel v becomes 255 - v.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from c3dhash.records import Preprocessing
from c3dhash.video.pictures import shrink

# Frames are decoded, and cached, with a short side of 8/7 of the crop: 128 for 112, as C3D and the
# torchvision video models do, so that a crop has room to move.
CROP_MARGIN = 8 / 7


def decoded_short_side(size: int) -> int:
    """Return the short side in px at which frames are decoded for clips of `size` px."""
    return round(size * CROP_MARGIN)


def resize_crop(frames: np.ndarray, *, top: int, left: int, side: int, size: int) -> np.ndarray:
    """Cut the same square out of every frame and resize it.

    Args:
        frames: uint8 [T, H, W, C], C = 3 (RGB) or 2 (flow).
        top, left, side: the square, px.
        size: px of the result.
    Returns:
        uint8 [T, size, size, C].
    """
    square = frames[:, top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    if side > size:
        return np.stack([shrink(frame, (size, size)) for frame in square])
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR) for frame in square])


def center_clip(frames: np.ndarray, *, size: int, margin: float = CROP_MARGIN) -> np.ndarray:
    """Cut the middle out of a clip, at the scale that CROP_MARGIN leaves: what every evaluation sees.

    Args:
        frames: uint8 [T, H, W, C], C = 3 (RGB) or 2 (flow).
        size: px.
        margin: the short side over the side of the square.
    Returns:
        uint8 [T, size, size, C].
    """
    height_px, width_px = frames.shape[1:3]
    side = max(1, min(round(min(height_px, width_px) / margin), height_px, width_px))
    return resize_crop(frames, top=(height_px - side) // 2, left=(width_px - side) // 2, side=side, size=size)


def clip_views(frames: np.ndarray, *, size: int, num_views: int) -> list[np.ndarray]:
    """Return the first views of a clip: its middle, a mirror image of that, the largest square, its mirror image.

    Args:
        frames: uint8 [T, H, W, C], C = 3 (RGB) or 2 (flow).
        size: px.
        num_views: 1 to MAX_VIEWS.
    Returns:
        uint8 [T, size, size, C] each.
    """
    views: list[np.ndarray] = []
    for place in range(num_views):
        margin = CROP_MARGIN if place < 2 else 1.0
        views.append(_mirror(views[-1]) if place % 2 else center_clip(frames, size=size, margin=margin))
    return views


def augment_clip(
    frames: np.ndarray, *, size: int, min_crop_scale: float, flip: bool, rng: np.random.Generator
) -> np.ndarray:
    """Draw a training clip: a square of random scale and place, and a mirror image or not.

    Args:
        frames: uint8 [T, H, W, C], C = 3 (RGB) or 2 (flow: Note [Flow clips]).
        size: px of the result.
        min_crop_scale: smallest side of the square, as a share of the short side.
        flip: whether half of the clips are mirrored.
        rng: where the draws come from; three draws a clip whatever the arguments.
    Returns:
        uint8 [T, size, size, C].
    """
    scale, place, mirror = rng.uniform(min_crop_scale, 1), rng.uniform(size=2), rng.uniform()
    height_px, width_px = frames.shape[1:3]
    side = max(1, round(scale * min(height_px, width_px)))
    top, left = (place * (height_px - side + 1, width_px - side + 1)).astype(int)
    clip = resize_crop(frames, top=int(top), left=int(left), side=side, size=size)
    return _mirror(clip) if flip and mirror < 0.5 else clip


def _mirror(clip: np.ndarray) -> np.ndarray:
    """Swap left and right of uint8 [T, H, W, C]. Note [Flow clips] says what becomes of flow."""
    mirrored = clip[:, :, ::-1]
    if clip.shape[3] == 2:
        mirrored = np.stack([255 - mirrored[..., 0], mirrored[..., 1]], axis=3)
    return mirrored


class Normalizer:
    """Turns batches of pixels into what a backbone reads; what it needs lies on the device from the start.

    Args:
        preprocessing: of the backbone.
        device: of the batches.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self.preprocessing = preprocessing
        std = torch.tensor(preprocessing.std)
        self._factor = (preprocessing.scale / std).to(device)
        self._offset = (torch.tensor(preprocessing.mean) / std).to(device)

    def __call__(self, clips: Tensor) -> Tensor:
        """Normalise a batch.

        Args:
            clips: uint8 [B, T, H, W, C], RGB or flow.
        Returns:
            float32 [B, C, T, H, W], a view of channels-last memory.
        Raises:
            UsageError: RGB for a network that reads flow, or the other way round.
        """
        self.preprocessing.check_channels(clips.shape[-1])
        if self.preprocessing.channels == "BGR":
            clips = clips.flip(-1)
        # [B, T, H, W, C] -> [B, C, T, H, W]
        return clips.float().mul_(self._factor).sub_(self._offset).permute(0, 4, 1, 2, 3)


def normalize(clips: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Normalise one batch; for many, a Normalizer prepares once."""
    return Normalizer(preprocessing, clips.device)(clips)


def for_device(batch: np.ndarray, device: torch.device) -> Tensor:
    """Make a tensor of a batch, where CUDA can fetch it while the CPU goes on: in pinned memory. Costs a copy there."""
    tensor = torch.from_numpy(batch)
    return tensor.pin_memory() if device.type == "cuda" else tensor


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """Put a batch of `for_device` on the device, without waiting for the copy."""
    return batch.to(device, non_blocking=device.type == "cuda")
