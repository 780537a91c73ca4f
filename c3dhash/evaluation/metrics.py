"""Ranking metrics on Hamming distances, and the health of codes. NumPy only.

    counts = rank_counts(query_codes, gallery_codes, query_labels, gallery_labels, hash_length=48)
    ranking_report(counts)["mAP"]["expected"]

Every ranking metric is a function of RankCounts, so none can depend on the order inside a tie: see
Note [Ties in Hamming ranking] in ties.py. Classification metrics are in accuracy.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from c3dhash.bits import as_words, check_codes, unpack_codes
from c3dhash.errors import CodesError, UsageError
from c3dhash.evaluation import ties
from c3dhash.evaluation.counts import RankCounts, rank_counts

__all__ = [
    "RankCounts",
    "average_precision",
    "code_health",
    "embedding_health",
    "is_empty_within_radius",
    "mean_average_precision",
    "mean_defined",
    "precision_at_k",
    "precision_recall_curve",
    "precision_within_radius",
    "rank_counts",
    "ranking_report",
    "recall_at_k",
    "recall_within_radius",
]

Order = Literal["expected", "best", "worst"]
Normaliser = Literal["all", "hits", "min", "k"]

_SUMS: dict[Order, Callable[[ties.TieGroups], np.ndarray]] = {
    "expected": ties.expected_sum,
    "best": ties.best_sum,
    "worst": ties.worst_sum,
}
_MEANS = {"expected": ties.expected_mean, "best": ties.best_mean, "worst": ties.worst_mean}
_UNPACK_CODES = 1 << 16


def average_precision(
    counts: RankCounts,
    *,
    k: int | None = None,
    normaliser: Normaliser = "all",
    order: Order = "expected",
) -> np.ndarray:
    """Compute the average precision of every query, over all orders of the ties.

    The sum of the precisions at the relevant items among the first k, divided by
        "all"   the number of relevant items R (with k = None: the usual AP)
        "hits"  the number of relevant items among the first k; AP is 0 where there is none. Generous: an
                item that is not found does not count (CSQ, DeepHash-pytorch)
        "min"   min(k, R), the largest number that could be found
        "k"     k itself, even where R or the gallery is smaller (self-supervised video hashing papers)

    Args:
        k: how many items of the ranking count; None or more than the gallery holds: all of them.
        normaliser: as above. Without k, "hits" and "min" are "all", and "k" is not defined.
        order: "expected" is the mean over all orders of the ties; "best" and "worst" are its range.
    Returns:
        float64 [Q], 0..1; NaN for a query without any relevant item in the gallery.
    Raises:
        UsageError: k below 1, an unknown normaliser or order, or normaliser "k" without k.
    Source:
        McSherry and Najork, ECIR 2008, for the expectation; the derivation is in ties.py.
    """
    if normaliser not in ("all", "hits", "min", "k"):
        raise UsageError(f"normaliser ({normaliser!r}) must be 'all', 'hits', 'min' or 'k'.")
    if order not in _SUMS:
        raise UsageError(f"order ({order!r}) must be 'expected', 'best' or 'worst'.")
    if normaliser == "k" and k is None:
        raise UsageError("normaliser 'k' divides by k, and k (None) is not given: pass k=100, for instance.")
    groups = _groups(counts, k=k)
    sums = _SUMS[order](groups)  # [Q, hash_length + 1]
    num_relevant = counts.num_relevant
    if normaliser == "hits":
        result = _mean_over_hits(groups, sums, order=order)
    elif normaliser == "k":
        result = sums.sum(axis=1) / k
    else:
        findable = num_relevant if normaliser == "all" or k is None else np.minimum(num_relevant, k)
        result = sums.sum(axis=1) / np.maximum(findable, 1)
    return np.where(num_relevant > 0, result, np.nan)


def mean_average_precision(
    query_codes: np.ndarray,
    gallery_codes: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    hash_length: int,
    k: int | None = None,
    normaliser: Normaliser = "all",
    order: Order = "expected",
) -> float | None:
    """Compute the mAP of packed codes: the mean of `average_precision` over the queries that have a relevant item.

    Args:
        query_codes, gallery_codes: uint8 [Q, ceil(hash_length / 8)] and [G, ceil(hash_length / 8)].
        query_labels, gallery_labels: int64 [Q] and [G], or bool [Q, num_classes] and [G, num_classes].
        hash_length: bits.
        k, normaliser, order: as for `average_precision`.
    Returns:
        0..1, or None where no query has a relevant item.
    Raises:
        CodesError: codes or labels are malformed, or do not go together.
        UsageError: as for `average_precision`.
    Source: as for `average_precision`.
    """
    counts = rank_counts(query_codes, gallery_codes, query_labels, gallery_labels, hash_length=hash_length)
    return mean_defined(average_precision(counts, k=k, normaliser=normaliser, order=order))


def _groups(counts: RankCounts, *, k: int | None) -> ties.TieGroups:
    """Describe every tie group, the ranking being cut after k items: int64 [Q, hash_length + 1] each."""
    if k is not None and k < 1:
        raise UsageError(f"k ({k}) must be 1 or above; 100 is common.")
    size, relevant = counts.all_counts, counts.relevant_counts
    size_before = np.cumsum(size, axis=1) - size
    return ties.TieGroups(
        size=size,
        relevant=relevant,
        size_before=size_before,
        relevant_before=np.cumsum(relevant, axis=1) - relevant,
        taken=size if k is None else np.clip(k - size_before, 0, size),
    )


def _mean_over_hits(groups: ties.TieGroups, sums: np.ndarray, *, order: Order) -> np.ndarray:
    """Divide by the hits in the top k, [Q], which are random in the one group that k cuts (if it does)."""
    is_whole = groups.taken == groups.size
    is_cut = (groups.taken > 0) & ~is_whole  # in at most one group a query
    cut = ties.TieGroups(*((values * is_cut).sum(axis=1) for values in groups))
    cut = cut._replace(relevant_before=(groups.relevant * is_whole).sum(axis=1))  # where nothing is cut, too
    return np.asarray(_MEANS[order](cut, sum_before=(sums * is_whole).sum(axis=1)))


def _hits_at_k(counts: RankCounts, *, k: int) -> np.ndarray:
    """Expect the number of relevant items among the first k; of a cut group each item is as likely in."""
    groups = _groups(counts, k=k)
    return np.asarray((groups.taken * groups.relevant / np.maximum(groups.size, 1)).sum(axis=1))


def precision_at_k(counts: RankCounts, *, k: int) -> np.ndarray:
    """Expect, over all orders of the ties, the share of relevant items among the first k.

    Args:
        k: the divisor, even where the gallery holds fewer items (as in trec_eval).
    Returns:
        float64 [Q], 0..1.
    Raises:
        UsageError: k below 1.
    """
    return _hits_at_k(counts, k=k) / k


def recall_at_k(counts: RankCounts, *, k: int) -> np.ndarray:
    """Expect, over all orders of the ties, the share of the relevant items that is among the first k.

    Returns:
        float64 [Q], 0..1; NaN for a query without any relevant item in the gallery.
    Raises:
        UsageError: k below 1.
    """
    return _divide(_hits_at_k(counts, k=k), counts.num_relevant, otherwise=np.nan)


def _divide(numerator: np.ndarray, denominator: np.ndarray, *, otherwise: float) -> np.ndarray:
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), otherwise)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _within_radius(counts: RankCounts, radius: int) -> tuple[np.ndarray, np.ndarray]:
    if radius < 0:
        raise UsageError(f"radius ({radius}) must be 0 bits or more; 2 is common.")
    found = slice(0, radius + 1)
    return counts.all_counts[:, found].sum(axis=1), counts.relevant_counts[:, found].sum(axis=1)


def precision_within_radius(counts: RankCounts, *, radius: int) -> np.ndarray:
    """Compute the share of relevant items among those at a distance of at most `radius` bits.

    Returns:
        float64 [Q], 0..1; 0 where nothing is found (leaving these queries out rewards scattered codes).
    Raises:
        UsageError: radius below 0.
    """
    num_found, num_hits = _within_radius(counts, radius)
    return _divide(num_hits, num_found, otherwise=0.0)


def recall_within_radius(counts: RankCounts, *, radius: int) -> np.ndarray:
    """Compute the share of the relevant items that lies at a distance of at most `radius` bits.

    Returns:
        float64 [Q], 0..1; NaN for a query without any relevant item in the gallery.
    Raises:
        UsageError: radius below 0.
    """
    _, num_hits = _within_radius(counts, radius)
    return _divide(num_hits, counts.num_relevant, otherwise=np.nan)


def is_empty_within_radius(counts: RankCounts, *, radius: int) -> np.ndarray:
    """Say for which queries no gallery item lies at a distance of at most `radius` bits: bool [Q]."""
    num_found, _ = _within_radius(counts, radius)
    return np.asarray(num_found == 0)


def precision_recall_curve(counts: RankCounts) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and recall over the queries, for every Hamming radius.

    The point of radius 2 is `precision@radius<=2` and `recall@radius<=2` of the report: the mean over the
    queries that have something relevant, precision being 0 where nothing is found.

    Returns:
        precision, recall: float64 [hash_length + 1] each, 0..1; empty arrays where no query has anything
        relevant.
    """
    counts = counts.answerable()
    if not len(counts.all_counts):
        return np.empty(0), np.empty(0)
    num_found = np.cumsum(counts.all_counts, axis=1)
    num_hits = np.cumsum(counts.relevant_counts, axis=1)
    precision = _divide(num_hits, num_found, otherwise=0.0)
    return precision.mean(axis=0), (num_hits / num_hits[:, -1:]).mean(axis=0)


