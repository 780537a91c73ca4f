"""Templates -> pages, as answers; and the files that a browser fetches with them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from fastapi import Response

from c3dhash.report.templating import templates
from c3dhash.web.media import tag_of

if TYPE_CHECKING:  # imported where a page is written
    import jinja2

STATIC_DIR = Path(__file__).parent / "static"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class StaticFile(NamedTuple):
    """A file that pages refer to."""

    content: bytes
    media_type: str
    tag: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Return the files beside the pages, by name: read once, so that no name of a request is ever a path."""
    files = {}
    for path in STATIC_DIR.iterdir():
        if path.suffix in KINDS:
            content = path.read_bytes()
            files[path.name] = StaticFile(content, f"{KINDS[path.suffix]}; charset=utf-8", tag_of(content))
    return files


def page(template: str, content: Mapping[str, Any], *, status: int = 200) -> Response:
    """Return a page; names that are not valid UTF-8 are shown with escapes.

    Args:
        template: name of the file.
        content: what it shows: all the names that it has.
    """
    text = _environment().get_template(template).render(content)
    return Response(text.encode("utf-8", "backslashreplace"), status, media_type="text/html; charset=utf-8")


def link(path: str, *groups: Mapping[str, Any], **values: Any) -> str:
    """Return the address of a page, with what it is asked; values that are None, False, "" or [] are left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in {**{name: value for group in groups for name, value in group.items()}, **values}.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            if each is not None and each is not False and each != "":
                text = "true" if each is True else f"{each:.3f}" if isinstance(each, float) else str(each)
                pairs.append((name, text))
    return f"{path}?{urlencode(pairs, errors='backslashreplace')}" if pairs else path


def clock(seconds: float) -> str:
    """Return a time in a video, for people: 4.2, 1:07, 1:02:07."""
    if seconds < 60:
        return f"{seconds:.1f}"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def stretch(start_seconds: float, end_seconds: float) -> str:
    """Return a stretch of a video, for people: 0.4–2.0 s, 0:58–1:07."""
    if end_seconds < 60:
        digits = 1 if end_seconds - start_seconds >= 0.1 else 2
        return f"{start_seconds:.{digits}f}–{end_seconds:.{digits}f} s"
    first = clock(start_seconds) if start_seconds >= 60 else f"0:{int(start_seconds):02}"
    return f"{first}–{clock(end_seconds)}"


def size(num_bytes: float) -> str:
    """Return a number of bytes, for people."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = 0
    while num_bytes >= 1000 and power < len(units) - 1:
        num_bytes, power = num_bytes / 1000, power + 1
    return f"{num_bytes:.0f} {units[power]}" if not power or num_bytes >= 100 else f"{num_bytes:.1f} {units[power]}"


def percent(share: float) -> str:
    """Return a share, for people; never 100 % of what is not sure, nor 0 % of what there is."""
    if 0 < share < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number of things, for people."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def last_part(name: str) -> str:
    """Return the file of a name."""
    return name.rpartition("/")[2]


@cache
def _environment() -> jinja2.Environment:
    environment = templates("c3dhash.web")
    environment.globals |= {"link": link, "stretch": stretch, "counted": counted}
    environment.filters |= {"clock": clock, "size": size, "percent": percent, "last_part": last_part}
    return environment
