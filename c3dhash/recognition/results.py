"""What is found out about a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.errors import VideoError
from c3dhash.recognition.over_time import ActionSegment
from c3dhash.recognition.timeline import FirstClasses, Timeline
from c3dhash.recognition.tracks import Track


@dataclass(frozen=True)
class Prediction:
    """A class and its probability, 0..1."""

    label: str
    probability: float


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody in a video: where, and the most probable classes of all that is seen of them, and when which is first.

    classes: the same over time, for what is drawn.
    """

    track: Track
    top: tuple[Prediction, ...]
    segments: tuple[ActionSegment, ...]
    classes: FirstClasses


@dataclass(frozen=True)
class Recognition:
    """One video: its most probable classes, the most probable first; or why there are none.

    segments: which class is first when, where that was asked for; classes and timeline: the same for its frames and for
    a picture. people: who does what, where that was asked for; size_px is then width and height of the video.
    """

    video: Path
    top: tuple[Prediction, ...] = ()
    error: VideoError | None = None
    segments: tuple[ActionSegment, ...] | None = None
    classes: FirstClasses | None = None
    timeline: Timeline | None = None
    people: tuple[Person, ...] | None = None
    size_px: tuple[int, int] | None = None


def best_classes(probabilities: np.ndarray, labels: Sequence[str], top: int) -> tuple[Prediction, ...]:
    """Return the most probable classes, of float [num_classes]; equal ones in the order of the labels."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Prediction(labels[index], float(probabilities[index])) for index in order)
