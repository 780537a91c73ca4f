"""Passes over codes, compiled by Numba: what `search.py` runs on each of its threads, which do not wait for each other.

Note [Passes]
Codes are taken as words, a block of them at a time: small enough that block and distances stay in a core's first cache,
of codes up to 32 bytes, while all queries go over them. Every loop over a block is one that LLVM turns into vector
instructions (AVX512 counts the bits of eight words in one), so the words of a block are first laid out in planes: the
first words of all its codes, then the second ones. What is rare, a code that is near enough, is looked for only in
blocks whose least distance says that there is one.

The three that are called from outside are compiled when that is done for the first time, for each kind of word. Numba
keeps what it compiled beside this file, or in the user's cache (NUMBA_CACHE_DIR says where else). A process that forks
waits until no thread of it compiles: the child would wait for ever for a thread that it does not have.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

logger = logging.getLogger(__name__)
CODES_PER_BLOCK = 512  # the fastest of 128 to 1,024 for codes of 4 to 32 bytes, one query and a hundred

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def words_of(codes: np.ndarray) -> np.ndarray:
    """View codes, uint8 [N, num_bytes], num_bytes a multiple of 4, as words: uint64 or uint32 [N, W].

    They are read-only, whether codes are or not: Numba compiles anew for each kind of array.
    """
    words = codes.view(np.uint64 if codes.shape[1] % 8 == 0 else np.uint32)
    words.flags.writeable = False
    return words


def num_found_bytes(k: int, *, num_bytes: int) -> int:
    """Return the memory that `nearest` takes for a query, beside its results."""
    return capacity_for(k) * 10 + (8 * num_bytes + 1) * 8


def capacity_for(k: int) -> int:
    """Return of how many codes `nearest` takes note before it drops those that came to be too far."""
    return 2 * k + 64


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_compiled: Decorator = njit(nogil=True)  # what is called by compiled functions alone becomes a part of them
_compiled_in_a_cache: Decorator = njit(nogil=True, cache=True)


def _compiled_and_kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, or take what was kept of it; where nothing can be kept, compile it for this process."""
    try:
        current = _compiled_in_a_cache(function)
    except RuntimeError as error:  # no folder may be written to
        logger.info("%s is compiled by every process: %s.", function.__name__, error)
        return _compiled(function)
    others, lock = iter([_compiled_anew, _compiled]), threading.Lock()

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        nonlocal current
        while True:
            tried = current
            try:
                return tried(*arguments)
            except MemoryError:  # of the pass itself
                raise
            except Exception as error:  # what a file raises that was cut off is up to what is left; a disk may be full
                with lock:
                    if current is not tried:  # another thread has met it, too
                        continue
                    compile_otherwise = next(others, None)
                    if compile_otherwise is None:
                        raise
                    logger.info("%s is compiled anew: %s: %s.", function.__name__, type(error).__name__, error)
                    current = compile_otherwise(function)

    return call


def _compiled_anew(function: Callable[..., Any]) -> Callable[..., Any]:
    """Drop what was kept of a function, compile it, and keep that.

    By a dispatcher of its own: `recompile` frees what its dispatcher has compiled, which threads may be at.
    """
    compiled = _compiled_in_a_cache(function)
    try:
        compiled.recompile()  # type: ignore[attr-defined]  # of nothing so far: its index comes to be empty
    except OSError:
        return _compiled(function)
    return compiled


