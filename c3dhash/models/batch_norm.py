"""Batch norms while a network with published weights is trained on.

Note [Folded batch norms]
    A published network may have its batch norms folded into the convolutions: what is left of a norm is a running mean
    of 0, a running variance of 1 (less its epsilon), a weight of 1, and a bias. Evaluation computes what the original
    did. Training does not: the output of the convolution, which has the scale of the original's norm in it already,
    is brought to variance 1 by the statistics of the batch, and under biases made for several times as much, a ReLU
    leaves nothing of it. Features near 0 give a class loss of ln(num_classes) and dead bits from the first epoch on,
    at any learning rate. So these norms are never in training mode. Statistics of 0 and 1 tell them; since nothing
    updates them in evaluation mode, they still do in a run that was trained on, wherever it is taken. A network
    with new random weights has such statistics, too, but biases of 0.

Note [Batch norms and small batches]
    In training mode the statistics of a norm are those of the clips of one batch, of a few classes; published weights
    were trained with those of larger and more varied ones. With weights and few clips a batch, norms therefore keep
    their statistics, as is usual where video networks are fine-tuned (Wang et al., Temporal Segment Networks, ECCV
    2016, section 3.2, freeze all but the first). Their scale and shift are learnt in either case.
    Those of a network on flow that starts from weights on pictures follow their batches: flow is of another strength.
    With --freeze-bn all but the first keep theirs, as there. EfficientNet-Lite0 on flow of JHMDB (one stack, 112 px, 10
    epochs of 10 batches, one seed), accuracy in training at the end: 0.14, with --freeze-bn 0.03; chance is 0.05.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

SMALL_BATCH = 64  # clips; fewer are too few for statistics that replace those of published weights
VARIANCE_TOLERANCE = 0.01  # exporters leave the epsilon, of up to 0.001, in the variance or take it out


def training_mode(model: nn.Module, *, freeze_bn: bool, but_first: bool = False) -> None:
    """Put a network into training mode, but for batch norms that must keep their statistics.

    Args:
        freeze_bn: leave all batch norms in evaluation mode; else only folded ones: Note [Folded batch norms].
        but_first: freeze_bn is not meant for the first of them: Note [Batch norms and small batches].
    """
    model.train()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for place, norm in enumerate(norms):
        if is_folded(norm) or (freeze_bn and not (but_first and place == 0)):
            norm.eval()


@contextmanager
def kept_statistics(model: nn.Module) -> Iterator[None]:
    """Let batch norms in training mode normalise by a batch, but not remember it: for what will be computed again."""
    norms = [
        module for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]  # fmt: skip
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def freezes_batch_norms(*, has_weights: bool, batch_size: int) -> bool:
    """Decide whether batch norms keep their statistics: Note [Batch norms and small batches]."""
    return has_weights and batch_size < SMALL_BATCH


@torch.no_grad()
def is_folded(norm: _BatchNorm) -> bool:
    """Tell whether a batch norm was folded into the layer before it: Note [Folded batch norms]."""
    mean, variance, bias = norm.running_mean, norm.running_var, norm.bias
    if mean is None or variance is None or bias is None:
        return False
    is_identity = not mean.any() and (variance - 1).abs().max() <= VARIANCE_TOLERANCE
    return bool(is_identity and bias.any())
