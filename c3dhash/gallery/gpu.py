"""Exact search on a GPU, where FAISS was built for one (the package faiss-gpu) and sees it.

Note [Same as on a CPU]
    An answer is ordered by (distance, position), and of the codes tied at its end those of the lowest positions are
    taken. A GPU takes any of them. So it is asked for more than needed, in slices of the gallery, and what it gives is
    sorted; a query whose ties at rank k may reach over the end of a list (lists.py) is searched on the CPU. What comes
    out is what the CPU gives, code by code.

Note [When a GPU pays]
    FAISS's kernel for binary codes takes as long for one query as for hundreds: on an H100 (faiss-gpu 1.15.1, random
    codes of 8 bytes, k = 10) 18 ms a million codes for 1 to 100 queries, 29 ms for 1000, and 0.3 s ten million codes
    for any of these. A core of a CPU makes 2.5 to 4 comparisons in a nanosecond (by compiled passes, search.py), so
    that the 0.3 s are those of a hundred queries a core: from so many on it pays. (Both were never timed side by side:
    against FAISS's kernels, a fifth as fast, 16 cores of that machine took 160 to 200 ms for 100 queries in ten million
    codes, and 4 to 6 times as long as the GPU for 1000.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from c3dhash.gallery import search
from c3dhash.gallery.lists import NO_END, codes_of_lists, ends_of, videos_of_lists

logger = logging.getLogger(__name__)

# Note [When a GPU pays]. Of fewer comparisons, a GPU takes most of its time to answer at all, 2 to 3 ms.
MIN_QUERIES_PER_CORE, MAX_MIN_QUERIES, MIN_COMPARISONS = 100, 1600, 100_000_000
MAX_ASKED = 1024  # codes a query; FAISS's GPU kernels select that many at most for older cards
ASKED_PER_K, MIN_ASKED = 4, 256
SLICE_BYTES = 2**28

MakeIndex = Callable[[int], Any]
Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]  # codes, and how many for each


class SlicedSearch:
    """Codes of a gallery in indexes that hold a slice each, in any order of ties; what does not fit stays outside.

    Args:
        codes: uint8 [G, num_bytes], C-contiguous; they stay as they are while this is used.
        make_index: makes an empty index of FAISS for codes of so many bits.
        codes_per_slice: how many an index gets.
    Attributes:
        num_held: how many codes the indexes hold, from the first on.
    """

    def __init__(self, codes: np.ndarray, *, make_index: MakeIndex, codes_per_slice: int) -> None:
        self._codes, self._make_index = codes, make_index  # which holds the memory of a GPU
        self._slices: list[tuple[int, Any]] = []
        self.num_held = 0
        for start in range(0, len(codes), codes_per_slice):
            part = codes[start : start + codes_per_slice]
            try:
                index = make_index(8 * codes.shape[1])
                index.add(part)
            except RuntimeError as error:  # FAISS's, where there is no memory left
                logger.info("%d of %d codes fit into the GPU (%s).", start, len(codes), str(error).splitlines()[0])
                break
            self._slices.append((start, index))
            self.num_held = start + len(part)

    def nearest_codes(self, query_codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what `search.nearest_codes` does: Note [Same as on a CPU]."""
        lists = self._lists(query_codes, k=k)
        if lists is None:
            return search.nearest_codes(query_codes, self._codes, k=k)
        distances, positions, is_known = codes_of_lists(*lists[:2], ends=lists[2], k=k)
        if not is_known.all():
            distances[~is_known], positions[~is_known] = search.nearest_codes(query_codes[~is_known], self._codes, k=k)
        return distances, positions

    def nearest_videos(
        self, query_codes: np.ndarray, *, starts: np.ndarray, top: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `search.nearest_videos` does: Note [Same as on a CPU]."""
        num_allowed = len(starts) if allowed is None else int(allowed.sum())
        wanted = min(top, num_allowed)
        lists = self._lists(np.unique(query_codes, axis=0), k=wanted) if wanted else None
        if lists is not None:
            distances, positions, ends = lists
            if allowed is not None:
                videos = np.searchsorted(starts, positions, side="right") - 1
                positions = np.where((positions >= 0) & allowed[videos], positions, -1)
            found = videos_of_lists(distances, positions, ends=ends, starts=starts, top=wanted)
            if found is not None:
                return found[0].astype(np.int32), found[1]
        return search.nearest_videos(query_codes, self._codes, starts=starts, top=top, allowed=allowed)

    def _lists(self, query_codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Return distances and positions of lists longer than k side by side, and the nearest of their ends [Q].

        None where that is more than a GPU selects, or it cannot search.
        """
        if k > MAX_ASKED // 2:
            return None
        try:
            return self._all_lists(query_codes, k=k)
        except RuntimeError as error:  # FAISS's, where there is no memory for the queries
            logger.info("The GPU cannot search (%s): the CPU does.", str(error).splitlines()[0])
            return None

    def _all_lists(self, query_codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        num_asked = min(MAX_ASKED, max(MIN_ASKED, ASKED_PER_K * k))
        parts: list[tuple[int, int, Search]] = [(start, index.ntotal, index.search) for start, index in self._slices]
        if self.num_held < len(self._codes):
            rest = self._codes[self.num_held :]
            parts.append((self.num_held, len(rest), lambda codes, num: search.nearest_codes(codes, rest, k=num)))
        lists = []
        for start, num_codes, search_part in parts:
            distances, positions = search_part(query_codes, min(num_asked, num_codes))
            is_all = num_asked >= num_codes
            ends = np.full(len(query_codes), NO_END, np.int64) if is_all else ends_of(distances, positions)
            lists.append((distances, np.where(positions < 0, -1, positions + start), ends))
        distances, positions = (np.concatenate([each[part] for each in lists], axis=1) for part in (0, 1))
        return distances, positions, np.min([each[2] for each in lists], axis=0)


def is_there() -> bool:
    """Tell whether FAISS has a GPU to search with."""
    return hasattr(faiss, "GpuIndexBinaryFlat") and int(faiss.get_num_gpus()) > 0


def pays(num_queries: int, num_codes: int) -> bool:
    """Tell whether a search is large enough for a GPU."""
    min_queries = min(MIN_QUERIES_PER_CORE * int(faiss.omp_get_max_threads()), MAX_MIN_QUERIES)
    return num_queries >= min_queries and num_queries * num_codes >= MIN_COMPARISONS


def held(notes: dict[str, Any], codes: np.ndarray, *, num_queries: int) -> SlicedSearch | None:
    """Return a search of codes on a GPU, where there is one and it pays.

    Args:
        notes: of these codes, where it is kept for the next call.
    """
    if not pays(num_queries, len(codes)) or not is_there():
        return None
    if "gpu" not in notes:
        notes["gpu"] = sliced_search(codes)
    found: SlicedSearch = notes["gpu"]
    return found


def sliced_search(codes: np.ndarray) -> SlicedSearch:
    """Copy codes onto the first GPU, as far as they fit."""
    resources = faiss.StandardGpuResources()

    def make_index(num_bits: int) -> Any:
        return faiss.GpuIndexBinaryFlat(resources, num_bits)

    return SlicedSearch(codes, make_index=make_index, codes_per_slice=max(1, SLICE_BYTES // codes.shape[1]))
