"""What a training writes for people while it runs: metrics.jsonl, curves.png, TensorBoard events, a line an epoch."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from c3dhash.files import write_text
from c3dhash.report.plots import plot_curves

logger = logging.getLogger(__name__)

PLOT_SECONDS = 5.0  # between two plots of the curves, each of which takes a third of a second


class TrainingLog:
    """The records of a run, written anew after every epoch.

    Args:
        run_dir: of the run.
        next_epoch: the first that will be reported; TensorBoard forgets what an interrupted training said of it.
    """

    def __init__(self, run_dir: Path, *, next_epoch: int) -> None:
        self.run_dir = run_dir
        self._writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=next_epoch)
        self._plotted = time.monotonic()  # of what takes less, one is drawn, at its end

    def report(self, history: list[dict[str, float]], *, is_best: bool, is_last: bool) -> None:
        """Write down the epoch that ended; `history` has a row for each so far."""
        row = history[-1]
        shown = ", ".join(
            f"{name[4:].replace('_', ' ')} {row[name]:.3f}" for name in ("val_mAP", "val_accuracy") if name in row
        )
        val = f", val {shown}" if shown else ""
        logger.info("epoch %d: loss %.3f%s%s", row["epoch"], row["loss"], val, " (best)" if is_best else "")
        for name, value in row.items():
            if name not in ("epoch", "refit"):
                scalar = f"val/{name[4:]}" if name.startswith("val_") else f"train/{name}"
                self._writer.add_scalar(scalar, value, len(history))
        self._writer.flush()
        write_text(self.run_dir / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history))
        if is_last or time.monotonic() - self._plotted > PLOT_SECONDS:
            plot_curves(history, self.run_dir / "curves.png")
            self._plotted = time.monotonic()

    def close(self) -> None:
        self._writer.close()
