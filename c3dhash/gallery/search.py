"""Exact Hamming search over arrays of codes: the nearest codes of each query, the nearest videos of a video.

Note [Own threads]
FAISS spreads the queries of a call over OpenMP threads: a single query runs on a single core, and where
another process has taken a core, the threads wait for each other at a spinning barrier. Here the work is
cut into tasks of equal size, each of which FAISS does on one thread: blocks of queries where there are
enough of them, else slices of the gallery, whose results are merged.

A second thread for a single query in a million codes takes 0.6 ms to come, from a pool or by itself, and 0.2 ms where
it is kept waiting: nothing is won.

Note [Below a limit]
FAISS's lists take longer than bare distances; of a block of these, only what is below the k-th best so far is looked
at. For a query alone, k of 10 and 100 and codes of 8 bytes on two cores of a Xeon with AVX512, that is 1.1 to 1.2 times
as fast in a million codes (as fast where 50 ms go by between calls, and memory is all that counts), as fast in ten
million, 1.3 to 1.5 times in a hundred million. Not so batches: threads wait for each other's Python, and FAISS's range
search below that limit gave 1.1 to 1.4.

Note [Nearest videos]
Lists of the k nearest codes do not say which videos are nearest: clips of one film may fill them, and each window of
a query has a list of its own, cut at a distance of its own. So every pair of a window and a clip is looked at, block
by block, and of each clip the distance to the nearest window is kept: two bytes a clip, however many windows there
are. That costs no more than lists do: a list of ten takes longer than the bare distances of 20 windows, and
as long for one.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import faiss
import numpy as np

Found = TypeVar("Found")

# Below so many comparisons, about two milliseconds, a task is not worth a thread.
MIN_COMPARISONS_PER_TASK = 2_000_000
MIN_QUERIES_PER_TASK = 16  # of an index that looks at some codes, a fraction of a millisecond each
# FAISS's kernel "mc" counts: it keeps k slots for every possible distance, so it needs no heap but
# (8 * num_bytes + 1) * k * 8 bytes per query. It wins for narrow codes and for large k.
MAX_QUERIES_PER_TASK = 16
MAX_COUNTER_BYTES = 2**28
COUNTING_MAX_NUM_BYTES, COUNTING_MIN_K = 16, 200
# Distances at a time, int32: as many as fit into a core's L2 cache. Of 4096 codes and 16 queries, and of 65,536 codes
# and one query, 2**16 was at most 10 % slower than the best of 2**14 to 2**18 for codes of 4 to 128 bytes.
MAX_DISTANCES_PER_BLOCK = 2**16
# Note [Below a limit]: 2**17 distances were the fastest on two threads, and within 15 % of 2**16 on one.
MAX_DISTANCES_OF_ONE, MAX_K_BELOW_LIMIT = 2**17, 100
FIRST_PER_K, MAX_FOUND_PER_K = 160, 8  # codes that set the first limit; below a limit, until there is a lower one
CODES_PER_ROW = 4096
TAKEN = np.iinfo(np.uint16).max  # above every distance


def nearest_codes(query_codes: np.ndarray, gallery_codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest codes of each query, on as many threads as pay; see Note [Own threads].

    Args:
        query_codes, gallery_codes: uint8 [Q, num_bytes] and [G, num_bytes], C-contiguous.
        k: 1..G.
    Returns:
        distances: int32 [Q, k], and positions: int64 [Q, k], ordered by (distance, position).
    """
    num_threads = _num_threads(len(query_codes) * len(gallery_codes))
    num_bytes = query_codes.shape[1]
    counter_bytes = (8 * num_bytes + 1) * k * 8
    is_counting = num_bytes <= COUNTING_MAX_NUM_BYTES or k >= COUNTING_MIN_K
    variant = "mc" if is_counting and counter_bytes <= MAX_COUNTER_BYTES else "hc"
    max_queries = max(1, min(MAX_QUERIES_PER_TASK, MAX_COUNTER_BYTES // counter_bytes))
    blocks, slices = _cut(
        len(query_codes), len(gallery_codes), num_threads=num_threads, max_queries_per_block=max_queries
    )

    def search(block: slice, part: slice) -> tuple[np.ndarray, np.ndarray]:
        num_found = min(k, part.stop - part.start)
        if block.stop - block.start == 1 and num_bytes <= COUNTING_MAX_NUM_BYTES and k <= MAX_K_BELOW_LIMIT:
            return _nearest_to_one(query_codes[block], gallery_codes, part, k=num_found)
        distances, positions = faiss.knn_hamming(query_codes[block], gallery_codes[part], num_found, variant=variant)
        return distances, positions + part.start

    found = _run(search, list(itertools.product(blocks, slices)), num_threads=num_threads)
    rows = [_merge(found[i : i + len(slices)], k=k) for i in range(0, len(found), len(slices))]
    return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])


