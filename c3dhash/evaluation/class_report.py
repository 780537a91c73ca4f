"""What `evaluate --task classify` writes and prints: rows, predictions.csv, plots, an HTML page."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.evaluation.classification import calibration, describe_classes, neighbour_order
from c3dhash.evaluation.evaluate import claim_report, describe, drop_earlier
from c3dhash.evaluation.evaluate_classes import ClassReport
from c3dhash.files import replacing, write_text
from c3dhash.models.scores import ranked_columns
from c3dhash.report.pages import film_strip, picture, write_classes_page
from c3dhash.report.plots import plot_confusion, plot_reliability

NUM_MISTAKES = 24  # on the page
NUM_SHOWN = 5  # classes with their scores in a row of predictions.csv


def describe_numbers(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """Turn the single numbers of a report into rows for people: (name, value)."""
    return describe({name: value for name, value in numbers.items() if not isinstance(value, (dict, list))})


def describe_runs(numbers: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and the rows of the table of runs that were fused."""
    (metric,) = (name for name in ("accuracy@1", "class_mAP") if name in numbers)
    rows = [(row["run"], f"{row['weight']:g}", f"{row[metric]:.4f}") for row in numbers["runs"]]
    return ("run", "weight", metric), [*rows, ("fused", "", f"{numbers[metric]:.4f}")]


def describe_confused(numbers: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the classes that are confused most: (class, what it was taken for, how often of how many)."""
    return [
        (pair["label"], pair["prediction"], f"{pair['count']} of {pair['support']}")
        for pair in numbers.get("most_confused", [])
    ]


def describe_thresholds(numbers: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and the rows of the table of thresholds."""
    rows = numbers["thresholds"]
    return tuple(rows[0]), [(f"{row['threshold']:.1f}", *(f"{value:.3f}" for value in list(row.values())[1:]))
                            for row in rows]  # fmt: skip


def describe_class_ap(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the average precision of each class, where a video may have several."""
    return [(name, "not defined" if value is None else f"{value:.3f}")
            for name, value in numbers.get("class_AP", {}).items()]  # fmt: skip


def write_predictions(report: ClassReport, path: Path) -> None:
    """Write a line a video: its path in the data set, label, prediction and score, and the next classes with theirs.

    Several labels are joined by |. Names are written with the bytes they have on the disk.

    Raises:
        UsageError: something is there.
    """
    _write_csv(report, path, must_be_free=True)


def _write_csv(report: ClassReport, path: Path, *, must_be_free: bool) -> None:
    shown = min(NUM_SHOWN, len(report.classes))
    with (
        replacing(path, must_be_free=must_be_free) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["video", "label", *ranked_columns(shown)])
        orders = np.argsort(-report.scores, axis=1, kind="stable")[:, :shown]
        for sample, label, best, row in zip(report.samples, report.labels, orders, report.probabilities, strict=True):
            ranked = [value for place in best for value in (report.classes[int(place)], f"{row[place]:.6f}")]
            name = os.path.relpath(sample.video, report.dataset.directory)
            writer.writerow([name, "|".join(_names(label, report.classes)), *ranked])


def _names(label: Any, classes: Sequence[str]) -> list[str]:
    """Return the names of a video's labels, an int or bool [num_classes]."""
    if np.ndim(label):
        return [classes[place] for place in np.flatnonzero(label).tolist()]
    return [classes[label]] if label >= 0 else []


def write_class_report(report: ClassReport, directory: Path) -> Path:
    """Write report.json, predictions.csv, plots and report.html; return the path of the page.

    Raises:
        UsageError: as of `claim_report`.
    """
    claim_report(directory)
    write_text(directory / "report.json", json.dumps(report.numbers, indent=2) + "\n")
    _write_csv(report, directory / "predictions.csv", must_be_free=False)
    written = ["report.json", "predictions.csv", "report.html"]
    confusion, reliability = None, None
    if report.labels.ndim == 1:
        _plot_confusion(report, directory / "confusion_matrix.png")
        is_known = report.labels >= 0
        bins = calibration(report.probabilities[is_known], report.labels[is_known])
        plot_reliability(bins.count, bins.accuracy, bins.confidence, directory / "reliability.png")
        written += ["confusion_matrix.png", "reliability.png"]
        confusion, reliability = (picture(directory / f"{name}.png") for name in ("confusion_matrix", "reliability"))
    page = directory / "report.html"
    write_classes_page(
        page,
        title=report.title,
        protocol=f"Recognition of {len(report.samples)} query videos.",
        numbers=describe_numbers(report.numbers),
        classes=describe_classes(report.numbers["report"]),
        class_ap=describe_class_ap(report.numbers),
        thresholds=describe_thresholds(report.numbers) if "thresholds" in report.numbers else None,
        confused=describe_confused(report.numbers),
        confusion=confusion,
        reliability=reliability,
        mistakes=_mistakes(report),
    )
    drop_earlier(directory, written=written)
    return page


def _plot_confusion(report: ClassReport, path: Path) -> None:
    """Draw the classes that occur or are predicted, those that are taken for each other side by side."""
    confusion = np.array(report.numbers["confusion_matrix"])
    shown = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
    order = shown[neighbour_order(confusion[np.ix_(shown, shown)])]
    plot_confusion(confusion[np.ix_(order, order)], [report.classes[place] for place in order], path)


def _mistakes(report: ClassReport) -> list[dict[str, Any]]:
    """Return the videos that are wrong though the network was surest, the surest first."""
    best = report.scores.argmax(axis=1)
    sure = report.probabilities[np.arange(len(best)), best]
    if report.labels.ndim == 2:
        is_wrong = ~report.labels[np.arange(len(best)), best]
    else:
        is_wrong = (best != report.labels) & (report.labels >= 0)
    order = np.argsort(-sure, kind="stable")
    chosen = [int(place) for place in order if is_wrong[place]][:NUM_MISTAKES]
    return [
        {
            "video": os.path.relpath(report.samples[place].video, report.dataset.directory),
            "label": ", ".join(_names(report.labels[place], report.classes)) or "no label",
            "prediction": report.classes[best[place]],
            "score": float(sure[place]),
            "label_score": _label_score(report, place),
            "strip": film_strip(report.samples[place]),
        }
        for place in chosen
    ]


def _label_score(report: ClassReport, place: int) -> float | None:
    """Return the probability that a video's own class had; None where it has several, or none."""
    label = report.labels[place]
    return None if np.ndim(label) else float(report.probabilities[place, label])
