"""Predictions and labels -> what a classification is judged by, class by class. NumPy only.

Precision, recall, F1 and support have the names, the layout and the values of scikit-learn's `classification_report`.
Where a class is never predicted its precision is 0, and so is the recall of one that does not occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from c3dhash.errors import CodesError, UsageError
from c3dhash.evaluation.accuracy import confusion_matrix

NUM_BINS = 15  # of confidence; Guo et al. 2017, section 4.1
THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))
MEANS = ("accuracy", "micro avg", "macro avg", "weighted avg", "samples avg")
Row = dict[str, float | int]


def classification_report(
    predictions: np.ndarray, labels: np.ndarray, *, classes: Sequence[str]
) -> dict[str, Row | float]:
    """Compute precision, recall, F1 and support of each class that occurs or is predicted, and their means.

    Args:
        predictions, labels: int [N], indices into `classes`; or bool [N, num_classes] where a sample may have several,
            and then every class is listed.
        classes: names.
    Returns:
        As of `sklearn.metrics.classification_report(labels, predictions, output_dict=True, zero_division=0)`: a row a
        class, "macro avg", "weighted avg", and "accuracy"; for several labels "micro avg" and "samples avg" instead. A
        class of one of these names gets " (class)" behind it.
    Raises:
        CodesError: they are empty or do not fit.
    """
    if labels.ndim == 2:
        _check_indicators(predictions, labels)
        hits = (predictions & labels).sum(axis=0)
        num_predicted, support = predictions.sum(axis=0), labels.sum(axis=0)
        shown = np.arange(len(classes))
    else:
        confusion = confusion_matrix(predictions, labels, num_classes=len(classes))
        hits, num_predicted, support = np.diagonal(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
        shown = np.flatnonzero(num_predicted + support)
    hits, num_predicted, support = hits[shown], num_predicted[shown], support[shown]
    precision, recall, f1 = _scores(hits, num_predicted, support)
    report: dict[str, Row | float] = {
        _row_name(classes[index]): _row((precision[row], recall[row], f1[row]), support=support[row])
        for row, index in enumerate(shown.tolist())
    }
    total = int(support.sum())
    if labels.ndim == 2:
        report["micro avg"] = _row(_scores(hits.sum(), num_predicted.sum(), support.sum()), support=total)
    else:
        report["accuracy"] = float(hits.sum() / total)
    report["macro avg"] = _row([part.mean() for part in (precision, recall, f1)], support=total)
    weighted = [_share((part * support).sum(), total) for part in (precision, recall, f1)]
    report["weighted avg"] = _row(weighted, support=total)
    if labels.ndim == 2:
        rows = _scores((predictions & labels).sum(axis=1), predictions.sum(axis=1), labels.sum(axis=1))
        report["samples avg"] = _row([part.mean() for part in rows], support=total)
    return report


def describe_classes(report: dict[str, Row | float]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Turn a report into a header and rows for people."""
    names = ("precision", "recall", "f1-score", "support")
    rows: list[tuple[str, ...]] = []
    for name, value in report.items():
        if isinstance(value, dict):
            rows.append((name, *(f"{value[key]:.3f}" for key in names[:3]), str(value["support"])))
        else:
            rows.append((name, "", "", f"{value:.3f}", ""))
    return ("class", *names), rows


