from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c3dhash.errors import UsageError
from c3dhash.recognition.over_time import (
    ActionSegment,
    Answer,
    answers,
    as_subtitles,
    label_segments,
    segments,
    window_length,
)

LABELS = ("walk", "run", "jump")


def windows(*firsts: int, stride: float = 1.0, length: float = 2.0):
    """Windows that are sure of one class each."""
    return [(place * stride, place * stride + length, np.eye(3)[first]) for place, first in enumerate(firsts)]


def test_a_window_answers_around_its_middle():
    # middles at 1, 2 and 3 s: the answers change at 1.5 and 2.5 s, and reach from 0 to the end
    found = list(answers(windows(0, 1, 2)))
    assert [(answer.start_seconds, answer.end_seconds) for answer in found] == [(0, 1.5), (1.5, 2.5), (2.5, 4)]
    assert [int(answer.probabilities.argmax()) for answer in found] == [0, 1, 2]


def test_one_window_is_the_whole_video():
    (answer,) = answers(windows(2))
    assert (answer.start_seconds, answer.end_seconds) == (0, 2)
    assert list(answers([])) == []


def test_the_last_windows_are_averaged():
    found = list(answers(windows(0, 1, 1, 1), smooth=2))
    assert [answer.probabilities.tolist() for answer in found] == [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 1, 0]]
    # middles at 1, 2, 3 and 4 s; those of the means at 1, 1.5, 2.5 and 3.5 s; half-way between these lies a change
    assert [(answer.start_seconds, answer.end_seconds) for answer in found] == [
        (0, 1.25), (1.25, 2), (2, 3), (3, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("smooth", [1, 3, 5])
def test_a_change_is_seen_where_it_is(smooth):
    first, second = segments(answers(windows(*[0] * 10, *[1] * 10), smooth=smooth), LABELS)
    assert first.end_seconds == second.start_seconds == pytest.approx(10.5), "half-way between the middles at 10 and 11"


def test_smoothing_takes_a_flicker_away():
    flicker = windows(0, 0, 0, 1, 0, 0, 2, 2, 2, 2)
    assert [segment.label for segment in segments(answers(flicker), LABELS)] == ["walk", "run", "walk", "jump"]
    assert [segment.label for segment in segments(answers(flicker, smooth=3), LABELS)] == ["walk", "jump"]


def test_segments_have_the_mean_probability_over_time():
    # 0.9 for one second, 0.6 for three: (0.9 + 3 * 0.6) / 4
    found = [Answer(0, 1, np.array([0.9, 0.1])), Answer(1, 4, np.array([0.6, 0.4])), Answer(4, 5, np.array([0.2, 0.8]))]
    assert segments(found, LABELS) == [
        ActionSegment(0, 4, "walk", pytest.approx(0.675)), ActionSegment(4, 5, "run", pytest.approx(0.8)),
    ]  # fmt: skip
    assert segments([], LABELS) == []


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(1, 6))
def test_segments_cover_the_video_and_no_two_neighbours_are_the_same(firsts, smooth):
    found = segments(answers(windows(*firsts), smooth=smooth), LABELS)
    assert found[0].start_seconds == 0
    assert found[-1].end_seconds == len(firsts) + 1
    for before, after in itertools.pairwise(found):
        assert before.end_seconds == after.start_seconds
        assert before.label != after.label
    assert all(0 < segment.score <= 1 + 1e-9 for segment in found)


def test_the_default_window_is_as_long_as_a_clip():
    assert window_length(num_frames=32, interval_seconds=0.04) == pytest.approx(1.28)
    assert window_length(num_frames=16, interval_seconds=None) == 2


def test_subtitles_by_hand():
    found = [ActionSegment(0, 1.5, "walk\nslowly", 0.875), ActionSegment(1.5, 3723.0416, "springen – né", 1.0)]
    text = as_subtitles(found)
    assert text == (
        "1\n00:00:00,000 --> 00:00:01,500\nwalk slowly (88%)\n\n"
        "2\n00:00:01,500 --> 01:02:03,042\nspringen – né (100%)\n"
    )
    assert len(re.findall(r"(?m)^\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}$", text)) == 2
    assert as_subtitles([]) == ""


def test_smooth_below_one():
    with pytest.raises(UsageError, match=r"smooth \(0\) must be 1 or more windows"):
        list(answers(windows(0), smooth=0))


def test_several_classes_at_once():
    """Each class while it is likely: by hand; the mean is weighted by how long answers are."""
    found = [
        Answer(0, 1, np.array([0.9, 0.5, 0.1])),
        Answer(1, 3, np.array([0.6, 0.2, 0.1])),
        Answer(3, 4, np.array([0.4, 0.8, 0.1])),
    ]
    assert label_segments(found, LABELS) == [
        ActionSegment(0, 3, "walk", pytest.approx((0.9 + 2 * 0.6) / 3)),
        ActionSegment(0, 1, "run", 0.5),
        ActionSegment(3, 4, "run", 0.8),
    ]
    assert label_segments([], LABELS) == []
