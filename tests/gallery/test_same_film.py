"""What a score means: by hand, and what is kept in a gallery."""

from __future__ import annotations

import json

import numpy as np
import pytest

from c3dhash.errors import GalleryError
from c3dhash.gallery.same_film import COPIES_NAME, MAX_SCORE, SameFilm, bin_of, load_same_film, save_same_film


def counts(**of_scores: int) -> np.ndarray:
    counted = np.zeros(MAX_SCORE + 1, np.int64)
    for score, count in of_scores.items():
        counted[int(score[1:])] = count
    return counted


MEASURED = SameFilm(counts(s0=1, s7=2, s30=17, s255=80), counts(s0=95, s7=4, s20=1), "copies of 10 of 20 videos")


def test_shares_by_hand():
    """(right + 1/2) / (all + 1) of each stretch of scores: 30 and 255 are all right, at 20 fewer are than at 7."""
    assert MEASURED.precision(255) == MEASURED.precision(30) == MEASURED.precision(30.9) == pytest.approx(97.5 / 98)
    assert MEASURED.precision(20) == MEASURED.precision(7) == pytest.approx(2.5 / 8)
    assert MEASURED.precision(0) == pytest.approx(1.5 / 97)
    shares = [MEASURED.precision(score) for score in range(MAX_SCORE + 1)]
    assert (np.diff(shares) >= 0).all(), "a higher score is never said to be worse"
    assert [bin_of(score) for score in (0.0, 0.99, 254.9, 255, 4000.0)] == [0, 0, 254, 255, 255]


def test_what_is_kept(tmp_path, caplog):
    assert load_same_film(tmp_path, model_fingerprint="a" * 32) is None and not caplog.records
    save_same_film(tmp_path, MEASURED, model_fingerprint="a" * 32)
    loaded = load_same_film(tmp_path, model_fingerprint="a" * 32)
    assert loaded is not None and loaded.measured_on == MEASURED.measured_on
    assert [loaded.precision(score) for score in range(300)] == [MEASURED.precision(score) for score in range(300)]
    assert load_same_film(tmp_path, model_fingerprint="b" * 32) is None
    assert "of another model): measure it again with `c3dhash gallery calibrate`" in caplog.text


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "\x00", '{"own_counts": 3}'])
def test_what_is_damaged_is_said_and_not_used(tmp_path, caplog, text):
    (tmp_path / COPIES_NAME).write_text(text)
    assert load_same_film(tmp_path, model_fingerprint="a" * 32) is None
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize("change", [{"own_counts": [1]}, {"other_counts": [0] * 256}, {"own_counts": [-1] * 256},
                                    {"other_counts": [10**30] * 256}])  # fmt: skip
def test_counts_that_are_none(tmp_path, caplog, change):
    save_same_film(tmp_path, MEASURED, model_fingerprint="a" * 32)
    path = tmp_path / COPIES_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert load_same_film(tmp_path, model_fingerprint="a" * 32) is None
    assert "cannot be used" in caplog.text


def test_as_many_right_ones_as_others():
    with pytest.raises(GalleryError, match="as many scores"):
        SameFilm(counts(s3=2), counts(s3=1), "")
    with pytest.raises(GalleryError, match="as many scores"):
        SameFilm(counts(), counts(), "")
