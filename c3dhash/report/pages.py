"""HTML pages that need nothing beside them: pictures are inside, scripts there are none."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from c3dhash.errors import VideoError
from c3dhash.files import write_text
from c3dhash.records import Duplicate, DuplicateGroup, Hit, Sample, Segment
from c3dhash.report.previews import jpeg, sample_frames, stretch_pictures
from c3dhash.report.templating import templates
from c3dhash.video.containers import is_still_picture
from c3dhash.video.reader import probe

if TYPE_CHECKING:  # imported where a page is written
    import jinja2

logger = logging.getLogger(__name__)

STRIP_FRAMES, STRIP_HEIGHT_PX, GAP_PX = 4, 90, 3
MAX_GROUPS = 200  # of duplicates on a page: its pictures are inside


class Preview(NamedTuple):
    """A stretch of video as data URIs: one frame of it, and an animation that goes on and on."""

    still: str
    moving: str


def film_strip(sample: Sample) -> str | None:
    """Return a few frames of a sample side by side as a data URI, or None where it cannot be read (any more).

    Of a still picture, which a query may be, it is that.
    """
    try:
        frames = sample_frames(sample, num_frames=STRIP_FRAMES, short_side=STRIP_HEIGHT_PX)
    except VideoError as error:
        logger.warning("no picture: %s", error)
        return None
    gap = np.full((frames.shape[1], GAP_PX, 3), 255, np.uint8)
    return _data_uri(
        "image/jpeg", jpeg(np.concatenate([part for frame in frames for part in (gap, frame)][1:], axis=1))
    )


def preview(sample: Sample, *, is_mirrored: bool = False) -> Preview | None:
    """Return a sample as a small moving picture, as fast as it is where that is a second or two; or None as above."""
    try:
        pictures = stretch_pictures(sample, short_side=STRIP_HEIGHT_PX, is_mirrored=is_mirrored)
    except VideoError as error:
        logger.warning("no picture: %s", error)
        return None
    return Preview(_data_uri("image/jpeg", pictures.still), _data_uri("image/webp", pictures.moving))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture(path: Path) -> str:
    """Return a PNG file as a data URI."""
    return _data_uri("image/png", path.read_bytes())


def write_query_page(
    path: Path, *, query: Path, hits: Sequence[Hit], gallery_name: str, label: str | None = None
) -> None:
    """Write the hits of a query into one HTML file: both as moving pictures, and on both clocks what agrees.

    Args:
        label: of the query, where it is known; hits with another one are marked.
    """
    seconds = _duration_seconds(query)
    stretch = cache(partial(_preview_of_query, query))  # several hits are often of one
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_page(
        path,
        "query.html",
        query=str(query),
        strip=film_strip(Sample(query, (), "query")),
        rows=[_row_of(hit, stretch, query_seconds=seconds, label=label) for hit in hits],
        gallery=gallery_name,
        label=label,
    )


def _preview_of_query(query: Path, start_seconds: float, end_seconds: float, is_mirrored: bool) -> Preview | None:
    if is_still_picture(query):
        return None
    return preview(Sample(query, (), "query", segment=Segment(start_seconds, end_seconds)), is_mirrored=is_mirrored)


def _row_of(
    hit: Hit,
    preview_of_query: Callable[[float, float, bool], Preview | None],
    *,
    query_seconds: float,
    label: str | None,
) -> dict[str, object]:
    """Return what the page shows of a hit."""
    asked = [(segment.query_start_seconds, segment.query_end_seconds) for segment in hit.segments]
    found = [(segment.start_seconds, segment.end_seconds) for segment in hit.segments]
    place = Segment(hit.start_seconds, hit.end_seconds)
    return {
        "hit": hit,
        "is_right": None if label is None or hit.label is None else hit.label == label,
        "of_query": preview_of_query(*asked[0], hit.is_mirrored) if asked else None,
        "of_hit": preview(Sample(Path(hit.video), (), "gallery", segment=place)),
        "query_stretches": asked,
        "query_seconds": max([query_seconds, *(end for _, end in asked)]),
        "stretches": found,
        "seconds": max([_duration_seconds(Path(hit.video)), *(end for _, end in found)]),
    }


def _duration_seconds(video: Path) -> float:
    """Return how long a video is by its header; 0 where that cannot be read, or says nothing."""
    try:
        return probe(video).duration_seconds
    except VideoError:
        return 0.0


def write_duplicates_page(path: Path, *, groups: Sequence[DuplicateGroup], gallery_name: str) -> None:
    """Write groups of duplicates, with film strips and timelines, into one HTML file: the first MAX_GROUPS of them."""
    rows = [
        {
            "best": group.best,
            "facts": group.facts,
            "strip": film_strip(Sample(Path(group.best), (), "gallery")),
            "rows": [_timelines(group, member) for member in group.members],
        }
        for group in groups[:MAX_GROUPS]
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_page(path, "duplicates.html", groups=rows, num_groups=len(groups), gallery=gallery_name)


def _timelines(group: DuplicateGroup, member: Duplicate) -> dict[str, object]:
    """Return what the page shows of a member: where it agrees with the best one, on both clocks."""
    of_best = [(segment.query_start_seconds, segment.query_end_seconds) for segment in member.segments]
    of_member = [(segment.start_seconds, segment.end_seconds) for segment in member.segments]
    return {
        "member": member,
        "strip": film_strip(Sample(Path(member.video), (), "gallery", segment=Segment(*of_member[0]))),
        "of_best": of_best,
        "best_seconds": max(group.facts.duration_seconds, *(end for _, end in of_best)),
        "of_member": of_member,
        "member_seconds": max(member.facts.duration_seconds, *(end for _, end in of_member)),
    }


def write_report_page(path: Path, **content: object) -> None:
    """Write an evaluation into one HTML file; the names of `content` are those of templates/report.html."""
    _write_page(path, "report.html", **content)


def write_classes_page(path: Path, **content: object) -> None:
    """Write a classification into one HTML file; the names of `content` are those of templates/classes.html."""
    _write_page(path, "classes.html", **content)


def _write_page(path: Path, template: str, **content: object) -> None:
    """Write a page; names that are not valid UTF-8 are shown with escapes."""
    write_text(path, _environment().get_template(template).render(**content), errors="backslashreplace")


@cache
def _environment() -> jinja2.Environment:
    return templates("c3dhash.report")
