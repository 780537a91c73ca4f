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
    print_json,
    print_table,
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
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for report.html, report.json, codes.npz and the plot.",
)
@click.pass_context
def evaluate(
    context: click.Context,
    /,
    codes_path: Path | None,
    model: Path | None,
    data: Path,
    split: int | None,
    as_json: bool,
    out: Path | None,
    **options: Any,
) -> None:
    """Report mAP and the rest, from a run and a data set or from a codes file.

    Queries are the query (test) videos; they are searched for in the gallery split, or in the training videos where
    there is none.
    """  # fmt: skip
    config = take(EvaluateConfig, options)

    from c3dhash.evaluation.comparison import describe_comparison
    from c3dhash.evaluation.evaluate import claim_report, describe, evaluate_codes, write_report

    if out is not None:
        claim_report(out)
    if codes_path is not None:
        for name in context.params.keys() - {"codes_path", "k", "radius", "as_json", "out"}:
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise UsageError(f"--codes holds codes and labels: leave out --{name.replace('_', '-')}.")
        from c3dhash.evaluation.codes import load_codes

        report = evaluate_codes(load_codes(codes_path), config=config, title=str(codes_path))
    else:
        report = _evaluate_run(model, data, split, config, options)
    if out is not None:
        click.echo(f"Report: {write_report(report, out)}", err=True)
    if as_json:
        print_json(report.numbers)
    else:
        print_table(("metric", "value"), describe(report.numbers))
        if "comparison" in report.numbers:
            click.echo()
            print_table(*describe_comparison(report.numbers["comparison"]), right=(1, 2, 3, 4))


def _evaluate_run(
    model: Path | None, data: Path, split: int | None, config: EvaluateConfig, options: dict[str, Any]
) -> Any:
    from c3dhash.evaluation.evaluate import evaluate_run
    from c3dhash.models.runs import find_run, load_run
    from c3dhash.video.cache import open_cache
    from c3dhash.video.clips import ClipReader

    encode_config, cache_config = take(EncodeConfig, options), take(CacheConfig, options)
    run = load_run(find_run(model))
    dataset = open_dataset(
        data,
        split=run.config.get("split", 1) if split is None else split,
        format=options["format"],
        allow_missing=options["allow_missing"],
    )
    cache = open_cache(cache_config)
    reader = ClipReader.of_network(
        run.model.clip_size, run.model.preprocessing, cache, clips_per_window=encode_config.clips_per_window,
        views=encode_config.views,
    )  # fmt: skip
    return evaluate_run(run, dataset, reader=reader, config=config, encode=encode_config)
