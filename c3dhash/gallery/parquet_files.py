"""Entries <-> a Parquet file: a row a clip, codes as bytes; the header is JSON in the metadata. By pyarrow."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from c3dhash.errors import CodesError, MissingExtraError
from c3dhash.gallery.entries import Entry, Header
from c3dhash.gallery.rows import COLUMNS, check_columns, entries_of, rows_of

KEY = b"c3dhash"  # of the metadata
ROWS_PER_GROUP = 50_000
TYPES = {
    "size_bytes": "int64",
    "mtime_ns": "int64",
    "start_seconds": "float64",
    "end_seconds": "float64",
    "code": "binary",
}  # of columns; all others are texts


def write(path: Path, header: Header, entries: Iterable[Entry]) -> None:
    """Write a file, a group of rows at a time."""
    arrow, parquet = _pyarrow()
    fields = [arrow.field(name, arrow.type_for_alias(TYPES.get(name, "string"))) for name in COLUMNS]
    schema = arrow.schema(fields, metadata={KEY: json.dumps(header.to_dict())})
    rows = chain.from_iterable(map(rows_of, entries))
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, ROWS_PER_GROUP)):
            columns = [
                arrow.array(values, field.type) for values, field in zip(zip(*group, strict=True), fields, strict=True)
            ]
            writer.write_table(arrow.table(columns, schema=schema))


def read_header(path: Path) -> Header | None:
    """Return the header of a file; None where it has none, as files of other programs."""
    with _open(path) as file:
        metadata = file.schema_arrow.metadata or {}
    if KEY not in metadata:
        return None
    try:
        content = json.loads(metadata[KEY])
    except ValueError as error:
        raise CodesError(f"'{path}' has metadata that is no JSON ({error}): export it again.") from error
    return Header.from_dict(content, path=path)


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the videos of a file, in its order, a group of rows at a time.

    Raises:
        CodesError: it is malformed; told where.
    """
    with _open(path) as file:
        check_columns(file.schema_arrow.names, path=path)
        for field in file.schema_arrow:
            if not _fits(field):
                raise CodesError(f"'{path}' has column {field.name!r} of {field.type}; it must be {_kind(field.name)}.")
        yield from entries_of(_rows(file), path=path)


def _rows(file: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    for batch in file.iter_batches(batch_size=ROWS_PER_GROUP):
        for row in batch.to_pylist():
            number += 1
            yield f"row {number}", row


def _kind(name: str) -> str:
    return TYPES.get(name, "string")


def _fits(field: Any) -> bool:
    """Tell whether a column has values of a kind that it may have."""
    _pyarrow()
    from pyarrow import types

    kind = _kind(field.name)
    if types.is_null(field.type):
        return True
    checks = {
        "string": (types.is_string, types.is_large_string),
        "int64": (types.is_integer,),
        "float64": (types.is_floating,),
        "binary": (types.is_binary, types.is_large_binary, types.is_fixed_size_binary),
    }
    return any(check(field.type) for check in checks[kind])


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a file; what pyarrow says of one that is none becomes a CodesError."""
    arrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (arrow.ArrowException, OSError) as error:
        raise CodesError(f"'{path}' is no Parquet file that can be read: {error}.") from error


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow, which is not installed: pip install 'c3dhash[parquet]', or take .csv or .npz."
        ) from error
    return pyarrow, pyarrow.parquet
