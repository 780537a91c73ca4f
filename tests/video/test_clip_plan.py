from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c3dhash.errors import UsageError, VideoError
from c3dhash.records import Segment
from c3dhash.video.clip_plan import LOOK_SECONDS, Plan, clips_from, final_segments


@given(st.floats(0.01, 100), st.floats(0.01, 20), st.floats(0.01, 30), st.integers(1, 64))
def test_windows_cover_the_video(end: float, window: float, stride: float, num_frames: int) -> None:
    segments = Plan(num_frames, None, window, stride).segments(end)
    assert segments[0].start_seconds == 0
    lengths = [segment.end_seconds - segment.start_seconds for segment in segments]
    np.testing.assert_allclose(lengths, min(end, window), rtol=1e-6)
    steps = np.diff([segment.start_seconds for segment in segments])
    assert (steps > 0).all()
    assert (steps <= stride * (1 + 1e-6)).all() or stride > window
    assert segments[-1].end_seconds <= end + 1e-5
    if stride <= window:
        assert end - segments[-1].end_seconds < window / num_frames + 1e-5


def test_shown_is_the_last_frame_that_has_begun() -> None:
    """Four centres of 1 s: 0.125, 0.375, 0.625, 0.875."""
    (clip,) = Plan(4).clips([Segment(0, 1)])
    assert clip.shown([0, 0.1, 0.375, 0.6, 0.63, 0.9]) == [1, 2, 3, 4]


def dense(num_frames: int, length: float, *, fps: float = 25, clips: int | None = None) -> list[list[int]]:
    """Return the frames of the dense clips of a video of 25 fps, with the interval of `fps`."""
    plan = Plan(num_frames, interval_seconds=1 / fps, clips_per_window=clips)
    times = [index / 25 for index in range(round(length * 25))]
    return [clip.shown(times) for clip in plan.clips(plan.segments(length))]


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        # of 7 places to begin at, the middle one
        (dense(4, 10 / 25, clips=1), [[3, 4, 5, 6]]),
        (dense(4, 11 / 25, clips=1), [[4, 5, 6, 7]]),
        # the middles of their thirds, 7 / 3 * (0.5, 1.5, 2.5)
        (dense(4, 10 / 25, clips=3), [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8]]),
        # two places for three clips: what would be the same is one
        (dense(4, 5 / 25, clips=3), [[0, 1, 2, 3], [1, 2, 3, 4]]),
        # no room; too short, so that the frames are spread
        (dense(4, 4 / 25, clips=3), [[0, 1, 2, 3]]),
        (dense(4, 2 / 25, clips=3), [[0, 0, 1, 1]]),
        (dense(4, 1 / 25), [[0, 0, 0, 0]]),
        # every second frame, and each frame twice
        (dense(4, 10 / 25, fps=12.5, clips=1), [[2, 4, 6, 8]]),
        (dense(4, 10 / 25, fps=50, clips=1), [[4, 4, 5, 5]]),
        # by default one clip for every two that would fit: 0.32 s are two, 0.36 s more; three at most
        (dense(4, 8 / 25), [[2, 3, 4, 5]]),
        (dense(4, 9 / 25), [[1, 2, 3, 4], [4, 5, 6, 7]]),
        (dense(4, 1.0), [[3, 4, 5, 6], [11, 12, 13, 14], [18, 19, 20, 21]]),
    ],
)
def test_dense_clips(planned: list[list[int]], expected: list[list[int]]) -> None:
    assert planned == expected


@given(st.floats(0, 50), st.floats(0.01, 20), st.integers(1, 64), st.floats(0.004, 0.6), st.none() | st.integers(1, 9))
def test_dense_clips_stay_in_their_window(
    start: float, length: float, num_frames: int, interval: float, clips: int | None
) -> None:
    segment = Segment(start, start + length)
    planned = Plan(num_frames, interval_seconds=interval, clips_per_window=clips).clips([segment])
    assert 1 <= len(planned) <= (clips or 3)
    for clip in planned:
        assert clip.segment == segment
        assert clip.targets.shape == (num_frames,)
        assert segment.start_seconds < clip.targets[0]
        assert clip.targets[-1] < segment.end_seconds + 1e-6
        steps = np.diff(clip.targets)
        if length >= num_frames * interval:
            np.testing.assert_allclose(steps, interval)
        assert (steps >= 0).all()
    first = np.array([clip.targets[0] for clip in planned])
    assert (np.diff(first) > 0).all()
    if len(planned) > 1:  # evenly, to an interval
        assert np.ptp(np.diff(first)) < 2 * interval + 1e-6


