"""c3dhash index, c3dhash query."""

from __future__ import annotations

import dataclasses
import datetime
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from c3dhash.cli.common import (
    gallery_option,
    json_option,
    offline_option,
    open_searched,
    path_or_url,
    print_json,
    refuse_given,
    searched_gallery_option,
    shown_path,
    was_given,
)
from c3dhash.cli.hits import print_answers, print_hits
from c3dhash.cli.options import config_options, take
from c3dhash.config import ENGINES, EncodeConfig, HashConfig, IndexConfig, QueryConfig
from c3dhash.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from c3dhash.gallery.indexing import EncodeSteps, IndexReport

RAY = "ray"
OF_A_GALLERY_HERE = ("gallery_path", "model", "html_path", "precision", "device", "engine")


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="DIR|URL...", type=path_or_url)
@gallery_option
@click.option(
    "--model", type=click.Path(path_type=Path), default=None,
    help="Run directory; by default the gallery's own, else the newest finished one under runs/.",
)  # fmt: skip
@config_options(HashConfig)
@config_options(EncodeConfig, without=("engine",))
@click.option(
    "--engine", default="auto", show_default=True, metavar=f"{'|'.join(ENGINES)}|{RAY}",
    help=next(item.metadata["help"] for item in dataclasses.fields(EncodeConfig) if item.name == "engine"),
)  # fmt: skip
@click.option(
    "--ray-address", default=None, metavar="auto|HOST:PORT",
    help="The Ray cluster that decodes and computes, by PyTorch, with --engine ray; by default one is started on this "
    "machine, for this command.",
)  # fmt: skip
@config_options(IndexConfig)
@offline_option
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@json_option
@click.pass_context
def index(
    context: click.Context,
    /,
    places: tuple[Path | str, ...],
    gallery_path: Path,
    model: Path | None,
    ray_address: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring a gallery up to date with folders of videos, here or on a server (s3://BUCKET/FOLDER).

    Run again, it encodes what is new or changed, follows what was renamed or moved, and keeps aside what is missing,
    until it is back or --prune drops it. It can be stopped at any time. The exit code is 1 where a video could not be
    read, or a whole place is gone.

    No trained run is needed: with --backbone and --weights, and by default where there is no run, the codes are made
    from the features of these videos, and the gallery gets a model of its own.
    """
    given = {name for name in context.params if was_given(context, name)}
    engine = _engine(options, ray_address)
    config, index_config = take(EncodeConfig, options), take(IndexConfig, options)
    if dry_run:
        context.exit(_show_plan(gallery_path, places, index_config, workers=config.workers, as_json=as_json))
    if not {"backbone", "weights", "model"} & given and not _has_run(gallery_path):
        from c3dhash.gallery.scan import refuse_missing_places

        refuse_missing_places(places)
        options.update(_published_network())
    else:
        _check_untrained(given)
    hash_config = take(HashConfig, options)

    from c3dhash.gallery import lock
    from c3dhash.gallery.fitting import index_with_features, make_run
    from c3dhash.gallery.indexing import open_gallery
    from c3dhash.gallery.windows import WINDOWS, with_windows

    config = _with_windows_of(hash_config.backbone, config, given)
    with engine as encode, lock.writing(gallery_path, timeout_seconds=index_config.wait_seconds):
        if hash_config.backbone is not None:
            run = make_run(gallery_path, places, config=hash_config, encode=config, encode_steps=encode)
        else:
            run = _find_run(gallery_path, model)
        with open_gallery(gallery_path, run, config=config) as gallery:
            if not given & set(WINDOWS):
                config = with_windows(config, gallery)
            report = index_with_features(run, gallery, places, config=config, index=index_config, encode=encode)
            total = len(gallery)
    if hash_config.backbone is not None:
        path = shown_path(run.path)
        click.echo(f"Model: {path} ({run.config['hash']}, {run.hash_length} bits, fitted on "
                   f"{run.config['fitted_clips']} clips). Evaluate it: c3dhash evaluate --model {path} --data DATA",
                   err=True)  # fmt: skip
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        _show_report(report, gallery_path, num_clips=total)
    context.exit(1 if report.failed or report.vanished else 0)


def _engine(options: dict[str, Any], ray_address: str | None) -> AbstractContextManager[EncodeSteps | None]:
    """Hand out what encodes on a Ray cluster, where that is asked for; what is left to do here chooses its engine."""
    if options["engine"] != RAY:
        if ray_address is not None:
            raise UsageError(f"--ray-address ({ray_address}) goes with --engine ray.")
        return nullcontext()
    from c3dhash.cluster.ray_encoding import on_ray

    options["engine"] = "auto"
    return on_ray(ray_address)


def _with_windows_of(backbone: str | None, config: EncodeConfig, given: set[str]) -> EncodeConfig:
    """Return a config with the windows that a backbone has of its own, where none were asked for."""
    if backbone is None or {"window_seconds", "stride_seconds"} & given:
        return config
    from c3dhash.models.backbones import backbone_class

    network = backbone_class(backbone)
    if network.window_seconds is None:
        return config
    return dataclasses.replace(config, window_seconds=network.window_seconds, stride_seconds=network.stride_seconds)


def _show_report(report: IndexReport, gallery_path: Path, *, num_clips: int) -> None:
    counts = ("added", "updated", "moved", "missing", "removed", "unchanged")
    told = ", ".join(f"{getattr(report, name)} {name}" for name in counts)
    click.echo(f"{told}, {len(report.failed)} failed; gallery '{gallery_path}' holds {num_clips} clips.")
    if report.flat_windows:
        click.echo("Windows that show nothing (black, white or of one colour) have no code: "
                   f"{report.flat_windows}, of {report.flat_videos} of the videos.")  # fmt: skip
    for video in report.without_codes:
        click.echo(f"no code: {shown_path(video)}")
    for failure in report.failed:
        click.echo(f"failed: {failure['reason']}")


def _has_run(gallery_path: Path) -> bool:
    """Tell whether there is a model to index with: that of the gallery, or one that was trained here."""
    from c3dhash.gallery.store import MODEL_DIR, is_gallery
    from c3dhash.models.runs import find_run, is_finished

    if is_gallery(gallery_path) or is_finished(gallery_path / MODEL_DIR):
        return True
    try:
        find_run()
    except CheckpointError:
        return False
    return True


def _published_network() -> dict[str, str]:
    """Return the options that make codes without a run, with a network that sees; it is fetched where need be."""
    from c3dhash.models.known_weights import DEFAULT_BACKBONE, DEFAULT_WEIGHTS
    from c3dhash.models.weights import find_weights

    try:
        find_weights(DEFAULT_WEIGHTS, backbone=DEFAULT_BACKBONE)
    except CheckpointError as error:
        raise CheckpointError(f"no finished run under 'runs/' (c3dhash train makes one), and {error}") from error
    click.echo(
        f"No trained run under 'runs/': codes without labels, by {DEFAULT_BACKBONE} with weights {DEFAULT_WEIGHTS}; "
        "--backbone and --weights take another network, `c3dhash train` learns codes from labels.", err=True,
    )  # fmt: skip
    return {"backbone": DEFAULT_BACKBONE, "weights": DEFAULT_WEIGHTS}


def _find_run(gallery_path: Path, model: Path | None) -> Any:
    """Return the run to index with: the one that is named, that of the gallery, or else the newest."""
    from c3dhash.gallery.fitting import own_run
    from c3dhash.gallery.runs import run_of
    from c3dhash.gallery.store import Gallery, is_gallery
    from c3dhash.models.runs import find_run, load_run

    if model is not None:
        return load_run(find_run(model))
    if is_gallery(gallery_path):
        with Gallery.open(gallery_path) as gallery:
            return run_of(gallery)
    return own_run(gallery_path) or load_run(find_run())


def _show_plan(
    gallery_path: Path, places: tuple[Path | str, ...], config: IndexConfig, *, workers: int, as_json: bool
) -> int:
    """Print what `index` would do; return its exit code."""
    from c3dhash.gallery.indexing import plan_index
    from c3dhash.gallery.store import Gallery, is_gallery

    if is_gallery(gallery_path):
        with Gallery.open(gallery_path) as gallery:
            plan = plan_index(gallery, places, index=config, workers=workers).to_dict()
    else:
        plan = plan_index(None, places, index=config, workers=workers).to_dict()
    if as_json:
        print_json(plan)
        return 0
    for kind in ("new", "changed", "moved", "copies", "back", "missing", "removed", "vanished", "failed"):
        for item in plan[kind]:
            text = item if isinstance(item, str) else item.get("reason") or " <- ".join(reversed(item.values()))
            click.echo(f"{kind:9} {text}")
    click.echo(f"{plan['unchanged']} unchanged; nothing was done.")
    return 0


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


def _files_here(context: click.Context, parameter: click.Parameter, value: tuple[Path | str, ...]) -> tuple[Path, ...]:
    for place in value:
        if isinstance(place, str):
            raise UsageError(f"query '{place}' is on a server: a query is a file on this machine.")
    return tuple(map(Path, value))


@click.command()
@click.argument("places", metavar="VIDEO...", nargs=-1, required=True, type=path_or_url, callback=_files_here)
@searched_gallery_option
@click.option(
    "--model", type=click.Path(path_type=Path), default=None,
    help="Run directory; by default the one the gallery was indexed with, else the newest finished one under runs/.",
)  # fmt: skip
@config_options(QueryConfig)
@click.option(
    "--label", "labels", multiple=True, metavar="NAME", help="Find videos of this label only; may be repeated."
)
@click.option("--folder", metavar="PATH", default=None, help="Find videos in this folder, or in one below, only.")
@click.option(
    "--added-since",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    default=None,
    help="Find videos only that were added on this day (UTC) or later: 2026-11-24.",
)
@click.option("--not-itself", is_flag=True, help="Leave out VIDEO itself: files with the same bytes.")
@config_options(EncodeConfig, only=("precision", "device", "engine"))
@json_option
@click.option(
    "--html", "html_path", type=click.Path(path_type=Path), default=None,
    help="Also write a page with pictures, of one VIDEO.",
)  # fmt: skip
@click.option(
    "--server", metavar="URL", default=None,
    help="Ask a server (c3dhash serve) in the place of a gallery here: VIDEO is sent to it. --folder is as it names "
    "its videos.",
)  # fmt: skip
@click.option("--token", metavar="TEXT", default=None, envvar="C3DHASH_TOKEN", help="That of --server, if it has one.")
@click.pass_context
def query(
    context: click.Context,
    /,
    places: tuple[Path, ...],
    gallery_path: Path,
    model: Path | None,
    labels: tuple[str, ...],
    folder: str | None,
    added_since: datetime.datetime | None,
    not_itself: bool,
    as_json: bool,
    html_path: Path | None,
    server: str | None,
    token: str | None,
    **options: Any,
) -> None:
    """Find the videos of a gallery that show the same as VIDEO, or something similar, and where.

    Where both were cut into windows, those that agree on when the video begins are joined into segments, and videos
    rank by their score: by how many bits these are more improbable than what chance makes. A window that many videos
    have adds little.

    VIDEO... are files, and folders of them; a file may be a still picture, unless the network reads optical flow. The
    exit code is 1 where one could not be read.
    """
    config, encode_config = take(QueryConfig, options), take(EncodeConfig, options)
    is_one = len(places) == 1 and not places[0].is_dir()
    if html_path is not None and not is_one:
        raise UsageError(f"html ('{html_path}') is a page of one query: name one video, or leave it out.")
    since = added_since.date().isoformat() if added_since else None
    if server is not None:
        from c3dhash.cli.remote import query_server
        from c3dhash.client import Client

        refuse_given(context, OF_A_GALLERY_HERE, why="--server has its own gallery, and encodes by itself")
        asked: dict[str, Any] = {
            "label": list(labels),
            "folder": folder,
            "added_since": since,
            "not_itself": not_itself,
        }
        is_good = query_server(Client(server, token=token), places, asked=asked, config=config, as_json=as_json)
        context.exit(0 if is_good else 1)
    refuse_given(context, ("token",), why="--token goes with --server")

    with open_searched(gallery_path) as gallery:
        from c3dhash.gallery.filters import VideoFilter
        from c3dhash.gallery.query import query_video, query_videos
        from c3dhash.gallery.runs import run_of
        from c3dhash.models.runs import find_run, load_run
        from c3dhash.video.reader import find_each

        only = VideoFilter(labels, folder, since)
        run = load_run(find_run(model)) if model else run_of(gallery)
        asked = {
            "top": config.top, "only": only, "radius": config.radius, "not_itself": not_itself,
            "mirror": config.mirror, "any_speed": config.any_speed, "config": encode_config,
        }  # fmt: skip
        if not is_one:
            found = find_each(places)
            unread = [(place, error) for place, error in found.items() if error is not None]
            answers = query_videos(run, gallery, [place for place, error in found.items() if error is None], **asked)
            is_good = print_answers(chain(unread, answers), config, as_json=as_json)
            context.exit(0 if is_good else 1)
        hits = query_video(run, gallery, places[0], **asked)
    if html_path is not None:
        from c3dhash.gallery.indexing import folder_label
        from c3dhash.report.pages import write_query_page

        label = folder_label(places[0].absolute(), run.labels)
        write_query_page(html_path, query=places[0], hits=hits, gallery_name=str(gallery_path), label=label)
    if as_json:
        print_json([dataclasses.asdict(hit) for hit in hits])
        return
    print_hits(hits, config)
    if html_path is not None:
        click.echo(f"Page: {html_path}")
