from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest

from c3dhash.config import EncodeConfig
from c3dhash.errors import UsageError
from c3dhash.evaluation.class_report import claim_predictions, describe_confused, write_class_report, write_predictions
from c3dhash.evaluation.evaluate_classes import ClassReport, class_numbers, evaluate_classes
from c3dhash.files import MARKER
from c3dhash.video.clips import ClipReader


@pytest.fixture(scope="module")
def several_labels(motion):
    """A report of one video with two labels and one with none."""
    samples = motion.split("query")[:2]
    labels = np.array([[True, True, False], [False, False, False]])
    scores = np.array([[2.0, 1.0, -3.0], [-1.0, 0.5, -2.0]])
    probabilities = 1 / (1 + np.exp(-scores))
    numbers = class_numbers(scores, probabilities, labels, classes=motion.classes)
    return ClassReport(numbers, motion.classes, motion, samples, labels, scores, probabilities, "several labels")


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_report_of_a_run(untrained_run, motion, no_cache, tmp_path):
    report = evaluate_classes(
        untrained_run, motion, reader=ClipReader(4, 16, no_cache), encode=EncodeConfig(precision="fp32", device="cpu")
    )
    page = write_class_report(report, tmp_path / "report")
    folder = page.parent
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "report.json", "predictions.csv", "confusion_matrix.png", "reliability.png", MARKER,
    }  # fmt: skip
    assert json.loads((folder / "report.json").read_text()) == report.numbers
    rows = read(folder / "predictions.csv")
    assert [row["video"] for row in rows] == [
        str(sample.video.relative_to(motion.directory)) for sample in motion.split("query")
    ]
    assert np.mean([row["label"] == row["prediction"] for row in rows]) == pytest.approx(report.numbers["accuracy@1"])
    for row, probabilities in zip(rows, report.probabilities, strict=True):
        scores = [float(row[name]) for name in ("score", "score2", "score3")]
        assert scores == pytest.approx(sorted(probabilities, reverse=True), abs=1e-6)
        assert sum(scores) == pytest.approx(1, abs=1e-5)
        assert {row["prediction"], row["prediction2"], row["prediction3"]} == set(motion.classes)
    for name in ("confusion_matrix.png", "reliability.png"):
        assert cv2.imread(str(folder / name)).std() > 5, "something is drawn"
    text = page.read_text()
    num_mistakes = sum(row["label"] != row["prediction"] for row in rows)
    assert num_mistakes and text.count("data:image/jpeg;base64,") == num_mistakes
    assert text.count("data:image/png;base64,") == 2
    for pair in report.numbers["most_confused"]:
        assert f"<td>{pair['label']}</td><td>{pair['prediction']}</td>" in text
    write_class_report(report, folder)  # an earlier report is replaced


def test_several_labels_a_video(several_labels, tmp_path):
    page = write_class_report(several_labels, tmp_path / "report")
    names = {path.name for path in page.parent.iterdir()}
    assert names == {"report.html", "report.json", "predictions.csv", MARKER}
    first, second = read(page.parent / "predictions.csv")
    assert (first["label"], second["label"]) == ("move_down|move_sideways", "")
    assert (first["prediction"], second["prediction"]) == ("move_down", "move_sideways")
    text = page.read_text()
    assert "Thresholds" in text and "Average precision of each class" in text
    assert "not defined" in text, "move_up does not occur"
    assert describe_confused(several_labels.numbers) == []
    assert text.count("<figure") == 1, "the second video's first class is not among its labels"


def test_names_that_are_not_utf_8_keep_their_bytes(several_labels, tmp_path, motion):
    import dataclasses

    odd = tmp_path / b"caf\xe9 <b>, 1.mp4".decode("utf-8", "surrogateescape")
    sample = dataclasses.replace(several_labels.samples[0], video=odd)
    report = dataclasses.replace(
        several_labels, samples=[sample, several_labels.samples[1]],
        dataset=dataclasses.replace(motion, directory=tmp_path),
    )  # fmt: skip
    write_predictions(report, tmp_path / "predictions.csv")
    assert b'\n"caf\xe9 <b>, 1.mp4",' in (tmp_path / "predictions.csv").read_bytes()
    page = write_class_report(report, tmp_path / "report")
    assert "<b>, 1" not in page.read_text()


def test_a_file_of_the_user_stays(several_labels, tmp_path):
    own = tmp_path / "notes.csv"
    own.write_text("video,note\na.mp4,mine\n")
    with pytest.raises(UsageError, match=r"notes.csv' is not a file of predictions and stays as it is"):
        write_predictions(several_labels, own)
    assert own.read_text().endswith("mine\n")
    with pytest.raises(UsageError, match=r"there is no folder '.*gone'"):
        claim_predictions(tmp_path / "gone" / "a.csv")
    with pytest.raises(UsageError, match="is not a file of predictions"):
        claim_predictions(tmp_path)
    write_predictions(several_labels, tmp_path / "new.csv")
    before = (tmp_path / "new.csv").read_bytes()
    write_predictions(several_labels, tmp_path / "new.csv")
    assert (tmp_path / "new.csv").read_bytes() == before
