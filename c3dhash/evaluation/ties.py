"""Average precision inside groups of tied items, in closed form. NumPy only, vectorised over groups.

Note [Ties in Hamming ranking]
    Distances are small integers, so a ranking is a short list of tie groups and says nothing about the
    order inside a group. A metric that follows whatever order a sort happened to give is noise. Here a
    group is four numbers: it has `size` items, `relevant` of them relevant, and stands after
    `size_before` items, `relevant_before` of them relevant. A metric is then its expectation over all
    orders inside the groups, each equally likely, or the best or the worst of these orders.

    A cut at rank k leaves the first `taken` positions of one group, the cut group; `taken` is `size` in
    the groups before it and 0 in those after it. The sum of the precisions at the relevant items is a
    sum over groups, and divided by a fixed number it is enough to treat each group by itself
    (`expected_sum`, `best_sum`, `worst_sum`). Divided by the number of hits in the top k it is not: that
    number is itself random in the cut group (`expected_mean`, `best_mean`, `worst_mean`).

    Write n = size, r = relevant, N0 = size_before, R0 = relevant_before, m = taken, and H(x) for the
    harmonic number 1 + 1/2 + ... + 1/x.

Source: McSherry and Najork, "Computing information retrieval performance measures efficiently in the
presence of tied scores", ECIR 2008, section 3 (whole groups). Cut groups, random normalisers and the
extreme orders are derived here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Up to here H is a table, from here on its asymptotic series, whose first term left out is below 2e-17.
_TABLE_END = 64
_HARMONIC = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, _TABLE_END + 1))])
# A hypergeometric variable is more than `_REACH * sqrt(...)` off its mode with probability below 1e-20.
_REACH = 5.0
_WINDOW_VALUES = 1 << 20  # how many (query, number of hits) pairs are in memory at once


class TieGroups(NamedTuple):
    """Tie groups, cut at some rank: int arrays whose shapes broadcast; Note [Ties in Hamming ranking]."""

    size: np.ndarray
    relevant: np.ndarray
    size_before: np.ndarray
    relevant_before: np.ndarray
    taken: np.ndarray


def harmonic_difference(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Compute H(stop) - H(start), the sum of 1/i over start < i <= stop, to about 1e-15 relative.

    The difference of two harmonic numbers loses as many digits as the numbers agree in (seven after ten
    million items), so it is never taken: H(x) = ln x + gamma + t(x), with t(x) = 1/2x - 1/12x^2 +
    1/120x^4 - 1/252x^6 + ..., hence H(b) - H(a) = log1p((b - a) / a) + t(b) - t(a).

    Args:
        start, stop: int, any shapes that broadcast, 0 <= start <= stop.
    Returns:
        float64.
    Source:
        the Euler-Maclaurin expansion of H (Graham, Knuth, Patashnik, Concrete Mathematics, section 9.5).
    """
    in_table = _HARMONIC[np.minimum(stop, _TABLE_END)] - _HARMONIC[np.minimum(start, _TABLE_END)]
    low = np.maximum(start, _TABLE_END).astype(np.float64)
    high = np.maximum(stop, _TABLE_END).astype(np.float64)
    difference: np.ndarray = in_table + np.log1p((high - low) / low) + (_harmonic_tail(high) - _harmonic_tail(low))
    return difference


def _harmonic_tail(x: np.ndarray) -> np.ndarray:
    inverse, square = 1 / x, 1 / x**2
    tail: np.ndarray = inverse / 2 - square * (1 / 12 - square * (1 / 120 - square / 252))
    return tail


def expected_sum(groups: TieGroups) -> np.ndarray:
    """Expect the sum of the precisions at the relevant items among the first `taken` of a tie group.

    Position i of the group is relevant with probability r/n, and then each of the i - 1 positions before
    it is so with probability a = (r-1)/(n-1). So

        E = sum_{i=1..m} (r/n) (R0 + 1 + a (i-1)) / (N0 + i)
          = (r/n) [ (R0 + 1 - a (N0+1)) (H(N0+m) - H(N0)) + a m ]        since i-1 = (N0+i) - (N0+1)

    Args:
        groups: a group without items gives 0.
    Returns:
        float64; its error is about 1e-16 times the number of relevant items.
    """
    n, r, n0, r0, m = groups
    slope = (r - 1) / np.maximum(n - 1, 1)
    level = r0 + 1 - slope * (n0 + 1)
    expected: np.ndarray = r / np.maximum(n, 1) * (level * harmonic_difference(n0, n0 + m) + slope * m)
    return expected


def _run_sum(hits: np.ndarray, size_before: np.ndarray, relevant_before: np.ndarray) -> np.ndarray:
    """Sum the precisions of `hits` relevant items in a row.

    sum_{j=1..h} (R0+j) / (N0+j) = h - (N0-R0) (H(N0+h) - H(N0))          since R0+j = (N0+j) - (N0-R0)
    """
    total: np.ndarray = hits - (size_before - relevant_before) * harmonic_difference(size_before, size_before + hits)
    return total


def best_sum(groups: TieGroups) -> np.ndarray:
    """Sum the precisions as `expected_sum` does, for the best order: relevant items first."""
    hits = np.minimum(groups.relevant, groups.taken)
    return _run_sum(hits, groups.size_before, groups.relevant_before)


def worst_sum(groups: TieGroups) -> np.ndarray:
    """Sum the precisions as `expected_sum` does, for the worst order: relevant items last."""
    n, r, n0, r0, m = groups
    hits = np.maximum(m - (n - r), 0)
    return _run_sum(hits, n0 + m - hits, r0)


