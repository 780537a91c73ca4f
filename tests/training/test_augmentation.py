"""Augmented clips: what changes pictures, once a clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY
from torchvision.transforms import v2

from c3dhash.errors import UsageError
from c3dhash.training.augmentation import CHANGES, Augmentation, jitter_colors, rand_augment
from c3dhash.training.optimization import resolve


def clip(num_frames: int = 3, height: int = 40, width: int = 56) -> np.ndarray:
    """Return the same coarse picture in each frame, uint8 [T, H, W, 3]."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.repeat(np.kron(coarse, np.ones((8, 8, 1), np.uint8))[None], num_frames, axis=0)


def as_video(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("magnitude", [0, 9, 27])
def test_changes_are_those_of_torchvision(name, magnitude):
    theirs = v2.RandAugment(magnitude=magnitude, interpolation=v2.InterpolationMode.BILINEAR)
    if not hasattr(theirs, "_apply_image_or_video_transform") or not hasattr(theirs, "_AUGMENTATION_SPACE"):
        pytest.skip("this torchvision has its parts under other names")
    video = as_video(clip())
    magnitudes, is_signed = theirs._AUGMENTATION_SPACE[name]
    sizes = magnitudes(theirs.num_magnitude_bins, *video.shape[-2:])
    for sign in (1, -1) if is_signed else (1,):
        size = 0.0 if sizes is None else sign * float(sizes[magnitude])
        expected = theirs._apply_image_or_video_transform(video, name, size, theirs.interpolation, theirs._fill)
        mine = CHANGES[name](video, magnitude / 30, sign)
        assert mine.dtype == torch.uint8 and (mine.int() - expected.int()).abs().max() <= 1, sign


def test_all_ways_are_there():
    assert set(CHANGES) == set(v2.RandAugment._AUGMENTATION_SPACE)


@pytest.mark.parametrize("change", [{"rotation": 30.0}, {"color_jitter": 0.5}, {"rand_augment": 15}])
def test_a_change_is_drawn_once_a_clip(change):
    """Frames that are alike stay alike; clips of other draws differ; the same draws give the same clip."""
    augment = Augmentation(resolve(replace(TINY, flip=False, **change)), size=24, channels="RGB")
    plain = Augmentation(resolve(replace(TINY, flip=False)), size=24, channels="RGB")
    drawn = [augment.clip(clip(), np.random.default_rng(seed)) for seed in range(12)]
    assert all(one.shape == (3, 24, 24, 3) and one.dtype == np.uint8 for one in drawn)
    assert all(np.array_equal(one[0], frame) for one in drawn for frame in one)
    unlike = sum(not np.array_equal(one, plain.clip(clip(), np.random.default_rng(i))) for i, one in enumerate(drawn))
    assert unlike > 8
    assert np.array_equal(drawn[5], augment.clip(clip(), np.random.default_rng(5)))
    whole = augment.picture(clip(), np.random.default_rng(3), short_side=20)
    assert whole.shape == (3, 20, 28, 3)
    assert not np.array_equal(whole, plain.picture(clip(), np.random.default_rng(3), short_side=20))


def test_no_draw_depends_on_the_generator_of_pytorch():
    video = as_video(clip())
    for draw in (lambda rng: jitter_colors(video, 0.8, rng), lambda rng: rand_augment(video, 20, rng)):
        before = torch.get_rng_state()
        first = draw(np.random.default_rng(4))
        torch.manual_seed(99)
        assert torch.equal(first, draw(np.random.default_rng(4)))
        torch.set_rng_state(before)
        draw(np.random.default_rng(5))
        assert torch.equal(before, torch.get_rng_state())


def test_rotation_turns_by_what_was_drawn():
    """A bright half: a turn by up to 60 degrees leaves what is above the middle above its border, and what is below."""
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    frames[:, :32] = 255
    augment = Augmentation(
        resolve(replace(TINY, flip=False, rotation=60.0, min_crop_scale=1.0)), size=64, channels="RGB"
    )
    drawn = np.stack([augment.clip(frames, np.random.default_rng(seed))[0, ..., 0] for seed in range(60)])
    assert (drawn[:, 8, 32] > 200).all() and (drawn[:, 56, 32] < 50).all()
    left = drawn[:, 32, 8] > 128
    assert 15 < left.sum() < 45, "to both sides"


def test_jitter_has_the_range_it_says():
    grey = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    values = [int(jitter_colors(grey, 0.4, np.random.default_rng(seed))[0, 0, 0, 0]) for seed in range(300)]
    assert 58 <= min(values) < 66 and 134 < max(values) <= 141, "of grey, brightness alone is to be seen"


def test_what_does_not_go_together():
    with pytest.raises(UsageError, match="change pictures, and this network reads optical flow"):
        Augmentation(resolve(replace(TINY, rotation=5.0)), size=24, channels="flow")
    with pytest.raises(UsageError, match=r"min_crop_scale .* not --crop fixed"):
        replace(TINY, crop="fixed", min_crop_scale=0.5)
