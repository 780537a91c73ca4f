"""What lists say is what a sort of everything says, or they say that they are too short."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from c3dhash.gallery.lists import NO_END, codes_of_lists, ends_of, videos_of_lists


def lists_of(distances: np.ndarray, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of each row, of ties any; filled up with -1 at an absurd distance, as FAISS does."""
    order = np.lexsort((rng.random(distances.shape), distances), axis=1)[:, :length]
    found = np.take_along_axis(distances, order, axis=1)
    spare = max(0, length - order.shape[1])
    return np.pad(found, ((0, 0), (0, spare)), constant_values=NO_END), np.pad(
        order, ((0, 0), (0, spare)), constant_values=-1
    )


@settings(max_examples=200)
@given(
    num_queries=st.integers(1, 4), num_codes=st.integers(1, 60), length=st.integers(1, 80), k=st.integers(1, 20),
    bits=st.integers(1, 6), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_lists_tell_the_truth_or_nothing(
    num_queries: int, num_codes: int, length: int, k: int, bits: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    every = rng.integers(0, bits + 1, (num_queries, num_codes)).astype(np.int32)
    distances, positions = lists_of(every, max(length, k), rng)
    ends = ends_of(distances, positions)
    found, places, is_known = codes_of_lists(distances, positions, ends=ends, k=k)
    order = np.argsort(every, axis=1, kind="stable")[:, :k]
    for row in np.flatnonzero(is_known):
        np.testing.assert_array_equal(places[row], order[row])
        np.testing.assert_array_equal(found[row], every[row, order[row]])
    if max(length, k) > num_codes >= k:
        assert is_known.all(), "all is in the lists"

    starts = np.flatnonzero(np.append(True, rng.random(num_codes - 1) < 0.4))
    top = min(k, len(starts))
    videos = videos_of_lists(distances, positions, ends=ends, starts=starts, top=top)
    nearest = every.min(axis=0)
    ends_of_videos = np.append(starts[1:], num_codes)
    firsts = [start + int(nearest[start:end].argmin()) for start, end in zip(starts, ends_of_videos, strict=True)]
    expected = sorted((int(nearest[place]), place) for place in firsts)[:top]
    if videos is not None:
        assert list(zip(videos[0].tolist(), videos[1].tolist(), strict=True)) == expected
    else:
        assert max(length, k) <= num_codes, "all is in the lists"


def test_a_tie_at_the_end_is_not_known() -> None:
    """Of 1 1 2 2: the third may be either of two; the second is known, for the list goes on."""
    distances, positions = np.array([[1, 1, 2]], np.int32), np.array([[1, 0, 3]])
    ends = ends_of(distances, positions)
    assert ends.tolist() == [2]
    assert not codes_of_lists(distances, positions, ends=ends, k=3)[2][0]
    assert codes_of_lists(distances, positions, ends=ends, k=2)[2][0]
    assert videos_of_lists(distances, positions, ends=ends, starts=np.arange(4), top=3) is None
    known = videos_of_lists(distances, positions, ends=ends, starts=np.arange(4), top=2)
    assert known is not None and known[1].tolist() == [0, 1]
