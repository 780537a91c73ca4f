"""The answers over a video, kept small: for the picture of its timeline, and for what stands on each frame."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from c3dhash.recognition.over_time import Answer
from c3dhash.report.plots import plot_timeline

NUM_LINES = 6  # classes in the picture
MAX_COLUMNS = 600  # twice as many steps of time are held at the most


class Track:
    """The first class of every answer, and its probability: 24 bytes each.

    Args:
        labels: names of the classes.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._ends, self._best, self._probabilities = array("d"), array("q"), array("d")

    def add(self, answer: Answer) -> None:
        best = int(answer.probabilities.argmax())
        self._ends.append(answer.end_seconds)
        self._best.append(best)
        self._probabilities.append(float(answer.probabilities[best]))

    def at(self, seconds: float) -> tuple[str, float]:
        """Return the label at a time, and its probability; after the end, the last."""
        place = min(bisect_left(self._ends, seconds), len(self._ends) - 1)
        return self._labels[self._best[place]], self._probabilities[place]


class Timeline:
    """The probabilities of all classes over time, in at most twice MAX_COLUMNS steps, however long the video is."""

    def __init__(self) -> None:
        self._edges: list[float] = [0.0]
        self._values: list[np.ndarray] = []

    def add(self, answer: Answer) -> None:
        self._edges.append(answer.end_seconds)
        self._values.append(answer.probabilities.astype(np.float32))
        if len(self._values) == 2 * MAX_COLUMNS:
            self._merge()

    def _merge(self) -> None:
        """Make one step of every two: their mean, weighted by how long they are."""
        seconds = np.diff(self._edges)
        weighted = np.stack(self._values) * seconds[:, None]
        sums = weighted.reshape(MAX_COLUMNS, 2, -1).sum(axis=1)
        self._values = list((sums / seconds.reshape(MAX_COLUMNS, 2).sum(axis=1, keepdims=True)).astype(np.float32))
        self._edges = self._edges[::2]

    def plot(self, labels: Sequence[str], path: Path) -> None:
        """Draw the classes that are first for longest, and then those that are most probable, into a PNG."""
        edges, values = np.array(self._edges), np.stack(self._values)
        seconds = np.diff(edges)
        first = np.bincount(values.argmax(axis=1), weights=seconds, minlength=values.shape[1])
        mean = (values * seconds[:, None]).sum(axis=0) / seconds.sum()
        order = np.lexsort((-mean, -first))[:NUM_LINES]
        plot_timeline(edges, values[:, order], [labels[place] for place in order], path)
