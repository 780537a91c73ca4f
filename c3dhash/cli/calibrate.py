"""c3dhash gallery calibrate: what the scores of a gallery mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from c3dhash.cli.common import gallery_option, json_option, print_json, print_table
from c3dhash.cli.options import config_options, take
from c3dhash.config import EncodeConfig, QueryConfig


@click.command()
@gallery_option
@click.option(
    "--model", type=click.Path(path_type=Path), default=None,
    help="Run directory; by default the one the gallery was indexed with.",
)  # fmt: skip
@click.option("--videos", type=click.IntRange(2), default=30, show_default=True, help="How many are copied.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses these.")
@config_options(QueryConfig, only=("mirror", "any_speed"))
@config_options(EncodeConfig, only=("precision", "device", "engine"))
@json_option
def calibrate(
    gallery_path: Path, model: Path | None, videos: int, seed: int, mirror: bool, any_speed: bool, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Tell how well copies are found in a gallery, and what a score means.

    Copies videos of it in the ways in which copies go around, and searches for them. What was counted is kept in the
    gallery: `c3dhash query` then says of each hit how probable it is that it shows the same film. Copies are of up to
    30 s, lie in a temporary folder, and are deleted; nothing else in the gallery changes.
    """
    from tqdm import tqdm

    from c3dhash.gallery.copies import SURE, kinds_of, try_copies
    from c3dhash.gallery.runs import run_of
    from c3dhash.gallery.same_film import MAX_SCORE, save_same_film
    from c3dhash.gallery.store import Gallery
    from c3dhash.models.runs import find_run, load_run

    config = take(EncodeConfig, options)
    with Gallery.open(gallery_path) as opened, tqdm(desc="Copies", unit="copy", leave=False) as bar:
        bar.total = min(videos, opened.num_videos) * len(kinds_of(mirror=mirror))
        run = load_run(find_run(model)) if model else run_of(opened)
        trial = try_copies(
            run, opened, num_videos=videos, seed=seed, mirror=mirror, any_speed=any_speed, config=config,
            on_copy=bar.update,
        )  # fmt: skip
        save_same_film(gallery_path, trial.meaning, model_fingerprint=run.fingerprint)
    sure_from = next((score for score in range(MAX_SCORE + 1) if trial.meaning.precision(score) >= SURE), None)
    if as_json:
        told = {name: getattr(trial, name) for name in ("num_videos", "num_unreadable", "found", "sure")}
        precisions = [trial.meaning.precision(score) for score in range(MAX_SCORE + 1)]
        print_json({**told, "sure_from_score": sure_from, "precision_of_score": precisions})
        return
    rows = [(kind, f"{share:.2f}", f"{trial.sure[kind]:.2f}") for kind, share in trial.found.items()]
    print_table(("copy", "found first", "and surely"), rows, right=(1, 2))
    left = f"; {trial.num_unreadable} others could not be read, or are too long" if trial.num_unreadable else ""
    sure = f"from a score of {sure_from} on" if sure_from is not None else "at no score"
    click.echo(f"{trial.num_videos} videos copied{left}. {SURE:.0%} of hits are the same film {sure}.")