def threshold_table(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Say how good decisions at each threshold are, where a sample may have several labels.

    Args:
        probabilities: float [N, num_classes], 0..1.
        labels: bool [N, num_classes].
    Returns:
        A row a threshold of THRESHOLDS: "threshold"; "precision", "recall" and "f1-score" over all decisions; "macro
        f1-score", the mean over the classes.
    """
    _check_indicators(probabilities, labels)
    rows = []
    for threshold in THRESHOLDS:
        predictions = probabilities >= threshold
        counts = [(predictions & labels).sum(axis=0), predictions.sum(axis=0), labels.sum(axis=0)]
        precision, recall, f1 = _scores(*(count.sum() for count in counts))
        macro = _scores(*counts)[2].mean()
        row = (threshold, float(precision), float(recall), float(f1), float(macro))
        rows.append(dict(zip(("threshold", "precision", "recall", "f1-score", "macro f1-score"), row, strict=True)))
    return rows


@dataclass(frozen=True)
class Calibration:
    """Confidence beside accuracy, in bins of equal width from 0 to 1: int64 or float64 [bins]; NaN where one is empty.

    ece: the expected calibration error, 0..1.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float


def calibration(probabilities: np.ndarray, labels: np.ndarray, *, num_bins: int = NUM_BINS) -> Calibration:
    """Compare how sure a network is of its first class with how often it is right.

        ECE = sum over bins of  count / N  *  |accuracy - confidence|

    Args:
        probabilities: float [N, num_classes], 0..1.
        labels: int [N].
        num_bins: the bin (b / num_bins, (b + 1) / num_bins]; a confidence of 0 is in the first.
    Raises:
        UsageError: num_bins below 1.
        CodesError: they are empty or do not fit.
    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equations 2 to 5.
    """
    if num_bins < 1:
        raise UsageError(f"num_bins ({num_bins}) must be 1 or more; {NUM_BINS} is usual.")
    if probabilities.ndim != 2 or not len(probabilities) or labels.shape != probabilities.shape[:1]:
        raise CodesError(
            f"probabilities must be [N, num_classes] with a label each, got {list(probabilities.shape)} with "
            f"{list(labels.shape)}."
        )
    best = probabilities.argmax(axis=1)
    sure, is_right = probabilities[np.arange(len(best)), best].astype(np.float64), best == labels
    places = np.clip(np.ceil(sure * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(places, minlength=num_bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: an empty bin
        confidence = np.bincount(places, weights=sure, minlength=num_bins) / count
        accuracy = np.bincount(places, weights=is_right, minlength=num_bins) / count
    gaps = np.nan_to_num(np.abs(accuracy - confidence))
    return Calibration(count, confidence, accuracy, float((count * gaps).sum() / len(best)))


def confused_pairs(confusion: np.ndarray, *, top: int = 10) -> list[tuple[int, int, int]]:
    """Return which class was taken for which other most often: (class, predicted, count), the most frequent first.

    Args:
        confusion: int [num_classes, num_classes], of `confusion_matrix`.
        top: how many at most; of equal counts, in the order of the classes.
    """
    mistakes = confusion - np.diag(np.diagonal(confusion))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:top]
    pairs = zip(*np.unravel_index(order, mistakes.shape), strict=True)
    return [(int(true), int(predicted), int(mistakes[true, predicted])) for true, predicted in pairs
            if mistakes[true, predicted]]  # fmt: skip


def neighbour_order(confusion: np.ndarray) -> np.ndarray:
    """Order classes so that those that are taken for each other stand side by side.

    Chains of classes are joined, at each step the two with the most confusion between a class of the one and a class of
    the other on average, and turned so that the ends that meet are the two that are confused more. Classes without a
    mistake keep their order, at the end.

    Args:
        confusion: int [num_classes, num_classes], of `confusion_matrix`.
    Returns:
        int64 [num_classes], the indices of the classes.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    likeness = shares + shares.T
    np.fill_diagonal(likeness, 0)
    chains: dict[int, list[int]] = {index: [index] for index in range(len(likeness))}
    between, sizes = likeness.copy(), np.ones(len(likeness))
    while True:
        means = between / np.outer(sizes, sizes)
        first, second = divmod(int(means.argmax()), len(means))
        if not means[first, second] > 0:
            break
        first, second = min(first, second), max(first, second)
        chains[first] = _join(chains[first], chains.pop(second), likeness)
        between[first] += between[second]
        between[:, first] += between[:, second]
        between[first, first] = 0
        between[second] = between[:, second] = 0
        sizes[first] += sizes[second]
    joined = sorted(chains.values(), key=lambda chain: len(chain) == 1)  # stable
    return np.array([index for chain in joined for index in chain])


def _join(one: list[int], other: list[int], likeness: np.ndarray) -> list[int]:
    """Put two chains behind each other, turned so that the likest ends meet."""
    ways = [(left, right) for left in (one, one[::-1]) for right in (other, other[::-1])]
    left, right = max(ways, key=lambda way: likeness[way[0][-1], way[1][0]])
    return [*left, *right]


def _scores(hits: np.ndarray, num_predicted: np.ndarray, support: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return precision, recall and F1 of counts."""
    return _share(hits, num_predicted), _share(hits, support), _share(2 * hits, num_predicted + support)


def _share(part: Any, whole: Any) -> np.ndarray:
    """Divide; 0 where there is nothing to divide by."""
    return np.asarray(np.asarray(part, np.float64) / np.maximum(whole, 1))


def _row_name(name: str) -> str:
    """Return the name of a class's row, which may not be that of a mean."""
    return f"{name} (class)" if name in MEANS else name


def _row(scores: Sequence[Any], *, support: Any) -> Row:
    precision, recall, f1 = map(float, scores)
    return {"precision": precision, "recall": recall, "f1-score": f1, "support": int(support)}


def _check_indicators(predictions: np.ndarray, labels: np.ndarray) -> None:
    if labels.dtype != bool or labels.ndim != 2 or not labels.size or predictions.shape != labels.shape:
        raise CodesError(
            f"labels must be bool [N, num_classes] as what is predicted, got {labels.dtype} {list(labels.shape)} for "
            f"{list(predictions.shape)}."
        )
