"""`c3dhash index` end to end against the bare forward rate of the network.

    python benchmarks/encoding.py VIDEO_DIR [--backbone resnet3d18] [--clips 96] [--engines torch,openvino]

The bare rate is the network alone, on one batch of random clips that lies in memory, over and over. End to end is
what `c3dhash index` does for a folder: make the engine, find, hash, decode, crop, encode, write to the gallery. The
ratio is how much of the engine's speed is left. All run in turns, in fp32 and in bf16.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from common import machine, untrained_run

from c3dhash.config import EncodeConfig
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.memory import keep_freed_memory
from c3dhash.models.encode import Encoder
from c3dhash.models.runs import Run
from c3dhash.video.reader import find_videos

MOST_BARE_CLIPS = 192  # of a folder of any size: the bare rate does not depend on them


def bare_rate(encoder: Encoder, *, batch_size: int, num_clips: int) -> float:
    """Return clips a second of the network alone."""
    frames, size = encoder.model.clip_size[:2]
    batch = np.random.default_rng(0).integers(0, 256, (batch_size, frames, size, size, 3), np.uint8)
    encoder(batch)
    started = time.perf_counter()
    for _ in range(num_clips // batch_size):
        encoder(batch)
    return num_clips // batch_size * batch_size / (time.perf_counter() - started)


def index_rate(run: Run, videos: list[Path], config: EncodeConfig) -> float:
    """Return clips a second of indexing videos into a new gallery."""
    with tempfile.TemporaryDirectory() as folder, open_gallery(Path(folder) / "gallery", run) as gallery:
        started = time.perf_counter()
        report = index_videos(run, gallery, videos, config=config)
        return report.clips / (time.perf_counter() - started)


def main() -> None:
    keep_freed_memory()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--backbone", default="resnet3d18")
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engines", default="torch")
    parser.add_argument("--precisions", default="fp32,bf16")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    videos = list(itertools.islice(find_videos(options.videos), options.clips))
    with tempfile.TemporaryDirectory() as folder:
        run = untrained_run(Path(folder), options.backbone)
    print(machine())
    print(f"{run}: {len(videos)} videos of '{options.videos.name}', batches of {options.batch_size}, in turns")
    print(f"{'engine':9} {'precision':9} {'bare':>8} {'index':>8} {'share':>7}   clips/s, medians of {options.repeats}")
    kinds = list(itertools.product(options.engines.split(","), options.precisions.split(",")))
    rates: dict[tuple[str, str], list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(options.repeats):
        for engine, precision in kinds:
            config = EncodeConfig(precision=precision, device="cpu", batch_size=options.batch_size, engine=engine)
            encoder = Encoder(run.model, device="cpu", precision=precision, engine=engine)
            bare = bare_rate(encoder, batch_size=options.batch_size, num_clips=min(len(videos), MOST_BARE_CLIPS))
            rates[engine, precision].append((bare, index_rate(run, videos, config)))
    for (engine, precision), measured in rates.items():
        bare, index = (statistics.median(rate) for rate in zip(*measured, strict=True))
        share = statistics.median(index / bare for bare, index in measured)
        print(f"{engine:9} {precision:9} {bare:8.2f} {index:8.2f} {share:7.1%}", flush=True)


if __name__ == "__main__":
    main()
