from __future__ import annotations

import csv
import dataclasses
import json
import logging

import cv2
import numpy as np
import pytest

from c3dhash.config import EncodeConfig
from c3dhash.errors import UsageError
from c3dhash.evaluation.class_report import describe_confused, write_class_report, write_predictions
from c3dhash.evaluation.codes import Codes
from c3dhash.evaluation.evaluate import evaluate_codes, write_report
from c3dhash.evaluation.evaluate_classes import ClassReport, class_numbers, evaluate_classes
from c3dhash.files import MARKER, mark
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


def test_names_that_are_not_utf_8_keep_their_bytes(several_labels, tmp_path, motion, monkeypatch):
    # what it logs has the name as it is, which pytest-xdist cannot carry
    monkeypatch.setattr(logging.getLogger("c3dhash.report.pages"), "disabled", True)
    odd = tmp_path / b"caf\xe9 <b>, 1.mp4".decode("utf-8", "surrogateescape")
    sample = dataclasses.replace(several_labels.samples[0], video=odd)
    report = dataclasses.replace(
        several_labels, samples=[sample, several_labels.samples[1]],
        dataset=dataclasses.replace(motion, directory=tmp_path),
    )  # fmt: skip
    write_predictions(report, tmp_path / "predictions.csv")
    assert b'\n"caf\xe9 <b>, 1.mp4",' in (tmp_path / "predictions.csv").read_bytes()
    wrong = dataclasses.replace(report, labels=~report.labels)  # so that the page names it
    page = write_class_report(wrong, tmp_path / "report")
    assert "caf\\udce9 &lt;b&gt;, 1.mp4" in page.read_text()


def test_a_file_of_the_user_stays(several_labels, tmp_path):
    own = tmp_path / "notes.csv"
    own.write_text("video,label,prediction,score\nmine\n")
    with pytest.raises(UsageError, match=r"notes\.csv' is there already and stays as it is"):
        write_predictions(several_labels, own)
    assert own.read_text().endswith("mine\n")
    with pytest.raises(UsageError, match=r"there is no folder '.*gone'"):
        write_predictions(several_labels, tmp_path / "gone" / "a.csv")


def test_a_report_of_another_kind_goes_and_what_the_user_put_there_stays(several_labels, tmp_path):
    codes = Codes(np.eye(8, 2, dtype=np.uint8), np.arange(8), np.eye(2, dtype=np.uint8), np.arange(2), hash_length=16)
    folder = tmp_path / "report"
    write_report(evaluate_codes(codes), folder)
    assert (folder / "codes.npz").exists()
    write_class_report(several_labels, folder)
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.json", "predictions.csv", MARKER}
    write_report(evaluate_codes(codes), folder)
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "report.json", "codes.npz", "precision_recall.png", MARKER,
    }  # fmt: skip
    # a folder of an earlier version, whose mark has no names: others in it are the user's
    mark(folder, made_by="evaluate")
    (folder / "confusion_matrix.png").write_text("mine")
    before = (folder / "report.json").read_bytes()
    with pytest.raises(UsageError, match=r"did not write \(confusion_matrix\.png\)"):
        write_class_report(several_labels, folder)
    assert (folder / "confusion_matrix.png").read_text() == "mine"
    assert (folder / "report.json").read_bytes() == before


def test_odd_names_of_classes_are_drawn(motion, tmp_path):
    """Mathematics of Matplotlib, names that it hides, and those that the report has itself."""
    classes = ("a$^$b", "_hidden", "accuracy")
    samples, labels = motion.split("query")[:3], np.array([0, 1, 2])
    scores = np.eye(3)[[1, 1, 0]] * 4
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    numbers = class_numbers(scores, probabilities, labels, classes=classes)
    assert set(numbers["report"]) == {
        "a$^$b", "_hidden", "accuracy (class)", "accuracy", "macro avg", "weighted avg",
    }  # fmt: skip
    assert numbers["report"]["accuracy"] == pytest.approx(1 / 3)
    report = ClassReport(numbers, classes, motion, samples, labels, scores, probabilities, "odd")
    page = write_class_report(report, tmp_path / "report")
    assert "1 of 1" in page.read_text()
