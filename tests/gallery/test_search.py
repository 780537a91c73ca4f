"""However the work is cut into tasks and blocks, the nearest codes and videos are those of a sort of all distances."""

from __future__ import annotations

import tracemalloc

import faiss
import numpy as np
import pytest

from c3dhash.bits import hamming_distances, pack_codes
from c3dhash.gallery import search as search_module
from c3dhash.gallery.search import nearest_codes, nearest_videos


def random_codes(rng: np.random.Generator, num: int, num_bytes: int, *, on: float = 0.1) -> np.ndarray:
    return pack_codes(rng.random((num, 8 * num_bytes)) < on)


def assert_codes_equal_sorting(query_codes: np.ndarray, codes: np.ndarray, k: int) -> None:
    distances, positions = nearest_codes(query_codes, codes, k=k)
    every = hamming_distances(query_codes, codes)
    order = np.argsort(every, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(positions, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(every, order, axis=1))


def assert_videos_equal_sorting(query_codes: np.ndarray, codes: np.ndarray, starts: np.ndarray, top: int) -> None:
    distances, positions = nearest_videos(query_codes, codes, starts=starts, top=top)
    every = hamming_distances(query_codes, codes).min(axis=0)
    ends = np.append(starts[1:], len(codes))
    first = [start + int(np.argmin(every[start:end])) for start, end in zip(starts, ends, strict=True)]
    expected = sorted((int(every[position]), int(position)) for position in first)[:top]
    assert list(zip(distances.tolist(), positions.tolist(), strict=True)) == expected


@pytest.mark.parametrize("num_bytes", [4, 8, 16, 19, 20, 32, 64, 75, 128])
@pytest.mark.parametrize("num_queries", [1, 3, 70])
def test_tasks_on_several_threads_give_the_same(
    num_bytes: int, num_queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "MIN_COMPARISONS_PER_TASK", 100)
    monkeypatch.setattr(search_module, "MAX_DISTANCES_PER_BLOCK", 1000)
    monkeypatch.setattr(search_module, "MAX_DISTANCES_OF_ONE", 60)
    monkeypatch.setattr(search_module, "CODES_PER_ROW", 3)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 5)
    rng = np.random.default_rng(num_bytes)
    codes, query_codes = random_codes(rng, 2000, num_bytes), random_codes(rng, num_queries, num_bytes)
    for k in (1, 7, 100, 600):
        assert_codes_equal_sorting(query_codes, codes, k)
    starts = np.flatnonzero(np.append(True, rng.random(1999) < 0.1))
    for top in (1, 20, len(starts)):
        assert_videos_equal_sorting(query_codes, codes, starts, top)


@pytest.mark.parametrize("max_counter_bytes", [1, 10**6])
def test_little_room_for_counters_gives_the_same(max_counter_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "MAX_COUNTER_BYTES", max_counter_bytes)
    rng = np.random.default_rng(3)
    assert_codes_equal_sorting(random_codes(rng, 40, 8), random_codes(rng, 500, 8), 400)


def test_every_distance_may_be_the_nearest() -> None:
    """From equal codes to opposite ones, 1024 bits apart."""
    codes = np.repeat(np.array([[255], [255], [0], [15]], np.uint8), 128, axis=1)
    distances, positions = nearest_videos(codes[2:3], codes, starts=np.arange(4), top=4)
    assert (distances.tolist(), positions.tolist()) == ([0, 512, 1024, 1024], [2, 3, 0, 1])


def test_memory_does_not_grow_with_windows_times_clips() -> None:
    """One film of 200,000 clips hides a hundred videos from 64 windows: lists would take 150 MB."""
    rng = np.random.default_rng(0)
    codes = np.zeros((200_100, 8), np.uint8)
    codes[200_000:] = random_codes(rng, 100, 8, on=0.9)
    query_codes = random_codes(rng, 64, 8, on=0.05)
    starts = np.append(0, np.arange(200_000, 200_100))
    tracemalloc.start()
    nearest_videos(query_codes, codes, starts=starts, top=10)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 12e6
