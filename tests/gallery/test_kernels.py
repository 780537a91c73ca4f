"""Compiled passes are kept on disk, and done without where that cannot be; what they find: test_search.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import caching
from paths import ROOT

from c3dhash.gallery import kernels

SCRIPT = """
import resource, sys
import numpy as np
from c3dhash.gallery.kernels import nearest, words_of
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
words = words_of(np.arange(80, dtype=np.uint8).reshape(10, 8))
distances, positions = np.empty((1, 3), np.int32), np.empty((1, 3), np.int64)
nearest(words[4:5], words, 0, 10, distances, positions)
print(distances.tolist(), positions.tolist())
"""


def search_in_a_process(cache_dir: Path, *, max_file_bytes: int = 2**40) -> str:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache_dir), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(max_file_bytes)]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def kept_files(cache_dir: Path) -> list[Path]:
    return [path for path in sorted(cache_dir.rglob("*.nb*")) if path.stat().st_size]


def test_what_was_kept_is_taken_and_what_is_damaged_is_not(tmp_path: Path) -> None:
    found = search_in_a_process(tmp_path)
    assert found == "[[0, 8, 8]] [[4, 0, 5]]\n"
    index, code = sorted(kept_files(tmp_path), key=lambda path: path.suffix != ".nbi")
    written = [path.stat().st_mtime_ns for path in (index, code)]
    assert search_in_a_process(tmp_path) == found
    assert [path.stat().st_mtime_ns for path in (index, code)] == written
    for path in (code, index):
        path.write_bytes(path.read_bytes()[:100])
        assert search_in_a_process(tmp_path) == found


def test_a_full_disk_costs_the_time_to_compile(tmp_path: Path) -> None:
    assert search_in_a_process(tmp_path, max_file_bytes=2000) == "[[0, 8, 8]] [[4, 0, 5]]\n"
    assert not [path for path in kept_files(tmp_path) if path.suffix == ".nbc"]


def test_without_a_folder_to_keep_them_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    def twice(number: int) -> int:
        return 2 * number

    assert kernels._compiled_and_kept(twice)(4) == 8


def test_words_cannot_be_written_to_and_codes_still_can() -> None:
    codes = np.zeros((3, 20), np.uint8)
    words = kernels.words_of(codes)
    assert (words.shape, words.dtype, words.flags.writeable, codes.flags.writeable) == ((3, 5), np.uint32, False, True)
