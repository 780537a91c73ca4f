"""Classification metrics on scores: top-k accuracy, confusion matrix, macro mAP. NumPy only.

A tie between scores never helps. An untrained network that gives every class one score is not right
because the true class happened to be sorted first.
"""

from __future__ import annotations

import numpy as np

from c3dhash.errors import CodesError, UsageError
from c3dhash.evaluation import ties
from c3dhash.evaluation.metrics import mean_defined


def recognition_report(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """Return accuracy@1, accuracy@5 and the mean over classes; macro mAP for multi-label data.

    Args:
        scores: float [N, num_classes].
        labels: int64 [N], or bool [N, num_classes].
    """
    if labels.ndim == 2:
        return {"class_mAP": mean_defined(label_average_precision(scores, labels))}
    confusion = confusion_matrix(scores.argmax(axis=1), labels, num_classes=scores.shape[1])
    return {
        "accuracy@1": top_k_accuracy(scores, labels, k=1),
        "accuracy@5": top_k_accuracy(scores, labels, k=5),
        "mean_class_accuracy": mean_class_accuracy(confusion),
    }


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, *, k: int) -> float:
    """Compute the share of samples whose class is among the k highest scores.

    Ties: a class with the same score as the true class counts as ranked before it. A sample is
    right if and only if fewer than k *other* classes have a score at or above that of its own.

    Args:
        scores: float [N, num_classes]; logits and probabilities give the same.
        labels: int [N], 0..num_classes - 1.
        k: classes; with k >= num_classes every sample is right.
    Returns:
        float, 0..1.
    Raises:
        UsageError: k below 1.
        CodesError: scores and labels are empty or do not fit, or a score is NaN.
    """
    if k < 1:
        raise UsageError(f"k ({k}) must be 1 or above; top-1 and top-5 are common.")
    _check_scores(scores)
    _check_classes(labels, num_classes=scores.shape[1], name="labels")
    if len(labels) != len(scores):
        raise CodesError(f"labels must be one per sample, got {len(labels)} for {len(scores)} samples.")
    own_scores = scores[np.arange(len(labels)), labels]
    num_before = (scores >= own_scores[:, None]).sum(axis=1) - 1  # the class itself does not count
    return float((num_before < k).mean())


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Count how often each class was taken for each.

    Args:
        predictions, labels: int [N], 0..num_classes - 1.
        num_classes: classes.
    Returns:
        int64 [num_classes, num_classes]: row = true class, column = predicted class.
    Raises:
        CodesError: empty, of different lengths, or a class outside 0..num_classes - 1.
    """
    _check_classes(predictions, num_classes=num_classes, name="predictions")
    _check_classes(labels, num_classes=num_classes, name="labels")
    if len(predictions) != len(labels):
        raise CodesError(f"labels must be one per prediction, got {len(labels)} for {len(predictions)}.")
    cells = labels.astype(np.int64) * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def mean_class_accuracy(confusion: np.ndarray) -> float:
    """Average the accuracy over the classes, so that each counts alike however many samples it has.

    Args:
        confusion: int [num_classes, num_classes], of `confusion_matrix`.
    Returns:
        float, 0..1; a class without any sample is left out.
    Raises:
        CodesError: not square, or no sample in it.
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or not confusion.any():
        raise CodesError(
            f"a confusion matrix must be square and hold a sample, got {list(confusion.shape)} "
            f"with {int(confusion.sum())} samples."
        )
    num_samples = confusion.sum(axis=1)
    occurs = num_samples > 0
    return float((np.diagonal(confusion)[occurs] / num_samples[occurs]).mean())


def label_average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the average precision of each class: samples ranked by the class's score.

    Its mean over the classes that occur, `c3dhash.evaluation.metrics.mean_defined`, is the macro mAP of
    multi-label recognition. Equal scores are ties: AP is the mean over all their orders.

    Args:
        scores: float [N, num_classes].
        labels: bool [N, num_classes].
    Returns:
        float64 [num_classes], 0..1; NaN for a class without any sample.
    Raises:
        CodesError: scores and labels are empty or do not fit, or a score is NaN.
    Source:
        McSherry and Najork, ECIR 2008; see Note [Ties in Hamming ranking] in c3dhash/evaluation/ties.py.
    """
    _check_scores(scores)
    if labels.dtype != bool or labels.shape != scores.shape:
        raise CodesError(
            f"labels must be bool {list(scores.shape)} as the scores, got {labels.dtype} {list(labels.shape)}."
        )
    return np.array([_tied_ap(scores[:, index], labels[:, index]) for index in range(scores.shape[1])])


def _tied_ap(scores: np.ndarray, is_relevant: np.ndarray) -> float:
    """Compute the expected AP of one ranking by scores, float [N]; NaN where nothing is relevant."""
    if not is_relevant.any():
        return float("nan")
    _, group_of = np.unique(-scores, return_inverse=True)  # group 0 has the highest score
    size = np.bincount(group_of)
    relevant = np.bincount(group_of[is_relevant], minlength=len(size))
    before = np.cumsum(size) - size, np.cumsum(relevant) - relevant
    sums = ties.expected_sum(ties.TieGroups(size, relevant, *before, taken=size))
    return float(sums.sum() / is_relevant.sum())


def _check_scores(scores: np.ndarray) -> None:
    if scores.ndim != 2 or scores.dtype.kind != "f" or not scores.size:
        raise CodesError(
            f"scores must be float [N, num_classes] and not empty, got {scores.dtype} {list(scores.shape)}."
        )
    is_nan = np.isnan(scores)
    if is_nan.any():
        raise CodesError(f"{int(is_nan.any(axis=1).sum())} of {len(scores)} rows of scores have a NaN.")


def _check_classes(classes: np.ndarray, *, num_classes: int, name: str) -> None:
    if classes.ndim != 1 or classes.dtype.kind not in "iu" or not len(classes):
        raise CodesError(f"{name} must be int [N] and not empty, got {classes.dtype} {list(classes.shape)}.")
    if classes.min() < 0 or classes.max() >= num_classes:
        wrong = classes.min() if classes.min() < 0 else classes.max()
        raise CodesError(f"{name} must be classes 0 to {num_classes - 1}, got {wrong}.")
