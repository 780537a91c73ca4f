"""What the score of a hit means: how often a video with it shows the same film as the query, or a part of it.

Note [Precision of a score]
    Counted on copies that were made of videos of the gallery (copies.py): of each query, the score of the video that it
    is a copy of, and the highest score of all others. So it is the share of right ones among videos at a score, where
    every second query has its film in the gallery, and all kinds of copies are as frequent. A higher score is at least
    as good as a lower one, and shares that say otherwise are pooled, as in c3dhash.models.calibration.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.errors import GalleryError
from c3dhash.files import write_text
from c3dhash.models.calibration import pooled

logger = logging.getLogger(__name__)

COPIES_NAME = "copies.json"  # in a gallery
MAX_SCORE = 255  # bits; higher ones are counted as this


@dataclass(frozen=True, repr=False, eq=False)
class SameFilm:
    """Counts by score, in whole bits.

    own_counts, other_counts: int64 [MAX_SCORE + 1], of the videos that were copied, and of the best others; as many.
    measured_on: on what, for people.
    """

    own_counts: np.ndarray
    other_counts: np.ndarray
    measured_on: str

    def __post_init__(self) -> None:
        for counts in (self.own_counts, self.other_counts):
            if counts.dtype != np.int64 or counts.shape != (MAX_SCORE + 1,) or (counts < 0).any():
                raise GalleryError(
                    f"scores must be counts, int64 [{MAX_SCORE + 1}], got {counts.dtype} {counts.shape}."
                )
        if not self.own_counts.sum() == self.other_counts.sum() > 0:
            raise GalleryError("as many scores of the right videos are needed as of others, one at the least.")

    def __repr__(self) -> str:
        return f"SameFilm({self.own_counts.sum()} copies, {self.measured_on})"

    def precision(self, score: float) -> float:
        """Return how probable it is that a video with a score shows the same: Note [Precision of a score]."""
        return float(self._table[bin_of(score)])

    @functools.cached_property
    def _table(self) -> np.ndarray:
        falling = pooled(self.own_counts[::-1], (self.own_counts + self.other_counts)[::-1], prior=0.5)
        return falling[::-1]


def bin_of(score: float) -> int:
    """Return where a score is counted, 0..MAX_SCORE."""
    return min(int(score), MAX_SCORE)


def save_same_film(gallery_path: Path, measured: SameFilm, *, model_fingerprint: str) -> None:
    """Write it into a gallery whose codes are of that model."""
    content = {"model_fingerprint": model_fingerprint, **content_of(measured)}
    write_text(gallery_path / COPIES_NAME, json.dumps(content) + "\n")


def content_of(measured: SameFilm) -> dict[str, Any]:
    """Return it as JSON values, as `of_content` takes them."""
    return {
        "measured_on": measured.measured_on,
        "own_counts": measured.own_counts.tolist(),
        "other_counts": measured.other_counts.tolist(),
    }


def of_content(content: Mapping[str, Any]) -> SameFilm:
    """Make one of JSON values; what is wrong with them raises as json and numpy do, or a GalleryError."""
    own_counts, other_counts = (np.array(content[name], np.int64) for name in ("own_counts", "other_counts"))
    return SameFilm(own_counts, other_counts, str(content["measured_on"]))


def load_same_film(gallery_path: Path, *, model_fingerprint: str) -> SameFilm | None:
    """Read that of a gallery; None where nothing was measured, or, after a warning, where it cannot be used."""
    path = gallery_path / COPIES_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        measured = of_content(content)
        if content["model_fingerprint"] != model_fingerprint:
            raise GalleryError("it is of the codes of another model")
        return measured
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, GalleryError) as error:
        logger.warning("'%s' cannot be used (%s): measure it again with `c3dhash gallery calibrate`.", path, error)
        return None
