"""c3dhash classify."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import (
    Command,
    json_option,
    model_option,
    open_run,
    print_json,
    print_table,
    published_options,
    shown_path,
)
from c3dhash.cli.options import config_options, take
from c3dhash.config import EncodeConfig, RecognizeConfig
from c3dhash.errors import UsageError


def _file_option(name: str, metavar: str, text: str) -> Callable[[Command], Command]:
    return click.option(
        f"--{name}", f"{name}_path", type=click.Path(path_type=Path), default=None, metavar=metavar, help=text
    )


@click.command()
@click.argument("places", nargs=-1, metavar="VIDEO...", type=click.Path(path_type=Path))
@model_option
@published_options
@config_options(RecognizeConfig)
@config_options(EncodeConfig)
@_file_option("overlay", "OUT.mp4", "Write the one VIDEO with label and probability on every frame.")
@_file_option("timeline", "OUT.png", "Draw the probabilities of its first classes over time.")
@_file_option("srt", "OUT.srt", "Write what is seen when as subtitles.")
@_file_option("csv", "OUT.csv", "Write a line a video there, in place of printing; typed again, it goes on.")
@click.option("--show", is_flag=True, help="Play the one VIDEO, or the camera, in a window, with what is seen.")
@click.option(
    "--camera",
    default=None,
    metavar="N|URL",
    help="In the place of VIDEO, say what this camera sees now, until Ctrl-C; a line where it changes.",
)
@json_option
@click.pass_context
def classify(
    context: click.Context,
    /,
    places: tuple[Path, ...],
    model: Path | None,
    backbone: str | None,
    weights: str | None,
    overlay_path: Path | None,
    timeline_path: Path | None,
    srt_path: Path | None,
    csv_path: Path | None,
    show: bool,
    camera: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say which actions videos show, with their probabilities; with --over-time also when.

    VIDEO... are files, and folders of them. Probabilities are those of the class head, averaged over the windows of a
    video; where its classes exclude each other they add up to 1. The exit code is 1 where a video could not be read.

    Without any training, the 400 actions of Kinetics: --backbone i3d --weights kinetics400
    """
    config, encode_config = take(RecognizeConfig, options), take(EncodeConfig, options)
    outputs = {"overlay": overlay_path, "timeline": timeline_path, "srt": srt_path}
    if camera is not None:
        if places or csv_path or any(outputs.values()):
            raise UsageError(f"camera ({camera}) does without VIDEO and files: it is only looked at.")
        run = open_run(model, backbone=backbone, weights=weights)
        _follow_camera(run, camera, config, encode_config, show=show, as_json=as_json)
        return
    if not places:
        raise UsageError("name the VIDEO..., files or folders, or a --camera.")
    is_over_time = config.over_time or show or any(outputs.values())
    if not is_over_time and context.get_parameter_source("smooth") is click.core.ParameterSource.COMMANDLINE:
        raise UsageError(f"smooth ({config.smooth}) goes with --over-time.")
    _check_outputs(places, outputs, show=show)

    run = open_run(model, backbone=backbone, weights=weights)
    from c3dhash.recognition.recognize import recognize_over_time, recognize_videos

    given = {
        name: options[name]
        for name in ("window_seconds", "stride_seconds")
        if is_over_time and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    with _open_answers(csv_path, run, config, encode_config, given, is_over_time=is_over_time) as answers:
        common: dict[str, Any] = {"top": config.top, "config": encode_config, "skip": answers or ()}
        recognitions: Iterable[Any] = (
            recognize_over_time(run, places, smooth=config.smooth, **given, **common)
            if is_over_time
            else recognize_videos(run, places, **common)
        )
        is_good, rows = True, []
        for recognition in recognitions:
            is_good = is_good and recognition.error is None
            if answers is not None:
                answers.add(recognition)
            if as_json:
                rows.append(_as_dict(recognition, config.top))
            elif answers is None:
                _print(recognition)
            if recognition.error is None:
                _write_outputs(recognition, run, outputs, show=show)
    if as_json:
        print_json(rows)
    context.exit(0 if is_good else 1)


def _open_answers(
    path: Path | None,
    run: Any,
    config: RecognizeConfig,
    encode: EncodeConfig,
    given: dict[str, Any],
    *,
    is_over_time: bool,
) -> Any:
    """Open the file of answers, if one is asked for."""
    if path is None:
        return contextlib.nullcontext()
    from c3dhash.recognition.answer_file import AnswerFile, made_by

    settings = {
        **{name: getattr(encode, name) for name in ("window_seconds", "stride_seconds", "clips_per_window", "views")},
        **given, "is_over_time": is_over_time, "top": config.top,
    }  # fmt: skip
    answers = AnswerFile(path, made_by=made_by(run, settings), top=min(config.top, len(run.class_labels)))
    if len(answers):
        click.echo(f"'{path}' has the answers about {len(answers)} videos; those are left out.", err=True)
    return answers


def _check_outputs(places: tuple[Path, ...], outputs: dict[str, Path | None], *, show: bool) -> None:
    """Refuse outputs that cannot be written, or that several videos would share, before anything is recognised."""
    from c3dhash.files import require_free
    from c3dhash.report.screen import check_screen
    from c3dhash.video.writer import check_output

    if show:
        check_screen()
    for name, path in outputs.items():
        if path is None:
            continue
        if len(places) > 1 or places[0].is_dir():
            raise UsageError(f"{name} ('{path}') is of one video: name one file.")
        require_free(path)
        if name == "overlay":
            check_output(path)
        elif name == "timeline" and path.suffix.lower() != ".png":
            raise UsageError(f"'{path}': timelines are written as .png.")


def _write_outputs(recognition: Any, run: Any, outputs: dict[str, Path | None], *, show: bool) -> None:
    from c3dhash.files import write_text
    from c3dhash.recognition.over_time import as_subtitles
    from c3dhash.recognition.overlay import show_overlay, write_overlay
    from c3dhash.report.screen import Screen

    if path := outputs["srt"]:
        write_text(path, as_subtitles(recognition.segments))
    if path := outputs["timeline"]:
        recognition.timeline.plot(run.class_labels, path)
    if path := outputs["overlay"]:
        write_overlay(recognition.video, recognition.track, path)
    for path in filter(None, outputs.values()):
        click.echo(f"Written: {path}", err=True)
    if show:
        with Screen(recognition.video.name) as screen:
            show_overlay(recognition.video, recognition.track, screen)


def _follow_camera(
    run: Any, camera: str, config: RecognizeConfig, encode: EncodeConfig, *, show: bool, as_json: bool
) -> None:
    """Print what a camera sees where that changes, until it ends, its window is closed, or Ctrl-C."""
    from c3dhash.recognition.live import recognize_live
    from c3dhash.recognition.overlay import caption
    from c3dhash.report.screen import Screen

    with contextlib.ExitStack() as stack:
        screen = stack.enter_context(Screen(f"camera {camera}")) if show else None
        answers = stack.enter_context(
            contextlib.closing(recognize_live(run, camera, smooth=config.smooth, config=encode))
        )
        label = None
        with contextlib.suppress(KeyboardInterrupt):
            for answer in answers:
                if answer.label != label:
                    label = answer.label
                    seen = {"seconds": round(answer.seconds, 2), "label": label, "score": round(answer.probability, 4)}
                    click.echo(
                        json.dumps(seen) if as_json else f"{_clock(answer.seconds)}  {answer.probability:.3f}  {label}"
                    )
                if screen is not None and not screen.show(caption(answer.picture, label, answer.probability)):
                    break


def _as_dict(recognition: Any, top: int) -> dict[str, Any]:
    """Return what JSON holds of one video; one that could not be read has a reason."""
    content: dict[str, Any] = {
        "video": str(recognition.video),
        f"top{top}": [dataclasses.asdict(prediction) for prediction in recognition.top],
    }
    if recognition.segments is not None:
        content["segments"] = [dataclasses.asdict(segment) for segment in recognition.segments]
    return content if recognition.error is None else {**content, "reason": str(recognition.error)}


def _print(recognition: Any) -> None:
    click.echo(shown_path(recognition.video))
    if recognition.error is not None:
        click.echo(f"   failed: {recognition.error}")
    for prediction in recognition.top:
        click.echo(f"   {prediction.probability:.3f}  {prediction.label}")
    if recognition.segments:
        rows = [
            (_clock(segment.start_seconds), _clock(segment.end_seconds), f"{segment.score:.3f}", segment.label)
            for segment in recognition.segments
        ]
        click.echo()
        print_table(("   start", "end", "score", "label"), rows, right=(0, 1, 2))


def _clock(seconds: float) -> str:
    """Return a time as minutes:seconds, with tenths."""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02}.{tenths % 10}"
