"""Ranking metrics: by hand, against all orders of the ties, against golden values, and their properties."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import GOLDEN_DIR

from c3dhash.bits import pack_codes
from c3dhash.errors import CodesError, UsageError
from c3dhash.evaluation import metrics
from c3dhash.evaluation.metrics import RankCounts, average_precision, rank_counts, ranking_report

GOLDEN = json.loads((GOLDEN_DIR / "ranking.json").read_text(encoding="utf-8"))
HASH_LENGTH = 8
Ranking = list[tuple[int, bool]]  # (distance, is relevant) of each gallery item

rankings = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=8)
ranking_sets = st.lists(rankings, min_size=1, max_size=4)


def rank(ranking: Ranking) -> RankCounts:
    """Count for one query and codes at the given distances: its bits are off, d bits of an item are on."""
    gallery = np.array([np.arange(HASH_LENGTH) < distance for distance, _ in ranking])
    labels = np.array([int(is_relevant) for _, is_relevant in ranking])
    query = pack_codes(np.zeros((1, HASH_LENGTH)))
    return rank_counts(query, pack_codes(gallery), np.array([1]), labels, hash_length=HASH_LENGTH)


def stack(all_rankings: list[Ranking]) -> RankCounts:
    counts = [rank(ranking) for ranking in all_rankings]
    return RankCounts(
        *(np.concatenate([getattr(c, name) for c in counts]) for name in ("all_counts", "relevant_counts"))
    )


def all_orders(ranking: Ranking) -> list[list[bool]]:
    """List every ranking that the distances allow, each equally likely."""
    groups = []
    for distance in sorted({distance for distance, _ in ranking}):
        flags = [is_relevant for d, is_relevant in ranking if d == distance]
        places = itertools.combinations(range(len(flags)), sum(flags))
        groups.append([[i in chosen for i in range(len(flags))] for chosen in places])
    return [list(itertools.chain(*order)) for order in itertools.product(*groups)]


def slow_average_precision(flags: list[bool], *, k: int | None, normaliser: str) -> Fraction:
    """AP of one order, from the definition."""
    top = flags[:k]
    total = sum((Fraction(sum(top[:i]), i) for i in range(1, len(top) + 1) if top[i - 1]), Fraction(0))
    divisor = {"all": sum(flags), "hits": sum(top), "min": min(k or len(flags), sum(flags)), "k": k}[normaliser]
    return total / max(divisor, 1)


def ap(ranking: Ranking, **options) -> float:
    return float(average_precision(rank(ranking), **options)[0])


# By hand


def test_average_precision_without_ties() -> None:
    ranking = [(0, True), (1, False), (2, True), (3, False)]
    # relevant at ranks 1 and 3: (1/1 + 2/3) / 2 = 5/6, in every order
    for order in ("expected", "best", "worst"):
        assert ap(ranking, order=order) == pytest.approx(5 / 6)
    assert ap(ranking, k=2, normaliser="all") == pytest.approx(1 / 2)  # 1 / R
    assert ap(ranking, k=2, normaliser="hits") == pytest.approx(1)  # 1 / (1 hit)
    assert ap(ranking, k=2, normaliser="min") == pytest.approx(1 / 2)  # 1 / min(2, 2)
    assert ap(ranking, k=3, normaliser="k") == pytest.approx(5 / 9)  # (1 + 2/3) / 3


def test_average_precision_with_all_tied() -> None:
    ranking = [(2, True), (2, False), (2, False), (2, False)]
    # the one relevant item is at rank 1, 2, 3 or 4: (1 + 1/2 + 1/3 + 1/4) / 4 = 25/48
    assert ap(ranking) == pytest.approx(25 / 48)
    assert ap(ranking, order="best") == pytest.approx(1)
    assert ap(ranking, order="worst") == pytest.approx(1 / 4)
    # within the first two: (1 + 1/2) / 4 = 3/8
    assert ap(ranking, k=2) == pytest.approx(3 / 8)


def test_mean_average_precision_of_codes() -> None:
    """Distances 0 (relevant), 1, 2 (relevant): AP = (1 + 2/3) / 2; the other query has nothing relevant."""
    gallery_codes = np.array([[0b00000000], [0b10000000], [0b11000000]], np.uint8)
    query_codes, query_labels = gallery_codes[:1].repeat(2, axis=0), np.array([1, 9])
    arguments = query_codes, gallery_codes, query_labels, np.array([1, 0, 1])
    assert metrics.mean_average_precision(*arguments, hash_length=8) == pytest.approx(5 / 6)
    assert metrics.mean_average_precision(*arguments, hash_length=8, k=1, normaliser="min") == 1.0
    unanswerable = query_codes[1:], gallery_codes, query_labels[1:], np.array([1, 0, 1])
    assert metrics.mean_average_precision(*unanswerable, hash_length=8) is None


def test_a_query_with_nothing_relevant_is_nan_and_counted() -> None:
    counts = stack([[(0, False), (1, False)], [(0, True), (1, False)]])
    for normaliser in ("all", "hits", "min", "k"):
        values = average_precision(counts, k=1, normaliser=normaliser)
        assert np.isnan(values[0])
        assert values[1] == 1
    report = ranking_report(counts, k=1)
    assert report["queries_without_relevant"] == 1
    assert report["mAP"] == {"expected": 1, "best": 1, "worst": 1}
    # every mean of the report is over the one query that can be answered
    assert (report["precision@1"], report["recall@radius<=2"], report["precision@radius<=2"]) == (1, 1, 0.5)
    assert np.isnan(metrics.recall_at_k(counts, k=1)[0])
    assert np.isnan(metrics.recall_within_radius(counts, radius=1)[0])
    assert metrics.precision_at_k(counts, k=1).tolist() == [0, 1]


def test_a_report_where_no_query_has_anything_relevant() -> None:
    report = ranking_report(rank([(0, False)]))
    assert report["queries_without_relevant"] == 1
    assert report["mAP"] == {"expected": None, "best": None, "worst": None}
    assert report["precision@1"] is None
    assert [len(curve) for curve in metrics.precision_recall_curve(rank([(0, False)]))] == [0, 0]


def test_no_relevant_item_found_in_the_top_k_is_zero() -> None:
    ranking = [(0, False), (1, False), (2, True)]
    for normaliser in ("all", "hits", "min", "k"):
        assert ap(ranking, k=2, normaliser=normaliser) == 0


def test_k_beyond_the_gallery() -> None:
    ranking = [(0, True), (1, False), (2, True)]  # AP = (1 + 2/3) / 2 = 5/6
    for normaliser in ("all", "hits", "min"):
        assert ap(ranking, k=100, normaliser=normaliser) == pytest.approx(5 / 6)
    assert ap(ranking, k=100, normaliser="k") == pytest.approx((1 + 2 / 3) / 100)
    assert metrics.precision_at_k(rank(ranking), k=100) == pytest.approx([2 / 100])
    assert metrics.recall_at_k(rank(ranking), k=100) == pytest.approx([1])


def test_precision_and_recall_at_k_in_a_tie() -> None:
    ranking = [(0, True), (1, True), (1, False), (1, False), (2, True)]
    # the first 2: the item at 0, and one of three at 1 of which one is relevant: 1 + 1/3 hits
    assert metrics.precision_at_k(rank(ranking), k=2) == pytest.approx([(4 / 3) / 2])
    assert metrics.recall_at_k(rank(ranking), k=2) == pytest.approx([(4 / 3) / 3])


def test_metrics_within_a_radius() -> None:
    counts = stack([[(0, True), (2, False), (3, True)], [(3, True), (4, False), (5, False)]])
    # query 0: 2 items within 2 bits, 1 relevant of its 2; query 1: none
    assert metrics.precision_within_radius(counts, radius=2).tolist() == [1 / 2, 0]
    assert metrics.recall_within_radius(counts, radius=2).tolist() == [1 / 2, 0]
    assert metrics.is_empty_within_radius(counts, radius=2).tolist() == [False, True]
    assert metrics.recall_within_radius(counts, radius=100).tolist() == [
        1,
        1,
    ]  # beyond hash_length: everything
    report = ranking_report(counts)
    assert report["precision@radius<=2"] == 1 / 4
    assert report["recall@radius<=2"] == 1 / 4
    assert report["empty@radius<=2"] == 1 / 2


def test_precision_recall_curve_by_hand() -> None:
    counts = stack([[(0, True), (2, False), (3, True)], [(3, True), (4, False)]])
    precision, recall = metrics.precision_recall_curve(counts)
    assert precision.shape == recall.shape == (HASH_LENGTH + 1,)
    # radius 0: 1/1 and 0 (empty); radius 2: 1/2 and 0; radius 3: 2/3 and 1/1; radius 8: 2/3 and 1/2
    assert precision[[0, 2, 3, 8]] == pytest.approx([1 / 2, 1 / 4, 5 / 6, 7 / 12])
    assert recall[[0, 2, 3, 8]] == pytest.approx([1 / 4, 1 / 4, 1, 1])


def test_the_report_has_the_keys_that_others_rely_on() -> None:
    report = ranking_report(rank([(0, True), (1, False)]), k=100, radius=2)
    assert list(report) == [
        "mAP",
        "mAP@100/hits",
        "mAP@100/min",
        "mAP@100/k",
        "precision@100",
        "precision@1",
        "precision@radius<=2",
        "empty@radius<=2",
        "recall@radius<=2",
        "queries_without_relevant",
    ]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert "mAP@7/hits" in ranking_report(rank([(0, True)]), k=7)


# Oracle: all orders of the ties


@given(ranking_sets, st.integers(1, 10))
@settings(max_examples=60)
def test_average_precision_equals_all_orders(all_rankings: list[Ranking], k: int) -> None:
    counts = stack(all_rankings)
    summaries = {"expected": lambda values: sum(values) / len(values), "best": max, "worst": min}
    for cut, normaliser in [(None, "all"), *((k, name) for name in ("all", "hits", "min", "k"))]:
        values = [
            [slow_average_precision(flags, k=cut, normaliser=normaliser) for flags in all_orders(ranking)]
            for ranking in all_rankings
        ]
        for order, summary in summaries.items():
            expected = [
                float(summary(v)) if any(r for _, r in g) else np.nan for v, g in zip(values, all_rankings, strict=True)
            ]
            got = average_precision(counts, k=cut, normaliser=normaliser, order=order)
            assert got == pytest.approx(expected, abs=1e-13, nan_ok=True), (cut, normaliser, order)


@given(ranking_sets, st.integers(1, 10))
@settings(max_examples=60)
def test_precision_and_recall_at_k_equal_all_orders(all_rankings: list[Ranking], k: int) -> None:
    counts = stack(all_rankings)
    hits = [np.mean([sum(flags[:k]) for flags in all_orders(ranking)]) for ranking in all_rankings]
    assert metrics.precision_at_k(counts, k=k) == pytest.approx(np.array(hits) / k)
    num_relevant = [sum(r for _, r in ranking) for ranking in all_rankings]
    recall = [h / n if n else np.nan for h, n in zip(hits, num_relevant, strict=True)]
    assert metrics.recall_at_k(counts, k=k) == pytest.approx(recall, nan_ok=True)


# Properties


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_metrics_do_not_move_when_the_gallery_is_shuffled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query_codes, gallery_codes = (
        rng.integers(0, 256, (4, 1), np.uint8),
        rng.integers(0, 256, (30, 1), np.uint8),
    )
    query_labels, gallery_labels = rng.integers(0, 3, 4), rng.integers(0, 3, 30)
    shuffled = rng.permutation(30)
    reports = [
        ranking_report(rank_counts(query_codes, codes, query_labels, labels, hash_length=8), k=5)
        for codes, labels in (
            (gallery_codes, gallery_labels),
            (gallery_codes[shuffled], gallery_labels[shuffled]),
        )
    ]
    assert reports[0] == reports[1]


@given(ranking_sets, st.integers(1, 10), st.sampled_from(["all", "hits", "min", "k"]))
@settings(max_examples=60)
def test_the_expectation_lies_between_worst_and_best(all_rankings: list[Ranking], k: int, normaliser: str) -> None:
    counts = stack(all_rankings).answerable()
    worst, expected, best = (
        average_precision(counts, k=k, normaliser=normaliser, order=order) for order in ("worst", "expected", "best")
    )
    assert (worst <= expected + 1e-12).all()
    assert (expected <= best + 1e-12).all()
    assert (worst >= -1e-12).all()
    assert (best <= 1 + 1e-12).all()


# Golden values


@pytest.mark.parametrize("case", GOLDEN["tiny"], ids=lambda case: "".join(map(str, case["distances"])))
def test_tiny_golden_cases(case: dict) -> None:
    ranking = [(d, bool(r)) for d, r in zip(case["distances"], case["relevant"], strict=True)]
    num_checked = 0
    for name, golden in case.items():
        if match := re.fullmatch(r"precision@(\d+)", name):
            assert metrics.precision_at_k(rank(ranking), k=int(match[1])) == pytest.approx([golden], abs=1e-14)
        elif match := re.fullmatch(r"mAP(?:@(\d+)/(\w+))?", name):
            options = {"k": int(match[1]), "normaliser": match[2]} if match[1] else {}
            assert ap(ranking, **options) == pytest.approx(float(Fraction(golden["expected"])), abs=1e-14)
            for order in ("best", "worst"):
                assert ap(ranking, order=order, **options) == pytest.approx(golden[order], abs=1e-14)
        else:
            continue
        num_checked += 1
    assert num_checked == 7


@pytest.mark.realdata
def test_ucf101_codes() -> None:
    real_data = os.environ.get("C3DHASH_REAL_DATA")
    if not real_data:
        pytest.skip("C3DHASH_REAL_DATA is not set")
    with np.load(Path(real_data) / "csq_codes" / "ucf101_64bit.npz") as data:
        codes = [pack_codes(data[name]) for name in ("query_bits", "gallery_bits")]
        labels = [data[name] for name in ("query_labels", "gallery_labels")]
    counts = rank_counts(*codes, *labels, hash_length=64)
    report = ranking_report(counts, k=100, radius=2)
    golden = GOLDEN["csq"]["ucf101"]
    got = report | {"mAP": report["mAP"]["expected"]}
    got["precision@10"] = metrics.mean_defined(metrics.precision_at_k(counts, k=10))
    for name in (
        "mAP",
        "mAP@100/hits",
        "mAP@100/min",
        "mAP@100/k",
        "precision@1",
        "precision@10",
        "precision@100",
    ):
        assert got[name] == pytest.approx(golden[name]["mean"], abs=4 * golden[name]["standard_error"], rel=0), name
    for order in ("best", "worst"):
        assert report["mAP"][order] == pytest.approx(golden["mAP"][order], abs=1e-12)
    assert report["precision@radius<=2"] == pytest.approx(golden["precision@radius<=2 (0 where empty)"], abs=1e-12)
    assert report["empty@radius<=2"] == pytest.approx(golden["empty at radius 2"], abs=1e-12)
    assert report["recall@radius<=2"] == pytest.approx(golden["recall@radius<=2"], abs=1e-12)
    health = metrics.code_health(codes[1], hash_length=64)
    assert health["dead_bits"] == golden["dead bits in gallery"]
    assert health["distinct_codes"] == golden["distinct gallery codes"]


# Health


def test_code_health_by_hand() -> None:
    bits = np.array([[1, 0, 1, 1, 0], [1, 0, 0, 0, 0], [1, 0, 1, 1, 1], [1, 0, 1, 1, 0]], bool)
    # ones per bit: 4 0 3 3 1 of 4; bits 2 and 3 are equal, correlation 1; bit 4 with each:
    # (1/4 - 3/4 * 1/4) / (3/4 * 1/4) = 1/3. Mean over the 3 pairs of live bits: (1 + 1/3 + 1/3) / 3
    assert metrics.code_health(pack_codes(bits), hash_length=5) == {
        "dead_bits": 2,
        "distinct_codes": 3,
        "mean_share_of_ones": pytest.approx(11 / 20),
        "least_balanced_share": 1,
        "mean_abs_correlation": pytest.approx(5 / 9),
    }


def test_code_health_of_collapsed_codes() -> None:
    health = metrics.code_health(np.full((10, 2), 0b10100000, np.uint8), hash_length=16)
    assert (health["dead_bits"], health["distinct_codes"]) == (16, 1)
    assert health["mean_abs_correlation"] is None
    json.dumps(health, allow_nan=False)


def test_code_health_equals_numpy_over_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_UNPACK_CODES", 7)
    bits = np.random.default_rng(0).random((100, 70)) < np.linspace(0.2, 0.7, 70)
    health = metrics.code_health(pack_codes(bits), hash_length=70)
    correlation = np.corrcoef(bits.T)[np.triu_indices(70, 1)]
    assert health["mean_abs_correlation"] == pytest.approx(np.abs(correlation).mean())
    assert health["distinct_codes"] == len(np.unique(bits, axis=0))
    assert health["mean_share_of_ones"] == pytest.approx(bits.mean())


def test_embedding_health_by_hand() -> None:
    health = metrics.embedding_health(np.array([[0.05, -0.05, 0.1, -0.9]], np.float32))
    assert health["share_near_zero"] == 0.5  # 0.1 is not below 0.1
    assert health["mean_abs"] == pytest.approx(0.275)


# Errors


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one(k: int) -> None:
    counts = rank([(0, True)])
    for function in (average_precision, metrics.precision_at_k, metrics.recall_at_k, ranking_report):
        with pytest.raises(UsageError, match=re.escape(f"k ({k}) must be 1 or above")):
            function(counts, k=k)


def test_unknown_options_of_average_precision() -> None:
    counts = rank([(0, True)])
    with pytest.raises(UsageError, match=re.escape("normaliser ('found') must be 'all', 'hits', 'min' or 'k'.")):
        average_precision(counts, normaliser="found")
    with pytest.raises(UsageError, match=re.escape("order ('random') must be 'expected', 'best' or 'worst'.")):
        average_precision(counts, order="random")
    with pytest.raises(UsageError, match=re.escape("normaliser 'k' divides by k, and k (None) is not given")):
        average_precision(counts, normaliser="k")


def test_radius_below_zero() -> None:
    counts = rank([(0, True)])
    for function in (
        metrics.precision_within_radius,
        metrics.recall_within_radius,
        metrics.is_empty_within_radius,
        ranking_report,
    ):
        with pytest.raises(UsageError, match=re.escape("radius (-1) must be 0 bits or more")):
            function(counts, radius=-1)


def test_health_of_nothing() -> None:
    with pytest.raises(CodesError, match=re.escape("codes are empty [0, 2]")):
        metrics.code_health(np.empty((0, 2), np.uint8), hash_length=16)
    with pytest.raises(CodesError, match=re.escape("not empty, got [0, 4].")):
        metrics.embedding_health(np.empty((0, 4)))
    with pytest.raises(CodesError, match="1 of 2 embedding values are NaN"):
        metrics.embedding_health(np.array([[0.5, np.nan]]))


def test_metrics_work_without_torch() -> None:
    command = "import sys, c3dhash.evaluation.metrics, c3dhash.evaluation.accuracy; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True)
