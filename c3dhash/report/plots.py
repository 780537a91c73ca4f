"""Pictures of a training run and of an evaluation. Matplotlib is imported where a picture is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.files import replacing

# What stands in which panel of curves.png; a panel without any of its series is left out.
PANELS = {
    "Loss": ("loss", "triplet_loss", "center_loss", "class_loss", "val_class_loss"),
    "mAP and accuracy": ("val_mAP", "val_accuracy", "accuracy"),
    "Health of the codes (val)": ("val_share_near_zero", "val_mean_share_of_ones", "val_mean_abs_correlation"),
    "Share of active triplets": ("active_share",),
}

MAX_INCHES = 22  # of the side of a confusion matrix
MAX_NAMES, MAX_COUNTS = 150, 40  # classes up to which it has their names, and numbers in its cells


def plot_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Draw the metrics of every epoch into a PNG, one panel a subject; written under a temporary name."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    known = {name for row in history for name in row}
    panels = {title: [name for name in names if name in known] for title, names in PANELS.items()}
    if "class_loss" in known and not known & {"triplet_loss", "center_loss"}:  # then it is all of the loss
        panels["Loss"] = [name for name in panels["Loss"] if name != "loss"]
    panels = {title: names for title, names in panels.items() if names}
    # Places that are given, not found: a training draws this every few seconds, and it takes half as long.
    width = 4.2 * len(panels)
    figure = Figure(figsize=(width, 3.4))
    figure.subplots_adjust(left=0.55 / width, right=1 - 0.12 / width, bottom=0.15, top=0.9, wspace=0.2)
    for axes, (title, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name in names:
            label = "training accuracy" if name == "accuracy" else name.replace("_", " ")
            epochs = [number for number, row in enumerate(history, 1) if name in row]  # a refit counts on
            values = [row[name] for row in history if name in row]
            axes.plot(epochs, values, label=label, marker="." if len(epochs) < 30 else "")
        axes.set_title(title, fontsize=10, y=1)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        if title != "Loss":
            axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _save(figure, path)


def plot_precision_recall(recall: np.ndarray, precision: np.ndarray, path: Path) -> None:
    """Draw precision over recall, a point for each Hamming radius, into a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(recall, precision, marker=".", markersize=4)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.set_title("Precision and recall within each Hamming radius", fontsize=10)
    _save(figure, path)


def plot_confusion(confusion: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix into a PNG: the share of each true class (row) that was taken for each class (column).

    Args:
        confusion: int [num_classes, num_classes], in the order that is drawn.
    """
    from matplotlib.figure import Figure

    num_classes = len(classes)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.26 * num_classes, 2.5, MAX_INCHES))
    figure = Figure(figsize=(side + 2.6, side + 1.8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xlabel("prediction")
    axes.set_ylabel("class")
    if num_classes <= MAX_NAMES:
        size = float(np.clip(72 * side / num_classes * 0.6, 3, 9))
        axes.set_xticks(range(num_classes), classes, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(num_classes), classes, fontsize=size, parse_math=False)
    if num_classes <= MAX_COUNTS:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            color = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the class")
    _save(figure, path)


def plot_reliability(count: np.ndarray, accuracy: np.ndarray, confidence: np.ndarray, path: Path) -> None:
    """Draw accuracy over confidence, a point a bin, and how many samples are in each, into a PNG.

    Args:
        count: int [bins], of equal width from 0 to 1.
        accuracy, confidence: float [bins], 0..1; NaN where a bin is empty.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.8), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color="gray", linestyle="--", linewidth=1, label="as sure as right")
    axes.plot(confidence, accuracy, marker="o", markersize=4, label="this run")
    axes.set_ylabel("accuracy")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    width = 1 / len(count)
    below.bar((np.arange(len(count)) + 0.5) * width, count, width=0.9 * width)
    below.set_xlim(-0.02, 1.02)
    below.set_xlabel("confidence in the first class")
    below.set_ylabel("videos")
    _save(figure, path)


def plot_timeline(edges: np.ndarray, probabilities: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Draw how probable classes are over the time of a video, into a PNG that is not there yet.

    Args:
        edges: seconds, float [N + 1].
        probabilities: float [N, classes], between the edges.
        labels: of the classes.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    for label, values in zip(labels, probabilities.T, strict=True):
        axes.stairs(values, edges, baseline=None, label=f" {label}", linewidth=1.6)  # "_a" would be left out
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("time, minutes:seconds")
    axes.set_ylabel("probability")
    digits = 0 if edges[-1] - edges[0] > 10 else 1
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds, digits=digits)))
    axes.grid(alpha=0.3)
    for text in axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1)).get_texts():
        text.set_parse_math(False)
    _save(figure, path, must_be_free=True)


def clock(seconds: float, *, digits: int = 1) -> str:
    """Return a time as minutes:seconds, with so many digits behind the point."""
    parts = round(seconds * 10**digits)
    minutes, rest = divmod(parts, 60 * 10**digits)
    return f"{minutes}:{rest / 10**digits:0{3 + digits if digits else 2}.{digits}f}"


def _save(figure: Any, path: Path, *, must_be_free: bool = False) -> None:
    with replacing(path, must_be_free=must_be_free) as file:
        figure.savefig(file, format="png", dpi=110)
