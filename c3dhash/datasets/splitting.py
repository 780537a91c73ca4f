"""Deal samples into splits: by class, with groups kept together."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from c3dhash.datasets.groups import group_key
from c3dhash.datasets.samples import Dataset
from c3dhash.records import Sample

OWN_SHARES = {"train": 0.64, "val": 0.16, "query": 0.20}
NO_LABEL = -1


def stratified_split(samples: list[Sample], *, shares: dict[str, float], seed: int) -> list[Sample]:
    """Deal samples into splits so that every class has about its share in every split and no group is divided.

    The rarest class is dealt first: its groups, in random order, go one by one to the split that still lacks most of
    that class. In single-label data, a class with more groups than there are splits gets at least one in each. A
    group that spans classes, or holds samples of several labels, counts towards all of them.

    Args:
        samples: any splits; theirs are replaced. Groups are those of `group_key`.
        shares: split -> share, above 0, adding up to 1.
        seed: of the order.
    Returns:
        The samples in their order, with new splits.
    Source: Sechidis et al., "On the Stratification of Multi-Label Data", ECML PKDD 2011, algorithm 1; here for
        groups in the place of samples, and with the guarantee for small classes.
    """
    names = list(shares)
    groups: dict[str, Counter[int]] = {}
    for sample in samples:
        groups.setdefault(group_key(sample), Counter()).update(sample.labels or (NO_LABEL,))
    dealt = _deal(list(groups.values()), np.array(list(shares.values())), seed)
    split_of = {group: names[split] for group, split in zip(groups, dealt, strict=True)}
    return [replace(sample, split=split_of[group_key(sample)]) for sample in samples]


def _deal(groups: list[Counter[int]], shares: np.ndarray, seed: int) -> list[int]:
    """Return the place in `shares` of each group.

    Args:
        groups: label -> number of samples, of each group.
        shares: float64 [num_splits].
    """
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    members: dict[int, list[int]] = {}  # label -> groups that have it, in the order they are dealt
    for group in order:
        for label in groups[group]:
            members.setdefault(label, []).append(group)
    totals: Counter[int] = Counter()
    for group in groups:
        totals.update(group)
    wanted = {label: shares * total for label, total in totals.items()}  # what is still to come, [num_splits]
    num_dealt = {label: np.zeros(len(shares), np.int64) for label in totals}  # groups of a label in a split
    dealt = [-1] * len(groups)
    for label in sorted(members, key=lambda label: (len(members[label]), label)):
        open_groups = [group for group in members[label] if dealt[group] < 0]
        for place, group in enumerate(open_groups):
            has_none = num_dealt[label] == 0
            must_fill = len(members[label]) > len(shares) and len(open_groups) - place <= has_none.sum()
            candidates = np.flatnonzero(has_none) if must_fill else np.arange(len(shares))
            split = int(candidates[wanted[label][candidates].argmax()])
            dealt[group] = split
            for other, count in groups[group].items():
                wanted[other][split] -= count
                num_dealt[other][split] += 1
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


def straddling_groups(samples: list[Sample]) -> dict[str, Counter[str]]:
    """Return the groups that a split divides, with the number of samples that each split has of them.

    Training videos and the gallery may share groups: both are known when a query comes.
    """
    counts: dict[str, Counter[str]] = {}
    for sample in samples:
        counts.setdefault(group_key(sample), Counter())[sample.split] += 1
    return {
        group: splits
        for group, splits in counts.items()
        if len({"train" if split == "gallery" else split for split in splits}) > 1
    }
