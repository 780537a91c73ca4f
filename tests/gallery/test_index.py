"""The Hamming index equals a stable sort of all distances, also after videos came and went."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c3dhash.bits import hamming_distances, num_code_bytes, pack_codes
from c3dhash.errors import CodesError, GalleryError, UsageError
from c3dhash.gallery.index import FAST_NUM_BYTES, NO_DISTANCE, NO_ID, HammingIndex, padded_num_bytes


def random_codes(rng: np.random.Generator, num: int, hash_length: int, *, on: float = 0.5) -> np.ndarray:
    return pack_codes(rng.random((num, hash_length)) < on)


def add(index: HammingIndex, codes: np.ndarray, ids: np.ndarray, video_ids: np.ndarray | None = None) -> None:
    """Append codes in blocks of seven, each a video of its own where nothing else is said."""
    video_ids = ids if video_ids is None else video_ids
    firsts = np.flatnonzero(np.append(np.ones(1, bool), np.diff(video_ids) != 0)[: len(codes)])
    num_clips = np.diff(np.append(firsts, len(codes)))
    blocks = (codes[start : start + 7] for start in range(0, len(codes), 7))
    index.add(blocks, first_ids=ids[firsts], num_clips=num_clips)


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


@settings(max_examples=60)
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


@settings(max_examples=100)
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
        firsts = {video: key for key, (video, _) in reversed(model.items())}
        removed = rng.choice([0, next_id, *firsts.values()], size=3)  # two of them are not there
        gone = {video for video, key in firsts.items() if key in removed}
        assert index.remove(removed) == sum(video in gone for video, _ in model.values())
        model = {key: clip for key, clip in model.items() if clip[0] not in gone}
        assert len(index) == len(model)
        assert index.num_videos == len({video for video, _ in model.values()})
        np.testing.assert_array_equal(index.ids_at(np.arange(len(index))), list(model))
        assert index.last_id == (list(model)[-1] if model else NO_ID)
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


def test_saved_index_loads_as_it_was(tmp_path: Path) -> None:
    index, path = HammingIndex(48), tmp_path / "codes.bin"
    codes = random_codes(np.random.default_rng(0), 100, 48)
    add(index, codes, np.arange(5, 105), np.arange(100) // 7)
    index.save(path, stamp=(7, -(2**63)))
    loaded = HammingIndex(48)
    loaded.notes["of what it held before"] = 1
    assert loaded.load(path) == (7, -(2**63))
    assert not loaded.notes
    query_codes = random_codes(np.random.default_rng(1), 4, 48)
    for ours, theirs in zip(index.search(query_codes, k=120), loaded.search(query_codes, k=120), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    whole = path.read_bytes()
    add(loaded, np.zeros((1, 6), np.uint8), np.array([105]))
    assert (index.num_videos, loaded.num_videos) == (15, 16)
    np.testing.assert_array_equal(loaded.starts, [*index.starts, 100])
    assert loaded.remove(np.array([5, 19])) == 14  # the first video, and the third
    assert (len(loaded), loaded.num_videos) == (87, 14)
    np.testing.assert_array_equal(loaded.video(0)[0], np.arange(12, 19))
    np.testing.assert_array_equal(loaded.video(1)[1], codes[21:28])
    assert path.read_bytes() == whole, "a mapped file is never written to"


def test_videos_can_be_taken_out_of_a_file_at_once(tmp_path: Path) -> None:
    index = HammingIndex(48)
    add(index, random_codes(np.random.default_rng(0), 30, 48), np.arange(1, 31))
    index.save(tmp_path / "x", stamp=(1, 1))
    index.load(tmp_path / "x")
    assert index.remove(np.arange(1, 31, 2)) == 15
    np.testing.assert_array_equal(index.ids_at(np.arange(15)), np.arange(2, 31, 2))


def test_empty_index_is_saved_and_searched(tmp_path: Path) -> None:
    HammingIndex(13).save(tmp_path / "x", stamp=(0, 0))
    loaded = HammingIndex(13)
    loaded.load(tmp_path / "x")
    distances, ids = loaded.search(np.zeros((2, 2), np.uint8), k=3)
    assert (distances == 2**31 - 1).all()
    assert (ids == -1).all()
    assert loaded.remove(np.array([1])) == 0
    assert [len(found) for found in loaded.search_videos(np.zeros((2, 2), np.uint8), top=3)] == [0, 0]


def test_adding_many_times_copies_seldom() -> None:
    index, rooms = HammingIndex(32), set()
    for step in range(1000):
        add(index, np.full((10, 4), step % 256, np.uint8), np.arange(10 * step, 10 * step + 10), np.full(10, 7))
        rooms.add(len(index._room))
    assert (len(index), index.num_videos) == (10_000, 1000)
    assert len(rooms) < 50, "a room that is as large as the codes would be made a thousand times"
    np.testing.assert_array_equal(index.sample(10_000)[1][:, 0], np.repeat(np.arange(1000) % 256, 10))


def test_an_add_that_fails_changes_nothing() -> None:
    index = HammingIndex(16)
    add(index, np.ones((3, 2), np.uint8), np.arange(3))
    first_ids, num_clips = np.array([5]), np.array([4])
    for num_codes in (3, 5):
        with pytest.raises(CodesError, match=f"of 4 clips need as many codes, got {num_codes}"):
            index.add([np.zeros((num_codes, 2), np.uint8)], first_ids=first_ids, num_clips=num_clips)

    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((2, 2), np.uint8)
        raise GalleryError("the disk is gone")

    with pytest.raises(GalleryError, match="the disk is gone"):
        index.add(broken(), first_ids=first_ids, num_clips=num_clips)
    assert (len(index), index.num_videos, index.last_id) == (3, 3, 2)
    assert index.search(np.ones((1, 2), np.uint8), k=3)[0].tolist() == [[0, 0, 0]]
    index.add([np.zeros((4, 2), np.uint8)], first_ids=first_ids, num_clips=num_clips)
    assert index.last_id == 8


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
    one = np.array([1])
    with pytest.raises(CodesError, match=r"int64 \[V\] first_ids and num_clips, got int64 \[2\] and int64 \[1\]"):
        index.add([codes], first_ids=np.arange(2), num_clips=one)
    with pytest.raises(CodesError, match=r"got int32 \[1\] and int64 \[1\]"):
        index.add([codes[:1]], first_ids=one.astype(np.int32), num_clips=one)
    with pytest.raises(CodesError, match="video 1 may begin at 5, got 1 clips from 4"):
        index.add([codes], first_ids=np.array([4, 4]), num_clips=np.array([1, 1]))
    with pytest.raises(CodesError, match="video 0 may begin at 0, got 0 clips from 1"):
        index.add([], first_ids=one, num_clips=np.array([0]))
    add(index, codes, np.array([3, 9]))
    with pytest.raises(CodesError, match="video 0 may begin at 10, got 1 clips from 9"):
        add(index, codes, np.array([9, 10]))
    assert len(index) == 2
    assert repr(index) == "HammingIndex(2 codes, hash_length=48)"
