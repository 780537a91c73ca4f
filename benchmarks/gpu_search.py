"""Exact search of batches on a GPU (faiss-gpu in the place of faiss-cpu) against the same on the CPU's cores.

    python benchmarks/gpu_search.py [--sizes 1000000 10000000] [--queries 1 16 100 1000] [--repeats 7]

Random codes of 8 bytes, k = 10 and 100. What both find is compared. Medians, in milliseconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial

import faiss
import numpy as np
from common import machine, median_seconds

from c3dhash.gallery import gpu, search

CPU_MAX_PAIRS = 10_000_000_000  # left out beyond


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 16, 100, 1000])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    if not gpu.is_there():
        sys.exit("FAISS sees no GPU: this needs a CUDA device, and faiss-gpu in the place of faiss-cpu.")
    print(machine(), f"{faiss.omp_get_max_threads()} threads of FAISS, {faiss.get_num_gpus()} GPUs")
    rng = np.random.default_rng(0)
    for size in options.sizes:
        codes = np.frombuffer(rng.bytes(8 * size), np.uint8).reshape(size, 8)
        began = time.perf_counter()
        held = gpu.sliced_search(codes)
        print(f"{size:,} codes, copied to the GPU in {time.perf_counter() - began:.2f} s")
        for num_queries in options.queries:
            queries = rng.integers(0, 256, (num_queries, 8), dtype=np.uint8)
            for k in (10, 100):
                on_gpu, _ = median_seconds(partial(held.nearest_codes, queries, k=k), repeats=options.repeats, warmup=1)
                line = f"  {num_queries:5} queries, k {k:3}: GPU {1e3 * on_gpu:9.2f}"
                if num_queries * size <= CPU_MAX_PAIRS:
                    for ours, theirs in zip(
                        held.nearest_codes(queries, k=k), search.nearest_codes(queries, codes, k=k), strict=True
                    ):
                        np.testing.assert_array_equal(ours, theirs)
                    on_cpu, _ = median_seconds(
                        partial(search.nearest_codes, queries, codes, k=k), repeats=options.repeats, warmup=0
                    )
                    line += f", CPU {1e3 * on_cpu:9.2f}, {on_cpu / on_gpu:.2f} times as long; the same is found"
                print(line, flush=True)


if __name__ == "__main__":
    main()
