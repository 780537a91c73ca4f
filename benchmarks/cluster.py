"""A gallery and its copy in Milvus: how long a push takes, how long queries do, what lists of some codes miss.

python benchmarks/cluster.py FOLDER [--sizes 100000 1000000] [--repeats 21]

Starts a Milvus server of its own (the package milvus, one process) in FOLDER. Codes are of 48 bits, a hundred around
each centre (each bit flipped with 0.1), ten clips a video. Queries are codes of the gallery with each bit flipped with
0.05. Medians; both sides in one run, on one machine. Codes of one query are searched with k = 100 and bare, without
what a query asks beside; recall is the share of those 100 that are as near as the 100th that all codes have.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import milvus_server
from random_codes import BITS, flipped, random_codes

from c3dhash.cluster.address import Address
from c3dhash.cluster.push import push_gallery
from c3dhash.cluster.remote import RemoteGallery
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch

CLIPS, AROUND, K = 10, 100, 100


def at(codes: np.ndarray) -> CodeBatch:
    starts = np.arange(len(codes), dtype=np.float64)
    return CodeBatch(codes, BITS, starts, starts + 1)


def make(folder: Path, codes: np.ndarray) -> Gallery:
    gallery = Gallery.create(folder, hash_length=BITS, model_fingerprint="a" * 32)
    with gallery.editing() as edits:
        for number in range(0, len(codes), CLIPS):
            edits.add(f"{number}.mp4", at(codes[number : number + CLIPS]), content_hash=f"{number}", size_bytes=0,
                      mtime_ns=0, label=None)  # fmt: skip
    return gallery


def median_ms(call: Callable[[int], object], repeats: int) -> float:
    call(0)
    times = []
    for number in range(repeats):
        start = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def memory_mb(folder: Path) -> float:
    """Return what the server's process has in memory."""
    found = subprocess.run(["pgrep", "-f", f"{folder}/.*/milvus run"], capture_output=True, text=True, check=False)
    pids = found.stdout.split()
    told = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in told if line.startswith("VmRSS")) / 1000


def wait_for_index(there: RemoteGallery) -> None:
    """Let the server finish indexing, so that what is timed is what stays."""
    for _ in range(120):
        found = there._connection.call("describe_index", there._tables.address.collection, "code")
        if not found.get("pending_index_rows"):
            break
        time.sleep(1)
    time.sleep(10)


def recall(here: Gallery, there: RemoteGallery, queries: np.ndarray) -> float:
    nearest, _ = here.search(queries, k=K)
    found = there._tables.nearest(queries, limit=K)
    return float(
        np.mean(
            [np.count_nonzero(each.distances <= last) / K for each, last in zip(found, nearest[:, -1], strict=True)]
        )
    )


def measure(folder: Path, port: int, size: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    codes = flipped(rng, np.repeat(random_codes(rng, size // AROUND), AROUND, axis=0)[rng.permutation(size)], 0.1)
    queries = flipped(rng, codes[rng.integers(0, size, repeats)], 0.05)
    long = [at(flipped(rng, codes[start : start + 20], 0.05)) for start in rng.integers(0, size - 20, repeats)]
    with make(folder / f"gallery-{size}", codes) as here:
        for index in ("flat", "ivf"):
            address = Address("127.0.0.1", port, f"codes_{size}_{index}")
            start = time.perf_counter()
            report = push_gallery(here, address, index=index)
            pushed = time.perf_counter() - start
            start = time.perf_counter()
            push_gallery(here, address)
            again = time.perf_counter() - start
            with RemoteGallery(str(address)) as there:
                wait_for_index(there)
                rows = [
                    (name, median_ms(lambda n, g=gallery: query_codes(g, at(queries[n : n + 1])), repeats),
                     median_ms(lambda n, g=gallery: query_codes(g, long[n]), max(3, repeats // 3)), bare)
                    for name, gallery, bare in (
                        ("gallery", here, median_ms(lambda n: here.search(queries[n : n + 1], k=K), repeats)),
                        (f"Milvus {index}", there,
                         median_ms(lambda n: there._tables.nearest(queries[n : n + 1], limit=K), repeats)),
                    )
                ]  # fmt: skip
                found = recall(here, there, queries)
                lists = f"{there._tables.looked_at} of {there._tables.num_lists} lists (recall {report.recall}); "
            print(f"{size:,} codes, {index}: pushed in {pushed:.1f} s ({size / pushed:,.0f} clips/s), again in "
                  f"{again:.1f} s; {lists}recall@{K} {found:.3f}; server {memory_mb(folder):.0f} MB")  # fmt: skip
            for name, one, many, bare in rows:
                print(
                    f"    {name:12} k={K}: {bare:.1f} ms; query of 1 window {one:.1f} ms, of 20 {many:.0f} ms",
                    flush=True,
                )
            there_client = RemoteGallery(str(address))
            for name in (address.collection, address.videos):
                there_client._connection.call("drop_collection", name)
            there_client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args()
    (options.folder / "server").mkdir(parents=True)
    process, port = milvus_server.start(options.folder / "server")
    try:
        print(f"server with nothing in it: {memory_mb(options.folder):.0f} MB")
        for size in options.sizes:
            measure(options.folder, port, size, options.repeats)
    finally:
        milvus_server.stop(process)


if __name__ == "__main__":
    main()
