from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from c3dhash.report.plots import plot_curves, plot_precision_recall


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
