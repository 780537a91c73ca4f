"""c3dhash index, c3dhash query."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import gallery_option, json_option, model_option, print_json, print_table, shown_path
from c3dhash.cli.options import config_options, take
from c3dhash.config import EncodeConfig, QueryConfig
from c3dhash.errors import C3DHashError


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@gallery_option
@model_option
@config_options(EncodeConfig)
@json_option
@click.pass_context
def index(
    context: click.Context,
    places: tuple[Path, ...],
    gallery_path: Path,
    model: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Encode the videos of folders into a gallery.

    Run again, it adds what is new, encodes what changed, and drops what is gone. It can be stopped at any time.
    The exit code is 1 where a video could not be read.
    """
    config = take(EncodeConfig, options)

    from c3dhash.indexing import WINDOWS, index_videos, open_gallery, with_windows
    from c3dhash.model import find_run, load_run

    run = load_run(find_run(model))
    with open_gallery(gallery_path, run, config=config) as gallery:
        if not any(context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE for name in WINDOWS):
            config = with_windows(config, gallery)
        report = index_videos(run, gallery, places, config=config)
        total = len(gallery)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        click.echo(
            f"{report.added} added, {report.updated} updated, {report.removed} removed, {report.unchanged} unchanged, "
            f"{len(report.failed)} failed; gallery '{gallery_path}' holds {total} clips."
        )
        for failure in report.failed:
            click.echo(f"failed: {failure['reason']}")
    context.exit(1 if report.failed else 0)


@click.command()
@click.argument("video", type=click.Path(path_type=Path))
@gallery_option
@click.option(
    "--model", type=click.Path(path_type=Path), default=None,
    help="Run directory; by default the one the gallery was indexed with, else the newest finished one under runs/.",
)  # fmt: skip
@config_options(QueryConfig)
@config_options(EncodeConfig, only=("precision", "device"))
@json_option
@click.option(
    "--html", "html_path", type=click.Path(path_type=Path), default=None, help="Also write a page with pictures."
)
def query(
    video: Path, gallery_path: Path, model: Path | None, as_json: bool, html_path: Path | None, **options: Any
) -> None:
    """Find the videos of a gallery that are similar to VIDEO, each with the segment that matches."""
    config, encode_config = take(QueryConfig, options), take(EncodeConfig, options)

    from c3dhash.gallery import Gallery

    with Gallery.open(gallery_path) as gallery:
        from c3dhash.model import find_run, load_run
        from c3dhash.query import query_video

        run = (load_run(model) if model else _run_of(gallery)) or load_run(find_run())
        hits = query_video(run, gallery, video, top=config.top, config=encode_config)
    if html_path is not None:
        from c3dhash.pages import write_query_page

        write_query_page(html_path, query=video, hits=hits, gallery_name=str(gallery_path))
    if as_json:
        print_json([dataclasses.asdict(hit) for hit in hits])
        return
    rows = [
        (
            str(hit.rank),
            str(hit.distance),
            f"{hit.start_seconds:.1f}-{hit.end_seconds:.1f} s",
            hit.label or "",
            shown_path(hit.video),
        )
        for hit in hits
    ]
    print_table(("rank", "distance", "segment", "label", "video"), rows, right=(0, 1, 2))
    if html_path is not None:
        click.echo(f"Page: {html_path}")


def _run_of(gallery: Any) -> Any:
    """Return the run that a gallery was made with, where it is still there and still the same."""
    from c3dhash.model import load_run

    try:
        run = load_run(gallery.model_name)
        gallery.check_model(run.fingerprint, hash_length=run.hash_length)
    except C3DHashError:
        return None
    return run
