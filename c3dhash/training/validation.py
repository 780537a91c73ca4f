"""What is measured on the val split after every epoch; the first of it chooses the weights that are kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from c3dhash.bits import pack_codes
from c3dhash.datasets.groups import group_key
from c3dhash.evaluation.accuracy import label_average_precision, top_k_accuracy
from c3dhash.evaluation.metrics import average_precision, code_health, embedding_health, mean_defined, rank_counts
from c3dhash.models.encode import Encoded
from c3dhash.records import Sample

logger = logging.getLogger(__name__)


def validate(encoded: Encoded, samples: Sequence[Sample], labels: np.ndarray) -> dict[str, float]:
    """Measure on the val split: each video queries all others that are not of its group; accuracy; health of the codes.

    Args:
        encoded: of the samples, in their order.
        labels: int64 [N], or bool [N, num_classes].
    Returns:
        val_mAP (absent where no video has another of its class outside its group), val_accuracy (macro mAP where
        multi-label), and what code_health and embedding_health say.
    """
    result: dict[str, float] = {}
    if encoded.embeddings is not None:
        codes, hash_length = pack_codes(encoded.embeddings), encoded.embeddings.shape[1]
        _, groups = np.unique([group_key(sample) for sample in samples], return_inverse=True)
        counts = rank_counts(codes, codes, labels, labels, hash_length=hash_length)
        mean_ap = mean_defined(average_precision(counts.without_own_group(codes, labels, groups)))
        if mean_ap is None:
            logger.warning(
                "no val video has another of its class from another source: val mAP is not defined and does not choose "
                "the epoch."
            )
        else:
            result["val_mAP"] = mean_ap
        health = {**code_health(codes, hash_length=hash_length), **embedding_health(encoded.embeddings)}
        result.update({f"val_{name}": value for name, value in health.items() if value is not None})
    if encoded.scores is not None:
        if labels.ndim == 2:
            result["val_accuracy"] = mean_defined(label_average_precision(encoded.scores, labels)) or 0.0
        else:
            result["val_accuracy"] = top_k_accuracy(encoded.scores, labels, k=1)
    return result


def warn_on_collapse(history: Sequence[dict[str, float]], *, hash_length: int, num_codes: int) -> None:
    """Log a warning in the first epoch in which the codes have collapsed, and again where they do so anew.

    Args:
        history: a row for each epoch so far, with what `validate` says.
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
