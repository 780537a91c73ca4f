"""What a data set is: samples in splits, with the names of their classes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.records import Sample

STAND_INS = {"gallery": "train", "query": "val"}
SPLITS = ("train", "val", "gallery", "query")


@dataclass(frozen=True, repr=False)
class Dataset:
    """A data set as it lies on disk.

    format: the reader's name. classes: in label order. samples: labels index into classes; splits are
    "train", "val", "gallery" and "query". notes: what a user should know of how it was read. missing: the
    videos that are listed but not there, as the lists spell them; left out of samples.
    """

    directory: Path
    format: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Dataset({self.format} in '{self.directory}': {self.describe()})"

    def describe(self) -> str:
        """Say how many classes and how many videos a split there are."""
        counts = Counter(sample.split for sample in self.samples)
        splits = ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])
        return f"{len(self.classes)} classes, {splits}"

    @property
    def is_multi_label(self) -> bool:
        return any(len(sample.labels) > 1 for sample in self.samples)

    def split(self, name: str) -> list[Sample]:
        """Return the samples of a split.

        Where there is no gallery, the training videos are searched in; where there are no queries, the val videos
        are asked.
        """
        samples = [sample for sample in self.samples if sample.split == name]
        if not samples and name in STAND_INS:
            return self.split(STAND_INS[name])
        return samples

    def labels(self, samples: list[Sample]) -> np.ndarray:
        """Return labels as metrics and losses want them: int64 [N], or bool [N, num_classes] where multi-label."""
        if self.is_multi_label:
            labels = np.zeros((len(samples), len(self.classes)), bool)
            for row, sample in zip(labels, samples, strict=True):
                row[list(sample.labels)] = True
            return labels
        return np.array([sample.labels[0] if sample.labels else -1 for sample in samples], np.int64)
