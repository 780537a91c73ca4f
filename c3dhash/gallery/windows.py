"""The windows that the videos of a gallery were cut into: one kind for all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c3dhash.errors import ModelMismatchError
from c3dhash.gallery.store import Gallery

# What is noted of them, and what a gallery has of before that was noted.
BEFORE = {"window_seconds": None, "stride_seconds": None, "clips_per_window": None, "views": 1}


def check_windows(gallery: Gallery, run: Mapping[str, Any], *, name: object) -> None:
    """Raise unless codes were made of windows like those of a gallery.

    Args:
        run: as of `Gallery`, of the codes.
        name: of what holds them.
    Raises:
        ModelMismatchError: other windows.
    """
    for key, before in BEFORE.items():
        own, other = gallery.run.get(key, before), run.get(key, before)
        if own != other:
            raise ModelMismatchError(
                f"gallery '{gallery.path}' has {key} {own!r}, '{name}' has {other!r}: their codes do not compare; take "
                "another folder (--gallery NAME)."
            )
