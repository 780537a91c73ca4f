"""Files of boxes: both forms, what is wrong with them, and AVA's form written."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from c3dhash.errors import UsageError, VideoError
from c3dhash.recognition.boxes import BoxFile, as_ava
from c3dhash.recognition.over_time import Answer
from c3dhash.recognition.results import Person, Recognition
from c3dhash.recognition.timeline import FirstClasses
from c3dhash.recognition.tracks import Track

VIDEO, WHOLE = Path("db/a.mp4"), {"size_px": (200, 100), "end_seconds": 10.0}


def tracks_of(tmp_path, text, video=VIDEO, **options):
    path = tmp_path / "boxes.csv"
    path.write_text(text, encoding="utf-8")
    return BoxFile(path).tracks(video, **{**WHOLE, **options})


def test_pixels_below_their_names(tmp_path):
    text = "\ufeffseconds, x0, y0, x1, y1, score\n1,10,20,60,90,0.5\n\n1.5,12,20,62,90,1\n1.5,150,0,190,80,1\n"
    first, second = tracks_of(tmp_path, text)
    assert first.seconds.tolist() == [1, 1.5] and first.boxes.tolist() == [[10, 20, 60, 90], [12, 20, 62, 90]]
    assert second.boxes.tolist() == [[150, 0, 190, 80]]
    assert second.end_seconds == 2.0, "the last box stands for a step"


def test_columns_in_any_order_and_people_by_their_ids(tmp_path):
    text = "id,x0,y0,x1,y1,seconds\na,0,0,9,9,0\nb,50,0,59,9,0\na,50,0,59,9,0.5\nb,0,0,9,9,0.5\n"
    first, second = tracks_of(tmp_path, text)
    assert first.boxes[:, 0].tolist() == [0, 50] and second.boxes[:, 0].tolist() == [50, 0]
    assert (first.id, second.id) == ("a", "b")


def test_the_ids_are_those_of_the_file_whoever_comes_first(tmp_path):
    text = "seconds,x0,y0,x1,y1,id\n1,0,0,9,9,0\n0,50,0,59,9,1\n1,50,0,59,9,1\n"
    assert [(track.number, track.id, track.start_seconds) for track in tracks_of(tmp_path, text)] == [
        (1, "1", 0.0), (2, "0", 1.0)
    ]  # fmt: skip


def test_an_id_that_is_gone_for_long_is_there_twice(tmp_path):
    rows = [f"{seconds},0,0,20,20,a" for seconds in (0, 0.5, 1, 8, 8.5)]
    first, second = tracks_of(tmp_path, "\n".join(["seconds,x0,y0,x1,y1,id", *rows]))
    assert (first.id, first.start_seconds, first.end_seconds) == ("a", 0, 1.5)
    assert (second.id, second.start_seconds, second.end_seconds) == ("a", 8, 9)


def test_many_boxes_take_no_time(tmp_path):
    """An hour of two people, four times a second."""
    rows = [f"{step / 4},{x},0,{x + 20},20" for step in range(14400) for x in (0, 100)]
    first, second = tracks_of(tmp_path, "\n".join(["seconds,x0,y0,x1,y1", *rows]), end_seconds=3600)
    assert len(first.seconds) == len(second.seconds) == 14400


def test_shares_as_ava_has_them(tmp_path):
    lines = [
        "a,0902,0.1,0.2,0.5,0.9,12,0", "a,0902,0.1,0.2,0.5,0.9,17,0",  # two actions of the same person
        "b,0902,0,0,1,1,12,1", "a,0903,0.1,0.2,0.55,0.9,12,0", "a,0903,0.6,0.2,0.95,0.9,12,3",
    ]  # fmt: skip
    first, second = tracks_of(tmp_path, "\n".join(lines), end_seconds=2000)
    assert first.seconds.tolist() == [902, 903]
    assert first.boxes == pytest.approx(np.array([[20, 20, 100, 90], [20, 20, 110, 90]]))
    assert second.boxes == pytest.approx(np.array([[120, 20, 190, 90]]))
    (other,) = tracks_of(tmp_path, "\n".join(lines), Path("b.mkv"), end_seconds=2000)
    assert other.boxes.tolist() == [[0, 0, 200, 100]]


def test_scores_of_results_are_no_ids(tmp_path):
    """The last of eight columns: with a point a score, and boxes are linked."""
    (track,) = tracks_of(tmp_path, "a,1,0.1,0.2,0.5,0.9,12,0.71\na,1.5,0.1,0.2,0.5,0.9,12,0.64\n")
    assert len(track.seconds) == 2
    lines = ["a,1,0.1,0.2,0.5,0.9,12,1", "a,1,0.6,0.2,0.9,0.9,12,1"]  # both are sure
    assert len(tracks_of(tmp_path, "\n".join(lines))) == 2
    (track,) = tracks_of(tmp_path, "a,1,0.1,0.2,0.5,0.9\na,1.5,0.1,0.2,0.5,0.9\n")
    assert len(track.seconds) == 2


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "holds no box"),
        ("seconds,x0,y0,x1,y1\n", "holds no box"),
        ("video,seconds,x0,y0,x1,y1\na,1,0.1,0.2,0.5,0.9\n", "has the columns video,seconds,x0,y0,x1,y1; boxes are"),
        ("seconds,x0,y0,x1,y1,person\n1,10,20,60,90,a\n", "has the columns .*person"),
        ("seconds,x0,x0,y0,x1,y1\n1,10,10,20,60,90\n", "has the columns"),
        ("seconds,x0,y0,x1,y1\n1,0.1,0.2,0.5,0.9\n", r"line 2 .* is no box: .*shares from 0 to 1"),
        ("seconds,x0,y0,x1,y1\n1,10,20,60,90,7\n", r"line 2 .* is no box"),
        ("seconds,x0,y0,x1,y1,id\n1,10,20,60,90,a\n1.5,10,20,60,90,\n", "the box at 1.5 s has no id"),
        ("seconds,x0,y0,x1,y1,id\n1,10,20,60,90,a\n1,110,20,160,90,a\n", "id a has 2 boxes at 1 s"),
        ("seconds,x0,y0,x1\n1,2,3,4\n", "has no column y1"),
        ("seconds,x0,y0,x1,y1\n1,10,20,60\n", r"line 2 \(1,10,20,60\) is no box"),
        ("seconds,x0,y0,x1,y1\n1,60,20,10,90\n", r"line 2 \(1,60,20,10,90\) is no box"),
        ("seconds,x0,y0,x1,y1\n1,10,20,nan,90\n", r"line 2 .* is no box"),
        ("a,1,10,20,60,90\n", r"line 1 .* shares from 0 to 1"),
        ("a,1,0.1,0.2,0.5\n", r"line 1 .* is no box"),
        ("b,1,0.1,0.2,0.5,0.9\n", "has none of 'a', but of 'b'"),
        ("seconds,x0,y0,x1,y1\n12,10,20,60,90\n", r"12 s is not in 'db/a.mp4', which lasts 10.00 s"),
        ("seconds,x0,y0,x1,y1\n-1,10,20,60,90\n", "-1 s is not in"),
        ("seconds,x0,y0,x1,y1\n1,300,20,360,90\n", "the box at 1 s, 300,20,360,90, lies outside of 'db/a.mp4', 200 x"),
    ],
)
def test_what_is_wrong(tmp_path, text, problem):
    with pytest.raises((UsageError, VideoError), match=problem):
        tracks_of(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"boxes '.*gone.csv' cannot be read: No such file"):
        BoxFile(tmp_path / "gone.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"boxes '.*bytes.csv' cannot be read"):
        BoxFile(tmp_path / "bytes.csv")


def test_what_is_written_can_be_read(tmp_path):
    """AVA's form: shares of the picture, classes from 1; and read again the same boxes."""
    classes = FirstClasses(("walk", "run", "sit"), num_kept=2)
    classes.add(Answer(1, 1.5, np.array([0.1, 0.7, 0.2])))
    classes.add(Answer(1.5, 2, np.array([0.6, 0.1, 0.3])))
    boxes = np.array([[20.0, 10, 60, 90], [-40, 10, 80, 90]])
    person = Person(Track(1, np.array([1.0, 1.5]), boxes, 2.0), (), (), classes)
    text = as_ava([Recognition(VIDEO, people=(person,), size_px=(200, 100))])
    assert [row[:2] + row[6:] for row in csv.reader(text.splitlines())] == [
        ["a", "1.000", "2", "0.7000"], ["a", "1.000", "3", "0.2000"],
        ["a", "1.500", "1", "0.6000"], ["a", "1.500", "3", "0.3000"],
    ]  # fmt: skip
    (track,) = tracks_of(tmp_path, text)
    assert track.seconds.tolist() == [1, 1.5]
    assert track.boxes == pytest.approx(np.maximum(boxes, 0)), "cut at the picture, as AVA's are"
