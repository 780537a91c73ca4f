"""Count, for every query, how many gallery items lie at each distance, and how many relevant ones.

All that a ranking metric may depend on is in these two histograms (Note [Ties in Hamming ranking] in
c3dhash/evaluation/ties.py): no distance matrix is kept and nothing is sorted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from c3dhash.bits import as_words, check_codes, hamming_distances
from c3dhash.errors import CodesError
from c3dhash.models.calibration import Calibration

# Note [Counting distances]
#   The time goes into xor, popcount and histogram: 1.5 to 2 ns a pair together on a core of an AMD EPYC.
#   * Gallery codes are 64-bit words, one row a word; a block of them and its xor fit into a core's L2 cache.
#   * Distances are bytes. Read as uint16 they are pairs, and numpy.bincount has half as much to do; the
#     pair counts [first, second] are folded afterwards. This pays once the row is longer than the table.
#   * With one label an item, the gallery is sorted by label once: a query's relevant items are a slice.
#   * These NumPy calls release the GIL, so threads over the queries use every core. Memory: a few bytes
#     per gallery code and thread.
_BLOCK_CODES = 1 << 15
_HISTOGRAM_CODES = 1 << 18

Select = Callable[[int], "slice | np.ndarray"]  # the number of a query -> which items are relevant to it


@dataclass(frozen=True, repr=False)
class RankCounts:
    """Histograms over the Hamming distance, or over groups of tied scores (`score_counts`), one row per query.

    all_counts: int64 [Q, hash_length + 1], how many gallery items lie at each distance.
    relevant_counts: int64 [Q, hash_length + 1], how many of them are relevant to the query.
    """

    all_counts: np.ndarray
    relevant_counts: np.ndarray

    def __post_init__(self) -> None:
        for counts in (self.all_counts, self.relevant_counts):
            if counts.dtype != np.int64 or counts.ndim != 2 or counts.shape != self.all_counts.shape:
                raise CodesError(
                    f"counts must both be int64 [Q, hash_length + 1], got {self.all_counts.dtype} "
                    f"{list(self.all_counts.shape)} and {self.relevant_counts.dtype} "
                    f"{list(self.relevant_counts.shape)}."
                )
        wrong = (self.relevant_counts < 0) | (self.relevant_counts > self.all_counts)
        if wrong.any():
            query, distance = np.argwhere(wrong)[0]
            raise CodesError(
                f"query {query} has {self.relevant_counts[query, distance]} relevant of "
                f"{self.all_counts[query, distance]} items at distance {distance}; it must be 0 to all."
            )

    def __repr__(self) -> str:
        return f"RankCounts(num_queries={len(self.all_counts)}, hash_length={self.hash_length})"

    @property
    def hash_length(self) -> int:
        return int(self.all_counts.shape[1]) - 1

    @property
    def num_relevant(self) -> np.ndarray:
        """int64 [Q], how many relevant items the gallery holds for each query."""
        return np.asarray(self.relevant_counts.sum(axis=1))

    def answerable(self) -> RankCounts:
        """Keep the queries for which the gallery holds something relevant."""
        has_relevant = self.num_relevant > 0
        return RankCounts(self.all_counts[has_relevant], self.relevant_counts[has_relevant])

    def without_own_group(self, codes: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> RankCounts:
        """Take each query, and what belongs together with it, out of its own ranking, where queries and gallery are the
        same items.

        Two cuts of one recording are near duplicates: to find one with the other says nothing about a class.

        Args:
            codes, labels: of the items, as in `rank_counts`.
            groups: int [N]; items of one group are left out of each other's rankings, and each out of its own.
        """
        all_counts, relevant_counts = self.all_counts.copy(), self.relevant_counts.copy()
        order = np.argsort(groups, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            distances = hamming_distances(codes[members], codes[members])
            rows = np.broadcast_to(members[:, None], distances.shape)
            np.subtract.at(all_counts, (rows, distances), 1)
            np.subtract.at(relevant_counts, (rows, distances), _is_relevant(labels[members]))
        return RankCounts(all_counts, relevant_counts)


def rank_counts(
    query_codes: np.ndarray,
    gallery_codes: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    hash_length: int,
) -> RankCounts:
    """Count gallery items and relevant items at every distance from every query.

    Args:
        query_codes, gallery_codes: uint8 [Q, ceil(hash_length / 8)] and [G, ...], packed (c3dhash.bits).
        query_labels, gallery_labels: int [Q] and [G], relevant = same label, and -1 = relevant to
            nothing; or bool [Q, num_classes] and [G, num_classes], relevant = at least one shared label.
        hash_length: bits.
    Returns:
        RankCounts.
    Raises:
        CodesError: codes or labels are empty, malformed, or do not fit each other.
    """
    for name, codes in (("query_codes", query_codes), ("gallery_codes", gallery_codes)):
        check_codes(codes, hash_length=hash_length, name=name)
        if not len(codes):
            raise CodesError(f"{name} are empty {list(codes.shape)}; ranking needs a query and an item.")
    _check_both_labels(query_labels, gallery_labels, num_queries=len(query_codes), num_items=len(gallery_codes))
    if query_labels.ndim == 1:
        order = np.argsort(gallery_labels, kind="stable")
        gallery_codes, select = gallery_codes[order], _same_label(query_labels, gallery_labels[order])
    else:
        select = _shared_label(query_labels, gallery_labels)
    query_words, gallery_words = as_words(query_codes), np.ascontiguousarray(as_words(gallery_codes).T)
    all_counts = np.zeros((len(query_codes), hash_length + 1), np.int64)
    relevant_counts = np.zeros_like(all_counts)

    def count(queries: range) -> None:
        row = np.empty(len(gallery_codes), np.uint8 if hash_length < 256 else np.uint16)
        for query in queries:
            _fill_distances(row, query_words[query], gallery_words)
            all_counts[query] = _histogram(row, num_bins=hash_length + 1)
            relevant_counts[query] = _histogram(row[select(query)], num_bins=hash_length + 1)

    num_threads = min(_num_cpus(), len(query_codes))
    with ThreadPoolExecutor(num_threads) as pool:
        shares = [range(first, len(query_codes), num_threads) for first in range(num_threads)]
        list(pool.map(count, shares))  # list: re-raises what a thread raised
    return RankCounts(all_counts, relevant_counts)


def calibrate(counts: RankCounts, *, measured_on: str) -> Calibration | None:
    """Sum counts over the queries into what a distance means; None without pairs of one class, or of two.

    Args:
        measured_on: which queries in which gallery, for people.
    """
    all_counts, relevant_counts = counts.all_counts.sum(axis=0), counts.relevant_counts.sum(axis=0)
    if not 0 < relevant_counts.sum() < all_counts.sum():
        return None
    return Calibration(all_counts, relevant_counts, measured_on)


def score_counts(scores: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray) -> RankCounts:
    """Count gallery items and relevant items in every group of tied scores, highest score first.

    A group without a relevant item adds nothing to any sum of precisions, and neither does it matter where in a run of
    such groups one ends. So each run is one group, and a query with r relevant items has at most 2 r + 1:

        run, tied with a relevant item, run, tied with a relevant item, ..., run

    Args:
        scores: float [Q, G]; the higher, the nearer. Equal scores are ties.
        query_labels, gallery_labels: as for `rank_counts`.
    Returns:
        RankCounts, for what depends on ranks alone; there are no distances, and so no radius.
    Raises:
        CodesError: scores or labels are empty, malformed, or do not fit each other, or a score is NaN.
    """
    if scores.ndim != 2 or scores.dtype.kind != "f" or not scores.size:
        raise CodesError(f"scores must be float [Q, G] and not empty, got {scores.dtype} {list(scores.shape)}.")
    if np.isnan(scores).any():
        raise CodesError(f"{int(np.isnan(scores).any(axis=1).sum())} of {len(scores)} rows of scores have a NaN.")
    _check_both_labels(query_labels, gallery_labels, num_queries=len(scores), num_items=scores.shape[1])
    if query_labels.ndim == 1:
        order = np.argsort(gallery_labels, kind="stable")
        scores, select = scores[:, order], _same_label(query_labels, gallery_labels[order])
    else:
        select = _shared_label(query_labels, gallery_labels)
    rows = []
    for query, row in enumerate(scores):
        values, num_relevant = np.unique(row[select(query)], return_counts=True)  # rising
        rising = np.sort(row)
        bounds = np.stack([np.searchsorted(rising, values, side=side) for side in ("left", "right")], axis=1)
        # From the lowest score to the highest: ends of run, tied, run, tied, ..., run.
        sizes = np.diff(bounds.ravel(), prepend=0, append=len(row))
        hits = np.zeros_like(sizes)
        hits[1::2] = num_relevant
        rows.append((sizes[::-1], hits[::-1]))
    all_counts = np.zeros((len(rows), max(len(sizes) for sizes, _ in rows)), np.int64)
    relevant_counts = np.zeros_like(all_counts)
    for query, (sizes, hits) in enumerate(rows):
        all_counts[query, : len(sizes)], relevant_counts[query, : len(hits)] = sizes, hits
    return RankCounts(all_counts, relevant_counts)


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_both_labels(
    query_labels: np.ndarray, gallery_labels: np.ndarray, *, num_queries: int, num_items: int
) -> None:
    _check_labels("query_labels", query_labels, num_codes=num_queries)
    _check_labels("gallery_labels", gallery_labels, num_codes=num_items)
    if query_labels.shape[1:] != gallery_labels.shape[1:]:
        raise CodesError(
            f"query and gallery labels must be of one kind and width, got {query_labels.dtype} "
            f"{list(query_labels.shape)} and {gallery_labels.dtype} {list(gallery_labels.shape)}."
        )


def _check_labels(name: str, labels: np.ndarray, *, num_codes: int) -> None:
    is_single = labels.ndim == 1 and labels.dtype.kind in "iu"
    if not is_single and not (labels.ndim == 2 and labels.dtype == bool and labels.shape[1]):
        raise CodesError(f"{name} must be int [N] or bool [N, num_classes], got {labels.dtype} {list(labels.shape)}.")
    if len(labels) != num_codes:
        raise CodesError(f"{name} must be one per code, got {len(labels)} for {num_codes} codes.")
    if is_single and labels.min() < -1:
        raise CodesError(f"{name} must be 0 or above, or -1 for relevant to nothing, got {labels.min()}.")


def _same_label(query_labels: np.ndarray, sorted_labels: np.ndarray) -> Select:
    """Find each query's relevant items in a gallery that is sorted by label: they are a slice."""
    query_labels, sorted_labels = query_labels.astype(np.int64), sorted_labels.astype(np.int64)
    starts = np.searchsorted(sorted_labels, query_labels, side="left")
    stops = np.where(query_labels < 0, starts, np.searchsorted(sorted_labels, query_labels, side="right"))
    return lambda query: slice(starts[query], stops[query])


