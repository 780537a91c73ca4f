"""However the work is cut into tasks and blocks, the nearest codes and videos are those of a sort of all distances."""

from __future__ import annotations

import functools
import sys
import tracemalloc
from collections import Counter

import faiss
import numpy as np
import pytest

from c3dhash.bits import hamming_distances, pack_codes
from c3dhash.gallery import search as search_module
from c3dhash.gallery.search import near_pairs, nearest_codes, nearest_videos


@pytest.fixture(params=[False, True], ids=["FAISS", "compiled"])
def are_compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether compiled passes search, or FAISS."""
    monkeypatch.setattr(search_module, "MIN_COMPARISONS_TO_COMPILE", 0 if request.param else 10**12)
    codes = np.zeros((1, 8), np.uint8)
    assert (search_module._kernels(codes, codes) is not None) == request.param
    return bool(request.param)


def random_codes(rng: np.random.Generator, num: int, num_bytes: int, *, on: float = 0.1) -> np.ndarray:
    return pack_codes(rng.random((num, 8 * num_bytes)) < on)


def assert_codes_equal_sorting(query_codes: np.ndarray, codes: np.ndarray, k: int) -> None:
    distances, positions = nearest_codes(query_codes, codes, k=k)
    every = hamming_distances(query_codes, codes)
    order = np.argsort(every, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(positions, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(every, order, axis=1))


def assert_pairs_equal_comparing(query_codes: np.ndarray, codes: np.ndarray, radius: int) -> None:
    every = hamming_distances(query_codes, codes)
    queries, positions = np.nonzero(every <= radius)
    expected = queries, positions, every[queries, positions]
    for ours, theirs in zip(near_pairs(query_codes, codes, radius=radius), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def assert_videos_equal_sorting(query_codes: np.ndarray, codes: np.ndarray, starts: np.ndarray, top: int) -> None:
    distances, positions = nearest_videos(query_codes, codes, starts=starts, top=top)
    every = hamming_distances(query_codes, codes).min(axis=0)
    ends = np.append(starts[1:], len(codes))
    first = [start + int(np.argmin(every[start:end])) for start, end in zip(starts, ends, strict=True)]
    expected = sorted((int(every[position]), int(position)) for position in first)[:top]
    assert list(zip(distances.tolist(), positions.tolist(), strict=True)) == expected


@pytest.mark.usefixtures("are_compiled")
@pytest.mark.parametrize("num_bytes", [4, 8, 16, 19, 20, 32, 64, 75, 128])
@pytest.mark.parametrize("num_queries", [1, 3, 70])
def test_tasks_on_several_threads_give_the_same(
    num_bytes: int, num_queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "MIN_COMPARISONS_PER_PASS", 100)
    monkeypatch.setattr(search_module, "MAX_FOUND_BYTES", 10_000)
    monkeypatch.setattr(search_module, "MIN_QUERIES_PER_PASS", 10)
    monkeypatch.setattr(search_module, "MIN_COMPARISONS_PER_TASK", 100)
    monkeypatch.setattr(search_module, "MAX_DISTANCES_PER_BLOCK", 1000)
    monkeypatch.setattr(search_module, "CODES_PER_ROW", 3)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 5)
    rng = np.random.default_rng(num_bytes)
    codes, query_codes = random_codes(rng, 2000, num_bytes), random_codes(rng, num_queries, num_bytes)
    for k in (1, 7, 100, 600):
        assert_codes_equal_sorting(query_codes, codes, k)
    starts = np.flatnonzero(np.append(True, rng.random(1999) < 0.1))
    for top in (1, 20, len(starts)):
        assert_videos_equal_sorting(query_codes, codes, starts, top)
    for radius in (0, num_bytes, 8 * num_bytes):
        assert_pairs_equal_comparing(query_codes, codes, radius)


@pytest.mark.usefixtures("are_compiled")
@pytest.mark.parametrize("num_bytes", [8, 20])
def test_what_comes_is_nearer_and_nearer_or_as_near(num_bytes: int) -> None:
    """Every code has to be noted, far more of them than are asked for; of those tied at the end the first ones stay."""
    num_on = np.repeat(np.arange(8 * num_bytes, 0, -1), 600)  # more than a block
    codes = pack_codes(np.arange(8 * num_bytes) < num_on[:, None])
    query_codes = np.stack([codes[0] * 0, codes[0]])
    for k in (1, 3, 599, 600, 601, 5000):
        assert_codes_equal_sorting(query_codes, codes, k)


def test_a_process_that_goes_on_takes_compiled_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    from c3dhash.gallery import kernels

    calls: list[str] = []
    for module, name in ((kernels, "nearest"), (faiss, "knn_hamming")):
        function = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *args, name=name, function=function, **kw: (calls.append(name), function(*args, **kw))[1],
        )
    monkeypatch.setattr(search_module, "MIN_COMPARISONS_TO_COMPILE", 3000)
    monkeypatch.setattr(search_module, "_num_compared", Counter())
    codes = random_codes(np.random.default_rng(0), 1000, 12)
    for _ in range(4):
        assert_codes_equal_sorting(codes[:1], codes, 10)
    assert calls == ["knn_hamming", "knn_hamming", "nearest", "nearest"]
    search_module.compile_passes(24)
    nearest_codes(np.zeros((1, 24), np.uint8), np.zeros((2, 24), np.uint8), k=1)
    assert calls[4:] == ["nearest", "nearest"]


@pytest.mark.parametrize("max_counter_bytes", [1, 10**6])
def test_little_room_for_counters_gives_the_same(max_counter_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "MAX_COUNTER_BYTES", max_counter_bytes)
    rng = np.random.default_rng(3)
    assert_codes_equal_sorting(random_codes(rng, 40, 8), random_codes(rng, 500, 8), 400)


def test_without_numba_faiss_searches(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "c3dhash.gallery.kernels", None)
    monkeypatch.delattr("c3dhash.gallery.kernels", raising=False)
    monkeypatch.setattr(search_module, "MIN_COMPARISONS_TO_COMPILE", 0)
    monkeypatch.setattr(search_module, "_import_kernels", functools.cache(search_module._import_kernels.__wrapped__))
    codes = random_codes(np.random.default_rng(0), 100, 8)
    for _ in range(2):
        assert_codes_equal_sorting(codes[:1], codes, 10)
    (record,) = caplog.records
    assert "Numba cannot be imported (" in record.message


def test_without_a_compiler_faiss_searches(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    assert search_module._import_kernels.__wrapped__() is None
    assert "NUMBA_DISABLE_JIT is set" in caplog.text


def test_where_llvm_does_not_load_faiss_searches(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unloadable:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "c3dhash.gallery.kernels":
                raise OSError("Could not find/load shared object file: libllvmlite.so")

    monkeypatch.delitem(sys.modules, "c3dhash.gallery.kernels", raising=False)
    monkeypatch.delattr("c3dhash.gallery.kernels", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Unloadable(), *sys.meta_path])
    assert search_module._import_kernels.__wrapped__() is None
    assert "libllvmlite.so" in caplog.text


@pytest.mark.usefixtures("are_compiled")
def test_every_distance_may_be_the_nearest() -> None:
    """From equal codes to opposite ones, 1024 bits apart."""
    codes = np.repeat(np.array([[255], [255], [0], [15]], np.uint8), 128, axis=1)
    distances, positions = nearest_videos(codes[2:3], codes, starts=np.arange(4), top=4)
    assert (distances.tolist(), positions.tolist()) == ([0, 512, 1024, 1024], [2, 3, 0, 1])


@pytest.mark.usefixtures("are_compiled")
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
