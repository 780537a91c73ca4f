"""The algebra of tie groups against exact fractions. The whole metrics are enumerated in test_metrics.py."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from c3dhash.evaluation import ties

Numbers = tuple[int, int, int, int, int]  # size, relevant, size_before, relevant_before, taken

# Every small group, cut everywhere, at a few places of a ranking
SMALL_GROUPS: list[Numbers] = [
    (size, relevant, size_before, relevant_before, taken)
    for size in range(1, 6)
    for relevant in range(size + 1)
    for taken in range(1, size + 1)
    for size_before, relevant_before in ((0, 0), (3, 0), (3, 2), (3, 3), (70, 5))
]


def groups_of(rows: list[Numbers]) -> ties.TieGroups:
    return ties.TieGroups(*np.array(rows, np.int64).T)


def orders(numbers: Numbers) -> list[tuple[Fraction, int]]:
    """Sum of the precisions and number of hits among the first `taken`, for every order of the group."""
    size, relevant, size_before, relevant_before, taken = numbers
    results = []
    for places in itertools.combinations(range(1, size + 1), relevant):
        hits = [place for place in places if place <= taken]
        precisions = [Fraction(relevant_before + j, size_before + place) for j, place in enumerate(hits, start=1)]
        results.append((sum(precisions, Fraction(0)), len(hits)))
    return results


def test_harmonic_difference_equals_fractions() -> None:
    for start, stop in [
        (0, 0),
        (0, 1),
        (0, 63),
        (5, 64),
        (63, 65),
        (64, 64),
        (64, 65),
        (10, 500),
        (300, 900),
    ]:
        exact = sum((Fraction(1, i) for i in range(start + 1, stop + 1)), Fraction(0))
        got = ties.harmonic_difference(np.array(start), np.array(stop))
        assert got == pytest.approx(float(exact), rel=1e-14, abs=0)


@pytest.mark.parametrize("start", [10**5, 10**7, 3 * 10**9])
def test_harmonic_difference_keeps_its_digits_far_down_a_ranking(start: int) -> None:
    # H(1e7) is 16.7, so a difference of two such values would be wrong from the 9th digit on.
    exact = sum((Fraction(1, i) for i in range(start + 1, start + 8)), Fraction(0))
    got = ties.harmonic_difference(np.array(start), np.array(start + 7))
    assert got == pytest.approx(float(exact), rel=2e-15, abs=0)


def test_sums_equal_all_orders() -> None:
    groups = groups_of(SMALL_GROUPS)
    sums = [[total for total, _ in orders(numbers)] for numbers in SMALL_GROUPS]
    expected = [float(sum(values, Fraction(0)) / len(values)) for values in sums]
    assert ties.expected_sum(groups) == pytest.approx(expected, abs=1e-13)
    assert ties.best_sum(groups) == pytest.approx([float(max(values)) for values in sums], abs=1e-13)
    assert ties.worst_sum(groups) == pytest.approx([float(min(values)) for values in sums], abs=1e-13)


def test_means_equal_all_orders() -> None:
    # The groups before the cut one may hold any sum of precisions up to their number of hits.
    sum_before = [Fraction(numbers[3]) * Fraction(2, 3) for numbers in SMALL_GROUPS]
    means = [
        [(before + total) / max(numbers[3] + hits, 1) for total, hits in orders(numbers)]
        for numbers, before in zip(SMALL_GROUPS, sum_before, strict=True)
    ]
    cut, before = groups_of(SMALL_GROUPS), np.array(sum_before, np.float64)
    expected = [float(sum(values, Fraction(0)) / len(values)) for values in means]
    assert ties.expected_mean(cut, sum_before=before) == pytest.approx(expected, abs=1e-13)
    best = [float(max(values)) for values in means]
    assert ties.best_mean(cut, sum_before=before) == pytest.approx(best, abs=1e-13)
    worst = [float(min(values)) for values in means]
    assert ties.worst_mean(cut, sum_before=before) == pytest.approx(worst, abs=1e-13)


def test_relevant_first_is_not_the_best_mean_nor_relevant_last_the_worst() -> None:
    # One relevant item at rank 1, then 9 irrelevant, then the cut group: of 2 items, 1 relevant, 1 is taken.
    # Taking the relevant one: (1 + 2/11) / 2 = 0.59. Taking the other: 1 / 1.
    cut, before = groups_of([(2, 1, 10, 1, 1)]), np.array([1.0])
    assert ties.best_mean(cut, sum_before=before) == pytest.approx(1.0)
    assert ties.worst_mean(cut, sum_before=before) == pytest.approx((1 + 2 / 11) / 2)


def test_worst_mean_may_lie_between_the_fewest_and_the_most_hits() -> None:
    # 4 relevant at ranks 1-4, then 6 irrelevant, then 40 tied, 20 of them relevant; 20 taken: 0 to 20 hits.
    numbers, sum_before = (40, 20, 10, 4, 20), Fraction(4)
    means = {}
    for hits in range(21):
        last = range(20 - hits + 1, 21)  # hits last: places 20 - hits + 1 .. 20 of the group
        total = sum((Fraction(4 + j, 10 + place) for j, place in enumerate(last, start=1)), Fraction(0))
        means[hits] = (sum_before + total) / (4 + hits)
    bottom = min(means, key=means.__getitem__)
    assert 0 < bottom < 20  # or this test shows nothing
    got = ties.worst_mean(groups_of([numbers]), sum_before=np.array([4.0]))
    assert got == pytest.approx([float(means[bottom])], abs=1e-14)


def test_a_group_after_ten_million_items_equals_fractions() -> None:
    size, relevant, size_before, relevant_before, taken = numbers = (60, 45, 10**7, 20, 50)
    slope = Fraction(relevant - 1, size - 1)
    exact = sum(
        Fraction(relevant, size) * (relevant_before + 1 + slope * (i - 1)) / (size_before + i)
        for i in range(1, taken + 1)
    )
    # Divided by R >= 45 this is an error of AP below 1e-16.
    assert ties.expected_sum(groups_of([numbers])) == pytest.approx([float(exact)], abs=4e-15)


def test_a_group_of_ten_million_items_equals_the_direct_sum() -> None:
    numbers = (10**7, 10**5, 1000, 10, 10**7)
    positions = np.arange(10**7, dtype=np.float64)
    slope = (10**5 - 1) / (10**7 - 1)
    terms = 0.01 * (11 + slope * positions) / (1001 + positions)
    assert ties.expected_sum(groups_of([numbers])) == pytest.approx([math.fsum(terms)], rel=1e-13)


@pytest.mark.parametrize(("size", "relevant", "taken"), [(50, 20, 30), (400, 390, 200), (3000, 1500, 1200), (9, 0, 4)])
def test_hypergeometric_window_equals_binomials(size: int, relevant: int, taken: int) -> None:
    narrowest = min(taken, size - taken, relevant, size - relevant)
    reach = math.ceil(5 * math.sqrt(narrowest)) + 1
    column = (np.array([[value]]) for value in (size, relevant, taken))
    hits, probability = ties._hypergeometric_window(*column, reach=reach)
    every = math.comb(size, taken)
    for h, p in zip(hits[0].tolist(), probability[0].tolist(), strict=True):
        is_possible = max(0, taken - size + relevant) <= h <= min(relevant, taken)
        exact = Fraction(math.comb(relevant, h) * math.comb(size - relevant, taken - h), every) if is_possible else 0
        assert p == pytest.approx(float(exact), rel=1e-12, abs=1e-25)
    assert probability.sum() == pytest.approx(1, abs=1e-14)


def test_expected_mean_of_a_large_group_equals_fractions() -> None:
    size, relevant, size_before, relevant_before, taken = numbers = (400, 150, 3, 2, 200)
    exact = Fraction(0)
    for hits in range(max(0, taken - size + relevant), min(relevant, taken) + 1):
        slope = Fraction(hits - 1, taken - 1)
        total = sum(
            Fraction(hits, taken) * (relevant_before + 1 + slope * (i - 1)) / (size_before + i)
            for i in range(1, taken + 1)
        )
        ways = math.comb(relevant, hits) * math.comb(size - relevant, taken - hits)
        exact += Fraction(ways, math.comb(size, taken)) * (Fraction(3, 2) + total) / (relevant_before + hits)
    got = ties.expected_mean(groups_of([numbers]), sum_before=np.array([1.5]))
    assert got == pytest.approx([float(exact)], abs=1e-14)


def test_expected_mean_of_large_groups_does_not_depend_on_the_rows_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [(10**6, 4 * 10**5, 0, 0, 5 * 10**5), (7, 3, 20, 4, 5), (0, 0, 0, 2, 0)]
    before = np.array([0.0, 2.5, 1.5])
    alone = [ties.expected_mean(groups_of([row]), sum_before=before[i : i + 1])[0] for i, row in enumerate(rows)]
    assert ties.expected_mean(groups_of(rows), sum_before=before) == pytest.approx(alone, abs=1e-14)
    monkeypatch.setattr(ties, "_WINDOW_VALUES", 1)  # one row at a time
    assert ties.expected_mean(groups_of(rows), sum_before=before) == pytest.approx(alone, abs=1e-14)
    assert alone[0] == pytest.approx(0.4, abs=1e-4)  # half a million taken of items of which 40 % are relevant
    assert alone[2] == 0.75  # nothing cut: 1.5 / 2


def test_an_empty_group_adds_nothing() -> None:
    empty = groups_of([(0, 0, 5, 2, 0)])
    for function in (ties.expected_sum, ties.best_sum, ties.worst_sum):
        assert function(empty) == [0]
