"""c3dhash data: make, inspect and prepare data sets."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def data() -> None:
    """Make, inspect and prepare data sets."""


@data.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--classes", "num_classes", type=int, default=8, show_default=True, metavar="N", help="Motions, 2 to 12.")
@click.option("--train-videos", type=int, default=None, metavar="N", help="Training videos a class; the other splits keep their ratio to it.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="The same seed gives the same set.")
def synth(directory: Path, num_classes: int, train_videos: int | None, seed: int) -> None:
    """Generate a labelled set of videos whose classes differ by motion only."""
    from c3dhash.datasets import find_dataset
    from c3dhash.datasets.synth import make_motion_set, scaled_splits

    make_motion_set(directory, num_classes=num_classes, videos_per_class=scaled_splits(train_videos), seed=seed)
    click.echo(f"{directory}: {find_dataset(directory).describe()}")
