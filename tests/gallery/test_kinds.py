"""Each kind of index finds what it should where it looks at everything, at the exact distance."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from random_codes import random_codes

from c3dhash.bits import hamming_distances, pack_codes, pad_codes
from c3dhash.config import INDEX_KINDS
from c3dhash.gallery import search as search_module
from c3dhash.gallery.kinds import KINDS, build, search

CLASSES = {"ivf": faiss.IndexBinaryIVF, "hnsw": faiss.IndexBinaryHNSW, "multihash": faiss.IndexBinaryMultiHash}


def test_every_kind_has_a_name_that_can_be_asked_for() -> None:
    assert set(INDEX_KINDS) == {"auto", "exact", *KINDS} and set(CLASSES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_more_effort_finds_more_at_exact_distances(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "MIN_QUERIES_PER_TASK", 3)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 4)
    rng = np.random.default_rng(0)
    codes, queries = (pad_codes(random_codes(rng, num), num_bytes=8) for num in (3000, 50))
    index = build(kind, codes, hash_length=48)
    assert type(index) is CLASSES[kind] and index.ntotal == 3000
    every = hamming_distances(queries, codes)
    truth = np.sort(every, axis=1)[:, :10]
    recalls = []
    for effort in KINDS[kind].efforts(index):
        KINDS[kind].set_effort(index, effort)
        distances, positions = search(index, queries, 10)
        is_found = positions >= 0
        rows = np.nonzero(is_found)[0]
        np.testing.assert_array_equal(distances[is_found], every[rows, positions[is_found]])
        recalls.append(float((is_found & (distances <= truth[:, -1:])).mean()))
    assert recalls[-1] > 0.99 and recalls[-1] > recalls[0] + 0.05
    if kind == "ivf":
        np.testing.assert_array_equal(distances, truth)  # all of its lists


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num", "hash_length"), [(1, 48), (2, 1), (50, 12), (300, 130)])
def test_small_galleries_and_odd_lengths(kind: str, num: int, hash_length: int) -> None:
    rng = np.random.default_rng(num)
    codes = pack_codes(rng.random((num, hash_length)) < 0.5)
    codes = pad_codes(codes, num_bytes=max(4, codes.shape[1]))
    index = build(kind, codes, hash_length=hash_length)
    efforts = KINDS[kind].efforts(index)
    assert efforts == sorted(set(efforts)) and efforts
    KINDS[kind].set_effort(index, efforts[-1])
    distances, _ = search(index, codes, 5)
    assert distances.shape == (num, min(5, num)) and (distances[:, 0] == 0).all(), "each finds itself, or its equal"
