"""Search through a gallery against bare FAISS and usearch; how a gallery is filled, opened, changed, and what it takes.

    python benchmarks/search.py [--sizes 1000000 10000000] [--codes random clustered] [--repeats 9] [--graphs]
    python benchmarks/search.py --sizes 1000000 --kinds ivf hnsw multihash

All search the same codes exactly, in one process and in turns, after a pause each, since the threads of FAISS and
usearch go on spinning for a while after a call; a gallery by compiled passes from the beginning (a process takes them
up after 4 x 10^8 comparisons: Note [Compiled passes] in c3dhash/gallery/search.py). The results are compared first.
`random` codes are the hard case.
`clustered`: codes around a hundredth as many centres, of which a bit in twelve is flipped, and queries like them: as
trained codes have it, many are tied. Memory is what a fresh process has at the peak of opening, searching, adding and
removing, over what it had with everything imported; the mapped file counts.

--kinds ivf hnsw multihash: in place of that, what approximate indexes of a gallery of 48 bits take to build and to
keep, what they find, and how fast they are beside exact search.

--graphs: HNSW of FAISS and usearch on the smallest size, which are not exact: what they take to build, how fast they
are, and which share of the ten nearest they find (an equal distance counts as found).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from common import MEMORY, machine, median_seconds
from kinds import WORKLOADS, compare_kinds
from usearch.index import Index, MetricKind
from usearch.index import search as usearch_search

from c3dhash.bits import pad_codes
from c3dhash.gallery.index import padded_num_bytes
from c3dhash.gallery.search import compile_passes
from c3dhash.gallery.store import CATALOG_NAME, CODES_NAME, Gallery
from c3dhash.records import CodeBatch

CLIPS_PER_VIDEO, VIDEOS_PER_TRANSACTION = 1000, 100
PAUSE_SECONDS = 0.05
USEARCH_MAX_PAIRS = 50_000_000  # it keeps 16 bytes for each pair of a query and a code
USEARCH_MAX_WORK = 200_000_000  # pairs; left out beyond, where a call takes ten seconds
BATCH_MAX_WORK = 2_000_000_000  # pairs; batches are left out beyond, where a bare call takes ten seconds
CLIPS_PER_CENTRE, FLIPPED_SHARE = 100, 1 / 12
IN_A_PROCESS = """
import sys, time
import numpy as np
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch

def timed(what, function):
    began = time.perf_counter()
    found = function()
    print(f"    {what}: {time.perf_counter() - began:.3f} s")
    return found

