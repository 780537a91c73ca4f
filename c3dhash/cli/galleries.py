"""c3dhash gallery: look after a gallery."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from c3dhash.cli.calibrate import calibrate
from c3dhash.cli.common import gallery_option, json_option, print_json, shown_path, workers_option
from c3dhash.cli.exchange import export, import_, merge
from c3dhash.cli.push import push
from c3dhash.errors import UsageError

if TYPE_CHECKING:
    from c3dhash.gallery.inventory import Inventory
    from c3dhash.gallery.verify import Verification

MAX_NAMES = 20  # of folders, bits and videos that are printed


@click.group()
def gallery() -> None:
    """Look after a gallery: what is in it, is it sound, what its scores mean; out of it, into it, and smaller."""


gallery.add_command(calibrate)
gallery.add_command(export)
gallery.add_command(import_)
gallery.add_command(merge)
gallery.add_command(push)


@gallery.command()
@gallery_option
@json_option
def info(gallery_path: Path, as_json: bool) -> None:
    """Tell what is in a gallery.

    \b
    codes    how many differ from each other, and in which share of them a bit
             is on: 0.5 says most, a dead bit (0 or 1) says nothing
    search   whether all codes are searched, or an index of some (`index --kind`),
             and which share of the nearest that found when it was built
    folders  where the videos are, and whether the folder is there now
    """
    from tqdm import tqdm

    from c3dhash.gallery.inventory import take_inventory

    with tqdm(desc="Counting", unit=" clips", leave=False, delay=1) as bar:
        inventory = take_inventory(gallery_path, on_clips=bar.update)
    if as_json:
        print_json(dataclasses.asdict(inventory))
        return
    for title, text in _lines(inventory):
        click.echo(f"{title:10}{text}")


@gallery.command()
@gallery_option
@click.option(
    "--contents", is_flag=True, help="Also read each file and compare its bytes; takes as long as copying them."
)
@workers_option
@json_option
@click.pass_context
def verify(context: click.Context, gallery_path: Path, contents: bool, workers: int, as_json: bool) -> None:
    """Check a gallery: its catalog, the codes of each video, and the files that they were made of.

    \b
    damage      the catalog is not as it was written: exit code 1
    bytes       with --contents: a file has other bytes at the size and time that
                were noted, as a disk makes them that fails: exit code 1
    gone        a file, or a whole folder, is not there now
    changed     a file has another size or time than noted; with --contents,
                other bytes
    back        the file of a missing video is there again
    unreadable  a file cannot be looked at

    What is gone, changed or back is what `c3dhash index` is for, and no fault of the gallery: exit code 0. Nothing is
    written, so that it works on a gallery that is read-only, in use, or damaged.
    """
    from tqdm import tqdm

    from c3dhash.gallery.verify import verify_gallery

    with tqdm(desc="Checking", leave=False, delay=1) as bar:

        def advance(stage: str, num: int) -> None:
            bar.set_description_str(stage, refresh=False)
            bar.update(num)

        found = verify_gallery(gallery_path, contents=contents, workers=workers, on_step=advance)
    if as_json:
        print_json({**dataclasses.asdict(found), "is_sound": found.is_sound})
    else:
        _print_verification(found, contents=contents)
    context.exit(0 if found.is_sound else 1)


def _print_verification(found: Verification, *, contents: bool) -> None:
    for finding in found.findings:
        click.echo(f"{finding.kind + ':':12}{finding.text}")
    counts = Counter(finding.kind for finding in found.findings)
    told = ", ".join(f"{num:,} {kind}" for kind, num in counts.items()) or "nothing was found"
    read = "read" if contents else "looked at"
    click.echo(f"{found.num_videos:,} videos, {found.num_clips:,} clips, {found.num_files:,} files {read}: {told}.")
    if not found.has_checksums:
        click.echo("This gallery is of an earlier c3dhash and has no checksums yet: `c3dhash index` adds them.")


@gallery.command()
@gallery_option
@json_option
def compact(gallery_path: Path, as_json: bool) -> None:
    """Make the files of a gallery smaller, where videos were removed or replaced. What is found stays the same.

    Takes room for two more copies of the catalog for a while, which is looked at first. Killed at any moment, the
    gallery is as it was, or smaller.
    """
    from c3dhash.gallery.compact import compact_gallery

    report = compact_gallery(gallery_path)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    click.echo(
        f"catalog {size(report.catalog_bytes_before)} -> {size(report.catalog_bytes_after)}, "
        f"all of '{gallery_path}' {size(report.bytes_before)} -> {size(report.bytes_after)}"
    )
    if not report.is_settled:
        click.echo("The catalog's log is still read by another process, and goes with it.")


@gallery.command()
@click.argument("videos", metavar="[VIDEO...]", nargs=-1)
@gallery_option
@click.option("--label", "labels", multiple=True, metavar="NAME", help="All videos of this label; may be repeated.")
@click.option("--folder", metavar="DIR", default=None, help="All videos in this folder, or in one below.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def remove(
    context: click.Context,
    /,
    videos: tuple[str, ...],
    gallery_path: Path,
    labels: tuple[str, ...],
    folder: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take videos out of a gallery. No file is deleted or changed.

    Names VIDEO..., or all videos that --label and --folder say together; missing ones, too. What would go is printed,
    and asked about. All of it goes, or nothing where a name is not in the gallery.

    A file that stays in a folder that is indexed is new to the next `c3dhash index` of that folder.
    """
    from c3dhash.gallery.filters import VideoFilter
    from c3dhash.gallery.removal import chosen_videos
    from c3dhash.gallery.store import Gallery

    with Gallery.open(gallery_path) as opened:
        only = VideoFilter(labels, folder) if labels or folder is not None else None
        chosen = chosen_videos(opened, videos, only=only)
        num_clips = sum(video.num_clips for video in chosen)
        if not as_json:
            for video in chosen if dry_run else chosen[:MAX_NAMES]:
                click.echo(shown_path(video.video) if video.root else video.video)
            if len(chosen) > MAX_NAMES and not dry_run:
                click.echo(f"and {len(chosen) - MAX_NAMES:,} more (--dry-run prints all)")
        what = f"{_counted(len(chosen), 'video')} with {_counted(num_clips, 'clip')}"
        if not (dry_run or yes or _is_agreed(f"Remove {what} from gallery '{gallery_path}'? No file is deleted.")):
            click.echo("Nothing was removed.")
            context.exit(1)
        if not dry_run:
            opened.remove([video.video for video in chosen])
    if as_json:
        print_json({"removed": [] if dry_run else [video.video for video in chosen],
                    "chosen": [video.video for video in chosen], "clips": num_clips})  # fmt: skip
    else:
        click.echo(f"{what} would be removed; nothing was done." if dry_run else f"Removed: {what}.")


