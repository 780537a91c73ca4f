"""Exact Hamming search over arrays of codes: the nearest codes of each query, the nearest videos of a video.

Note [Own threads]
FAISS spreads the queries of a call over OpenMP threads: a single query runs on a single core, and where
another process has taken a core, the threads wait for each other at a spinning barrier. Here the work is
cut into tasks of equal size, each of which is done on one thread: blocks of queries where there are
enough of them, else slices of the gallery, whose results are merged.

A second thread for a single query in a million codes takes 0.6 ms to come, from a pool or by itself, and 0.2 ms where
it is kept waiting: nothing is won.

Note [Compiled passes]
The passes of kernels.py are faster than FAISS's: on two cores of a Xeon with AVX512, codes of 8 bytes and k of 10, 2.5
times for a query alone in a million or ten million codes, 3 to 6 times for batches; pairs within a radius 8 to 10
times, the nearest of many windows 4 to 5 times; wider codes 1.1 to 2 times for a query alone. But not at once: to
import Numba and to read what it compiled takes 0.3 to 0.5 s, to compile it, the first time on a machine, 2 to 3 s for
each pass. So a process begins with FAISS, which needs 0.3 s for 4 x 10^8 comparisons of codes of 8 bytes; once it has
made as many, it is taken to go on. What both find is the same. (Codes of more than 512 bits may have a width that is
no multiple of 4 bytes; these FAISS alone searches.)

Note [Nearest videos]
Lists of the k nearest codes do not say which videos are nearest: clips of one film may fill them, and each window of
a query has a list of its own, cut at a distance of its own. So every pair of a window and a clip is looked at, block
by block, and of each clip the distance to the nearest window is kept: two bytes a clip, however many windows there
are. That costs no more than lists do: a list of ten takes longer than the bare distances of 20 windows, and
as long for one.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import TypeVar

import faiss
import numpy as np

logger = logging.getLogger(__name__)
Found = TypeVar("Found")
SearchPart = Callable[[slice, slice], tuple[np.ndarray, np.ndarray]]  # queries, codes -> distances and positions

# Below so many comparisons, about two milliseconds of FAISS or of a compiled pass, a task is not worth a thread.
MIN_COMPARISONS_PER_TASK, MIN_COMPARISONS_PER_PASS = 2_000_000, 5_000_000
MAX_COMPARISONS_PER_PASS = 1_000_000_000  # of several queries, a third of a second: Ctrl-C waits for the end of a pass
MIN_COMPARISONS_TO_COMPILE = 400_000_000  # Note [Compiled passes]
MIN_QUERIES_PER_PASS = 16  # of as many, a thread goes through all codes; of fewer, reading them is what takes long
MAX_FOUND_BYTES = 2**26  # of what a pass notes until it knows the nearest, for as many queries as that allows
MIN_QUERIES_PER_TASK = 16  # of an index that looks at some codes, a fraction of a millisecond each
# FAISS's kernel "mc" counts: it keeps k slots for every possible distance, so it needs no heap but
# (8 * num_bytes + 1) * k * 8 bytes per query. It wins for narrow codes and for large k.
MAX_QUERIES_PER_TASK = 16
MAX_COUNTER_BYTES = 2**28
COUNTING_MAX_NUM_BYTES, COUNTING_MIN_K = 16, 200
# Distances at a time, int32: as many as fit into a core's L2 cache. Of 4096 codes and 16 queries, and of 65,536 codes
# and one query, 2**16 was at most 10 % slower than the best of 2**14 to 2**18 for codes of 4 to 128 bytes.
MAX_DISTANCES_PER_BLOCK = 2**16
CODES_PER_ROW = 4096
TAKEN = np.iinfo(np.uint16).max  # above every distance

_num_compared: Counter[int] = Counter()  # in this process, by the kind of word that passes are compiled for


def nearest_codes(query_codes: np.ndarray, gallery_codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest codes of each query, on as many threads as pay; see Note [Own threads].

    Args:
        query_codes, gallery_codes: uint8 [Q, num_bytes] and [G, num_bytes], C-contiguous.
        k: 1..G.
    Returns:
        distances: int32 [Q, k], and positions: int64 [Q, k], ordered by (distance, position).
    """
    kernels = _kernels(query_codes, gallery_codes)
    if kernels:
        search, queries_per_task = _search_by_passes(kernels, query_codes, gallery_codes, k=k)
    else:
        search, queries_per_task = _search_by_faiss(query_codes, gallery_codes, k=k)
    num_threads = _num_threads(len(query_codes) * len(gallery_codes), is_compiled=kernels is not None)
    blocks, slices = _cut(
        len(query_codes), len(gallery_codes), num_threads=num_threads, queries_per_task=queries_per_task
    )
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
    kernels = _kernels(query_codes, gallery_codes)

    def find(part: slice) -> list[np.ndarray]:
        if kernels:
            words = kernels.words_of(query_codes), kernels.words_of(gallery_codes)
            return [kernels.within(*words, part.start, part.stop, radius).T]
        found = []
        for first, start, rows in _distance_blocks(query_codes, gallery_codes, part):
            queries, places = np.divmod(np.flatnonzero(rows <= radius), rows.shape[1])
            found.append(np.stack([queries + first, places + start, rows[queries, places]]))
        return found

    parts = _over_gallery(find, len(query_codes), len(gallery_codes), is_compiled=kernels is not None)
    pairs = np.concatenate([block for part in parts for block in part], axis=1)
    queries, positions, distances = pairs[:, np.argsort(pairs[0], kind="stable")]  # positions rise already
    return queries, positions, distances


