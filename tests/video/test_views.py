"""What a network sees of a video, where there is more to it than clips: bars, flow, pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from videos import frame_number, numbered_frame, write_frames

from c3dhash.errors import VideoError
from c3dhash.video.optical_flow import BOUND_PX
from c3dhash.video.pictures import resize_picture
from c3dhash.video.reader import read_clips
from c3dhash.video.transforms import clip_views
from c3dhash.video.views import read_views

OPTIONS = {"num_frames": 4, "short_side": 64, "size": 56}


def letterboxed(frames: list[np.ndarray], *, rows: int = 32) -> list[np.ndarray]:
    return [cv2.copyMakeBorder(frame, rows, rows, 0, 0, cv2.BORDER_CONSTANT) for frame in frames]


def test_bars_are_cropped_where_it_is_asked_for(tmp_path):
    path = write_frames(tmp_path / "a.mp4", letterboxed([numbered_frame(number) for number in range(20)]))
    (clip,) = read_clips(path, num_frames=4, short_side=64)
    ((segment, (plain,)),) = read_views(path, num_views=1, **OPTIONS)
    assert np.array_equal(plain, clip_views(clip.frames, size=56, num_views=1)[0])
    ((same, views),) = read_views(path, num_views=4, crop_bars=True, **OPTIONS)
    assert same == segment
    inside = slice(14, 50)  # 160 x 160 px are 64 x 64; the bars of 32 px 12.8, and one is cut for good measure
    for view, expected in zip(views, clip_views(clip.frames[:, inside], size=56, num_views=4), strict=True):
        assert np.abs(view.astype(int) - expected).mean() < 6


def test_a_video_without_bars_is_seen_as_it_is(tmp_path):
    path = write_frames(tmp_path / "a.mp4", [numbered_frame(number) for number in range(20)])
    ((_, plain),) = read_views(path, num_views=2, **OPTIONS)
    ((_, cropped),) = read_views(path, num_views=2, crop_bars=True, skip_flat=True, **OPTIONS)
    assert all(np.array_equal(*pair) for pair in zip(plain, cropped, strict=True))


@pytest.fixture(scope="module")
def moving() -> list[np.ndarray]:
    """A texture of 160 x 160 px that moves 4 px to the right with each of ten frames."""
    rng = np.random.default_rng(0)
    large = cv2.resize(rng.integers(60, 255, (40, 60), np.uint8), (240, 160), interpolation=cv2.INTER_CUBIC)
    return [cv2.cvtColor(large[:, 60 - 4 * number :][:, :160], cv2.COLOR_GRAY2RGB) for number in range(10)]


def test_flow_is_told_in_the_pixels_that_it_has_without_bars(moving, tmp_path):
    """4 px of 160 are 1.6 of 64; with bars of 40 px around, decoded to a short side of 64, they are 1.07."""
    options = {**OPTIONS, "num_views": 1, "channels": "flow", "interval_seconds": 1 / 25, "clips_per_window": 1}
    bare = write_frames(tmp_path / "bare.avi", moving)
    framed = [cv2.copyMakeBorder(frame, 40, 40, 40, 40, cv2.BORDER_CONSTANT) for frame in moving]
    for video in (bare, write_frames(tmp_path / "framed.avi", framed)):
        ((_, (view,)),) = read_views(video, crop_bars=True, **options)
        assert (np.median(view[:, 20:36, 20:36, 0]) - 127.5) / 127.5 * BOUND_PX == pytest.approx(1.6, abs=0.2)


@pytest.mark.parametrize("stack", [1, 3])
def test_flow_in_which_nothing_moves_has_no_view(moving, tmp_path, stack):
    """A small thing that moves is something."""
    options = {**OPTIONS, "num_views": 1, "channels": "flow", "stack": stack, "skip_flat": True}
    held = write_frames(tmp_path / "held.avi", [moving[0]] * 10)
    assert [len(views) for _, views in read_views(held, **options)] == [0]
    assert [len(views) for _, views in read_views(held, **{**options, "skip_flat": False})] == [1]
    one = write_frames(tmp_path / "one.avi", moving[:1])
    assert [len(views) for _, views in read_views(one, **options)] == [0]
    assert [len(views) for _, views in read_views(write_frames(tmp_path / "a.avi", moving), **options)] == [1]
    small = [frame.copy() for frame in [moving[0]] * 10]
    for number, frame in enumerate(small):
        frame[80:84, 40 + number : 44 + number] = 0
    assert [len(views) for _, views in read_views(write_frames(tmp_path / "small.avi", small), **options)] == [1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp", "mp4"])
def test_a_still_picture_is_one_frame_repeated(tmp_path, suffix):
    """Whatever it is called: .mp4 here is a JPEG file."""
    path = tmp_path / f"a.{suffix}"
    _, content = cv2.imencode(".jpg" if suffix == "mp4" else f".{suffix}", numbered_frame(77)[..., ::-1])
    path.write_bytes(content.tobytes())
    ((segment, (view, mirrored)),) = read_views(path, num_views=2, take_stills=True, skip_flat=True, **OPTIONS)
    assert (segment.start_seconds, segment.end_seconds) == (0, 0.04)
    assert view.shape == (4, 56, 56, 3) and np.array_equal(mirrored, view[:, :, ::-1])
    assert all(np.array_equal(frame, view[0]) for frame in view)
    shown = np.stack([resize_picture(numbered_frame(77), short_side=64)] * 4)
    assert np.abs(view.astype(int) - clip_views(shown, size=56, num_views=1)[0]).mean() < 6
    with pytest.raises(VideoError, match=rf"a\.{suffix}' is a .* picture, not a video"):
        list(read_views(path, num_views=1, **OPTIONS))
    with pytest.raises(
        VideoError, match=rf"picture '.*a\.{suffix}' does not move, and this network reads optical flow"
    ):
        list(read_views(path, num_views=1, channels="flow", take_stills=True, **OPTIONS))


def test_a_mirrored_video(moving, tmp_path):
    """Behind the views; of two each is the other's; of flow what moves to the right moves to the left."""
    path = write_frames(tmp_path / "a.avi", moving)
    ((_, views),) = read_views(path, num_views=2, **OPTIONS)
    ((_, both),) = read_views(path, num_views=2, with_mirrored=True, **OPTIONS)
    assert len(both) == 4 and all(np.array_equal(both[place], views[place % 3 > 0]) for place in range(4))
    flow = {**OPTIONS, "num_views": 1, "channels": "flow", "interval_seconds": 1 / 25, "clips_per_window": 1}
    ((_, (right,)),) = read_views(path, **flow)
    ((_, (same, left)),) = read_views(path, with_mirrored=True, **flow)
    assert np.array_equal(same, right)
    assert np.median(right[..., 0]) > 135 and np.median(left[..., 0]) < 120
    assert np.array_equal(left[..., 0], 255 - right[:, :, ::-1, 0])
    assert np.array_equal(left[..., 1], right[:, :, ::-1, 1])


