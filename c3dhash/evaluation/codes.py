"""The codes of a gallery and its queries as arrays, and the codes file that holds them."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.bits import check_codes, num_code_bytes
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
            version = int(file["format_version"]) if "format_version" in file else FORMAT_VERSION
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
    if version != FORMAT_VERSION:
        raise CodesError(f"'{path}' has format_version {version}; this c3dhash reads {FORMAT_VERSION}: upgrade it.")
    hash_length = int(content.pop("hash_length"))
    num_code_bytes(hash_length)
    return Codes(**content, hash_length=hash_length)
