"""The Hamming index equals a stable sort of all distances, and its file says when it is not whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c3dhash.gallery import index as index_module
from c3dhash.bits import hamming_distances, num_code_bytes, pack_codes
from c3dhash.errors import CodesError, GalleryError, UsageError
from c3dhash.gallery.index import FAST_NUM_BYTES, NO_DISTANCE, NO_ID, HammingIndex, padded_num_bytes


def random_codes(rng: np.random.Generator, num: int, hash_length: int, *, on: float = 0.5) -> np.ndarray:
    return pack_codes(rng.random((num, hash_length)) < on)


def brute_force(
    query_codes: np.ndarray, codes: np.ndarray, ids: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sort by (distance, id), cut at k, fill up."""
    distances = np.full((len(query_codes), k), NO_DISTANCE, np.int32)
    found_ids = np.full((len(query_codes), k), NO_ID, np.int64)
    for row, all_distances in enumerate(hamming_distances(query_codes, codes)):
        order = np.lexsort((ids, all_distances))[:k]
        distances[row, : len(order)], found_ids[row, : len(order)] = all_distances[order], ids[order]
    return distances, found_ids


def assert_equals_brute_force(
    index: HammingIndex, query_codes: np.ndarray, codes: np.ndarray, ids: np.ndarray, k: int
) -> None:
    distances, found_ids = index.search(query_codes, k=k)
    expected_distances, expected_ids = brute_force(query_codes, codes, ids, k)
    assert (distances.dtype, found_ids.dtype) == (np.int32, np.int64)
    np.testing.assert_array_equal(distances, expected_distances)
    np.testing.assert_array_equal(found_ids, expected_ids)


@settings(deadline=None, max_examples=60)
@given(
    hash_length=st.integers(1, 130),
    num_codes=st.integers(0, 300),
    num_queries=st.integers(0, 12),
    k=st.integers(1, 350),
    seed=st.integers(0, 2**32 - 1),
)
def test_search_equals_brute_force(
    hash_length: int, num_codes: int, num_queries: int, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, num_codes, hash_length, on=rng.choice([0.02, 0.5]))  # 0.02: nearly all tied
    ids = np.cumsum(rng.integers(1, 9, num_codes), dtype=np.int64)
    index = HammingIndex(hash_length)
    index.add(codes, ids=ids)
    assert_equals_brute_force(index, random_codes(rng, num_queries, hash_length), codes, ids, k)


