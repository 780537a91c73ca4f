"""Precision, recall and F1 against scikit-learn; calibration and the order of classes by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import classification_report as by_scikit_learn
from sklearn.metrics import confusion_matrix as confusion_by_scikit_learn
from sklearn.metrics import precision_recall_fscore_support

from c3dhash.errors import CodesError, UsageError
from c3dhash.evaluation.accuracy import confusion_matrix
from c3dhash.evaluation.classification import (
    calibration,
    classification_report,
    confused_pairs,
    describe_classes,
    neighbour_order,
    threshold_table,
)

CLASSES = ("walk", "run", "jump", "sit", "fall")


def flat(report: dict) -> dict:
    return {
        (name, key): number
        for name, value in report.items()
        for key, number in (value.items() if isinstance(value, dict) else [("", value)])
    }


@given(hnp.arrays(np.int64, st.tuples(st.just(2), st.integers(1, 30)), elements=st.integers(0, 4)))
def test_single_labels_as_scikit_learn(drawn):
    labels, predictions = drawn
    report = classification_report(predictions, labels, classes=CLASSES)
    shown = sorted({*labels.tolist(), *predictions.tolist()})
    expected = by_scikit_learn(
        labels, predictions, labels=shown, target_names=[CLASSES[place] for place in shown], output_dict=True,
        zero_division=0,
    )  # fmt: skip
    assert list(report) == list(expected)
    assert flat(report) == pytest.approx(flat(expected))
    matrix = confusion_matrix(predictions, labels, num_classes=5)
    assert (matrix == confusion_by_scikit_learn(labels, predictions, labels=range(5))).all()


@given(hnp.arrays(bool, st.tuples(st.just(2), st.integers(1, 12), st.just(5))))
def test_several_labels_as_scikit_learn(drawn):
    labels, predictions = drawn
    report = classification_report(predictions, labels, classes=CLASSES)
    expected = by_scikit_learn(labels, predictions, target_names=CLASSES, output_dict=True, zero_division=0)
    assert set(report) == set(expected)
    assert flat(report) == pytest.approx(flat(expected))


def test_rows_for_people():
    header, rows = describe_classes(classification_report(np.array([0, 1, 1]), np.array([0, 0, 1]), classes=CLASSES))
    assert header == ("class", "precision", "recall", "f1-score", "support")
    assert rows[:3] == [
        ("walk", "1.000", "0.500", "0.667", "2"), ("run", "0.500", "1.000", "0.667", "1"),
        ("accuracy", "", "", "0.667", ""),
    ]  # fmt: skip


def test_thresholds_as_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.random((20, 5)), rng.random((20, 5)) < 0.4
    rows = threshold_table(probabilities, labels)
    assert [row["threshold"] for row in rows] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    for row in rows:
        predicted = probabilities >= row["threshold"]
        micro = precision_recall_fscore_support(labels, predicted, average="micro", zero_division=0)
        macro = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
        assert list(row.values())[1:] == pytest.approx([*micro[:3], macro[2]])


def test_calibration_by_hand():
    # Two bins. Below 1/2: one video, sure 0.4 and wrong. Above: sure 0.6 (right), 0.8 (wrong), 1.0 (right).
    probabilities = np.array([[0.4, 0.3, 0.3], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0, 0, 1]])
    result = calibration(probabilities, np.array([1, 0, 0, 2]), num_bins=2)
    assert result.count.tolist() == [1, 3]
    assert result.accuracy == pytest.approx([0, 2 / 3])
    assert result.confidence == pytest.approx([0.4, 0.8])
    assert result.ece == pytest.approx(1 / 4 * 0.4 + 3 / 4 * (0.8 - 2 / 3))


def test_an_edge_belongs_to_the_bin_below_and_empty_bins_to_nobody():
    result = calibration(np.array([[0.5, 0.5], [1, 0]]), np.array([0, 0]), num_bins=4)
    assert result.count.tolist() == [0, 1, 0, 1]
    assert np.isnan(result.accuracy).tolist() == [True, False, True, False]
    assert result.ece == pytest.approx(0.25)


def test_the_surest_and_always_right_have_no_error():
    assert calibration(np.eye(3), np.arange(3)).ece == 0
    assert calibration(np.eye(3), np.array([1, 2, 0])).ece == 1


def test_confused_pairs_by_hand():
    confusion = np.array([[5, 2, 0], [0, 9, 2], [3, 0, 1]])
    assert confused_pairs(confusion) == [(2, 0, 3), (0, 1, 2), (1, 2, 2)]
    assert confused_pairs(confusion, top=1) == [(2, 0, 3)]
    assert confused_pairs(np.diag([1, 2])) == []


def test_classes_that_are_confused_become_neighbours():
    # 0 and 3 are taken for each other, and 1 and 4; 4 now and then for 3. 2 is always right.
    confusion = np.diag([10, 10, 10, 10, 10])
    confusion[0, 3], confusion[1, 4], confusion[4, 3] = 6, 5, 1
    assert neighbour_order(confusion).tolist() in ([0, 3, 4, 1, 2], [1, 4, 3, 0, 2])
    assert neighbour_order(np.diag([1, 2, 3])).tolist() == [0, 1, 2]


@given(hnp.arrays(np.int64, st.integers(1, 8).map(lambda n: (n, n)), elements=st.integers(0, 9)))
def test_every_class_is_in_the_order_once(confusion):
    assert sorted(neighbour_order(confusion)) == list(range(len(confusion)))


def test_blocks_are_found_again():
    """Three groups of classes that are confused among themselves, shuffled, stand together again."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([0, 1, 2], 6))
    confusion = np.where(groups[:, None] == groups, rng.integers(3, 9, (18, 18)), 0)
    ordered = groups[neighbour_order(confusion)]
    assert (ordered[:-1] != ordered[1:]).sum() == 2


def test_what_is_refused():
    with pytest.raises(UsageError, match=r"num_bins \(0\) must be 1 or more"):
        calibration(np.eye(2), np.arange(2), num_bins=0)
    with pytest.raises(CodesError, match=r"got \[2, 2\] with \[3\]"):
        calibration(np.eye(2), np.arange(3))
    with pytest.raises(CodesError, match=r"got bool \[2, 2\] for \[3, 2\]"):
        classification_report(np.ones((3, 2), bool), np.ones((2, 2), bool), classes=("a", "b"))
    with pytest.raises(CodesError, match=r"got int64 \[2, 2\]"):
        threshold_table(np.eye(2), np.ones((2, 2), np.int64))