def _shared_label(query_labels: np.ndarray, gallery_labels: np.ndarray) -> Select:
    """Find each query's relevant items, bool [G], by their labels packed into words as codes are."""
    query_words = as_words(np.packbits(query_labels, axis=1))
    gallery_words = np.ascontiguousarray(as_words(np.packbits(gallery_labels, axis=1)).T)

    def select(query: int) -> np.ndarray:
        is_relevant = np.zeros(gallery_words.shape[1], bool)
        for word, query_word in zip(gallery_words, query_words[query], strict=True):
            if query_word:
                is_relevant |= (word & query_word).astype(bool)
        return is_relevant

    return select


def _is_relevant(labels: np.ndarray) -> np.ndarray:
    """Tell which items are relevant to which of the same items: bool [N, N]."""
    if labels.ndim == 2:
        return np.asarray(labels.astype(np.int64) @ labels.T > 0)
    return np.asarray((labels[:, None] == labels) & (labels >= 0))


def _fill_distances(row: np.ndarray, query_words: np.ndarray, gallery_words: np.ndarray) -> None:
    """Write the distances of one query, uint64 [W], to the gallery, uint64 [W, G], into `row`, [G]."""
    differing = np.empty(min(_BLOCK_CODES, len(row)), np.uint64)
    for start in range(0, len(row), _BLOCK_CODES):
        block = row[start : start + _BLOCK_CODES]
        for index, query_word in enumerate(query_words):
            words = gallery_words[index, start : start + _BLOCK_CODES]
            np.bitwise_xor(words, query_word, out=differing[: len(block)])
            if index == 0:
                np.bitwise_count(differing[: len(block)], out=block)
            else:
                block += np.bitwise_count(differing[: len(block)])


def _histogram(distances: np.ndarray, *, num_bins: int) -> np.ndarray:
    """Count the values of `distances`, uint8 or uint16 [N], all below `num_bins`: int64 [num_bins]."""
    counts = np.zeros(num_bins, np.int64)
    for start in range(0, len(distances), _HISTOGRAM_CODES):
        part = distances[start : start + _HISTOGRAM_CODES]
        if part.dtype == np.uint8 and len(part) > 2 * 256 * num_bins:
            num_paired = len(part) // 2 * 2
            pairs = np.bincount(part[:num_paired].view(np.uint16), minlength=256 * num_bins)
            pairs = pairs.reshape(num_bins, 256)[:, :num_bins]  # [one of a pair, the other]
            counts += pairs.sum(axis=0) + pairs.sum(axis=1)
            part = part[num_paired:]
        counts += np.bincount(part, minlength=num_bins)
    return counts
