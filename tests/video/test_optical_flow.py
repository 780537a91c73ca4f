from __future__ import annotations

import cv2
import numpy as np
import pytest

from c3dhash.errors import MissingExtraError, UsageError
from c3dhash.video.isolation import DecoderPool
from c3dhash.video.optical_flow import METHODS, flow_picture, grey, make_flow, stacked, stored_flow
from c3dhash.video.reader import read_clips
from c3dhash.video.transforms import center_clip
from c3dhash.video.views import read_views


def texture(*, right: int = 0, down: int = 0) -> np.ndarray:
    """A random picture, 96 x 128, moved by whole pixels."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 70), np.uint8)
    whole = cv2.resize(coarse, (280, 240), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(whole[60 - down : 156 - down, 60 - right : 188 - right])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("right, down", [(4, 0), (0, 3), (-5, 2), (0, 0)])
def test_a_known_motion_is_found(method, right, down):
    flow = make_flow(method)(texture(), texture(right=right, down=down))
    assert flow.shape == (96, 128, 2) and flow.dtype == np.float32
    middle = np.median(flow[20:-20, 20:-20], axis=(0, 1))
    assert middle == pytest.approx([right, down], abs=0.3)


def test_flow_is_cut_off_and_stored_in_a_byte():
    flow = np.array([-30, -20, -10, 0, 10, 20, 30, 20 / 127.5])[:, None].repeat(2, axis=1)
    # (x + 20) / 40 * 255, to the nearest; 127.5 up
    assert stored_flow(flow)[:, 0].tolist() == [0, 0, 64, 128, 191, 255, 255, 129]


def test_directions_have_colours():
    speeds = {"right": (5, 0), "down": (0, 5), "left": (-5, 0), "up": (0, -5), "still": (0, 0)}
    drawn = {name: flow_picture(stored_flow(np.full((1, 1, 2), speed, float)))[0, 0] for name, speed in speeds.items()}
    red, green, blue = drawn["right"]
    assert red > 240 and green < 40 and blue < 40
    assert drawn["left"][0] < 40 and drawn["left"][1:].min() > 230, "cyan"
    assert drawn["down"][1] > 240 > drawn["down"][0] > drawn["down"][2], "yellow-green"
    assert drawn["up"][2] > 240 > drawn["up"][0] > drawn["up"][1], "violet"
    assert drawn["still"].max() < 10
    slow = flow_picture(stored_flow(np.full((1, 1, 2), (2, 0), float)))[0, 0]
    assert slow[0] < red


def test_other_names_and_what_is_not_there(monkeypatch):
    with pytest.raises(UsageError, match=r"method \('flownet'\) must be one of dis, farneback, tvl1"):
        make_flow("flownet")
    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(MissingExtraError, match=r"method \('tvl1'\) is in OpenCV's contributed part"):
        make_flow("tvl1")


def test_flows_of_a_stack_lie_behind_each_other():
    """Two stacks of three flows of one pixel: x y of the first, then of the second, then of the third."""
    flows = np.arange(12, dtype=np.uint8).reshape(6, 1, 1, 2)
    assert stacked(flows, stack=3)[:, 0, 0].tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert np.array_equal(stacked(flows, stack=1), flows)
    both = stacked(np.stack([flows, flows + 20]), stack=2)
    assert both.shape == (2, 3, 1, 1, 4) and both[1, 2, 0, 0].tolist() == [28, 29, 30, 31]


@pytest.fixture
def moving(tmp_path):
    """A texture that moves by 3 px to the right with each of 30 frames."""
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (128, 96))
    for number in range(30):
        writer.write(cv2.cvtColor(texture(right=number * 3 - 40 if number * 3 < 100 else 60), cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def test_clips_of_flow_are_made_of_one_frame_more(moving):
    options = {"num_frames": 4, "short_side": 96, "interval_seconds": 0.04, "clips_per_window": 1}
    with DecoderPool() as pool:
        ((segment, (view, mirrored)),) = pool.stream(
            read_views, moving, size=64, num_views=2, channels="flow", **options
        )
    assert view.shape == (4, 64, 64, 2) and view.dtype == np.uint8
    (clip,) = read_clips(moving, **{**options, "num_frames": 5})
    compute = make_flow("dis")
    expected = stored_flow(compute(grey(clip.frames[1]), grey(clip.frames[2])))
    assert np.median(view[1], axis=(0, 1)).tolist() == np.median(expected, axis=(0, 1)).tolist()
    assert np.median(view[..., 0]) == pytest.approx(128 + 3 * 255 / 40, abs=2)
    assert np.median(view[..., 1]) == pytest.approx(128, abs=2)
    assert np.median(mirrored[..., 0]) == pytest.approx(255 - 128 - 3 * 255 / 40, abs=2), "to the left in a mirror"
    assert segment == clip.segment


@pytest.fixture
def speeding(tmp_path):
    """A texture that moves to the right by 1 px, then 2, 3, ... 9 px, and 1 px down each time; lossless enough."""
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (128, 96))
    for number in range(10):
        right = number * (number + 1) // 2  # 0 1 3 6 10 ...
        writer.write(cv2.cvtColor(texture(right=right, down=number), cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def test_a_stack_is_the_flow_between_frames_that_follow_each_other(speeding):
    """Of 10 frames, 2 stacks of 3 flows: 7 places for 4 frames, which begin at frame 1 and 5."""
    options = {"num_frames": 2, "stack": 3, "short_side": 96}
    with DecoderPool() as pool:
        ((_, (view,)),) = pool.stream(read_views, speeding, size=84, num_views=1, channels="flow", **options)
    assert view.shape == (2, 84, 84, 6) and view.dtype == np.uint8
    (every,) = read_clips(speeding, num_frames=10, short_side=96)
    compute = make_flow("dis")
    for place, first in enumerate((1, 5)):
        for number in range(3):
            before, after = every.frames[first + number : first + number + 2]
            expected = stored_flow(compute(grey(before), grey(after)))
            found = view[place, ..., 2 * number : 2 * number + 2]
            assert np.array_equal(found, center_clip(expected[None], size=84)[0])
            pixels = (np.median(found, axis=(0, 1)) - 127.5) / 127.5 * 20
            assert pixels == pytest.approx([first + number + 1, 1], abs=0.4), "right and down, faster each time"
