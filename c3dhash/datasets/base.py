"""What every reader gives: a data set, its classes and its samples; and what they share."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from c3dhash.errors import DatasetError
from c3dhash.records import Sample

SPLITS = ("train", "val", "gallery", "query")

# UCF101 names a clip v_<Class>_g<source>_c<clip>.
UCF_GROUP = re.compile(r"_g(\d+)_c\d+$")


@dataclass(frozen=True, repr=False)
class Dataset:
    """A data set as it lies on disk.

    format: the reader's name. classes: in label order. samples: labels index into classes; splits are
    "train", "val", "gallery" and "query".
    """

    directory: Path
    format: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]

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
        """Return the samples of a split. Where there is no gallery, the training videos are searched in."""
        samples = [sample for sample in self.samples if sample.split == name]
        if not samples and name == "gallery":
            return self.split("train")
        return samples

    def labels(self, samples: list[Sample]) -> np.ndarray:
        """Return labels as metrics and losses want them: int64 [N], or bool [N, num_classes] where multi-label."""
        if self.is_multi_label:
            labels = np.zeros((len(samples), len(self.classes)), bool)
            for row, sample in zip(labels, samples, strict=True):
                row[list(sample.labels)] = True
            return labels
        return np.array([sample.labels[0] if sample.labels else -1 for sample in samples], np.int64)


def infer_group(video: Path, *, class_name: str) -> str | None:
    """Tell from a file name which source video a clip was cut from, where the name says so.

    UCF101: `v_Archery_g07_c02` -> `g07`. HMDB51 and JHMDB: what stands before `_<class>_`. The class is part
    of the group, since the numbers of UCF101 start anew in each class.
    """
    if match := UCF_GROUP.search(video.stem):
        return f"{class_name}/g{match[1]}"
    source, separator, _ = video.stem.rpartition(f"_{class_name}_")
    return f"{class_name}/{source}" if separator else None


def check_videos(samples: list[Sample], *, list_path: Path) -> None:
    """Raise a DatasetError that counts the videos that are not there, and names the first few."""
    missing = [sample.video for sample in samples if not sample.video.exists()]
    if missing:
        first = ", ".join(f"'{path}'" for path in missing[:3])
        raise DatasetError(
            f"{len(missing)} of {len(samples)} videos of '{list_path}' are missing: {first}"
            f"{' ...' if len(missing) > 3 else ''}; put them there or mend the list."
        )


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not blank, with their numbers from 1; any line ends, any BOM."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"list '{path}' cannot be read: {error}.") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def stratified_split(
    samples: list[Sample], *, shares: dict[str, float], seed: int
) -> list[Sample]:
    """Deal the samples of every class into splits, keeping groups together.

    The groups of a class are shuffled and dealt one by one to the split that is furthest below its share, so that
    every class has about its share in every split, and at least one group of it where there are enough.

    Args:
        samples: any splits; theirs are replaced. Multi-label samples are dealt by their first label.
        shares: split -> share, adding up to 1.
        seed: of the shuffle.
    Returns:
        The samples in their order, with new splits.
    """
    rng = np.random.default_rng(seed)
    groups: dict[int, dict[str, list[int]]] = {}
    for index, sample in enumerate(samples):
        label = sample.labels[0] if sample.labels else -1
        groups.setdefault(label, {}).setdefault(sample.group or str(sample.video), []).append(index)
    dealt = list(samples)
    for label in sorted(groups):
        counts = dict.fromkeys(shares, 0)
        members = list(groups[label].values())
        for position in rng.permutation(len(members)):
            split = min(shares, key=lambda name: (counts[name] + 1) / shares[name])
            counts[split] += len(members[position])
            for index in members[position]:
                dealt[index] = replace(samples[index], split=split)
    return dealt


def carve_val(dataset: Dataset, *, share: float, seed: int) -> Dataset:
    """Move a share of the training groups to a val split, where the data set has none.

    Model selection then looks at neither the gallery nor the queries.
    """
    if any(sample.split == "val" for sample in dataset.samples):
        return dataset
    train = [sample for sample in dataset.samples if sample.split == "train"]
    rest = [sample for sample in dataset.samples if sample.split != "train"]
    train = stratified_split(train, shares={"train": 1 - share, "val": share}, seed=seed)
    if not any(sample.split == "gallery" for sample in rest):
        # The training list stays the gallery as a whole: the protocol does not change with our val split.
        rest += [replace(sample, split="gallery") for sample in train]
    return replace(dataset, samples=(*train, *rest))