def expected_mean(cut: TieGroups, *, sum_before: np.ndarray) -> np.ndarray:
    """Expect (sum of the precisions) / (number of hits) when the last group is cut; 0 without a hit.

    With h of the first m positions relevant, these are a group of m items of which h are relevant, so
    `expected_sum` applies to them, and h is hypergeometric: E = sum_h P(h) (S + E[X|h]) / (R0 + h), S being
    `sum_before`. P comes from P(h+1) / P(h) = (r-h)(m-h) / ((h+1)(n-r-m+h+1)), started at its mode. As P
    is narrow, only its window of 5 sqrt(min(m, n-m, r, n-r)) to both sides is summed: Hoeffding's bound,
    which holds for each of these four by symmetry, leaves less than 2 exp(-50) outside.

    Args:
        cut: int [Q], each query's cut group; where none is cut, zeros and all its hits in `relevant_before`.
        sum_before: float [Q], the expected sum of the precisions in the groups before.
    Returns:
        float64 [Q].
    """
    n, r, _, _, m = cut
    narrowest = np.minimum(np.minimum(m, n - m), np.minimum(r, n - r))
    reach = int(np.ceil(_REACH * np.sqrt(narrowest.max(initial=0)))) + 1
    rows = max(1, _WINDOW_VALUES // (2 * reach + 1))
    result = np.empty(len(n), np.float64)
    for start in range(0, len(n), rows):
        part = slice(start, start + rows)
        n, r, n0, r0, m = (values[part, None] for values in cut)
        hits, probability = _hypergeometric_window(n, r, m, reach=reach)
        sums = sum_before[part, None] + expected_sum(TieGroups(m, hits, n0, r0, m))
        result[part] = (probability * sums / np.maximum(r0 + hits, 1)).sum(axis=1)
    return result


def _hypergeometric_window(
    size: np.ndarray, relevant: np.ndarray, taken: np.ndarray, *, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give the numbers of hits around the mode, int [Q, 2 * reach + 1], and their probabilities.

    Outside the support one factor of the recurrence is exactly 0, and so is every product after it.
    """
    mode = (taken + 1) * (relevant + 1) // (size + 2)
    steps = np.arange(1, reach + 1)
    up, down = (mode + steps).astype(np.float64), (mode - steps).astype(np.float64)
    rest = size - relevant - taken
    rising = (relevant - up + 1) * (taken - up + 1) / (up * (rest + up))
    falling = (down + 1) * (rest + down + 1) / ((relevant - down) * (taken - down))
    ones = np.ones((len(mode), 1))
    weights = np.concatenate([np.cumprod(falling, axis=1)[:, ::-1], ones, np.cumprod(rising, axis=1)], axis=1)
    return mode + np.arange(-reach, reach + 1), weights / weights.sum(axis=1, keepdims=True)


def best_mean(cut: TieGroups, *, sum_before: np.ndarray) -> np.ndarray:
    """Give the largest (sum of the precisions) / (number of hits) over all orders of the cut group.

    With h hits they stand first, and f(h) = (S + sum_{j=1..h} p_j) / (R0 + h) with p_j = (R0+j) / (N0+j),
    which does not decrease in j. A hit raises the mean if and only if p_{h+1} > f(h); from then on
    f(h+1) <= p_{h+1} <= p_{h+2}, so it rises on. f falls first and rises after, and its largest value is at
    the smallest or the largest possible h. (Relevant first is not always best: a late hit lowers a mean.)

    Args, Returns: as `expected_mean`; `sum_before` is that of the best order.
    """
    n, r, n0, r0, m = cut
    means = [
        (sum_before + _run_sum(hits, n0, r0)) / np.maximum(r0 + hits, 1)
        for hits in (np.maximum(m - (n - r), 0), np.minimum(r, m))
    ]
    return np.asarray(np.maximum(*means))


def worst_mean(cut: TieGroups, *, sum_before: np.ndarray) -> np.ndarray:
    """Give the smallest (sum of the precisions) / (number of hits) over all orders of the cut group.

    With h hits they stand last, and g(h) = (S + T(h)) / (R0 + h). With M = N0 + m,
    T(h) = sum_{j=1..h} (R0+j) / (M-h+j), so T(h+1) - T(h) = (R0+1) / (M-h) + H(M) - H(M-h), and this grows
    with h. g falls at h if and only if D(h) = (R0+h) (T(h+1) - T(h)) - T(h) - S < 0. As D(h+1) - D(h) is
    (R0+h+1) times the growth of T(h+1) - T(h), D grows, g has one valley, and the first h with
    D(h) >= 0, found by bisection, is its bottom. (Relevant last is not always worst either.)

    Args, Returns: as `expected_mean`; `sum_before` is that of the worst order.
    """
    n, r, n0, r0, m = cut
    end = n0 + m

    def sum_at(hits: np.ndarray) -> np.ndarray:
        return np.asarray(sum_before + _run_sum(hits, end - hits, r0))

    low, high = np.maximum(m - (n - r), 0), np.minimum(r, m)
    while (low < high).any():
        middle = (low + high) // 2  # where low == high already, nothing moves
        growth = (r0 + 1) / np.maximum(end - middle, 1) + harmonic_difference(end - middle, end)
        is_falling = (low < high) & ((r0 + middle) * growth < sum_at(middle))
        low, high = np.where(is_falling, middle + 1, low), np.where(is_falling, high, middle)
    return np.asarray(sum_at(low) / np.maximum(r0 + low, 1))
