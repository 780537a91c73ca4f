"""Kinetics-400, -600 and -700: csv files with a header, clips named by YouTube id and time.

Source: Kay et al., "The Kinetics Human Action Video Dataset", 2017, and its csv files `train.csv`, `validate.csv`
and `test.csv` (also `kinetics-400_train.csv` and so on). Columns are found by name, others are ignored:
`label,youtube_id,time_start,time_end,split`; test files may lack the label. A clip is
`{youtube_id}_{time_start:06d}_{time_end:06d}` with any video suffix, in a folder of its class or of its split.
"""

from __future__ import annotations

import csv
from pathlib import Path

from c3dhash.datasets.assemble import Entry, Listing
from c3dhash.datasets.places import split_of_name
from c3dhash.datasets.text import list_dirs, origin
from c3dhash.errors import DatasetError

COLUMNS = ("youtube_id", "time_start", "time_end")


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds csv files with the columns of Kinetics."""
    return bool(_lists(directory))


def read(directory: Path, *, split: int) -> Listing:
    """Read the csv files: train -> train, validate -> val, test -> query. There is one split only."""
    if split != 1:
        raise DatasetError(f"split ({split}) must be 1: Kinetics has one split.")
    lists = _lists(directory)
    if not lists:
        raise DatasetError(f"'{directory}' has no csv file with the columns {', '.join(COLUMNS)}.")
    rows = [row for path in lists for row in _rows(path)]
    classes = sorted({row["label"] for row in rows if row["label"]})
    index = {name: label for label, name in enumerate(classes)}
    entries = []
    for row in rows:
        labels = (index[row["label"]],) if row["label"] else ()
        entries.append(Entry(_names(row), labels, row["split"], row["origin"]))
    return Listing(tuple(classes), tuple(entries))


def _lists(directory: Path) -> list[Path]:
    """Return the csv files of Kinetics in the first folder that has any."""
    for folder in list_dirs(directory):
        found = [path for path in sorted(folder.glob("*.csv")) if path.is_file() and set(COLUMNS) <= set(_header(path))]
        if found:
            return found
    return []


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []  # not a csv file of ours


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a csv file, with `name`, `split` (ours) and `origin` added; `label` may be empty."""
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            for row in reader:
                where = origin(path, reader.line_num)
                rows.append({
                    "label": (row.get("label") or "").strip(),
                    "name": _clip_name(row, where),
                    "split": _split(row.get("split") or path.stem, where),
                    "origin": where,
                })  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"list '{path}' cannot be read: {error}.") from error
    return rows


def _clip_name(row: dict[str, str], where: str) -> str:
    try:
        start, end = (int(float(row[column])) for column in COLUMNS[1:])
    except ValueError as error:
        raise DatasetError(f"{where}: time_start and time_end must be seconds, got {list(row.values())}.") from error
    return f"{row['youtube_id'].strip()}_{start:06d}_{end:06d}"


def _split(text: str, where: str) -> str:
    split = split_of_name(text)
    if split is None:
        raise DatasetError(f"{where}: split {text!r} must be train, validate or test.")
    return split


def _names(row: dict[str, str]) -> tuple[str, ...]:
    label, name = row["label"], row["name"]
    in_class = (f"{label}/{name}", f"{label.replace(' ', '_')}/{name}") if label else (f"test/{name}",)
    return (*in_class, name)
