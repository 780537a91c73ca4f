"""Options and printing that several commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from c3dhash.cli.processes import is_first
from c3dhash.config import WORKERS
from c3dhash.errors import UsageError
from c3dhash.models.known_weights import OFFLINE_VARIABLE
from c3dhash.urls import checked_url, is_url

if TYPE_CHECKING:
    from c3dhash.gallery.searched import SearchedGallery
    from c3dhash.gallery.served import GalleryPlace

Command = TypeVar("Command", bound=Callable[..., Any])

data_option = click.option(
    "--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
    help="The data set, or the folder it lies in.",
)  # fmt: skip
format_option = click.option(
    "--format", default=None, metavar="NAME", help="Read the data set in this layout instead of recognising it."
)
allow_missing_option = click.option("--allow-missing", is_flag=True, help="Leave out listed videos that are not there.")


def _check_workers(context: click.Context, parameter: click.Parameter, value: int) -> int:
    from c3dhash.video.loader import check_workers

    return check_workers(value)


workers_option = click.option(
    "--workers", type=int, default=WORKERS, show_default=True, metavar="N", help="Threads.", callback=_check_workers
)
model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=None,
    help="Run directory; by default the newest finished one under runs/.",
)


def path_or_url(value: str) -> Path | str:
    """Return what an argument that names a place is: a URL stays text, see c3dhash.urls.

    Raises:
        UsageError: as of `checked_url`.
    """
    return checked_url(value) if is_url(value) else Path(value)


def _gallery_here(context: click.Context, parameter: click.Parameter, value: str) -> Path:
    from c3dhash.cluster.address import is_address

    if is_address(value):
        raise UsageError(
            f"gallery '{value}': {context.command_path} takes a directory, not an address: name the gallery that was "
            "pushed there."
        )
    return Path(value)


def _gallery_anywhere(context: click.Context, parameter: click.Parameter, value: str) -> Path | str:
    from c3dhash.cluster.address import is_address

    return value if is_address(value) else Path(value)


gallery_option = click.option(
    "--gallery", "gallery_path", type=click.Path(), default="gallery", show_default=True, callback=_gallery_here,
    help="The gallery directory.",
)  # fmt: skip
searched_gallery_option = click.option(
    "--gallery", "gallery_path", type=click.Path(), default="gallery", show_default=True, callback=_gallery_anywhere,
    help="The gallery directory, or milvus://HOST:PORT/COLLECTION.",
)  # fmt: skip


def open_searched(gallery: Path | str) -> AbstractContextManager[SearchedGallery]:
    """Open a gallery to search it: a folder, or an address."""
    if isinstance(gallery, str):
        from c3dhash.cluster.remote import RemoteGallery

        return RemoteGallery(gallery)
    from c3dhash.gallery.store import Gallery

    return Gallery.open(gallery)


def place_of(gallery: Path | str) -> GalleryPlace:
    """Return where a gallery lies that is to be served: a folder, or an address."""
    if isinstance(gallery, str):
        from c3dhash.cluster.remote_place import RemotePlace

        return RemotePlace(gallery)
    from c3dhash.gallery.served import Folder

    return Folder(gallery)


def _go_offline(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        os.environ[OFFLINE_VARIABLE] = "1"


offline_option = click.option(
    "--offline", is_flag=True, expose_value=False, is_eager=True, callback=_go_offline,
    help=f"Never download weights; {OFFLINE_VARIABLE}=1 says the same.",
)  # fmt: skip


def published_options(command: Command) -> Command:
    """Add --backbone, --weights and --offline, by which published weights take the place of a run."""
    command = offline_option(command)
    command = click.option(
        "--weights", default=None, metavar="NAME|FILE", help="Those weights of --backbone; they bring their classes."
    )(command)
    return click.option(
        "--backbone", default=None, metavar="NAME", help="Recognise with published weights, without a run."
    )(command)


runs_option = click.option(
    "--runs",
    nargs=2,
    type=click.Path(path_type=Path),
    default=None,
    metavar="RUN RUN",
    help="In the place of --model, two runs whose answers are fused, as one on RGB and one on optical flow.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def open_run(model: Path | None, *, backbone: str | None, weights: str | None) -> Any:
    """Load a run, or published weights as one."""
    from c3dhash.models.published import published_run
    from c3dhash.models.runs import find_run, load_run

    if (backbone is None) != (weights is None) or (backbone is not None and model is not None):
        raise UsageError("--backbone NAME and --weights NAME go together, and do without --model.")
    if backbone is None or weights is None:
        return load_run(find_run(model))
    return published_run(backbone, weights)


def open_runs(
    context: click.Context,
    runs: tuple[Path, Path] | None,
    *,
    model: Path | None,
    backbone: str | None,
    weights: str | None,
) -> list[Any]:
    """Load the two runs of --runs, or the one that `open_run` gives."""
    if runs is None:
        refuse_given(context, ("fuse",), why="one run is not fused: --runs takes two")
        return [open_run(model, backbone=backbone, weights=weights)]
    from c3dhash.models.runs import find_run, load_run

    refuse_given(context, ("model", "backbone", "weights"), why="--runs names the runs")
    return [load_run(find_run(run)) for run in runs]


def was_given(context: click.Context, name: str) -> bool:
    """Tell whether an option was typed."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def refuse_given(context: click.Context, names: Iterable[str], *, why: str) -> None:
    """Raise where an option was typed that would do nothing."""
    for name in sorted(names):
        if was_given(context, name):
            flag = name.removesuffix("_path").removeprefix("as_").replace("_", "-")
            raise UsageError(f"{why}: leave out --{flag}.")


def print_json(content: Any) -> None:
    """Print JSON on stdout; names that are not valid UTF-8 come out as escapes, which a parser turns back into them."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(content, indent=2)
    click.echo(text)


def shown_path(path: str | Path) -> str:
    """Return a path for people: relative where it lies in or near this folder."""
    if is_url(path):
        return str(path)
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(f"..{os.sep}..") else relative


def shown_stretch(start_seconds: float, end_seconds: float) -> str:
    """Return a stretch of a video for people, to hundredths where tenths would tell nothing of it."""
    digits = 1 if end_seconds - start_seconds >= 0.1 else 2
    return f"{start_seconds:.{digits}f}-{end_seconds:.{digits}f} s"


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, right: tuple[int, ...] = ()) -> None:
    """Print columns; those numbered in `right` are aligned to the right."""
    widths = [max(len(str(row[column])) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        cells = [
            str(cell).rjust(width) if column in right else str(cell).ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def open_dataset(data: Path, *, split: int, format: str | None, allow_missing: bool) -> Any:
    """Read a data set, and say on stderr what was recognised."""
    from c3dhash.datasets.find import find_dataset

    dataset = find_dataset(data, split=split, format=format, allow_missing=allow_missing)
    if not is_first():
        return dataset
    click.echo(f"Data: {dataset.format} in '{dataset.directory}': {dataset.describe()}", err=True)
    for note in dataset.notes:
        click.echo(f"Note: {note}", err=True)
    return dataset
