"""Divide a data set into train, val and query by class and by group, and write that as list files.

    Dataset ──> groups kept together, classes in proportion ──> train.txt, val.txt, test.txt, labels.txt

The lists are in the first of c3dhash's conventions that can hold all samples (c3dhash.datasets.conventions); every line
is parsed again before anything is written.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from c3dhash.datasets.conventions import CONVENTIONS, Line, format_line
from c3dhash.datasets.find import find_dataset, recognise
from c3dhash.datasets.groups import group_key
from c3dhash.datasets.lists import twins
from c3dhash.datasets.places import without_suffix
from c3dhash.datasets.samples import SPLITS, Dataset
from c3dhash.datasets.splitting import OWN_SHARES, stratified_split
from c3dhash.datasets.text import read_class_names
from c3dhash.errors import DatasetError, UsageError
from c3dhash.files import write_text
from c3dhash.records import FrameFolder, Sample
from c3dhash.video.frame_folder import holds_flow_alone, pictures_of

LIST_NAMES = {"train": "train", "val": "val", "gallery": "gallery", "query": "test"}
LABELS_FILE = "labels.txt"
MAX_FOLDS = 99


@dataclass(frozen=True)
class SplitReport:
    """What was written: file name -> samples in it; the number of groups that were dealt; the reader's name."""

    directory: Path
    format: str
    lists: dict[str, int]
    num_groups: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "directory": str(self.directory),
            "format": self.format,
            "lists": self.lists,
            "num_groups": self.num_groups,
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Return the report for people."""
        lines = [f"{self.directory / name}: {count} videos" for name, count in self.lists.items()]
        return "\n".join([*lines, f"{self.num_groups} groups", *(f"note: {note}" for note in self.notes)])


def split_dataset(
    directory: Path | str,
    *,
    output_dir: Path | str | None = None,
    shares: dict[str, float] | None = None,
    folds: int | None = None,
    group_regex: str | None = None,
    seed: int = 0,
    format: str | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
) -> SplitReport:
    """Write list files that divide a data set, whatever splits it has now.

    Args:
        directory, format, allow_missing: as of `find_dataset`.
        output_dir: where the lists go, with paths relative to it; by default the data set's folder.
        shares: split -> share, above 0, adding up to 1; OWN_SHARES by default.
        folds: k; instead of shares, every sample is a query in one of k splits and in train in the others. The
            lists are train_split_1.txt, test_split_1.txt, ...: `--split 2` reads fold 2.
        group_regex: searched for in the path of each video without its suffix, from the data set's folder. What its
            first group matches (the whole match where it has none) must stay together, across classes too. By
            default groups are recognised by the names that UCF101, HMDB51 and JHMDB have.
        seed: of the order; the same seed gives the same lists.
        overwrite: replace lists of the same names.
    Raises:
        UsageError: an argument is out of range, or there are such lists already.
        DatasetError: no data set, too few groups, a name that the regex does not match or a list cannot hold.
    """
    shares = _check(shares, folds=folds)
    dataset = find_dataset(directory, format=format, allow_missing=allow_missing)
    output_dir = dataset.directory if output_dir is None else Path(output_dir)
    names = _list_names(shares, folds=folds)
    _check_output(output_dir, names, dataset.classes, overwrite=overwrite)
    samples, notes = _samples(dataset, group_regex)
    num_groups = len({group_key(sample) for sample in samples})
    if num_groups < (folds or len(shares)):
        raise DatasetError(f"'{dataset.directory}' has {num_groups} groups, too few for {folds or len(shares)} parts.")
    convention, lines = _lines(samples, output_dir)
    lists: dict[str, list[str]] = {name: [] for name in names}
    for name, line in _dealt(samples, lines, shares=shares, folds=folds, seed=seed):
        lists[name].append(line)
    output_dir.mkdir(parents=True, exist_ok=True)
    labels_path = output_dir / LABELS_FILE
    if not labels_path.is_file() or read_class_names(labels_path) != dataset.classes:
        write_text(labels_path, _labels_text(dataset.classes))
    for name, content in lists.items():
        write_text(output_dir / name, "".join(f"{line}\n" for line in content))
    if (seen_as := recognise(output_dir)) != convention:
        notes.append(f"'{output_dir}' is read as {seen_as}; for these lists type: --format {convention}")
    counts = {name: len(content) for name, content in lists.items()}
    return SplitReport(output_dir, convention, counts, num_groups, tuple(notes))


def _check(shares: dict[str, float] | None, *, folds: int | None) -> dict[str, float]:
    if folds is not None and shares is not None:
        raise UsageError(f"folds ({folds}) and shares ({shares}) exclude each other; give one.")
    if folds is not None and not 2 <= folds <= MAX_FOLDS:
        raise UsageError(f"folds ({folds}) must be between 2 and {MAX_FOLDS}; 5 is a good start.")
    shares = OWN_SHARES if shares is None else shares
    total = sum(shares.values())
    if not set(shares) <= set(SPLITS) or not all(share > 0 for share in shares.values()) or abs(total - 1) > 1e-6:
        raise UsageError(
            f"shares ({shares}) must be shares above 0 of {', '.join(SPLITS)} that add up to 1, got {total:g}."
        )
    return shares


def _list_names(shares: dict[str, float], *, folds: int | None) -> list[str]:
    if folds is None:
        return [f"{LIST_NAMES[split]}.txt" for split in SPLITS if split in shares]
    return [f"{LIST_NAMES[split]}_split_{fold}.txt" for fold in range(1, folds + 1) for split in ("train", "query")]


def _check_output(output_dir: Path, names: list[str], classes: tuple[str, ...], *, overwrite: bool) -> None:
    """Raise where lists would be lost, or read together with ours."""
    if not output_dir.is_dir():
        return
    labels_path = output_dir / LABELS_FILE
    if labels_path.is_file() and read_class_names(labels_path) != classes and not overwrite:
        raise UsageError(f"'{labels_path}' names other classes; --force replaces it, or name another --output DIR.")
    for path in twins(output_dir, names):
        if path.name not in names or not overwrite:
            hint = "--force replaces it" if path.name in names else "move it away"
            raise UsageError(f"there is a list '{path}' already; {hint}, or name another folder: --output DIR.")


def _samples(dataset: Dataset, group_regex: str | None) -> tuple[list[Sample], list[str]]:
    """Return the samples to deal, each once, with their groups; and notes on what is left out."""
    samples = list({(sample.video, sample.frames, sample.segment): sample for sample in dataset.samples}.values())
    notes = [f"{len(dataset.missing)} listed videos are missing and left out."] if dataset.missing else []
    if not dataset.is_multi_label:
        labelled = [sample for sample in samples if sample.labels]
        if len(labelled) < len(samples):
            notes.append(f"{len(samples) - len(labelled)} videos without a label are left out.")
        samples = labelled
    if group_regex is None:
        return samples, notes
    try:
        pattern = re.compile(group_regex)
    except re.error as error:
        raise UsageError(f"group_regex ({group_regex!r}) is no regular expression: {error}.") from error
    return [replace(sample, group=_group(sample, pattern, dataset.directory)) for sample in samples], notes


def _group(sample: Sample, pattern: re.Pattern[str], directory: Path) -> str:
    name = without_suffix(Path(os.path.relpath(sample.video, directory)).as_posix())
    match = pattern.search(name)
    if not match:
        raise DatasetError(f"group_regex ({pattern.pattern!r}) does not match {name!r}; it must match every video.")
    return match[1] if pattern.groups else match[0]


def _lines(samples: list[Sample], output_dir: Path) -> tuple[str, list[str]]:
    """Return the convention that can hold all samples, and their lines in it."""
    convention = "lists"
    if any(sample.segment for sample in samples):
        convention = "segments"
    elif any(sample.frames and sample.frames.num_frames for sample in samples):
        convention = "rawframes_offset"
        samples = [replace(sample, frames=_counted(sample)) for sample in samples]
    texts = []
    for sample in samples:
        path = Path(os.path.relpath(sample.video, output_dir)).as_posix()
        line = Line(path, sample.labels, sample.segment, None if convention == "lists" else sample.frames)
        text = format_line(line)
        if "\n" in text or "\r" in text or CONVENTIONS[convention].parse(text.strip()) != line:
            form = CONVENTIONS[convention].form
            raise DatasetError(f"'{sample.video}' cannot be listed as '{form}' with labels {sample.labels}; rename it.")
        texts.append(text)
    return convention, texts


def _counted(sample: Sample) -> FrameFolder | None:
    """Return which frames of its folder a sample is, with their number."""
    if sample.frames is None or sample.frames.num_frames:
        return sample.frames
    planes, _ = pictures_of(sample.video, sample.frames, is_flow=holds_flow_alone(sample.video))
    return replace(sample.frames, num_frames=len(planes[0]))


def _dealt(
    samples: list[Sample], lines: list[str], *, shares: dict[str, float], folds: int | None, seed: int
) -> list[tuple[str, str]]:
    """Return (list, line) for every line of every list."""
    if folds is None:
        dealt = stratified_split(samples, shares=shares, seed=seed)
        return [(f"{LIST_NAMES[sample.split]}.txt", line) for sample, line in zip(dealt, lines, strict=True)]
    parts = {str(fold): 1 / folds for fold in range(1, folds + 1)}
    dealt = stratified_split(samples, shares=parts, seed=seed)
    return [
        (f"{'test' if sample.split == fold else 'train'}_split_{fold}.txt", line)
        for fold in parts
        for sample, line in zip(dealt, lines, strict=True)
    ]


def _labels_text(classes: tuple[str, ...]) -> str:
    """Return the lines of labels.txt; with numbers where some of the names are numbers."""
    is_numbered = any(re.match(r"\d+\s", name) for name in classes)
    return "".join(f"{number} {name}\n" if is_numbered else f"{name}\n" for number, name in enumerate(classes))
