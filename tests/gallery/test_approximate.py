"""An approximate index is searched as the gallery is now: a brute force of the codes of now is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from approximate_galleries import make_index, near_codes
from hypothesis import given, settings
from hypothesis import strategies as st
from random_codes import random_codes

from c3dhash.bits import hamming_distances
from c3dhash.errors import CodesError, UsageError
from c3dhash.gallery import approximate as module
from c3dhash.gallery.approximate import ApproximateIndex
from c3dhash.gallery.approximate_file import StoredIndex
from c3dhash.gallery.index import NO_DISTANCE, NO_ID, HammingIndex
from c3dhash.gallery.kinds import KINDS, build
from c3dhash.gallery.recall import Facts

ALL_LISTS = 10**6  # an effort at which an ivf looks at everything, and must find it


def approximate_of(index: HammingIndex, *, kind: str = "ivf", effort: int = ALL_LISTS) -> ApproximateIndex:
    facts = Facts(kind, KINDS[kind].effort, effort, 1.0, 10, 256, 0.95, 0.001, 0.002, 0.5)
    built = build(kind, index.padded_codes, hash_length=index.hash_length)
    stored = StoredIndex(built, facts, index.starts.copy(), index.first_ids.copy(), len(index), (1, 1))
    return ApproximateIndex(stored)


def assert_near(index: HammingIndex, approximate: ApproximateIndex, queries: np.ndarray, k: int) -> None:
    """Distances are those of a sort of all codes; of ties, any may be found, but each id once, at its own distance."""
    distances, ids = approximate.search(index, queries, k=k)
    all_ids = index.ids_at(np.arange(len(index)))
    every = hamming_distances(queries, index.codes(0, len(index)))
    assert (distances.dtype, ids.dtype, ids.shape) == (np.int32, np.int64, (len(queries), k))
    num = min(k, len(index))
    np.testing.assert_array_equal(distances[:, :num], np.sort(every, axis=1)[:, :num])
    assert (ids[:, num:] == NO_ID).all() and (distances[:, num:] == NO_DISTANCE).all()
    for row in range(len(queries)):
        found = ids[row, :num]
        assert len(set(found.tolist())) == num and np.isin(found, all_ids).all(), "nothing that was removed"
        places = np.searchsorted(all_ids, found)
        np.testing.assert_array_equal(every[row, places], distances[row, :num])
        assert (np.lexsort((found, distances[row, :num])) == np.arange(num)).all()


@settings(max_examples=40)
@given(
    num_codes=st.integers(20, 700), num_clips=st.integers(1, 30), num_added=st.integers(0, 100),
    share_removed=st.sampled_from([0.0, 0.05, 0.3, 0.95]), k=st.sampled_from([1, 10, 100]),
    share_allowed=st.sampled_from([None, 0.02, 0.5]), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_whatever_came_and_went_equals_brute_force(
    num_codes: int, num_clips: int, num_added: int, share_removed: float, k: int, share_allowed: float | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    index = make_index(near_codes(num_codes, seed=seed), num_clips=num_clips)
    approximate = approximate_of(index)
    for first_id in (10_000, 20_000):  # twice, since what was noted of the first time must not stay
        index.remove(index.first_ids[rng.random(index.num_videos) < share_removed])
        if num_added:
            make_index(near_codes(num_added, seed=seed + 1), num_clips=3, first_id=first_id, index=index)
        queries = near_codes(5, seed=seed + 2)
        assert_near(index, approximate, queries, k)
        allowed = None if share_allowed is None else rng.random(index.num_videos) < share_allowed
        found = approximate.search_videos(index, queries, top=k, allowed=allowed)
        for ours, theirs in zip(found, index.search_videos(queries, top=k, allowed=allowed), strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("kind", KINDS)
def test_with_little_effort_nothing_false_is_told(kind: str) -> None:
    rng = np.random.default_rng(0)
    index = make_index(random_codes(rng, 4000))
    approximate = approximate_of(index, kind=kind, effort={"ivf": 3, "hnsw": 16, "multihash": 1}[kind])
    gone = index.first_ids[::9]
    gone_ids = np.concatenate([index.video(number)[0] for number in range(0, index.num_videos, 9)])
    index.remove(gone)
    new = random_codes(rng, 70)
    make_index(new, first_id=50_000, index=index)
    queries = np.concatenate([random_codes(rng, 60), new[:5]])
    distances, ids = approximate.search(index, queries, k=10)
    all_ids, every = index.ids_at(np.arange(len(index))), hamming_distances(queries, index.codes(0, len(index)))
    assert not np.isin(ids, gone_ids).any()
    np.testing.assert_array_equal(
        distances, np.take_along_axis(every, np.searchsorted(all_ids, ids), axis=1), "exact distances"
    )
    assert (distances[60:, 0] == 0).all() and (ids[60:] >= 50_000).any(axis=1).all(), "what came since is found"
    recall = (distances <= np.sort(every, axis=1)[:, 9:10]).mean()
    assert 0.3 < recall < 1.0, "it is approximate, or this tests nothing"
    videos, truth = approximate.search_videos(index, queries[:1], top=5), index.search_videos(queries[:1], top=5)
    assert len(videos[0]) == 5 and (videos[0] >= truth[0]).all()
    assert len(set(index.videos_of(videos[1]).tolist())) == 5


def test_a_filter_that_leaves_too_few_is_answered_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index(near_codes(20_000))
    approximate = approximate_of(index, effort=1)
    allowed = np.zeros(index.num_videos, bool)
    allowed[-3:] = True
    asked = []
    monkeypatch.setattr(module, "search", lambda *arguments: asked.append(arguments[2]))
    found = approximate.search_videos(index, near_codes(1, seed=4), top=3, allowed=allowed)
    truth = index.search_videos(near_codes(1, seed=4), top=3, allowed=allowed)
    np.testing.assert_array_equal(found, truth)
    assert asked == [], "more than MAX_ASKED codes: it is not even asked"
    allowed[:] = False
    assert approximate.search_videos(index, near_codes(1), top=3, allowed=allowed)[0].size == 0


def test_an_index_that_cannot_follow_is_not_used() -> None:
    """Of a state in which a video was gone that is still here: as for a reader that is behind the writer."""
    index = make_index(near_codes(300))
    later = make_index(near_codes(300))
    later.remove(later.first_ids[10:12])
    approximate = approximate_of(later)
    assert approximate.moves(index) is None and approximate.share_changed(index) == 1.0
    queries = index.video(10)[1]
    np.testing.assert_array_equal(approximate.search(index, queries, k=3), index.search(queries, k=3))
    np.testing.assert_array_equal(approximate.search_videos(index, queries, top=3), index.search_videos(queries, top=3))
    index.remove(index.first_ids[10:12])
    assert approximate.moves(index) is not None, "what was noted before is forgotten"
    index.remove(index.first_ids)
    assert approximate.moves(index) is None
    assert approximate.search(index, queries[:1], k=2)[1].tolist() == [[NO_ID, NO_ID]]


def test_the_share_that_changed_counts_both_ways() -> None:
    index = make_index(near_codes(700))
    approximate = approximate_of(index)
    assert approximate.share_changed(index) == 0
    index.remove(index.first_ids[:10])
    make_index(near_codes(35), first_id=5000, index=index)
    assert approximate.share_changed(index) == pytest.approx((70 + 35) / (700 - 70 + 35))


def test_what_is_asked_wrongly() -> None:
    index = make_index(near_codes(100))
    approximate = approximate_of(index)
    with pytest.raises(UsageError, match=r"k \(0\) must be 1 or more"):
        approximate.search(index, near_codes(1), k=0)
    with pytest.raises(UsageError, match=r"top \(0\) must be 1 or more"):
        approximate.search_videos(index, near_codes(1), top=0)
    for search in (lambda codes: approximate.search(index, codes, k=1),
                   lambda codes: approximate.search_videos(index, codes, top=1)):  # fmt: skip
        with pytest.raises(CodesError, match="query codes"):
            search(np.zeros((1, 8), np.uint8))
    assert approximate.search(index, near_codes(0), k=3)[0].shape == (0, 3)
    assert approximate.search_videos(index, near_codes(0), top=3)[0].shape == (0,)
