"""Crop, resize and mirror clips, uint8 [T, H, W, 3]; without torch, since decoder processes do it.

Everything random is drawn once a clip, never once a frame. `video.normalization` makes of a batch of clips what the
network reads.

# Note [Flow in a mirror]
A clip of an even number of channels is optical flow (Note [Flow clips] in optical_flow.py), horizontal and vertical in
turns, 0 to 255 for -20 to 20 px a frame. It is cut and resized like a picture, and its values stay those of the full
frame, as is usual (Wang et al., ECCV 2016; Carreira and Zisserman, CVPR 2017). In a mirror what moves to the left moves
to the right: each horizontal channel v becomes 255 - v.
"""

from __future__ import annotations

import numpy as np

from c3dhash.video.pictures import resize, resize_picture

# Frames are decoded, and cached, with a short side of 8/7 of the crop: 128 for 112, as C3D and the
# torchvision video models do, so that a crop has room to move.
CROP_MARGIN = 8 / 7


# A picture that is wider, or higher, is cut: it would cost a network much more than others, and show little more.
MAX_ASPECT = 2.0
MAX_CROP_ASPECT = 4 / 3  # of a part that is made square


def decoded_short_side(size: int) -> int:
    """Return the short side in px at which frames are decoded for clips of `size` px."""
    return round(size * CROP_MARGIN)


def resize_crop(
    frames: np.ndarray, *, top: int, left: int, side: int, size: int, height: int | None = None
) -> np.ndarray:
    """Cut the same part out of every frame and resize it to a square.

    Args:
        frames: uint8 [T, H, W, C], C = 3 (RGB) or even (flow).
        top, left, side: the part, a square unless its height is given, px.
        size: px of the result.
    Returns:
        uint8 [T, size, size, C].
    """
    part = frames[:, top : top + (height or side), left : left + side]
    if part.shape[1:3] == (size, size):
        return np.ascontiguousarray(part)
    return np.stack([resize(frame, (size, size)) for frame in part])


def center_clip(frames: np.ndarray, *, size: int, margin: float = CROP_MARGIN) -> np.ndarray:
    """Cut the middle out of a clip, at the scale that CROP_MARGIN leaves: what every evaluation sees.

    Args:
        frames: uint8 [T, H, W, C], C = 3 (RGB) or even (flow).
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
        frames: uint8 [T, H, W, C], C = 3 (RGB) or even (flow).
        size: px.
        num_views: 1 to MAX_VIEWS.
    Returns:
        uint8 [T, size, size, C] each.
    """
    views: list[np.ndarray] = []
    for place in range(num_views):
        margin = CROP_MARGIN if place < 2 else 1.0
        views.append(mirror_clip(views[-1]) if place % 2 else center_clip(frames, size=size, margin=margin))
    return views


def clip_crops(frames: np.ndarray, *, size: int, num_views: int) -> list[np.ndarray]:
    """Return three squares that cover a clip along its longer side, those at its ends and the middle.

    Args:
        frames: uint8 [T, H, W, C], C = 3 (RGB) or even (flow).
        size: px.
        num_views: 1, or 2 for their mirror images, too.
    Returns:
        uint8 [T, size, size, C] each.
    Source:
        Wang et al., Non-local Neural Networks, CVPR 2018, section 4.1: the three crops of 3D networks at test time.
        There the network reads them at the short side of the frames; here they are resized to what it was trained on.
    """
    height_px, width_px = frames.shape[1:3]
    side = min(height_px, width_px)
    views: list[np.ndarray] = []
    for share in (0, 0.5, 1):
        top, left = round(share * (height_px - side)), round(share * (width_px - side))
        views.append(resize_crop(frames, top=top, left=left, side=side, size=size))
        if num_views == 2:
            views.append(mirror_clip(views[-1]))
    return views


def augment_clip(
    frames: np.ndarray,
    *,
    size: int,
    crop: str = "scale",
    min_crop_scale: float | None,
    flip: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw a training clip: a part of random scale and place, and a mirror image or not.

    Args:
        frames: uint8 [T, H, W, C], C = 3 (RGB) or even (flow: Note [Flow in a mirror]).
        size: px of the result.
        crop: scale, a square whose side is min_crop_scale of the short side or more; fixed, one at the scale that
            CROP_MARGIN leaves; resized, a part whose area is the square of min_crop_scale of the picture's or more, and
            whose sides are as 3 to 4 or nearer to each other.
        min_crop_scale: does nothing where crop is fixed.
        flip: whether half of the clips are mirrored.
        rng: where the draws come from; of a kind of crop, as many a clip whatever the arguments.
    Returns:
        uint8 [T, size, size, C].
    Source:
        resized: Szegedy et al., Going Deeper with Convolutions, CVPR 2015, section 6.
    """
    scale, place, mirror = rng.uniform(), rng.uniform(size=2), rng.uniform()
    height_px, width_px = frames.shape[1:3]
    smallest = 1.0 if min_crop_scale is None else min_crop_scale
    if crop == "resized":
        area = height_px * width_px * (smallest**2 + scale * (1 - smallest**2))
        aspect = MAX_CROP_ASPECT ** rng.uniform(-1, 1)
        height = min(height_px, max(1, round((area / aspect) ** 0.5)))
        width = min(width_px, max(1, round((area * aspect) ** 0.5)))
    else:
        share = 1 / CROP_MARGIN if crop == "fixed" else smallest + scale * (1 - smallest)
        height = width = max(1, round(share * min(height_px, width_px)))
    top, left = (place * (height_px - height + 1, width_px - width + 1)).astype(int)
    clip = resize_crop(frames, top=int(top), left=int(left), side=width, height=height, size=size)
    return mirror_clip(clip) if flip and mirror < 0.5 else clip


def whole_clip(frames: np.ndarray, *, short_side: int, flip: bool, rng: np.random.Generator) -> np.ndarray:
    """Draw a training clip that shows all of the picture: its mirror image or not.

    Args:
        frames: uint8 [T, H, W, C], C = 3 (RGB) or even (flow: Note [Flow in a mirror]).
        short_side: px of the result.
        flip: whether half of the clips are mirrored.
        rng: where the draws come from; two draws a clip whatever the arguments.
    Returns:
        uint8 [T, h, w, C] of the same aspect, but at most MAX_ASPECT: a part of longer pictures, at a random place.
    """
    place, mirror = rng.uniform(), rng.uniform()
    height_px, width_px = frames.shape[1:3]
    longest = round(MAX_ASPECT * min(height_px, width_px))
    top, left = (int(place * (side - longest + 1)) if side > longest else 0 for side in (height_px, width_px))
    frames = frames[:, top : top + longest, left : left + longest]
    clip = np.stack([resize_picture(frame, short_side=short_side) for frame in frames])
    return mirror_clip(clip) if flip and mirror < 0.5 else clip


def mirror_clip(clip: np.ndarray) -> np.ndarray:
    """Swap left and right of a clip, uint8 [T, H, W, C]. Note [Flow in a mirror] says what becomes of flow."""
    mirrored = clip[:, :, ::-1]
    if clip.shape[3] % 2 == 0:
        mirrored = mirrored.copy()
        mirrored[..., ::2] = 255 - mirrored[..., ::2]
    return mirrored
