"""Search in slices, by indexes that take any of the tied codes, gives what the CPU gives, code by code.

Here FAISS's index for CPUs holds the slices; the tests marked gpu run the real one and need a GPU and faiss-gpu.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest

from c3dhash.bits import pack_codes
from c3dhash.gallery import gpu, search
from c3dhash.gallery.index import HammingIndex


class FromTheBack:
    """IndexBinaryFlat with the codes in reversed order: of ties it takes the last ones."""

    room: int | None = None  # how many indexes there is memory for

    def __init__(self, num_bits: int) -> None:
        if FromTheBack.room is not None:
            if not FromTheBack.room:
                raise RuntimeError("out of memory\nin cudaMalloc")
            FromTheBack.room -= 1
        self._index = faiss.IndexBinaryFlat(num_bits)

    def add(self, codes: np.ndarray) -> None:
        self._index.add(np.ascontiguousarray(codes[::-1]))

    @property
    def ntotal(self) -> int:
        return int(self._index.ntotal)

    def search(self, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        distances, positions = self._index.search(codes, k)
        return distances, self.ntotal - 1 - positions


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(FromTheBack, "room", None)
    return lambda number: monkeypatch.setattr(FromTheBack, "room", number)


def make_codes(num: int, *, on: float, seed: int = 0, num_bytes: int = 8) -> np.ndarray:
    return pack_codes(np.random.default_rng(seed).random((num, 8 * num_bytes)) < on)


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """Count the queries that the CPU gets."""
    whole, calls = getattr(search, name), []

    def counted(query_codes: np.ndarray, *args: Any, **options: Any) -> Any:
        calls.append(len(query_codes))
        return whole(query_codes, *args, **options)

    monkeypatch.setattr(search, name, counted)
    return calls


@pytest.mark.parametrize("per_slice", [300, 997, 5000])
@pytest.mark.parametrize("k", [1, 10, 64, 600])
@pytest.mark.parametrize("on", [0.05, 0.5])
def test_codes_are_those_of_the_cpu(
    per_slice: int, k: int, on: float, monkeypatch: pytest.MonkeyPatch, room: Any
) -> None:
    codes, queries = make_codes(4000, on=on), make_codes(50, on=on, seed=1)
    truth = search.nearest_codes(queries, codes, k=k)
    sliced = gpu.SlicedSearch(codes, make_index=FromTheBack, codes_per_slice=per_slice)
    calls = count_calls(monkeypatch, "nearest_codes")
    found = sliced.nearest_codes(queries, k=k)
    for ours, theirs in zip(found, truth, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if k == 600:
        assert calls == [50], "more than a GPU selects"
    elif on == 0.5:
        assert not calls, "of random codes no tie reaches so far: none is searched twice"


def test_ties_over_the_end_of_a_list_are_for_the_cpu(monkeypatch: pytest.MonkeyPatch, room: Any) -> None:
    """Half of the queries have 2,000 equal codes for their nearest, of which a list holds 256."""
    codes = make_codes(4000, on=0.5)
    codes[::2] = codes[0]
    queries = np.concatenate([codes[:1], make_codes(1, on=0.5, seed=1)])
    sliced = gpu.SlicedSearch(codes, make_index=FromTheBack, codes_per_slice=4000)
    truth = search.nearest_codes(queries, codes, k=10)
    calls = count_calls(monkeypatch, "nearest_codes")
    for ours, theirs in zip(sliced.nearest_codes(queries, k=10), truth, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert calls == [1]


def test_what_does_not_fit_stays_outside(room: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="c3dhash")
    codes, queries = make_codes(4000, on=0.2), make_codes(40, on=0.2, seed=1)
    truth = search.nearest_codes(queries, codes, k=10)
    for number, held in ((0, 0), (2, 2000), (4, 4000)):
        room(number)
        sliced = gpu.SlicedSearch(codes, make_index=FromTheBack, codes_per_slice=1000)
        assert sliced.num_held == held
        for ours, theirs in zip(sliced.nearest_codes(queries, k=10), truth, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert "2000 of 4000 codes fit into the GPU (out of memory)." in caplog.text


def test_a_gpu_that_cannot_search_leaves_it_to_the_cpu(
    room: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", logger="c3dhash")
    codes, queries = make_codes(1000, on=0.2), make_codes(20, on=0.2, seed=1)
    sliced = gpu.SlicedSearch(codes, make_index=FromTheBack, codes_per_slice=300)

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory\nin cudaMalloc")

    monkeypatch.setattr(FromTheBack, "search", fail)
    truth = search.nearest_codes(queries, codes, k=10)
    for ours, theirs in zip(sliced.nearest_codes(queries, k=10), truth, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    starts = np.arange(0, 1000, 5)
    truth = search.nearest_videos(queries, codes, starts=starts, top=10)
    for ours, theirs in zip(sliced.nearest_videos(queries, starts=starts, top=10), truth, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert caplog.text.count("The GPU cannot search (out of memory): the CPU does.") == 2


@pytest.mark.parametrize("top", [1, 5, 60, 400])
@pytest.mark.parametrize("share", [None, 0.0, 0.02, 0.5])
def test_videos_are_those_of_the_cpu(top: int, share: float | None, room: Any) -> None:
    rng = np.random.default_rng(2)
    codes, queries = make_codes(4000, on=0.3), make_codes(30, on=0.3, seed=1)
    starts = np.flatnonzero(np.append(True, rng.random(3999) < 0.1))
    allowed = None if share is None else rng.random(len(starts)) < share
    truth = search.nearest_videos(queries, codes, starts=starts, top=top, allowed=allowed)
    sliced = gpu.SlicedSearch(codes, make_index=FromTheBack, codes_per_slice=900)
    found = sliced.nearest_videos(queries, starts=starts, top=top, allowed=allowed)
    for ours, theirs in zip(found, truth, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def filled(num: int) -> HammingIndex:
    index = HammingIndex(64)
    index.add([make_codes(num, on=0.3)], first_ids=np.arange(1, num + 1, 5), num_clips=np.full(num // 5, 5))
    return index


def test_an_index_takes_the_gpu_for_batches_and_no_old_copy(monkeypatch: pytest.MonkeyPatch, room: Any) -> None:
    made = []

    def sliced_search(codes: np.ndarray) -> gpu.SlicedSearch:
        made.append(gpu.SlicedSearch(codes, make_index=FromTheBack, codes_per_slice=700))
        return made[-1]

    index, queries = filled(2000), make_codes(20, on=0.3, seed=1)
    expected = index.search(queries, k=10), index.search_videos(queries, top=10)
    monkeypatch.setattr(gpu, "is_there", lambda: True)
    monkeypatch.setattr(gpu, "MIN_COMPARISONS", 1000)
    monkeypatch.setattr(gpu, "MAX_MIN_QUERIES", 16)
    monkeypatch.setattr(gpu, "sliced_search", sliced_search)
    found = index.search(queries, k=10), index.search_videos(queries, top=10)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(made) == 1, "it is kept for the next call"
    index.search(queries[:1], k=10)
    assert index.add([queries], first_ids=np.array([2001]), num_clips=np.array([20])) is None
    assert (index.search(queries, k=1)[0] == 0).all()
    assert len(made) == 2, "what was added is on it"


def test_small_searches_stay_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "is_there", lambda: True)
    assert gpu.held({}, make_codes(1000, on=0.5), num_queries=99) is None
    assert gpu.pays(200, 1_000_000) and not gpu.pays(1, 1_000_000_000) and not gpu.pays(1000, 10_000)


@pytest.mark.gpu
@pytest.mark.parametrize("num_bytes", [4, 8, 16, 32, 75])
def test_a_real_gpu_gives_the_same(num_bytes: int) -> None:
    assert gpu.is_there(), "tests marked gpu need a CUDA device, and this one faiss-gpu in place of faiss-cpu"
    for on in (0.05, 0.5):
        codes = make_codes(300_000, on=on, num_bytes=num_bytes)
        queries = make_codes(100, on=on, seed=1, num_bytes=num_bytes)
        starts = np.arange(0, 300_000, 7)
        for sliced in (
            gpu.sliced_search(codes),
            gpu.SlicedSearch(codes, make_index=gpu.sliced_search(codes[:1])._make_index, codes_per_slice=70_001),
        ):
            assert sliced.num_held == 300_000
            for k in (1, 10, 100, 500, 1000):
                truth = search.nearest_codes(queries, codes, k=k)
                for ours, theirs in zip(sliced.nearest_codes(queries, k=k), truth, strict=True):
                    np.testing.assert_array_equal(ours, theirs)
            truth = search.nearest_videos(queries, codes, starts=starts, top=20)
            for ours, theirs in zip(sliced.nearest_videos(queries, starts=starts, top=20), truth, strict=True):
                np.testing.assert_array_equal(ours, theirs)
