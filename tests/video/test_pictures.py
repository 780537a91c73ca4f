"""Pictures become smaller as OpenCV makes them, pixel for pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from c3dhash.video.pictures import resize_picture, shrink


@pytest.mark.parametrize("channels", [(), (2,), (3,)])
def test_areas_are_those_of_opencv(channels):
    rng = np.random.default_rng(4)
    for _ in range(60):
        height, width = rng.integers(8, 300, 2)
        size = int(rng.integers(1, width + 1)), int(rng.integers(1, height + 1))
        picture = rng.integers(0, 256, (height, width, *channels), np.uint8)
        np.testing.assert_array_equal(shrink(picture, size), cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    ("shape", "size"), [((240, 320), (160, 120)), ((240, 320), (160, 80)), ((240, 320), (171, 120))]
)
def test_whole_pixels_on_one_side_or_both(shape, size):
    picture = np.random.default_rng(5).integers(0, 256, (*shape, 3), np.uint8)
    np.testing.assert_array_equal(shrink(picture, size), cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def test_means_by_hand():
    picture = np.array([[0, 30, 60, 90, 120, 150]], np.uint8)
    assert shrink(picture, (3, 1)).tolist() == [[15, 75, 135]]
    # of 1.5 pixels each: (0 + 30 / 2) / 1.5, (30 / 2 + 60) / 1.5, ...
    assert shrink(picture, (4, 1)).tolist() == [[10, 50, 100, 140]]


@pytest.mark.parametrize(("short_side", "interpolation"), [(100, cv2.INTER_AREA), (300, cv2.INTER_LINEAR)])
def test_smaller_by_areas_and_larger_by_lines(short_side, interpolation):
    picture = np.random.default_rng(6).integers(0, 256, (240, 320, 3), np.uint8)
    size = round(320 * short_side / 240), short_side
    resized = resize_picture(picture, short_side=short_side)
    np.testing.assert_array_equal(resized, cv2.resize(picture, size, interpolation=interpolation))
