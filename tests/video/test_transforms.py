from __future__ import annotations

import numpy as np
import pytest
import torch

from c3dhash.errors import UsageError
from c3dhash.records import Preprocessing
from c3dhash.video.normalization import normalize
from c3dhash.video.transforms import augment_clip, center_clip, clip_crops, clip_views, decoded_short_side, whole_clip


def ramp(num_frames: int = 4, height: int = 64, width: int = 96) -> np.ndarray:
    """Frames whose red is the column, green the row, blue the frame number."""
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[..., 0] = np.arange(width)
    frames[..., 1] = np.arange(height)[:, None]
    frames[..., 2] = np.arange(num_frames)[:, None, None] * 10
    return frames


def test_center_clip_takes_the_middle_at_its_scale():
    clip = center_clip(ramp(), size=56)  # short side 64 = 56 * 8/7: no resize, 4 rows and 20 columns cut on each side
    assert clip.shape == (4, 56, 56, 3)
    assert clip[0, 0, 0].tolist() == [20, 4, 0]
    assert clip[3, -1, -1].tolist() == [75, 59, 30]


def test_views_of_a_clip():
    views = clip_views(ramp(), size=56, num_views=4)
    middle, largest = center_clip(ramp(), size=56), center_clip(ramp(), size=56, margin=1)
    assert np.array_equal(views[0], middle) and np.array_equal(views[1], middle[:, :, ::-1])
    assert np.array_equal(views[2], largest) and np.array_equal(views[3], largest[:, :, ::-1])
    assert largest[0, 0, 0, 0] < middle[0, 0, 0, 0], "it begins further to the left"
    assert [len(clip_views(ramp(), size=56, num_views=count)) for count in (1, 2, 3)] == [1, 2, 3]
    assert (clip_views(flow_ramp(), size=28, num_views=2)[1][..., 0] > 128).all(), "flow turns with the picture"


def test_three_crops_cover_a_clip():
    """At 64 x 96 px, squares of 64 begin at column 0, 16 and 32."""
    crops = clip_crops(ramp(), size=64, num_views=1)
    assert [crop[0, 0, 0].tolist() for crop in crops] == [[0, 0, 0], [16, 0, 0], [32, 0, 0]]
    assert crops[2][0, -1, -1].tolist() == [95, 63, 0], "to the last column and row"
    upright = clip_crops(ramp(height=96, width=64), size=64, num_views=1)
    assert [crop[0, 0, 0, 1] for crop in upright] == [0, 16, 32]
    assert {crop.shape for crop in clip_crops(ramp(), size=32, num_views=1)} == {(4, 32, 32, 3)}
    both = clip_crops(ramp(), size=64, num_views=2)
    assert all(np.array_equal(both[place], crop) for place, crop in zip((0, 2, 4), crops, strict=True))
    assert all(np.array_equal(both[place], crop[:, :, ::-1]) for place, crop in zip((1, 3, 5), crops, strict=True))


@pytest.mark.parametrize("height, width", [(1, 1), (2, 90), (7, 5)])
def test_center_clip_of_tiny_frames(height, width):
    assert center_clip(ramp(2, height, width), size=8).shape == (2, 8, 8, 3)


def test_fixed_crops_are_seven_eighths_of_the_short_side():
    """Of 64 x 96 px that is 56, at scale: 9 rows and 41 columns to begin at, as 128 x 171 is cut to 112."""
    rng = np.random.default_rng(0)
    clips = [augment_clip(ramp(), size=56, crop="fixed", min_crop_scale=None, flip=False, rng=rng) for _ in range(900)]
    assert {int(clip[0, 0, 0, 1]) for clip in clips} == set(range(9))
    assert {int(clip[0, 0, 0, 0]) for clip in clips} == set(range(41))
    assert all(clip[3, -1, -1].tolist() == (clip[3, 0, 0] + (55, 55, 0)).tolist() for clip in clips)


def test_resized_crops_have_an_area_and_an_aspect():
    """Rows and columns tell what was cut: here from a quarter of the area on, sides as 3 to 4 at most."""
    rng, shapes = np.random.default_rng(0), []
    frames = ramp(1, 120, 120)
    for _ in range(400):
        clip = augment_clip(frames, size=32, crop="resized", min_crop_scale=0.5, flip=False, rng=rng).astype(float)
        width, height = (clip[0, -1, -1, axis] - clip[0, 0, 0, axis] for axis in (0, 1))
        shapes.append((height * 32 / 31, width * 32 / 31))
    heights, widths = np.array(shapes).T
    shares, aspects = heights * widths / 120**2, widths / heights
    assert 0.22 < shares.min() < 0.3 and 0.9 < shares.max() <= 1.05
    assert 0.72 < aspects.min() < 0.78 and 1.28 < aspects.max() < 1.39
    assert np.log(aspects).mean() == pytest.approx(0, abs=0.03)


def test_whole_clip_is_the_picture_or_its_mirror_image():
    seeds = [np.random.default_rng(seed) for seed in range(20)]
    clips = [whole_clip(ramp(), short_side=64, flip=True, rng=rng) for rng in seeds]
    kinds = [np.array_equal(clip, ramp()) - np.array_equal(clip, ramp()[:, :, ::-1]) for clip in clips]
    assert set(kinds) == {1, -1} and 4 < kinds.count(1) < 16
    assert whole_clip(ramp(), short_side=80, flip=False, rng=seeds[0]).shape == (4, 80, 120, 3)
    assert whole_clip(ramp(height=96, width=64), short_side=32, flip=False, rng=seeds[0]).shape == (4, 48, 32, 3)


