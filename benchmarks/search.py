"""Search through a gallery against bare FAISS and usearch, and how fast a gallery is filled and opened.

    python benchmarks/search.py [--sizes 1000000 10000000] [--repeats 9]

All search the same random codes exactly, in one process and in turns, after a pause each, since the
threads of FAISS and usearch go on spinning for a while after a call. The results are compared first.
Random codes are the hard case: trained ones share many codes, so fewer of them enter a result.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from common import machine
from usearch.index import MetricKind
from usearch.index import search as usearch_search

from c3dhash.bits import pad_codes
from c3dhash.gallery.store import CODES_NAME, Gallery
from c3dhash.records import CodeBatch

CLIPS_PER_VIDEO = 1000
PAUSE_SECONDS = 0.05
WORKLOADS = ((1, 10), (1, 100), (100, 10), (100, 100))  # queries, k
USEARCH_MAX_PAIRS = 50_000_000  # it keeps 16 bytes for each pair of a query and a code
USEARCH_MAX_WORK = 200_000_000  # pairs; left out beyond, where a call takes ten seconds


def fill(path: Path, codes: np.ndarray, hash_length: int) -> Gallery:
    """Make a gallery of videos of a thousand clips, and print how long everything takes."""
    starts = np.arange(CLIPS_PER_VIDEO, dtype=np.float64)
    gallery = Gallery.create(path, hash_length=hash_length, model_fingerprint="benchmark")
    began = time.perf_counter()
    for first in range(0, len(codes), CLIPS_PER_VIDEO):
        batch = CodeBatch(codes[first : first + CLIPS_PER_VIDEO], hash_length, starts, starts + 1)
        gallery.add(f"{first}.mp4", batch, content_hash="")
    report("add", began, len(codes))
    began = time.perf_counter()
    gallery.codes()
    report("read all codes from the catalog", began, len(codes))
    began = time.perf_counter()
    gallery.close()
    report("make and write the index", began, len(codes))
    began = time.perf_counter()
    gallery = Gallery.open(path)
    gallery.search(codes[:1], k=10)
    report("open and search once", began, len(codes))
    file_bytes = [(path / name).stat().st_size for name in ("catalog.sqlite", CODES_NAME)]
    print(f"    catalog {file_bytes[0] / 1e6:.0f} MB, index {file_bytes[1] / 1e6:.0f} MB")
    return gallery


def report(what: str, began: float, num_codes: int) -> None:
    seconds = time.perf_counter() - began
    print(f"    {what}: {seconds:.2f} s, {num_codes / seconds / 1e6:.2f} million clips/s")


def bare_faiss(codes: np.ndarray) -> faiss.IndexBinaryFlat:
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    return index


def usearch(codes: np.ndarray, query_codes: np.ndarray, k: int) -> np.ndarray:
    """Distances of an exact search, in as many calls as its memory asks for."""
    block = max(1, USEARCH_MAX_PAIRS // len(codes))
    return np.concatenate(
        [
            np.reshape(
                usearch_search(codes, queries, k, MetricKind.Hamming, exact=True, dtype="b1").distances,
                (-1, k),
            )
            for queries in (query_codes[start : start + block] for start in range(0, len(query_codes), block))
        ]
    )


def seconds_in_turns(functions: dict[str, Callable[[], object]], *, repeats: int) -> dict[str, list[float]]:
    """Time the functions one after the other, in shuffled order, `repeats` rounds after one for warm-up."""
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name in order.sample(list(functions), len(functions)):
            time.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            functions[name]()
            seconds[name].append(time.perf_counter() - began)
    return {name: values[1:] for name, values in seconds.items()}


def compare(galleries: dict[int, Gallery], codes: dict[int, np.ndarray], *, repeats: int) -> None:
    """Print a table: a row per workload and alternative; ratio = its time / that of the 48-bit gallery."""
    wide_codes = pad_codes(codes[48], num_bytes=8)
    flat48, flat64 = bare_faiss(codes[48]), bare_faiss(wide_codes)
    columns = ("queries", "k", "", "median ms", "fastest", "spread", "G codes/s", "ratio")
    print("  {:>7} {:>4}  {:24} {:>10} {:>9} {:>9} {:>10} {:>7}".format(*columns))
    for num_queries, k in WORKLOADS:
        rng = np.random.default_rng(1)
        queries = {bits: rng.integers(0, 256, (num_queries, bits // 8), dtype=np.uint8) for bits in (48, 64)}
        wide_queries = pad_codes(queries[48], num_bytes=8)
        distances = galleries[48].search(queries[48], k=k)[0]
        np.testing.assert_array_equal(distances, flat64.search(wide_queries, k)[0])
        functions = {
            "Gallery, 48 bits": lambda q=queries, k=k: galleries[48].search(q[48], k=k),
            "Gallery, 64 bits": lambda q=queries, k=k: galleries[64].search(q[64], k=k),
            "IndexBinaryFlat(48)": lambda q=queries, k=k: flat48.search(q[48], k),
            "IndexBinaryFlat(64)": lambda q=wide_queries, k=k: flat64.search(q, k),
        }
        if num_queries * len(wide_codes) <= USEARCH_MAX_WORK:
            np.testing.assert_array_equal(distances, usearch(wide_codes, wide_queries, k))
            functions["usearch exact, 64 bits"] = lambda q=wide_queries, k=k: usearch(wide_codes, q, k)
        seconds = seconds_in_turns(functions, repeats=repeats)
        ours = statistics.median(seconds["Gallery, 48 bits"])
        for name, values in seconds.items():
            median, spread = statistics.median(values), max(values) - min(values)
            rate = num_queries * len(wide_codes) / median / 1e9
            print(
                f"  {num_queries:7} {k:4}  {name:24} {1e3 * median:10.2f} {1e3 * min(values):9.2f} "
                f"{1e3 * spread:9.2f} {rate:10.2f} {median / ours:7.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    print(machine())
    for size in options.sizes:
        print(f"{size:,} codes; load of the machine {os.getloadavg()[0]:.1f} before")
        rng = np.random.default_rng(0)
        codes = {bits: rng.integers(0, 256, (size, bits // 8), dtype=np.uint8) for bits in (48, 64)}
        with tempfile.TemporaryDirectory() as folder:
            galleries = {}
            for bits in codes:
                print(f"  gallery of {bits} bits")
                galleries[bits] = fill(Path(folder, str(bits)), codes[bits], bits)
            compare(galleries, codes, repeats=options.repeats)
            for gallery in galleries.values():
                gallery.close()


if __name__ == "__main__":
    main()
