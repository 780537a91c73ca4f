"""c3dhash train."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import allow_missing_option, data_option, format_option, offline_option, open_dataset, was_given
from c3dhash.cli.options import config_options, take
from c3dhash.cli.processes import is_first, is_one_of_several, is_restarted, keep_quiet
from c3dhash.config import CacheConfig, TrainConfig
from c3dhash.errors import CheckpointError, UsageError


@click.command()
@data_option
@format_option
@allow_missing_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Run directory to write; by default a new one under runs/.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    default=None,
    help="Go on with an interrupted run; its own settings hold.",
)
@config_options(TrainConfig)
@config_options(CacheConfig)
@offline_option
@click.pass_context
def train(context: click.Context, /, data: Path, out: Path | None, resume: Path | None, **options: Any) -> None:
    """Train a hash head and a class head on a data set.

    Writes runs/NAME/ with model.safetensors, config.json, labels.txt, metrics.jsonl, curves.png and TensorBoard
    events. Ctrl-C leaves a run that --resume takes up again. On several GPUs or machines:
    torchrun --nproc-per-node N -m c3dhash train --out RUN.
    """
    keep_quiet()
    cache_config = take(CacheConfig, options)
    if resume is not None:
        content = _content_of(resume, context)
        if content["finished"]:
            if is_first():
                click.echo(f"'{resume}' is finished already.")
            return
        options, data = content, Path(content["data"])
    config = take(TrainConfig, options)

    from c3dhash.training.start import can_resume
    from c3dhash.training.train import train_run
    from c3dhash.video.cache import open_cache

    dataset = open_dataset(data, split=config.split, format=options["format"], allow_missing=options["allow_missing"])
    if is_one_of_several() and not (resume or out):
        raise UsageError("several processes need --out RUN, a folder that they share and that a restart finds again.")
    run_dir = resume or out or _new_run_dir(config)
    if resume is None and not is_restarted() and (run_dir / "config.json").exists():
        raise UsageError(f"'{run_dir}' holds a run already: go on with --resume {run_dir}, or choose another --out.")
    cache = open_cache(cache_config)
    try:
        goes_on = None if resume is None and is_restarted() else resume is not None
        train_run(dataset, config, run_dir=run_dir, cache=cache, resume=goes_on)
    except KeyboardInterrupt:
        way_on = (
            f"Go on with: c3dhash train --resume {run_dir}" if can_resume(run_dir) else "Type the same command again."
        )
        click.echo(f"\nc3dhash: interrupted. {way_on}", err=True)
        context.exit(130)
    if is_first():
        _print_summary(run_dir)


def _content_of(run_dir: Path, context: click.Context) -> dict[str, Any]:
    """Read the config.json of a run to resume, after seeing that no other settings were given."""
    given = [
        name for name in context.params
        if name not in {"resume", *(item.name for item in dataclasses.fields(CacheConfig))}
        and was_given(context, name)
    ]  # fmt: skip
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"--resume takes the settings of the run: leave out {flags}.")
    try:
        content = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
        return {**content, "finished": content["finished"], "data": content["data"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"'{run_dir}' is no run that can be resumed: {error}.") from error


def _new_run_dir(config: TrainConfig) -> Path:
    bits = f"-{config.hash_length}bit" if config.has_hash_head else ""
    name = f"{config.backbone}{bits}-{time.strftime('%Y%m%d-%H%M%S')}"
    taken = sum(path.name.startswith(name) for path in Path("runs").glob(f"{name}*"))
    return Path("runs") / (f"{name}-{taken + 1}" if taken else name)


def _print_summary(run_dir: Path) -> None:
    content = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    metric, value = content["best_metric"], content["best_value"]
    score = "no val score" if metric is None else f"{metric.replace('_', ' ')} {value:.3f}"
    refit = ", then trained on the val videos, too" if content.get("is_refit") else ""
    click.echo(f"Best epoch {content['best_epoch']} of {content['epochs']}, {score}{refit}: {run_dir}")
