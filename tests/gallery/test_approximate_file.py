"""An approximate index comes back as it was, and FAISS never sees a file that is not whole."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
from approximate_galleries import near_codes

from c3dhash.bits import pad_codes
from c3dhash.errors import GalleryError
from c3dhash.gallery import approximate_file
from c3dhash.gallery.approximate_file import StoredIndex, is_ours, read_index, write_index
from c3dhash.gallery.kinds import KINDS, build, search
from c3dhash.gallery.recall import Facts

CODES = pad_codes(near_codes(500), num_bytes=8)
NUMBERS = np.arange(0, 500, 7, dtype=np.int64)


def stored_of(kind: str) -> StoredIndex:
    facts = Facts(kind, KINDS[kind].effort, 2, 0.97, 10, 256, 0.95, 0.001, 0.002, 0.5)
    return StoredIndex(build(kind, CODES, hash_length=48), facts, NUMBERS, NUMBERS + 3, 500, (7, -(2**63)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "approximate.bin"
    write_index(path, stored_of("ivf"), hash_length=48, num_bytes=8)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_comes_back(kind: str, tmp_path: Path) -> None:
    stored, path = stored_of(kind), tmp_path / "file"
    write_index(path, stored, hash_length=48, num_bytes=8)
    found = read_index(path, hash_length=48, num_bytes=8)
    assert found.facts == stored.facts and (found.num_codes, found.stamp) == (500, (7, -(2**63)))
    np.testing.assert_array_equal(found.starts, NUMBERS)
    np.testing.assert_array_equal(found.first_ids, NUMBERS + 3)
    for index in (stored.index, found.index):
        KINDS[kind].set_effort(index, KINDS[kind].efforts(index)[-1])
    for ours, theirs in zip(search(stored.index, CODES, 5), search(found.index, CODES, 5), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_flipped_byte_and_no_cut_reaches_faiss(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = path.read_bytes()
    read_index(path, hash_length=48, num_bytes=8)

    def never(*_: object) -> None:
        raise AssertionError("FAISS reads a damaged file")

    monkeypatch.setattr(faiss, "read_index_binary", never)
    for place in itertools.chain(range(60), range(60, len(whole), 97), range(len(whole) - 20, len(whole))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(GalleryError, match=r"approximate\.bin' cannot be read: (its checksum|it begins with)"):
            read_index(path, hash_length=48, num_bytes=8)
        path.write_bytes(whole[:place])
        with pytest.raises(GalleryError, match=r"its checksum does not match|it begins with"):
            read_index(path, hash_length=48, num_bytes=8)
    path.write_bytes(whole + b"\0")
    with pytest.raises(GalleryError, match="its checksum does not match"):
        read_index(path, hash_length=48, num_bytes=8)


def test_unusable_files_are_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GalleryError, match=r"it is of 48-bit codes in 8 bytes, not of 64-bit ones in 8\."):
        read_index(path, hash_length=64, num_bytes=8)
    with pytest.raises(GalleryError, match=r"missing' cannot be read: No such file"):
        read_index(tmp_path / "missing", hash_length=48, num_bytes=8)
    with pytest.raises(GalleryError, match="Is a directory"):
        read_index(tmp_path, hash_length=48, num_bytes=8)
    fewer = stored_of("ivf")._replace(num_codes=499)
    write_index(path, fewer, hash_length=48, num_bytes=8)
    with pytest.raises(GalleryError, match="its index holds 500 codes of 64 bits, not 499 of 64"):
        read_index(path, hash_length=48, num_bytes=8)
    later = stored_of("ivf")
    write_index(path, later._replace(facts=replace(later.facts, kind="lsh")), hash_length=48, num_bytes=8)
    with pytest.raises(GalleryError, match="it is of kind 'lsh', which this version does not know"):
        read_index(path, hash_length=48, num_bytes=8)
    monkeypatch.setattr(dataclasses, "asdict", lambda facts: {"kind": "ivf", "depth": 3})
    write_index(path, later, hash_length=48, num_bytes=8)
    with pytest.raises(GalleryError, match="unexpected keyword argument 'depth'"):
        read_index(path, hash_length=48, num_bytes=8)


def test_whose_file_it_is(path: Path, tmp_path: Path) -> None:
    assert is_ours(path) and is_ours(tmp_path / "none")
    for content, ours in ((b"", True), (approximate_file.MAGIC[:3], True), (b"IBwF", False), (bytes(600), False)):
        path.write_bytes(content)
        assert is_ours(path) is ours
    assert not is_ours(tmp_path)


def test_a_full_disk_is_an_os_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left"):
        write_index(full, stored_of("hnsw"), hash_length=48, num_bytes=8)
