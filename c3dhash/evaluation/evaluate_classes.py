"""A run and the queries of a data set -> how well it recognises them, in numbers.

A network may know more classes than the data set has, as the 400 of Kinetics: classes are matched by their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c3dhash.config import EncodeConfig, EvaluateConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.errors import DatasetError
from c3dhash.evaluation.accuracy import confusion_matrix, label_average_precision, recognition_report
from c3dhash.evaluation.classification import (
    calibration,
    classification_report,
    confused_pairs,
    threshold_table,
)
from c3dhash.evaluation.evaluate import names_of, readable_by_all, say_stand_in, warn_of_leak
from c3dhash.models.scores import class_probabilities
from c3dhash.records import Sample

if TYPE_CHECKING:  # torch is imported where a run is evaluated
    from c3dhash.models.runs import Run
    from c3dhash.video.clips import ClipReader

THRESHOLD = 0.5  # of a probability, where a video may have several labels


@dataclass(frozen=True, repr=False)
class ClassReport:
    """How well a run recognises the queries of a data set.

    numbers: JSON-safe, by the names of DESIGN. samples: the queries that could be read. labels: of these, indices into
    `classes`, int64 [N] (-1 where it is not known), or bool [N, num_classes]. scores: what ranks the classes, float
    [N, num_classes]. probabilities: float64 [N, num_classes].
    """

    numbers: dict[str, Any]
    classes: tuple[str, ...]
    dataset: Dataset
    samples: list[Sample]
    labels: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    title: str

    def __repr__(self) -> str:
        return f"ClassReport({self.title}: {len(self.samples)} videos, {len(self.classes)} classes)"


def evaluate_classes(
    run: Run | Sequence[Run],
    dataset: Dataset,
    *,
    reader: ClipReader | Sequence[ClipReader],
    config: EvaluateConfig | None = None,
    encode: EncodeConfig | None = None,
) -> ClassReport:
    """Recognise the queries of a data set, one window a video, and score the predictions.

    Args:
        run: with a class head that knows the classes of the data set; or several that tell the same classes apart,
            whose scores are fused: numbers also have a list "runs" with the accuracy (or class mAP) of each then.
        reader: a ClipReader of the run's clip size, of each run; its clips and views of a video are averaged.
        config: what is averaged, and how runs are fused.
        encode: batch size, device, engine.
    Raises:
        CheckpointError: a run has no class head.
        UsageError: runs that cannot be fused.
        DatasetError: no queries, none with a label, a class that the run does not know, or several labels a video where
            it chooses one.
    """
    from c3dhash.models.fusion import as_list, check_alike, fuse, fusion_weights

    encode, config = encode or EncodeConfig(), config or EvaluateConfig()
    runs, readers = as_list(run), as_list(reader)
    run = runs[0]
    weights = fusion_weights(config.fuse, num_runs=len(runs))
    check_alike(runs)
    places = class_places(dataset, run.class_labels, run_name=str(run.path))
    if dataset.is_multi_label and not run.is_multi_label:
        raise DatasetError(
            f"videos of '{dataset.directory}' may have several labels, and '{run.path}' was trained to choose one: "
            "train on such data, or evaluate on other."
        )
    queries = dataset.split("query")
    if not any(sample.labels for sample in queries):
        raise DatasetError(f"'{dataset.directory}' has no query videos with a label ({dataset.describe()}).")
    samples = readable_by_all(readers, dataset, "query", workers=encode.workers)
    say_stand_in(dataset, samples)
    found = []
    for each_run, each_reader in zip(runs, readers, strict=True):
        warn_of_leak(each_run, dataset, samples)
        found.append(_recognise(each_run, each_reader, samples, average=config.average, encode=encode))
    if config.average == "features":
        scores = fuse(found, weights) if len(runs) > 1 else found[0]
        probabilities = class_probabilities(scores, is_multi_label=run.is_multi_label)
    else:
        scores = probabilities = fuse(found, [weight / sum(weights) for weight in weights])
    labels = _in_places(dataset.labels(samples), places, num_classes=len(run.labels))
    if run.is_multi_label and labels.ndim == 1:  # it happens that each has one
        labels = labels[:, None] == np.arange(len(run.labels))
    numbers = {
        **class_numbers(scores, probabilities, labels, classes=run.labels),
        "num_videos": len(samples),
        "num_unreadable": len(queries) - len(samples),
    }
    if len(runs) > 1:
        known = labels >= 0 if labels.ndim == 1 else slice(None)
        numbers["runs"] = [
            {"run": str(each.path), "weight": weight, **recognition_report(part[known], labels[known])}
            for each, weight, part in zip(runs, weights, found, strict=True)
        ]
    title = f"{names_of(runs)} on {dataset.directory}: recognition"
    return ClassReport(numbers, run.labels, dataset, samples, labels, scores, probabilities, title)


def _recognise(
    run: Run, reader: ClipReader, samples: list[Sample], *, average: str, encode: EncodeConfig
) -> np.ndarray:
    """Return the class scores of samples, float [N, num_classes], or their mean probabilities."""
    from c3dhash.models.encode import make_encoder, sample_features, window_means

    encoder = make_encoder(run.model, encode, num_clips=len(samples))
    features, num_clips = sample_features(
        encoder, samples, reader=reader, batch_size=encode.batch_size, workers=encode.workers,
        description="Recognising query videos",
    )  # fmt: skip
    scores = encoder.heads(window_means(features, num_clips) if average == "features" else features).scores
    assert scores is not None  # of the class head
    if average == "features":
        return scores
    return window_means(class_probabilities(scores, is_multi_label=run.is_multi_label), num_clips)


def class_places(dataset: Dataset, labels: Sequence[str], *, run_name: str) -> np.ndarray:
    """Return where each class of a data set stands among those of a run, int64 [num_classes].

    Names count as the same with other capitals, and with _ or - for a space.

    Raises:
        DatasetError: the run does not know one of them.
    """
    plain, folded = list(labels), [_plain(label) for label in labels]
    places = [
        plain.index(name) if name in plain
        else folded.index(_plain(name)) if folded.count(_plain(name)) == 1
        else -1
        for name in dataset.classes
    ]  # fmt: skip
    if -1 in places:
        raise DatasetError(
            f"class {dataset.classes[places.index(-1)]!r} of '{dataset.directory}' is not one of the {len(labels)} "
            f"that '{run_name}' knows ({', '.join(map(repr, labels[:3]))}, ...): evaluate on the data it was trained "
            "for, or train anew."
        )
    if len(set(places)) < len(places):
        twins = [name for name, place in zip(dataset.classes, places, strict=True) if places.count(place) > 1]
        raise DatasetError(f"classes {twins[0]!r} and {twins[1]!r} of '{dataset.directory}' are one to '{run_name}'.")
    return np.array(places, np.int64)


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _in_places(labels: np.ndarray, places: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Turn labels of a data set into those of a run; -1 stays -1."""
    if labels.ndim == 2:
        moved = np.zeros((len(labels), num_classes), bool)
        moved[:, places] = labels
        return moved
    return np.where(labels < 0, -1, places[labels])


