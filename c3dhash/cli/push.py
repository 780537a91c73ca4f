"""c3dhash gallery push: a copy of a gallery in a database that many machines search."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from c3dhash.cli.common import gallery_option, json_option, print_json
from c3dhash.config import CLUSTER_INDEXES


@click.command()
@click.option(
    "--to", "address", required=True, metavar="ADDRESS", help="milvus://HOST:PORT/COLLECTION; made where need be."
)
@click.option(
    "--index", default=None, metavar="|".join(CLUSTER_INDEXES),
    help="What searches the copy: all codes, or lists of some; by default what does, and flat in a new one.",
)  # fmt: skip
@gallery_option
@json_option
def push(address: str, index: str | None, gallery_path: Path, as_json: bool) -> None:
    """Bring a copy of a gallery in Milvus up to date; `c3dhash query --gallery ADDRESS` searches it, from any machine.

    What is there already is left alone; videos that are gone here, or missing, go there. Killed at any moment, the same
    command goes on. A collection that is no gallery, or that of another gallery or model, is refused and left as it is.
    Needs the extra milvus: pip install 'c3dhash[milvus]'. Where the server wants a token, it is C3DHASH_MILVUS_TOKEN in
    the environment: USER:PASSWORD, or a key.
    """
    from tqdm import tqdm

    from c3dhash.cluster.address import parse_address
    from c3dhash.cluster.push import push_gallery
    from c3dhash.gallery.store import Gallery

    parsed = parse_address(address)
    with Gallery.open(gallery_path) as opened, tqdm(desc="Pushing", unit=" videos", leave=False, delay=1) as bar:
        bar.total = opened.num_videos
        report = push_gallery(opened, parsed, index=index, on_videos=bar.update)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    click.echo(
        f"{report.added:,} added, {report.removed:,} removed, {report.updated:,} updated, {report.unchanged:,} "
        f"unchanged; {report.clips:,} clips were sent to {parsed}."
    )
    if report.recall is not None:
        click.echo(f"Its lists: a search finds {report.recall:.3f} of the 10 nearest clips of other videos.")
