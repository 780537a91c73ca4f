"""Entries <-> a CSV file: UTF-8, a row a clip, hexadecimal codes; the header is JSON behind # in the first line."""

from __future__ import annotations

import binascii
import contextlib
import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from c3dhash.errors import CodesError
from c3dhash.gallery.entries import Entry, Header
from c3dhash.gallery.rows import COLUMNS, check_columns, entries_of, rows_of

MARK = "# "


def write(path: Path, header: Header, entries: Iterable[Entry]) -> None:
    """Write a file, a video at a time."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"{MARK}{json.dumps(header.to_dict())}\r\n")
        rows = csv.writer(file)  # whose lines end in \r\n, and so it quotes both
        rows.writerow(COLUMNS)
        for entry in entries:
            for *facts, start_seconds, end_seconds, code in rows_of(entry):
                times = ("" if code is None else repr(start_seconds), "" if code is None else repr(end_seconds))
                rows.writerow((*facts, *times, "" if code is None else code.hex()))


def read_header(path: Path) -> Header | None:
    """Return the header of a file; None where it has none, as files of other programs."""
    with _errors(path), path.open(encoding="utf-8-sig", newline="") as file:
        return _take_header(file, path)


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the videos of a file, in its order.

    Raises:
        CodesError: it is malformed; told where.
    """
    with _errors(path), path.open(encoding="utf-8-sig", newline="") as file:
        num_before = 0 if _take_header(file, path) is None else 1
        rows = csv.reader(file, strict=True)
        columns = next(rows, [])
        check_columns(columns, path=path)
        yield from entries_of(_rows(rows, columns, path, num_before), path=path)


def _take_header(file: TextIO, path: Path) -> Header | None:
    first = file.readline()
    if not first.startswith(MARK):
        file.seek(0)
        return None
    try:
        content = json.loads(first.removeprefix(MARK))
    except ValueError as error:
        raise CodesError(f"'{path}' has a first line behind '#' that is no JSON ({error}): export it again.") from error
    return Header.from_dict(content, path=path)


def _rows(rows: Any, columns: list[str], path: Path, num_before: int) -> Iterator[tuple[str, dict[str, Any]]]:
    parsers = [(name, *_PARSE.get(name, (_text, "text"))) for name in columns]
    for values in rows:
        where = f"line {rows.line_num + num_before}"
        if len(values) != len(columns):
            raise CodesError(f"'{path}' has {len(values)} columns in {where}, {len(columns)} in its first row.")
        row: dict[str, Any] = {}
        for (name, parse, what), value in zip(parsers, values, strict=True):
            try:
                row[name] = parse(value) if value else None
            except ValueError as error:
                raise CodesError(f"'{path}' has {name} {value[:60]!r} in {where}; it must be {what}.") from error
        yield where, row


def _text(value: str) -> str:
    return value


def _whole(value: str) -> int:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(number)
    return number


_PARSE: dict[str, tuple[Callable[[str], Any], str]] = {
    "size_bytes": (_whole, "a whole number of 64 bits"),
    "mtime_ns": (_whole, "a whole number of 64 bits"),
    "start_seconds": (float, "a number"),
    "end_seconds": (float, "a number"),
    "code": (binascii.unhexlify, "hexadecimal digits, two a byte"),
}  # and what a value must be; all other columns are texts


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn what Python says of a file that is no such table into a CodesError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise CodesError(f"'{path}' is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8.") from error
    except csv.Error as error:
        raise CodesError(f"'{path}' is no CSV file ({error}): look at its quotes.") from error
