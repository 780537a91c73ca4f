"""How a training begins: which settings hold, and the network they begin with."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from c3dhash.config import TrainConfig
from c3dhash.errors import TrainingError, UsageError
from c3dhash.models.backbones import build_backbone
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.hashnet import build_model
from c3dhash.models.precision import pick_device
from c3dhash.models.runs import CONFIG_FILE
from c3dhash.models.scaling import FeatureScaling
from c3dhash.models.weights import choose_weights, identify_weights, load_into
from c3dhash.records import Preprocessing
from c3dhash.training.augmentation import check_channels
from c3dhash.training.optimization import make_optimizer, refuse_unused, resolve
from c3dhash.training.state import LAST_FILE, TrainingState, other_losses

logger = logging.getLogger(__name__)

# What another class would be in a mirror, as words of an English name: turn_left, TurnLeft, "clockwise"; not bright.
_SIDED = frozenset(("left", "right", "leftward", "rightward", "leftwards", "rightwards", "clockwise",
                    "anticlockwise", "counterclockwise"))  # fmt: skip
# What may be another when a run is resumed: how long it goes on, and what the machine is.
MAY_DIFFER = ("epochs", "workers", "device")


def begin(config: TrainConfig, *, classes: Sequence[str]) -> tuple[TrainConfig, TrainingState]:
    """Decide what is open in the settings, and build the network, with the weights that it starts from.

    Args:
        classes: names.
    Raises:
        UsageError: freeze or freeze_stages without weights, or settings that would do nothing.
    """
    given, weights = config, choose_weights(config.weights, backbone=config.backbone, shortcut=config.shortcut)
    if (config.freeze or config.freeze_stages) and not weights:
        name = "freeze" if config.freeze else "freeze_stages"
        raise UsageError(
            f"{name} needs a trained backbone: give --weights FILE or a name; `c3dhash models` lists them."
        )
    config = dataclasses.replace(
        config, weights=str(weights) if weights else None, flip=_flips(classes) if config.flip is None else config.flip
    )
    is_open = not config.freeze and config.freeze_stages is None
    backbone = _without_numbers(config.backbone)
    held, shortcut = identify_weights(weights) if weights else ((), None)
    starts_from_other = backbone.starts_from in held and backbone.name not in held
    config = resolve(
        config,
        shortcut=shortcut,
        starts_from_other=starts_from_other,
        num_stages=len(backbone.stages()),
        is_2d=backbone.is_2d,
    )
    if starts_from_other:
        logger.log(
            logging.WARNING if config.freeze_stages else logging.INFO,
            "the weights of %s have seen pictures and no flow, and their first layer takes the sum of all channels: %s",
            backbone.starts_from,
            "frozen, it cannot tell x from y; --freeze-stages 0 trains it." if config.freeze_stages
            else "everything is trained.",
        )  # fmt: skip
    if is_open and config.freeze_stages == len(backbone.stages()):
        logger.info(
            "on a CPU %s stays as the weights have it, and the heads alone are trained: --freeze-stages 0 trains "
            "everything.", config.backbone,
        )  # fmt: skip
    elif is_open and config.freeze_stages:
        logger.info(
            "on a CPU the first %d stages of %s stay as the weights have them, and what is behind them is trained: "
            "--freeze-stages 0 trains everything, --freeze the heads alone.", config.freeze_stages, config.backbone,
        )  # fmt: skip
    refuse_unused(given, config, num_stages=len(backbone.stages()))
    state = new_state(config, num_classes=len(classes))
    state.starts_from_other = starts_from_other
    check_channels(config, state.model.preprocessing.channels)
    return config, state


def _flips(classes: Sequence[str]) -> bool:
    """Tell whether a mirror image is of the same class."""
    words = {name: re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower()) for name in classes}
    sided = [name for name in classes if _SIDED.intersection(words[name])]
    if sided:
        logger.info(
            "clips are not mirrored, since %d of %d classes name a side (%r): --flip mirrors them all the same.",
            len(sided), len(classes), sided[0],
        )  # fmt: skip
    return not sided


def new_state(config: TrainConfig, *, num_classes: int) -> TrainingState:
    """Build a network with the weights that it starts from, and its optimizer.

    Args:
        config: resolved.
    """
    state = _build(config, num_classes)
    if config.weights:
        load_into(state.model.backbone, config.weights)
    return state


def begin_refit(state: TrainingState, config: TrainConfig, *, num_classes: int) -> None:
    """Bring a state back to what it began with, but for its history; its network stays the same object."""
    fresh = new_state(config, num_classes=num_classes)
    state.model.load_state_dict(fresh.model.state_dict())
    state.optimizer = make_optimizer(state.model, config)
    state.epoch, state.is_refit = 0, True
    state.average, state.num_averaged = {}, 0


def num_stages(backbone: str) -> int:
    """Return into how many stages a backbone is divided."""
    return len(_without_numbers(backbone).stages())


def _without_numbers(backbone: str) -> Backbone:
    """Build a backbone for what it tells of itself alone."""
    with torch.device("meta"):
        return build_backbone(backbone)


def resume(config: TrainConfig, run_dir: Path, *, num_classes: int) -> tuple[TrainConfig, TrainingState]:
    """Take up a run after its last whole epoch. Its own settings hold.

    Args:
        config: the settings of the run; what has no value is as in the run.
        run_dir: with config.json and last.pt.
    Raises:
        TrainingError: nothing to resume, or it is damaged.
        UsageError: another setting than the run's.
    """
    if not (run_dir / LAST_FILE).is_file():
        raise TrainingError(f"'{run_dir}' has no {LAST_FILE} to resume from; train anew.")
    saved, preprocessing = _read_config(run_dir)
    had_crops = "step_epochs" not in saved and saved.get("views")  # behind frozen stages, where it now has pictures
    if "freeze_stages" not in saved or (had_crops and 0 < saved["freeze_stages"] < num_stages(saved["backbone"])):
        raise other_losses(run_dir)
    config = _own_settings(config, saved, run_dir)
    state = _build(config, num_classes)
    state.model.backbone.preprocessing = preprocessing  # of the weights that it began with
    state.restore(run_dir)
    return config, state


def can_resume(run_dir: Path) -> bool:
    """Tell whether a folder holds what `resume` needs."""
    return (run_dir / LAST_FILE).is_file() and (run_dir / CONFIG_FILE).is_file()


def _build(config: TrainConfig, num_classes: int) -> TrainingState:
    torch.manual_seed(config.seed)
    model = build_model(
        config,
        num_classes=num_classes if config.has_class_head else None,
        has_hash_head=config.has_hash_head,
        has_unit_features=bool(config.weights),
        has_changes=bool(config.weights),
        has_motion=bool(config.weights) and config.freeze_stages == num_stages(config.backbone),
    )
    model.dropout = config.dropout or 0.0
    if config.weights:
        model.scaling = FeatureScaling(model.backbone.feature_dim)
    model.to(pick_device(config.device))
    return TrainingState(model, make_optimizer(model, config))


def _read_config(run_dir: Path) -> tuple[dict[str, Any], Preprocessing]:
    path = run_dir / CONFIG_FILE
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return saved, Preprocessing(**saved["preprocessing"])
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise TrainingError(f"'{path}' is damaged and cannot be resumed from ({error!r}); train anew.") from error


def _own_settings(config: TrainConfig, saved: dict[str, Any], run_dir: Path) -> TrainConfig:
    """Fill in a run's own settings; settings that a run of an earlier version does not know keep their defaults."""
    own: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        name, given = item.name, getattr(config, item.name)
        own[name] = given if name in MAY_DIFFER else saved.get(name, given)
        # The weights that it began with are in its state by now, and config.json has the name of their file.
        if name != "weights" and given not in (None, own[name]):
            raise UsageError(
                f"{name} ({given!r}) is not what '{run_dir}' began with ({own[name]!r}): resume it with its own "
                "settings, or train anew."
            )
    return resolve(dataclasses.replace(config, **own), num_stages=num_stages(own["backbone"]))