def test_pictures_that_move_and_those_that_are_damaged(tmp_path):
    """A GIF is a video; an animated PNG or WebP is none, and no still picture either."""
    pictures = [numbered_frame(number) for number in (3, 900)]
    animation = cv2.Animation()
    animation.frames, animation.durations = [frame[..., ::-1].copy() for frame in pictures], [40, 40]
    for name in ("a.png", "a.webp"):
        assert cv2.imwriteanimation(str(tmp_path / name), animation)
        with pytest.raises(VideoError, match=rf"{name}' is a \w+ picture, not a video"):
            list(read_views(tmp_path / name, num_views=1, take_stills=True, **OPTIONS))
    assert cv2.imwriteanimation(str(tmp_path / "a.gif"), animation)
    clips = list(read_clips(tmp_path / "a.gif", num_frames=2))
    assert [frame_number(frame) for frame in clips[0].frames] == [3, 900]
    views = list(read_views(tmp_path / "a.gif", num_views=1, take_stills=True, **OPTIONS))
    assert not np.array_equal(views[0][1][0][0], views[0][1][0][-1])
    _, content = cv2.imencode(".jpg", pictures[0])
    (tmp_path / "cut.jpg").write_bytes(content.tobytes()[:-200])
    with pytest.raises(
        VideoError, match=r"cut\.jpg' is damaged or no picture \(\d+ bytes\); make it again, or copy it"
    ):
        list(read_views(tmp_path / "cut.jpg", num_views=1, take_stills=True, **OPTIONS))
