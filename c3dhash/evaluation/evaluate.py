"""Codes and labels -> a report: numbers, a precision-recall plot, an HTML page.

The codes come from a run and a data set, or from a codes file, so that those of any other method are scored
by the same evaluator.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from c3dhash.bits import hamming_distances, pack_codes
from c3dhash.config import EncodeConfig, EvaluateConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.errors import DatasetError, UsageError
from c3dhash.evaluation.accuracy import recognition_report
from c3dhash.evaluation.codes import Codes, save_codes
from c3dhash.evaluation.comparison import compare, describe_comparison
from c3dhash.evaluation.counts import RankCounts, rank_counts
from c3dhash.evaluation.metrics import (
    average_precision,
    code_health,
    embedding_health,
    precision_recall_curve,
    ranking_report,
)
from c3dhash.files import claim_names, write_text
from c3dhash.records import Sample
from c3dhash.report.pages import film_strip, picture, write_report_page
from c3dhash.report.plots import plot_precision_recall

if TYPE_CHECKING:  # torch is imported where a run is evaluated, not to score codes
    from c3dhash.models.encode import Encoded
    from c3dhash.models.runs import Run
    from c3dhash.video.clips import ClipReader

logger = logging.getLogger(__name__)

NUM_EXAMPLES, NUM_EXAMPLE_HITS = 9, 6
# What may be written into a folder, of codes or of classes; and what earlier versions wrote, of codes.
FIRST_REPORT_FILES = ("report.json", "report.html", "codes.npz", "precision_recall.png")
REPORT_FILES = (*FIRST_REPORT_FILES, "predictions.csv", "confusion_matrix.png", "reliability.png")


@dataclass(frozen=True, repr=False)
class Report:
    """What was measured. numbers: JSON-safe, by the names of DESIGN. The rest is for the page."""

    numbers: dict[str, Any]
    codes: Codes | None = None
    counts: RankCounts | None = None
    dataset: Dataset | None = None
    title: str = "Evaluation"

    def __repr__(self) -> str:
        return f"Report({json.dumps(self.numbers)})"


def evaluate_codes(codes: Codes, *, config: EvaluateConfig | None = None, title: str = "Evaluation") -> Report:
    """Score codes: see `ranking_report` and `code_health` for what is in the report."""
    config = config or EvaluateConfig()
    counts = rank_counts(
        codes.query_codes, codes.gallery_codes, codes.query_labels, codes.gallery_labels, hash_length=codes.hash_length
    )
    numbers = {
        **ranking_report(counts, k=config.k, radius=config.radius),
        **code_health(codes.gallery_codes, hash_length=codes.hash_length),
        "num_queries": len(codes.query_codes),
        "num_gallery": len(codes.gallery_codes),
        "hash_length": codes.hash_length,
    }
    return Report(numbers, codes, counts, title=title)


def evaluate_run(
    run: Run | Sequence[Run],
    dataset: Dataset,
    *,
    reader: ClipReader | Sequence[ClipReader],
    config: EvaluateConfig | None = None,
    encode: EncodeConfig | None = None,
) -> Report:
    """Encode the gallery and the queries of a data set, one window a video, and score codes and recognition.

    Args:
        run: a Run with a hash head; or several, whose codes are put beside each other, whose class scores are fused as
            the settings say, and whose features are compared at length 1, beside each other.
        dataset: its query split (the val videos where there is none) is searched for in its gallery split (the training
            videos where there is none).
        reader: a ClipReader of the run's clip size, of each run.
        config: depth and radius, how runs are fused, and whether to compare with the features themselves and with codes
            made of them without training; the report then has a "comparison", a list with a row a method (see
            `compare`).
        encode: an EncodeConfig.
    Raises:
        CheckpointError: a run makes no codes; `evaluate_classes` is for it.
        UsageError: runs that cannot be fused.
        DatasetError: no queries, no gallery, or the data set has other classes than the run.
    """
    from c3dhash.models.fusion import as_list, check_alike, fusion_weights

    encode, config = encode or EncodeConfig(), config or EvaluateConfig()
    runs, readers, splits = as_list(run), as_list(reader), ("gallery", "query")
    hash_length = sum(each.hash_length for each in runs)
    weights = fusion_weights(config.fuse, num_runs=len(runs))
    if len(runs) > 1 and all(each.model.class_head is not None for each in runs):
        check_alike(runs)
    if config.average != "features":
        raise UsageError(f"average ({config.average!r}) goes with --task classify: codes are made of mean features.")
    for each in runs:
        _check_classes(each, dataset)
    for split in splits:
        if not dataset.split(split):
            raise DatasetError(f"'{dataset.directory}' has no {split} videos ({dataset.describe()}).")
    parts = _encode(dataset, splits, runs=runs, readers=readers, weights=weights, config=encode)
    queries, encoded_queries = parts["query"]
    say_stand_in(dataset, queries)
    for each in runs:
        warn_of_leak(each, dataset, queries)
    query_labels = dataset.labels(queries)
    numbers: dict[str, Any] = {}
    is_known = np.array([bool(sample.labels) for sample in queries]) | dataset.is_multi_label
    if encoded_queries.scores is not None and is_known.any():
        numbers.update(recognition_report(encoded_queries.scores[is_known], query_labels[is_known]))
    gallery, encoded_gallery = parts["gallery"]
    assert encoded_gallery.embeddings is not None and encoded_queries.embeddings is not None  # there is a hash head
    codes = Codes(
        pack_codes(encoded_gallery.embeddings), dataset.labels(gallery),
        pack_codes(encoded_queries.embeddings), query_labels, hash_length,
    )  # fmt: skip
    report = evaluate_codes(codes, config=config)
    numbers = {**report.numbers, **embedding_health(encoded_gallery.embeddings), **numbers}
    if config.compare:
        assert report.counts is not None  # codes have them
        numbers["comparison"] = compare(
            codes, encoded_gallery.features, encoded_queries.features, query_embeddings=encoded_queries.embeddings,
            counts=report.counts, k=config.k,
        )  # fmt: skip
    shown = Dataset(dataset.directory, dataset.format, dataset.classes, (*gallery, *queries))
    return Report(numbers, codes, report.counts, shown, title=f"{names_of(runs)} on {dataset.directory}")


def _encode(
    dataset: Dataset,
    splits: Sequence[str],
    *,
    runs: Sequence[Run],
    readers: Sequence[ClipReader],
    weights: Sequence[float],
    config: EncodeConfig,
) -> dict[str, tuple[list[Sample], Encoded]]:
    """Encode those videos of each split that can be read; return them with what was encoded."""
    from c3dhash.models.encode import encode_samples, make_encoder
    from c3dhash.models.fusion import fuse_encoded

    samples = {split: readable_by_all(readers, dataset, split, workers=config.workers) for split in splits}
    found: dict[str, list[Encoded]] = {split: [] for split in splits}
    for run, reader in zip(runs, readers, strict=True):
        encoder = make_encoder(run.model, config, num_clips=sum(map(len, samples.values())))
        for split in splits:
            found[split].append(encode_samples(
                encoder, samples[split], reader=reader, batch_size=config.batch_size, workers=config.workers,
                description=f"Encoding {split} videos",
            ))  # fmt: skip
    return {split: (samples[split], fuse_encoded(found[split], weights)) for split in splits}


def _check_classes(run: Run, dataset: Dataset) -> None:
    """Raise unless a run knows the classes of a data set, or none at all, as one from `index --backbone`."""
    if run.labels == dataset.classes or not (run.labels or run.model.class_head is not None):
        return
    unknown = sorted(set(dataset.classes) - set(run.labels))
    what = f"class {unknown[0]!r} is unknown to it" if unknown else "the order or number of classes differs"
    raise DatasetError(
        f"run '{run.path}' was trained on {len(run.labels)} classes, '{dataset.directory}' has "
        f"{len(dataset.classes)}: {what}. Evaluate on the data it was trained for, or train anew."
    )


def readable_by_all(readers: Sequence[ClipReader], dataset: Dataset, split: str, *, workers: int) -> list[Sample]:
    """Return the videos of a split that each reader can read."""
    samples = dataset.split(split)
    for reader in readers:
        samples = reader.readable(samples, workers=workers, description=f"Decoding {split} videos")
    return samples


def names_of(runs: Sequence[Run]) -> str:
    """Return what a report calls the runs that it is about."""
    return " + ".join(str(run.path) for run in runs)


def say_stand_in(dataset: Dataset, queries: list[Sample]) -> None:
    """Log that val videos are asked, where a data set has no queries."""
    if queries and queries[0].split == "val":
        logger.warning("'%s' has no test videos, so that its val videos are the queries.", dataset.directory)


def warn_of_leak(run: Run, dataset: Dataset, queries: list[Sample]) -> None:
    """Log a warning where queries are among the videos that a run was trained or validated on."""
    if run.config.get("data") != str(dataset.directory.resolve()) or not (run.path / "videos.txt").is_file():
        return
    if queries and queries[0].split == "val":
        logger.warning(
            "the val videos chose the epoch of '%s' that was kept: its figures are a little too good.", run.path
        )  # fmt: skip
        return
    names = set((run.path / "videos.txt").read_text(encoding="utf-8").split("\n"))
    num_seen = sum(os.path.relpath(sample.video, dataset.directory) in names for sample in queries)
    if num_seen:
        logger.warning(
            "%d of %d queries are among the videos that '%s' was trained on: the data set was divided anew since. "
            "Fix its split (c3dhash data split) and train again; these figures are too good.",
            num_seen, len(queries), run.path,
        )  # fmt: skip


def describe(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """Turn the numbers into rows for people: (name, value). The comparison has a table of its own."""
    rows = []
    for name, value in numbers.items():
        if name == "comparison":
            continue
        if isinstance(value, dict):
            spread = f" (worst order of ties {_format(value['worst'])}, best {_format(value['best'])})"
            rows.append((name, _format(value["expected"]) + spread))
        else:
            rows.append((name.replace("_", " "), _format(value)))
    return rows


def claim_report(directory: Path) -> None:
    """Make sure that a report may be written into a folder, before it is computed.

    Raises:
        UsageError: the folder holds files of its names that are not of an earlier report.
    """
    claim_names(directory, REPORT_FILES, made_by="evaluate", first_names=FIRST_REPORT_FILES)


def drop_earlier(directory: Path, *, written: Collection[str]) -> None:
    """Delete the files of an earlier report of another kind, once the new one is written.

    Args:
        written: names of the new one.
    """
    for name in set(REPORT_FILES) - set(written):
        (directory / name).unlink(missing_ok=True)


def write_report(report: Report, directory: Path) -> Path:
    """Write report.json, codes.npz, precision_recall.png and report.html; return the path of the page.

    Raises:
        UsageError: as of `claim_report`.
    """
    claim_report(directory)
    content, curve = dict(report.numbers), None
    if report.codes is not None and report.counts is not None:
        save_codes(report.codes, directory / "codes.npz")
        precision, recall = precision_recall_curve(report.counts)
        content["precision_recall"] = {"precision": precision.tolist(), "recall": recall.tolist()}
        plot_precision_recall(recall, precision, directory / "precision_recall.png")
        curve = picture(directory / "precision_recall.png")
    write_text(directory / "report.json", json.dumps(content, indent=2) + "\n")
    protocol = "Recognition of the query videos."
    if report.codes is not None:
        protocol = (
            f"{len(report.codes.query_codes)} queries against a gallery of {len(report.codes.gallery_codes)} "
            f"videos, {report.codes.hash_length}-bit codes."
        )
    page = directory / "report.html"
    write_report_page(
        page,
        title=report.title,
        protocol=protocol,
        numbers=describe(report.numbers),
        comparison=describe_comparison(report.numbers["comparison"]) if "comparison" in report.numbers else None,
        curve=curve,
        examples=_examples(report),
    )
    drop_earlier(directory, written=FIRST_REPORT_FILES)
    return page


def _format(value: float | int | None) -> str:
    if value is None:
        return "not defined"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _examples(report: Report) -> list[dict[str, Any]]:
    """Choose queries from the best to the worst AP, each with its nearest videos and whether they are relevant."""
    if report.dataset is None or report.codes is None or report.counts is None:
        return []
    codes = report.codes
    gallery = report.dataset.split("gallery") or report.dataset.split("train")
    queries = report.dataset.split("query")
    values = average_precision(report.counts)
    ranked = [query for query in np.argsort(-values, kind="stable") if not np.isnan(values[query])]
    chosen = (
        [ranked[place] for place in np.unique(np.linspace(0, len(ranked) - 1, NUM_EXAMPLES).astype(int))]
        if ranked
        else []
    )
    examples = []
    for query in chosen:
        distances = hamming_distances(codes.query_codes[query : query + 1], codes.gallery_codes)[0]
        nearest = np.argsort(distances, kind="stable")[:NUM_EXAMPLE_HITS]
        hits = [
            {
                "video": gallery[item].video.name,
                "label": _label(report.dataset, gallery[item]),
                "distance": int(distances[item]),
                "relevant": bool(set(gallery[item].labels) & set(queries[query].labels)),
                "strip": film_strip(gallery[item]),
            }
            for item in nearest
        ]
        example = {
            "video": queries[query].video.name,
            "label": _label(report.dataset, queries[query]),
            "ap": float(values[query]),
            "strip": film_strip(queries[query]),
            "hits": hits,
        }
        examples.append(example)
    return examples


def _label(dataset: Dataset, sample: Sample) -> str:
    return ", ".join(dataset.classes[label] for label in sample.labels) or "no label"
