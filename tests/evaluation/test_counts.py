"""rank_counts against a loop over all pairs, and what it refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c3dhash.errors import CodesError
from c3dhash.evaluation import counts as counts_module
from c3dhash.evaluation.counts import RankCounts, rank_counts, score_counts
from c3dhash.evaluation.metrics import average_precision, precision_at_k

CODES = np.zeros((3, 1), np.uint8)
LABELS = np.array([0, 1, 1])


def make_problem(seed: int, *, hash_length: int, num_queries: int, num_items: int) -> list[np.ndarray]:
    """Random codes that resemble each other, and labels, -1 among them, in the order of rank_counts."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.05, 0.95, hash_length)
    sizes = num_queries, num_items
    codes = [np.packbits(rng.random((size, hash_length)) < share, axis=1) for size in sizes]
    return codes + [rng.integers(-1, 5, size) for size in sizes]


def slow_counts(problem: list[np.ndarray], *, hash_length: int) -> RankCounts:
    """Count pair by pair, from the definition."""
    query_codes, gallery_codes, query_labels, gallery_labels = problem
    every = np.zeros((len(query_codes), hash_length + 1), np.int64)
    relevant = np.zeros_like(every)
    for query, (query_code, query_label) in enumerate(zip(query_codes, query_labels, strict=True)):
        for code, label in zip(gallery_codes, gallery_labels, strict=True):
            distance = int(np.unpackbits(query_code ^ code).sum())
            every[query, distance] += 1
            if query_label.ndim:
                relevant[query, distance] += bool((query_label & label).any())
            else:
                relevant[query, distance] += query_label == label and query_label >= 0
    return RankCounts(every, relevant)


def assert_equal(one: RankCounts, other: RankCounts) -> None:
    assert np.array_equal(one.all_counts, other.all_counts)
    assert np.array_equal(one.relevant_counts, other.relevant_counts)


@pytest.mark.parametrize("hash_length", [1, 7, 8, 48, 64, 65, 128, 255, 256, 300])
def test_counts_equal_the_slow_loop(hash_length: int) -> None:
    problem = make_problem(hash_length, hash_length=hash_length, num_queries=4, num_items=60)
    assert_equal(rank_counts(*problem, hash_length=hash_length), slow_counts(problem, hash_length=hash_length))


@pytest.mark.parametrize("hash_length", [255, 256, 1024])
def test_codes_that_differ_in_every_bit(hash_length: int) -> None:
    query_codes, gallery_codes = (np.packbits(np.full((1, hash_length), bit), axis=1) for bit in (False, True))
    labels = np.array([0])
    counts = rank_counts(query_codes, gallery_codes, labels, labels, hash_length=hash_length)
    assert np.flatnonzero(counts.all_counts).tolist() == [hash_length]
    assert np.flatnonzero(counts.relevant_counts).tolist() == [hash_length]


@pytest.mark.parametrize(("num_classes", "share"), [(1, 0.5), (6, 0.3), (70, 0.06), (130, 0.03)])
def test_multi_label_counts_equal_the_slow_loop(num_classes: int, share: float) -> None:
    query_codes, gallery_codes, *_ = make_problem(3, hash_length=24, num_queries=5, num_items=50)
    rng = np.random.default_rng(4)
    query_labels = rng.random((5, num_classes)) < share
    gallery_labels = rng.random((50, num_classes)) < share
    query_labels[0] = False  # a row without any label: relevant to nothing
    problem = [query_codes, gallery_codes, query_labels, gallery_labels]
    counts = rank_counts(*problem, hash_length=24)
    assert_equal(counts, slow_counts(problem, hash_length=24))
    assert counts.num_relevant[0] == 0
    assert counts.num_relevant.sum() > 0


