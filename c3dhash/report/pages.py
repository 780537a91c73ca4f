"""HTML pages that need nothing beside them: pictures are inside, scripts there are none."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from c3dhash.errors import VideoError
from c3dhash.files import write_text
from c3dhash.records import Clip, Duplicate, DuplicateGroup, Hit, Sample, Segment
from c3dhash.video.containers import is_still_picture
from c3dhash.video.frame_folder import FlowClip
from c3dhash.video.isolation import shared_pool
from c3dhash.video.samples import read_sample
from c3dhash.video.still import still_clips

if TYPE_CHECKING:  # imported where a page is written
    import jinja2

logger = logging.getLogger(__name__)

STRIP_FRAMES, STRIP_HEIGHT_PX, GAP_PX = 4, 90, 3
MAX_GROUPS = 200  # of duplicates on a page: its pictures are inside


def film_strip(sample: Sample) -> str | None:
    """Return a few frames of a sample side by side as a data URI, or None where it cannot be read (any more).

    Of a still picture, which a query may be, it is that.
    """
    try:
        clip: Clip | FlowClip
        if sample.frames is None and is_still_picture(sample.video):
            (clip,) = shared_pool().stream(still_clips, sample.video, num_frames=1, short_side=STRIP_HEIGHT_PX)
        else:
            (clip,) = read_sample(sample, num_frames=STRIP_FRAMES, short_side=STRIP_HEIGHT_PX)
    except VideoError as error:
        logger.warning("no picture: %s", error)
        return None
    assert isinstance(clip, Clip)  # frames were asked for, not optical flow
    gap = np.full((clip.frames.shape[1], GAP_PX, 3), 255, np.uint8)
    strip = np.concatenate([part for frame in clip.frames for part in (gap, frame)][1:], axis=1)
    _, encoded = cv2.imencode(".jpg", strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def picture(path: Path) -> str:
    """Return a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def write_query_page(path: Path, *, query: Path, hits: Sequence[Hit], gallery_name: str) -> None:
    """Write the hits of a query, with film strips, into one HTML file."""
    rows = [
        (hit, film_strip(Sample(Path(hit.video), (), "gallery", segment=Segment(hit.start_seconds, hit.end_seconds))))
        for hit in hits
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_page(
        path,
        "query.html",
        query=str(query),
        strip=film_strip(Sample(query, (), "query")),
        rows=rows,
        gallery=gallery_name,
    )


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
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("c3dhash.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
