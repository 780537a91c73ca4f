"""JSON lists with a `database`: those of 3D-ResNets-PyTorch, and those of ActivityNet, which they descend from.

    {"labels": ["Archery", ...],
     "database": {"v_Archery_g01_c01": {"subset": "training",
                                        "annotations": {"label": "Archery", "segment": [1, 166]}}}}

Source: the formats that Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?",
CVPR 2018, publish their lists in: one annotation, whose segment is in frames, from the first (counted from 1) to
one past the last. Heilbron et al., "ActivityNet", CVPR 2015: a list of annotations, whose segments are in seconds.
Videos and frame folders lie in `<label>/<id>`, or all in one folder. Where no video has a subset the split is our own;
where some have one, those without are in no split.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from c3dhash.datasets.assemble import NO_SPLIT, NUM_NAMED, Entry, Listing
from c3dhash.datasets.places import split_of_name
from c3dhash.datasets.text import list_dirs
from c3dhash.errors import DatasetError, UsageError
from c3dhash.records import FrameFolder, Segment

HEAD_BYTES = 1 << 16  # where "database" must show, so that other JSON files are not read whole


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds a JSON file with a database of videos."""
    return bool(_lists(directory))


def read(directory: Path, *, split: int) -> Listing:
    """Read the file of a split: `ucf101_01.json` is the one of split 1, a file without a number too."""
    lists = _lists(directory)
    if split not in lists:
        known = ", ".join(map(str, sorted(lists))) or "none"
        raise DatasetError(f"split ({split}) has no JSON list with a 'database' in '{directory}'; there are: {known}.")
    path = lists[split]
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"list '{path}' cannot be read: {error}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("database"), dict):
        raise DatasetError(f"list '{path}': expected an object with a 'database', got {str(content)[:40]!r}.")
    annotations = [
        (name, video.get("subset", ""), annotation)
        for name, video in content["database"].items()
        for annotation in _annotations(path, name, video)
    ]
    found = {annotation["label"] for _, _, annotation in annotations if "label" in annotation}
    classes = tuple(map(str, content.get("labels") or sorted(found)))
    if unknown := sorted(found - set(classes)):
        raise DatasetError(f"list '{path}': label {unknown[0]!r} is not in 'labels'.")
    index = {name: label for label, name in enumerate(classes)}
    entries = [_entry(path, name, subset, one, index) for name, subset, one in annotations]
    unassigned = list(dict.fromkeys(name for name, subset, _ in annotations if not subset))
    if not unassigned or all(entry.split == NO_SPLIT for entry in entries):
        return Listing(classes, tuple(entries))
    first = ", ".join(map(repr, unassigned[:NUM_NAMED])) + (" ..." if len(unassigned) > NUM_NAMED else "")
    note = f"{len(unassigned)} videos of '{path}' have no subset and are left out: {first}."
    return Listing(classes, tuple(entry for entry in entries if entry.split != NO_SPLIT), (note,))


def _lists(directory: Path) -> dict[int, Path]:
    """Return the JSON lists in a folder or its list folders, by the number of their split."""
    lists: dict[int, Path] = {}
    for folder in list_dirs(directory):
        for path in filter(Path.is_file, sorted(folder.glob("*.json"))):
            with path.open("rb") as file:
                head = file.read(HEAD_BYTES)
            if b'"database"' in head:
                number = re.search(r"[_-]0*([1-9])$", path.stem)
                lists.setdefault(int(number[1]) if number else 1, path)
    return lists


def _annotations(path: Path, name: str, video: Any) -> list[dict[str, Any]]:
    """Return the annotations of a video; one that is empty where it has none (test lists)."""
    annotations = video.get("annotations", {}) if isinstance(video, dict) else None
    if isinstance(annotations, dict):
        annotations = [annotations]
    if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations):
        raise DatasetError(f"list '{path}': 'annotations' of {name!r} must be an object or a list, got {video!r}.")
    return [{**one, "in_seconds": isinstance(video.get("annotations"), list)} for one in annotations] or [{}]


def _entry(path: Path, name: str, subset: Any, annotation: dict[str, Any], index: dict[str, int]) -> Entry:
    where = f"'{path}', {name!r}"
    split = split_of_name(str(subset)) if subset else NO_SPLIT
    if split is None:
        raise DatasetError(f"{where}: subset {subset!r} must be training, validation or testing.")
    label = annotation.get("label")
    in_class = (f"{label}/{name}", f"{label.replace(' ', '_')}/{name}") if label else (f"test/{name}",)
    segment, frames = _part(annotation, where)
    return Entry((*in_class, name, f"v_{name}"), (index[label],) if label else (), split, where, segment, frames)


def _part(annotation: dict[str, Any], where: str) -> tuple[Segment | None, FrameFolder | None]:
    """Return the part of the video that is annotated, in seconds or in frames."""
    if "segment" not in annotation:
        return None, None
    try:
        start, end = annotation["segment"]
        if annotation["in_seconds"]:
            return Segment(float(start), float(end)), None
        return None, FrameFolder(int(start) - 1, int(end) - int(start))
    except (TypeError, ValueError, UsageError) as error:
        raise DatasetError(f"{where}: segment {annotation['segment']!r} must be [start, end], start < end.") from error
