"""Recall is what a count by hand gives, and the cheapest effort that reaches the target is taken."""

from __future__ import annotations

import numpy as np
import pytest
from approximate_galleries import make_index, near_codes
from random_codes import random_codes

from c3dhash.bits import hamming_distances
from c3dhash.gallery import recall
from c3dhash.gallery.recall import Facts, choose_effort, choose_elsewhere, draw_sample, measure


def test_the_sample_equals_sorting_without_the_own_video() -> None:
    codes = near_codes(600)
    index = make_index(codes)
    sample = draw_sample(index, num_queries=40)
    every = hamming_distances(sample.codes[:, :6], codes)
    assert len(sample.codes) == 40
    for row, (begin, end) in enumerate(zip(sample.begins, sample.ends, strict=True)):
        assert every[row, begin:end].min() == 0
        others = np.sort(np.delete(every[row], np.arange(begin, end)))
        assert sample.farthest[row] == others[9] and sample.num_nearest[row] == 10


def test_few_codes_in_other_videos() -> None:
    index = make_index(random_codes(np.random.default_rng(0), 10))  # videos of 7 and of 3 clips
    sample = draw_sample(index)
    assert sample.num_nearest.tolist() == [3] * 7 + [7] * 3


def nearest_by_sorting(codes: np.ndarray, *, lost: np.ndarray):
    """A search that knows all codes but some, in the order of (distance, position)."""

    def search(queries: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
        every = hamming_distances(queries[:, :6], codes).astype(np.int64)
        every[:, lost] = 10_000
        order = np.argsort(every, axis=1, kind="stable")[:, :num]
        distances = np.take_along_axis(every, order, axis=1)
        return distances, np.where(distances == 10_000, -1, order)

    return search


def test_recall_is_counted_among_other_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Own clips, 30 of them at distance 0, fill the list that is asked for first: the search is asked for more."""
    codes = near_codes(600)
    codes[:30] = codes[0]
    index = make_index(codes, num_clips=30)
    sample = draw_sample(index, num_queries=20)
    found, _ = measure(nearest_by_sorting(codes, lost=np.zeros(600, bool)), sample)
    assert found == 1.0
    lost = np.random.default_rng(1).random(600) < 0.5
    found, _ = measure(nearest_by_sorting(codes, lost=lost), sample)
    expected = []
    for code, begin, end in zip(sample.codes, sample.begins, sample.ends, strict=True):
        others = np.delete(hamming_distances(code[None, :6], codes)[0], np.arange(begin, end))
        is_lost = np.delete(lost, np.arange(begin, end))
        limit = np.sort(others)[9]
        expected.append(min(10, np.count_nonzero(others[~is_lost] <= limit)) / 10)
    assert found == pytest.approx(np.mean(expected))
    assert 0.2 < found < 0.9


def test_the_cheapest_effort_that_reaches_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {1: (0.5, 0.1), 2: (0.9, 0.2), 4: (0.96, 0.3), 8: (0.99, 0.4)}
    tried = []

    def looked_up(effort: int, sample: object) -> tuple[float, float]:
        tried.append(effort)
        return table[effort]

    monkeypatch.setattr(recall, "measure", looked_up)

    def chosen(efforts: list[int], *, target: float, exact: float = 1.0) -> int:
        tried.clear()
        return choose_effort(lambda effort: effort, efforts, None, exact=exact, target=target)[0]

    assert chosen([1, 2, 4, 8], target=0.95) == 4 and tried == [1, 2, 4]
    assert chosen([1, 2, 4, 8], target=0.999) == 8
    assert chosen([1, 2, 4, 8], target=0.999, exact=0.05) == 4 and 8 not in tried, "dearer than is of use"
    table[8] = (0.96, 0.4)
    assert chosen([1, 2, 4, 8], target=0.97) == 4, "of the best the cheapest"
    assert chosen([4], target=0.999) == 4


def test_facts_say_what_falls_short() -> None:
    facts = Facts("hnsw", "efSearch", 64, 0.9123, 10, 256, 0.95, 0.002, 0.001, 3.0)
    assert not facts.is_reached and not facts.is_faster
    assert str(facts) == (
        "hnsw, efSearch 64: finds 0.912 of the 10 nearest, below the target of 0.95, in 2 ms, exact search takes 1 ms, "
        "which is no faster"
    )


def test_what_has_the_codes_elsewhere_is_asked_for_its_ids() -> None:
    """A copy that knows some parts of eight: six find three quarters of what is near, all of them all."""
    codes = near_codes(600)
    index = make_index(codes)
    ids = index.ids_at(np.arange(600))
    part, efforts = np.random.default_rng(2).permutation(600) % 8, []

    def search_with(effort: int):
        efforts.append(effort)
        search = nearest_by_sorting(codes, lost=part >= effort)

        def search_ids(queries: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
            assert queries.shape[1] == 6, "codes as they are stored"
            distances, positions = search(queries, num)
            return distances, np.where(positions < 0, -1, ids[positions])

        return search_ids

    assert choose_elsewhere(search_with, [1, 6, 8], index, target=0.9, num_queries=60) == (8, 1.0)
    _, found = choose_elsewhere(search_with, [6], index, target=0.9, num_queries=60)
    assert found == pytest.approx(0.75, abs=0.06) and sorted(set(efforts)) == [1, 6, 8]
