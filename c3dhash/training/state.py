"""What changes from epoch to epoch, saved after each, so that a training can be interrupted.

With config.json, which holds the settings and the preprocessing, it is all that the next epoch depends on: everything
random is drawn from (seed, epoch, place in the epoch).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from c3dhash.errors import TrainingError
from c3dhash.files import replacing
from c3dhash.models.hashnet import HashNet

LAST_FILE = "last.pt"
LOSSES = 7  # which losses and features a training was begun with; counted up with every other kind
# What chooses the epoch that is kept, as far as the data set has it: the first, and the next among equals.
CHOOSING_METRICS = ("val_mAP", "val_accuracy")


@dataclass
class TrainingState:
    """A training after a whole number of epochs.

    model: on its device.
    videos: names of the training and val videos.
    epoch: how many are done. history: a row of metrics for each.
    best_value: the values of CHOOSING_METRICS in the best epoch so far, [] before the first. best_epoch: which one.
    is_refit: whether it has begun again, on the val videos too, to keep the last epoch.
    average: the moving average of weights and statistics, by name, of num_averaged steps; {} where there is none.
    starts_from_other: whether the weights that it began with are of pictures, and it reads flow.
    """

    model: HashNet
    optimizer: torch.optim.Optimizer
    videos: list[str] = field(default_factory=list)
    epoch: int = 0
    best_value: list[float] = field(default_factory=list)
    best_epoch: int = 0
    is_refit: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    num_averaged: int = 0
    starts_from_other: bool = False

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def best_metric(self) -> str | None:
        """The name of best_value[0]."""
        return next((name for name in CHOOSING_METRICS if any(name in row for row in self.history)), None)

    def end_epoch(self, row: dict[str, float], *, may_be_best: bool) -> bool:
        """Take up what was measured in an epoch; return whether it is the best. Of equals, the later has seen more.

        Args:
            may_be_best: whether it was validated, or nothing can be.
        """
        self.epoch += 1
        self.history.append({"epoch": self.epoch, **({"refit": 1} if self.is_refit else {}), **row})
        value = [row[name] for name in CHOOSING_METRICS if name in row]
        is_best = may_be_best and not self.is_refit and value >= self.best_value
        if is_best:
            self.best_value, self.best_epoch = value, self.epoch
        return is_best

    def update_average(self, decay: float) -> None:
        """Move the average towards the weights, and statistics of batch norms, as they are after a step.

        The first steps forget more, as 2 in 11, 3 in 12 and so on are kept, until that is more than `decay`; so the
        random weights of the beginning are soon gone.
        """
        values = self._averaged_values()
        if not self.average:
            self.average = {name: value.clone() for name, value in values.items()}
        self.num_averaged += 1
        kept = min(decay, (1 + self.num_averaged) / (10 + self.num_averaged))
        torch._foreach_lerp_(list(self.average.values()), list(values.values()), 1 - kept)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the network have the average, where there is one, in the place of its own weights."""
        values = self._averaged_values() if self.average else {}
        own = {name: value.clone() for name, value in values.items()}
        for name, value in values.items():
            value.copy_(self.average[name])
        try:
            yield
        finally:
            for name, value in values.items():
                value.copy_(own[name])

    def _averaged_values(self) -> dict[str, torch.Tensor]:
        """Return what training changes, by name: trained weights, and the statistics of batch norms."""
        trained = {id(value) for group in self.optimizer.param_groups for value in group["params"]}
        values = {name: p.detach() for name, p in self.model.named_parameters() if id(p) in trained}
        buffers = dict(self.model.named_buffers())
        return values | {name: buffers[name] for name in buffers if name.endswith(("running_mean", "running_var"))}

    def followed_statistics(self) -> list[torch.Tensor]:
        """Return the statistics of the batch norms that follow batches, and their moving averages."""
        buffers = dict(self.model.named_buffers())
        names = [
            f"{name}.{buffer}" for name, module in self.model.named_modules()
            if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
            for buffer in ("running_mean", "running_var")
        ]  # fmt: skip
        return [values[name] for values in (buffers, self.average) for name in names if name in values]

    def save(self, run_dir: Path) -> None:
        """Write last.pt; a reader finds the old one or the new one."""
        saved = {
            "epoch": self.epoch,
            "best_value": self.best_value,
            "best_epoch": self.best_epoch,
            "is_refit": self.is_refit,
            "losses": LOSSES,
            "history": self.history,
            "videos": self.videos,
            "average": self.average,
            "num_averaged": self.num_averaged,
            "starts_from_other": self.starts_from_other,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with replacing(run_dir / LAST_FILE, suffix=".pt") as partial:  # torch.save needs a name before the last dot
            torch.save(saved, partial)

    def restore(self, run_dir: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            TrainingError: the file is damaged, or of another network or version.
        """
        path = run_dir / LAST_FILE
        try:
            saved = torch.load(path, weights_only=True, map_location=self.device)
            if saved.get("losses") != LOSSES:
                raise other_losses(run_dir)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.videos, self.epoch = saved["videos"], saved["epoch"]
            self.best_value, self.history = saved["best_value"], saved["history"]
            self.best_epoch, self.is_refit = saved["best_epoch"], saved["is_refit"]
            self.average, self.num_averaged = saved.get("average", {}), saved.get("num_averaged", 0)
            self.starts_from_other = saved.get("starts_from_other", self.model.backbone.starts_from is not None)
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            raise TrainingError(f"'{path}' is damaged and cannot be resumed from ({reason}); train anew.") from error


def other_losses(run_dir: Path) -> TrainingError:
    """Return the error of a training that was begun before losses and features were these."""
    return TrainingError(
        f"'{run_dir}' was begun by a version of c3dhash with other losses or features, and cannot go on with these: "
        "train anew (its best epoch so far can be used as it is)."
    )
