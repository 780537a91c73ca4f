"""Validation: what chooses the epoch."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from c3dhash.models.encode import Encoded
from c3dhash.records import Sample
from c3dhash.training.validation import is_collapsed, validate, warn_on_collapse


def samples_of(groups: list[str]) -> list[Sample]:
    return [Sample(Path(f"{number}.avi"), (0,), "val", group) for number, group in enumerate(groups)]


def test_cuts_of_one_recording_do_not_count():
    # Four videos of class 0 and two of class 1, two cuts of each recording a, b, c, which have one code. The recordings
    # lie 8 bits apart, b and c 16.
    bits = np.zeros((6, 16), np.float32) - 1
    bits[2:4, :8] = bits[4:6, 8:] = 1
    labels = np.array([0, 0, 0, 0, 1, 1])
    result = validate(Encoded(bits, None), samples_of(["a", "a", "b", "b", "c", "c"]), labels)
    # A query of a: b and c, b's two of class 0, c's two of class 1, all at distance 8: expected AP over the orders of
    # a tie of 4 with 2 relevant: (1/4 + ... ) = sum_i (2/4) (1 + (i-1)/3) / i / 2 for i = 1..4
    tie_of_a = sum(0.5 * (1 + (i - 1) / 3) / i for i in range(1, 5)) / 2
    # A query of b: a's two at distance 8, c's two at distance 16: AP = 1. Queries of c have nothing relevant left.
    assert result["val_mAP"] == pytest.approx((tie_of_a + 1) / 2)
    alone = validate(Encoded(bits, None), samples_of(list("uvwxyz")), labels)
    assert alone["val_mAP"] > result["val_mAP"]


def test_nothing_is_left_to_find(caplog):
    bits = np.array([[1, 1], [1, -1], [-1, 1]], np.float32)
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        result = validate(Encoded(bits, bits), samples_of(["a", "a", "b"]), np.array([0, 0, 1]))
    assert "val_mAP" not in result
    assert result["val_accuracy"] == pytest.approx(2 / 3)  # [1, 1] is a draw, and the first class is taken
    assert "another of its class from another source" in caplog.text


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
