"""c3dhash demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from c3dhash.cli.common import offline_option, print_table, shown_path

if TYPE_CHECKING:
    from c3dhash.recognition.results import Recognition


@click.command()
@click.argument("directory", default=Path("demo"), type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the videos and of the training.")
@click.option(
    "--real", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None, metavar="DIR",
    help="Show on videos of your own what published weights see.",
)  # fmt: skip
@offline_option
def demo(directory: Path, seed: int, real: Path | None) -> None:
    """Show the whole road on generated videos, in DIRECTORY (demo/): train, index, query, evaluate.

    The videos differ by motion only. Takes some minutes on two cores; interrupted, it goes on where it was.

    With --real DIR: no training and no labels. Up to 150 videos of DIR get codes by I3D with Kinetics-400 weights (47
    MB, fetched once), one of them searches the others, and their actions are named; a minute or two.
    """
    if real is not None:
        _show_real(directory, real)
        return
    from c3dhash.demo import run_demo

    result = run_demo(directory, seed=seed)
    click.echo(f"\nVideos similar to {shown_path(result.query)}:\n")
    rows = [(str(hit.rank), str(hit.distance), hit.label or "", shown_path(hit.video)) for hit in result.hits]
    print_table(("rank", "distance", "label", "video"), rows, right=(0, 1))
    click.echo("\nHeld-out videos, queries against the gallery:\n")
    rows = [
        (
            name,
            f"{report.numbers['mAP']['expected']:.3f}",
            f"{report.numbers['precision@1']:.3f}",
            f"{report.numbers['accuracy@1']:.3f}",
        )
        for name, report in (("trained", result.trained), ("untrained", result.untrained))
    ]
    print_table(("network", "mAP", "precision@1", "accuracy"), rows, right=(1, 2, 3))
    click.echo(f"\nPages with pictures: {result.report_page}\n                     {result.query_page}")


def _show_real(directory: Path, videos: Path) -> None:
    from c3dhash.demo import run_real_demo

    result = run_real_demo(directory, videos)
    click.echo(f"\nOf {result.num_found} videos, those most similar to {shown_path(result.query.video)}:\n")
    query = ("query", "", *_seen(result.query), shown_path(result.query.video))
    rows = [
        query,
        *((str(hit.rank), str(hit.distance), *_seen(seen), shown_path(hit.video)) for hit, seen in result.hits),
    ]
    print_table(("rank", "distance", "action", "probability", "video"), rows, right=(0, 1, 3))
    click.echo(f"\nPage with pictures: {result.query_page}")


def _seen(recognition: Recognition) -> tuple[str, str]:
    if not recognition.top:
        return "", ""
    return recognition.top[0].label, f"{recognition.top[0].probability:.2f}"
