"""Approximate indexes against exact search on one gallery: for benchmarks/search.py, option --kinds."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import MEMORY, median_seconds

from c3dhash.gallery.index import HammingIndex
from c3dhash.gallery.inventory import take_inventory
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import APPROXIMATE_NAME, CODES_NAME, Gallery
from c3dhash.records import CodeBatch

WORKLOADS = ((1, 10), (1, 100), (100, 10), (100, 100))  # queries, k
IN_A_PROCESS = """
import sys, time
import numpy as np
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery

before, began = status("VmRSS"), time.perf_counter()
with Gallery.open(sys.argv[1]) as gallery:
    gallery.search(np.zeros((1, int(sys.argv[2]) // 8), np.uint8), k=10)
print(f"open and search once {time.perf_counter() - began:.2f} s, {status('VmHWM') - before:.0f} MB at the peak")
"""

InTurns = Callable[..., dict[str, list[float]]]


def compare_kinds(
    gallery: Gallery, queries: np.ndarray, kinds: list[str], *, repeats: int, seconds_in_turns: InTurns
) -> None:
    """Print, of each kind, what it takes to build, to keep and to open, what it finds, and how fast it is.

    Args:
        gallery: whose setting is changed from kind to kind, and is exact in the end.
        queries: uint8 [Q, hash_length / 8], 100 or more.
        seconds_in_turns: as of benchmarks/search.py.
    """
    exact = HammingIndex(gallery.hash_length)
    exact.load(gallery.path / CODES_NAME)
    print(f"  exact: {_in_a_process(gallery)}")
    for kind in kinds:
        began = time.perf_counter()
        gallery.settle_search(kind)
        seconds = time.perf_counter() - began
        measured = take_inventory(gallery.path).search.measured
        assert measured is not None
        size = (gallery.path / APPROXIMATE_NAME).stat().st_size
        print(f"  {measured}")
        print(f"    built in {measured.build_seconds:.1f} s ({seconds:.1f} s with what is measured), file "
              f"{size / 1e6:.0f} MB, {size / len(gallery):.1f} bytes a code; {_in_a_process(gallery)}")  # fmt: skip
        for num, k in WORKLOADS:
            codes = queries[:num]
            truth = exact.search(queries[:100], k=k)[0]
            recall = (gallery.search(queries[:100], k=k)[0] <= truth[:, -1:]).mean()
            timed = {
                "exact": lambda codes=codes, k=k: exact.search(codes, k=k),
                kind: lambda codes=codes, k=k: gallery.search(codes, k=k),
            }
            _print(f"{num:4} queries, k {k:3}", kind, seconds_in_turns(timed, repeats=repeats), f"recall {recall:.3f}")
        window = CodeBatch(queries[:1], gallery.hash_length, np.zeros(1), np.ones(1))
        print(f"    query_codes of one window: {_ms(gallery, window, repeats)}", flush=True)
    gallery.settle_search("exact")
    print(f"  exact, query_codes of one window: {_ms(gallery, window, repeats)}", flush=True)


def _print(what: str, kind: str, seconds: dict[str, list[float]], recall: str) -> None:
    medians = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
    spreads = {name: 1e3 * (max(values) - min(values)) for name, values in seconds.items()}
    ratio = medians["exact"] / medians[kind]
    told = ", ".join(f"{name} {medians[name]:.3f} ms (spread {spreads[name]:.3f})" for name in ("exact", kind))
    print(f"    {what}: {told}, {ratio:.2f} times as fast; {recall}", flush=True)


def _ms(gallery: Gallery, window: CodeBatch, repeats: int) -> str:
    median, _ = median_seconds(lambda: query_codes(gallery, window), repeats=repeats, warmup=1)
    return f"{1e3 * median:.2f} ms"


def _in_a_process(gallery: Gallery) -> str:
    command = [sys.executable, "-c", MEMORY + IN_A_PROCESS, str(Path(gallery.path)), str(gallery.hash_length)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
