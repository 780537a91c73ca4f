"""Exact Hamming search over packed codes: a FAISS binary index whose entries carry clip ids.

Note [Fast widths]
FAISS has a special kernel for codes of 4, 8, 16, 20, 32 and 64 bytes; every other width takes a general
one that is two to four times slower. Codes are therefore padded with zero bytes to the next of these
widths, which changes no distance. Beyond 64 bytes no width is special and nothing is padded.

Note [Rising ids]
Ids are added in rising order and removals keep the order, so the order of positions is that of ids. Among
codes at one distance FAISS keeps those of the lowest positions: a result is ordered by (distance, id), and
which of the tied codes are left out at rank k follows from their ids, not from chance.

Note [Own threads]
FAISS spreads the queries of a call over OpenMP threads: a single query runs on a single core, and where
another process has taken a core, the threads wait for each other at a spinning barrier. Here the work is
cut into tasks of equal size, each of which FAISS does on one thread: blocks of queries where there are
enough of them, else slices of the gallery, whose results are merged.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import faiss
import numpy as np

from c3dhash.bits import check_codes, num_code_bytes, pad_codes
from c3dhash.errors import CodesError, GalleryError, UsageError

FAST_NUM_BYTES = (4, 8, 16, 20, 32, 64)
NO_ID = -1
NO_DISTANCE = 2**31 - 1

# Below so many comparisons, about two milliseconds, a task is not worth a thread.
MIN_COMPARISONS_PER_TASK = 2_000_000
# FAISS's kernel "mc" counts: it keeps k slots for every possible distance, so it needs no heap but
# (8 * num_bytes + 1) * k * 8 bytes per query. It wins for narrow codes and for large k.
MAX_QUERIES_PER_TASK = 16
MAX_COUNTER_BYTES = 2**28
COUNTING_MAX_NUM_BYTES, COUNTING_MIN_K = 16, 200

# After the bytes of the FAISS file: magic, hash_length, stamp; then a CRC-32 of all that precedes it.
# FAISS reads such a file too, since it stops at the end of its own part.
TRAILER = struct.Struct("<8sIqq")
CHECKSUM = struct.Struct("<I")
MAGIC = b"c3dhash1"


def padded_num_bytes(hash_length: int) -> int:
    """Return the width, in bytes, at which codes of `hash_length` bits are searched: Note [Fast widths]."""
    width = num_code_bytes(hash_length)
    return next((fast for fast in FAST_NUM_BYTES if fast >= width), width)


class HammingIndex:
    """Packed codes with rising int64 ids, searched exactly by Hamming distance.

    Several threads may search at once; `add` and `remove` need the index for themselves.
    """

    def __init__(self, hash_length: int) -> None:
        self.hash_length = hash_length
        self.num_bytes = padded_num_bytes(hash_length)
        self._codes = faiss.IndexBinaryFlat(8 * self.num_bytes)
        self._index = faiss.IndexBinaryIDMap(self._codes)

    def __len__(self) -> int:
        return self._index.ntotal

    def __repr__(self) -> str:
        return f"HammingIndex({len(self)} codes, hash_length={self.hash_length})"

    @property
    def ids(self) -> np.ndarray:
        """The ids, int64 [G], rising; a view that holds until the next `add` or `remove`."""
        return _view(self._index.id_map, len(self), np.int64)

    def add(self, codes: np.ndarray, *, ids: np.ndarray) -> None:
        """Append codes.

        Args:
            codes: uint8 [N, ceil(hash_length / 8)].
            ids: int64 [N], rising, and above every id that is in the index.
        Raises:
            CodesError: the codes have another width, or the ids another shape or order.
        """
        check_codes(codes, hash_length=self.hash_length)
        if ids.dtype != np.int64 or ids.shape != codes.shape[:1]:
            raise CodesError(f"{len(codes)} codes need int64 [{len(codes)}] ids, got {ids.dtype} {list(ids.shape)}.")
        if not len(ids):
            return
        last = int(self.ids[-1]) if len(self) else NO_ID
        falls = np.flatnonzero(ids <= np.concatenate([[last], ids[:-1]]))
        if len(falls):
            raise CodesError(f"ids must rise and lie above {last}, got {ids[falls[0]]} at place {falls[0]}.")
        self._index.add_with_ids(pad_codes(codes, num_bytes=self.num_bytes), ids)

    def remove(self, ids: np.ndarray) -> int:
        """Take codes out, in one pass over the index.

        Args:
            ids: int64 [N]; those that are not in the index are passed over.
        Returns:
            How many codes were removed.
        """
        ids = np.asarray(ids, np.int64)
        return self._index.remove_ids(ids) if len(ids) and len(self) else 0

    def search(self, codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest codes of each query.

        Args:
            codes: queries, uint8 [Q, ceil(hash_length / 8)].
            k: results per query, 1 or more.
        Returns:
            distances: int32 [Q, k], bits, 0..hash_length.
            ids: int64 [Q, k]. Each row is ordered by (distance, id). Where the index holds fewer than k
            codes, the rest of a row has id -1 at distance 2**31 - 1.
        Raises:
            UsageError: k is below 1.
            CodesError: the codes have another width.
        """
        if k < 1:
            raise UsageError(f"k ({k}) must be 1 or more: the number of results per query.")
        check_codes(codes, hash_length=self.hash_length, name="query codes")
        distances = np.full((len(codes), k), NO_DISTANCE, np.int32)
        ids = np.full((len(codes), k), NO_ID, np.int64)
        num_found = min(k, len(self))
        if num_found and len(codes):
            gallery_codes = _view(self._codes.xb, len(self) * self.num_bytes, np.uint8)
            found_distances, positions = _nearest(
                pad_codes(codes, num_bytes=self.num_bytes), gallery_codes.reshape(len(self), -1), k=num_found
            )
            distances[:, :num_found] = found_distances
            ids[:, :num_found] = self.ids[positions]
        return distances, ids

    def save(self, path: Path, *, stamp: tuple[int, int]) -> None:
        """Write the index as a FAISS file that ends in a stamp and a checksum.

        Args:
            path: written in place; the caller renames.
            stamp: two int64 that `load` gives back: what the index is a copy of.
        Raises:
            OSError: the file cannot be written.
        """
        with path.open("wb") as file:
            checksum = 0

            def write(data: bytes) -> int:
                nonlocal checksum
                checksum = zlib.crc32(data, checksum)
                return file.write(data)

            faiss.write_index_binary(self._index, faiss.PyCallbackIOWriter(write))
            write(TRAILER.pack(MAGIC, self.hash_length, *stamp))
            file.write(CHECKSUM.pack(checksum))

    @classmethod
    def load(cls, path: Path, *, hash_length: int) -> tuple[HammingIndex, tuple[int, int]]:
        """Read what `save` wrote.

        Returns:
            The index and its stamp.
        Raises:
            GalleryError: the file is missing, damaged, or holds codes of another length.
        """
        index = cls(hash_length)
        try:
            with path.open("rb") as file:
                saved_hash_length, stamp = _read_trailer(file)
                if saved_hash_length != hash_length:
                    raise ValueError(f"it holds {saved_hash_length}-bit codes, not {hash_length}-bit ones")
                index._index = faiss.read_index_binary(faiss.PyCallbackIOReader(file.read))
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise GalleryError(f"index '{path}' cannot be read: {reason}.") from error
        index._codes = faiss.downcast_IndexBinary(index._index.index)
        return index, stamp