def test_whole_clip_of_a_long_picture_is_a_part_of_it():
    rng = np.random.default_rng(0)
    clips = [whole_clip(ramp(height=10, width=45), short_side=10, flip=False, rng=rng) for _ in range(200)]
    assert {clip.shape for clip in clips} == {(4, 10, 20, 3)}
    assert {int(clip[0, 0, 0, 0]) for clip in clips} == set(range(26)), "it begins anywhere"
    upright = whole_clip(ramp(height=45, width=10), short_side=20, flip=False, rng=rng)
    assert upright.shape == (4, 40, 20, 3)
    flow = whole_clip(flow_ramp(), short_side=8, flip=False, rng=rng)
    assert flow.shape[3] == 2 and min(flow.shape[1:3]) == 8


def test_decoded_short_side():
    assert [decoded_short_side(size) for size in (112, 56, 224)] == [128, 64, 256]


def test_augmentation_is_drawn_once_a_clip():
    for seed in range(20):
        clip = augment_clip(ramp(), size=48, min_crop_scale=0.5, flip=True, rng=np.random.default_rng(seed)).astype(int)
        assert clip.shape == (4, 48, 48, 3)
        assert (clip[1:, ..., :2] == clip[:1, ..., :2]).all(), "the crop or the mirror differs between frames"
        assert clip[:, 0, 0, 2].tolist() == [0, 10, 20, 30], "frames are not in order"


def test_augmentation_mirrors_half_and_moves_the_crop():
    clips = [
        augment_clip(ramp(), size=32, min_crop_scale=0.5, flip=True, rng=np.random.default_rng(seed))
        for seed in range(200)
    ]
    mirrored = [clip[0, 0, 0, 0] > clip[0, 0, -1, 0] for clip in clips]
    assert 70 < sum(mirrored) < 130
    assert len({clip[0, 0, 0, 1] for clip in clips}) > 15
    straight = augment_clip(ramp(), size=32, min_crop_scale=0.5, flip=False, rng=np.random.default_rng(0))
    assert straight[0, 0, 0, 0] < straight[0, 0, -1, 0]


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_normalize(channels):
    clips = torch.randint(0, 256, (2, 4, 5, 6, 3), dtype=torch.uint8)
    preprocessing = Preprocessing(channels=channels, scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    result = normalize(clips, preprocessing)
    assert result.shape == (2, 3, 4, 5, 6)
    for place in range(3):
        source = place if channels == "RGB" else 2 - place
        expected = (clips[..., source].float() / 255 - preprocessing.mean[place]) / preprocessing.std[place]
        torch.testing.assert_close(result[:, place], expected, rtol=1e-5, atol=1e-5)


def flow_ramp(num_frames: int = 4, height: int = 32, width: int = 48) -> np.ndarray:
    """Flow whose horizontal part is the column, and whose vertical part is the row."""
    return ramp(num_frames, height, width)[..., :2].copy()


def test_each_flow_of_a_stack_points_the_other_way_in_a_mirror():
    """x1 y1 x2 y2 x3 y3; only the x are inverted, and each plane is cut and resized as if it were alone."""
    stack = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 6), np.uint8)
    middle, mirrored = clip_views(stack, size=23, num_views=2)
    for channel in range(6):
        alone = center_clip(np.repeat(stack[..., channel, None], 3, axis=3), size=23)[..., 0]
        assert np.array_equal(middle[..., channel], alone)
        turned = alone[:, :, ::-1]
        assert np.array_equal(mirrored[..., channel], turned if channel % 2 else 255 - turned)


def test_mirrored_flow_points_the_other_way():
    clips = [
        augment_clip(flow_ramp(), size=32, min_crop_scale=1, flip=True, rng=np.random.default_rng(seed))
        for seed in range(40)
    ]
    mirrored = [clip for clip in clips if clip[0, 0, 0, 0] > 128]  # columns reach 47, so that only 255 - v can be there
    assert 10 < len(mirrored) < 30
    for clip in mirrored:
        columns = 255 - clip[0, 0, :, 0].astype(int)
        assert (np.diff(columns) == -1).all(), "columns from right to left"
    for clip in clips:
        assert clip.shape == (4, 32, 32, 2)
        assert (clip[:, :, :, 1] == np.arange(32)[:, None]).all(), "vertical flow must stay"


def test_flow_is_cut_like_pictures():
    clip = center_clip(flow_ramp(4, 64, 96), size=56)
    assert clip.shape == (4, 56, 56, 2)
    assert clip[0, 0, 0].tolist() == [20, 4]
    assert center_clip(flow_ramp(), size=20).shape == (4, 20, 20, 2)


def test_normalize_flow():
    clips = torch.randint(0, 256, (2, 4, 5, 6, 2), dtype=torch.uint8)
    clips[0, 0, 0, :2] = torch.tensor([[0, 255], [255, 0]])
    result = normalize(clips, Preprocessing("flow", 1 / 127.5, (1, 1), (1, 1)))
    assert result.shape == (2, 2, 4, 5, 6) and result.dtype == torch.float32
    torch.testing.assert_close(result, (clips.float() / 127.5 - 1).permute(0, 4, 1, 2, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(result[0, :, 0, 0, :2], torch.tensor([[-1.0, 1.0], [1.0, -1.0]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("num_channels", "preprocessing", "message"),
    [
        (
            2,
            Preprocessing("BGR"),
            r"clips of 2 channels are not for this network, which reads 3 \(BGR\): give it RGB fr",
        ),
        (3, Preprocessing("flow", 1, (1, 1), (1, 1)), r"clips of 3 channels .* reads 2 \(flow\): give it optical flow"),
    ],
)
def test_normalize_refuses_other_channels(num_channels, preprocessing, message):
    with pytest.raises(UsageError, match=message) as caught:
        normalize(torch.zeros(1, 2, 4, 4, num_channels, dtype=torch.uint8), preprocessing)
    assert "\n" not in str(caught.value)
