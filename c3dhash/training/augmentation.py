"""Frames of a video -> an augmented training clip.

Everything is drawn from a generator that the caller seeds, once a clip, never once a frame, so that motion stays what
it was. The changes of pictures are torchvision's; its transforms, which would draw from PyTorch's one generator for all
threads, are not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from c3dhash.config import TrainConfig
from c3dhash.errors import UsageError
from c3dhash.video.transforms import augment_clip, whole_clip

NUM_CHANGES, MAX_MAGNITUDE = 2, 30  # of RandAugment
HUE_SHARE = 1 / 4  # of color_jitter


class Augmentation:
    """Draws training clips as the settings say.

    Args:
        config: resolved.
        size: of square clips, px.
        channels: of the frames, as in Preprocessing.
    Raises:
        UsageError: colours are to be changed, or pictures turned, of optical flow.
    """

    def __init__(self, config: TrainConfig, *, size: int, channels: str) -> None:
        self._config, self._size, self._flip = config, size, bool(config.flip)
        self._changes = bool(config.rotation or config.color_jitter or config.rand_augment)
        check_channels(config, channels)

    def clip(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a square clip of frames, uint8 [T, H, W, C] -> [T, size, size, C]."""
        config = self._config
        clip = augment_clip(
            frames, size=self._size, crop=config.crop, min_crop_scale=config.min_crop_scale, flip=self._flip, rng=rng
        )
        return self._change(clip, rng)

    def picture(self, frames: np.ndarray, rng: np.random.Generator, *, short_side: int) -> np.ndarray:
        """Return a clip of whole pictures, uint8 [T, H, W, C] -> [T, h, w, C], as `whole_clip` has them."""
        return self._change(whole_clip(frames, short_side=short_side, flip=self._flip, rng=rng), rng)

    def _change(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        config = self._config
        if not self._changes:
            return clip
        video = torch.from_numpy(np.ascontiguousarray(clip.transpose(0, 3, 1, 2)))  # [T, C, h, w]
        if config.rotation:
            video = F.rotate(video, rng.uniform(-1, 1) * config.rotation, InterpolationMode.BILINEAR)
        if config.color_jitter:
            video = jitter_colors(video, config.color_jitter, rng)
        if config.rand_augment:
            video = rand_augment(video, config.rand_augment, rng)
        return np.ascontiguousarray(video.numpy().transpose(0, 2, 3, 1))


def check_channels(config: TrainConfig, channels: str) -> None:
    """Raise a UsageError where optical flow would be changed as if it were pictures."""
    if channels == "flow" and (config.rotation or config.color_jitter or config.rand_augment):
        raise UsageError(
            "rotation, color_jitter and rand_augment change pictures, and this network reads optical flow: leave them "
            "out."
        )


def jitter_colors(video: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue by random factors, in random order, the same for all frames.

    Args:
        video: RGB, uint8 [T, 3, H, W].
        strength: factors are from 1 - strength to 1 + strength; the hue turns by up to HUE_SHARE of it.
    Returns:
        uint8 [T, 3, H, W].
    """
    draws = rng.uniform(-strength, strength, size=4)
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda x: F.adjust_brightness(x, 1 + draws[0]),
        lambda x: F.adjust_contrast(x, 1 + draws[1]),
        lambda x: F.adjust_saturation(x, 1 + draws[2]),
        lambda x: F.adjust_hue(x, HUE_SHARE * draws[3]),
    ]
    for place in rng.permutation(len(changes)):
        video = changes[place](video)
    return video


def rand_augment(video: Tensor, magnitude: int, rng: np.random.Generator) -> Tensor:
    """Change a clip in NUM_CHANGES ways, drawn with replacement from CHANGES.

    Args:
        video: RGB, uint8 [T, 3, H, W].
        magnitude: 0 to MAX_MAGNITUDE.
    Returns:
        uint8 [T, 3, H, W].
    Source: Cubuk et al., RandAugment: Practical Automated Data Augmentation with a Reduced Search Space, CVPR workshops
        2020; the ranges of AutoAugment, as torchvision's RandAugment has them.
    """
    names = list(CHANGES)
    for place in rng.integers(len(names), size=NUM_CHANGES):
        sign = 1 if rng.uniform() < 0.5 else -1
        video = CHANGES[names[place]](video, magnitude / MAX_MAGNITUDE, sign)
    return video


def _shear(video: Tensor, *, x: float = 0.0, y: float = 0.0) -> Tensor:
    angles = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    sheared: Tensor = F.affine(video, 0.0, [0, 0], 1.0, angles, InterpolationMode.BILINEAR, center=[0, 0])
    return sheared


def _move(video: Tensor, *, x: float = 0.0, y: float = 0.0) -> Tensor:
    moved: Tensor = F.affine(video, 0.0, [int(x), int(y)], 1.0, [0.0, 0.0], InterpolationMode.BILINEAR)
    return moved


# The ways of RandAugment: (uint8 [T, 3, H, W], share of the largest magnitude, sign) -> the same shape.
CHANGES: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "Identity": lambda video, share, sign: video,
    "ShearX": lambda video, share, sign: _shear(video, x=sign * 0.3 * share),
    "ShearY": lambda video, share, sign: _shear(video, y=sign * 0.3 * share),
    "TranslateX": lambda video, share, sign: _move(video, x=sign * share * 150 / 331 * video.shape[-1]),
    "TranslateY": lambda video, share, sign: _move(video, y=sign * share * 150 / 331 * video.shape[-2]),
    "Rotate": lambda video, share, sign: F.rotate(video, sign * 30 * share, InterpolationMode.BILINEAR),
    "Brightness": lambda video, share, sign: F.adjust_brightness(video, 1 + sign * 0.9 * share),
    "Color": lambda video, share, sign: F.adjust_saturation(video, 1 + sign * 0.9 * share),
    "Contrast": lambda video, share, sign: F.adjust_contrast(video, 1 + sign * 0.9 * share),
    "Sharpness": lambda video, share, sign: F.adjust_sharpness(video, 1 + sign * 0.9 * share),
    "Posterize": lambda video, share, sign: F.posterize(video, 8 - round(4 * share)),
    "Solarize": lambda video, share, sign: F.solarize(video, 255 * (1 - share)),
    "AutoContrast": lambda video, share, sign: F.autocontrast(video),
    "Equalize": lambda video, share, sign: F.equalize(video),
}