def _view(vector: object, size: int, dtype: type) -> np.ndarray:
    """Show a C++ vector as an array, without a copy."""
    return faiss.rev_swig_ptr(vector.data(), size) if size else np.empty(0, dtype)


def _read_trailer(file: BinaryIO) -> tuple[int, tuple[int, int]]:
    """Verify the checksum of a saved index, leave the file at its start, return hash_length and stamp.

    Raises:
        ValueError: the file is no whole saved index.
    """
    checksum, tail = 0, b""
    while chunk := file.read(2**20):
        data = tail + chunk
        tail = data[-CHECKSUM.size :]
        checksum = zlib.crc32(memoryview(data)[: -CHECKSUM.size], checksum)
    end = file.tell() - TRAILER.size - CHECKSUM.size
    if end < 0 or CHECKSUM.unpack(tail)[0] != checksum:
        raise ValueError("its checksum does not match")
    file.seek(end)
    magic, hash_length, *stamp = TRAILER.unpack(file.read(TRAILER.size))
    if magic != MAGIC:
        raise ValueError(f"it ends in {magic!r} instead of {MAGIC!r}")
    file.seek(0)
    return hash_length, (stamp[0], stamp[1])


def _nearest(query_codes: np.ndarray, gallery_codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest codes of each query, on as many threads as pay; see Note [Own threads].

    Args:
        query_codes, gallery_codes: uint8 [Q, num_bytes] and [G, num_bytes], C-contiguous.
        k: 1..G.
    Returns:
        distances: int32 [Q, k], and positions: int64 [Q, k], ordered by (distance, position).
    """
    num_comparisons = len(query_codes) * len(gallery_codes)
    num_threads = max(1, min(faiss.omp_get_max_threads(), num_comparisons // MIN_COMPARISONS_PER_TASK))
    counter_bytes = (8 * query_codes.shape[1] + 1) * k * 8
    is_counting = query_codes.shape[1] <= COUNTING_MAX_NUM_BYTES or k >= COUNTING_MIN_K
    variant = "mc" if is_counting and counter_bytes <= MAX_COUNTER_BYTES else "hc"
    max_queries = max(1, min(MAX_QUERIES_PER_TASK, MAX_COUNTER_BYTES // counter_bytes))
    blocks, slices = _cut(
        len(query_codes), len(gallery_codes), num_threads=num_threads, max_queries_per_block=max_queries
    )

    def search(block: slice, part: slice) -> tuple[np.ndarray, np.ndarray]:
        num_found = min(k, part.stop - part.start)
        distances, positions = faiss.knn_hamming(query_codes[block], gallery_codes[part], num_found, variant=variant)
        return distances, positions + part.start

    found = _run(search, list(itertools.product(blocks, slices)), num_threads=num_threads)
    rows = [_merge(found[i : i + len(slices)], k=k) for i in range(0, len(found), len(slices))]
    return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])


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


def _run(function: Callable, tasks: list[tuple], *, num_threads: int) -> list:
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