@pytest.mark.parametrize("fps", [24, 25, 30, 50, 60])
@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_a_clock_rounded_to_milliseconds_does_not_move_dense_clips(fps: int, step: int) -> None:
    """As Matroska has it: 30 fps are 0, 33, 67, 100 ms."""
    plan = Plan(8, None, 3.0, 3.0, interval_seconds=step / fps)
    times = [round(index / fps, 3) for index in range(fps * 10)]
    for clip in plan.clips(plan.segments(10.0)[:3]):
        assert set(np.diff(clip.shown(times))) == {step}


def test_a_dense_clip_looks_behind_the_beginning_of_its_frames() -> None:
    (clip,) = Plan(3, interval_seconds=0.25, clips_per_window=1).clips([Segment(2.0, 2.75)])
    np.testing.assert_allclose(clip.targets - LOOK_SECONDS, [2, 2.25, 2.5])


def stacks(num_frames: int, stack: int, num_available: int, *, phase: float = 0.5, fps: float = 25) -> list[list[int]]:
    """Return the frames of the stacks of a video."""
    plan = Plan(num_frames, stack=stack, phase=phase)
    (clip,) = plan.clips(plan.segments(num_available / fps))
    shown = clip.shown([index / fps for index in range(num_available)])
    return [shown[place : place + stack] for place in range(0, num_frames * stack, stack)]


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        # of 7 places to begin at, floor(7 / 3 * (0.5, 1.5, 2.5))
        (stacks(3, 4, 10), [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8]]),
        (stacks(3, 4, 10, phase=0.0), [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]),
        (stacks(3, 4, 10, phase=0.999), [[2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]),
        (stacks(1, 6, 30, fps=29.97), [[12, 13, 14, 15, 16, 17]]),
        # one place; no room: the last frame again
        (stacks(2, 4, 4), [[0, 1, 2, 3]] * 2),
        (stacks(2, 4, 3), [[0, 1, 2, 2]] * 2),
        (stacks(1, 3, 1), [[0, 0, 0]]),
    ],
)
def test_stacks(planned: list[list[int]], expected: list[list[int]]) -> None:
    assert planned == expected


@given(st.integers(1, 9), st.integers(2, 7), st.integers(1, 200), st.floats(0, 0.999))
def test_stacks_are_frames_that_follow_each_other(num_frames: int, stack: int, available: int, phase: float) -> None:
    """Their places are those of the authors of TSN, and the flows of a folder are in the same stacks."""
    found = stacks(num_frames, stack, available, phase=phase)
    firsts = [first for first, *_ in found]
    assert all(each == [min(first + place, available - 1) for place in range(stack)] for first, each in
               zip(firsts, found, strict=True))  # fmt: skip
    room = max(1, available - stack + 1)
    assert all(abs(first - (place + phase) * room / num_frames) < 1.001 for place, first in enumerate(firsts))
    assert firsts == sorted(firsts) and max(firsts) < room
    if available > stack > 2:  # the last of a folder's times is where the last frame begins
        plan = Plan(num_frames, stack=stack - 1, phase=phase)
        (clip,) = plan.clips(plan.segments((available - 1) / 25))
        assert clip.shown([index / 25 for index in range(available - 1)])[:: stack - 1] == firsts


@given(st.integers(1, 9), st.integers(2, 7), st.integers(8, 200), st.floats(0, 0.999))
def test_stacks_are_expected_where_they_are_found(num_frames: int, stack: int, available: int, phase: float) -> None:
    """What the header of a video promises is what its times tell, but for a place at the edge of a frame."""
    plan = Plan(num_frames, stack=stack, phase=phase)
    (clip,) = plan.clips(plan.segments(available / 25))
    shown = np.array(clip.shown([index / 25 for index in range(available)]))
    into = clip.expected(1 / 25) * 25 - shown  # frames
    assert (into > -1e-3).all() and (into < 1 + 1e-3).all()


