"""What is found out about a video, printed and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from c3dhash.cli.common import print_table, shown_path


def as_dict(recognition: Any, top: int) -> dict[str, Any]:
    """Return what JSON holds of one video; one that could not be read has a reason."""
    content: dict[str, Any] = {
        "video": str(recognition.video),
        f"top{top}": [dataclasses.asdict(prediction) for prediction in recognition.top],
    }
    if recognition.people is not None:
        del content[f"top{top}"]
        content["people"] = [_person_as_dict(person, top) for person in recognition.people]
    if recognition.segments is not None:
        content["segments"] = [dataclasses.asdict(segment) for segment in recognition.segments]
    return content if recognition.error is None else {**content, "reason": str(recognition.error)}


def _person_as_dict(person: Any, top: int) -> dict[str, Any]:
    boxes = zip(person.track.seconds.round(3).tolist(), person.track.boxes.round(1).tolist(), strict=True)
    return {
        "id": int(person.track.id) if person.track.id.isdecimal() else person.track.id,
        f"top{top}": [dataclasses.asdict(prediction) for prediction in person.top],
        "segments": [dataclasses.asdict(segment) for segment in person.segments],
        "boxes": [dict(zip(("seconds", "x0", "y0", "x1", "y1"), (time, *box), strict=True)) for time, box in boxes],
    }


def print_recognition(recognition: Any) -> None:
    click.echo(shown_path(recognition.video))
    if recognition.error is not None:
        click.echo(f"   failed: {recognition.error}")
    for prediction in recognition.top:
        click.echo(f"   {prediction.probability:.3f}  {prediction.label}")
    if recognition.people is not None and not recognition.people:
        click.echo("   nobody was found")
    of_each = [(person.track.id, person.segments) for person in recognition.people or ()]
    if recognition.segments:
        of_each = [("", recognition.segments)]
    if of_each:
        from c3dhash.report.plots import clock

        rows = [
            (clock(segment.start_seconds), clock(segment.end_seconds), f"{segment.score:.3f}", segment.label, number)
            for number, segments in of_each
            for segment in segments
        ]
        columns = ("   start", "end", "score", "label", "person")[: 4 + (recognition.people is not None)]
        click.echo()
        print_table(columns, [row[: len(columns)] for row in rows], right=(0, 1, 2))
