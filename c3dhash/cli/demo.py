"""c3dhash demo."""

from __future__ import annotations

from pathlib import Path

import click

from c3dhash.cli.common import print_table, shown_path


@click.command()
@click.argument("directory", default=Path("demo"), type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the videos and of the training.")
def demo(directory: Path, seed: int) -> None:
    """Show the whole road on generated videos, in DIRECTORY (demo/): train, index, query, evaluate.

    The videos differ by motion only. Takes some minutes on two cores; interrupted, it goes on where it was.
    """
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
