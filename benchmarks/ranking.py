"""mAP from histograms against mAP from a sort per query.

    python benchmarks/ranking.py [--queries 1000] [--items 1000000]

The alternative is the evaluator that most hashing code carries: a float matrix product gives the Hamming
distances of one query, argsort the ranking, a cumulative count the precisions. Its value depends on what
argsort does with ties; the other one is the mean over all their orders. Both run here, in one process,
on the same codes. The codes of UCF101 are read from C3DHASH_REAL_DATA where it is set.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import machine, median_seconds

from c3dhash.bits import pack_codes
from c3dhash.evaluation.metrics import average_precision, mean_defined, rank_counts

HASH_LENGTH = 64
NUM_CLASSES = 101
FLIPPED = 0.2  # how often a bit of a generated code differs from its class


class Problem(NamedTuple):
    """Bits, bool [N, HASH_LENGTH], and labels, int [N]."""

    name: str
    query_bits: np.ndarray
    gallery_bits: np.ndarray
    query_labels: np.ndarray
    gallery_labels: np.ndarray


def generated(name: str, *, num_queries: int, num_items: int) -> Problem:
    """Codes scattered around one random code per class."""
    rng = np.random.default_rng(0)
    centres = rng.random((NUM_CLASSES, HASH_LENGTH)) < 0.5
    labels = [rng.integers(0, NUM_CLASSES, size) for size in (num_queries, num_items)]
    flips = [rng.random((len(chosen), HASH_LENGTH), np.float32) < FLIPPED for chosen in labels]
    return Problem(name, *(centres[chosen] ^ flip for chosen, flip in zip(labels, flips, strict=True)), *labels)


def ucf101() -> Problem:
    real_data = os.environ.get("C3DHASH_REAL_DATA")
    if not real_data:
        return generated("generated codes, as many as UCF101 has", num_queries=3783, num_items=9537)
    names = ("query_bits", "gallery_bits", "query_labels", "gallery_labels")
    with np.load(Path(real_data) / "csq_codes" / "ucf101_64bit.npz") as data:
        return Problem("UCF101 codes", *(data[name] for name in names))


def argsort_map(problem: Problem) -> float:
    """Compute mAP as usual: sort the gallery for each query, whatever its ties."""
    queries = problem.query_bits.astype(np.float32) * 2 - 1
    gallery = problem.gallery_bits.astype(np.float32) * 2 - 1
    total = 0.0
    for query, label in zip(queries, problem.query_labels, strict=True):
        distances = 0.5 * (HASH_LENGTH - gallery @ query)
        is_relevant = (problem.gallery_labels == label)[np.argsort(distances)]
        ranks = np.flatnonzero(is_relevant) + 1
        total += np.mean(np.arange(1, len(ranks) + 1) / ranks) if len(ranks) else 0.0
    return total / len(queries)


def histogram_map(problem: Problem, *, order: str = "expected") -> float:
    """Compute the expected mAP over all orders of the ties, from packed codes."""
    counts = rank_counts(
        pack_codes(problem.query_bits),
        pack_codes(problem.gallery_bits),
        problem.query_labels,
        problem.gallery_labels,
        hash_length=HASH_LENGTH,
    )
    return mean_defined(average_precision(counts, order=order))


def compare(problem: Problem, *, repeats: int, num_sorted: int) -> None:
    """Print both, the argsort evaluator on the first `num_sorted` queries and scaled to all of them."""
    num_queries = len(problem.query_bits)
    part = problem._replace(query_bits=problem.query_bits[:num_sorted], query_labels=problem.query_labels[:num_sorted])
    scale = num_queries / len(part.query_bits)
    num_items = len(problem.gallery_bits)
    print(f"\n{problem.name}: {num_queries:,} queries, {num_items:,} codes of {HASH_LENGTH} bits")
    worst, best = (histogram_map(part, order=order) for order in ("worst", "best"))
    print(f"every order of the ties gives {worst:.6f} to {best:.6f} on {len(part.query_bits):,} queries")
    print(f"{'':28}{'mAP':>10}{'queries':>9}{'seconds':>10}{'spread':>9}{'all queries':>13}{'ratio':>8}")
    slow = _row("argsort per query", lambda: argsort_map(part), part, repeats=3, scale=scale)
    _row("c3dhash, same queries", lambda: histogram_map(part), part, repeats=repeats, scale=scale)
    _row("c3dhash, all queries", lambda: histogram_map(problem), problem, repeats=repeats, against=slow)


def _row(
    name: str,
    function: Callable[[], float],
    problem: Problem,
    *,
    repeats: int,
    scale: float = 1.0,
    against: float | None = None,
) -> float:
    seconds, spread = median_seconds(function, repeats=repeats, warmup=1)
    ratio = f"{against / (seconds * scale):7.0f}x" if against else ""
    print(
        f"{name:28}{function():10.6f}{len(problem.query_bits):9,}{seconds:10.3f}{spread:9.3f}"
        f"{seconds * scale:11.2f} s{ratio}",
        flush=True,
    )
    return seconds * scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--items", type=int, default=1_000_000)
    options = parser.parse_args()
    print(machine())
    print("median of 3 (argsort) or 5 runs after 1 warm-up run; packing the codes and sorting labels included")
    compare(ucf101(), repeats=5, num_sorted=1000)
    problem = generated("generated codes", num_queries=options.queries, num_items=options.items)
    compare(problem, repeats=5, num_sorted=20)


if __name__ == "__main__":
    main()
