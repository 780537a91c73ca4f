"""The answers over a video, kept small: for the picture of its timeline, and for what stands on each frame."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from c3dhash.recognition.over_time import Answer
from c3dhash.report.plots import plot_timeline

NUM_LINES = 6  # classes in the picture
MAX_COLUMNS = 600  # twice as many steps of time are held at the most


class FirstClasses:
    """The first classes of every answer, and their probabilities: 8 bytes an answer, and 16 for each of them.

    Args:
        labels: names of the classes.
        num_kept: how many of the first are kept.
    """

    def __init__(self, labels: Sequence[str], *, num_kept: int = 1) -> None:
        self._labels, self._num_kept = labels, min(num_kept, len(labels))
        self._ends, self._classes, self._probabilities = array("d"), array("q"), array("d")

    def add(self, answer: Answer) -> None:
        order = np.argsort(-answer.probabilities, kind="stable")[: self._num_kept]
        self._ends.append(answer.end_seconds)
        self._classes.extend(order.tolist())
        self._probabilities.extend(answer.probabilities[order].tolist())

    def __len__(self) -> int:
        return len(self._ends)

    def at(self, seconds: float) -> list[tuple[str, float]]:
        """Return labels and probabilities at a time, the most probable first; after the end, the last."""
        return [(self._labels[number], probability) for number, probability in self.numbers_at(seconds)]

    def numbers_at(self, seconds: float) -> list[tuple[int, float]]:
        """Do the same with the numbers of the classes, from 0, in the place of their labels."""
        place = min(bisect_right(self._ends, seconds), len(self._ends) - 1)
        kept = slice(place * self._num_kept, (place + 1) * self._num_kept)
        return list(zip(self._classes[kept], self._probabilities[kept], strict=True))


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