def compile_passes(num_bytes: int) -> None:
    """Have exact searches of codes of this width be as fast from now on as a process that goes on comes to be.

    Note [Compiled passes]. It takes half a second, and 7 s the first time on a machine.
    """
    _num_compared[num_bytes % 8] = MIN_COMPARISONS_TO_COMPILE
    codes = np.zeros((1, num_bytes), np.uint8)
    nearest_codes(codes, codes, k=1)
    nearest_videos(codes, codes, starts=np.zeros(1, np.int64), top=1)
    near_pairs(codes, codes, radius=0)


def over_queries(function: Callable[[slice], Found], num_queries: int) -> list[Found]:
    """Call a function of FAISS for parts of the queries, one a thread; results in their order. Note [Own threads]."""
    num_threads = max(1, min(int(faiss.omp_get_max_threads()), num_queries // MIN_QUERIES_PER_TASK))
    return _run(function, [(part,) for part in _bounds(num_queries, num_threads)], num_threads=num_threads)


def _kernels(query_codes: np.ndarray, gallery_codes: np.ndarray) -> ModuleType | None:
    """Return the compiled passes where they pay by now, and note what is to be done: Note [Compiled passes]."""
    kind_of_word = query_codes.shape[1] % 8
    _num_compared[kind_of_word] += len(query_codes) * len(gallery_codes)
    if query_codes.shape[1] % 4 or _num_compared[kind_of_word] < MIN_COMPARISONS_TO_COMPILE:
        return None
    return _import_kernels()


@functools.cache
def _import_kernels() -> ModuleType | None:
    try:
        from numba import config

        from c3dhash.gallery import kernels
    except (ImportError, OSError) as error:  # a NumPy newer than Numba takes; a library of LLVM that does not load
        logger.warning("Exact search stays with FAISS, which takes longer: Numba cannot be imported (%s).", error)
        return None
    if config.DISABLE_JIT:  # type: ignore[attr-defined]  # of environment variables
        logger.warning("Exact search stays with FAISS, which takes longer: NUMBA_DISABLE_JIT is set.")
        return None
    return kernels


def _search_by_passes(
    kernels: ModuleType, query_codes: np.ndarray, gallery_codes: np.ndarray, *, k: int
) -> tuple[SearchPart, tuple[int, int]]:
    """Return what searches a slice of the gallery for a block of queries, and of how many, at least and at most."""
    query_words, words = kernels.words_of(query_codes), kernels.words_of(gallery_codes)

    def search(block: slice, part: slice) -> tuple[np.ndarray, np.ndarray]:
        shape = block.stop - block.start, min(k, part.stop - part.start)
        distances, positions = np.empty(shape, np.int32), np.empty(shape, np.int64)
        kernels.nearest(query_words[block], words, part.start, part.stop, distances, positions)
        return distances, positions

    num_found_bytes = kernels.num_found_bytes(k, num_bytes=query_codes.shape[1])
    max_queries = max(1, min(MAX_FOUND_BYTES // num_found_bytes, MAX_COMPARISONS_PER_PASS // len(gallery_codes)))
    return search, (MIN_QUERIES_PER_PASS, max_queries)


def _search_by_faiss(
    query_codes: np.ndarray, gallery_codes: np.ndarray, *, k: int
) -> tuple[SearchPart, tuple[int, int]]:
    """Return the same, by FAISS."""
    num_bytes = query_codes.shape[1]
    counter_bytes = (8 * num_bytes + 1) * k * 8
    is_counting = num_bytes <= COUNTING_MAX_NUM_BYTES or k >= COUNTING_MIN_K
    variant = "mc" if is_counting and counter_bytes <= MAX_COUNTER_BYTES else "hc"

    def search(block: slice, part: slice) -> tuple[np.ndarray, np.ndarray]:
        num_found = min(k, part.stop - part.start)
        distances, positions = faiss.knn_hamming(query_codes[block], gallery_codes[part], num_found, variant=variant)
        return distances, positions + part.start

    return search, (1, max(1, min(MAX_QUERIES_PER_TASK, MAX_COUNTER_BYTES // counter_bytes)))


def _nearest_distances(query_codes: np.ndarray, gallery_codes: np.ndarray) -> np.ndarray:
    """Return the distance of each gallery code to its nearest query, uint16 [G], filled up to whole rows with TAKEN."""
    nearest = np.full(-(-len(gallery_codes) // CODES_PER_ROW) * CODES_PER_ROW, TAKEN, np.uint16)
    kernels = _kernels(query_codes, gallery_codes)

    def fill(part: slice) -> None:
        if kernels:
            words = kernels.words_of(query_codes), kernels.words_of(gallery_codes)
            kernels.lower(nearest, *words, part.start, part.stop)
            return
        for _, start, rows in _distance_blocks(query_codes, gallery_codes, part):
            block = nearest[start : start + rows.shape[1]]
            np.minimum(block, rows.min(axis=0).astype(np.uint16), out=block)

    _over_gallery(fill, len(query_codes), len(gallery_codes), is_compiled=kernels is not None)
    return nearest


def _distance_blocks(
    query_codes: np.ndarray, gallery_codes: np.ndarray, part: slice
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the distances of all queries to the codes of a part, some at a time.

    Yields:
        The first of these queries, the position of the first of these codes, and distances, int32 [some, some], which
        the next ones replace.
    """
    num_queries = min(len(query_codes), MAX_QUERIES_PER_TASK)
    num_codes = MAX_DISTANCES_PER_BLOCK // num_queries
    buffer = np.empty(num_queries * num_codes, np.int32)
    for start in range(part.start, part.stop, num_codes):
        block = gallery_codes[start : min(start + num_codes, part.stop)]
        for first in range(0, len(query_codes), num_queries):
            yield first, start, _fill_distances(buffer, query_codes[first : first + num_queries], block)


def _over_gallery(
    function: Callable[[slice], Found], num_queries: int, num_gallery: int, *, is_compiled: bool
) -> list[Found]:
    """Call a function for parts of the gallery, one a thread; results in their order."""
    num_threads = _num_threads(num_queries * num_gallery, is_compiled=is_compiled)
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


def _num_threads(num_comparisons: int, *, is_compiled: bool) -> int:
    """Return how many threads pay for so many comparisons, by FAISS or by compiled passes."""
    least = MIN_COMPARISONS_PER_PASS if is_compiled else MIN_COMPARISONS_PER_TASK
    return max(1, min(int(faiss.omp_get_max_threads()), num_comparisons // least))


def _cut(
    num_queries: int, num_gallery: int, *, num_threads: int, queries_per_task: tuple[int, int]
) -> tuple[list[slice], list[slice]]:
    """Cut the queries into blocks, or the gallery into slices, so that their pairs keep all threads busy.

    Args:
        queries_per_task: so many for each thread, and it is the queries that are cut; and the most of a block.
    """
    min_queries, max_queries = queries_per_task
    if num_queries < min_queries * num_threads:
        return _bounds(num_queries, -(-num_queries // max_queries)), _bounds(num_gallery, num_threads)
    num_rounds = -(-num_queries // (max_queries * num_threads))
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
        futures = [pool.submit(function, *task) for task in tasks]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for what has not begun


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