def test_stacks_stay_in_their_segment() -> None:
    """It shows frames 10, which begins before it does, to 15; stacks begin with 10 to 13, which is until 0.56 s."""
    plan = Plan(2, stack=3, segment=Segment(0.41, 0.64))
    (clip,) = plan.clips(plan.segments(1.6))
    times = [index / 25 for index in range(40)]
    assert clip.shown(times) == clip.shown(times[:16]) == [11, 12, 13, 13, 14, 15]  # looked for at 0.4475 and 0.5225 s
    assert clip.since_seconds == 0.41


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stack": 0}, r"stack \(0\) must be 1, or more"),
        (
            {"stack": 3, "interval_seconds": 0.1},
            r"stack \(3\) must be 1, or more where interval_seconds \(0\.1\) is None",
        ),
        ({"interval_seconds": 0.0}, r"interval_seconds \(0\.0\) must be above 0, or None to spread frames"),
        ({"interval_seconds": 0.1, "clips_per_window": 0}, r"clips_per_window \(0\) must be at least 1"),
        ({"clips_per_window": 3}, r"clips_per_window \(3\) must be 1 for a network whose frames are spread"),
    ],
)
def test_plans_that_cannot_be(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan(4, **options)


@pytest.mark.parametrize(("phase", "expected"), [(0.0, [0, 1, 3, 4]), (0.5, [1, 2, 4, 5]), (0.3, [0, 2, 3, 5])])
def test_a_phase_moves_all_frames_together(phase: float, expected: list[int]) -> None:
    """Frames begin at 0, 0.1, 0.3, 0.5, 0.625, 0.8; a phase of 0.5 looks at 0.125, 0.375, 0.625, 0.875."""
    times = [0, 0.1, 0.3, 0.5, 0.625, 0.8]
    (clip,) = Plan(4, phase=phase).clips([Segment(0, 1)])
    assert clip.shown(times) == expected


@pytest.mark.parametrize("phase", [-0.1, 1.0, float("nan")])
def test_a_phase_out_of_range(phase: float) -> None:
    with pytest.raises(UsageError, match=rf"phase \({phase}\) must be at least 0 and below 1"):
        Plan(4, phase=phase)


def pictures(*indices: int):
    return ((index, np.full((2, 2, 3), index, np.uint8)) for index in indices)


def test_clips_come_as_soon_as_their_last_picture() -> None:
    """Windows of 1 s, two frames of each, at 2 frames a second: the centres show every frame."""
    plan, times = Plan(2, None, 1.0, 1.0), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    taken: list[int] = []
    source = (taken.append(index) or (index, picture) for index, picture in pictures(*range(6)))
    clips = clips_from(source, planned=plan.clips(plan.segments(3.0)), times=times)
    assert next(clips).frames[:, 0, 0, 0].tolist() == [0, 1]
    assert taken == [0, 1]  # no picture was taken ahead
    assert [clip.frames[:, 0, 0, 0].tolist() for clip in clips] == [[2, 3], [4, 5]]
    assert taken == [0, 1, 2, 3, 4, 5]


def test_clips_end_where_a_picture_is_left_out() -> None:
    plan, times = Plan(2, None, 1.0, 1.0), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    clips = clips_from(pictures(0, 1, 3, 4, 5), planned=plan.clips(plan.segments(3.0)), times=times)
    assert [clip.frames[:, 0, 0, 0].tolist() for clip in clips] == [[0, 1]]


def test_clips_that_overlap_share_their_pictures() -> None:
    plan, times = Plan(2, None, 1.0, 0.5), [0.0, 0.5, 1.0, 1.5]
    clips = list(clips_from(pictures(0, 1, 2, 3), planned=plan.clips(plan.segments(2.0)), times=times))
    assert [clip.frames[:, 0, 0, 0].tolist() for clip in clips] == [[0, 1], [1, 2], [2, 3]]
    assert [clip.pts_seconds.tolist() for clip in clips] == [[0, 0.5], [0.5, 1], [1, 1.5]]


def test_clips_end_where_the_pictures_do() -> None:
    plan, times = Plan(2, None, 1.0, 1.0), [0.0, 0.5, 1.0, 1.5]
    assert len(list(clips_from(pictures(0, 1, 2), planned=plan.clips(plan.segments(2.0)), times=times))) == 1


def test_the_segment_of_a_plan_is_cut_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    plan = Plan(2, segment=Segment(1, 3))
    assert final_segments(plan, Path("a.mp4"), 2.0) == [Segment(1, 2)]
    assert "a.mp4': Segment(start_seconds=1, end_seconds=3) is cut at the end, 2.00 s" in caplog.text
    with pytest.raises(VideoError, match=r"a\.mp4' lasts 0\.50 s, but a segment begins at 1\.00 s"):
        final_segments(plan, Path("a.mp4"), 0.5)