def nearest_videos(
    query_codes: np.ndarray,
    gallery_codes: np.ndarray,
    *,
    starts: np.ndarray,
    top: int,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the videos that hold the codes nearest to any of the queries; see Note [Nearest videos].

    Args:
        query_codes, gallery_codes: uint8 [Q, num_bytes] and [G, num_bytes], C-contiguous, neither of them empty.
        starts: int64 [V], rising from 0: the position of the first code of each video.
        top: how many videos, 1..V.
        allowed: bool [V], which videos may be found; None for all.
    Returns:
        distances: int32 [N], of the nearest code of each video, and positions: int64 [N], the first of the codes
        at that distance; ordered by (distance, position). N is top, or how many videos are allowed.
    """
    is_found = np.zeros(len(starts), bool) if allowed is None else ~allowed
    top = min(top, len(starts) - int(is_found.sum()))
    distances, positions = np.empty(top, np.int32), np.empty(top, np.int64)
    if not top:
        return distances, positions
    num_found = 0
    for distance, tied in _by_distance(_nearest_distances(np.unique(query_codes, axis=0), gallery_codes)):
        videos = np.searchsorted(starts, tied, side="right") - 1
        is_first = np.diff(videos, prepend=-1) > 0  # positions rise, and so do their videos
        is_first &= ~is_found[videos]
        is_found[videos] = True
        new = tied[is_first][: top - num_found]
        end = num_found + len(new)
        distances[num_found:end], positions[num_found:end] = distance, new
        num_found = end
        if num_found == top:
            break
    return distances, positions


def near_pairs(
    query_codes: np.ndarray, gallery_codes: np.ndarray, *, radius: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find all pairs within a radius.

    Args:
        query_codes, gallery_codes: uint8 [Q, num_bytes] and [G, num_bytes], C-contiguous, neither of them empty.
        radius: bits.
    Returns:
        queries, positions, distances: int64 [P] each, in the order of (query, position).
    """

    def find(part: slice) -> list[np.ndarray]:
        found = []
        for first, start, rows in _distance_blocks(query_codes, gallery_codes, part):
            queries, places = np.divmod(np.flatnonzero(rows <= radius), rows.shape[1])
            found.append(np.stack([queries + first, places + start, rows[queries, places]]))
        return found

    parts = _over_gallery(find, len(query_codes), len(gallery_codes))
    pairs = np.concatenate([block for part in parts for block in part], axis=1)
    queries, positions, distances = pairs[:, np.argsort(pairs[0], kind="stable")]  # positions rise already
    return queries, positions, distances


def over_queries(function: Callable[[slice], Found], num_queries: int) -> list[Found]:
    """Call a function of FAISS for parts of the queries, one a thread; results in their order. Note [Own threads]."""
    num_threads = max(1, min(int(faiss.omp_get_max_threads()), num_queries // MIN_QUERIES_PER_TASK))
    return _run(function, [(part,) for part in _bounds(num_queries, num_threads)], num_threads=num_threads)


def _nearest_to_one(
    query_code: np.ndarray, gallery_codes: np.ndarray, part: slice, *, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest codes of one query in a part of the gallery, as `nearest_codes`: Note [Below a limit].

    Args:
        query_code: uint8 [1, num_bytes].
        k: 1..size of the part.
    """
    distances, positions = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    num_found, limit = 0, int(TAKEN)  # a code at this distance is one too many
    is_below = np.zeros((-(-MAX_DISTANCES_OF_ONE // 8), 8), bool)
    for _, start, (row,) in _distance_blocks(query_code, gallery_codes, part, max_distances=MAX_DISTANCES_OF_ONE):
        if limit == TAKEN and len(row) >= k:
            limit = int(np.partition(row[: FIRST_PER_K * k], k - 1)[k - 1]) + 1
        np.less(row, limit, out=is_below.reshape(-1)[: len(row)])
        is_below.reshape(-1)[len(row) :] = False
        eights = np.flatnonzero(is_below.view(np.uint64) != 0)  # few are: looked at eight at a time
        if not len(eights):
            continue
        within = np.flatnonzero(is_below[eights])
        places = eights[within // 8] * 8 + within % 8
        distances.append(row[places])
        positions.append(places + start)
        num_found += len(places)
        if num_found > MAX_FOUND_PER_K * k:
            nearest = _first(distances, positions, k=k)
            distances, positions = [nearest[0]], [nearest[1]]
            num_found, limit = k, int(nearest[0][-1])
    nearest = _first(distances, positions, k=k)
    return nearest[0][None], nearest[1][None]


def _first(distances: list[np.ndarray], positions: list[np.ndarray], *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first k by (distance, position) of parts in which positions rise where distances are equal."""
    all_distances, all_positions = np.concatenate(distances), np.concatenate(positions)
    near = np.flatnonzero(all_distances <= np.partition(all_distances, k - 1)[k - 1])
    near = near[np.argsort(all_distances[near], kind="stable")[:k]]
    return all_distances[near], all_positions[near]


def _nearest_distances(query_codes: np.ndarray, gallery_codes: np.ndarray) -> np.ndarray:
    """Return the distance of each gallery code to its nearest query, uint16 [G], filled up to whole rows with TAKEN."""
    nearest = np.full(-(-len(gallery_codes) // CODES_PER_ROW) * CODES_PER_ROW, TAKEN, np.uint16)

    def fill(part: slice) -> None:
        for _, start, rows in _distance_blocks(query_codes, gallery_codes, part):
            block = nearest[start : start + rows.shape[1]]
            np.minimum(block, rows.min(axis=0).astype(np.uint16), out=block)

    _over_gallery(fill, len(query_codes), len(gallery_codes))
    return nearest


def _distance_blocks(
    query_codes: np.ndarray, gallery_codes: np.ndarray, part: slice, *, max_distances: int = MAX_DISTANCES_PER_BLOCK
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the distances of all queries to the codes of a part, so many at a time.

    Yields:
        The first of these queries, the position of the first of these codes, and distances, int32 [some, some], which
        the next ones replace.
    """
    num_queries = min(len(query_codes), MAX_QUERIES_PER_TASK)
    num_codes = max_distances // num_queries
    buffer = np.empty(num_queries * num_codes, np.int32)
    for start in range(part.start, part.stop, num_codes):
        block = gallery_codes[start : min(start + num_codes, part.stop)]
        for first in range(0, len(query_codes), num_queries):
            yield first, start, _fill_distances(buffer, query_codes[first : first + num_queries], block)


def _over_gallery(function: Callable[[slice], Found], num_queries: int, num_gallery: int) -> list[Found]:
    """Call a function for parts of the gallery, one a thread; results in their order."""
    num_threads = _num_threads(num_queries * num_gallery)
    return _run(function, [(part,) for part in _bounds(num_gallery, num_threads)], num_threads=num_threads)


def _by_distance(nearest: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield every position by rising (distance, position): a distance, and rising positions of codes at it.

    Codes are looked through in rows whose minimum is known: those that hold the distance, a few at a time. Of a million
    codes that are tied, a short answer needs some.

    Args:
        nearest: distances, uint16 [G], G a multiple of CODES_PER_ROW; is overwritten with TAKEN, which ends it.
    """
    rows = nearest.reshape(-1, CODES_PER_ROW)
    minima = rows.min(axis=1)
    while (distance := int(minima.min())) != TAKEN:
        left, size = np.flatnonzero(minima == distance), 8
        while len(left):
            at_hand, left, size = left[:size], left[size:], 2 * size
            places = np.flatnonzero(rows[at_hand] == distance)
            positions = at_hand[places // CODES_PER_ROW] * CODES_PER_ROW + places % CODES_PER_ROW
            yield distance, positions
            nearest[positions] = TAKEN
            minima[at_hand] = rows[at_hand].min(axis=1)


def _fill_distances(buffer: np.ndarray, query_codes: np.ndarray, gallery_codes: np.ndarray) -> np.ndarray:
    """Write the distances of every query and gallery code into a buffer, int32, and return them, [Q, G]."""
    shape = (len(query_codes), len(gallery_codes))
    distances = buffer[: shape[0] * shape[1]].reshape(shape)
    pointers = [faiss.swig_ptr(array) for array in (query_codes, gallery_codes, distances)]
    faiss.hammings(*pointers[:2], *shape, query_codes.shape[1], pointers[2])
    return distances


def _num_threads(num_comparisons: int) -> int:
    return max(1, min(int(faiss.omp_get_max_threads()), num_comparisons // MIN_COMPARISONS_PER_TASK))


def _cut(
    num_queries: int, num_gallery: int, *, num_threads: int, max_queries_per_block: int
) -> tuple[list[slice], list[slice]]:
    """Cut the queries into blocks and the gallery into slices, so that their pairs keep all threads busy."""
    num_slices = num_threads // num_queries
    if num_slices > 1:
        return _bounds(num_queries, num_queries), _bounds(num_gallery, num_slices)
    num_rounds = -(-num_queries // (max_queries_per_block * num_threads))
    return _bounds(num_queries, min(num_queries, num_rounds * num_threads)), _bounds(num_gallery, 1)


def _bounds(size: int, num_parts: int) -> list[slice]:
    """Cut 0..size into parts whose sizes differ by at most one."""
    edges = [size * part // num_parts for part in range(num_parts + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _run(function: Callable[..., Found], tasks: list[tuple[slice, ...]], *, num_threads: int) -> list[Found]:
    """Call `function(*task)` for each task, FAISS keeping to one thread in each; results in their order.

    The threads live for one call: none is left to be waited for at exit or to be missing after a fork.
    """
    if num_threads == 1 or len(tasks) == 1:
        with _single_faiss_thread():
            return [function(*task) for task in tasks]
    with ThreadPoolExecutor(num_threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        return [future.result() for future in [pool.submit(function, *task) for task in tasks]]


@contextlib.contextmanager
def _single_faiss_thread() -> Iterator[None]:
    """Keep the FAISS calls of this thread (the setting is OpenMP's, and per thread) from using others."""
    num_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(num_threads)


def _merge(parts: list[tuple[np.ndarray, np.ndarray]], *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Join the results of slices of the gallery, given in the order of the slices, and keep the k nearest."""
    if len(parts) == 1:
        return parts[0]
    distances = np.concatenate([part[0] for part in parts], axis=1)
    positions = np.concatenate([part[1] for part in parts], axis=1)
    # A stable sort by distance: slices, and positions within them, already rise.
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(positions, order, axis=1)
