"""c3dhash index, c3dhash query."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import gallery_option, json_option, print_json, print_table, shown_path
from c3dhash.cli.options import config_options, take
from c3dhash.config import EncodeConfig, HashConfig, QueryConfig
from c3dhash.errors import C3DHashError, UsageError


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@gallery_option
@click.option(
    "--model", type=click.Path(path_type=Path), default=None,
    help="Run directory; by default the gallery's own, else the newest finished one under runs/.",
)  # fmt: skip
@config_options(HashConfig)
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

    With --backbone and --weights no trained run is needed: the codes are made from the features of these videos, and
    the gallery gets a model of its own.
    """
    config = take(EncodeConfig, options)
    given = {
        name for name in context.params if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    _check_untrained(given)
    hash_config = take(HashConfig, options)

    from c3dhash.gallery.fitting import kept_features, make_run, own_run
    from c3dhash.gallery.indexing import WINDOWS, index_videos, open_gallery, with_windows
    from c3dhash.models.hashnet import find_run, load_run

    if hash_config.backbone is not None:
        run = make_run(gallery_path, places, config=hash_config, encode=config)
    else:
        run = (load_run(find_run(model)) if model else own_run(gallery_path)) or load_run(find_run())
    with open_gallery(gallery_path, run, config=config) as gallery:
        if not given & set(WINDOWS):
            config = with_windows(config, gallery)
        kept = kept_features(run, gallery_path, config=config)
        known_codes = partial(kept.codes, run) if kept else None
        report = index_videos(run, gallery, places, config=config, known_codes=known_codes)
        if kept:
            kept.clear()
        total = len(gallery)
    if hash_config.backbone is not None:
        path = shown_path(run.path)
        click.echo(f"Model: {path} ({run.config['hash']}, {run.hash_length} bits, fitted on "
                   f"{run.config['fitted_clips']} clips). Evaluate it: c3dhash evaluate --model {path} --data DATA",
                   err=True)  # fmt: skip
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


def _check_untrained(given: set[str]) -> None:
    """Raise unless the options that were given say either which run to take or how to make one."""
    if "backbone" in given and "model" in given:
        raise UsageError("--model takes a trained run and --backbone does without one: leave out one of them.")
    stray = [item.name for item in dataclasses.fields(HashConfig) if item.name in given]
    if stray and "backbone" not in given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in stray)
        raise UsageError(
            f"{flags} goes with --backbone NAME --weights FILE, which make codes without a trained run: give these, or "
            "leave it out."
        )


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

    from c3dhash.gallery.store import Gallery

    with Gallery.open(gallery_path) as gallery:
        from c3dhash.gallery.query import query_video
        from c3dhash.models.hashnet import find_run, load_run

        run = (load_run(model) if model else _run_of(gallery)) or load_run(find_run())
        hits = query_video(run, gallery, video, top=config.top, config=encode_config)
    if html_path is not None:
        from c3dhash.report.pages import write_query_page

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
    """Return the run that a gallery brings with it or was made with, where it is there and still the same."""
    from c3dhash.gallery.store import MODEL_DIR
    from c3dhash.models.hashnet import load_run

    for path in (gallery.path / MODEL_DIR, gallery.model_name):
        try:
            run = load_run(path)
            gallery.check_model(run.fingerprint, hash_length=run.hash_length)
        except C3DHashError:
            continue
        return run
    return None
