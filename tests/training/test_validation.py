"""Validation: what chooses the epoch."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from c3dhash.models.encode import Encoded
from c3dhash.training.validation import is_collapsed, val_gallery, validate, warn_on_collapse


def test_val_videos_query_training_videos():
    # Codes of 4 bits; the query of class 0 is at distance 0 of the training video of class 1, and at 1 of its own.
    gallery = np.array([[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]], np.float32)
    val = np.array([[1, 1, 1, 1], [-1, -1, -1, 1]], np.float32)
    scores = np.array([[1, 0], [1, 0]], np.float32)
    encoded = (Encoded(val, scores, val), np.array([0, 1]), Encoded(gallery, None, gallery), np.array([1, 0, 1]))
    result, calibration = validate(*encoded)
    # Query 1, of class 1: distances 3, 4, 1, relevant are the first and the third: (1/1 + 2/2) / 2 = 1; query 0: 1/2.
    assert result["val_mAP"] == pytest.approx((1 / 2 + 1) / 2)
    assert result["val_accuracy"] == pytest.approx(1 / 2)
    assert calibration.all_counts.tolist() == [1, 2, 0, 1, 2]  # of query 0: 0, 1, 4
    assert calibration.relevant_counts.tolist() == [0, 2, 0, 1, 0]
    assert calibration.measured_on == "2 val videos in 3 training videos"


def test_nothing_is_left_to_find(caplog):
    bits = np.array([[1, 1], [1, -1], [-1, 1]], np.float32)
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        result, calibration = validate(
            Encoded(bits, bits, bits), np.array([0, 0, 1]), Encoded(bits, None, bits), np.full(3, 2)
        )
    assert "val_mAP" not in result
    assert calibration is None
    assert result["val_accuracy"] == pytest.approx(2 / 3)  # [1, 1] is a draw, and the first class is taken
    assert "no val video is of the class of a training video" in caplog.text


def test_the_gallery_of_val_videos_is_a_part_of_large_data_sets():
    labels = np.arange(3000) % 7
    assert np.array_equal(val_gallery(labels, num_val=10, seed=0, takes_all=True), np.arange(3000))
    assert np.array_equal(val_gallery(labels[:400], num_val=10, seed=0, takes_all=False), np.arange(400))
    part = val_gallery(labels, num_val=400, seed=0, takes_all=False)
    assert len(part) == 800 and len(set(part.tolist())) == 800
    assert np.array_equal(part, val_gallery(labels, num_val=400, seed=0, takes_all=False))


def test_collapse():
    assert not is_collapsed({"val_distinct_codes": 50, "val_dead_bits": 3}, hash_length=48, num_codes=60)
    assert is_collapsed({"val_distinct_codes": 1, "val_dead_bits": 48}, hash_length=48, num_codes=60)
    assert is_collapsed({"val_distinct_codes": 9, "val_dead_bits": 25}, hash_length=48, num_codes=60)
    assert not is_collapsed({"val_distinct_codes": 1, "val_dead_bits": 48}, hash_length=48, num_codes=4)
    assert not is_collapsed({"val_accuracy": 0.5}, hash_length=48, num_codes=60)


def test_a_collapse_is_told_once_each_time(caplog):
    good, bad = {"val_distinct_codes": 50, "val_dead_bits": 3}, {"val_distinct_codes": 1, "val_dead_bits": 48}
    rows = [bad, bad, good, {"val_accuracy": 0.5}, bad, bad]
    told = []
    for num_epochs in range(1, len(rows) + 1):
        caplog.clear()
        warn_on_collapse(rows[:num_epochs], hash_length=48, num_codes=60)
        told.append("48 of 48 bits are dead, 1 distinct codes for 60 videos" in caplog.text)
    assert told == [True, False, False, False, True, False]
