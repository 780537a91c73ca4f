"""The code format: embedding -> bits -> packed bytes, and the Hamming distance.

Bit i of a code is `embedding[i] > 0` (zero is no third symbol: it is off), and bits are packed as
`numpy.packbits` does: bit 0 is the highest bit of byte 0, and the last byte is filled up with zeros.
"""

from __future__ import annotations

import numpy as np

from c3dhash.errors import CodesError, UsageError

MAX_HASH_LENGTH = 1024


def num_code_bytes(hash_length: int) -> int:
    """Return how many bytes a packed code of `hash_length` bits takes."""
    if not 1 <= hash_length <= MAX_HASH_LENGTH:
        raise UsageError(f"hash_length ({hash_length}) must be between 1 and {MAX_HASH_LENGTH}; 48 is a good start.")
    return (hash_length + 7) // 8


def spare_bits(hash_length: int) -> int:
    """Return the bits of the last byte of a code that are beyond its length, and off; 0 where it fills the byte."""
    return 0xFF >> hash_length % 8 if hash_length % 8 else 0


def pack_codes(embeddings: np.ndarray) -> np.ndarray:
    """Turn embeddings (or bits) into packed codes.

    Args:
        embeddings: float or bool [N, hash_length]; a bit is on where the value is above 0.
    Returns:
        uint8 [N, ceil(hash_length / 8)].
    Raises:
        CodesError: not two-dimensional, or a value is NaN (its sign would be arbitrary).
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2:
        raise CodesError(f"embeddings must be [N, hash_length], got {list(embeddings.shape)}.")
    num_code_bytes(embeddings.shape[1])
    if embeddings.dtype.kind == "f" and np.isnan(embeddings).any():
        raise CodesError(f"{int(np.isnan(embeddings).any(axis=1).sum())} of {len(embeddings)} embeddings are NaN.")
    return np.packbits(embeddings > 0, axis=1)


def unpack_codes(codes: np.ndarray, *, hash_length: int) -> np.ndarray:
    """Turn packed codes into bits.

    Args:
        codes: uint8 [N, ceil(hash_length / 8)].
        hash_length: bits.
    Returns:
        bool [N, hash_length].
    Raises:
        CodesError: the codes have another width or dtype.
    """
    check_codes(codes, hash_length=hash_length)
    return np.unpackbits(codes, axis=1, count=hash_length).astype(bool)


def check_codes(codes: np.ndarray, *, hash_length: int, name: str = "codes") -> None:
    """Raise a CodesError unless `codes` are packed codes of `hash_length` bits."""
    width = num_code_bytes(hash_length)
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != width:
        raise CodesError(
            f"{name} of {hash_length} bits must be uint8 [N, {width}], got {codes.dtype} {list(codes.shape)}."
        )
    if (spare := spare_bits(hash_length)) and (codes[:, -1] & spare).any():
        raise CodesError(f"{name} have bits set beyond hash_length ({hash_length}); they are codes of another length.")


def pad_codes(codes: np.ndarray, *, num_bytes: int) -> np.ndarray:
    """Append zero bytes to each code until it has `num_bytes`; Hamming distances do not change.

    Args:
        codes: uint8 [N, width], width <= num_bytes.
        num_bytes: bytes.
    Returns:
        uint8 [N, num_bytes], C-contiguous; `codes` itself where nothing is to do.
    """
    if codes.shape[1] == num_bytes:
        return np.ascontiguousarray(codes)
    padded = np.zeros((len(codes), num_bytes), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded


def as_words(codes: np.ndarray) -> np.ndarray:
    """View codes as 64-bit words, padded with zeros: uint8 [N, width] -> uint64 [N, ceil(width / 8)]."""
    return pad_codes(codes, num_bytes=-(-codes.shape[1] // 8) * 8).view(np.uint64)


def hamming_distances(query_codes: np.ndarray, gallery_codes: np.ndarray) -> np.ndarray:
    """Count the differing bits of every query and gallery code.

    Args:
        query_codes: uint8 [Q, width].
        gallery_codes: uint8 [G, width].
    Returns:
        int32 [Q, G], bits, 0..8 * width.
    Raises:
        CodesError: the widths differ.
    """
    if query_codes.shape[1:] != gallery_codes.shape[1:]:
        raise CodesError(
            f"query and gallery codes must have one width, got {query_codes.shape[1:]} and "
            f"{gallery_codes.shape[1:]} bytes."
        )
    query_words, gallery_words = as_words(query_codes), as_words(gallery_codes)
    distances = np.zeros((len(query_codes), len(gallery_codes)), np.int32)
    for word in range(query_words.shape[1]):
        distances += np.bitwise_count(query_words[:, None, word] ^ gallery_words[None, :, word])
    return distances
