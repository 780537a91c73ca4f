"""Options and printing that several commands share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

data_option = click.option(
    "--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
    help="The data set, or the folder it lies in.",
)  # fmt: skip
model_option = click.option(
    "--model", type=click.Path(path_type=Path), default=None, help="Run directory; by default the newest finished one under runs/."
)
gallery_option = click.option(
    "--gallery", "gallery_path", type=click.Path(path_type=Path), default=Path("gallery"), show_default=True,
    help="The gallery directory.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(content: Any) -> None:
    """Print JSON on stdout."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def shown_path(path: str | Path) -> str:
    """Return a path for people: relative where it lies in or near this folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(f"..{os.sep}..") else relative


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]], *, right: tuple[int, ...] = ()) -> None:
    """Print columns; those numbered in `right` are aligned to the right."""
    widths = [max(len(str(row[column])) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        cells = [
            str(cell).rjust(width) if column in right else str(cell).ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
