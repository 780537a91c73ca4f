"""One pass over the training videos.

Python never waits for the device: the losses of the steps are summed there, and read when the epoch is over. The
progress bar reads the newest one now and then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from c3dhash.config import TrainConfig
from c3dhash.errors import TrainingError
from c3dhash.models.batch_norm import kept_statistics, training_mode
from c3dhash.models.hashnet import HashNet
from c3dhash.training.batches import balanced_batches, random_batches
from c3dhash.training.gradients import backward, fitting_rows
from c3dhash.training.inputs import Inputs
from c3dhash.training.losses import inverse_class_weights, widest_float
from c3dhash.training.mixing import mix
from c3dhash.training.optimization import learning_rate
from c3dhash.training.ranks import OwnRows
from c3dhash.training.state import TrainingState
from c3dhash.training.step import batch_losses, take_step
from c3dhash.video.loader import prefetch
from c3dhash.video.normalization import for_device, to_device

_MIXING = 1 << 32  # behind the place of a batch in the seed of what mixes it, where a row of it has its number
SETTLING_BATCHES = 20
READ_STEPS = 20  # a loss is read, and shown, every so many steps


def train_epoch(
    state: TrainingState, inputs: Inputs, labels: np.ndarray, config: TrainConfig, *, part_size: int | None = None
) -> dict[str, float]:
    """Train for one epoch.

    Args:
        state: its network and optimizer are changed, nothing else.
        inputs: of the training videos.
        labels: of the videos to train on, the first that the inputs count, int64 [N], or bool [N, num_classes].
        config: resolved.
        part_size: the most videos that are read at once, of `gradients.backward`; None reads a batch as a whole.
    Returns:
        The last learning rate, the means of the losses, and the speed.
    Raises:
        TrainingError: a loss or a gradient is not finite.
    """
    started, rate, means, ranks = time.perf_counter(), 0.0, _Means(), inputs.ranks
    torch.manual_seed(_hash_seed(config.seed, state.epoch))  # dropout
    batches = deal(labels, config, epoch=state.epoch)
    class_weights = _class_weights(labels, state, config)
    progress = tqdm(
        _load(batches, inputs, labels, state, config), total=len(batches), unit="batch",
        desc=f"Epoch {state.epoch + 1}/{config.epochs}",
    )  # fmt: skip
    but_first = _adapts_first_norm(state, config)
    training_mode(state.model, freeze_bn=bool(config.freeze_bn), but_first=but_first)  # `resolve` has decided
    for place, (batch, batch_labels) in enumerate(progress):
        rate = learning_rate(config, state.epoch + place / len(batches))
        if config.rate_batch:
            rate *= len(batch_labels) / config.rate_batch
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["share"]

        own, shares = _own_rows(batches[place], inputs, (config.seed, state.epoch, place)), None
        if config.mixup or config.cutmix:
            batch, shares = _mix(batch, batch_labels, own, state, config, labels=labels, place=place)
        losses_of = partial(_losses, state, config, labels=batch_labels, shares=shares, class_weights=class_weights)
        losses = backward(
            inputs.read, losses_of, batch, part_size=part_size or max(1, len(batch)),
            first_pass=partial(kept_statistics, state.model), own=own,
        )  # fmt: skip
        ranks.sum_gradients(state.model)
        norm = take_step(state.model, state.optimizer, gradient_clip=config.gradient_clip)
        if config.ema:
            state.update_average(config.ema)
        means.add({**losses, "gradient_norm": norm})
        if place % READ_STEPS == 0:
            progress.set_postfix(loss=f"{_finite(means.read(), state, config)['loss']:.3f}")
    values = _finite(means.read(), state, config)
    ranks.average(state.followed_statistics())
    seconds, num_clips = time.perf_counter() - started, sum(len(batch) for batch in batches)
    speed = {"seconds": round(seconds, 2), "clips_per_second": round(num_clips / seconds, 2)}
    return {"learning_rate": rate, **values, **speed}


def _own_rows(batch: np.ndarray, inputs: Inputs, place: tuple[int, ...]) -> OwnRows | None:
    """Return what this rank has of a batch, indices of videos; None where there are no others."""
    ranks = inputs.ranks
    if ranks.size == 1:
        return None
    return OwnRows(ranks, inputs.own_rows(batch), len(batch), seed=_hash_seed(*place, ranks.rank))


def _mix(
    batch: Tensor,
    batch_labels: Tensor,
    own: OwnRows | None,
    state: TrainingState,
    config: TrainConfig,
    *,
    labels: np.ndarray,
    place: int,
) -> tuple[Tensor, Tensor]:
    """Mix a batch, with the rows of all ranks; return this rank's rows of it, and the shares of classes of all."""
    rng = np.random.default_rng((config.seed, state.epoch, place, _MIXING))
    whole = batch if own is None else own.whole(batch)
    mixed, shares = mix(whole, batch_labels, config, num_classes=_num_classes(labels, state.model), rng=rng)
    return mixed if own is None else own.own(mixed), shares


