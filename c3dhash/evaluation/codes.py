"""The codes of a gallery and its queries as arrays, and the codes file that holds them."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.bits import MAX_HASH_LENGTH, check_codes
from c3dhash.errors import CodesError
from c3dhash.files import replacing

FORMAT_VERSION = 1


@dataclass(frozen=True, repr=False)
class Codes:
    """What is searched in and what is searched with, as a codes file holds it.

    gallery_codes, query_codes: uint8 [N, ceil(hash_length / 8)]. gallery_labels, query_labels: int64 [N], -1
    where not known, or bool [N, num_classes].
    """

    gallery_codes: np.ndarray
    gallery_labels: np.ndarray
    query_codes: np.ndarray
    query_labels: np.ndarray
    hash_length: int

    def __post_init__(self) -> None:
        for side in ("gallery", "query"):
            codes, labels = getattr(self, f"{side}_codes"), getattr(self, f"{side}_labels")
            check_codes(codes, hash_length=self.hash_length, name=f"{side}_codes")
            is_multi_label = labels.ndim == 2 and labels.dtype == np.bool_
            if not is_multi_label and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
                raise CodesError(
                    f"{side}_labels must be integers [N], or bool [N, num_classes] for several labels a video, got "
                    f"{labels.dtype} {list(labels.shape)}."
                )
            if len(labels) != len(codes):
                raise CodesError(f"{side}_labels ({len(labels)}) must be as many as {side}_codes ({len(codes)}).")

    def __repr__(self) -> str:
        return (
            f"Codes({len(self.query_codes)} queries, {len(self.gallery_codes)} in the gallery, {self.hash_length} bits)"
        )


def save_codes(codes: Codes, path: Path) -> None:
    """Write a codes file (.npz) under a temporary name, then rename it."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file, gallery_codes=codes.gallery_codes, gallery_labels=codes.gallery_labels, query_codes=codes.query_codes,
            query_labels=codes.query_labels, hash_length=codes.hash_length, format_version=FORMAT_VERSION,
        )  # fmt: skip


def load_codes(path: Path | str) -> Codes:
    """Read a codes file.

    Raises:
        CodesError: not a codes file, of a newer format, or malformed.
    """
    names = ("gallery_codes", "gallery_labels", "query_codes", "query_labels", "hash_length")
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in names}
            version = file["format_version"] if "format_version" in file else np.array(FORMAT_VERSION)
    except FileNotFoundError:
        raise CodesError(f"codes file '{path}' does not exist.") from None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise CodesError(f"'{path}' is no codes file: {error}. It must be an .npz with {', '.join(names)}.") from error
    if (number := _whole(version, name="format_version", path=path)) != FORMAT_VERSION:
        raise CodesError(f"'{path}' has format_version {number}; this c3dhash reads {FORMAT_VERSION}: upgrade it.")
    hash_length = _whole(content.pop("hash_length"), name="hash_length", path=path)
    if not 1 <= hash_length <= MAX_HASH_LENGTH:
        raise CodesError(f"'{path}' has hash_length {hash_length}; it must be between 1 and {MAX_HASH_LENGTH}.")
    return Codes(**content, hash_length=hash_length)


def _whole(value: np.ndarray, *, name: str, path: Path | str) -> int:
    """Read a number that says how the rest is to be read, and is therefore never rounded."""
    if value.ndim or value.dtype.kind not in "iu":
        shown = f"{value.dtype} {list(value.shape)}" if value.ndim else repr(value.item())
        raise CodesError(f"'{path}' has {name} {shown}; it must be one whole number: write it as an integer.")
    return int(value)
