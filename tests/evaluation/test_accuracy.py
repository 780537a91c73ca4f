"""Classification metrics by hand, and against slow definitions."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest

from c3dhash.errors import CodesError, UsageError
from c3dhash.evaluation.accuracy import (
    confusion_matrix,
    label_average_precision,
    mean_class_accuracy,
    recognition_report,
    top_k_accuracy,
)
from c3dhash.evaluation.metrics import mean_defined

SCORES = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5], [0.9, 0.05, 0.05]])


def test_top_k_accuracy_by_hand() -> None:
    labels = np.array([1, 2, 0, 0])  # ranks of the true class: 1, 2, 3, 1
    assert top_k_accuracy(SCORES, labels, k=1) == 2 / 4
    assert top_k_accuracy(SCORES, labels, k=2) == 3 / 4
    assert top_k_accuracy(SCORES, labels, k=3) == 1
    assert top_k_accuracy(SCORES, labels, k=5) == 1  # more than there are classes


def test_ties_in_scores_do_not_help() -> None:
    same = np.zeros((4, 5))
    labels = np.array([0, 1, 2, 4])
    assert top_k_accuracy(same, labels, k=1) == 0
    assert top_k_accuracy(same, labels, k=4) == 0
    assert top_k_accuracy(same, labels, k=5) == 1
    # The true class 0 shares the second place with class 2: it is counted as third.
    assert top_k_accuracy(np.array([[0.2, 0.6, 0.2]]), np.array([0]), k=2) == 0


def test_confusion_matrix_by_hand() -> None:
    labels, predictions = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 0, 1, 0, 2])
    confusion = confusion_matrix(predictions, labels, num_classes=4)
    assert confusion.dtype == np.int64
    assert confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    # (2/3 + 1/1 + 1/2) / 3; class 3 does not occur
    assert mean_class_accuracy(confusion) == pytest.approx(13 / 18)


def test_confusion_matrix_of_small_unsigned_classes() -> None:
    classes = np.array([0, 199], np.uint8)  # 199 * 200 does not fit into their type
    assert confusion_matrix(classes, classes, num_classes=200)[199, 199] == 1


def test_label_average_precision_by_hand() -> None:
    scores = np.array([[0.9, 0.5], [0.8, 0.5], [0.7, 0.5], [0.6, 0.5]])
    labels = np.array([[1, 1], [0, 0], [1, 0], [0, 0]], bool)
    # class 0: relevant at ranks 1 and 3, AP = (1/1 + 2/3) / 2 = 5/6
    # class 1: one relevant item in four tied, AP = (1/1 + 1/2 + 1/3 + 1/4) / 4 = 25/48
    assert label_average_precision(scores, labels) == pytest.approx([5 / 6, 25 / 48])


def test_label_average_precision_equals_all_orders() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (6, 5)).astype(np.float32)
    labels = rng.random((6, 5)) < 0.5
    for index, got in enumerate(label_average_precision(scores, labels)):
        values = []
        for order in itertools.permutations(range(6)):
            ranked = sorted(order, key=lambda item: -scores[item, index])  # stable: ties stay in this order
            hits = [rank for rank, item in enumerate(ranked, start=1) if labels[item, index]]
            values.append(sum(Fraction(j, rank) for j, rank in enumerate(hits, start=1)) / len(hits))
        assert got == pytest.approx(float(sum(values) / len(values)))


def test_a_class_without_samples_is_left_out_of_macro_map() -> None:
    labels = np.array([[1, 0], [0, 0]], bool)
    per_class = label_average_precision(np.array([[0.9, 0.1], [0.2, 0.3]]), labels)
    assert per_class[0] == 1
    assert np.isnan(per_class[1])
    assert mean_defined(per_class) == 1


def test_k_below_one() -> None:
    with pytest.raises(UsageError, match=re.escape("k (0) must be 1 or above")):
        top_k_accuracy(SCORES, np.zeros(4, np.int64), k=0)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (SCORES[0], "got float64 [3]."),
        (SCORES[:0], "got float64 [0, 3]."),
        (SCORES > 0.5, "got bool [4, 3]."),
        (np.where(SCORES == 0.6, np.nan, SCORES), "1 of 4 rows of scores have a NaN."),
    ],
)
def test_scores_that_cannot_be_ranked(scores: np.ndarray, message: str) -> None:
    with pytest.raises(CodesError, match=re.escape(message)):
        top_k_accuracy(scores, np.zeros(4, np.int64), k=1)
    with pytest.raises(CodesError, match=re.escape(message)):
        label_average_precision(scores, np.zeros(scores.shape, bool))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, np.int64), "labels must be one per sample, got 3 for 4 samples."),
        (np.zeros(4), "labels must be int [N] and not empty, got float64 [4]."),
        (np.zeros(0, np.int64), "labels must be int [N] and not empty, got int64 [0]."),
        (np.array([0, 1, 2, 3]), "labels must be classes 0 to 2, got 3."),
        (np.array([0, 1, 2, -1]), "labels must be classes 0 to 2, got -1."),
    ],
)
def test_labels_that_do_not_fit_the_scores(labels: np.ndarray, message: str) -> None:
    with pytest.raises(CodesError, match=re.escape(message)):
        top_k_accuracy(SCORES, labels, k=1)


def test_predictions_and_labels_that_do_not_fit() -> None:
    with pytest.raises(CodesError, match=re.escape("predictions must be classes 0 to 1, got 2.")):
        confusion_matrix(np.array([0, 2]), np.array([0, 1]), num_classes=2)
    with pytest.raises(CodesError, match=re.escape("labels must be one per prediction, got 1 for 2.")):
        confusion_matrix(np.array([0, 1]), np.array([0]), num_classes=2)


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (np.ones((2, 3), int), "got [2, 3] with 6 samples."),
        (np.zeros((2, 2), int), "got [2, 2] with 0 samples."),
    ],
)
def test_a_confusion_matrix_without_meaning(confusion: np.ndarray, message: str) -> None:
    with pytest.raises(CodesError, match=re.escape(message)):
        mean_class_accuracy(confusion)


def test_multi_labels_of_another_shape() -> None:
    with pytest.raises(CodesError, match=re.escape("labels must be bool [4, 3] as the scores, got bool [4, 2].")):
        label_average_precision(SCORES, np.zeros((4, 2), bool))
    with pytest.raises(CodesError, match=re.escape("got int64 [4, 3].")):
        label_average_precision(SCORES, np.zeros((4, 3), np.int64))


def test_recognition_by_hand() -> None:
    scores = np.array([[3.0, 2, 1], [1, 3, 2], [3, 1, 2], [3, 2, 1]])
    # right at rank 1: first and second. Class 0: 1 of 1; class 1: 1 of 2; class 2: 0 of 1.
    numbers = recognition_report(scores, np.array([0, 1, 2, 1]))
    assert numbers == {"accuracy@1": 0.5, "accuracy@5": 1.0, "mean_class_accuracy": pytest.approx(0.5)}
    labels = np.array([[True, False, False]] * 4)
    assert set(recognition_report(scores, labels)) == {"class_mAP"}
