"""Losses: the exact batch-all triplet loss, and cross-entropy for single- and multi-label data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c3dhash.errors import UsageError

REDUCTIONS = ("all", "active")


class TripletSums(NamedTuple):
    """The batch-all hinge, before it is averaged. `total` has a graph; the counts are int64 scalars."""

    total: Tensor
    num_active: Tensor
    num_triplets: Tensor


def default_margin(hash_length: int) -> float:
    """Return the triplet margin for a hash length: a bit above hash_length / 4 (48 -> 14, 64 -> 20).

    Squared distances between embeddings grow by up to 4 for each bit that differs.

    Source: the two pairs are published practice for tanh codes; the line through them is continued
    above 48 bits, and below it the margin is in proportion, so that it never falls under a quarter.
    """
    return float(max(1, round(max(hash_length * 14 / 48, hash_length * 3 / 8 - 4))))


def positive_pairs(labels: Tensor) -> Tensor:
    """Return which pairs are positive: the same class, or for multi-label data a shared one.

    Args:
        labels: int64 [B], or bool [B, num_classes].
    Returns:
        bool [B, B]; the diagonal is not cleared.
    Raises:
        UsageError: labels have another shape.
    """
    if labels.ndim == 1:
        return labels[:, None] == labels[None, :]
    if labels.ndim == 2 and labels.dtype == torch.bool:
        shared = labels.float() @ labels.float().T
        return shared > 0
    raise UsageError(
        f"labels ({labels.dtype} {list(labels.shape)}) must be integers [B] or, for multi-label data, bool [B, C]."
    )


def squared_distances(embeddings: Tensor) -> Tensor:
    """Return the squared Euclidean distance of every pair: float [B, L] -> float [B, B], not below 0."""
    norms = embeddings.square().sum(1)
    return (norms[:, None] + norms[None, :] - 2 * embeddings @ embeddings.T).clamp_min(0)


def batch_all_triplet_sums(embeddings: Tensor, labels: Tensor, *, margin: float) -> TripletSums:
    """Sum the hinge over every triplet of the batch, without listing the triplets.

    With t(a,p) = margin + d(a,p), the sum over all ordered triplets is

        sum_{a,p,n} max(0, t(a,p) - d(a,n))  =  margin * num_active + sum_{i,j} W(i,j) d(i,j),

    where, for an anchor a, W(a,p) is the number of negatives nearer than t(a,p), and W(a,n) minus the
    number of positives with t(a,p) > d(a,n). The hinge is piecewise linear, so inside a piece W is
    constant and the right side has the gradient of the left side too.

    Both counts come from one search: sort the thresholds t(a, .) of each anchor and let rank(n) be the
    number of thresholds at or below d(a,n). Then -W(a,n) is the number of thresholds above that rank, and
    W(a,p) for the threshold in place r is the number of negatives with rank <= r: a running sum of
    the histogram of the ranks. Time O(B^2 log B), memory O(B^2), where listing takes O(B^3) for both.

    Args:
        embeddings: float [B, L]; computed in float32 or better, also under autocast.
        labels: int64 [B], or bool [B, num_classes] (a pair is positive when it shares a label).
        margin: in units of the squared distance, 0 or more.
    Returns:
        TripletSums; a batch without a valid triplet gives a zero total with a graph.
    Raises:
        UsageError: margin is negative, or the shapes do not fit.
    Source: the loss is batch-all of Hermans et al., "In Defense of the Triplet Loss for Person
        Re-Identification", 2017, section 2, without the square root; the algorithm is our own.
    """
    if not margin >= 0:
        raise UsageError(f"margin ({margin}) must be 0 or more; 14 suits 48 bits.")
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise UsageError(
            f"embeddings {list(embeddings.shape)} must be [B, hash_length] with a label each, "
            f"got labels {list(labels.shape)}."
        )
    with torch.autocast(embeddings.device.type, enabled=False):
        if embeddings.dtype in (torch.float16, torch.bfloat16):
            embeddings = embeddings.float()
        distances = squared_distances(embeddings)
        with torch.no_grad():
            positive = positive_pairs(labels)
            negative = ~positive
            positive = positive.clone().fill_diagonal_(False)
            width = _search_width(positive)
            weights, num_active = _triplet_weights(distances.detach(), positive, negative, margin=margin, width=width)
            num_triplets = (positive.sum(1) * negative.sum(1)).sum()
        wide = widest_float(distances.device)
        total = (weights * distances).sum(dtype=wide) + margin * num_active.to(wide)
    return TripletSums(total, num_active, num_triplets)


def widest_float(device: torch.device) -> torch.dtype:
    """Return the float type in which long sums are made: float64, which Metal (mps) lacks."""
    return torch.float32 if device.type == "mps" else torch.float64


def _search_width(positive: Tensor) -> int:
    """Return a number that no anchor's positives exceed, bool [B, B] -> int.

    The largest count gives the shortest sort. To read it from another device, Python would have to wait there for
    everything that is under way; B does as well.
    """
    if positive.device.type != "cpu" or not len(positive):
        return len(positive)
    return int(positive.sum(1).max())


def _triplet_weights(
    distances: Tensor, positive: Tensor, negative: Tensor, *, margin: float, width: int
) -> tuple[Tensor, Tensor]:
    """Return W of batch_all_triplet_sums, float [B, B], and the number of active triplets.

    Args:
        distances: float [B, B]; positive, negative: bool [B, B], without the diagonal.
        width: at least as many as any anchor has positives. More gives the same.
    """
    # The positives of an anchor fill the last places of its row; -inf, never active, fills the rest.
    thresholds = (distances + margin).masked_fill(~positive, -torch.inf)
    thresholds, columns = thresholds.topk(width, dim=1)  # [B, width], falling
    thresholds, columns = thresholds.flip(1).contiguous(), columns.flip(1)
    ranks = torch.searchsorted(thresholds, distances, right=True)  # [B, B] in 0..width
    nearer_positives = (width - ranks) * negative
    histogram = torch.zeros(len(distances), width + 1, dtype=torch.int64, device=distances.device)
    histogram.scatter_add_(1, ranks, negative.long())
    nearer_negatives = histogram.cumsum(1)[:, :width]
    weights = -nearer_positives.to(distances.dtype)
    weights.scatter_add_(1, columns, nearer_negatives.to(distances.dtype))
    return weights, nearer_positives.sum()


def reduce_triplets(sums: TripletSums, *, reduction: str = "all") -> Tensor:
    """Average TripletSums over all triplets, or over the active ones: a float32 scalar."""
    if reduction not in REDUCTIONS:
        raise UsageError(f"reduction ({reduction!r}) must be one of {', '.join(REDUCTIONS)}.")
    count = sums.num_triplets if reduction == "all" else sums.num_active
    return (sums.total / count.clamp_min(1)).float()


def batch_all_triplet_loss(embeddings: Tensor, labels: Tensor, *, margin: float, reduction: str = "all") -> Tensor:
    """Average the hinge max(0, margin + d(a,p) - d(a,n)) over the ordered triplets of the batch.

    Args:
        embeddings: float [B, L].
        labels: int64 [B], or bool [B, num_classes].
        margin: in units of the squared Euclidean distance d.
        reduction: "all" averages over every triplet, "active" over those with a positive hinge.
    Returns:
        float32 scalar with a graph; 0 where the batch has no valid (or no active) triplet.
    Raises:
        UsageError: margin, reduction or a shape is not allowed.
    Source: see batch_all_triplet_sums.
    """
    return reduce_triplets(batch_all_triplet_sums(embeddings, labels, margin=margin), reduction=reduction)


def center_loss(embeddings: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Return the central similarity loss: the binary cross-entropy between embeddings and the centres of their classes.

    An entry h of an embedding, from -1 to 1, is read as the probability (1 + h) / 2 of a 1. Of a sample with several
    labels, the target is the mean of their centres.

    Args:
        embeddings: float [B, L].
        labels: int64 [B], or bool [B, num_classes]; samples without a label do not count. Or shares of classes, float
            [B, num_classes].
        centers: +1 or -1, float [num_classes, L]: `hash_centers`.
    Returns:
        float32 scalar, a mean over entries; 0 with a graph where no sample has a label.
    Source: Yuan et al., Central Similarity Quantization for Efficient Image and Video Retrieval, CVPR 2020,
        equations 3 to 5; there the centre of several labels is a vote, with draws at random.
    """
    shares = F.one_hot(labels, len(centers)).float() if labels.ndim == 1 else labels.float()
    counts = shares.sum(1, keepdim=True)
    targets = (shares @ centers / counts.clamp_min(1) + 1) / 2
    chances = ((1 + embeddings.float()) / 2).clamp(1e-6, 1 - 1e-6)
    losses = F.binary_cross_entropy(chances, targets, reduction="none").mean(1)
    has_label = counts[:, 0] > 0
    return (losses * has_label).sum() / has_label.sum().clamp_min(1)


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    shares: Tensor | None = None,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy, a mean over the batch: softmax for one label a video, binary for several.

    The binary one is a sum over the classes, so that one class_weight serves both. With C classes and one label a
    video, a class head that knows nothing gives each class its share 1/C. There

        softmax:  ln C                                       gradient of a logit: (1/C - y) / B
        binary:   ln C + (C - 1) ln(C / (C - 1)) < ln C + 1  gradient of a logit: (1/C - y) / B

    the gradients are the same, and the sizes too, but for less than 1. A mean over the classes would be C times
    smaller; next to the triplet loss, which does not shrink with C, the class head would learn C times slower.

    Args:
        logits: float [B, num_classes].
        labels: int64 [B], or bool [B, num_classes].
        label_smoothing: share of a label that is spread over all classes; of one label a video.
        shares: float [B, num_classes], in the place of labels that were mixed: `training.mixing`.
        class_weights: float [num_classes]; with one label a video, the mean is one over the weights of the batch.
    Returns:
        float32 scalar.
    """
    logits, weights = logits.float(), class_weights
    if labels.ndim == 2:
        targets = labels.float() if shares is None else shares
        return F.binary_cross_entropy_with_logits(logits, targets, weight=weights, reduction="sum") / len(labels)
    if shares is None:
        return F.cross_entropy(logits, labels, weight=weights, label_smoothing=label_smoothing)
    total = F.cross_entropy(logits, shares, weight=weights, label_smoothing=label_smoothing, reduction="sum")
    return total / (len(shares) if weights is None else (shares @ weights).sum())


def inverse_class_weights(labels: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Return what makes classes count alike in the cross-entropy, whatever their sizes: float32, mean 1 over videos.

    Args:
        labels: int64 [N], or bool [N, num_classes].
    Returns:
        [num_classes], in the inverse proportion of how often a class occurs; 1 for one that does not.
    """
    counts = np.bincount(labels, minlength=num_classes) if labels.ndim == 1 else labels.sum(axis=0)
    weights = np.where(counts > 0, counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1)), 1.0)
    return weights.astype(np.float32)


class BatchAllTripletLoss(nn.Module):
    """`batch_all_triplet_loss` as a module, for training loops that collect their losses."""

    def __init__(self, *, margin: float, reduction: str = "all") -> None:
        super().__init__()
        if not margin >= 0:
            raise UsageError(f"margin ({margin}) must be 0 or more; 14 suits 48 bits.")
        self.margin, self.reduction = margin, reduction

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return batch_all_triplet_loss(embeddings, labels, margin=self.margin, reduction=self.reduction)
