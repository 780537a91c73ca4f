"""What counts as nothing: measured after a codec, beside the darkest scene that is something."""

from __future__ import annotations

import numpy as np
import pytest
from videos import black_frames, numbered_frame, write_frames

from c3dhash.video.bars import BarFinder
from c3dhash.video.flat import is_flat
from c3dhash.video.isolation import DecoderPool
from c3dhash.video.reader import find_videos, read_clip, read_clips
from c3dhash.video.views import read_views

SIZE = {"width_px": 320, "height_px": 240}


def one_colour(colour: tuple[int, int, int], *, noise: float, seed: int = 0) -> list[np.ndarray]:
    """Frames of a colour behind a sensor whose noise has this deviation."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(0, noise, (6, 240, 320, 3)) + colour
    return list(np.clip(np.round(frames), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (10, 40, 200)])
def test_one_colour_is_flat_behind_a_sensor_and_a_codec(tmp_path, colour, suffix):
    path = write_frames(tmp_path / f"a.{suffix}", one_colour(colour, noise=8))
    frames = read_clip(path, num_frames=6, short_side=256).frames
    assert frames.std() > 1  # the codec left some of the noise
    assert is_flat(frames)


def test_a_dark_scene_is_not_flat(tmp_path):
    """The parts of a picture at a thirtieth of its brightness differ by 8 of 255."""
    dark = [numbered_frame(number, **SIZE) // 30 for number in range(6)]
    assert not is_flat(read_clip(write_frames(tmp_path / "a.mp4", dark), num_frames=6, short_side=256).frames)


def test_by_hand():
    """A ramp of n levels from left to right has parts that differ by 7 / 8 of it."""
    ramp = np.zeros((1, 64, 64, 3), np.uint8)
    ramp[..., 2] = 100 + np.arange(64) * 4 // 64
    assert is_flat(ramp)
    ramp[..., 2] = 100 + np.arange(64) * 6 // 64
    assert not is_flat(ramp)
    assert not is_flat(np.concatenate([np.zeros_like(ramp), ramp]))  # one frame that shows something is enough
    dot = np.zeros((1, 256, 341, 3), np.uint8)
    dot[0, 100:103, 200:203] = 255
    assert not is_flat(dot)


def test_a_flat_clip_has_no_view(tmp_path):
    """Of three windows of a second the one in the middle is black; and so for bars around white."""
    shown = [numbered_frame(number) for number in range(25)]
    path = write_frames(tmp_path / "a.mp4", [*shown, *black_frames(25), *shown])
    options = {"num_frames": 4, "window_seconds": 1.0, "short_side": 48, "size": 35, "num_views": 2}
    found = [len(views) for _, views in read_views(path, **options, skip_flat=True)]
    assert found == [2, 0, 2]
    with DecoderPool() as pool:
        assert [len(views) for _, views in pool.stream(read_views, path, **options)] == [2, 2, 2]
    white = np.zeros((96, 160, 3), np.uint8)
    white[20:76] = 255
    path = write_frames(tmp_path / "white.mp4", [white] * 25)
    assert [len(views) for _, views in read_views(path, **options, skip_flat=True)] == [0]


@pytest.mark.realdata
def test_the_darkest_real_scenes_are_not_flat(real_data):
    """The clips whose parts differ least, of 724, at an eighth of their brightness."""
    for name in ("run/TrumanShow_run_f_nm_np1_le_med_11.avi", "walk/AmericanGangster_walk_f_nm_np1_ba_med_72.avi"):
        (clip,) = read_clips(real_data / "jhmdb" / name, num_frames=8, short_side=256)
        assert not is_flat(clip.frames // 8)


@pytest.mark.realdata
def test_no_real_clip_is_flat_or_has_bars(real_data):
    for path in find_videos(real_data / "jhmdb")[::12]:
        (clip,) = read_clips(path, num_frames=8, short_side=128)
        assert not is_flat(clip.frames)
        assert BarFinder().inside(clip.frames) == (0, clip.frames.shape[1], 0, clip.frames.shape[2])
