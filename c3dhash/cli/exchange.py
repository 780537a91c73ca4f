"""c3dhash gallery export, import, merge: the content of a gallery as a file, or in another gallery."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from c3dhash.cli.common import gallery_option, json_option, print_json

if TYPE_CHECKING:
    from c3dhash.gallery.intake import Intake


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@gallery_option
@json_option
@click.pass_context
def export(context: click.Context, path: Path, gallery_path: Path, as_json: bool) -> None:
    """Write all that a gallery knows as a new FILE.csv, FILE.npz or FILE.parquet.

    That is every video, missing ones too, with label, folder and content hash, the times and the code of each clip,
    and by which model and in which windows they were made; `c3dhash gallery import` makes a gallery of it. Parquet
    needs the extra `parquet`: pip install 'c3dhash[parquet]'.

    Of a damaged gallery what can be read is saved, and what is lost is told; the exit code is then 1. A video of which
    codes are lost or changed keeps the rest, but not its content hash, so that `c3dhash index` encodes it again.
    """
    from tqdm import tqdm

    from c3dhash.gallery.exports import export_gallery

    with tqdm(desc="Exporting", unit=" videos", leave=False, delay=1) as bar:
        report = export_gallery(gallery_path, path, on_video=bar.update)
    if as_json:
        print_json({"path": str(path), **dataclasses.asdict(report)})
    else:
        click.echo(f"{path}: {report.num_videos:,} videos, {report.num_clips:,} clips.")
        for video, text in report.losses.videos.items():
            click.echo(f"damaged: '{video}': {text}")
        for place in report.losses.places:
            click.echo(f"damaged: {place} cannot be read")
        if report.losses:
            click.echo(f"At least {report.losses.num_clips:,} clips are lost. Import the file into another folder, and "
                       "index the videos again.")  # fmt: skip
    context.exit(1 if report.losses else 0)


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@gallery_option
@click.option(
    "--model-fingerprint", metavar="NAME", default=None,
    help="Which model made the codes, by any name, where FILE does not say.",
)  # fmt: skip
@click.option(
    "--hash-length", type=int, metavar="N", default=None,
    help="Bits of a code, where FILE does not say; by default those of the gallery, else all of its bytes.",
)  # fmt: skip
@click.option("--replace", is_flag=True, help="Take FILE's codes of videos that the gallery has with others.")
@json_option
@click.pass_context
def import_(
    context: click.Context,
    path: Path,
    gallery_path: Path,
    model_fingerprint: str | None,
    hash_length: int | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Add the videos of FILE (.csv, .npz, .parquet) to a gallery, which is made where there is none.

    FILE is what `c3dhash gallery export` wrote, or has the codes of any other method. Then a CSV or Parquet file needs
    the columns video, start_seconds, end_seconds and code (hexadecimal digits; bytes in Parquet), a row a clip, those
    of a video one after the other; an .npz file the arrays video, start_seconds, end_seconds and codes (uint8, as
    numpy.packbits packs). label, content_hash, root, size_bytes, mtime_ns, added_at and missing_since may be there.

    What the gallery has already is left as it is. A video that it has with other codes is refused, and told; the exit
    code is then 1. A malformed file is refused as a whole. Interrupted, the same command goes on.
    """
    from tqdm import tqdm

    from c3dhash.gallery.imports import import_file

    with tqdm(unit=" videos", leave=False, delay=1) as bar:

        def advance(stage: str) -> None:
            bar.set_description_str(stage, refresh=False)
            bar.update()

        intake = import_file(
            gallery_path, path, model_fingerprint=model_fingerprint, hash_length=hash_length, replace=replace,
            on_step=advance,
        )  # fmt: skip
    context.exit(show_intake(intake, gallery_path, as_json=as_json))


def show_intake(intake: Intake, gallery_path: Path, *, as_json: bool) -> int:
    """Print what came into a gallery; return the exit code."""
    if as_json:
        print_json(dataclasses.asdict(intake))
    else:
        click.echo(
            f"{intake.added:,} added, {intake.replaced:,} replaced, {intake.unchanged:,} unchanged, "
            f"{len(intake.conflicts):,} refused; {intake.clips:,} clips were written into gallery '{gallery_path}'."
        )
        for conflict in intake.conflicts:
            click.echo(f"refused: {conflict}")
        if intake.conflicts:
            click.echo("--replace takes the others in their place.")
    return 1 if intake.conflicts else 0


@click.command()
@click.argument("others", metavar="OTHER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@gallery_option
@click.option("--replace", is_flag=True, help="Take OTHER's codes of files that the gallery has with others.")
@json_option
@click.pass_context
def merge(
    context: click.Context, /, others: tuple[Path, ...], gallery_path: Path, replace: bool, as_json: bool
) -> None:
    """Take the videos of the galleries OTHER... into a gallery.

    They must be of the same model, length and windows. They are only read. Labels, the notes of `duplicates --ignore`
    and what computed the codes come along; folders are those where OTHER finds its videos now. A file that both have is
    there once; one that both have with other codes or another content is refused, and told, and the exit code is 1.
    Interrupted, the same command goes on.
    """
    from tqdm import tqdm

    from c3dhash.gallery.merge import merge_galleries
    from c3dhash.gallery.store import Gallery

    with Gallery.open(gallery_path) as opened, tqdm(desc="Merging", unit=" videos", leave=False, delay=1) as bar:
        intake = merge_galleries(opened, others, replace=replace, on_video=bar.update)
    context.exit(show_intake(intake, gallery_path, as_json=as_json))