@pytest.mark.parametrize("hash_length", [9, 32, 48, 64, 128, 150, 256, 300, 600, 1024])
@pytest.mark.parametrize("num_queries", [1, 3, 70])
@pytest.mark.parametrize("k", [7, 600])
def test_tasks_on_several_threads_give_the_same(
    hash_length: int, num_queries: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MIN_COMPARISONS_PER_TASK", 100)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 5)
    rng = np.random.default_rng(hash_length)
    codes, ids = random_codes(rng, 2000, hash_length, on=0.1), np.arange(10, 4010, 2)
    index = HammingIndex(hash_length)
    index.add(codes, ids=ids)
    assert_equals_brute_force(index, random_codes(rng, num_queries, hash_length, on=0.1), codes, ids, k)


@pytest.mark.parametrize("max_counter_bytes", [1, 10**6])
def test_little_room_for_counters_gives_the_same(
    max_counter_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MAX_COUNTER_BYTES", max_counter_bytes)
    rng = np.random.default_rng(3)
    codes, ids = random_codes(rng, 500, 48, on=0.1), np.arange(500)
    index = HammingIndex(48)
    index.add(codes, ids=ids)
    assert_equals_brute_force(index, random_codes(rng, 40, 48, on=0.1), codes, ids, 400)


def test_codes_that_are_all_equal_come_in_order_of_their_ids() -> None:
    index = HammingIndex(48)
    index.add(np.zeros((1000, 6), np.uint8), ids=np.arange(1000))
    distances, ids = index.search(np.full((2, 6), 255, np.uint8), k=10)
    assert (distances == 48).all()
    np.testing.assert_array_equal(ids, [list(range(10))] * 2)


def test_add_and_remove_equal_a_dictionary() -> None:
    rng = np.random.default_rng(5)
    index, model, next_id = HammingIndex(20), {}, 1
    for _ in range(40):
        new_codes = random_codes(rng, int(rng.integers(0, 30)), 20)
        new_ids = np.arange(next_id, next_id + len(new_codes))
        next_id += len(new_codes) + int(rng.integers(0, 3))
        index.add(new_codes, ids=new_ids)
        model.update(zip(new_ids.tolist(), new_codes, strict=True))
        removed = rng.choice(next_id, size=min(next_id, 12), replace=False)  # some are not there
        assert index.remove(removed) == len(model.keys() & set(removed.tolist()))
        model = {key: code for key, code in model.items() if key not in removed}
        assert len(index) == len(model)
        np.testing.assert_array_equal(index.ids, list(model))
        codes = np.stack(list(model.values())) if model else np.empty((0, 3), np.uint8)
        assert_equals_brute_force(index, random_codes(rng, 3, 20), codes, np.array(list(model), np.int64), 15)
    assert next_id > 300


def test_widths_are_padded_to_those_with_a_kernel() -> None:
    hash_lengths = (1, 32, 33, 48, 64, 65, 128, 129, 160, 161, 256, 257, 512)
    expected = [4, 4, 8, 8, 8, 16, 16, 20, 20, 32, 32, 64, 64]
    assert [padded_num_bytes(hash_length) for hash_length in hash_lengths] == expected
    for hash_length in range(1, 1025):
        num_bytes = padded_num_bytes(hash_length)
        assert num_bytes >= num_code_bytes(hash_length)
        assert num_bytes in FAST_NUM_BYTES or num_bytes == num_code_bytes(hash_length) > max(FAST_NUM_BYTES)


def test_callers_thread_count_is_left_alone() -> None:
    before = faiss.omp_get_max_threads()
    index = HammingIndex(8)
    index.add(np.zeros((3, 1), np.uint8), ids=np.arange(3))
    index.search(np.zeros((1, 1), np.uint8), k=1)
    assert faiss.omp_get_max_threads() == before


@pytest.fixture
def saved(tmp_path: Path) -> tuple[HammingIndex, Path]:
    index = HammingIndex(48)
    index.add(random_codes(np.random.default_rng(0), 100, 48), ids=np.arange(5, 105))
    path = tmp_path / "index.faiss"
    index.save(path, stamp=(7, -(2**63)))
    return index, path


def test_saved_index_loads_as_it_was(saved: tuple[HammingIndex, Path]) -> None:
    index, path = saved
    loaded, stamp = HammingIndex.load(path, hash_length=48)
    assert stamp == (7, -(2**63))
    query_codes = random_codes(np.random.default_rng(1), 4, 48)
    for ours, theirs in zip(index.search(query_codes, k=120), loaded.search(query_codes, k=120), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    loaded.add(np.zeros((1, 6), np.uint8), ids=np.array([105]))
    assert loaded.remove(np.array([5, 6])) == 2
    assert len(loaded) == 99


def test_empty_index_is_saved_and_searched(tmp_path: Path) -> None:
    HammingIndex(13).save(tmp_path / "x", stamp=(0, 0))
    loaded, _ = HammingIndex.load(tmp_path / "x", hash_length=13)
    distances, ids = loaded.search(np.zeros((2, 2), np.uint8), k=3)
    assert (distances == 2**31 - 1).all()
    assert (ids == -1).all()
    assert loaded.remove(np.array([1])) == 0


def test_file_is_one_that_faiss_reads(saved: tuple[HammingIndex, Path]) -> None:
    index, path = saved
    plain = faiss.read_index_binary(str(path))
    code = np.zeros((1, 8), np.uint8)
    np.testing.assert_array_equal(plain.search(code, 10)[1], index.search(code[:, :6], k=10)[1])


def test_every_flipped_byte_and_every_cut_is_noticed(saved: tuple[HammingIndex, Path]) -> None:
    _, path = saved
    whole = path.read_bytes()
    for place in itertools.chain(range(0, len(whole), 97), range(len(whole) - 40, len(whole))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(GalleryError, match=r"index\.faiss' cannot be read: its checksum does not match"):
            HammingIndex.load(path, hash_length=48)
        path.write_bytes(whole[:place])
        with pytest.raises(GalleryError, match="checksum"):
            HammingIndex.load(path, hash_length=48)


def test_unusable_files_are_refused(saved: tuple[HammingIndex, Path], tmp_path: Path) -> None:
    _, path = saved
    with pytest.raises(
        GalleryError, match=r"index\.faiss' cannot be read: it holds 48-bit codes, not 64-bit"
    ):
        HammingIndex.load(path, hash_length=64)
    with pytest.raises(GalleryError, match=r"missing' cannot be read: No such file"):
        HammingIndex.load(tmp_path / "missing", hash_length=48)
    checked = b"no trailer of ours, but longer than one"
    path.write_bytes(checked + index_module.CHECKSUM.pack(index_module.zlib.crc32(checked)))
    with pytest.raises(GalleryError, match=r"ends in .* instead of b'c3dhash1'"):
        HammingIndex.load(path, hash_length=48)
    checked = b"no FAISS index" + index_module.TRAILER.pack(index_module.MAGIC, 48, 0, 0)
    path.write_bytes(checked + index_module.CHECKSUM.pack(index_module.zlib.crc32(checked)))
    with pytest.raises(GalleryError, match=r"index\.faiss' cannot be read: Error"):
        HammingIndex.load(path, hash_length=48)


def test_full_disk_is_an_os_error(saved: tuple[HammingIndex, Path]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    large = HammingIndex(512)
    large.add(np.zeros((100_000, 64), np.uint8), ids=np.arange(100_000))
    for index in (saved[0], large):
        with pytest.raises(OSError, match="No space left"):
            index.save(full, stamp=(0, 0))


def test_wrong_arguments_are_refused() -> None:
    index = HammingIndex(48)
    codes = np.zeros((2, 6), np.uint8)
    with pytest.raises(UsageError, match=r"hash_length \(0\)"):
        HammingIndex(0)
    with pytest.raises(UsageError, match=r"k \(0\) must be 1 or more"):
        index.search(codes, k=0)
    with pytest.raises(
        CodesError, match=r"query codes of 48 bits must be uint8 \[N, 6\], got uint8 \[2, 8\]"
    ):
        index.search(np.zeros((2, 8), np.uint8), k=1)
    with pytest.raises(CodesError, match=r"must be uint8 \[N, 6\], got uint8 \[2, 8\]"):
        index.add(np.zeros((2, 8), np.uint8), ids=np.arange(2))
    with pytest.raises(CodesError, match=r"2 codes need int64 \[2\] ids, got int64 \[3\]"):
        index.add(codes, ids=np.arange(3))
    with pytest.raises(CodesError, match=r"got int32 \[2\]"):
        index.add(codes, ids=np.arange(2, dtype=np.int32))
    with pytest.raises(CodesError, match="rise and lie above -1, got 4 at place 1"):
        index.add(codes, ids=np.array([4, 4]))
    index.add(codes, ids=np.array([3, 9]))
    with pytest.raises(CodesError, match="above 9, got 9 at place 0"):
        index.add(codes, ids=np.array([9, 10]))
    assert len(index) == 2
    assert repr(index) == "HammingIndex(2 codes, hash_length=48)"
