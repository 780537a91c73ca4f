"""What a preprocessing says of pixels alone; what the weights say of time is tested where layouts are."""

from __future__ import annotations

from dataclasses import replace

from c3dhash.records import Preprocessing


def pixels_of(preprocessing: Preprocessing) -> Preprocessing:
    return replace(preprocessing, interval_seconds=None)
