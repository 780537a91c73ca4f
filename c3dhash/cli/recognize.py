"""c3dhash classify."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from c3dhash.cli.answers import as_dict, print_recognition
from c3dhash.cli.common import (
    Command,
    json_option,
    model_option,
    open_runs,
    print_json,
    published_options,
    refuse_given,
    runs_option,
    was_given,
)
from c3dhash.cli.options import config_options, take
from c3dhash.config import EncodeConfig, PeopleConfig, RecognizeConfig
from c3dhash.errors import UsageError

SUFFIXES = {"timeline": ".png", "srt": ".srt", "people_csv": ".csv"}
OF_CAMERAS = {
    "places", "model", "backbone", "weights", "camera", "show", "as_json", "smooth", "window_seconds", "views",
    "precision", "device", "engine",
}  # fmt: skip
OF_PEOPLE = ("detector", "every_seconds", "boxes", "people_csv_path")
NOT_OF_BOXES = ("window_seconds", "clips_per_window", "views", "batch_size", "precision", "engine")
NOT_OF_PEOPLE = ("over_time", "timeline_path", "srt_path", "csv_path", "runs", "fuse", "workers")


def _file_option(name: str, metavar: str, text: str) -> Callable[[Command], Command]:
    return click.option(
        f"--{name.replace('_', '-')}",
        f"{name}_path",
        type=click.Path(path_type=Path),
        default=None,
        metavar=metavar,
        help=text,
    )


@click.command()
@click.argument("places", nargs=-1, metavar="VIDEO...", type=click.Path(path_type=Path))
@model_option
@runs_option
@published_options
@config_options(RecognizeConfig)
@config_options(PeopleConfig)
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="With --people, where they are, in the place of a detector: lines of seconds,x0,y0,x1,y1 in px, or as AVA has "
    "them.",
)
@_file_option("people_csv", "OUT.csv", "With --people, write a line for each box and class, as AVA has them.")
@config_options(EncodeConfig, without=("crop_bars",))
@_file_option("overlay", "OUT.mp4", "Write the one VIDEO with what is seen, and its probability, on every frame.")
@_file_option("timeline", "OUT.png", "Draw the probabilities of its first classes over time.")
@_file_option("srt", "OUT.srt", "Write what is seen when as subtitles.")
@_file_option("csv", "OUT.csv", "Write a line a video, in place of printing; typed again, it goes on.")
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
    runs: tuple[Path, Path] | None,
    backbone: str | None,
    weights: str | None,
    boxes: Path | None,
    people_csv_path: Path | None,
    overlay_path: Path | None,
    timeline_path: Path | None,
    srt_path: Path | None,
    csv_path: Path | None,
    show: bool,
    camera: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say which actions videos show, with their probabilities; with --over-time also when, with --people also who.

    VIDEO... are files, and folders of them. Probabilities are those of the class head, averaged over the windows of a
    video; where its classes exclude each other they add up to 1. The exit code is 1 where a video could not be read.

    Without any training, the 400 actions of Kinetics: --backbone i3d --weights kinetics400
    """
    config, encode_config = take(RecognizeConfig, options), take(EncodeConfig, options)
    people = take(PeopleConfig, options)
    outputs = {"overlay": overlay_path, "timeline": timeline_path, "srt": srt_path, "people_csv": people_csv_path}
    is_over_time = config.over_time or show or any(outputs.values())
    _check_options(context, places, is_over_time=is_over_time)
    _check_outputs(places, outputs, show=show)
    opened = _open_networks(context, runs, model=model, backbone=backbone, weights=weights)
    given = {name: options[name] for name in ("window_seconds", "stride_seconds") if was_given(context, name)}
    if camera is not None:
        seconds = given.get("window_seconds")
        _follow_camera(opened[0], camera, config, encode_config, window_seconds=seconds, show=show, as_json=as_json)
        return
    from c3dhash.recognition.recognize import recognize_over_time, recognize_videos

    common: dict[str, Any] = {"top": config.top, "fusion": config.fuse, "config": encode_config}
    if people.people:
        from c3dhash.recognition.people import recognize_people

        recognitions = recognize_people(
            opened[0], places, top=config.top, smooth=config.smooth, boxes=boxes, people=people, config=encode_config,
            **given,
        )  # fmt: skip
        is_good = _print_each(recognitions, opened[0], outputs, top=config.top, show=show, as_json=as_json)
    elif is_over_time:
        recognitions = recognize_over_time(opened, places, smooth=config.smooth, **given, **common)
        is_good = _print_each(recognitions, opened[0], outputs, top=config.top, show=show, as_json=as_json)
    elif csv_path is not None:
        refuse_given(context, ("as_json",), why=f"csv ('{csv_path}') takes the place of printing")
        is_good = _write_csv(csv_path, opened, places, config, encode_config)
    else:
        recognitions = recognize_videos(opened, places, **common)
        is_good = _print_each(recognitions, opened[0], outputs, top=config.top, show=show, as_json=as_json)
    context.exit(0 if is_good else 1)


