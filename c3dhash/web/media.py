"""Pictures as answers: whole, or the part that a Range header asks for; and not again where it is known."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from fastapi import Request, Response

from c3dhash.report.previews import Pictures
from c3dhash.web.answers import ErrorAnswer
from c3dhash.web.refusals import Refused

KINDS = {"moving": "image/webp", "still": "image/jpeg"}
KEPT_SECONDS = 60  # by a browser: the number of a video may become another's
CLIP_KEPT_SECONDS = 24 * 3600  # that of a clip does not
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
PICTURE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A picture: WebP that moves, or a JPEG that does not.",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in KINDS.values()},
    },
    206: {"description": "The part of it that Range asked for."},
    304: {"description": "It is as If-None-Match has it."},
    416: {"description": "It has no such range.", "model": ErrorAnswer},
}


def answer_picture(request: Request, pictures: Pictures, *, kind: str, kept_seconds: int = KEPT_SECONDS) -> Response:
    """Answer with a picture, or a part of it.

    Args:
        kind: one of KINDS.
        kept_seconds: for how long a browser need not ask again.
    Raises:
        Refused: the range that is asked for is none, or not there.
    """
    content = pictures.moving if kind == "moving" else pictures.still
    tag = tag_of(content)
    headers = {"ETag": tag, "Cache-Control": f"private, max-age={kept_seconds}", "Accept-Ranges": "bytes"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range")
    if asked is None or request.headers.get("if-range", tag) != tag:
        return Response(content, media_type=KINDS[kind], headers=headers)
    first, last = range_of(asked, num_bytes=len(content))
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], status_code=206, media_type=KINDS[kind], headers=headers)


def tag_of(content: bytes) -> str:
    """Return the ETag of a content."""
    return f'"{hashlib.blake2b(content, digest_size=8).hexdigest()}"'


def range_of(text: str, *, num_bytes: int) -> tuple[int, int]:
    """Return the first and the last byte that a Range header asks for.

    Raises:
        Refused: it is not one range of bytes, or not there.

    Source: RFC 9110, 14.1.2.
    """
    found = RANGE.fullmatch(text.strip())
    refused = Refused(
        416, f"range {text[:60]!r} must be one range of the {num_bytes} bytes that are there.",
        headers={"Content-Range": f"bytes */{num_bytes}"},
    )  # fmt: skip
    if found is None or not (found[1] or found[2]):
        raise refused
    if not found[1]:
        first, last = max(0, num_bytes - int(found[2])), num_bytes - 1
        if not int(found[2]):
            raise refused
    else:
        first, last = int(found[1]), min(int(found[2] or num_bytes), num_bytes - 1)
    if first > last:
        raise refused
    return first, last