def _is_agreed(question: str) -> bool:
    """Ask a person."""
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here, the input is no terminal: --yes removes, --dry-run shows what.")
    return click.confirm(question, err=True)


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}{'s' * (number != 1)}"


def _lines(inventory: Inventory) -> list[tuple[str, str]]:
    """Return what `info` prints: a title, or "" where a line goes on, and a text."""
    missing = ""
    if inventory.num_missing_videos:
        missing = f"; missing: {inventory.num_missing_videos:,} with {inventory.num_missing_clips:,} clips"
    labelled = sum(inventory.labels.values())
    sizes = ", ".join(f"{name} {size(num_bytes)}" for name, num_bytes in inventory.sizes_bytes.items())
    lines = [
        ("gallery", f"{shown_path(inventory.gallery)} (schema {inventory.schema})"),
        ("videos", f"{inventory.num_videos:,} with {inventory.num_clips:,} clips{missing}"),
        ("codes", _codes(inventory)),
        ("model", f"{inventory.model_name or 'no name'}, fingerprint {inventory.model_fingerprint}"),
        ("windows", _windows(inventory)),
        ("search", _search(inventory)),
        ("labels", f"{len(inventory.labels):,}, of {labelled:,} videos" if labelled else "none"),
        ("no match", f"{inventory.num_not_matches:,} noted by `duplicates --ignore`"),
        ("on disk", f"{size(sum(inventory.sizes_bytes.values()))}: {sizes}"),
    ]
    engines = [f"{name}, last on {day}" for name, day in inventory.engines.items()] or ["none noted"]
    lines += [("" if number else "engines", text) for number, text in enumerate(engines)]
    lines += [("" if number else "folders", text) for number, text in enumerate(_folders(inventory))]
    return lines


def _codes(inventory: Inventory) -> str:
    text = f"{inventory.hash_length} bits"
    if not inventory.ones:
        return text
    low, high = min(inventory.ones), max(inventory.ones)
    dead, numbers = "no dead bit", inventory.dead_bits
    if numbers:
        more = ", ..." if len(numbers) > MAX_NAMES else ""
        dead = f"{len(numbers)} dead bits ({', '.join(map(str, numbers[:MAX_NAMES]))}{more})"
    return f"{text}, {inventory.distinct_codes:,} distinct, a bit is on in {low:.2f} to {high:.2f} of them, {dead}"


def _search(inventory: Inventory) -> str:
    search = inventory.search
    asked = f" ({search.setting})" if search.setting != search.kind else ""
    if search.measured is not None:
        measured = search.measured
        return (
            f"{search.kind}{asked}, {measured.effort_name} {measured.effort}: found {measured.recall:.3f} of the "
            f"{measured.k} nearest when it was built, of {measured.num_queries} queries"
        )
    return f"exact{asked}{f'; {search.problem}' if search.problem else ''}"


def _windows(inventory: Inventory) -> str:
    windows = inventory.windows
    if not windows.get("window_seconds"):
        return "whole videos" if "window_seconds" in windows else "not noted"
    text = f"{windows['window_seconds']:g} s"
    if windows.get("stride_seconds"):
        text += f" every {windows['stride_seconds']:g} s"
    if windows.get("clips_per_window"):
        text += f", {windows['clips_per_window']} clips each"
    if windows.get("views", 1) != 1:
        text += f", in {windows['views']} views"
    return text


def _folders(inventory: Inventory) -> list[str]:
    texts = []
    for folder in inventory.folders[:MAX_NAMES]:
        name = shown_path(folder.folder) if folder.folder else "no folder (names of another program)"
        there = "" if folder.is_there or not folder.folder else ", which is not there"
        missing = f", {folder.num_missing:,} of them missing" if folder.num_missing else ""
        texts.append(f"{name}{there}: {folder.num_videos:,} videos{missing}")
    if len(inventory.folders) > MAX_NAMES:
        texts.append(f"and {len(inventory.folders) - MAX_NAMES:,} more (--json names all)")
    return texts or ["none"]


def size(num_bytes: int) -> str:
    """Return a number of bytes for people."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} bytes"
