"""Codes -> an index of FAISS that looks at some of them: what each kind is made of, and what makes it look at more.

    ivf        codes in lists around centres (k-means); a query looks through the `nprobe` nearest lists
    hnsw       a graph of neighbours; a query walks it and keeps the `efSearch` best on the way
    multihash  tables of pieces of the codes; a query looks where a piece differs by at most `nflip` bits

What they find is at its exact Hamming distance; what is near and not looked at is missed. Source: FAISS's
IndexBinaryIVF, IndexBinaryHNSW and IndexBinaryMultiHash; multihash after Norouzi et al., CVPR 2012.
None of them takes a selector of ids but the graph (FAISS 1.15), so that what may not be found is left out afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import faiss
import numpy as np

from c3dhash.gallery.search import over_queries

LISTS_PER_ROOT = 2  # lists: so many times the root of the number of codes; with 4, k-means took 14 times as long
CODES_PER_LIST = 40  # that centres are fitted to; FAISS's k-means wants 39
TRAINING_ROUNDS = 10
NEIGHBOURS = 16  # of a code in the graph
MAX_KEY_BITS = 24
CODES_AT_A_TIME = 2**20


class Kind(NamedTuple):
    """A kind of index.

    build: makes one of codes, uint8 [G, num_bytes], of which the first hash_length bits are in use. effort: what a
    search is told, by FAISS's name. efforts: those to choose from, rising. set_effort: tells it.
    """

    build: Callable[[np.ndarray, int], Any]
    effort: str
    efforts: Callable[[Any], list[int]]
    set_effort: Callable[[Any, int], None]


def _build_ivf(codes: np.ndarray, hash_length: int) -> Any:
    num_lists = max(1, min(int(LISTS_PER_ROOT * math.sqrt(len(codes))), len(codes) // CODES_PER_LIST))
    index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(8 * codes.shape[1]), 8 * codes.shape[1], num_lists)
    index.cp.niter, index.cp.min_points_per_centroid = TRAINING_ROUNDS, 1
    step = max(1, len(codes) // (CODES_PER_LIST * num_lists))
    index.train(np.ascontiguousarray(codes[::step]))
    return index


def _build_hnsw(codes: np.ndarray, hash_length: int) -> Any:
    return faiss.IndexBinaryHNSW(8 * codes.shape[1], NEIGHBOURS)


def _build_multihash(codes: np.ndarray, hash_length: int) -> Any:
    """Pieces about as long as it takes to number the codes, as many as there are bits for."""
    num_bits = min(MAX_KEY_BITS, hash_length, max(1, round(math.log2(max(2, len(codes))))))
    return faiss.IndexBinaryMultiHash(8 * codes.shape[1], hash_length // num_bits, num_bits)


def _set_nprobe(index: Any, effort: int) -> None:
    index.nprobe = effort


def _set_ef_search(index: Any, effort: int) -> None:
    index.hnsw.efSearch = effort


def _set_nflip(index: Any, effort: int) -> None:
    index.nflip = effort


def _steps(low: int, high: int) -> list[int]:
    """Return low, 3/2 low, 2 low, 3 low, ... up to high."""
    steps = {high}
    while low < high:
        steps.update((low, min(high, low * 3 // 2)))
        low *= 2
    return sorted(steps)


KINDS: dict[str, Kind] = {
    "ivf": Kind(_build_ivf, "nprobe", lambda index: _steps(1, int(index.nlist)), _set_nprobe),
    "hnsw": Kind(_build_hnsw, "efSearch", lambda index: _steps(16, 1024), _set_ef_search),
    "multihash": Kind(_build_multihash, "nflip", lambda index: list(range(min(4, index.b + 1))), _set_nflip),
}


def search(index: Any, query_codes: np.ndarray, num_asked: int) -> tuple[np.ndarray, np.ndarray]:
    """Search an index, at the effort that it was set to, without the threads of FAISS: Note [Own threads].

    Args:
        query_codes: uint8 [Q, num_bytes], not empty.
        num_asked: how many codes a query; no more than the index holds are asked for.
    Returns:
        distances: int32 [Q, n] and positions: int64 [Q, n], by rising distance; where fewer are found, -1 at the end.
    """
    num_asked = min(num_asked, int(index.ntotal))
    found = over_queries(lambda part: index.search(query_codes[part], num_asked), len(query_codes))
    return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])


def build(kind: str, codes: np.ndarray, *, hash_length: int) -> Any:
    """Make an index of codes, whose positions are its ids.

    Args:
        kind: a name of KINDS.
        codes: uint8 [G, num_bytes], C-contiguous, not empty.
        hash_length: bits in use; those behind are 0.
    """
    index = KINDS[kind].build(codes, hash_length)
    for start in range(0, len(codes), CODES_AT_A_TIME):
        index.add(codes[start : start + CODES_AT_A_TIME])
    return index
