"""Bars that are burnt into pictures of blocks, and what is dark at the border and is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from videos import numbered_frame, write_frames

from c3dhash.video.bars import BarFinder, find_inside
from c3dhash.video.reader import read_clip

HEIGHT, WIDTH = 120, 160
PICTURE = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)


def with_bars(picture: np.ndarray, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> np.ndarray:
    return cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT)


def noisy(picture: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Black that a sensor, studio levels or a codec have lifted: 8 on average, up to 29."""
    noise = np.random.default_rng(seed).normal(8, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def subtitled(picture: np.ndarray, *, row: int) -> np.ndarray:
    return cv2.putText(picture.copy(), "I am back", (30, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)


@pytest.mark.parametrize(
    ("bars", "inside"),
    [
        ((0, 0, 0, 0), (0, 120, 0, 160)),
        ((20, 20, 0, 0), (21, 139, 0, 160)),
        ((0, 0, 30, 30), (0, 120, 31, 189)),
        ((20, 20, 30, 30), (21, 139, 31, 189)),
        ((20, 22, 0, 0), (21, 139, 0, 160)),  # codecs want even numbers
        ((20, 0, 0, 0), (0, 140, 0, 160)),  # one alone is none
        ((20, 40, 0, 0), (0, 180, 0, 160)),
        ((1, 1, 1, 1), (0, 122, 0, 162)),  # too thin to matter
        ((200, 200, 0, 0), (0, 520, 0, 160)),  # next to nothing is left
    ],
)
@pytest.mark.parametrize("change", [lambda picture: picture, noisy])
def test_bars_by_hand(bars, inside, change):
    """One more line is cut at each side: where a picture was resized, it is half a bar."""
    frames = np.stack([change(with_bars(PICTURE, *bars))] * 3)
    assert find_inside(frames) == inside
    assert find_inside(frames).cut(frames).shape == (3, inside[1] - inside[0], inside[3] - inside[2], 3)


def test_a_narrow_picture_between_four_bars():
    """Of the whole width it is 0.27, less than an edge; its upper and lower bars show when those beside it are cut."""
    frame = with_bars(PICTURE[:, :40], 20, 20, 55, 55)
    assert find_inside(frame[None]) == (21, 139, 56, 94)


def test_something_is_written_into_one_of_the_bars():
    frame = with_bars(PICTURE, 40, 40)
    assert find_inside(subtitled(frame, row=188)[None]) == (41, 159, 0, 160)
    assert find_inside(subtitled(frame, row=25)[None]) == (41, 159, 0, 160)
    assert find_inside(subtitled(subtitled(frame, row=188), row=25)[None]) == (0, 200, 0, 160)  # who knows
    assert find_inside(subtitled(frame, row=165)[None]) == (0, 200, 0, 160)  # over the edge
    wide, filled = frame.copy(), frame.copy()
    wide[175:190, 10:100] = filled[175:190, 5:155] = 255
    assert find_inside(wide[None]) == (41, 159, 0, 160)
    assert find_inside(filled[None]) == (0, 200, 0, 160)


def test_what_is_dark_by_itself_is_no_bar():
    night = np.zeros((1, 200, 160, 3), np.uint8)
    night[0, 80:] = 90  # a black sky
    assert find_inside(night) == (0, 200, 0, 160)
    vignette = np.zeros((1, 200, 160, 3), np.uint8)
    light = np.minimum(np.arange(200), np.arange(200)[::-1])
    vignette[0] = np.where(light[:, None] > 30 + np.arange(160) / 2, 90, 0)[..., None]  # no line all at once
    assert find_inside(vignette) == (0, 200, 0, 160)
    assert find_inside(np.zeros((2, 200, 160, 3), np.uint8)) == (0, 200, 0, 160)
    lamp = np.zeros((1, 200, 160, 3), np.uint8)
    lamp[0, 60:140, 70:90] = 200  # a small thing in the dark: a tenth of the width
    assert find_inside(lamp)[2:] == (0, 160)


def test_a_bar_is_black_in_every_frame():
    frames = np.stack([with_bars(PICTURE, 20, 20)] * 4)
    frames[2] = 90
    assert find_inside(frames) == (0, 160, 0, 160)


def test_bars_hold_on_through_a_dark_scene_and_not_through_a_light_one():
    finder, bright = BarFinder(), np.stack([with_bars(PICTURE, 20, 20)] * 20)
    assert finder.inside(bright) == (21, 139, 0, 160)
    assert finder.inside(bright // 10) == (21, 139, 0, 160)
    assert BarFinder().inside(bright // 10) == (0, 160, 0, 160)
    full = np.full_like(bright, 90)
    assert finder.inside(full) == (0, 160, 0, 160)
    assert finder.inside(bright // 10) == (0, 160, 0, 160)


@pytest.mark.parametrize("short_side", [None, 100])
def test_bars_behind_a_codec(tmp_path, short_side):
    """mp4v at its default quality; the edges are found to a few pixels, on the side of the picture."""
    shown = [with_bars(numbered_frame(1023 * (number % 2)), 16, 16, 20, 20) for number in range(8)]
    frames = read_clip(write_frames(tmp_path / "a.mp4", shown), num_frames=8, short_side=short_side).frames
    scale = frames.shape[1] / 128
    error = np.array(find_inside(frames)) - np.array([16, 112, 20, 180]) * scale
    assert np.all(np.abs(error) <= 3)
    assert np.all(error * (1, -1, 1, -1) >= 0)
