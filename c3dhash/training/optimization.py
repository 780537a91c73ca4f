"""The optimizer, its learning rate over the epochs, and the settings whose default depends on others.

Note [Trained stages]
    The last stage of a backbone is trained as heads alone are, in large batches and with heads that are strongly
    decayed, and follows them slowly. JHMDB, I3D, 48 bits, five folds of the training list, two seeds, mAP and accuracy
    of the middle view (336 videos, the same in each row: standard error of an accuracy 0.025):

        heads alone                                                                    0.745  0.686
        16 views, batches of 64, rate 0.003, a seventh for the stage, decay 0.05,
            36 epochs (4 views: 0.755, 0.685)                                          0.763  0.689
            100 epochs                                                                 0.775  0.698
            heads decayed by 1                                                         0.768  0.701
            mixup of what is kept (0.4; 1 and 72 epochs: 0.768, 0.702)                 0.749  0.665
            wilder views (half the side, aspect, colours, parts of the video)          0.739  0.691
        16 views, heads trained first, then as above with heads decayed by 1           0.775  0.699
        16 views, batches of 168, rate 0.01, heads decayed by 1, 100 epochs, and
            a twenty-fifth of the rate for the stage                                   0.773  0.707
            a tenth                                                                    0.782  0.725
        8 views, so, 60 epochs, a tenth                                                0.775  0.708
            three tenths                                                               0.752  0.694

    (On a GPU, videos re-encoded in H.264, crf 22.) More views and epochs are better, and their time is what limits them
    on a CPU. Views were crops there; windows of three whole pictures cost less than eight of them, and are as good:
    Note [Windows of whole pictures] in pictures.py. There, 200 epochs, nine pictures, squares left out of windows, SAM,
    and moving averages of the weights gain no more than chance: docs/results.md. Networks with ImageNet's weights that
    look at frame by frame gain nothing (one fold, EfficientNet-Lite0 on 4 frames, 2 views, batches of 84, 20 epochs):
    0.556 by heads alone; with the stage at a fortieth and a hundredth of the rate 0.534 and 0.555, with the heads at
    0.003 and the stage at 0.0001 0.528. So their heads alone are trained unless somebody says otherwise.

Note [Heads of 2D networks]
    Heads alone on TSN and TSM, which read 3,289 numbers (Note [Changes] of tsn.py), want a weight decay thirty times
    that of I3D's. AdamW's steps are as long as the rate, so that a decay of 30 keeps weights below 1/30; at the rate of
    0.01 they remember three steps. 48 bits, 8 frames, fp32, five folds of the training lists, mAP and accuracy, two
    seeds and two divisions of JHMDB, three of UT-Interaction (standard deviations of mAP 0.005 to 0.03):

                                    decay 1         10              30
        JHMDB, EfficientNet-Lite0   0.613, 0.526    0.618, 0.556    0.622, 0.555
            the same in TSM         0.597, 0.506    0.594, 0.539    0.603, 0.548
            MobileNetV2             0.587, 0.487    0.582, 0.516    0.589, 0.524
        UT, EfficientNet-Lite0      0.868, 0.808    0.898, 0.880    0.893, 0.887
            the same in TSM         0.867, 0.775    0.889, 0.840    0.891, 0.840
            MobileNetV2             0.800, 0.747    0.823, 0.735    0.828, 0.737
        JHMDB, I3D                  0.730, 0.686    0.733, 0.693
        UT, I3D                     0.968, 0.939    0.956, 0.946

    JHMDB, EfficientNet-Lite0, codes of 16 bits: 0.540, 0.511 and with 30 0.548, 0.564; of 128: 0.627, 0.538 and 0.634,
    0.567. On 320 px in the place of 224, with 30: JHMDB 0.639, 0.594, but UT 0.850, 0.822 (with 1: 0.621, 0.534 and
    0.836, 0.747). EfficientNet-Lite2 on 260 px, JHMDB: 0.607, 0.563 (with 1: 0.600, 0.541).

    EfficientNet-Lite0, too, JHMDB and UT: a dropout of 0.8 in its place 0.617, 0.531 and 0.894, 0.843; of 0.7 beside a
    decay of 10 0.617, 0.560 and 0.893, 0.887; 200 epochs, UT alone, 0.879, 0.812. Mirrored clips to train on, too:
    0.595, 0.539 (0.613, 0.526 without) and 0.863, 0.829 (0.868, 0.808); these and both zoomed by 224/184: 0.605, 0.555
    and 0.890, 0.878, and with a decay of 10 on JHMDB 0.621, 0.554.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from c3dhash.config import TrainConfig, parse_epochs
from c3dhash.errors import UsageError
from c3dhash.models.batch_norm import freezes_batch_norms
from c3dhash.models.precision import pick_device
from c3dhash.training.losses import default_margin

# Optimizer -> learning rate from random weights, weight decay. To fine-tune a trained backbone the rate is divided.
DEFAULTS = {"sgd": (0.07, 5e-4), "adamw": (1e-3, 0.05)}
FINE_TUNING_DIVISOR = 5
STEPS_DOWN = (0.6, 0.85)  # of the epochs, where the step schedule goes to a tenth
# Where stages are frozen: what has a default of its own, for the heads alone, and with stages that are trained.
HEADS_ALONE: dict[str, Any] = {
    "optimizer": "adamw", "learning_rate": 0.01, "epochs": 100, "classes_per_batch": 32, "clips_per_class": 8,
    "freeze_bn": True, "views": 0,
}  # fmt: skip
SOME_STAGES: dict[str, Any] = {**HEADS_ALONE, "views": 3}
WHOLE: dict[str, Any] = {"optimizer": "sgd", "epochs": 30, "classes_per_batch": 8, "clips_per_class": 4}
WITH_WEIGHTS: dict[str, Any] = {"center_weight": 1.0, "label_smoothing": 0.1, "dropout": 0.5}
FROM_NOTHING: dict[str, Any] = {"center_weight": 0.0, "label_smoothing": 0.0, "dropout": 0.0}
# Of the heads' learning rate and weight decay, for stages that are trained behind frozen ones: Note [Trained stages].
STAGES_RATE, STAGES_DECAY = 1 / 10, 1 / 20
HEADS_DECAY = 1.0  # where stages are frozen
HEADS_2D_DECAY = 0.3  # of AdamW at its peak rate, a step: Note [Heads of 2D networks]


def resolve(
    config: TrainConfig,
    *,
    shortcut: str | None = None,
    num_stages: int = 1,
    is_2d: bool = False,
    starts_from_other: bool = False,
) -> TrainConfig:
    """Fill in the settings whose default depends on others, or on the network and the weights to start from.

    Args:
        shortcut: of the weights.
        num_stages, is_2d: of the backbone.
        starts_from_other: the weights are of another network, on pictures in the place of flow: all of it is trained.
    Raises:
        UsageError: more stages are to be frozen than there are, or a step of decay would turn weights round.
    """
    by_default = 0 if starts_from_other else num_stages - int(num_stages > 1 and not is_2d)
    frozen = _frozen_stages(config, num_stages, by_default=by_default)
    kind = WHOLE if not frozen else HEADS_ALONE if frozen == num_stages else SOME_STAGES
    config = _fill(config, {**kind, **(WITH_WEIGHTS if config.weights else FROM_NOTHING)})
    assert config.optimizer
    rate, decay = DEFAULTS[config.optimizer]
    if config.weights and not frozen:
        rate /= FINE_TUNING_DIVISOR
    config = _fill(config, {"learning_rate": rate})
    assert config.learning_rate is not None and config.classes_per_batch and config.clips_per_class
    batch_size = config.classes_per_batch * config.clips_per_class
    peak = config.learning_rate * batch_size / (config.rate_batch or batch_size)
    if frozen:
        is_heads_2d = kind is HEADS_ALONE and is_2d and config.optimizer == "adamw"
        decay = HEADS_2D_DECAY / (peak or 1.0) if is_heads_2d else HEADS_DECAY
    others = {
        "shortcut": shortcut,
        "flip": True,
        "min_crop_scale": None if config.crop == "fixed" else 0.7,
        "schedule": "step" if config.step_epochs or config.step_every else "cosine",
        "backbone_rate": STAGES_RATE if frozen else 1.0,
        "freeze_bn": freezes_batch_norms(
            has_weights=bool(config.weights) and (bool(frozen) or not starts_from_other), batch_size=batch_size
        ),
        "margin": default_margin(config.hash_length),
        "weight_decay": decay,
        "refit": bool(frozen),
    }
    config = dataclasses.replace(_fill(config, others), freeze_stages=frozen)
    assert config.weight_decay is not None
    if peak * config.weight_decay >= 1:
        raise UsageError(
            f"weight_decay ({config.weight_decay:g}) times the learning rate ({peak:g}) must be less than 1: it is the "
            "share of the weights that each step takes away."
        )
    return config


def refuse_unused(given: TrainConfig, config: TrainConfig, *, num_stages: int) -> None:
    """Refuse settings that were asked for and would do nothing, since stages or statistics are frozen.

    Args:
        given: as they were asked for. config: resolved.
    Raises:
        UsageError: there is one.
    """
    assert config.freeze_stages is not None
    if config.sync_bn and (config.freeze_stages or config.freeze_bn):
        raise UsageError(
            "sync_bn is for batch norms that follow batches, and these keep their statistics: leave out --sync-bn, or "
            "give --freeze-stages 0 --no-freeze-bn."
        )
    if not config.freeze_stages:
        return
    defaults = {item.name: item.default for item in dataclasses.fields(given)}

    def refuse(names: tuple[str, ...], why: str) -> None:
        for name in names:
            if getattr(given, name) != defaults[name]:
                raise UsageError(f"{name} ({getattr(given, name)}) {why}")

    if config.freeze_stages == num_stages:
        of_backbones = ("layer_decay", "backbone_rate", "micro_batch", "cutmix")
        refuse(
            of_backbones, "is of a backbone that is trained, and only the heads are, on features: --freeze-stages 0."
        )
    elif config.views:
        refuse(("crop",), "is of clips that are cut, and windows of whole pictures are seen behind frozen stages: "
                          "--freeze-stages 0.")  # fmt: skip
    if not config.views:
        of_views = ("rotation", "color_jitter", "rand_augment", "crop", "min_crop_scale")
        refuse(of_views, "changes clips, and frozen stages see only what is indexed: give --views N, or "
                         "--freeze-stages 0.")  # fmt: skip


def _fill(config: TrainConfig, defaults: dict[str, Any]) -> TrainConfig:
    """Give settings without a value one."""
    return dataclasses.replace(config, **{k: v for k, v in defaults.items() if getattr(config, k) is None})


def _frozen_stages(config: TrainConfig, num_stages: int, *, by_default: int) -> int:
    """Return how many stages stay as they are. by_default: of weights, where to train them takes long."""
    if config.freeze:
        return num_stages
    if config.freeze_stages is None:
        is_costly = config.weights and pick_device(config.device).type == "cpu"
        return by_default if is_costly else 0
    if config.freeze_stages > num_stages:
        raise UsageError(
            f"freeze_stages ({config.freeze_stages}) must be {num_stages} or less, since {config.backbone} has so many "
            "stages; 0 trains all of them."
        )
    return config.freeze_stages


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer. Only what `decayed_names` lists is decayed.

    Args:
        config: resolved; it is the optimizer of what is behind the frozen stages.
    Returns:
        It; each group has a "share" of the learning rate.
    """
    assert config.learning_rate is not None and config.weight_decay is not None
    decayed, trained = decayed_names(model), trained_parameters(model, freeze_stages=config.freeze_stages or 0)
    shares = _rate_shares(model, trained, config)
    groups: list[dict[str, Any]] = []
    for is_backbone, share in sorted(set(shares.values()), key=lambda kind: (kind[0], -kind[1])):
        decay_share = STAGES_DECAY if is_backbone and config.freeze_stages else 1.0
        for is_decayed in (True, False):
            params = [
                value for name, value in trained.items()
                if shares[name] == (is_backbone, share) and (name in decayed) == is_decayed
            ]  # fmt: skip
            decay = decay_share * config.weight_decay if is_decayed else 0.0
            if params:
                groups.append({"params": params, "weight_decay": decay, "share": share})
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def _rate_shares(
    model: nn.Module, trained: dict[str, nn.Parameter], config: TrainConfig
) -> dict[str, tuple[bool, float]]:
    """Return of each parameter whether it is the backbone's, and its share of the learning rate.

    Raises:
        UsageError: the rate is to fall from stage to stage of a backbone that has only one.
    """
    assert config.backbone_rate is not None
    stage_of: dict[int, int] = {}
    if config.layer_decay is not None:
        stages = model.get_submodule("backbone").stages()  # type: ignore[operator]  # of a Backbone
        if len(stages) == 1:
            raise UsageError(f"layer_decay ({config.layer_decay}) needs a backbone of several stages.")
        stage_of = {id(p): i - len(stages) + 1 for i, stage in enumerate(stages) for m in stage.modules
                    for p in m.parameters()}  # fmt: skip
    shares = {}
    for name, value in trained.items():
        is_backbone = name.startswith("backbone.")
        depth = stage_of.get(id(value), 0)
        share = config.backbone_rate * (config.layer_decay or 1.0) ** -depth if is_backbone else 1.0
        shares[name] = is_backbone, share
    return shares


def trained_parameters(model: nn.Module, *, freeze_stages: int) -> dict[str, nn.Parameter]:
    """Return the parameters of a network, by name, without those of the first stages of its backbone."""
    trained = dict(model.named_parameters())
    if not freeze_stages:
        return trained
    stages = model.get_submodule("backbone").stages()  # type: ignore[operator]  # of a Backbone
    frozen = {id(p) for stage in stages[:freeze_stages] for m in stage.modules for p in m.parameters()}
    return {name: value for name, value in trained.items() if id(value) not in frozen}


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
    assert config.learning_rate is not None and config.epochs is not None
    peak, warmup = config.learning_rate, min(config.warmup_epochs, config.epochs / 2)
    if epoch < warmup:
        return peak * (0.01 + 0.99 * epoch / warmup)
    if config.schedule == "step":
        if config.step_every:
            num_steps = int(epoch // config.step_every)
        else:
            steps = parse_epochs(config.step_epochs) or [share * config.epochs for share in STEPS_DOWN]
            num_steps = sum(epoch >= step for step in steps)
        return float(peak * 0.1**num_steps)
    share = (epoch - warmup) / (config.epochs - warmup)
    return peak * 0.5 * (1 + float(np.cos(np.pi * share)))
