"""One step: what the network says about a batch -> its losses; their gradient -> new weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from c3dhash.config import TrainConfig
from c3dhash.models.hashnet import Outputs
from c3dhash.training.losses import batch_all_triplet_sums, center_loss, classification_loss, reduce_triplets


def batch_losses(
    outputs: Outputs,
    labels: Tensor,
    config: TrainConfig,
    *,
    class_codes: Tensor | None,
    shares: Tensor | None = None,
    class_weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """Compute the losses of a batch: triplet / margin + center_weight * central + class_weight * cross-entropy.

    Divided by the margin, the hinge is about 1 at the start for any margin and code length, so that one learning rate
    and one set of weights serve all of them.

    Args:
        outputs: of the network.
        labels: int64 [B], or bool [B, num_classes].
        config: resolved.
        class_codes: float [num_classes, hash_length]: `hash_centers`; None where center_weight is 0.
        shares: of classes, float [B, num_classes], where clips were mixed; their labels are the largest then.
        class_weights: of the cross-entropy, float [num_classes].
    Returns:
        Scalars: `loss`, with a graph, `triplet_loss` (not divided), `active_share` (of the triplets), `center_loss`,
        `class_loss`, `accuracy` (with one label a video); those of heads that the network has, and of weights that are
        not 0.
    """
    losses: dict[str, Tensor] = {}
    loss: Tensor | float = 0.0
    if outputs.embedding is not None:
        assert config.margin is not None
        sums = batch_all_triplet_sums(outputs.embedding, labels, margin=config.margin)
        losses["triplet_loss"] = reduce_triplets(sums, reduction=config.triplet_reduction)
        losses["active_share"] = sums.num_active / sums.num_triplets.clamp_min(1)
        loss = losses["triplet_loss"] / max(config.margin, 1.0)
        if config.center_weight:
            assert class_codes is not None
            losses["center_loss"] = center_loss(outputs.embedding, labels if shares is None else shares, class_codes)
            loss = loss + config.center_weight * losses["center_loss"]
    if outputs.logits is not None:
        losses["class_loss"] = classification_loss(
            outputs.logits, labels, label_smoothing=config.label_smoothing or 0.0, shares=shares,
            class_weights=class_weights,
        )  # fmt: skip
        if labels.ndim == 1:
            losses["accuracy"] = (outputs.logits.argmax(1) == labels).float().mean()
        weight = config.class_weight if config.task == "joint" else 1.0
        loss = loss + weight * losses["class_loss"]
    assert isinstance(loss, Tensor)  # a network without a head is not trained
    return {"loss": loss, **losses}


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, *, gradient_clip: float) -> Tensor:
    """Change the weights along the gradient, and forget it; return its norm before it was clipped.

    Args:
        gradient_clip: the largest norm; 0 clips nothing.
    """
    norm = nn.utils.clip_grad_norm_(model.parameters(), gradient_clip or float("inf"))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
