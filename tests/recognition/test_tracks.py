"""Boxes -> tracks: by hand, by slow loops, and on people who walk, hide and cross."""

from __future__ import annotations

import numpy as np
import pytest

from c3dhash.recognition.tracks import GAP_SECONDS, Linker, Track, best_pairs, common_areas, overlaps, smoothed

STEP = 0.25


def box(x, y=50, wide=20, high=60):
    return [x, y, x + wide, y + high]


def link(pictures, *, scores=None, end_seconds=100.0, **options):
    """Link the boxes of pictures a step apart; None is a picture without any."""
    linker = Linker(**{"step_seconds": STEP, "begin_score": 0.5, "smooth": False, **options})
    for number, boxes in enumerate(pictures):
        found = np.array(boxes, float).reshape(-1, 4)
        linker.add(number * STEP, found, np.array(scores[number] if scores else [1.0] * len(found), float))
    return linker.tracks(end_seconds=end_seconds)


def test_overlaps_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    boxes, others = (np.hstack([c := rng.integers(0, 20, (n, 2)), c + rng.integers(1, 15, (n, 2))]) for n in (7, 5))
    for place, first in enumerate(boxes):
        for number, second in enumerate(others):
            pixels = [
                {(x, y) for x in range(each[0], each[2]) for y in range(each[1], each[3])} for each in (first, second)
            ]
            assert common_areas(boxes, others)[place, number] == len(pixels[0] & pixels[1])
            share = len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])
            assert overlaps(boxes, others)[place, number] == pytest.approx(share)


def test_the_best_pairs_come_first():
    # row 0 overlaps column 1 most, but column 1 belongs to row 1 still more
    assert best_pairs(np.array([[0.4, 0.6], [0.1, 0.8]])).tolist() == [[1, 1], [0, 0]]
    assert best_pairs(np.array([[0.29]])).tolist() == []
    assert best_pairs(np.zeros((0, 3))).shape == (0, 2)


def test_two_people_who_stand():
    first, second = link([[box(10), box(200)]] * 2 + [[box(200), box(10)]] * 2)
    assert [track.number for track in (first, second)] == [1, 2]
    assert (first.boxes == box(10)).all() and (second.boxes == box(200)).all()
    assert first.seconds.tolist() == [0, 0.25, 0.5, 0.75]
    assert (first.start_seconds, first.end_seconds) == (0, 1.0), "the last box stands for a step"


def test_somebody_who_walks_faster_than_a_box_is_wide():
    """From the third picture on the boxes overlap nothing but where they are expected."""
    (track,) = link([[box(x)] for x in (0, 8, 24, 48, 72, 96, 120)])
    assert track.boxes[:, 0].tolist() == [0, 8, 24, 48, 72, 96, 120]


def test_two_who_cross_keep_their_ways():
    ways = [(x, 200 - x) for x in range(0, 201, 10)]
    pictures = [[box(left, wide=30), box(right, y=60, wide=30)] for left, right in ways]
    first, second = link(pictures)
    assert first.boxes[:, 0].tolist() == [left for left, _ in ways]
    assert second.boxes[:, 0].tolist() == [right for _, right in ways]


@pytest.mark.parametrize("step", [STEP, None])
@pytest.mark.parametrize("num_hidden, num_tracks", [(0, 1), (3, 1), (4, 2)])
def test_a_gap_is_bridged_up_to_a_second(num_hidden, num_tracks, step):
    tracks = link([[box(10)]] * 3 + [[]] * num_hidden + [[box(10)]] * 3, step_seconds=step)
    assert len(tracks) == num_tracks
    assert (num_hidden + 1) * STEP <= GAP_SECONDS or num_tracks == 2
    assert [track.number for track in tracks] == list(range(1, num_tracks + 1))


def test_within_a_gap_the_box_moves_on():
    (track,) = link([[box(0)], [box(10)], [], [box(30)]])
    assert track.at(0.5).tolist() == box(20)
    assert track.at(-1).tolist() == box(0) and track.at(9).tolist() == box(30)
    assert [track.shows(seconds) for seconds in (0, 0.99, 1.0)] == [True, True, False]


def test_unsure_boxes_go_on_and_begin_nothing():
    pictures = [[box(10), box(200)]] * 4
    (track,) = link(pictures, scores=[[0.9, 0.3], [0.2, 0.3], [0.2, 0.3], [0.9, 0.3]])
    assert (track.boxes == box(10)).all() and len(track.boxes) == 4


def test_what_shows_twice_is_nobody():
    assert link([[box(10)]] * 2 + [[]]) == []
    assert len(link([[box(10)]] * 2 + [[]], min_boxes=1)) == 1
    assert len(link([[box(10)]] * 2)) == 1, "there are no more pictures"


def test_pictures_that_are_far_apart():
    """Of a slow video, or a slide show: each picture goes on from the one before; one without them is the end."""
    linker = Linker(begin_score=0.5)
    for seconds, there in ((0, 1), (3, 1), (9, 1), (12, 0), (15, 1), (18, 1), (19, 1)):
        linker.add(seconds, np.array([box(10)] * there, float), np.ones(there))
    first, second = linker.tracks(end_seconds=25)
    assert first.seconds.tolist() == [0, 3, 9] and first.end_seconds == 12, "up to the next picture"
    assert second.seconds.tolist() == [15, 18, 19] and second.end_seconds == 25, "or the end of the video"


def test_boxes_that_are_given_have_gaps_without_pictures():
    linker = Linker(step_seconds=3, begin_score=0.5, min_boxes=1)
    for seconds in (0, 3, 6, 12, 15):
        linker.add(seconds, np.array([box(10)], float), np.ones(1))
    first, second = linker.tracks(end_seconds=20)
    assert first.seconds.tolist() == [0, 3, 6] and first.end_seconds == 9
    assert second.seconds.tolist() == [12, 15] and second.end_seconds == 18


def test_it_ends_with_the_video():
    (track,) = link([[box(10)]] * 3, end_seconds=0.6)
    assert track.end_seconds == 0.6


def test_boxes_that_tremble_are_averaged():
    boxes = np.array([box(10), box(14), box(10), box(14)], float)
    assert smoothed(np.arange(4), boxes)[:, 0].tolist() == [10, 12, 12, 14]
    assert (smoothed(np.arange(2), boxes[:2]) == boxes[:2]).all()
    (track,) = link([[each] for each in boxes], smooth=True)
    assert track.boxes[:, 0].tolist() == [10, 12, 12, 14]


def test_who_moves_evenly_stays_where_they_are_also_beside_a_gap():
    times = np.array([0, 0.25, 0.5, 1.5, 1.75, 2])
    boxes = np.array([box(100 * time) for time in times], float)
    assert smoothed(times, boxes) == pytest.approx(boxes)


def test_the_name_is_the_id():
    assert Track(3, np.zeros(1), np.zeros((1, 4)), 1.0).id == "3"
    assert Track(3, np.zeros(1), np.zeros((1, 4)), 1.0, "ann").id == "ann"


def test_between_boxes_all_sides_move():
    track = Track(1, np.array([1.0, 2.0]), np.array([[0, 0, 10, 20], [10, 4, 30, 20]], float), 2.25)
    assert track.at(1.5).tolist() == [5, 2, 20, 20]
