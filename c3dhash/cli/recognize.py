"""c3dhash classify."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import json_option, model_option, open_run, print_json, published_options, shown_path
from c3dhash.cli.options import config_options, take
from c3dhash.config import EncodeConfig, RecognizeConfig


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="VIDEO...", type=click.Path(path_type=Path))
@model_option
@published_options
@config_options(RecognizeConfig)
@config_options(EncodeConfig)
@json_option
@click.pass_context
def classify(
    context: click.Context,
    /,
    places: tuple[Path, ...],
    model: Path | None,
    backbone: str | None,
    weights: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say which actions videos show, with their probabilities.

    VIDEO... are files, and folders of them. Probabilities are those of the class head, averaged over the windows of a
    video; where its classes exclude each other they add up to 1. The exit code is 1 where a video could not be read.

    Without any training, the 400 actions of Kinetics: --backbone i3d --weights kinetics400
    """
    config, encode_config = take(RecognizeConfig, options), take(EncodeConfig, options)

    from c3dhash.recognition.recognize import recognize_videos

    run = open_run(model, backbone=backbone, weights=weights)
    recognitions = recognize_videos(run, places, top=config.top, config=encode_config)
    if as_json:
        print_json([_as_dict(recognition, config.top) for recognition in recognitions])
    else:
        for recognition in recognitions:
            _print(recognition)
    context.exit(1 if any(recognition.error for recognition in recognitions) else 0)


def _as_dict(recognition: Any, top: int) -> dict[str, Any]:
    """Return what JSON holds of one video; one that could not be read has a reason."""
    content = {
        "video": str(recognition.video),
        f"top{top}": [dataclasses.asdict(prediction) for prediction in recognition.top],
    }
    return content if recognition.error is None else {**content, "reason": str(recognition.error)}


def _print(recognition: Any) -> None:
    click.echo(shown_path(recognition.video))
    if recognition.error is not None:
        click.echo(f"   failed: {recognition.error}")
    for prediction in recognition.top:
        click.echo(f"   {prediction.probability:.3f}  {prediction.label}")
