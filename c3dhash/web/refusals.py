"""Why a request is not answered, and the status that says so."""

from __future__ import annotations

from c3dhash.errors import (
    C3DHashError,
    CheckpointError,
    GalleryError,
    LimitError,
    ModelMismatchError,
    UsageError,
    VideoError,
)

STATUSES: tuple[tuple[type[C3DHashError], int], ...] = (  # the first that fits
    (UsageError, 422),
    (VideoError, 422),
    (ModelMismatchError, 409),
    (LimitError, 409),
    (CheckpointError, 409),
    (GalleryError, 503),
)


class Refused(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        text: for people, with no path in it.
        retry_seconds: after which it may be tried again.
        headers: of the answer.
    """

    def __init__(
        self, status: int, text: str, *, retry_seconds: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.text = status, text
        self.headers = dict(headers or {})
        if retry_seconds is not None:
            self.headers["Retry-After"] = str(retry_seconds)


def status_of(error: Exception) -> int:
    """Return the status that says an error: 500 for one that is not foreseen."""
    if isinstance(error, Refused):
        return error.status
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def closing_down() -> Refused:
    """Return what is said while the server ends."""
    return Refused(503, "the server is being ended: ask again when it is back.", retry_seconds=10)