def _check_options(context: click.Context, places: tuple[Path, ...], *, is_over_time: bool) -> None:
    """Refuse what does not go together, and what would do nothing."""
    options = context.params
    camera, csv_path, boxes = options["camera"], options["csv_path"], options["boxes"]
    if camera is not None:
        if places:
            raise UsageError(f"camera ({camera}) takes the place of VIDEO; leave out one of the two.")
        refuse_given(context, options.keys() - OF_CAMERAS, why=f"camera ({camera}) is only looked at")
    elif not places:
        raise UsageError("name the VIDEO..., files or folders, or a --camera.")
    elif options["people"]:
        refuse_given(
            context, NOT_OF_PEOPLE, why="--people looks at each of them, by one network, one video after the other"
        )
        if boxes is not None:
            refuse_given(context, ("detector", "every_seconds"), why=f"the people are those of boxes ('{boxes}')")
    elif not is_over_time:
        refuse_given(context, ("smooth",), why="windows are smoothed with --over-time")
    elif csv_path is not None:
        raise UsageError(f"csv ('{csv_path}') has a line a video, and not what is seen when; leave out one of the two.")
    if not options["people"]:
        refuse_given(context, OF_PEOPLE, why="without --people nobody is looked for")


def _open_networks(
    context: click.Context,
    runs: tuple[Path, Path] | None,
    *,
    model: Path | None,
    backbone: str | None,
    weights: str | None,
) -> list[Any]:
    """Load the run, or the two of --runs; or, of people, the network that looks at boxes, where weights are of one."""
    if context.params["people"] and backbone and weights and model is None:
        from c3dhash.models.action_detector import is_action_detector, load_action_detector
        from c3dhash.models.weight_files import find_weights

        if is_action_detector(find_weights(weights, backbone=backbone)):
            refuse_given(context, NOT_OF_BOXES, why="the network looks at boxes in whole pictures")
            return [load_action_detector(weights, backbone=backbone)]
    return open_runs(context, runs, model=model, backbone=backbone, weights=weights)


def _print_each(
    recognitions: Iterable[Any], run: Any, outputs: dict[str, Path | None], *, top: int, show: bool, as_json: bool
) -> bool:
    """Print videos as they are through, and write what is asked for; tell whether all could be read."""
    is_good, rows, with_people = True, [], []
    for recognition in recognitions:
        is_good = is_good and recognition.error is None
        rows.append(as_dict(recognition, top)) if as_json else print_recognition(recognition)
        if recognition.error is None:
            _write_outputs(recognition, run, outputs, show=show)
            if outputs["people_csv"]:
                with_people.append(recognition)
    if with_people:
        _write_people(with_people, outputs["people_csv"])
    if as_json:
        print_json(rows)
    return is_good


def _write_csv(
    path: Path,
    runs: list[Any],
    places: tuple[Path, ...],
    config: RecognizeConfig,
    encode: EncodeConfig,
) -> bool:
    """Write videos into a file as they are through, those that it lacks; tell whether all could be read."""
    from c3dhash.recognition.answer_file import AnswerFile, made_by
    from c3dhash.recognition.recognize import recognize_videos

    names = ("window_seconds", "stride_seconds", "clips_per_window", "views")
    settings = {**{name: getattr(encode, name) for name in names}, "top": config.top}
    if len(runs) > 1:
        settings["fuse"] = config.fuse
    is_good = True
    with AnswerFile(path, made_by=made_by(runs, settings), top=min(config.top, len(runs[0].class_labels))) as answers:
        if len(answers):
            click.echo(f"'{path}' has the answers about {len(answers)} videos; those are left out.", err=True)
        for recognition in recognize_videos(
            runs, places, top=config.top, fusion=config.fuse, config=encode, skip=answers
        ):
            is_good = is_good and recognition.error is None
            answers.add(recognition)
    return is_good