def test_one_hot_labels_equal_single_labels() -> None:
    query_codes, gallery_codes, query_labels, gallery_labels = make_problem(
        5, hash_length=16, num_queries=9, num_items=80
    )
    classes = np.arange(5)
    one_hot = query_labels[:, None] == classes, gallery_labels[:, None] == classes  # -1: no label at all
    assert_equal(
        rank_counts(query_codes, gallery_codes, *one_hot, hash_length=16),
        rank_counts(query_codes, gallery_codes, query_labels, gallery_labels, hash_length=16),
    )


def test_label_minus_one_is_relevant_to_nothing() -> None:
    labels = np.array([-1, -1, 2])
    assert rank_counts(CODES, CODES, labels, labels, hash_length=8).num_relevant.tolist() == [0, 0, 1]


def test_unsigned_and_signed_labels_are_compared_by_value() -> None:
    counts = rank_counts(CODES, CODES, LABELS.astype(np.uint64), LABELS.astype(np.int8), hash_length=8)
    assert counts.num_relevant.tolist() == [1, 2, 2]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_counts_do_not_move_when_the_gallery_is_shuffled(seed: int) -> None:
    problem = make_problem(seed, hash_length=12, num_queries=3, num_items=40)
    query_codes, gallery_codes, query_labels, gallery_labels = problem
    shuffled = np.random.default_rng(seed).permutation(40)
    assert_equal(
        rank_counts(*problem, hash_length=12),
        rank_counts(query_codes, gallery_codes[shuffled], query_labels, gallery_labels[shuffled], hash_length=12),
    )


@pytest.mark.parametrize("num_items", [4096, 4097, 9001])
def test_counting_pairs_and_blocks_changes_nothing(num_items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # With 7 bits, rows of more than 2 * 256 * 8 = 4096 codes are counted as pairs; odd ones leave one over.
    problem = make_problem(num_items, hash_length=7, num_queries=3, num_items=num_items)
    whole = rank_counts(*problem, hash_length=7)
    assert whole.all_counts.sum(axis=1).tolist() == [num_items] * 3
    monkeypatch.setattr(counts_module, "_HISTOGRAM_CODES", 1000)  # too short for pairs
    monkeypatch.setattr(counts_module, "_BLOCK_CODES", 700)
    monkeypatch.setattr(counts_module, "_num_cpus", lambda: 1)
    assert_equal(rank_counts(*problem, hash_length=7), whole)


def test_more_threads_than_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(6, hash_length=9, num_queries=2, num_items=30)
    monkeypatch.setattr(counts_module, "_num_cpus", lambda: 16)
    assert_equal(rank_counts(*problem, hash_length=9), slow_counts(problem, hash_length=9))


def test_the_inputs_stay_as_they_are() -> None:
    problem = make_problem(7, hash_length=9, num_queries=2, num_items=30)
    copies = [array.copy() for array in problem]
    rank_counts(*problem, hash_length=9)
    assert all(np.array_equal(array, copy) for array, copy in zip(problem, copies, strict=True))


def test_answerable_keeps_the_queries_with_something_relevant() -> None:
    counts = rank_counts(CODES, CODES, np.array([0, 5, 1]), LABELS, hash_length=8)
    assert counts.num_relevant.tolist() == [1, 0, 2]
    assert counts.answerable().num_relevant.tolist() == [1, 2]


def test_repr_shows_no_data() -> None:
    counts = rank_counts(CODES, CODES, LABELS, LABELS, hash_length=8)
    assert repr(counts) == "RankCounts(num_queries=3, hash_length=8)"


@pytest.mark.parametrize("name", ["query_codes", "gallery_codes"])
def test_empty_codes(name: str) -> None:
    codes = {"query_codes": CODES, "gallery_codes": CODES} | {name: CODES[:0]}
    labels = [LABELS[: len(values)] for values in codes.values()]
    with pytest.raises(CodesError, match=re.escape(f"{name} are empty [0, 1]")):
        rank_counts(*codes.values(), *labels, hash_length=8)


def test_codes_of_another_width() -> None:
    with pytest.raises(CodesError, match=re.escape("gallery_codes of 8 bits must be uint8 [N, 1], got uint8 [3, 2]")):
        rank_counts(CODES, np.zeros((3, 2), np.uint8), LABELS, LABELS, hash_length=8)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            LABELS.astype(np.float64),
            "query_labels must be int [N] or bool [N, num_classes], got float64 [3].",
        ),
        (
            np.zeros((3, 4), np.int64),
            "query_labels must be int [N] or bool [N, num_classes], got int64 [3, 4].",
        ),
        (np.zeros(3, bool), "query_labels must be int [N] or bool [N, num_classes], got bool [3]."),
        (np.zeros((3, 0), bool), "query_labels must be int [N] or bool [N, num_classes], got bool [3, 0]."),
        (LABELS[:2], "query_labels must be one per code, got 2 for 3 codes."),
        (LABELS - 3, "query_labels must be 0 or above, or -1 for relevant to nothing, got -3."),
        (np.zeros((3, 4), bool), "must be of one kind and width, got bool [3, 4] and int64 [3]."),
    ],
)
def test_labels_that_do_not_fit(labels: np.ndarray, message: str) -> None:
    with pytest.raises(CodesError, match=re.escape(message)):
        rank_counts(CODES, CODES, labels, LABELS, hash_length=8)