def class_numbers(
    scores: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, *, classes: Sequence[str]
) -> dict[str, Any]:
    """Score predictions.

    Args:
        scores: what ranks the classes, float [N, num_classes].
        probabilities: float [N, num_classes], 0..1.
        labels: int64 [N], -1 where it is not known, which is left out; or bool [N, num_classes].
    Returns:
        JSON-safe: accuracies, "ece", "report", "confusion_matrix" (rows are true classes) and "most_confused"; of
        several labels "class_mAP", "class_AP", "report" at a probability of THRESHOLD, and "thresholds".
    """
    if labels.ndim == 2:
        values = label_average_precision(scores, labels)
        return {
            **recognition_report(scores, labels),
            "class_AP": {name: None if np.isnan(value) else float(value)
                         for name, value in zip(classes, values, strict=True)},
            "report": classification_report(probabilities >= THRESHOLD, labels, classes=classes),
            "thresholds": threshold_table(probabilities, labels),
        }  # fmt: skip
    is_known = labels >= 0
    scores, probabilities, labels = scores[is_known], probabilities[is_known], labels[is_known]
    predictions = scores.argmax(axis=1)
    confusion = confusion_matrix(predictions, labels, num_classes=len(classes))
    return {
        **recognition_report(scores, labels),
        "ece": calibration(probabilities, labels).ece,
        "report": classification_report(predictions, labels, classes=classes),
        "most_confused": [
            {
                "label": classes[true],
                "prediction": classes[predicted],
                "count": count,
                "support": int(confusion[true].sum()),
            }
            for true, predicted, count in confused_pairs(confusion)
        ],
        "classes": list(classes),
        "confusion_matrix": confusion.tolist(),
    }