def _check_outputs(places: tuple[Path, ...], outputs: dict[str, Path | None], *, show: bool) -> None:
    """Refuse outputs that cannot be written, or that several videos would share, before anything is recognised."""
    from c3dhash.files import require_free
    from c3dhash.report.screen import check_screen
    from c3dhash.video.writer import check_output

    if show:
        if len(places) > 1 or (places and places[0].is_dir()):
            raise UsageError("--show plays one video: name one file.")
        check_screen()
    if len({os.path.realpath(path) for path in outputs.values() if path}) < sum(map(bool, outputs.values())):
        raise UsageError(f"two outputs have the name '{next(filter(None, outputs.values()))}'; give each its own.")
    for name, path in outputs.items():
        if path is None:
            continue
        if name != "people_csv" and (len(places) > 1 or places[0].is_dir()):
            raise UsageError(f"{name} ('{path}') is of one video: name one file.")
        require_free(path)
        if name == "overlay":
            check_output(path)
        elif path.suffix.lower() != SUFFIXES[name]:
            flag = name.replace("_", "-")
            raise UsageError(f"{flag} ('{path}') is written as {SUFFIXES[name]}; name such a file.")


def _write_outputs(recognition: Any, run: Any, outputs: dict[str, Path | None], *, show: bool) -> None:
    from c3dhash.files import write_text
    from c3dhash.recognition.over_time import as_subtitles
    from c3dhash.recognition.overlay import show_overlay, write_overlay
    from c3dhash.report.screen import Screen

    if path := outputs["overlay"]:
        write_overlay(recognition, path)
    if path := outputs["srt"]:
        write_text(path, as_subtitles(recognition.segments), errors="backslashreplace", must_be_free=True)
    if path := outputs["timeline"]:
        recognition.timeline.plot(run.class_labels, path)
    for name in ("overlay", "srt", "timeline"):
        if path := outputs[name]:
            click.echo(f"Written: {path}", err=True)
    if show:
        with Screen(recognition.video.name) as screen:
            show_overlay(recognition, screen)


def _write_people(recognitions: list[Any], path: Any) -> None:
    from c3dhash.files import write_text
    from c3dhash.recognition.boxes import as_ava

    write_text(path, as_ava(recognitions), errors="surrogateescape", must_be_free=True)
    click.echo(f"Written: {path}", err=True)


def _follow_camera(
    run: Any,
    camera: str,
    config: RecognizeConfig,
    encode: EncodeConfig,
    *,
    window_seconds: float | None,
    show: bool,
    as_json: bool,
) -> None:
    """Print what a camera sees where that changes, until it ends, its window is closed, or Ctrl-C."""
    from c3dhash.recognition.live import recognize_live
    from c3dhash.recognition.overlay import caption
    from c3dhash.report.plots import clock
    from c3dhash.report.screen import Screen

    with contextlib.ExitStack() as stack:
        screen = stack.enter_context(Screen(f"camera {camera}")) if show else None
        answers = stack.enter_context(
            contextlib.closing(
                recognize_live(run, camera, smooth=config.smooth, window_seconds=window_seconds, config=encode)
            )
        )
        label = None
        with contextlib.suppress(KeyboardInterrupt):
            for answer in answers:
                if answer.label != label:
                    label = answer.label
                    seen = {"seconds": round(answer.seconds, 2), "label": label, "score": round(answer.probability, 4)}
                    click.echo(
                        json.dumps(seen) if as_json else f"{clock(answer.seconds)}  {answer.probability:.3f}  {label}"
                    )
                if screen is not None and not screen.show(caption(answer.picture, label, answer.probability)):
                    break