def test_multi_labels_of_two_widths() -> None:
    with pytest.raises(CodesError, match=re.escape("got bool [3, 4] and bool [3, 5].")):
        rank_counts(CODES, CODES, np.zeros((3, 4), bool), np.zeros((3, 5), bool), hash_length=8)


@pytest.mark.parametrize(
    ("every", "relevant", "message"),
    [
        (np.ones((2, 9)), np.ones((2, 9), np.int64), "got float64 [2, 9] and int64 [2, 9]."),
        (np.ones((2, 9), np.int64), np.ones((2, 8), np.int64), "got int64 [2, 9] and int64 [2, 8]."),
        (np.ones(9, np.int64), np.ones(9, np.int64), "got int64 [9] and int64 [9]."),
    ],
)
def test_counts_cannot_exist_in_a_wrong_shape(every: np.ndarray, relevant: np.ndarray, message: str) -> None:
    with pytest.raises(CodesError, match=re.escape(message)):
        RankCounts(every, relevant)


@pytest.mark.parametrize("num_relevant", [4, -1])
def test_relevant_counts_must_be_a_part_of_all(num_relevant: int) -> None:
    every, relevant = np.full((2, 3), 3), np.zeros((2, 3), np.int64)
    relevant[1, 2] = num_relevant
    with pytest.raises(CodesError, match=f"query 1 has {num_relevant} relevant of 3 items at distance 2"):
        RankCounts(every, relevant)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_own_group_is_left_out(is_multi_label: bool) -> None:
    rng = np.random.default_rng(0)
    codes = np.packbits(rng.random((30, 12)) < 0.5, axis=1)
    codes[10:20] = codes[:10]  # ties with itself and with others
    groups = rng.integers(0, 6, 30)
    labels = rng.random((30, 4)) < 0.3 if is_multi_label else rng.integers(-1, 4, 30)
    found = rank_counts(codes, codes, labels, labels, hash_length=12).without_own_group(codes, labels, groups)
    for query in range(30):
        others = groups != groups[query]
        problem = [codes[query : query + 1], codes[others], labels[query : query + 1], labels[others]]
        expected = slow_counts(problem, hash_length=12)
        assert np.array_equal(found.all_counts[query], expected.all_counts[0])
        assert np.array_equal(found.relevant_counts[query], expected.relevant_counts[0])


