"""The Hamming index equals a stable sort of all distances, and its file says when it is not whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c3dhash.bits import hamming_distances, num_code_bytes, pack_codes
from c3dhash.errors import CodesError, GalleryError, UsageError
from c3dhash.gallery import index as index_module
from c3dhash.gallery.index import FAST_NUM_BYTES, NO_DISTANCE, NO_ID, HammingIndex, padded_num_bytes


def random_codes(rng: np.random.Generator, num: int, hash_length: int, *, on: float = 0.5) -> np.ndarray:
    return pack_codes(rng.random((num, hash_length)) < on)


def add(index: HammingIndex, codes: np.ndarray, ids: np.ndarray, video_ids: np.ndarray | None = None) -> None:
    """Append codes, each a video of its own where nothing else is said."""
    index.add(codes, ids=ids, video_ids=ids if video_ids is None else video_ids)


def brute_force(query_codes: np.ndarray, codes: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
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
def test_search_equals_brute_force(hash_length: int, num_codes: int, num_queries: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, num_codes, hash_length, on=rng.choice([0.02, 0.5]))  # 0.02: nearly all tied
    ids = np.cumsum(rng.integers(1, 9, num_codes), dtype=np.int64)
    index = HammingIndex(hash_length)
    add(index, codes, ids)
    assert_equals_brute_force(index, random_codes(rng, num_queries, hash_length), codes, ids, k)


def test_codes_that_are_all_equal_come_in_order_of_their_ids() -> None:
    index = HammingIndex(48)
    add(index, np.zeros((1000, 6), np.uint8), np.arange(1000))
    distances, ids = index.search(np.full((2, 6), 255, np.uint8), k=10)
    assert (distances == 48).all()
    np.testing.assert_array_equal(ids, [list(range(10))] * 2)


def nearest_videos(
    query_codes: np.ndarray, clips: dict[int, tuple[int, np.ndarray]], top: int
) -> list[tuple[int, int]]:
    """Look at every clip; clips: id -> (video, code). The definition: the best (distance, id) of each video, sorted."""
    best: dict[int, tuple[int, int]] = {}
    for clip_id, (video, code) in clips.items():
        found = (int(hamming_distances(query_codes, code[None]).min()), clip_id)
        best[video] = min(best.get(video, found), found)
    return sorted(best.values())[:top]


def assert_videos_equal_brute_force(
    index: HammingIndex, query_codes: np.ndarray, clips: dict[int, tuple[int, np.ndarray]], top: int
) -> None:
    distances, ids = index.search_videos(query_codes, top=top)
    assert (distances.dtype, ids.dtype) == (np.int32, np.int64)
    assert list(zip(distances.tolist(), ids.tolist(), strict=True)) == nearest_videos(query_codes, clips, top)


def clustered_codes(rng: np.random.Generator, num: int, hash_length: int, centres: np.ndarray) -> np.ndarray:
    """Codes around few centres, [N, hash_length] bits of few flips: most are tied with others."""
    flips = rng.random((num, hash_length)) < rng.choice([0.0, 0.02, 0.2])
    return pack_codes(centres[rng.integers(0, len(centres), num)] ^ flips)


@settings(deadline=None, max_examples=100)
@given(
    hash_length=st.sampled_from([3, 8, 16, 48, 64, 100, 150, 256, 300]),
    num_videos=st.integers(1, 30),
    num_windows=st.integers(1, 40),
    top=st.integers(1, 35),
    seed=st.integers(0, 2**32 - 1),
)
def test_nearest_videos_equal_a_look_at_every_clip(
    hash_length: int, num_videos: int, num_windows: int, top: int, seed: int
) -> None:
    """Clustered, tied, uneven codes: a few films hold most clips, and hide the rest from any list of fixed length."""
    rng = np.random.default_rng(seed)
    centres = rng.random((int(rng.integers(1, 5)), hash_length)) < 0.5
    index, clips, next_id = HammingIndex(hash_length), {}, 1
    for video in range(num_videos):
        num_clips = int(rng.choice([1, 2, 5, 100], p=[0.4, 0.3, 0.2, 0.1]))
        codes = clustered_codes(rng, num_clips, hash_length, centres)
        ids = np.arange(next_id, next_id + num_clips)
        add(index, codes, ids, np.full(num_clips, video))
        clips.update(zip(ids.tolist(), [(video, code) for code in codes], strict=True))
        next_id += num_clips + int(rng.integers(0, 3))
    assert index.num_videos == num_videos
    query_codes = clustered_codes(rng, num_windows, hash_length, centres)
    assert_videos_equal_brute_force(index, query_codes, clips, top)


def test_add_and_remove_equal_a_dictionary() -> None:
    rng = np.random.default_rng(5)
    index, model, next_id = HammingIndex(20), {}, 1
    for step in range(40):
        new_codes = random_codes(rng, int(rng.integers(0, 30)), 20)
        new_ids = np.arange(next_id, next_id + len(new_codes))
        new_videos = 100 * step + np.sort(rng.integers(0, 6, len(new_codes)))
        next_id += len(new_codes) + int(rng.integers(0, 3))
        add(index, new_codes, new_ids, new_videos)
        model.update(zip(new_ids.tolist(), zip(new_videos.tolist(), new_codes, strict=True), strict=True))
        removed = rng.choice(next_id, size=min(next_id, 12), replace=False)  # some are not there
        assert index.remove(removed) == len(model.keys() & set(removed.tolist()))
        model = {key: clip for key, clip in model.items() if key not in removed}
        assert len(index) == len(model)
        assert index.num_videos == len({video for video, _ in model.values()})
        np.testing.assert_array_equal(index.ids, list(model))
        codes = np.stack([code for _, code in model.values()]) if model else np.empty((0, 3), np.uint8)
        assert_equals_brute_force(index, random_codes(rng, 3, 20), codes, np.array(list(model), np.int64), 15)
        assert_videos_equal_brute_force(index, random_codes(rng, 3, 20), model, 15)
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
    add(index, np.zeros((3, 1), np.uint8), np.arange(3))
    index.search(np.zeros((1, 1), np.uint8), k=1)
    assert faiss.omp_get_max_threads() == before


@pytest.fixture
def saved(tmp_path: Path) -> tuple[HammingIndex, Path]:
    index = HammingIndex(48)
    add(index, random_codes(np.random.default_rng(0), 100, 48), np.arange(5, 105), np.arange(100) // 7)
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
    add(loaded, np.zeros((1, 6), np.uint8), np.array([105]))
    assert (index.num_videos, loaded.num_videos) == (15, 16)
    np.testing.assert_array_equal(loaded.starts, [*index.starts, 100])
    assert loaded.remove(np.arange(5, 13)) == 8  # the first video, and one clip of the second
    assert (len(loaded), loaded.num_videos) == (93, 15)


def test_empty_index_is_saved_and_searched(tmp_path: Path) -> None:
    HammingIndex(13).save(tmp_path / "x", stamp=(0, 0))
    loaded, _ = HammingIndex.load(tmp_path / "x", hash_length=13)
    distances, ids = loaded.search(np.zeros((2, 2), np.uint8), k=3)
    assert (distances == 2**31 - 1).all()
    assert (ids == -1).all()
    assert loaded.remove(np.array([1])) == 0
    assert [len(found) for found in loaded.search_videos(np.zeros((2, 2), np.uint8), top=3)] == [0, 0]


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
    with pytest.raises(GalleryError, match=r"index\.faiss' cannot be read: it holds 48-bit codes, not 64-bit"):
        HammingIndex.load(path, hash_length=64)
    with pytest.raises(GalleryError, match=r"missing' cannot be read: No such file"):
        HammingIndex.load(tmp_path / "missing", hash_length=48)
    checked = b"no trailer of ours, but longer than one"
    path.write_bytes(checked + index_module.CHECKSUM.pack(index_module.zlib.crc32(checked)))
    with pytest.raises(GalleryError, match=r"ends in .* instead of b'c3dhash2'"):
        HammingIndex.load(path, hash_length=48)
    checked = b"no FAISS index" + index_module.TRAILER.pack(index_module.MAGIC, 48, 0, 0, 0)
    path.write_bytes(checked + index_module.CHECKSUM.pack(index_module.zlib.crc32(checked)))
    with pytest.raises(GalleryError, match=r"index\.faiss' cannot be read: Error"):
        HammingIndex.load(path, hash_length=48)


def test_full_disk_is_an_os_error(saved: tuple[HammingIndex, Path]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    large = HammingIndex(512)
    add(large, np.zeros((100_000, 64), np.uint8), np.arange(100_000))
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
    with pytest.raises(UsageError, match=r"top \(0\) must be 1 or more"):
        index.search_videos(codes, top=0)
    with pytest.raises(CodesError, match=r"query codes of 48 bits must be uint8 \[N, 6\], got uint8 \[2, 8\]"):
        index.search_videos(np.zeros((2, 8), np.uint8), top=1)
    with pytest.raises(CodesError, match=r"query codes of 48 bits must be uint8 \[N, 6\], got uint8 \[2, 8\]"):
        index.search(np.zeros((2, 8), np.uint8), k=1)
    with pytest.raises(CodesError, match=r"must be uint8 \[N, 6\], got uint8 \[2, 8\]"):
        add(index, np.zeros((2, 8), np.uint8), np.arange(2))
    with pytest.raises(CodesError, match=r"2 codes need int64 \[2\] ids, got int64 \[3\]"):
        add(index, codes, np.arange(3))
    with pytest.raises(CodesError, match=r"got int32 \[2\]"):
        add(index, codes, np.arange(2, dtype=np.int32))
    with pytest.raises(CodesError, match=r"2 codes need int64 \[2\] video_ids, got int64 \[1\]"):
        add(index, codes, np.arange(2), np.arange(1))
    with pytest.raises(CodesError, match="rise and lie above -1, got 4 at place 1"):
        add(index, codes, np.array([4, 4]))
    add(index, codes, np.array([3, 9]))
    with pytest.raises(CodesError, match="above 9, got 9 at place 0"):
        add(index, codes, np.array([9, 10]))
    assert len(index) == 2
    assert repr(index) == "HammingIndex(2 codes, hash_length=48)"
