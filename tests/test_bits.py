"""The code format: frozen bytes, round trips, and Hamming distance as a metric."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c3dhash import bits
from c3dhash.errors import CodesError, UsageError

# Frozen: a gallery on disk holds these bytes. If this test fails, every gallery in the world is unreadable.
FROZEN_EMBEDDING = np.array([[0.9, -0.9, 0.0, 1e-7, -1e-7, 0.5, -0.0, 0.2, -0.3, 0.4, 0.1, -0.8]], np.float32)
FROZEN_BITS = [1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0]  # zero of either sign is off
FROZEN_BYTES = bytes([0b10010101, 0b01100000])  # first bit highest, last byte filled up with zeros


@st.composite
def bit_rows(draw: st.DrawFn, *, num_sets: int = 1) -> list[np.ndarray]:
    """Some arrays of bits, bool [N, hash_length], of one hash_length."""
    hash_length = draw(st.integers(1, 130))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    return [rng.random((draw(st.integers(1, 6)), hash_length)) < 0.5 for _ in range(num_sets)]


def test_frozen_bytes() -> None:
    codes = bits.pack_codes(FROZEN_EMBEDDING)
    assert codes.dtype == np.uint8
    assert codes.tobytes() == FROZEN_BYTES
    assert bits.unpack_codes(codes, hash_length=12).tolist() == [[bool(bit) for bit in FROZEN_BITS]]


def test_frozen_bytes_of_48_bits() -> None:
    # bit i is on where i is divisible by 3: 100100100100100100100100 ... -> 92 49 24 92 49 24
    embedding = np.where(np.arange(48) % 3 == 0, 0.7, -0.7)[None]
    assert bits.pack_codes(embedding).tobytes().hex() == "924924924924"


@pytest.mark.parametrize(("hash_length", "expected"), [(1, 1), (8, 1), (9, 2), (48, 6), (64, 8), (1024, 128)])
def test_num_code_bytes(hash_length: int, expected: int) -> None:
    assert bits.num_code_bytes(hash_length) == expected


@pytest.mark.parametrize("hash_length", [0, -1, 1025])
def test_hash_length_out_of_range(hash_length: int) -> None:
    with pytest.raises(UsageError, match=re.escape(f"hash_length ({hash_length}) must be between 1 and 1024")):
        bits.num_code_bytes(hash_length)


@given(bit_rows())
@settings(max_examples=50)
def test_pack_and_unpack_are_inverse(rows: list[np.ndarray]) -> None:
    (original,) = rows
    codes = bits.pack_codes(original)
    assert codes.shape == (len(original), bits.num_code_bytes(original.shape[1]))
    assert np.array_equal(bits.unpack_codes(codes, hash_length=original.shape[1]), original)


def test_packing_an_embedding_is_packing_its_signs() -> None:
    embeddings = np.random.default_rng(0).normal(size=(20, 37)).astype(np.float32)
    assert np.array_equal(bits.pack_codes(embeddings), bits.pack_codes(embeddings > 0))
    assert np.array_equal(bits.pack_codes(embeddings), bits.pack_codes(3 * embeddings))


def test_packing_no_embeddings() -> None:
    assert bits.pack_codes(np.empty((0, 12))).shape == (0, 2)


def test_embeddings_of_another_shape() -> None:
    with pytest.raises(CodesError, match=re.escape("embeddings must be [N, hash_length], got [48].")):
        bits.pack_codes(np.zeros(48))


def test_embeddings_without_width() -> None:
    with pytest.raises(UsageError, match=re.escape("hash_length (0)")):
        bits.pack_codes(np.zeros((3, 0)))


def test_embeddings_that_are_nan() -> None:
    embeddings = np.zeros((5, 8))
    embeddings[[1, 1, 3], [0, 5, 2]] = np.nan
    with pytest.raises(CodesError, match="2 of 5 embeddings are NaN"):
        bits.pack_codes(embeddings)


@pytest.mark.parametrize(
    ("codes", "got"),
    [
        (np.zeros((2, 6), np.int64), "int64 [2, 6]"),
        (np.zeros((2, 8), np.uint8), "uint8 [2, 8]"),
        (np.zeros(6, np.uint8), "uint8 [6]"),
    ],
)
def test_codes_of_another_shape(codes: np.ndarray, got: str) -> None:
    with pytest.raises(CodesError, match=re.escape(f"codes of 48 bits must be uint8 [N, 6], got {got}.")):
        bits.unpack_codes(codes, hash_length=48)


def test_codes_with_bits_beyond_their_length() -> None:
    bits.check_codes(np.array([[0xFF, 0xF0]], np.uint8), hash_length=12)
    with pytest.raises(CodesError, match=re.escape("query_codes have bits set beyond hash_length (12)")):
        bits.check_codes(np.array([[0xFF, 0xF8]], np.uint8), hash_length=12, name="query_codes")


def test_pad_codes_appends_zeros() -> None:
    codes = np.array([[1, 2], [3, 4]], np.uint8)
    assert bits.pad_codes(codes, num_bytes=4).tolist() == [[1, 2, 0, 0], [3, 4, 0, 0]]
    assert bits.pad_codes(codes, num_bytes=2) is codes
    assert bits.pad_codes(np.asfortranarray(codes), num_bytes=2).flags.c_contiguous


def test_words_hold_the_same_bits() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (5, 11), np.uint8)
    words = bits.as_words(codes)
    assert (words.dtype, words.shape) == (np.uint64, (5, 2))
    assert np.array_equal(np.bitwise_count(words).sum(axis=1), np.unpackbits(codes, axis=1).sum(axis=1))


@given(bit_rows(num_sets=2))
@settings(max_examples=50)
def test_hamming_distance_counts_differing_bits(rows: list[np.ndarray]) -> None:
    queries, gallery = rows
    expected = [[sum(a != b for a, b in zip(one, other, strict=True)) for other in gallery] for one in queries]
    distances = bits.hamming_distances(bits.pack_codes(queries), bits.pack_codes(gallery))
    assert distances.dtype == np.int32
    assert distances.tolist() == expected


@given(bit_rows())
@settings(max_examples=50)
def test_hamming_distance_is_a_metric(rows: list[np.ndarray]) -> None:
    codes = bits.pack_codes(rows[0])
    distances = bits.hamming_distances(codes, codes)
    is_same = (codes[:, None] == codes[None]).all(axis=2)
    assert np.array_equal(distances == 0, is_same)
    assert np.array_equal(distances, distances.T)
    assert (distances[:, :, None] + distances[None, :, :] >= distances[:, None, :]).all()  # d(i,j) + d(j,k) >= d(i,k)


def test_padding_does_not_change_distances() -> None:
    codes = np.random.default_rng(1).integers(0, 256, (6, 6), np.uint8)
    padded = bits.pad_codes(codes, num_bytes=16)
    assert np.array_equal(bits.hamming_distances(codes, codes), bits.hamming_distances(padded, padded))


def test_distances_of_codes_of_two_widths() -> None:
    with pytest.raises(CodesError, match=re.escape("one width, got (6,) and (8,) bytes.")):
        bits.hamming_distances(np.zeros((1, 6), np.uint8), np.zeros((1, 8), np.uint8))
