"""What a query found, printed and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from c3dhash.cli.common import print_json, print_table, shown_path, shown_stretch
from c3dhash.config import QueryConfig

if TYPE_CHECKING:
    from c3dhash.records import Hit

COLUMNS = ("rank", "score", "same film", "distance", "same class", "query", "of the query", "segment", "label", "video")


def print_answers(answers: Iterable[tuple[Path, Any]], config: QueryConfig, *, as_json: bool) -> bool:
    """Print the answers to several queries, each as it is known; tell whether all could be read."""
    is_good, rows = True, []
    try:
        for video, answer in answers:
            error = answer if isinstance(answer, Exception) else None
            is_good = is_good and error is None
            if as_json:
                hits = [] if error else list(map(dataclasses.asdict, answer))
                rows.append({"query": str(video), "hits": hits, "error": str(error) if error else None})
            elif error is not None:
                click.echo(f"{video}\n{error}\n")
            else:
                click.echo(video)
                print_hits(answer, config)
                click.echo()
    finally:  # what is known is told, also where it ends early
        if as_json:
            print_json(rows)
    return is_good


def print_hits(hits: list[Hit], config: QueryConfig) -> None:
    """Print the answer to a query as a table."""
    if not hits:
        click.echo("Nothing was found." if config.radius is None else f"Nothing was found within {config.radius} bits.")
        return
    rows = [row for hit in hits for row in _rows(hit)]
    is_shown = {
        "same film": any(hit.same_film is not None for hit in hits),
        "same class": any(hit.precision is not None for hit in hits),
        "query": config.mirror or config.any_speed,
    }
    columns = [place for place, name in enumerate(COLUMNS) if is_shown.get(name, True)]
    table = [tuple(row[place] for place in columns) for row in [COLUMNS, *rows]]
    print_table(table[0], table[1:], right=tuple(range(len(columns) - 2)))


def _rows(hit: Hit) -> list[tuple[str, ...]]:
    """Return the lines of a hit, of COLUMNS: one a segment, and what is said of the video in the first."""
    precision, same_film = ("" if share is None else f"{share:.0%}" for share in (hit.precision, hit.same_film))
    of_video, of_nothing = (hit.label or "", shown_path(hit.video)), ("", "")
    if not hit.segments:
        place = shown_stretch(hit.start_seconds, hit.end_seconds)
        return [
            (
                str(hit.rank),
                f"{hit.score:.1f}",
                same_film,
                str(hit.distance),
                precision,
                _mark(hit),
                "",
                place,
                *of_video,
            )
        ]
    return [
        (
            "" if number else str(hit.rank),
            f"{segment.score:.1f}",
            "" if number else same_film,
            str(segment.distance),
            "" if number else precision,
            _mark(hit, segment.speed),
            shown_stretch(segment.query_start_seconds, segment.query_end_seconds),
            shown_stretch(segment.start_seconds, segment.end_seconds),
            *(of_nothing if number else of_video),
        )
        for number, segment in enumerate(hit.segments)
    ]


def _mark(hit: Hit, speed: float = 1.0) -> str:
    """Say what the query is of what was found."""
    return ", ".join(["mirrored"] * hit.is_mirrored + [f"{speed:.2f} x"] * (speed != 1))