path, hash_length, num_clips = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
query = np.zeros((1, hash_length // 8), np.uint8)
times = np.arange(1000.0)
new = CodeBatch(np.zeros((1000, hash_length // 8), np.uint8), hash_length, times, times + 1)
search = lambda: gallery.search(query, k=10)
before = status("VmRSS")
gallery = timed("open", lambda: Gallery.open(path))
timed("search for the first time", search)
timed("search again", search)
timed("add a video of 1,000 clips", lambda: gallery.add("new.mp4", new, content_hash=""))
timed("search after that", search)
timed("remove it", lambda: gallery.remove(["new.mp4"]))
timed("search after that", search)
peak = status("VmHWM") - before
print(f"    memory at the peak: {peak:.0f} MB; codes and ids are {num_clips * (hash_length / 8 + 8) / 1e6:.0f} MB")
"""


def make_codes(kind: str, size: int, hash_length: int, *, num_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Return codes of a gallery, uint8 [size, hash_length / 8], and of queries."""
    rng = np.random.default_rng(0)
    shape = (size + num_queries, hash_length // 8)
    if kind == "random":
        codes = rng.integers(0, 256, shape, dtype=np.uint8)
    else:
        centres = rng.integers(0, 256, (max(1, size // CLIPS_PER_CENTRE), shape[1]), dtype=np.uint8)
        codes = np.empty(shape, np.uint8)
        for start in range(0, len(codes), 1_000_000):
            part = codes[start : start + 1_000_000]
            flips = np.packbits(rng.random((len(part), hash_length), np.float32) < FLIPPED_SHARE, axis=1)
            part[:] = centres[rng.integers(0, len(centres), len(part))] ^ flips
    return codes[:size], codes[size:]


def fill(path: Path, codes: np.ndarray, hash_length: int) -> Gallery:
    """Make a gallery of videos of a thousand clips, and print how long everything takes."""
    starts = np.arange(CLIPS_PER_VIDEO, dtype=np.float64)
    gallery = Gallery.create(path, hash_length=hash_length, model_fingerprint="benchmark")
    videos = list(range(0, len(codes), CLIPS_PER_VIDEO))
    began = time.perf_counter()
    for first in range(0, len(videos), VIDEOS_PER_TRANSACTION):
        with gallery.editing() as edits:
            for start in videos[first : first + VIDEOS_PER_TRANSACTION]:
                batch = CodeBatch(codes[start : start + CLIPS_PER_VIDEO], hash_length, starts, starts + 1)
                edits.add(f"{start}.mp4", batch, content_hash="", size_bytes=0, mtime_ns=0, label=None)
    report("add, a hundred videos a transaction", began, len(codes))
    began = time.perf_counter()
    gallery.close()
    report("read the catalog and write the file to search in", began, len(codes))
    command = [sys.executable, "-c", MEMORY + IN_A_PROCESS, str(path), str(hash_length), str(len(codes))]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")
    file_bytes = [(path / name).stat().st_size for name in (CATALOG_NAME, CODES_NAME)]
    print(f"    catalog {file_bytes[0] / 1e6:.0f} MB, file to search in {file_bytes[1] / 1e6:.0f} MB", flush=True)
    return Gallery.open(path)


def report(what: str, began: float, num_codes: int) -> None:
    seconds = time.perf_counter() - began
    print(f"    {what}: {seconds:.2f} s, {num_codes / seconds / 1e6:.2f} million clips/s", flush=True)


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


def compare(
    galleries: dict[int, Gallery],
    codes: dict[int, np.ndarray],
    all_queries: dict[int, np.ndarray],
    *,
    repeats: int,
) -> None:
    """Print a table: a row per workload and alternative; ratio = its time / that of the 48-bit gallery."""
    wide_codes = pad_codes(codes[48], num_bytes=8)
    flat48, flat64 = bare_faiss(codes[48]), bare_faiss(wide_codes)
    columns = ("queries", "k", "", "median ms", "fastest", "spread", "G codes/s", "ratio")
    print("  {:>7} {:>4}  {:24} {:>10} {:>9} {:>9} {:>10} {:>7}".format(*columns))
    for num_queries, k in WORKLOADS:
        if num_queries > 1 and num_queries * len(wide_codes) > BATCH_MAX_WORK:
            continue
        queries = {bits: of_bits[:num_queries] for bits, of_bits in all_queries.items()}
        wide_queries = pad_codes(queries[48], num_bytes=8)
        distances = galleries[48].search(queries[48], k=k)[0]
        np.testing.assert_array_equal(distances, flat64.search(wide_queries, k)[0])
        functions = {
            f"Gallery, {bits} bits": lambda gallery=gallery, q=queries[bits], k=k: gallery.search(q, k=k)
            for bits, gallery in galleries.items()
        }
        functions["IndexBinaryFlat(48)"] = lambda q=queries, k=k: flat48.search(q[48], k)
        functions["IndexBinaryFlat(64)"] = lambda q=wide_queries, k=k: flat64.search(q, k)
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


def compare_graphs(codes: np.ndarray, query_codes: np.ndarray, *, repeats: int) -> None:
    """Print what graphs take to build, their speed for batches of ten nearest, and what they find."""
    wide_codes, wide_queries = pad_codes(codes, num_bytes=8), pad_codes(query_codes, num_bytes=8)
    truth = bare_faiss(wide_codes).search(wide_queries, 10)[0]
    began = time.perf_counter()
    hnsw = faiss.IndexBinaryHNSW(64, 16)
    hnsw.add(wide_codes)
    built = {"FAISS HNSW, M 16": time.perf_counter() - began}
    began = time.perf_counter()
    graph = Index(ndim=64, metric=MetricKind.Hamming, dtype="b1", connectivity=16)
    graph.add(np.arange(len(codes)), wide_codes)
    built["usearch HNSW, M 16"] = time.perf_counter() - began

    def faiss_search(effort: int) -> np.ndarray:
        hnsw.hnsw.efSearch = effort
        return hnsw.search(wide_queries, 10)[0]

    def usearch_graph(effort: int) -> np.ndarray:
        graph.expansion_search = effort
        return np.reshape(graph.search(wide_queries, 10).distances, (-1, 10))

    for (name, seconds), search in zip(built.items(), (faiss_search, usearch_graph), strict=True):
        print(f"  {name}: built in {seconds:.0f} s")
        for effort in (16, 64, 256):
            found = (search(effort) <= truth[:, -1:]).mean()
            median, _ = median_seconds(lambda e=effort, s=search: s(e), repeats=repeats, warmup=1)
            print(f"    effort {effort:4}: {1e3 * median / len(query_codes):.3f} ms a query in batches of "
                  f"{len(query_codes)}, found {found:.3f}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--codes", nargs="+", choices=("random", "clustered"), default=["random", "clustered"])
    parser.add_argument("--bits", type=int, nargs="+", choices=(48, 64), default=[48, 64], help="48, or both.")
    parser.add_argument("--kinds", nargs="+", choices=("ivf", "hnsw", "multihash"), help="Approximate indexes.")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--graphs", action="store_true", help="HNSW on the smallest size.")
    options = parser.parse_args()
    print(machine("usearch"))
    for size in options.sizes:
        for kind in options.codes:
            print(f"{size:,} {kind} codes; load of the machine {os.getloadavg()[0]:.1f} before")
            all_bits = {48} if options.kinds else {48, *options.bits}
            made = {bits: make_codes(kind, size, bits, num_queries=100) for bits in all_bits}
            with tempfile.TemporaryDirectory() as folder:
                galleries = {}
                for bits, (codes, _) in made.items():
                    print(f"  gallery of {bits} bits")
                    galleries[bits] = fill(Path(folder, str(bits)), codes, bits)
                    compile_passes(padded_num_bytes(bits))
                codes, queries = ({bits: pair[place] for bits, pair in made.items()} for place in (0, 1))
                if options.kinds:
                    compare_kinds(galleries[48], queries[48], options.kinds, repeats=options.repeats,
                                  seconds_in_turns=seconds_in_turns)  # fmt: skip
                else:
                    compare(galleries, codes, queries, repeats=options.repeats)
                for gallery in galleries.values():
                    gallery.close()
            if options.graphs and size == min(options.sizes):
                compare_graphs(*made[48], repeats=options.repeats)


if __name__ == "__main__":
    main()
