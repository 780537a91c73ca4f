"""c3dhash duplicates."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from c3dhash.cli.common import gallery_option, json_option, print_json, print_table, shown_path, shown_stretch
from c3dhash.cli.options import config_options
from c3dhash.config import DuplicatesConfig
from c3dhash.errors import UsageError

if TYPE_CHECKING:
    from c3dhash.records import DuplicateGroup, VideoFacts


@click.command()
@gallery_option
@config_options(DuplicatesConfig)
@click.option(
    "--ignore", "ignored", nargs=2, multiple=True, metavar="VIDEO VIDEO",
    help="Remember that these two are no match, from now on; may be repeated.",
)  # fmt: skip
@click.option(
    "--forget", "forgotten", nargs=2, multiple=True, metavar="VIDEO VIDEO",
    help="Forget what --ignore remembered of these two; may be repeated.",
)  # fmt: skip
@click.option("--list-ignored", is_flag=True, help="Only list the pairs that are remembered as no match, for --forget.")
@json_option
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path), default=None, help="Also write a table, a row a file."
)
@click.option(
    "--html", "html_path", type=click.Path(path_type=Path), default=None, help="Also write a page with pictures."
)
@click.option(
    "--print-paths", is_flag=True,
    help="Print only the files of which another one holds nearly all: a path a line, for other programs.",
)  # fmt: skip
def duplicates(
    *,
    gallery_path: Path,
    radius: int | None,
    reference: str | None,
    mirror: bool,
    ignored: Sequence[tuple[str, str]],
    forgotten: Sequence[tuple[str, str]],
    list_ignored: bool,
    as_json: bool,
    csv_path: Path | None,
    html_path: Path | None,
    print_paths: bool,
) -> None:
    """Find the videos of a gallery that show the same, as copies or in parts. No file is ever deleted.

    Two videos match where segments of them agree by more than chance would make in a gallery of this size. That takes
    several windows: to look for copies, index without labels, with --hash-length 256 --window-seconds 2
    --stride-seconds 1. Each member of a group matches its best file, the one that is advised to be kept.
    """
    config = DuplicatesConfig(radius, reference, mirror)
    if as_json and print_paths:
        raise UsageError("--json and --print-paths both say what is printed: leave out one of them.")
    if list_ignored and (config != DuplicatesConfig() or csv_path or html_path or print_paths):
        raise UsageError("--list-ignored compares nothing: with it go --ignore, --forget and --json alone.")

    from tqdm import tqdm

    from c3dhash.gallery.duplicates import find_duplicates, note_not_match, noted_not_matches, redundant
    from c3dhash.gallery.store import Gallery

    with Gallery.open(gallery_path) as gallery:
        for pairs, is_match in ((ignored, False), (forgotten, True)):
            for video, other in pairs:
                note_not_match(gallery, video, other, is_match=is_match)
        if list_ignored:
            _print_ignored(noted_not_matches(gallery), as_json=as_json)
            return
        with tqdm(total=gallery.num_videos, desc="Comparing", unit="video", leave=False) as bar:
            groups = find_duplicates(
                gallery, radius=config.radius, reference=config.reference, mirror=config.mirror, on_video=bar.update
            )
    if csv_path is not None:
        _write_table(csv_path, groups)
    if html_path is not None:
        from c3dhash.report.pages import write_duplicates_page

        write_duplicates_page(html_path, groups=groups, gallery_name=str(gallery_path))
    if print_paths:
        for path in redundant(groups):
            click.echo(path)
    elif as_json:
        print_json([dataclasses.asdict(group) for group in groups])
    else:
        _print_groups(groups, radius)
        for written in (csv_path, html_path):
            if written is not None:
                click.echo(f"Written: {written}")


def _print_groups(groups: Sequence[DuplicateGroup], radius: int | None) -> None:
    if not groups:
        click.echo("No videos match." if radius is None else f"No videos match within {radius} bits.")
        return
    header = ("score", "relation", "of the best", "segment", "picture, length, rate", "video")
    rows: list[tuple[str, ...]] = []
    for group in groups:
        rows.append(("", "best", "", "", _told(group.facts), shown_path(group.best)))
        for member in group.members:
            first = member.segments[0]
            more = f" +{len(member.segments) - 1}" if len(member.segments) > 1 else ""
            rows.append((
                f"{member.score:.1f}",
                member.relation + (", mirrored" if member.is_mirrored else ""),
                shown_stretch(first.query_start_seconds, first.query_end_seconds) + more,
                shown_stretch(first.start_seconds, first.end_seconds),
                _told(member.facts),
                shown_path(member.video),
            ))  # fmt: skip
        rows.append(("",) * len(header))
    print_table(header, rows[:-1], right=(0, 2, 3))
    num_members = sum(len(group.members) for group in groups)
    click.echo(f"\n{len(groups)} groups, {num_members} matches. Nothing was changed.")


def _print_ignored(pairs: Sequence[tuple[str | None, str | None]], *, as_json: bool) -> None:
    if as_json:
        print_json([list(pair) for pair in pairs])
    elif not pairs:
        click.echo("No pair is remembered as no match: --ignore VIDEO VIDEO does that.")
    else:
        rows = [
            tuple("not in the gallery now" if path is None else shown_path(path) for path in pair) for pair in pairs
        ]
        print_table(("no match", "with"), rows)


def _told(facts: VideoFacts) -> str:
    """Return facts for people."""
    if not facts.width_px:
        return "cannot be read"
    return f"{facts.width_px}x{facts.height_px} {facts.duration_seconds:.1f} s {facts.bit_rate_bits / 1000:.0f} kbit/s"


def _write_table(path: Path, groups: Sequence[DuplicateGroup]) -> None:
    from c3dhash.files import write_text
    from c3dhash.records import VideoFacts

    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    names = (item.name for item in dataclasses.fields(VideoFacts))
    rows.writerow(("group", "video", "relation", "score", *names, "is_mirrored"))
    for number, group in enumerate(groups, 1):
        rows.writerow((number, group.best, "best", "", *dataclasses.astuple(group.facts), ""))
        for member in group.members:
            facts = dataclasses.astuple(member.facts)
            rows.writerow((number, member.video, member.relation, member.score, *facts, int(member.is_mirrored)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.getvalue())
