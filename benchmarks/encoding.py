"""`c3dhash index` end to end against the bare forward rate of the network.

    python benchmarks/encoding.py VIDEO_DIR [--backbone resnet3d18] [--clips 96] [--repeats 3]

The bare rate is the network alone, on one batch of random clips that lies in memory, over and over. End to end is
what `c3dhash index` does for a folder: find, hash, decode, crop, encode, write to the gallery. The ratio is how
much of the network's speed is left. Both run in turns, in fp32 and in bf16.
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
from common import machine

from c3dhash.config import EncodeConfig, ModelConfig
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.memory import keep_freed_memory
from c3dhash.models.encode import Encoder
from c3dhash.models.hashnet import Run, build_model, load_run, save_run
from c3dhash.video.reader import find_videos


def bare_rate(run: Run, *, precision: str, batch_size: int, num_clips: int) -> float:
    """Return clips a second of the network alone."""
    encoder = Encoder(run.model, device="cpu", precision=precision)
    frames, size = run.model.clip_size[:2]
    batch = np.random.default_rng(0).integers(0, 256, (batch_size, frames, size, size, 3), np.uint8)
    encoder(batch)
    started = time.perf_counter()
    for _ in range(num_clips // batch_size):
        encoder(batch)
    return num_clips // batch_size * batch_size / (time.perf_counter() - started)


def index_rate(run: Run, videos: list[Path], *, precision: str, batch_size: int) -> float:
    """Return clips a second of indexing videos into a new gallery."""
    config = EncodeConfig(precision=precision, device="cpu", batch_size=batch_size)
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
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    videos = list(itertools.islice(find_videos(options.videos), options.clips))
    with tempfile.TemporaryDirectory() as folder:
        config = ModelConfig(backbone=options.backbone)
        model = build_model(config, num_classes=None)
        save_run(
            Path(folder), model, config={"backbone": options.backbone, "shortcut": None, "hash_length": 48}, labels=()
        )
        run = load_run(folder)
    print(machine())
    print(f"{run}: {len(videos)} videos of '{options.videos.name}', batches of {options.batch_size}, in turns")
    print(f"{'precision':10} {'bare':>8} {'index':>8} {'share':>7}   clips/s, medians of {options.repeats}")
    for precision in ("fp32", "bf16"):
        rates = [
            (
                bare_rate(run, precision=precision, batch_size=options.batch_size, num_clips=len(videos)),
                index_rate(run, videos, precision=precision, batch_size=options.batch_size),
            )
            for _ in range(options.repeats)
        ]
        bare, index = (statistics.median(rate) for rate in zip(*rates, strict=True))
        share = statistics.median(index / bare for bare, index in rates)
        print(f"{precision:10} {bare:8.2f} {index:8.2f} {share:7.1%}", flush=True)


if __name__ == "__main__":
    main()
