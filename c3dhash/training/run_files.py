"""What a training writes for those who use the run: the best epoch's network, its settings, the videos.

`last.pt` is the state's own (state.py), and what people watch while it runs is log.py's.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from c3dhash.config import TrainConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.files import write_text
from c3dhash.models.runs import CONFIG_FILE, save_run
from c3dhash.training.launch import launch_id
from c3dhash.training.state import TrainingState
from c3dhash.versions import versions

VIDEOS_FILE = "videos.txt"


def save_best(run_dir: Path, state: TrainingState, *, dataset: Dataset, config: TrainConfig) -> None:
    """Write the network as it is: a run that can be loaded, not finished yet."""
    content = {
        **dataclasses.asdict(config),
        "data": str(dataset.directory.resolve()),
        "format": dataset.format,
        "is_multi_label": dataset.is_multi_label,
        "allow_missing": bool(dataset.missing),
        "best_epoch": state.best_epoch,
        "best_metric": state.best_metric,
        "is_refit": state.is_refit,
        "best_value": state.best_value[0] if state.best_value else None,
        "finished": False,
        "versions": versions(),
        **({"launch": launch} if (launch := launch_id()) else {}),
    }
    save_run(run_dir, state.model, config=content, labels=dataset.classes)
    write_text(run_dir / VIDEOS_FILE, "".join(f"{name}\n" for name in state.videos))


def mark_finished(run_dir: Path) -> None:
    """Say in config.json that the training is done; model.safetensors holds the best epoch."""
    content = json.loads((run_dir / CONFIG_FILE).read_text(encoding="utf-8"))
    write_text(run_dir / CONFIG_FILE, json.dumps({**content, "finished": True}, indent=2) + "\n")
