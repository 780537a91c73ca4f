"""c3dhash evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import (
    allow_missing_option,
    data_option,
    format_option,
    json_option,
    model_option,
    open_dataset,
    open_runs,
    print_json,
    print_table,
    published_options,
    refuse_given,
    runs_option,
)
from c3dhash.cli.options import config_options, take
from c3dhash.config import CacheConfig, EncodeConfig, EvaluateConfig
from c3dhash.errors import UsageError


@click.command()
@click.option(
    "--codes",
    "codes_path",
    type=click.Path(path_type=Path),
    default=None,
    help="Score the codes of this .npz file; needs no run.",
)
@model_option
@runs_option
@published_options
@data_option
@format_option
@allow_missing_option
@click.option(
    "--split", type=int, default=None, metavar="N", help="Official split of the data set; by default the run's."
)
@config_options(EvaluateConfig)
@config_options(
    EncodeConfig, only=("clips_per_window", "views", "batch_size", "precision", "device", "engine", "workers")
)
@config_options(CacheConfig)
@json_option
@click.option(
    "--predictions",
    "predictions_path",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE.csv",
    help="With --task classify, write a line a video: its label, and the first classes with their probabilities.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for report.html, report.json, plots, and codes.npz or predictions.csv.",
)
@click.pass_context
def evaluate(
    context: click.Context,
    /,
    codes_path: Path | None,
    model: Path | None,
    runs: tuple[Path, Path] | None,
    backbone: str | None,
    weights: str | None,
    data: Path,
    split: int | None,
    as_json: bool,
    predictions_path: Path | None,
    out: Path | None,
    **options: Any,
) -> None:
    """Report mAP and the rest, from a run and a data set or from a codes file; or how well classes are recognised.

    Queries are the query (test) videos, or the val videos where there are none; they are searched for in the gallery
    split, or in the training videos where there is none. With --task classify they are recognised, and nothing is
    searched.
    """  # fmt: skip
    config, encode, cache = take(EvaluateConfig, options), take(EncodeConfig, options), take(CacheConfig, options)

    from c3dhash.evaluation.evaluate import claim_report

    if codes_path is not None:
        of_codes = {"codes_path", "k", "radius", "as_json", "out"}
        refuse_given(context, context.params.keys() - of_codes, why="--codes holds codes and labels")
        if out is not None:
            claim_report(out)
        _evaluate_codes(codes_path, config, out=out, as_json=as_json)
        return
    opened = open_runs(context, runs, model=model, backbone=backbone, weights=weights)
    has_codes = all(run.model.hash_head is not None for run in opened)
    is_classified = config.task == "classify" or (config.task is None and not has_codes)
    if is_classified:
        refuse_given(context, ("k", "radius", "compare", "calibrate"), why="--task classify searches nothing")
    else:
        refuse_given(context, ("predictions_path", "average"), why="this is of --task classify")
        if any(run.model.class_head is None for run in opened):
            refuse_given(context, ("fuse",), why="codes lie beside each other, and there are no class scores to join")
    if out is not None:
        claim_report(out)
    if predictions_path is not None:
        from c3dhash.files import require_free

        require_free(predictions_path)
    dataset = open_dataset(
        data,
        split=opened[0].config.get("split", 1) if split is None else split,
        format=options["format"],
        allow_missing=options["allow_missing"],
    )
    from c3dhash.evaluation.evaluate import evaluate_run
    from c3dhash.evaluation.evaluate_classes import evaluate_classes

    readers = [_reader(run, config, encode, cache) for run in opened]
    if is_classified:
        classes = evaluate_classes(opened, dataset, reader=readers, config=config, encode=encode)
        _print_classes(classes, out=out, predictions_path=predictions_path, as_json=as_json)
    else:
        if len(opened) > 1:
            refuse_given(context, ("calibrate",), why="what distances mean is kept with one run, and --runs names two")
        report = evaluate_run(opened, dataset, reader=readers, config=config, encode=encode)
        _print_search(report, out=out, as_json=as_json)
        if config.calibrate:
            _calibrate(opened[0], report, dataset)


def _calibrate(run: Any, report: Any, dataset: Any) -> None:
    """Keep with a run what its distances mean."""
    from c3dhash.evaluation.counts import calibrate
    from c3dhash.models.calibration import CALIBRATION_FILE, save_calibration

    about = f"{report.numbers['num_queries']} queries in {report.numbers['num_gallery']} videos of {dataset.directory}"
    calibration = calibrate(report.counts, measured_on=about)
    if calibration is None:
        raise UsageError(f"--calibrate needs pairs of one class and of two, and '{dataset.directory}' has not both.")
    save_calibration(run.path, calibration)
    click.echo(f"What distances mean: {run.path / CALIBRATION_FILE}", err=True)


def _reader(run: Any, config: EvaluateConfig, encode: EncodeConfig, cache: CacheConfig) -> Any:
    """Make a reader of what a run reads."""
    from c3dhash.video.cache import open_cache
    from c3dhash.video.clips import ClipReader

    return ClipReader.of_network(
        run.model.clip_size, run.model.preprocessing, open_cache(cache),
        clips_per_window=encode.clips_per_window, views=encode.views, crops=config.crops,
    )  # fmt: skip


def _evaluate_codes(path: Path, config: EvaluateConfig, *, out: Path | None, as_json: bool) -> None:
    from c3dhash.evaluation.codes import load_codes
    from c3dhash.evaluation.evaluate import evaluate_codes

    _print_search(evaluate_codes(load_codes(path), config=config, title=str(path)), out=out, as_json=as_json)


def _print_classes(report: Any, *, out: Path | None, predictions_path: Path | None, as_json: bool) -> None:
    from c3dhash.evaluation.class_report import (
        describe_confused,
        describe_numbers,
        describe_runs,
        describe_thresholds,
        write_class_report,
        write_predictions,
    )
    from c3dhash.evaluation.classification import describe_classes

    if predictions_path is not None:
        write_predictions(report, predictions_path)
        click.echo(f"Predictions: {predictions_path}", err=True)
    if out is not None:
        click.echo(f"Report: {write_class_report(report, out)}", err=True)
    if as_json:
        print_json(report.numbers)
        return
    header, rows = describe_classes(report.numbers["report"])
    print_table(header, rows, right=(1, 2, 3, 4))
    if confused := describe_confused(report.numbers):
        click.echo()
        print_table(("class", "taken for", "videos"), confused, right=(2,))
    if "thresholds" in report.numbers:
        click.echo()
        print_table(*describe_thresholds(report.numbers), right=(0, 1, 2, 3, 4))
    click.echo()
    print_table(("metric", "value"), describe_numbers(report.numbers))
    if "runs" in report.numbers:
        click.echo()
        print_table(*describe_runs(report.numbers), right=(1, 2))


def _print_search(report: Any, *, out: Path | None, as_json: bool) -> None:
    from c3dhash.evaluation.comparison import describe_comparison
    from c3dhash.evaluation.evaluate import describe, write_report

    if out is not None:
        click.echo(f"Report: {write_report(report, out)}", err=True)
    if as_json:
        print_json(report.numbers)
        return
    print_table(("metric", "value"), describe(report.numbers))
    if "comparison" in report.numbers:
        click.echo()
        print_table(*describe_comparison(report.numbers["comparison"]), right=(1, 2, 3, 4))