def mean_defined(values: np.ndarray) -> float | None:
    """Average the values that are not NaN; None where there is none (JSON knows no NaN)."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def ranking_report(counts: RankCounts, *, k: int = 100, radius: int = 2) -> dict[str, Any]:
    """Summarise a ranking in one JSON-safe dict; its keys name cut-off and normaliser.

    Every mean, also of the precisions and the empty rate, is over the same queries: those with at
    least one relevant item in the gallery. The others are counted in `queries_without_relevant`.

    Args:
        k: items, for the metrics at k.
        radius: bits, for the metrics within a radius.
    Returns:
        float 0..1 each (None where every query is without anything relevant); `mAP` is a dict of
        `expected`, `best` and `worst`.
    Raises:
        UsageError: k below 1 or radius below 0.
    """
    num_queries = len(counts.all_counts)
    counts = counts.answerable()
    report: dict[str, Any] = {
        "mAP": {order: mean_defined(average_precision(counts, order=order)) for order in _SUMS},
    }
    for normaliser in ("hits", "min", "k"):
        report[f"mAP@{k}/{normaliser}"] = mean_defined(average_precision(counts, k=k, normaliser=normaliser))
    for rank in (k, 1):
        report[f"precision@{rank}"] = mean_defined(precision_at_k(counts, k=rank))
    is_empty = is_empty_within_radius(counts, radius=radius).astype(np.float64)
    report[f"precision@radius<={radius}"] = mean_defined(precision_within_radius(counts, radius=radius))
    report[f"empty@radius<={radius}"] = mean_defined(is_empty)
    report[f"recall@radius<={radius}"] = mean_defined(recall_within_radius(counts, radius=radius))
    report["queries_without_relevant"] = num_queries - len(counts.all_counts)
    return report


def code_health(codes: np.ndarray, *, hash_length: int) -> dict[str, Any]:
    """Say how well a set of codes uses its bits.

    Args:
        codes: uint8 [N, ceil(hash_length / 8)], packed.
        hash_length: bits.
    Returns:
        dead_bits               bits that have one value in all codes
        distinct_codes          how many different codes there are
        mean_share_of_ones      over all bits, 0..1
        least_balanced_share    share of ones of the bit that is farthest from 1/2
        mean_abs_correlation    mean |Pearson correlation| over the pairs of bits that are not dead; None
                                where there is no such pair
    Raises:
        CodesError: the codes are malformed, or there is none.
    """
    check_codes(codes, hash_length=hash_length)
    if not len(codes):
        raise CodesError(f"codes are empty {list(codes.shape)}; their health needs at least one.")
    together = np.zeros((hash_length, hash_length))  # [i, j]: in how many codes bits i and j are both on
    for start in range(0, len(codes), _UNPACK_CODES):
        bits = unpack_codes(codes[start : start + _UNPACK_CODES], hash_length=hash_length).astype(np.float32)
        together += bits.T @ bits  # exact: float32 counts up to 2^24
    share = np.diagonal(together) / len(codes)
    is_live = (share > 0) & (share < 1)
    return {
        "dead_bits": int((~is_live).sum()),
        "distinct_codes": _num_distinct(codes),
        "mean_share_of_ones": float(share.mean()),
        "least_balanced_share": float(share[np.argmax(np.abs(share - 0.5))]),
        "mean_abs_correlation": _mean_abs_correlation(together[is_live][:, is_live] / len(codes)),
    }


def _num_distinct(codes: np.ndarray) -> int:
    words = as_words(codes)  # [N, W]
    order = np.lexsort(words.T)
    return 1 + int((np.diff(words[order], axis=0) != 0).any(axis=1).sum())


def _mean_abs_correlation(share_together: np.ndarray) -> float | None:
    """Average over pairs of bits: cov = p_ij - p_i p_j, correlation = cov / sqrt(cov_ii cov_jj)."""
    if len(share_together) < 2:
        return None
    share = np.diagonal(share_together)
    covariance = share_together - np.outer(share, share)
    deviation = np.sqrt(np.diagonal(covariance))
    correlation = covariance / np.outer(deviation, deviation)
    return float(np.abs(correlation[np.triu_indices(len(share), 1)]).mean())


def embedding_health(embeddings: np.ndarray, *, near_zero: float = 0.1) -> dict[str, Any]:
    """Say how far the embeddings are from being bits.

    Args:
        embeddings: float [N, hash_length], in (-1, 1).
        near_zero: what counts as undecided: |value| below it.
    Returns:
        share_near_zero (of all values, 0..1) and mean_abs (1: every value is a bit already).
    Raises:
        CodesError: not two-dimensional, empty, or a value is NaN.
    """
    if embeddings.ndim != 2 or not embeddings.size:
        raise CodesError(f"embeddings must be [N, hash_length] and not empty, got {list(embeddings.shape)}.")
    magnitude = np.abs(embeddings)
    if np.isnan(magnitude).any():
        raise CodesError(f"{int(np.isnan(magnitude).sum())} of {magnitude.size} embedding values are NaN.")
    return {
        "share_near_zero": float((magnitude < near_zero).mean()),
        "mean_abs": float(magnitude.mean(dtype=np.float64)),
    }
