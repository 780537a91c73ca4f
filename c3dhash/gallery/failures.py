"""The videos that `index` could not take in, remembered for who looks at the gallery later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from c3dhash.urls import absolute, lies_in

MAX_FAILURES = 1000  # that are remembered


def failures_now(
    known: Sequence[Mapping[str, str]], failed: Sequence[Mapping[str, str]], *, places: Sequence[Path | str]
) -> list[dict[str, str]]:
    """Return what could not be taken in, now that `index` looked at some places: of these what it says, else as before.

    Args:
        known, failed: {`video` `reason`} of each, before and now.
    """
    looked_at = [absolute(place) for place in places]
    names = {each["video"] for each in failed}
    others = [
        each
        for each in known
        if each["video"] not in names and not any(lies_in(absolute(each["video"]), place) for place in looked_at)
    ]
    kept = [*failed, *others][:MAX_FAILURES]
    return sorted(({"video": each["video"], "reason": each["reason"]} for each in kept), key=lambda each: each["video"])
