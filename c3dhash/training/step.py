"""One step: what the network says about a batch -> its losses -> new weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from c3dhash.config import TrainConfig
from c3dhash.models.hashnet import Outputs
from c3dhash.training.losses import batch_all_triplet_sums, classification_loss, reduce_triplets


def batch_losses(outputs: Outputs, labels: Tensor, config: TrainConfig) -> dict[str, Tensor]:
    """Compute the losses of a batch: (1 - w) * triplet + w * cross-entropy, and each by itself.

    Args:
        outputs: of the network.
        labels: int64 [B], or bool [B, num_classes].
        config: resolved; w is class_weight, or 0 or 1 where one head is trained alone.
    Returns:
        Scalars: `loss`, with a graph, `triplet_loss` and `active_share` (of the triplets), `class_loss`; those of
        heads that the network has.
    """
    losses: dict[str, Tensor] = {}
    loss: Tensor | float = 0.0
    share = {"joint": config.class_weight, "hash": 0.0, "classify": 1.0}[config.task]
    if outputs.embedding is not None:
        assert config.margin is not None
        sums = batch_all_triplet_sums(outputs.embedding, labels, margin=config.margin)
        losses["triplet_loss"] = reduce_triplets(sums, reduction=config.triplet_reduction)
        losses["active_share"] = sums.num_active / sums.num_triplets.clamp_min(1)
        loss = (1 - share) * losses["triplet_loss"]
    if outputs.logits is not None:
        losses["class_loss"] = classification_loss(outputs.logits, labels)
        loss = loss + share * losses["class_loss"]
    assert isinstance(loss, Tensor)  # a network without a head is not trained
    return {"loss": loss, **losses}


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, *, gradient_clip: float) -> Tensor:
    """Change the weights along the gradient of the loss; return the gradient's norm before it was clipped.

    Args:
        gradient_clip: the largest norm; 0 clips nothing.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # of PyTorch
    norm = nn.utils.clip_grad_norm_(model.parameters(), gradient_clip or float("inf"))
    optimizer.step()
    return norm
