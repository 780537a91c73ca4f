from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c3dhash.video.clip_plan import Unsuited
from c3dhash.video.timeline import Run, Timeline


def timeline(pts: list[int], keys: list[int], *, hidden: tuple[int, ...] = (), tick_seconds: float = 0.04) -> Timeline:
    places = range(len(pts))
    is_key, is_hidden = [i in keys for i in places], [i in hidden for i in places]
    return Timeline(pts, is_key, is_hidden, tick_seconds=tick_seconds, frame_seconds=0.04)


# As in the drawing of the module: I0 P3 B1 B2 | I6 B4 B5 P9 B7 B8
DRAWN = [10, 13, 11, 12, 16, 14, 15, 19, 17, 18]


def test_times_and_places_by_hand() -> None:
    line = timeline(DRAWN, [0, 4])
    np.testing.assert_allclose(line.times, np.arange(10) * 0.04, atol=1e-12)
    assert line.positions == [0, 2, 3, 1, 5, 6, 4, 8, 9, 7]
    assert line.is_reordered
    assert line.has_passed(0.36)
    assert not line.has_passed(0.37)
    assert not timeline([0, 1, 2], [0]).is_reordered


def test_runs_begin_at_the_key_frame_that_is_needed() -> None:
    line = timeline(DRAWN, [0, 4])
    assert line.runs([9]) == [Run(4, 7, {9})]  # P9: from I6
    assert line.runs([5]) == [Run(0, 6, {5})]  # B5 is shown before I6, and made from P3 too
    assert line.runs([0, 6]) == [Run(0, 0, {0}), Run(4, 4, {6})]  # what lies between is not decoded
    assert line.runs([0, 2, 6]) == [Run(0, 4, {0, 2, 6})]  # nothing lies between


def test_what_is_due_of_a_run() -> None:
    line = timeline(DRAWN, [0, 4])
    assert line.due(Run(0, 9, {2}), only_anchors=True) == [0, 2, 3, 6, 9]
    assert line.due(Run(0, 3, {2}), only_anchors=False) == [0, 1, 2, 3]
    assert line.due(Run(4, 9, {9}), only_anchors=False) == [6, 7, 8, 9]  # B4 and B5 may come or not


def test_hidden_frames_are_decoded_and_not_shown() -> None:
    line = timeline(DRAWN, [0, 4], hidden=(0, 2))
    np.testing.assert_allclose(line.times, np.arange(8) * 0.04, atol=1e-12)
    assert line.runs([0]) == [Run(0, 3, {0})]  # frame 2 of the file
    assert line.due(Run(0, 3, {0}), only_anchors=True) == [0, 1]


def test_a_gap_may_last_hours() -> None:
    pts, is_key = [5, 7, 6, 200_007, 200_010, 200_008], [True, False, False, True, False, False]
    line = Timeline(pts, is_key, [False] * 6, tick_seconds=0.04, frame_seconds=0.04, gap=3)
    np.testing.assert_allclose(line.times, np.array([0, 1, 2, 200_002, 200_003, 200_005]) * 0.04, atol=1e-9)
    assert line.runs([0, 4]) == [Run(0, 0, {0}), Run(3, 5, {4})]


@pytest.mark.parametrize(
    ("pts", "keys", "hidden", "reason"),
    [
        ([], [], (), "does not begin with a key frame"),
        ([0, 1], [1], (), "does not begin with a key frame"),
        ([0, 1], [0], (0, 1), "does not begin with a key frame"),
        ([0, 1, 1], [0], (), "two frames have the same time"),
        ([*range(40), *range(-20, 0)], [0], (), "its times leap"),
        ([0, 1, 100_000], [0], (), "its clock jumps"),  # more than an hour of 0.04 s
    ],
)
def test_times_that_make_no_sense(pts: list[int], keys: list[int], hidden: tuple[int, ...], reason: str) -> None:
    with pytest.raises(Unsuited, match=reason):
        timeline(pts, keys, hidden=hidden)


def test_a_frame_before_the_first_key_frame() -> None:
    with pytest.raises(Unsuited, match="frame 0 needs frames that are not there"):
        timeline([2, 0, 1, 3], [0]).runs([0])


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Groups of a key frame, then anchors with B-frames behind them; those after a key frame may come before it."""
    pts, keys, shown = [], [], 0
    for _ in range(draw(st.integers(1, 6))):
        for number in range(draw(st.integers(1, 4))):
            num_between = draw(st.integers(0, 3)) if pts else 0
            if number == 0:
                keys.append(len(pts))
            pts += [shown + num_between, *range(shown, shown + num_between)]
            shown += num_between + 1
    return pts, keys


@given(orders(), st.data())
def test_runs_hold_all_that_is_needed_and_overlap_nowhere(
    order: tuple[list[int], list[int]], data: st.DataObject
) -> None:
    pts, keys = order
    line = timeline(pts, keys)
    indices = sorted(data.draw(st.sets(st.integers(0, len(pts) - 1), min_size=1)))
    runs = line.runs(indices)
    assert sorted(index for run in runs for index in run.asked) == indices
    assert all(before.end < after.start for before, after in pairwise(runs))
    for run in runs:
        assert run.start in keys
        assert run.end == max(pts.index(index) for index in run.asked)
        for index in run.asked:
            # Oracle: back to a key frame that is not shown after it.
            position = pts.index(index)
            while position not in keys or pts[position] > index:
                position -= 1
            assert run.start <= position
            assert pts[run.start] <= index
        assert run.asked <= set(line.due(run, only_anchors=True)) <= set(line.due(run, only_anchors=False))
