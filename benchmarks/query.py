"""Answers of whole videos, from codes to hits: `query_codes` beside the search that is a part of it.

    python benchmarks/query.py [--videos 300000] [--clips-per-video 1 3] [--windows 1 20 360] [--repeats 9]

Codes of 48 bits. `clustered`: each video is a few flipped bits around a centre of its own, and queries are clips of the
gallery with a few bits flipped; `film`: besides, one video in a hundred is a film of 300 clips that hardly differ.
Extra memory is what NumPy asks for at the peak of one answer (tracemalloc). Exact search is by compiled passes from the
beginning, as in a process that goes on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from common import machine, median_seconds

from c3dhash.gallery.index import padded_num_bytes
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.search import compile_passes
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch

HASH_LENGTH = 48
FILM_CLIPS = 300


def flipped(rng: np.random.Generator, codes: np.ndarray, share: float) -> np.ndarray:
    """Flip a share of the bits of codes, uint8 [N, 6]."""
    bits = np.unpackbits(codes, axis=1)
    return np.packbits(bits ^ (rng.random(bits.shape) < share), axis=1)


def fill(path: Path, *, num_videos: int, clips_per_video: tuple[int, int], has_films: bool) -> Gallery:
    """Make a gallery, in one transaction: a commit a video would take an hour and has no part in an answer."""
    rng = np.random.default_rng(0)
    gallery = Gallery.create(path, hash_length=HASH_LENGTH, model_fingerprint="benchmark")
    centres = rng.integers(0, 256, (num_videos, 1, HASH_LENGTH // 8), dtype=np.uint8)
    with gallery.editing() as edits:
        for number in range(num_videos):
            is_film = has_films and number % 100 == 0
            num_clips = FILM_CLIPS if is_film else int(rng.integers(clips_per_video[0], clips_per_video[1] + 1))
            codes = flipped(rng, np.repeat(centres[number], num_clips, axis=0), 0.01 if is_film else 0.05)
            edits.add(f"{number}.mp4", windows_of(codes), content_hash="", size_bytes=0, mtime_ns=0, label=None)
    return gallery


def windows_of(codes: np.ndarray) -> CodeBatch:
    """Take codes for those of windows of a second, one after the other."""
    starts = np.arange(len(codes), dtype=np.float64)
    return CodeBatch(codes, HASH_LENGTH, starts, starts + 1)


def peak_bytes(gallery: Gallery, query: CodeBatch) -> int:
    tracemalloc.start()
    query_codes(gallery, query)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure(gallery: Gallery, *, windows: list[int], repeats: int) -> None:
    rng = np.random.default_rng(1)
    ids, codes = gallery.codes()
    compile_passes(padded_num_bytes(HASH_LENGTH))
    print(
        f"  {len(ids):,} clips\n  windows  query_codes ms (spread)   search k=10 ms (spread)   extra MB of query_codes"
    )
    for num_windows in windows:
        queries = flipped(rng, codes[rng.choice(len(codes), num_windows, replace=False)], 0.05)
        query = windows_of(queries)
        ours = median_seconds(lambda q=query: query_codes(gallery, q), repeats=repeats, warmup=1)
        search = median_seconds(lambda q=queries: gallery.search(q, k=10), repeats=repeats, warmup=1)
        row = [f"{1e3 * median:15.2f} ({1e3 * spread:.2f})" for median, spread in (ours, search)]
        print(f"  {num_windows:7}  {row[0]:>25} {row[1]:>25} {peak_bytes(gallery, query) / 1e6:12.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=300_000)
    parser.add_argument("--clips-per-video", type=int, nargs=2, default=(1, 3), metavar=("MIN", "MAX"))
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 20, 360])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    print(machine())
    for name in ("clustered", "film"):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            with fill(
                Path(folder), num_videos=options.videos, clips_per_video=tuple(options.clips_per_video),
                has_films=name == "film",
            ) as gallery:  # fmt: skip
                print(f"{name}: {options.videos:,} videos, made in {time.perf_counter() - began:.0f} s")
                measure(gallery, windows=options.windows, repeats=options.repeats)


if __name__ == "__main__":
    main()
