"""The frame cache: what a kept frame takes, how fast clips come out of it, and what the pictures do to features.

    pip install -e .[bench,test]
    python benchmarks/cache.py DATA [--size 112] [--num-frames 16] [--videos 40] [--qualities 75,85,90,95,100]
        [--weights FILE] [--metrics]

DATA is a data set. Clips are read by one thread, from the videos and from the cache at each quality in turns, after one
turn of warm-up; medians of the rates of the turns, and the spread, fastest - slowest. With --weights the features of a
network from kept frames are compared with those from decoded ones: cosine, the mean and the least over the clips; with
--metrics the mAP of a ranking by cosine, the gallery queried by the queries (train queried by all else, where there are
none), of the whole data set.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from common import machine

from c3dhash.datasets.find import find_dataset
from c3dhash.datasets.samples import Dataset
from c3dhash.models.weights import load_backbone
from c3dhash.records import Sample
from c3dhash.video.cache import FrameCache, cache_usage
from c3dhash.video.clips import ClipReader
from c3dhash.video.every_frame import folder_frames, video_frames
from c3dhash.video.normalization import Normalizer
from c3dhash.video.transforms import decoded_short_side

CACHE_BYTES = 8 << 30
TURNS = 5


def num_frames_of(sample: Sample, short_side: int) -> int:
    options = {"segment": sample.segment, "short_side": short_side, "on_frame": lambda: None}
    if sample.frames is None:
        return sum(frame is not None for _, frame in video_frames(sample.video, **options))
    frames = folder_frames(sample.video, frames=sample.frames, is_flow=False, **options)
    return sum(frame is not None for _, frame in frames)


def compare_rates(samples: list[Sample], readers: dict[str, ClipReader]) -> None:
    """Print bytes a frame and clips a second of each reader."""
    size = next(iter(readers.values())).size
    num_frames = sum(num_frames_of(sample, decoded_short_side(size)) for sample in samples)
    rates: dict[str, list[float]] = {name: [] for name in readers}
    filled: dict[str, float] = {}
    for turn in range(TURNS + 1):
        for name, reader in readers.items():
            start = time.perf_counter()
            for sample in samples:
                reader.evaluation_clips(sample)[0]
            rate = len(samples) / (time.perf_counter() - start)
            if turn:
                rates[name].append(rate)
            else:
                filled[name] = rate
    base = np.median(rates["video"])
    print(f"{len(samples)} videos, {num_frames / len(samples):.0f} frames each, {size} px")
    print(f"{'':10}{'KB/frame':>10}{'clips/s':>10}{'spread':>8}{'x video':>9}{'filling/s':>11}")
    for name, reader in readers.items():
        num_bytes = cache_usage(reader.cache.directory)[1] if reader.cache.is_on else 0
        median, spread = np.median(rates[name]), max(rates[name]) - min(rates[name])
        print(
            f"{name:10}{num_bytes / num_frames / 1000:10.2f}{median:10.1f}{spread:8.1f}{median / base:9.2f}"
            f"{filled[name]:11.1f}"
        )


def features_of(
    samples: list[Sample], reader: ClipReader, network: torch.nn.Module, normalize: Normalizer
) -> np.ndarray:
    """Return features of unit length, float32 [N, feature_dim]."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(samples), 16):
            batch = np.stack([reader.evaluation_clips(sample)[0] for sample in samples[start : start + 16]])
            rows.append(torch.nn.functional.normalize(network(normalize(torch.from_numpy(batch)))).numpy())
    return np.concatenate(rows)


def mean_average_precision(dataset: Dataset, samples: list[Sample], features: np.ndarray) -> float:
    """Return the full mAP of ranking the gallery by cosine, for the queries of a data set with one label a video."""
    is_query = np.array([sample.split == "query" for sample in samples])
    labels = dataset.labels(samples)
    values = []
    for row, label in zip(features[is_query] @ features[~is_query].T, labels[is_query], strict=True):
        found = labels[~is_query][np.argsort(-row, kind="stable")] == label
        values.append((np.cumsum(found) / np.arange(1, len(found) + 1))[found].mean())
    return float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--num-frames", type=int, default=16)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--qualities", default="75,85,90,95,100")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--backbone")
    parser.add_argument("--metrics", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(machine("opencv-contrib-python-headless", "av"))
    dataset = find_dataset(options.data)
    samples = list(np.random.default_rng(0).permutation(np.array(dataset.samples, object)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        caches = {"video": FrameCache(folder, max_bytes=0)}
        for quality in map(int, options.qualities.split(",")):
            caches[str(quality)] = FrameCache(folder / str(quality), max_bytes=CACHE_BYTES, quality=quality)
        readers = {name: ClipReader(options.num_frames, options.size, cache) for name, cache in caches.items()}
        compare_rates(samples[: options.videos], readers)
        if options.weights:
            network = load_backbone(options.weights, backbone=options.backbone)
            normalize = Normalizer(network.preprocessing, torch.device("cpu"))
            seen = samples if options.metrics else samples[: options.videos]
            features = {name: features_of(seen, reader, network, normalize) for name, reader in readers.items()}
            for name, rows in features.items():
                cosines = (rows * features["video"]).sum(axis=1)
                text = f"{name:10}cosine {cosines.mean():.5f}, least {cosines.min():.5f}"
                if options.metrics:
                    text += f", mAP {mean_average_precision(dataset, seen, rows):.4f}"
                print(text, flush=True)


if __name__ == "__main__":
    main()
