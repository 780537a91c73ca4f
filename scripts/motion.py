"""Show what 3D convolutions are for: classes that differ by direction alone, with frames in order and shuffled.

    python scripts/motion.py OUT

Four classes of the generated motion set (up, down, zoom in, zoom out) are two pairs, each of which is the other run
backwards: the frames are the same, only their order tells. Trained from nothing are a 3D ResNet on RGB, I3D on optical
flow, and a TSN, which averages what it sees of each frame and so is blind to order. Each is then asked about test
videos twice: with the frames of a clip in order, and shuffled (each video by a permutation of its own; flow is
computed of the shuffled frames). At the end the two streams are fused.

Written are the videos and the runs, into OUT, and printed a table; the same command goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import logging
import zlib
from pathlib import Path

import click
import numpy as np

from c3dhash.config import EvaluateConfig, TrainConfig
from c3dhash.datasets.find import find_dataset
from c3dhash.datasets.samples import Dataset
from c3dhash.datasets.synth import make_motion_set
from c3dhash.errors import C3DHashError
from c3dhash.evaluation.evaluate_classes import evaluate_classes
from c3dhash.models.runs import Run, is_finished, load_run
from c3dhash.records import Sample
from c3dhash.training.start import can_resume
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache
from c3dhash.video.clip_plan import Plan
from c3dhash.video.clips import ClipReader

CLASSES = ("move_up", "move_down", "zoom_in", "zoom_out")
NUM_MOTIONS = 8  # of the motion set, so that these are among them
CLIP = {"num_frames": 8, "size": 32, "weights": "none", "task": "classify"}
NETWORKS = {
    "3D ResNet-10, RGB": TrainConfig(backbone="resnet3d10", **CLIP),
    "I3D, optical flow": TrainConfig(backbone="i3d_flow", **CLIP),
    "TSN ResNet-18, RGB": TrainConfig(backbone="tsn_resnet18", **CLIP),
}
STREAMS = tuple(NETWORKS)[:2]


class ShuffledReader(ClipReader):
    """Reads clips whose frames are not in order."""

    def _clips(self, sample: Sample, plan: Plan) -> np.ndarray:
        clips = super()._clips(sample, plan)
        if self.channels == "flow":  # of frames that were shuffled already
            return clips
        rng = np.random.default_rng(zlib.crc32(sample.video.name.encode()))
        return np.stack([clip[rng.permutation(len(clip))] for clip in clips])


def direction_classes(directory: Path) -> Dataset:
    """Return the videos of CLASSES."""
    whole = find_dataset(directory)
    label_of = {whole.classes.index(name): label for label, name in enumerate(CLASSES)}
    samples = tuple(
        dataclasses.replace(sample, labels=(label_of[sample.labels[0]],))
        for sample in whole.samples
        if sample.labels[0] in label_of
    )
    return Dataset(whole.directory, whole.format, CLASSES, samples)


def trained(config: TrainConfig, dataset: Dataset, run_dir: Path, cache: FrameCache) -> Run:
    """Train a network, or load it where that was done."""
    if not is_finished(run_dir):
        train_run(dataset, config, run_dir=run_dir, cache=cache, resume=can_resume(run_dir))
    return load_run(run_dir)


def accuracy(runs: list[Run], dataset: Dataset, reader_type: type[ClipReader], cache: FrameCache) -> float:
    """Return the share of test videos that are recognised, by one network or by several together."""
    readers = [reader_type.of_network(run.model.clip_size, run.model.preprocessing, cache) for run in runs]
    report = evaluate_classes(runs, dataset, reader=readers, config=EvaluateConfig(task="classify"))
    return float(report.numbers["accuracy@1"])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--videos", type=int, default=60, show_default=True, help="Training videos a class.")
@click.option("--epochs", type=int, default=30, show_default=True, help="Of each training.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of videos and trainings.")
def main(out: Path, videos: int, epochs: int, seed: int) -> None:
    """Train three networks on motions in OUT, and print how well they recognise them, in order and shuffled."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    counts = {"train": videos, "val": max(2, videos // 10), "query": max(4, videos // 2)}
    make_motion_set(out / "data", num_classes=NUM_MOTIONS, videos_per_class=counts, seed=seed)
    dataset, cache = direction_classes(out / "data"), FrameCache(out / "frames", max_bytes=4 << 30)
    runs = {}
    for name, config in NETWORKS.items():
        config = dataclasses.replace(config, epochs=epochs, seed=seed)
        runs[name] = trained(config, dataset, out / f"{config.backbone}-{videos}-{epochs}-{seed}", cache)
    asked = {name: [run] for name, run in runs.items()} | {"both streams": [runs[name] for name in STREAMS]}
    rows = [
        (name, *(accuracy(some, dataset, reader, cache) for reader in (ClipReader, ShuffledReader)))
        for name, some in asked.items()
    ]
    click.echo(f"\n{len(dataset.split('query'))} test videos of {len(CLASSES)} classes, accuracy@1\n")
    click.echo("| | in order | shuffled |\n|---|---|---|")
    for name, *values in rows:
        click.echo(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")


if __name__ == "__main__":
    try:
        main()
    except C3DHashError as error:
        raise SystemExit(f"motion.py: {error}") from error
