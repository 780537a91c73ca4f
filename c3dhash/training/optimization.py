"""The optimizer, its learning rate over the epochs, and the settings whose default depends on others."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from c3dhash.config import TrainConfig
from c3dhash.models.batch_norm import freezes_batch_norms
from c3dhash.training.losses import default_margin

# Optimizer -> learning rate from random weights, weight decay. To fine-tune a trained backbone the rate is divided.
DEFAULTS = {"sgd": (0.05, 5e-4), "adamw": (1e-3, 0.05)}
FINE_TUNING_DIVISOR = 5
STEPS_DOWN = (0.6, 0.85)  # of the epochs, where the step schedule goes to a tenth


def resolve(config: TrainConfig, *, shortcut: str | None = None) -> TrainConfig:
    """Fill in the settings whose default depends on others, or (`shortcut`) on the weights to start from."""
    rate, decay = DEFAULTS[config.optimizer]
    if config.weights and not config.freeze:
        rate /= FINE_TUNING_DIVISOR
    batch_size = config.classes_per_batch * config.clips_per_class
    freeze_bn = freezes_batch_norms(has_weights=bool(config.weights), batch_size=batch_size)
    return dataclasses.replace(
        config,
        shortcut=config.shortcut or shortcut,
        freeze_bn=freeze_bn if config.freeze_bn is None else config.freeze_bn,
        margin=default_margin(config.hash_length) if config.margin is None else config.margin,
        learning_rate=rate if config.learning_rate is None else config.learning_rate,
        weight_decay=decay if config.weight_decay is None else config.weight_decay,
    )


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer. Only what `decayed_names` lists is decayed.

    Args:
        config: resolved; with `freeze` it is the optimizer of the heads alone.
    """
    assert config.learning_rate is not None and config.weight_decay is not None
    decayed = decayed_names(model)
    named = [item for item in model.named_parameters() if not (config.freeze and item[0].startswith("backbone."))]
    groups: list[dict[str, Any]] = [
        {"params": [value for name, value in named if name in decayed], "weight_decay": config.weight_decay},
        {"params": [value for name, value in named if name not in decayed], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def decayed_names(model: nn.Module) -> set[str]:
    """Return the names of the parameters that are decayed: weights of linear layers and convolutions, nothing else.

    Biases, normalisation, layer scales, class tokens and tables of positions are not: to pull those to zero is no
    simpler network, and the last three have more than one dimension, so that their shape does not tell.
    """
    return {
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    }


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """Return the learning rate at a moment of training, in epochs from the start (with a fraction).

    Args:
        config: resolved.
    """
    peak, warmup = config.learning_rate, min(config.warmup_epochs, config.epochs / 2)
    assert peak is not None
    if epoch < warmup:
        return peak * (0.01 + 0.99 * epoch / warmup)
    if config.schedule == "step":
        return float(peak * 0.1 ** sum(epoch >= share * config.epochs for share in STEPS_DOWN))
    share = (epoch - warmup) / (config.epochs - warmup)
    return peak * 0.5 * (1 + float(np.cos(np.pi * share)))
