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

FOUND = "[[0, 8, 8]] [[4, 0, 5]]\n"
TWICE = """
from c3dhash.gallery.kernels import _compiled_and_kept

@_compiled_and_kept
def twice(number):
    return 2 * number
"""
DOUBLE = "from twice import twice; print(twice(4))"
DOUBLE_ON_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from twice import twice

barrier = Barrier(8)

def double(number):
    barrier.wait()
    return twice(number)

with ThreadPoolExecutor(8) as pool:
    print(*pool.map(double, range(8)))
"""
DOUBLE_WITH_SMALL_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
""" + DOUBLE  # fmt: skip
SEARCH = """
import os, threading, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from c3dhash.gallery.kernels import nearest, words_of
from numba.core.compiler_lock import global_compiler_lock

def search():
    words = words_of(np.arange(80, dtype=np.uint8).reshape(10, 8))
    distances, positions = np.empty((1, 3), np.int32), np.empty((1, 3), np.int64)
    nearest(words[4:5], words, 0, 10, distances, positions)
    return f"{distances.tolist()} {positions.tolist()}"

"""
SEARCH_ON_THREADS = (
    SEARCH
    + """
with ThreadPoolExecutor(4) as pool:
    print(*pool.map(lambda _: search(), range(4)), sep="\\n")
"""
)
SEARCH_IN_A_FORK = (
    SEARCH
    + """
thread = threading.Thread(target=search)
thread.start()
while global_compiler_lock._lock.acquire(blocking=False):  # until the thread compiles
    global_compiler_lock._lock.release()
child = os.fork()
os.write(1, f"{search()}\\n".encode())
if not child:
    os._exit(0)
thread.join()
deadline = time.monotonic() + 60
while not os.waitpid(child, os.WNOHANG)[0] and time.monotonic() < deadline:
    time.sleep(0.05)
"""
)


def run_in_a_process(script: str, folder: Path) -> str:
    """Run a script, which may import `twice`, that keeps in a folder what it compiles; return what it prints."""
    (folder / "twice.py").write_text(TWICE)
    os.utime(folder / "twice.py", (0, 0))  # what is kept is of a file as it is
    path = os.pathsep.join([str(ROOT), str(folder)])
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kept"), "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True, text=True).stdout


def kept_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.nb*")) if path.stat().st_size]


def test_what_was_kept_is_taken_and_what_is_damaged_is_replaced(tmp_path: Path) -> None:
    def is_taken() -> bool:
        written = [path.stat().st_mtime_ns for path in kept_files(tmp_path)]
        assert run_in_a_process(DOUBLE, tmp_path) == "8\n"
        return [path.stat().st_mtime_ns for path in kept_files(tmp_path)] == written

    assert not is_taken()
    index, code = sorted(kept_files(tmp_path), key=lambda path: path.suffix != ".nbi")
    assert is_taken()
    for path in (code, index):
        path.write_bytes(path.read_bytes()[:100])
        assert not is_taken()
        assert path.stat().st_size > 100
        assert is_taken()
    code.write_bytes(b"no pickle")
    assert run_in_a_process(DOUBLE_ON_THREADS, tmp_path) == "0 2 4 6 8 10 12 14\n"


def test_a_full_disk_costs_the_time_to_compile(tmp_path: Path) -> None:
    assert run_in_a_process(DOUBLE_WITH_SMALL_FILES, tmp_path) == "8\n"
    assert not [path for path in kept_files(tmp_path) if path.suffix == ".nbc"]


def test_several_threads_may_be_the_first(tmp_path: Path) -> None:
    assert run_in_a_process(SEARCH_ON_THREADS, tmp_path) == 4 * FOUND


def test_a_fork_beside_a_thread_that_compiles_searches(tmp_path: Path) -> None:
    assert run_in_a_process(SEARCH_IN_A_FORK, tmp_path) == 2 * FOUND


def test_a_pass_without_memory_is_not_done_again() -> None:
    calls = np.zeros(1, np.int64)

    def fail(calls: np.ndarray) -> None:
        calls[0] += 1
        raise MemoryError

    with pytest.raises(MemoryError):
        kernels._compiled_and_kept(fail)(calls)
    assert calls[0] == 1


def test_without_a_folder_to_keep_them_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    def twice(number: int) -> int:
        return 2 * number

    assert kernels._compiled_and_kept(twice)(4) == 8


def test_words_cannot_be_written_to_and_codes_still_can() -> None:
    codes = np.zeros((3, 20), np.uint8)
    words = kernels.words_of(codes)
    assert (words.shape, words.dtype, words.flags.writeable, codes.flags.writeable) == ((3, 5), np.uint32, False, True)
