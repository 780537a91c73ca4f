from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c3dhash.errors import UsageError, VideoError
from c3dhash.records import Segment
from c3dhash.video.clip_plan import Plan, clips_from, final_segments


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
    assert Plan(4).shown(Segment(0, 1), [0, 0.1, 0.375, 0.6, 0.63, 0.9]) == [1, 2, 3, 4]


@pytest.mark.parametrize(("phase", "expected"), [(0.0, [0, 1, 3, 4]), (0.5, [1, 2, 4, 5]), (0.3, [0, 2, 3, 5])])
def test_a_phase_moves_all_frames_together(phase: float, expected: list[int]) -> None:
    """Frames begin at 0, 0.1, 0.3, 0.5, 0.625, 0.8; a phase of 0.5 looks at 0.125, 0.375, 0.625, 0.875."""
    times = [0, 0.1, 0.3, 0.5, 0.625, 0.8]
    assert Plan(4, phase=phase).shown(Segment(0, 1), times) == expected


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
    clips = clips_from(source, plan=plan, segments=plan.segments(3.0), times=times)
    assert next(clips).frames[:, 0, 0, 0].tolist() == [0, 1]
    assert taken == [0, 1]  # no picture was taken ahead
    assert [clip.frames[:, 0, 0, 0].tolist() for clip in clips] == [[2, 3], [4, 5]]
    assert taken == [0, 1, 2, 3, 4, 5]


def test_clips_end_where_a_picture_is_left_out() -> None:
    plan, times = Plan(2, None, 1.0, 1.0), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    clips = clips_from(pictures(0, 1, 3, 4, 5), plan=plan, segments=plan.segments(3.0), times=times)
    assert [clip.frames[:, 0, 0, 0].tolist() for clip in clips] == [[0, 1]]


def test_clips_that_overlap_share_their_pictures() -> None:
    plan, times = Plan(2, None, 1.0, 0.5), [0.0, 0.5, 1.0, 1.5]
    clips = list(clips_from(pictures(0, 1, 2, 3), plan=plan, segments=plan.segments(2.0), times=times))
    assert [clip.frames[:, 0, 0, 0].tolist() for clip in clips] == [[0, 1], [1, 2], [2, 3]]
    assert [clip.pts_seconds.tolist() for clip in clips] == [[0, 0.5], [0.5, 1], [1, 1.5]]


def test_clips_end_where_the_pictures_do() -> None:
    plan, times = Plan(2, None, 1.0, 1.0), [0.0, 0.5, 1.0, 1.5]
    assert len(list(clips_from(pictures(0, 1, 2), plan=plan, segments=plan.segments(2.0), times=times))) == 1


def test_the_segment_of_a_plan_is_cut_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    plan = Plan(2, segment=Segment(1, 3))
    assert final_segments(plan, Path("a.mp4"), 2.0) == [Segment(1, 2)]
    assert "a.mp4': Segment(start_seconds=1, end_seconds=3) is cut at the end, 2.00 s" in caplog.text
    with pytest.raises(VideoError, match=r"a\.mp4' lasts 0\.50 s, but a segment begins at 1\.00 s"):
        final_segments(plan, Path("a.mp4"), 0.5)
