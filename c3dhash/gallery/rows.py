"""Entries <-> rows of a table, one a clip; a video without clips is a row without times and code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from c3dhash.errors import CodesError
from c3dhash.gallery.entries import VIDEO_FIELDS, Entry

CLIP_FIELDS = ("start_seconds", "end_seconds", "code")
COLUMNS = (*VIDEO_FIELDS, *CLIP_FIELDS)
REQUIRED = ("video", *CLIP_FIELDS)


def rows_of(entry: Entry) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a video, in the order of COLUMNS; None where there is nothing."""
    facts = tuple(getattr(entry, name) for name in VIDEO_FIELDS)
    if not len(entry.codes):
        yield (*facts, None, None, None)
    times = zip(entry.start_seconds.tolist(), entry.end_seconds.tolist(), strict=True)
    for (start_seconds, end_seconds), code in zip(times, entry.codes, strict=True):
        yield (*facts, start_seconds, end_seconds, code.tobytes())


def check_columns(columns: Iterable[str], *, path: object, required: Iterable[str] = REQUIRED) -> None:
    """Raise unless a file has the columns that it must have, each once, and no other ones."""
    columns = list(columns)
    missing = [name for name in required if name not in columns]
    strange = [name for name in columns if name not in COLUMNS]
    if missing or strange or len(set(columns)) != len(columns):
        what = f"no column {missing[0]!r}" if missing else f"the column {strange[0]!r}" if strange else "a column twice"
        raise CodesError(
            f"'{path}' has {what}; it must have {', '.join(REQUIRED)} and may have "
            f"{', '.join(name for name in VIDEO_FIELDS if name != 'video')}."
        )


def entries_of(rows: Iterable[tuple[str, dict[str, Any]]], *, path: object) -> Iterator[Entry]:
    """Join the rows of each video, which follow each other.

    Args:
        rows: where each is in the file, for messages; and its values: texts, whole numbers, times as float and the code
            as bytes, None where there is nothing. Columns that are not required may be left out.
    Raises:
        CodesError: a video is there twice, or its rows do not agree, or have no sense.
    """
    block = _Block()
    seen: set[str] = set()
    width: int | None = None
    for where, row in rows:
        video = row["video"]
        if not video:
            raise CodesError(f"'{path}' has no name of a video in {where}: give one.")
        if video != block.video:
            if block.video is not None:
                yield block.entry()
            if video in seen:
                raise CodesError(f"'{path}' has video {video!r} again in {where}: its rows must follow each other.")
            seen.add(video)
            block = _Block(video, {name: row.get(name) for name in VIDEO_FIELDS})
        if row["code"] is not None:
            width = width or len(row["code"])
            if len(row["code"]) != width:
                raise CodesError(
                    f"'{path}' has a code of {len(row['code'])} bytes in {where}, after some of {width}: use one."
                )
        block.add(row, path=path, where=where)
    if block.video is not None:
        yield block.entry()


class _Block:
    """The rows of a video as they come."""

    def __init__(self, video: str | None = None, facts: dict[str, Any] | None = None) -> None:
        self.video, self._facts = video, facts or {}
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._codes: list[bytes] = []
        self._num_rows = 0

    def add(self, row: dict[str, Any], *, path: object, where: str) -> None:
        for name, value in self._facts.items():
            if row.get(name) != value:
                raise CodesError(
                    f"'{path}' says {name} {row.get(name)!r} of video {self.video!r} in {where}, and {value!r} before."
                )
        given = [row[name] is not None for name in CLIP_FIELDS]
        is_alone = not self._num_rows
        self._num_rows += 1
        if not any(given) and is_alone:
            return
        if not all(given) or self._num_rows > len(self._codes) + 1:
            raise CodesError(
                f"'{path}' has a clip in {where} without one of {', '.join(CLIP_FIELDS)}, or after a row without: give "
                "all of them."
            )
        start_seconds, end_seconds, code = (row[name] for name in CLIP_FIELDS)
        check_times(start_seconds, end_seconds, path=path, where=where)
        self._starts.append(start_seconds)
        self._ends.append(end_seconds)
        self._codes.append(code)

    def entry(self) -> Entry:
        width = len(self._codes[0]) if self._codes else 0
        codes = np.frombuffer(b"".join(self._codes), np.uint8).reshape(len(self._codes), width)
        facts = {name: value for name, value in self._facts.items() if value is not None}
        return Entry(codes=codes, start_seconds=np.array(self._starts), end_seconds=np.array(self._ends), **facts)


def check_times(start_seconds: float, end_seconds: float, *, path: object, where: str) -> None:
    """Raise unless a clip starts and ends at finite times, and not before it starts."""
    if not -np.inf < start_seconds <= end_seconds < np.inf:
        raise CodesError(
            f"'{path}' has a clip from {start_seconds} to {end_seconds} seconds in {where}; times must be numbers, and "
            "no end before its start."
        )
