"""Pictures of a training run and of an evaluation. Matplotlib is imported where a picture is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.files import replacing

# What stands in which panel of curves.png; a panel without any of its series is left out.
PANELS = {
    "Training loss": ("loss", "triplet_loss", "center_loss", "class_loss"),
    "Validation": ("val_mAP", "val_accuracy"),
    "Health of the codes (val)": ("val_share_near_zero", "val_mean_share_of_ones", "val_mean_abs_correlation"),
    "Share of active triplets": ("active_share",),
}


def plot_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Draw the metrics of every epoch into a PNG, one panel a subject; written under a temporary name."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    known = {name for row in history for name in row}
    panels = {title: [name for name in names if name in known] for title, names in PANELS.items()}
    panels = {title: names for title, names in panels.items() if names}
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name in names:
            label = name.removeprefix("val_").replace("_", " ")
            epochs = [number for number, row in enumerate(history, 1) if name in row]  # a refit counts on
            values = [row[name] for row in history if name in row]
            axes.plot(epochs, values, label=label, marker="." if len(epochs) < 30 else "")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if title != "Training loss":
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


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
