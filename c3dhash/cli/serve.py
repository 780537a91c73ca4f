"""c3dhash serve."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import open_searched, place_of, searched_gallery_option
from c3dhash.cli.options import config_options, take
from c3dhash.config import EncodeConfig, ServeConfig
from c3dhash.errors import MissingExtraError, ModelMismatchError, UsageError

TOKEN_VARIABLE = "C3DHASH_TOKEN"
NEEDED = ("fastapi", "uvicorn", "python_multipart")


@click.command()
@searched_gallery_option
@click.option(
    "--model", type=click.Path(path_type=Path), default=None,
    help="Run directory; by default the one the gallery was indexed with.",
)  # fmt: skip
@config_options(ServeConfig)
@config_options(EncodeConfig, only=("precision", "device", "engine"))
def serve(gallery_path: Path | str, model: Path | None, **options: Any) -> None:
    """Serve a gallery: a page to search it with videos, and an HTTP API for that, and to look after it.

    It listens on this machine alone, unless --host says otherwise, which takes a token. /openapi.json describes the
    API. Ctrl-C, or SIGTERM, ends it in order: what is under way is answered first.
    """
    if options["token"] is None:
        options["token"] = os.environ.get(TOKEN_VARIABLE) or None
    config, encode = take(ServeConfig, options), take(EncodeConfig, options)
    if os.name != "posix":
        raise UsageError(
            f"`c3dhash serve` needs Linux or another POSIX system, this is {os.name}: decoders have no "
            "processes of their own here."
        )
    if any(find_spec(name) is None for name in NEEDED):
        raise MissingExtraError("`c3dhash serve` needs the extra serve: pip install 'c3dhash[serve]'")

    with open_searched(gallery_path) as gallery:
        run = _find_run(gallery, model)

    from c3dhash.web.app import create_app
    from c3dhash.web.service import Service
    from c3dhash.web.serving import address, bind, serve

    listening = bind(config)
    try:
        service = Service(place_of(gallery_path), run, config=config, encode=encode)
    except BaseException:
        listening.close()
        raise
    where = address(listening, config)

    def tell() -> None:
        with_token = "" if config.token is None else ", with the token"
        click.echo(f"Gallery '{gallery_path}' is served at {where}{with_token}; Ctrl-C ends it.", err=True)

    serve(create_app(service), service, listening, on_start=tell)


def _find_run(gallery: Any, model: Path | None) -> Any:
    """Return the run to encode with; None, after a warning, where that of the gallery is not there."""
    from c3dhash.gallery.runs import run_of
    from c3dhash.models.runs import find_run, load_run

    if model is not None:
        return load_run(find_run(model))
    try:
        return run_of(gallery)
    except ModelMismatchError as error:
        click.echo(f"Only videos of the gallery can be searched with, no others: {error}", err=True)
        return None
