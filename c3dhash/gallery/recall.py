"""An approximate index, the codes it is made of -> how much of the exact answer it finds, and how hard it must search.

Note [Recall]
    Codes that are evenly spread over the gallery are searched for with their own video left out, exactly and by the
    index. Recall@k is the share of what the index finds among its first k that is no farther than the k-th nearest
    code, the mean over the queries: of codes at one distance any may be found, since the order of ties says nothing.
    The least effort whose recall reaches the target is taken, or else the one that finds most, and the least of those.
    An index is asked for twice as many as needed, and for more where its own video fills the list.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from c3dhash.bits import num_code_bytes, pad_codes
from c3dhash.gallery.index import HammingIndex
from c3dhash.gallery.search import nearest_codes

NUM_QUERIES = 256  # the standard error of a recall of 0.95 is then 0.014 at most
NUM_EXACT = 7  # exact searches that are timed, behind one for warm-up
K = 10
TARGET = 0.95
# A search that takes so many times the exact one is of no use; no effort beyond is tried.
MAX_SLOWDOWN = 4

Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Facts:
    """What an approximate index is, and what was measured when it was built.

    effort, effort_name: how hard it searches, in FAISS's words. recall: of the k nearest, over num_queries: Note
    [Recall]. target: which recall was looked for. seconds, exact_seconds: the median of a search of one query for the k
    nearest, by the index (for twice as many) and exactly. build_seconds: without these measurements.
    """

    kind: str
    effort_name: str
    effort: int
    recall: float
    k: int
    num_queries: int
    target: float
    seconds: float
    exact_seconds: float
    build_seconds: float

    @property
    def is_reached(self) -> bool:
        return self.recall >= self.target

    @property
    def is_faster(self) -> bool:
        return self.seconds < self.exact_seconds

    def __str__(self) -> str:
        least = "" if self.is_reached else f", below the target of {self.target:g}"
        slower = "" if self.is_faster else ", which is no faster"
        return (
            f"{self.kind}, {self.effort_name} {self.effort}: finds {self.recall:.3f} of the {self.k} nearest{least}, "
            f"in {1e3 * self.seconds:.3g} ms, exact search takes {1e3 * self.exact_seconds:.3g} ms{slower}"
        )


@dataclass(frozen=True)
class Sample:
    """Queries, and what is nearest to them in other videos than their own.

    codes: uint8 [Q, num_bytes]. begins, ends: int64 [Q], where the own video lies. num_nearest: int64 [Q], K, or how
    many codes other videos have. farthest: int64 [Q], the distance of the last of these.
    """

    codes: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    num_nearest: np.ndarray
    farthest: np.ndarray


def exact_seconds(index: HammingIndex) -> float:
    """Measure how long an exact search of one code of the index for the K nearest takes: the median, seconds."""
    queries = _padded_sample(index, NUM_EXACT + 1)[1]
    seconds = []
    for code in queries:
        began = time.perf_counter()
        nearest_codes(code[None], index.padded_codes, k=min(K, len(index)))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:] or seconds)


def draw_sample(index: HammingIndex, *, num_queries: int = NUM_QUERIES) -> Sample:
    """Draw queries from an index of two videos or more, and search for them exactly."""
    ids, codes = _padded_sample(index, num_queries)
    videos = index.videos_of(ids)
    begins, ends = index.starts[videos], np.append(index.starts, len(index))[videos + 1]
    num_nearest = np.minimum(K, len(index) - (ends - begins))
    farthest = np.empty(len(codes), np.int64)
    for row, (code, begin, end, num) in enumerate(zip(codes, begins, ends, num_nearest, strict=True)):
        parts = [part for part in (index.padded_codes[:begin], index.padded_codes[end:]) if len(part)]
        found = [nearest_codes(code[None], part, k=min(K, len(part)))[0][0] for part in parts]
        farthest[row] = np.sort(np.concatenate(found))[num - 1]
    return Sample(codes, begins, ends, num_nearest, farthest)


def measure(search: Search, sample: Sample) -> tuple[float, float]:
    """Return the recall of a search, 0 to 1, and the median of its seconds; Note [Recall].

    Args:
        search: of codes, uint8 [Q, num_bytes], for the n nearest -> distances and positions [Q, n], -1 for none.
    """
    shares, seconds = [], []
    for row, code in enumerate(sample.codes):
        own = int(sample.ends[row] - sample.begins[row])
        num_asked = 2 * K
        began = time.perf_counter()
        distances, positions = search(code[None], num_asked)
        seconds.append(time.perf_counter() - began)
        while True:
            is_other = (positions[0] >= 0) & ((positions[0] < sample.begins[row]) | (positions[0] >= sample.ends[row]))
            is_cut = positions[0, -1] >= 0 and num_asked < K + own
            if is_other.sum() >= K or not is_cut:
                break
            num_asked = min(4 * num_asked, K + own)
            distances, positions = search(code[None], num_asked)
        found = distances[0][is_other][:K]
        shares.append(np.count_nonzero(found <= sample.farthest[row]) / sample.num_nearest[row])
    return statistics.fmean(shares), statistics.median(seconds)


def choose_effort(
    search_with: Callable[[int], Search], efforts: list[int], sample: Sample, *, exact: float, target: float = TARGET
) -> tuple[int, float, float]:
    """Return the effort to search with, its recall and its seconds; Note [Recall].

    Args:
        search_with: returns a search of an effort.
        efforts: to choose from, rising.
        exact: seconds of an exact search. Efforts that cost MAX_SLOWDOWN times that are not tried.
    """
    best = (efforts[0], *measure(search_with(efforts[0]), sample))
    for effort in efforts[1:]:
        if best[1] >= target or best[2] > MAX_SLOWDOWN * exact:
            break
        recall, seconds = measure(search_with(effort), sample)
        if recall > best[1]:
            best = effort, recall, seconds
        elif seconds > MAX_SLOWDOWN * exact:
            break
    return best


def choose_elsewhere(
    search_with: Callable[[int], Search],
    efforts: list[int],
    index: HammingIndex,
    *,
    target: float,
    num_queries: int = NUM_QUERIES,
) -> tuple[int, float]:
    """Return the effort to search with, and its recall, where something else than the index has the codes of it.

    Args:
        search_with: returns a search of an effort: of codes, uint8 [Q, ceil(hash_length / 8)], for the n nearest ->
            distances and clip ids [Q, n], -1 for none.
        efforts: to choose from, rising.
        index: of two videos or more.
    """
    width = num_code_bytes(index.hash_length)

    def search_positions_with(effort: int) -> Search:
        def search(codes: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
            distances, ids = search_with(effort)(codes[:, :width], num)
            return distances, np.where(ids < 0, ids, index.positions_of(ids))

        return search

    sample = draw_sample(index, num_queries=num_queries)
    return choose_effort(search_positions_with, efforts, sample, exact=math.inf, target=target)[:2]


def _padded_sample(index: HammingIndex, num_codes: int) -> tuple[np.ndarray, np.ndarray]:
    ids, codes = index.sample(num_codes)
    return ids, pad_codes(codes, num_bytes=index.num_bytes)