def _count_bits(typing_context: Any, word: Any) -> Any:
    """Say what LLVM has for it, to Numba."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.ctpop", [args[0].type]), args)

    return word(word), generate


_popcount: Any = intrinsic(_count_bits)
_capacity_for = _compiled(capacity_for)


@_compiled
def _planes(words, start, size, room):  # type: ignore[no-untyped-def]
    """Return words, [G, W], from `start` on as planes, [W, size or more]; `room` is where to lay them out."""
    block = words[start : start + size]
    if words.shape[1] == 1:
        return block.reshape(1, size)
    for w in range(words.shape[1]):
        plane = room[w]
        for i in range(size):
            plane[i] = block[i, w]
    return room


@_compiled
def _fill(distances, planes, query, size):  # type: ignore[no-untyped-def]
    """Write the distances of a query, words [W], to the codes of a block."""
    word = query[0]
    for i in range(size):
        distances[i] = _popcount(planes[0, i] ^ word)
    for w in range(1, len(query)):
        word = query[w]
        for i in range(size):
            distances[i] += _popcount(planes[w, i] ^ word)


@_compiled
def _least(distances, size):  # type: ignore[no-untyped-def]
    least = distances[0]
    for i in range(1, size):
        least = min(least, distances[i])
    return least


@_compiled
def _keep_first(distances, positions, num, limit, num_at_limit):  # type: ignore[no-untyped-def]
    """Of the first `num`, keep those below the limit, and so many at it, in their order; return how many these are."""
    num_kept = 0
    for i in range(num):
        if distances[i] > limit or (distances[i] == limit and num_at_limit == 0):
            continue
        if distances[i] == limit:
            num_at_limit -= 1
        distances[num_kept], positions[num_kept] = distances[i], positions[i]
        num_kept += 1
    return num_kept


@_compiled
def _sort(found_distances, found_positions, farthest, distances, positions):  # type: ignore[no-untyped-def]
    """Fill `distances` and `positions`, [k], with the first k found, by distance; equal ones stay in their order."""
    places = np.zeros(farthest + 2, np.int64)  # where the next code of each distance goes
    for i in range(len(distances)):
        places[found_distances[i] + 1] += 1
    places = np.cumsum(places)
    for i in range(len(distances)):
        place = places[found_distances[i]]
        distances[place], positions[place] = found_distances[i], found_positions[i]
        places[found_distances[i]] += 1


@_compiled_and_kept
def nearest(queries, words, start, stop, distances, positions):  # type: ignore[no-untyped-def]
    """Find the k nearest codes of each query among those from `start` to `stop`.

    No list is kept in order meanwhile: `limits` are the distances at and above which nothing more is needed, since k
    codes before are as near, and sink as codes below them are counted.

    Args:
        queries, words: as of `words_of`, [Q, W] and [G, W].
        distances, positions: int32 and int64 [Q, k], k from 1 to stop - start; are filled, ordered by (distance,
            position).
    """
    num_queries, k = distances.shape
    num_words = words.shape[1]
    farthest = 8 * words.itemsize * num_words
    block, room = np.empty(CODES_PER_BLOCK, np.uint16), np.empty((num_words, CODES_PER_BLOCK), words.dtype)
    limits, num_below = np.full(num_queries, farthest + 1), np.zeros(num_queries, np.int64)
    counts = np.zeros((num_queries, farthest + 1), np.int64)  # of codes found, by distance
    num_found = np.zeros(num_queries, np.int64)
    capacity = _capacity_for(k)
    found_distances = np.empty((num_queries, capacity), np.uint16)
    found_positions = np.empty((num_queries, capacity), np.int64)
    for begin in range(start, stop, CODES_PER_BLOCK):
        size = min(CODES_PER_BLOCK, stop - begin)
        planes = _planes(words, begin, size, room)
        for q in range(num_queries):
            _fill(block, planes, queries[q], size)
            limit = limits[q]
            if _least(block, size) >= limit:
                continue
            for i in range(size):
                distance = block[i]
                if distance >= limit:
                    continue
                if num_found[q] == capacity:
                    num_found[q] = _keep_first(
                        found_distances[q], found_positions[q], capacity, limit, k - num_below[q]
                    )
                found_distances[q, num_found[q]] = distance
                found_positions[q, num_found[q]] = begin + i
                num_found[q] += 1
                counts[q, distance] += 1
                num_below[q] += 1
                while num_below[q] >= k:
                    limit -= 1
                    num_below[q] -= counts[q, limit]
            limits[q] = limit
    for q in range(num_queries):
        _keep_first(found_distances[q], found_positions[q], num_found[q], limits[q], k - num_below[q])
        _sort(found_distances[q], found_positions[q], farthest, distances[q], positions[q])


@_compiled_and_kept
def lower(least, queries, words, start, stop):  # type: ignore[no-untyped-def]
    """Lower the least distance of each code, `least`, uint16 [G], to that of a query where it is nearer."""
    block = np.empty(CODES_PER_BLOCK, np.uint16)
    room = np.empty((words.shape[1], CODES_PER_BLOCK), words.dtype)
    for begin in range(start, stop, CODES_PER_BLOCK):
        size = min(CODES_PER_BLOCK, stop - begin)
        planes = _planes(words, begin, size, room)
        least_of_block = least[begin : begin + size]
        for q in range(len(queries)):
            _fill(block, planes, queries[q], size)
            for i in range(size):
                least_of_block[i] = min(least_of_block[i], block[i])


@_compiled_and_kept
def within(queries, words, start, stop, radius):  # type: ignore[no-untyped-def]
    """Find the pairs of a query and a code from `start` to `stop` within a radius.

    Returns:
        int64 [P, 3]: query, position, distance; the positions of each query rise.
    """
    block = np.empty(CODES_PER_BLOCK, np.uint16)
    room = np.empty((words.shape[1], CODES_PER_BLOCK), words.dtype)
    found, num_found = np.empty((CODES_PER_BLOCK, 3), np.int64), 0
    for begin in range(start, stop, CODES_PER_BLOCK):
        size = min(CODES_PER_BLOCK, stop - begin)
        planes = _planes(words, begin, size, room)
        for q in range(len(queries)):
            _fill(block, planes, queries[q], size)
            if _least(block, size) > radius:
                continue
            if num_found + size > len(found):
                longer = np.empty((2 * len(found), 3), np.int64)
                longer[:num_found] = found[:num_found]
                found = longer
            for i in range(size):
                if block[i] <= radius:
                    found[num_found, 0], found[num_found, 1], found[num_found, 2] = q, begin + i, block[i]
                    num_found += 1
    return found[:num_found]
