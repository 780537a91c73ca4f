from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from c3dhash.report.plots import (
    plot_confusion,
    plot_curves,
    plot_precision_recall,
    plot_reliability,
    plot_timeline,
)


def test_curves_have_a_panel_for_each_subject_there_is(tmp_path: Path) -> None:
    few = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
    many = [{**row, "val_mAP": 0.1, "active_share": 0.5} for row in few]
    sizes = []
    for name, history in (("few.png", few), ("many.png", many)):
        plot_curves(history, tmp_path / name)
        picture = cv2.imread(str(tmp_path / name))
        assert picture.std() > 5  # something is drawn
        sizes.append(picture.shape[1])
    assert sizes[1] == 3 * sizes[0]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["few.png", "many.png"]


def test_precision_over_recall_is_drawn(tmp_path: Path) -> None:
    for name, precision in (("a.png", [1.0, 0.5]), ("b.png", [0.2, 0.1])):
        plot_precision_recall(np.array([0.1, 1.0]), np.array(precision), tmp_path / name)
    assert not np.array_equal(cv2.imread(str(tmp_path / "a.png")), cv2.imread(str(tmp_path / "b.png")))


def test_a_confusion_matrix_grows_with_its_classes(tmp_path: Path) -> None:
    sizes = []
    for num_classes in (3, 30, 200):
        path = tmp_path / f"{num_classes}.png"
        plot_confusion(np.eye(num_classes, dtype=int), [f"class {n}" for n in range(num_classes)], path)
        picture = cv2.imread(str(path))
        assert picture.std() > 2
        sizes.append(picture.shape[0])
    assert sizes[0] < sizes[1] < sizes[2] < 3000


def test_where_a_class_was_taken_for_another_is_drawn(tmp_path: Path) -> None:
    for name, confusion in (("a.png", [[2, 0], [0, 2]]), ("b.png", [[0, 2], [2, 0]])):
        plot_confusion(np.array(confusion), ["walk", "run"], tmp_path / name)
    assert not np.array_equal(cv2.imread(str(tmp_path / "a.png")), cv2.imread(str(tmp_path / "b.png")))


def test_reliability_with_empty_bins(tmp_path: Path) -> None:
    plot_reliability(np.array([0, 3]), np.array([np.nan, 0.5]), np.array([np.nan, 0.8]), tmp_path / "r.png")
    assert cv2.imread(str(tmp_path / "r.png")).std() > 5


def test_a_timeline_is_drawn(tmp_path: Path) -> None:
    for name, values in (("a.png", [[0.9], [0.1]]), ("b.png", [[0.1], [0.9]])):
        plot_timeline(np.array([0, 60, 90.5]), np.array(values), ["прыжок"], tmp_path / name)
    assert not np.array_equal(cv2.imread(str(tmp_path / "a.png")), cv2.imread(str(tmp_path / "b.png")))
