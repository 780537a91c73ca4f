"""What is counted in a gallery equals what was put in, also over several chunks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damage import pages_with, zero_page
from galleries import FINGERPRINT, WINDOWS, batch_of, code_of, make_gallery

from c3dhash.errors import GalleryError
from c3dhash.gallery import inventory
from c3dhash.gallery.inventory import Folder, take_inventory
from c3dhash.gallery.store import CATALOG_NAME, Gallery


def test_everything_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "CODES_PER_CHUNK", 70)
    path = make_gallery(tmp_path / "gallery", range(40), root=str(tmp_path), missing=[4, 5])
    with Gallery.open(path) as gallery:
        gallery.add("given", batch_of(1), content_hash="")  # codes that are there already
    counts: list[int] = []
    found = take_inventory(path, on_clips=counts.append)
    codes = np.concatenate([batch_of(video).codes for video in range(40) if video not in (4, 5)] + [batch_of(1).codes])
    bits = np.unpackbits(codes, axis=1)
    assert found.ones == pytest.approx(bits.mean(axis=0), abs=1e-6)
    assert (found.num_videos, found.num_clips, found.num_missing_videos, found.num_missing_clips) == (39, 390, 2, 20)
    assert (found.distinct_codes, found.dead_bits, counts) == (380, [], [70, 70, 70, 70, 70, 40])
    assert found.labels == {"golf, “ü”": 13, "wave": 13}
    assert found.folders == [Folder(str(tmp_path), True, 40, 2), Folder("", False, 1, 0)]
    assert (found.model_fingerprint, found.model_name, found.hash_length) == (FINGERPRINT, "runs/a", 48)
    assert (found.windows, list(found.engines), found.num_not_matches, found.schema) == (WINDOWS, ["torch 2"], 1, 4)
    assert found.sizes_bytes[CATALOG_NAME] == (path / CATALOG_NAME).stat().st_size


def test_dead_bits_and_folders_that_are_gone(tmp_path: Path) -> None:
    path = make_gallery(tmp_path / "gallery", [], root=None)
    assert take_inventory(path).ones == [] and take_inventory(path).num_clips == 0
    with Gallery.open(path) as gallery:
        batch = batch_of(0)
        codes = batch.codes.copy()
        codes[:, 0] |= 0x80
        codes[:, 5] &= 0xFE
        gallery.add("/gone/a", replace(batch, codes=codes), content_hash="", root="/gone")
    found = take_inventory(path)
    assert set(found.dead_bits) >= {0, 47} and found.ones[0] == 1 and found.ones[47] == 0
    assert found.folders == [Folder("/gone", False, 1, 0)]


def test_a_damaged_catalog_is_no_inventory(tmp_path: Path) -> None:
    path = make_gallery(tmp_path / "gallery", range(60))
    with closing(sqlite3.connect(path / CATALOG_NAME)) as connection, connection:
        connection.execute("UPDATE clip SET code = x'0102' WHERE id = 3")
    with pytest.raises(GalleryError, match=r"is damaged \(not all codes have 6 bytes\): `c3dhash gallery verify`"):
        take_inventory(path)
    zero_page(path / CATALOG_NAME, pages_with(path / CATALOG_NAME, code_of(30, 0))[0])
    with pytest.raises(GalleryError, match="malformed"):
        take_inventory(path)
