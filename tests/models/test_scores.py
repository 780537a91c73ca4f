from __future__ import annotations

import math

import numpy as np
import pytest

from c3dhash.models.scores import class_probabilities


def test_by_hand():
    scores = np.array([[0, math.log(3)], [0, 0]], np.float32)
    assert class_probabilities(scores, is_multi_label=False) == pytest.approx(
        np.array([[1 / 4, 3 / 4], [1 / 2, 1 / 2]]), abs=1e-6
    )
    # several labels a video: 1 / (1 + exp(-ln 3)) = 3/4
    assert class_probabilities(scores, is_multi_label=True) == pytest.approx(
        np.array([[1 / 2, 3 / 4], [1 / 2, 1 / 2]]), abs=1e-6
    )


def test_large_scores_do_not_overflow():
    scores = np.array([[1e4, -1e4]], np.float32)
    for is_multi_label in (False, True):
        assert class_probabilities(scores, is_multi_label=is_multi_label).tolist() == [[1, 0]]
