from __future__ import annotations

import subprocess
import sys

import pytest

from c3dhash import memory

SCRIPT = """
import resource, sys
import numpy as np
from c3dhash.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("no GNU C library")
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 23).sum()  # 64 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(sum(faults() for _ in range(5)))
"""


def num_faults(mode: str) -> int:
    result = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=False)
    if "no GNU C library" in result.stderr:
        pytest.skip("needs the GNU C library")
    return int(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_freed_memory_is_used_again():
    assert num_faults("keep") < 0.1 * num_faults("plain")


def test_another_c_library(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    assert not memory.keep_freed_memory()
