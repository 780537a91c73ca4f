"""What is measured on the val split; the first of it chooses the weights that are kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from c3dhash.bits import pack_codes
from c3dhash.evaluation.accuracy import label_average_precision, top_k_accuracy
from c3dhash.evaluation.counts import calibrate, rank_counts
from c3dhash.evaluation.metrics import average_precision, code_health, embedding_health, mean_defined
from c3dhash.models.calibration import Calibration
from c3dhash.models.encode import Encoded
from c3dhash.training.losses import classification_loss

logger = logging.getLogger(__name__)

MIN_GALLERY, GALLERY_SHARE = 500, 2  # videos, at least; and for each val video


def val_gallery(labels: np.ndarray, *, num_val: int, seed: int, takes_all: bool) -> np.ndarray:
    """Choose the training videos that val videos are searched in: indices, ascending.

    The val videos are the queries of the protocol that is reported, and the training videos its gallery: searched among
    each other alone, few of them have an answer. Of large data sets a part of the training videos is enough, drawn
    once: to encode them takes a part of every epoch.

    Args:
        labels: of the training videos, int64 [N], or bool [N, num_classes].
        num_val: how many val videos there are.
        takes_all: where encoding costs nothing.
    """
    size = max(MIN_GALLERY, GALLERY_SHARE * num_val)
    if takes_all or size >= len(labels):
        return np.arange(len(labels))
    return np.sort(np.random.default_rng(seed).permutation(len(labels))[:size])


class Validation(NamedTuple):
    """What was measured: numbers by name, and, where the network makes codes, how often which distance was right."""

    metrics: dict[str, float]
    calibration: Calibration | None = None


def validate(
    val: Encoded, val_labels: np.ndarray, gallery: Encoded | None = None, gallery_labels: np.ndarray | None = None
) -> Validation:
    """Measure on the val split: each video queries training videos; accuracy; health of the codes.

    Args:
        val: encoded val videos.
        val_labels: int64 [N], or bool [N, num_classes].
        gallery, gallery_labels: of training videos, where the network makes codes.
    Returns:
        Of metrics val_mAP (absent where no val video is of the class of a training video), val_class_loss, val_accuracy
        (macro mAP where multi-label), and what code_health and embedding_health say.
    """
    result: dict[str, float] = {}
    calibration = None
    if val.embeddings is not None:
        assert gallery is not None and gallery.embeddings is not None and gallery_labels is not None
        codes, hash_length = pack_codes(val.embeddings), val.embeddings.shape[1]
        counts = rank_counts(codes, pack_codes(gallery.embeddings), val_labels, gallery_labels, hash_length=hash_length)
        calibration = calibrate(counts, measured_on=f"{len(codes)} val videos in {len(gallery_labels)} training videos")
        mean_ap = mean_defined(average_precision(counts))
        if mean_ap is None:
            logger.warning(
                "no val video is of the class of a training video: val mAP is not defined and chooses no epoch."
            )
        else:
            result["val_mAP"] = mean_ap
        health = {**code_health(codes, hash_length=hash_length), **embedding_health(val.embeddings)}
        result.update({f"val_{name}": value for name, value in health.items() if value is not None})
    if val.scores is not None:
        loss = classification_loss(torch.from_numpy(val.scores), torch.from_numpy(val_labels))
        result["val_class_loss"] = float(loss)
        if val_labels.ndim == 2:
            result["val_accuracy"] = mean_defined(label_average_precision(val.scores, val_labels)) or 0.0
        else:
            result["val_accuracy"] = top_k_accuracy(val.scores, val_labels, k=1)
    return Validation(result, calibration)


def warn_on_collapse(history: Sequence[dict[str, float]], *, hash_length: int, num_codes: int) -> None:
    """Log a warning when the codes have collapsed, and again where they do so anew.

    Args:
        history: rows that `validate` has measured, the newest last.
        num_codes: how many codes it is about.
    """
    collapsed = [is_collapsed(row, hash_length=hash_length, num_codes=num_codes) for row in history[-2:]]
    if collapsed in ([True], [False, True]):
        logger.warning(
            "the codes collapse: %d of %d bits are dead, %d distinct codes for %d videos. A lower learning rate, "
            "--triplet-reduction active or more classes a batch may help.",
            history[-1]["val_dead_bits"], hash_length, history[-1]["val_distinct_codes"], num_codes,
        )  # fmt: skip


def is_collapsed(val: dict[str, float], *, hash_length: int, num_codes: int) -> bool:
    """Tell whether the codes have stopped to tell videos apart.

    Args:
        val: from `validate`.
        num_codes: how many codes it is about.
    """
    if num_codes <= 4 or "val_distinct_codes" not in val:
        return False
    return val["val_distinct_codes"] < 3 or val["val_dead_bits"] > hash_length / 2