def deal(labels: np.ndarray, config: TrainConfig, *, epoch: int) -> list[np.ndarray]:
    """Return the batches of an epoch, arrays of indices of videos; all of one size."""
    assert config.classes_per_batch and config.clips_per_class
    seed = config.seed, epoch
    if config.sampling == "videos":
        return random_batches(len(labels), size=config.classes_per_batch * config.clips_per_class, seed=seed)
    return balanced_batches(
        labels, classes_per_batch=config.classes_per_batch, clips_per_class=config.clips_per_class, seed=seed
    )


def _class_weights(labels: np.ndarray, state: TrainingState, config: TrainConfig) -> Tensor | None:
    if not config.class_weights:
        return None
    weights = inverse_class_weights(labels, num_classes=_num_classes(labels, state.model))
    return torch.from_numpy(weights).to(state.device)


def _num_classes(labels: np.ndarray, model: HashNet) -> int:
    """Return how many classes the class head tells apart, or else the centres of codes, or else the labels."""
    if model.class_head is not None:
        return model.class_head.out_features
    if model.class_codes is not None:
        return len(model.class_codes)
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1


def _losses(
    state: TrainingState,
    config: TrainConfig,
    features: Tensor,
    *,
    labels: Tensor,
    shares: Tensor | None,
    class_weights: Tensor | None,
) -> dict[str, Tensor]:
    return batch_losses(
        state.model.heads(features), labels, config, class_codes=state.model.class_codes, shares=shares,
        class_weights=class_weights,
    )  # fmt: skip


def _adapts_first_norm(state: TrainingState, config: TrainConfig) -> bool:
    """Tell whether the first batch norm is trained among frozen ones: Note [Batch norms and small batches]."""
    return state.starts_from_other and not config.freeze_stages


@torch.no_grad()
def settle_norms(state: TrainingState, inputs: Inputs, labels: np.ndarray, config: TrainConfig) -> None:
    """Let the batch norms that will follow batches see some first, where weights on pictures are to read flow.

    What is fitted to features before the first step, such as their scale, is of the network as evaluation computes it,
    with running statistics, which are of pictures. Training then sees others, a hundred times as large once they are
    scaled: the loss is 17 after an epoch, and nothing is learnt.
    """
    if not _adapts_first_norm(state, config):
        return
    training_mode(state.model, freeze_bn=bool(config.freeze_bn), but_first=True)
    norms = [module for module in state.model.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    batches = deal(labels, config, epoch=0)[:SETTLING_BATCHES]
    for batch, _ in tqdm(_load(batches, inputs, labels, state, config), total=len(batches), desc="Batch norms"):
        inputs.read(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    inputs.ranks.average(state.followed_statistics())


def fitting_part_size(state: TrainingState, inputs: Inputs, config: TrainConfig) -> int | None:
    """Return how many videos are read at once in training; None where a batch stays whole."""
    if config.micro_batch:
        return config.micro_batch
    if not config.freeze_bn or _adapts_first_norm(state, config):
        return None
    training_mode(state.model, freeze_bn=True)
    videos = np.full(2, inputs.ranks.rank)  # which is this rank's in any case
    fitting = fitting_rows(inputs.read, torch.from_numpy(inputs.load(videos, seed=(config.seed,))).to(state.device))
    if fitting is None or state.device.type == "cuda":
        return fitting
    return max(1, fitting // inputs.ranks.local_size)


def _load(
    batches: list[np.ndarray], inputs: Inputs, labels: np.ndarray, state: TrainingState, config: TrainConfig
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this rank's rows of each batch and the labels of all of it, on the device, read ahead by threads."""
    device = state.device

    def load(place: int) -> tuple[Tensor, Tensor]:
        rows = inputs.own_rows(batches[place])
        batch = inputs.load(batches[place], seed=(config.seed, state.epoch, place), rows=rows)
        return for_device(batch, device), for_device(labels[batches[place]], device)

    for batch, batch_labels in prefetch(load, range(len(batches)), workers=config.workers):
        yield to_device(batch, device), to_device(batch_labels, device)


class _Means:
    """Means of named scalars over steps. They are summed on the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            value = value.detach().to(widest_float(value.device))
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._num_steps += 1

    def read(self) -> dict[str, float]:
        """Wait for the device, once, and return the means."""
        sums = torch.stack(list(self._sums.values())).tolist()
        return {name: total / self._num_steps for name, total in zip(self._sums, sums, strict=True)}


def _finite(means: dict[str, float], state: TrainingState, config: TrainConfig) -> dict[str, float]:
    """Return the means. A loss or a gradient that was not finite once makes its mean so for the rest of the epoch."""
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(means[name]):
            raise TrainingError(
                f"the {name.replace('_', ' ')} is {means[name]} in epoch {state.epoch + 1}: try a learning_rate below "
                f"{config.learning_rate}, or --precision fp32. The run directory holds the epochs before."
            )
    return means


def _hash_seed(*parts: int) -> int:
    """Mix integers into one seed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