def groups_one_by_one(scores: np.ndarray, is_relevant: np.ndarray) -> RankCounts:
    """Every distinct score a group, runs without a relevant item too."""
    num_groups = max(len(np.unique(row)) for row in scores)
    counts = np.zeros((2, len(scores), num_groups), np.int64)
    for query, row in enumerate(scores):
        for group, value in enumerate(sorted(set(row), reverse=True)):
            counts[:, query, group] = (row == value).sum(), (is_relevant[query] & (row == value)).sum()
    return RankCounts(*counts)


@pytest.mark.parametrize("num_values", [2, 5, 1000])
@pytest.mark.parametrize("k", [None, 1, 3, 10, 25, 26])
def test_groups_of_scores_that_are_joined_change_no_metric(num_values, k):
    rng = np.random.default_rng(num_values)
    scores = (rng.integers(0, num_values, (30, 25)) / 7).astype(np.float32)
    query_labels, gallery_labels = rng.integers(-1, 4, 30), rng.integers(-1, 4, 25)
    is_relevant = (query_labels[:, None] == gallery_labels) & (query_labels[:, None] >= 0)
    found, expected = score_counts(scores, query_labels, gallery_labels), groups_one_by_one(scores, is_relevant)
    assert found.all_counts.sum(axis=1).tolist() == [25] * 30
    assert found.num_relevant.tolist() == is_relevant.sum(axis=1).tolist()
    assert found.all_counts.shape[1] <= 2 * is_relevant.sum(axis=1).max() + 1
    for normaliser in ("all", "min", "hits") if k is None else ("all", "min", "hits", "k"):
        for order in ("expected", "best", "worst"):
            options = {"k": k, "normaliser": normaliser, "order": order}
            np.testing.assert_allclose(
                average_precision(found, **options), average_precision(expected, **options), rtol=1e-12
            )
    np.testing.assert_allclose(precision_at_k(found, k=k or 4), precision_at_k(expected, k=k or 4), rtol=1e-12)


def test_scores_by_hand():
    # 0.9 (relevant), 0.5 and 0.5 (one of them relevant), 0.1: AP = (1 + (2/2 + 2/3) / 2) / 2
    scores = np.array([[0.5, 0.1, 0.9, 0.5]])
    counts = score_counts(scores, np.array([3]), np.array([3, 0, 3, 1]))
    assert average_precision(counts)[0] == pytest.approx((1 + (2 / 2 + 2 / 3) / 2) / 2)
    assert average_precision(counts, order="best")[0] == 1
    # the highest first: nothing, {0.9}, nothing, {0.5, 0.5}, {0.1}
    assert counts.all_counts.tolist() == [[0, 1, 0, 2, 1]]
    assert counts.relevant_counts.tolist() == [[0, 1, 0, 1, 0]]


def test_scores_and_several_labels():
    scores = np.array([[3.0, 2, 1], [1, 2, 3]])
    query_labels = np.array([[True, True, False], [False, False, False]])
    gallery_labels = np.array([[False, True, True], [False, False, True], [True, False, False]])
    counts = score_counts(scores, query_labels, gallery_labels)
    assert counts.num_relevant.tolist() == [2, 0]
    assert average_precision(counts)[0] == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_wrong_scores_are_refused():
    labels = np.array([0, 1])
    with pytest.raises(CodesError, match=r"scores must be float \[Q, G\] and not empty, got int64 \[2, 2\]"):
        score_counts(np.ones((2, 2), np.int64), labels, labels)
    with pytest.raises(CodesError, match=r"got float64 \[2, 0\]"):
        score_counts(np.ones((2, 0)), labels, labels[:0])
    with pytest.raises(CodesError, match="1 of 2 rows of scores have a NaN"):
        score_counts(np.array([[1, np.nan], [0, 0]]), labels, labels)
    with pytest.raises(CodesError, match="gallery_labels must be one per code, got 2 for 3"):
        score_counts(np.ones((2, 3)), labels, labels)
    with pytest.raises(CodesError, match="of one kind"):
        score_counts(np.ones((2, 2)), labels, np.ones((2, 2), bool))
