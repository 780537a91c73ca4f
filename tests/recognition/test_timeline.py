from __future__ import annotations

import cv2
import numpy as np
import pytest

from c3dhash.recognition import timeline
from c3dhash.recognition.over_time import Answer
from c3dhash.recognition.timeline import FirstClasses, Timeline

LABELS = ("walk", "run", "jump")


def test_what_is_seen_when():
    classes = FirstClasses(LABELS)
    for start, end, probabilities in ((0, 1, [0.7, 0.2, 0.1]), (1, 1.5, [0.1, 0.1, 0.8])):
        classes.add(Answer(start, end, np.array(probabilities)))
    assert classes.at(0) == classes.at(0.99) == [("walk", 0.7)]
    assert classes.at(1.01) == [("jump", 0.8)]
    assert classes.at(99) == [("jump", 0.8)], "a last frame may reach beyond the last answer"


def test_a_long_video_is_kept_in_few_steps(monkeypatch):
    """Merged steps hold the mean over their time, whatever the number of answers."""
    monkeypatch.setattr(timeline, "MAX_COLUMNS", 4)
    rng = np.random.default_rng(0)
    ends = np.cumsum(rng.uniform(0.5, 2, 37))
    values = rng.dirichlet(np.ones(3), 37)
    kept = Timeline()
    for start, end, value in zip([0, *ends], ends, values, strict=False):
        kept.add(Answer(start, end, value))
    assert len(kept._values) < 8
    assert kept._edges[0] == 0 and kept._edges[-1] == ends[-1]
    assert len(kept._edges) == len(kept._values) + 1
    seconds = np.diff([0, *ends])
    whole = (np.stack(kept._values) * np.diff(kept._edges)[:, None]).sum(axis=0)
    assert whole == pytest.approx((values * seconds[:, None]).sum(axis=0), rel=1e-5)
    first = ends.searchsorted(kept._edges[1]) + 1  # answers in the first step
    assert kept._values[0] == pytest.approx(np.average(values[:first], axis=0, weights=seconds[:first]), rel=1e-5)


def test_a_plot_of_what_matters(tmp_path, monkeypatch):
    drawn = {}
    real = timeline.plot_timeline

    def spy(edges, probabilities, labels, path):
        drawn.update(edges=edges, labels=labels, probabilities=probabilities)
        real(edges, probabilities, labels, path)

    monkeypatch.setattr(timeline, "plot_timeline", spy)
    monkeypatch.setattr(timeline, "NUM_LINES", 2)
    kept = Timeline()
    for start, end, probabilities in ((0, 1, [0.5, 0.4, 0.1]), (1, 5, [0.1, 0.42, 0.48])):
        kept.add(Answer(start, end, np.array(probabilities)))
    kept.plot(LABELS, tmp_path / "t.png")
    assert drawn["labels"] == ["jump", "walk"], "first for 4 s and 1 s; run never, though likelier"
    assert drawn["edges"].tolist() == [0, 1, 5]
    assert drawn["probabilities"] == pytest.approx(np.array([[0.1, 0.5], [0.48, 0.1]]))
    assert cv2.imread(str(tmp_path / "t.png")).std() > 5
