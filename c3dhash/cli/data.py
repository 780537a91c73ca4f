"""c3dhash data: make, inspect and prepare data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import (
    allow_missing_option,
    format_option,
    json_option,
    print_json,
    refuse_given,
    workers_option,
)
from c3dhash.cli.options import config_options
from c3dhash.config import CacheConfig
from c3dhash.errors import UsageError


def _print(report: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(report.to_text())


directory_argument = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@click.group()
def data() -> None:
    """Make, inspect and prepare data sets."""


@data.command()
@directory_argument
@click.option("--classes", "num_classes", type=int, default=6, show_default=True, metavar="N", help="Motions, 2 to 12.")
@click.option(
    "--train-videos",
    type=int,
    default=None,
    metavar="N",
    help="Training videos a class (32); the other splits keep their ratio to it.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="The same seed gives the same set.")
def synth(directory: Path, num_classes: int, train_videos: int | None, seed: int) -> None:
    """Generate a labelled set of videos whose classes differ by motion only."""
    from c3dhash.datasets.find import find_dataset
    from c3dhash.datasets.synth import make_motion_set, scaled_splits

    make_motion_set(directory, num_classes=num_classes, videos_per_class=scaled_splits(train_videos), seed=seed)
    click.echo(f"{directory}: {find_dataset(directory).describe()}")


@data.command()
@directory_argument
@click.option("--split", type=int, default=1, show_default=True, metavar="N", help="Which official split.")
@format_option
@workers_option
@json_option
@click.pass_context
def check(context: click.Context, directory: Path, split: int, format: str | None, workers: int, as_json: bool) -> None:
    """Decode every video of a data set and report what is wrong with it.

    Layout, classes, counts, durations and frame rates; unreadable files, duplicates, groups that straddle a split,
    classes too small for a triplet. The exit code is 0 where nothing was found, else 1.
    """
    from c3dhash.datasets.check import check_dataset

    report = check_dataset(directory, split=split, format=format, workers=workers)
    _print(report, as_json=as_json)
    context.exit(0 if report.is_clean else 1)


@data.command()
@directory_argument
@click.option("--output", type=click.Path(path_type=Path), default=None, help="Where the lists go; by default DIR.")
@click.option(
    "--shares", default=None, metavar="T,V,Q", help="Shares of train, val and query; by default 0.64,0.16,0.20."
)
@click.option("--folds", type=int, default=None, metavar="K", help="Write K folds instead, for cross-validation.")
@click.option("--group-regex", default=None, help="What must stay together: the first group of this match in a path.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the order.")
@format_option
@allow_missing_option
@click.option("--force", is_flag=True, help="Replace lists that are there.")
@json_option
def split(
    directory: Path,
    output: Path | None,
    shares: str | None,
    folds: int | None,
    group_regex: str | None,
    seed: int,
    format: str | None,
    allow_missing: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Divide a data set into list files, by class and group."""
    from c3dhash.datasets.split import split_dataset

    if folds is not None and shares is not None:
        raise UsageError(f"--folds ({folds}) and --shares ({shares}) exclude each other; choose one.")
    report = split_dataset(
        directory,
        output_dir=output,
        shares=_parse_shares(shares),
        folds=folds,
        group_regex=group_regex,
        seed=seed,
        format=format,
        allow_missing=allow_missing,
        overwrite=force,
    )
    _print(report, as_json=as_json)


def _parse_shares(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    try:
        train, val, query = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--shares ({text}) must be three numbers with commas, as in 0.64,0.16,0.20.") from None
    return {"train": train, "val": val, "query": query}


@data.command()
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
@click.option("--fps", type=float, default=None, metavar="X", help="Frames a second; by default every frame.")
@click.option("--size", type=int, default=None, metavar="N", help="Short side in pixels; by default as it is.")
@click.option("--picture", default="jpg", show_default=True, metavar="jpg|png", help="Format of the pictures.")
@workers_option
@json_option
@click.pass_context
def frames(
    context: click.Context,
    source: Path,
    target: Path,
    fps: float | None,
    size: int | None,
    picture: str,
    workers: int,
    as_json: bool,
) -> None:
    """Write the frames of videos into zero-padded frame folders.

    Stopped, the same command goes on. The exit code is 1 where a video could not be read.
    """
    from c3dhash.datasets.frames import FrameOptions, extract_frames

    options = FrameOptions(fps=fps, size=size, picture=picture)
    report = extract_frames(source, target, options=options, workers=workers)
    _print(report, as_json=as_json)
    context.exit(1 if report.failed else 0)


@data.command()
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
@click.option("--method", default="dis", show_default=True, metavar="dis|farneback|tvl1", help="How it is computed.")
@click.option(
    "--size",
    type=int,
    default=256,
    show_default=True,
    metavar="N",
    help="Short side in pixels at which it is computed; 0 as it is.",
)
@workers_option
@json_option
@click.pass_context
def flow(
    context: click.Context,
    source: Path,
    target: Path,
    method: str,
    size: int,
    workers: int,
    as_json: bool,
) -> None:
    """Write the optical flow of videos into folders, for networks that read it.

    Stopped, the same command goes on. The exit code is 1 where a video could not be read. Where SRC is a video and DST
    the name of one, what it looks like is written: hue is direction, brightness is speed.
    """
    from c3dhash.datasets.flow import FlowOptions, draw_flow, extract_flow

    if source.is_file():
        refuse_given(context, ("size", "workers", "as_json"), why="of one video a video is written")
        draw_flow(source, target, method=method)
        return
    options = FlowOptions(method=method, size=size or None)
    report = extract_flow(source, target, options=options, workers=workers)
    _print(report, as_json=as_json)
    context.exit(1 if report.failed else 0)


@data.command("list")
@json_option
def list_known(as_json: bool) -> None:
    """Say which data sets are known, where to get them, their licences and sizes."""
    from c3dhash.datasets.known import KNOWN_SETS, describe_known_sets

    if as_json:
        print_json([known.to_dict() for known in KNOWN_SETS])
    else:
        click.echo(describe_known_sets())


@data.command()
@click.option("--clear", is_flag=True, help="Delete all of it.")
@config_options(CacheConfig, only=("cache",))
def cache(clear: bool, cache: Path | None) -> None:
    """Show, or clear, the cache of decoded frames."""
    from c3dhash.video.cache import cache_usage, clear_cache

    folder = CacheConfig(cache=cache).directory
    num_files, num_bytes = clear_cache(folder) if clear else cache_usage(folder)
    click.echo(f"{folder}: {num_files} videos, {num_bytes / 2**30:.2f} GiB{' deleted' if clear else ''}")
