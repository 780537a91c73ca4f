"""Which videos are trained on, and which decide the epoch that is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from c3dhash.config import TrainConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.errors import TrainingError
from c3dhash.records import Sample
from c3dhash.training.ranks import ALONE, Ranks
from c3dhash.video.clips import ClipReader, keep_readable


@dataclass(frozen=True)
class TrainingVideos:
    """The train and val videos of a data set that decode.

    labels, of each split: int64 [N], or bool [N, num_classes]. names: all of them, relative to the data set.
    """

    train: list[Sample]
    val: list[Sample]
    train_labels: np.ndarray
    val_labels: np.ndarray
    names: list[str]

    @property
    def samples(self) -> list[Sample]:
        """All of them, as the inputs count them: train, then val."""
        return [*self.train, *self.val]

    @property
    def labels(self) -> np.ndarray:
        return np.concatenate([self.train_labels, self.val_labels])


def training_videos(
    dataset: Dataset, reader: ClipReader, config: TrainConfig, *, ranks: Ranks = ALONE
) -> TrainingVideos:
    """Decode the train and val split into the frame cache, each rank a share, and keep what decodes.

    Raises:
        TrainingError: a split is empty, or has videos without a label in single-label data.
        DatasetError: no video of a split decodes.
    """
    train = _readable(dataset, "train", reader, config, ranks)
    val = _readable(dataset, "val", reader, config, ranks) if config.val_share or dataset.split("val") else []
    names = [os.path.relpath(sample.video, dataset.directory) for sample in (*train, *val)]
    return TrainingVideos(train, val, dataset.labels(train), dataset.labels(val), names)


def _readable(dataset: Dataset, split: str, reader: ClipReader, config: TrainConfig, ranks: Ranks) -> list[Sample]:
    samples = dataset.split(split)
    if not samples:
        raise TrainingError(
            f"'{dataset.directory}' has no {split} videos ({dataset.describe()}); add some, or divide it anew: "
            "c3dhash data split"
        )
    if not dataset.is_multi_label and any(not sample.labels for sample in samples):
        raise TrainingError(f"'{dataset.directory}' has {split} videos without a label.")
    own = ranks.share(len(samples))
    failures = reader.failures(
        [samples[index] for index in own], workers=config.workers, description=f"Decoding {split} videos"
    )
    errors = dict(pair for part in ranks.gather(list(zip(own.tolist(), failures, strict=True))) for pair in part)
    return keep_readable(samples, [errors[index] for index in range(len(samples))])
