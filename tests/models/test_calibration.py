"""What a distance means is what was counted, made to fall, and corrected for how many pairs it is the smallest of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c3dhash.errors import CheckpointError
from c3dhash.models.calibration import CALIBRATION_FILE, Calibration, load_calibration, pooled, save_calibration


def counts(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_shares_are_those_that_were_counted() -> None:
    calibration = Calibration(counts(10, 0, 20, 30, 40), counts(9, 0, 12, 6, 3), "x")
    prior = 30 / 100  # of one more pair: (9 + 0.3) / (10 + 1)
    expected = [9.3 / 11, 9.3 / 11, 12.3 / 21, 6.3 / 31, 3.3 / 41]
    np.testing.assert_allclose([calibration.precision(distance) for distance in range(5)], expected)
    assert prior == 0.3
    assert repr(calibration) == "Calibration(100 pairs, x)"


def test_distances_that_say_otherwise_are_pooled() -> None:
    # 1/4 before 3/4: together 4/8; 1/2 after them is the same share, and one stretch with them; then 0/5.
    np.testing.assert_allclose(pooled(counts(1, 3, 1, 0), counts(4, 4, 2, 5), prior=0, prior_weight=0), [0.5] * 3 + [0])
    # What was never seen is taken with the next, at the end with the last.
    found = pooled(counts(0, 0, 2, 0, 0), counts(0, 0, 2, 4, 0), prior=0.5)
    np.testing.assert_allclose(found, [2.5 / 3] * 3 + [0.5 / 5] * 2)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20))
def test_pooled_is_the_best_of_what_falls(pairs: list[tuple[int, int]]) -> None:
    """Least squares among falling sequences: the projection property of isotonic regression."""
    part, other = np.array(pairs, np.int64).T
    whole = part + other
    found = pooled(part, whole, prior=0.5, prior_weight=1e-9)
    assert (np.diff(found) <= 0).all()
    seen = whole > 0
    share = np.divide(part, whole, out=np.zeros(len(whole)), where=seen)
    rng = np.random.default_rng(0)
    error = (whole * (share - found) ** 2).sum()
    for _ in range(20):
        falling = np.sort(rng.random(len(whole)))[::-1]
        assert error <= (whole * (share - falling) ** 2).sum() + 1e-6


def test_the_smallest_of_many_distances_says_less() -> None:
    """Against draws: classes at 0.2, distances of one class binomial around 10, of two around 24 of 48 bits."""
    rng, num = np.random.default_rng(0), 400_000
    is_same = rng.random(num) < 0.2
    distances = rng.binomial(48, np.where(is_same, 10 / 48, 24 / 48))
    calibration = Calibration(
        np.bincount(distances, minlength=49), np.bincount(distances[is_same], minlength=49), "draws"
    )
    same = rng.random(num // 8) < 0.2
    drawn = rng.binomial(48, np.where(same, 10 / 48, 24 / 48)[:, None], (num // 8, 6)).min(axis=1)
    for distance in (6, 10, 14, 16):
        truth = same[drawn == distance].mean()
        assert calibration.precision(distance, num_pairs=6) == pytest.approx(truth, abs=0.04)
    assert calibration.precision(16, num_pairs=6) < calibration.precision(16) - 0.1, "or the number of pairs is lost"


def test_it_is_kept_with_a_run(tmp_path: Path) -> None:
    assert load_calibration(tmp_path, hash_length=4) is None
    calibration = Calibration(counts(10, 0, 20, 30, 40), counts(9, 0, 12, 6, 3), "3 val videos in 9 \u00fc")
    save_calibration(tmp_path, calibration)
    loaded = load_calibration(tmp_path, hash_length=4)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.all_counts, calibration.all_counts)
    np.testing.assert_array_equal(loaded.relevant_counts, calibration.relevant_counts)
    assert loaded.measured_on == calibration.measured_on
    with pytest.raises(CheckpointError, match="is of 4-bit codes, its run makes 5-bit ones"):
        load_calibration(tmp_path, hash_length=5)


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"all_counts": [1, 2], "relevant_counts": [1], "measured_on": "x"}', "\xff",
        '{"all_counts": [1, 2], "relevant_counts": [2, 0], "measured_on": "x"}',
        '{"all_counts": [1, 2], "relevant_counts": [-1, 2], "measured_on": "x"}',
        '{"all_counts": [1, 2], "relevant_counts": [0, 0], "measured_on": "x"}',
        '{"all_counts": [1, 1e99], "relevant_counts": [1, 0], "measured_on": "x"}',
        '{"all_counts": "many", "relevant_counts": [1, 0], "measured_on": "x"}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / CALIBRATION_FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"calibration\.json' cannot be used \(.*\): delete it"):
        load_calibration(tmp_path, hash_length=1)
