"""Which videos may be found, in the language of Milvus' filters, about the collection of videos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from c3dhash.gallery.filters import VideoFilter, bounds, places

ANY_VIDEO = "id > 0"  # the others hold what is known about all of them
NOTHING = "id == 0"
NO_LABEL = ""


def literal(text: str) -> str:
    """Return a text as a filter has it."""
    return json.dumps(text, ensure_ascii=False)


def stored_label(label: str | None) -> str:
    """Return what stands for a label, or for none."""
    return NO_LABEL if label is None else f"={label}"


def label_of(stored: str) -> str | None:
    """Return the label that something stands for."""
    return stored[1:] if stored != NO_LABEL else None


def any_of(field: str, values: Iterable[int]) -> str:
    """Say that a field has one of these numbers."""
    return f"{field} in [{', '.join(map(str, values))}]"


def before(root_id: int, path: str) -> str:
    """Say that a video comes before a place, in the order of lists."""
    return f"(root_id < {root_id} or (root_id == {root_id} and path < {literal(path)}))"


def at_or_behind(root_id: int, path: str) -> str:
    """Say that a video comes behind a place, or is there."""
    return f"(root_id > {root_id} or (root_id == {root_id} and path >= {literal(path)}))"


def named(places: Iterable[tuple[int, str]]) -> str:
    """Say that a video is at one of these places, one or more."""
    paths: dict[int, list[str]] = {}
    for root_id, path in places:
        paths.setdefault(root_id, []).append(literal(path))
    parts = [f"(root_id == {root_id} and path in [{', '.join(some)}])" for root_id, some in paths.items()]
    return f"({' or '.join(parts)})"


def expression(chosen: VideoFilter, root_folders: Mapping[int, str]) -> str:
    """Say what a video must be, but for its content: as `filters.condition` does in SQL."""
    parts = [ANY_VIDEO]
    if chosen.labels:
        parts.append(f"label in [{', '.join(literal(stored_label(label)) for label in chosen.labels)}]")
    for either in places(chosen, root_folders):
        parts.append(f"({' or '.join(_below(*place) for place in either) or NOTHING})")
    if chosen.added_since is not None:
        parts.append(f"added_at >= {literal(chosen.added_since)}")
    return " and ".join(parts)


def with_content(content_hash: str) -> str:
    """Say that a video has this content."""
    return f"{ANY_VIDEO} and content_hash == {literal(content_hash)}"


def _below(root_id: int, path: str | None) -> str:
    if path is None:
        return f"root_id == {root_id}"
    low, high = map(literal, bounds(path))
    return f"(root_id == {root_id} and (path == {literal(path)} or (path > {low} and path < {high})))"
