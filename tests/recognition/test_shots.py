"""Which frames shots are cut from, when they come, and what is in memory."""

from __future__ import annotations

import numpy as np
import pytest

from c3dhash.recognition.shots import Shot, cut_shots
from c3dhash.video.playback import Frame


def frames(num_frames=10, *, first=0.0, seconds=0.1):
    """Frames whose pixels are their number, modulo 256."""
    for number in range(num_frames):
        start = first + number * seconds
        yield Frame(np.full((4, 6, 3), number % 256, np.uint8), start, start + seconds)


def whole(picture, seconds):
    return picture


def seen(shots, source):
    return [(place, clip[:, 0, 0, 0].tolist()) for place, clip in cut_shots(source, shots)]


def test_each_time_sees_what_is_shown_then():
    shots = [Shot(np.array([0.05, 0.1, 0.19, 0.35]), whole), Shot(np.array([0.0, 0.25]), whole)]
    assert seen(shots, frames()) == [(1, [0, 2]), (0, [0, 1, 1, 3])], "as they are whole"


def test_a_shot_cuts_at_its_own_times():
    asked = []

    def cut(picture, seconds):
        asked.append(seconds)
        return picture[:2, :3]

    ((place, clip),) = cut_shots(frames(), [Shot(np.array([0.11, 0.12, 0.5]), cut)])
    assert place == 0 and clip.shape == (3, 2, 3, 3) and asked == [0.11, 0.12, 0.5]


def test_before_the_first_frame_and_after_the_last():
    late = list(frames(3, first=1.0))
    assert seen([Shot(np.array([-1.0, 0.5, 1.15]), whole)], late) == [(0, [0, 0, 1])]
    assert seen([Shot(np.array([1.15, 9.0]), whole), Shot(np.array([8.0, 9.0]), whole)], late) == [
        (0, [1, 2]), (1, [2, 2])
    ]  # fmt: skip


def test_no_more_frames_are_read_than_are_needed():
    source = frames(100)
    assert seen([Shot(np.array([0.05, 0.15]), whole)], source) == [(0, [0, 1])]
    assert next(source).picture[0, 0, 0] == 2


def test_what_is_over_is_let_go():
    """A thousand shots one after the other hold no more than two clips."""
    shots = [Shot(np.array([number / 10, number / 10 + 0.15]), whole) for number in range(1000)]
    most = 0
    for _ in cut_shots(frames(1002), shots):
        most = max(most, sum(len(shot.parts) for shot in shots))
    assert most <= 4


def test_a_video_that_fails_half_way():
    def failing():
        yield from frames(2)
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        list(cut_shots(failing(), [Shot(np.array([0.05, 0.5]), whole)]))
