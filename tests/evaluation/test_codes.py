from __future__ import annotations

import numpy as np
import pytest

from c3dhash.errors import CodesError
from c3dhash.evaluation.codes import Codes, load_codes, save_codes


def some_codes(**changes) -> Codes:
    content = {
        "gallery_codes": np.array([[1, 0], [2, 0], [3, 16]], np.uint8),
        "gallery_labels": np.array([0, 1, -1]),
        "query_codes": np.array([[1, 0]], np.uint8),
        "query_labels": np.array([1]),
        "hash_length": 12,
    }
    return Codes(**{**content, **changes})


@pytest.mark.parametrize("multi_label", [False, True])
def test_round_trip(tmp_path, multi_label):
    labels = {"gallery_labels": np.eye(3, dtype=bool), "query_labels": np.ones((1, 3), bool)} if multi_label else {}
    codes = some_codes(**labels)
    save_codes(codes, tmp_path / "codes.npz")
    again = load_codes(tmp_path / "codes.npz")
    assert again.hash_length == 12
    for name in ("gallery_codes", "gallery_labels", "query_codes", "query_labels"):
        assert np.array_equal(getattr(again, name), getattr(codes, name))
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npz"]


def test_a_file_of_another_method_needs_no_version(tmp_path):
    codes = some_codes()
    np.savez(tmp_path / "plain.npz", **codes.__dict__)
    assert load_codes(tmp_path / "plain.npz").hash_length == 12


def test_wrong_files(tmp_path):
    with pytest.raises(CodesError, match=r"gone\.npz' does not exist"):
        load_codes(tmp_path / "gone.npz")
    (tmp_path / "empty.npz").touch()
    with pytest.raises(CodesError, match=r"empty\.npz' is no codes file"):
        load_codes(tmp_path / "empty.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(CodesError, match=r"text\.npz' is no codes file"):
        load_codes(tmp_path / "text.npz")
    np.savez(tmp_path / "less.npz", gallery_codes=np.zeros((1, 2), np.uint8))
    with pytest.raises(CodesError, match="gallery_labels"):
        load_codes(tmp_path / "less.npz")
    np.savez(tmp_path / "newer.npz", **some_codes().__dict__, format_version=7)
    with pytest.raises(CodesError, match="format_version 7"):
        load_codes(tmp_path / "newer.npz")
    pickled = {**some_codes().__dict__, "gallery_labels": np.array([{}, {}, {}], object)}
    np.savez(tmp_path / "pickle.npz", **pickled)
    with pytest.raises(CodesError, match=r"pickle\.npz' is no codes file"):
        load_codes(tmp_path / "pickle.npz")


def test_what_does_not_fit():
    with pytest.raises(CodesError, match=r"gallery_labels \(2\).*\(3\)"):
        some_codes(gallery_labels=np.array([0, 1]))
    with pytest.raises(CodesError, match="query_codes of 12 bits"):
        some_codes(query_codes=np.zeros((1, 3), np.uint8))


@pytest.mark.parametrize("name", ["hash_length", "format_version"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (8.9, "8.9"),
        (12.0, "12.0"),
        (np.nan, "nan"),
        (np.inf, "inf"),
        (True, "True"),
        ("12", "'12'"),
        (b"12", "b'12'"),
        ([12], r"int64 \[1\]"),
        (np.zeros((2, 3)), r"float64 \[2, 3\]"),
        (np.array([], int), r"int64 \[0\]"),
    ],
)
def test_what_says_how_to_read_the_rest_is_a_whole_number(tmp_path, name, value, shown):
    np.savez(tmp_path / "odd.npz", **{**some_codes().__dict__, name: value})
    with pytest.raises(CodesError, match=rf"odd\.npz' has {name} {shown}; it must be one whole number"):
        load_codes(tmp_path / "odd.npz")


@pytest.mark.parametrize("value", [-12, 0, 1025])
def test_a_hash_length_out_of_range(tmp_path, value):
    np.savez(tmp_path / "odd.npz", **{**some_codes().__dict__, "hash_length": value})
    with pytest.raises(CodesError, match=rf"odd\.npz' has hash_length {value}; it must be between 1 and 1024"):
        load_codes(tmp_path / "odd.npz")


@pytest.mark.parametrize(
    "labels", [np.array(1), np.array([0.5]), np.array([True]), np.array(["a"]), np.zeros((1, 3)), np.zeros((1, 3), int)]
)
def test_labels_are_integers_or_truth_values(labels):
    with pytest.raises(CodesError, match=rf"query_labels must be integers .*, got {labels.dtype} \["):
        some_codes(query_labels=labels)
