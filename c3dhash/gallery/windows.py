"""How videos are cut into windows, and what of them is seen: one way for all of a gallery, and for its queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from c3dhash.config import EncodeConfig
from c3dhash.errors import ModelMismatchError, UsageError
from c3dhash.gallery.searched import SearchedGallery
from c3dhash.gallery.store import Gallery

WINDOWS = ("window_seconds", "stride_seconds", "clips_per_window", "views", "crop_bars")
# What a gallery does that was made before it was noted.
BEFORE = {"clips_per_window": None, "views": 1, "crop_bars": False}


def windows_of(config: EncodeConfig) -> dict[str, Any]:
    """Return what a new gallery notes of a config, as JSON values: nothing is left to a default that may change."""
    return {**{name: getattr(config, name) for name in WINDOWS}, "crop_bars": config.crops_bars}


def with_windows(config: EncodeConfig, gallery: SearchedGallery) -> EncodeConfig:
    """Return a config with the windows that a gallery was indexed with.

    One that was made before there were several clips a window has networks that see one: None; one before there were
    views has the middle alone; and one before bars were cropped has them in its codes.
    """
    windows: dict[str, Any] = {name: gallery.run[name] for name in WINDOWS if name in gallery.run}
    return dataclasses.replace(config, **(BEFORE | windows if windows else {}))


def check_windows(config: EncodeConfig, gallery: Gallery) -> EncodeConfig:
    """Return what `with_windows` does, where a config asks for nothing else; None of crop_bars asks for nothing.

    Raises:
        UsageError: for other windows.
    """
    own = with_windows(config, gallery)
    asked = config if config.crop_bars is not None else dataclasses.replace(config, crop_bars=own.crop_bars)
    if asked != own:
        is_about_bars = asked.crop_bars != own.crop_bars
        has, got = (_describe(each, with_bars=is_about_bars) for each in (own, asked))
        raise UsageError(f"gallery '{gallery.path}' has {has}, got {got}: keep them, or index into another folder.")
    return own


def check_same_windows(gallery: Gallery, run: Mapping[str, Any], *, name: object) -> None:
    """Raise unless codes were made of windows like those of a gallery.

    Args:
        run: as of `Gallery`, of the codes.
        name: of what holds them.
    Raises:
        ModelMismatchError: other windows.
    """
    for key in WINDOWS:
        own, other = gallery.run.get(key, BEFORE.get(key)), run.get(key, BEFORE.get(key))
        if own != other:
            raise ModelMismatchError(
                f"gallery '{gallery.path}' has {key} {own!r}, '{name}' has {other!r}: their codes do not compare; take "
                "another folder (--gallery NAME)."
            )


def _describe(config: EncodeConfig, *, with_bars: bool) -> str:
    length, stride, num_clips, num_views = (getattr(config, name) for name in WINDOWS[:4])
    clips = "" if num_clips is None else f" with {num_clips} clips each"
    views = "" if num_views == 1 else f" in {num_views} views"
    bars = f" with black bars {'cropped' if config.crops_bars else 'left in'}" if with_bars else ""
    return f"windows of {length} s every {stride} s{clips}{views}{bars}"
