"""pHash of a stretch of video: the lowest frequencies of its mean picture. Nothing is learned, so it needs no weights.

Note [Same film, not same action]
    Codes of a network say what happens in a clip, and unrelated films in which the same happens lie near each other.
    Whoever looks for copies asks something else: whether it is the same picture. The lowest frequencies of the
    picture's brightness answer that, hold through coding, scaling, colours and small things laid over it, and cost
    nothing beside decoding. The mean over the frames of a window makes the code depend less on which of them were
    taken; the middle of the picture (CROP_MARGIN) less on what was cut off.

    Codes are the signs of the first frequencies around their medians ("sign" in models/hashing.py), the lowest first:
    cropping and perspective change the higher ones. benchmarks/copies.py measures it.

Source: Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1 (DCT based
hash: 64 bits, the lowest 8 x 8 frequencies but for the constant, around their median); there of one picture, and the
median is that of a picture's own frequencies.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from c3dhash.models.backbones.base import Backbone
from c3dhash.models.backbones.layouts import Layout
from c3dhash.models.known_weights import KnownWeights
from c3dhash.records import Preprocessing

NUM_FREQUENCIES = 16  # in each direction
LUMINANCE = (0.299, 0.587, 0.114)  # of RGB, ITU-R BT.601

LAYOUTS: tuple[Layout, ...] = ()
KNOWN_WEIGHTS: tuple[KnownWeights, ...] = ()


class PHash(Backbone):
    """The frequencies of the mean picture of a clip, the lowest first, without the constant."""

    name = "phash"
    feature_dim = NUM_FREQUENCIES**2 - 1
    clip_size = (4, 64, 64)
    min_clip_size = (1, NUM_FREQUENCIES, NUM_FREQUENCIES)
    preprocessing = Preprocessing()
    needs_weights = False
    hash_method = "sign"
    window_seconds, stride_seconds = 1.0, 0.5

    def __init__(self, *, num_frames: int = 4, size: int = 64) -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)

    def mirror_signs(self) -> np.ndarray:
        """Return -1 for odd horizontal frequencies: cos(pi h (1 - x)) = (-1)^h cos(pi h x)."""
        return 1 - 2 * (frequency_order() % NUM_FREQUENCIES % 2)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        device = "cpu" if clips.is_meta else clips.device.type
        with torch.autocast(device, enabled=False):
            red, green, blue = clips.float().mean(dim=2).unbind(dim=1)  # [B, H, W] each
            picture = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
            vertical, horizontal = (torch.from_numpy(cosine_basis(size)).to(picture) for size in clips.shape[3:])
            frequencies = vertical @ picture @ horizontal.T  # [B, H, W] -> [B, NUM_FREQUENCIES, NUM_FREQUENCIES]
            return frequencies.flatten(1)[:, torch.from_numpy(frequency_order()).to(clips.device)]


@functools.cache
def cosine_basis(size: int) -> np.ndarray:
    """Return the first rows of the orthonormal DCT-II, float32 [NUM_FREQUENCIES, size]."""
    rows = np.cos(np.pi / size * np.arange(NUM_FREQUENCIES)[:, None] * (np.arange(size) + 0.5)) * np.sqrt(2 / size)
    rows[0] /= np.sqrt(2)
    basis: np.ndarray = rows.astype(np.float32)
    return basis


@functools.cache
def frequency_order() -> np.ndarray:
    """Return the places of frequencies (vertical, horizontal) in a flat square, the lowest first, without (0, 0).

    Their height is (v + 1)^2 + (h + 1)^2; of two at one height the one with the smaller v comes first.

    Returns:
        int64 [NUM_FREQUENCIES ** 2 - 1].
    """
    pairs = [(v, h) for v in range(NUM_FREQUENCIES) for h in range(NUM_FREQUENCIES)]
    pairs.sort(key=lambda pair: ((pair[0] + 1) ** 2 + (pair[1] + 1) ** 2, pair[0]))
    return np.array([NUM_FREQUENCIES * v + h for v, h in pairs[1:]])
