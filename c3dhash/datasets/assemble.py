"""How what a reader found in lists becomes a data set.

    reader ──> Listing: classes, and an entry a line ──> assemble() ──> Dataset: samples that are on disk

A reader knows one annotation convention and nothing of the disk; `assemble` finds the videos or frame folders,
counts what is missing, and deals out splits where the lists do not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from c3dhash.datasets.groups import infer_group
from c3dhash.datasets.places import Places
from c3dhash.datasets.samples import Dataset
from c3dhash.datasets.splitting import OWN_SHARES, stratified_split
from c3dhash.errors import DatasetError
from c3dhash.records import FrameFolder, Sample, Segment

NO_SPLIT = "all"  # of an entry whose split its lists leave open
NUM_NAMED = 3  # missing videos named in an error


@dataclass(frozen=True)
class Entry:
    """A line of a list, before its video is looked for.

    names: the paths it may mean, from the data set's folder or absolute, the likeliest first. labels: indices
    into the classes. split: of SPLITS, or NO_SPLIT. origin: where it stands, for errors. segment, frames: the part
    that is meant. group: what it was cut from, where its place says so and its name does not.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    split: str
    origin: str
    segment: Segment | None = None
    frames: FrameFolder | None = None
    group: str | None = None


@dataclass(frozen=True)
class Listing:
    """What a reader found: the classes in label order, the entries, and remarks for the user."""

    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def assemble(directory: Path, format: str, listing: Listing, *, seed: int, allow_missing: bool) -> Dataset:
    """Find the videos of a listing and settle their splits.

    Args:
        directory: the data set's folder.
        format: the reader's name.
        listing: what it read.
        seed: of own splits.
        allow_missing: leave out what is not there, with a note.
    Raises:
        DatasetError: no entries, no label or one out of range, videos that are missing, or a part of a video
            that cannot be cut.
    """
    places = Places(directory)
    samples, missing = [], []
    for entry in listing.entries:
        path = places.find(entry.names, split=entry.split)
        if path is None:
            missing.append(entry.names[0])
        else:
            samples.append(_sample(entry, path, listing.classes))
    notes = list(listing.notes)
    if missing:
        text = _describe_missing(directory, missing, num_listed=len(listing.entries))
        if not allow_missing or not samples:
            raise DatasetError(f"{text}; put them there, or go on without them: --allow-missing.")
        notes.append(f"{text}; they are left out.")
    if not samples:
        raise DatasetError(f"'{directory}', read as {format}, lists no videos.")
    if not any(sample.labels for sample in samples):
        raise DatasetError(
            f"none of the {len(samples)} videos in '{directory}', read as {format}, has a label (-1 is none); "
            "write labels from 0, or index the videos without any: c3dhash index."
        )
    samples, split_notes = _settle_splits(samples, seed=seed)
    return Dataset(directory, format, listing.classes, tuple(samples), (*notes, *split_notes), tuple(missing))


def _sample(entry: Entry, path: Path, classes: tuple[str, ...]) -> Sample:
    """Make the sample of an entry that was found at a path."""
    for label in entry.labels:
        if not 0 <= label < len(classes):
            raise DatasetError(
                f"{entry.origin}: label {label} of {entry.names[0]!r} must be between 0 and {len(classes) - 1}, "
                f"there are {len(classes)} classes; labels count from 0."
            )
    class_name = classes[entry.labels[0]] if entry.labels else ""
    group = infer_group(path, class_name=class_name) or entry.group
    frames = entry.frames
    if path.is_dir():
        frames = frames or FrameFolder()
    elif frames and frames.offset:
        raise DatasetError(
            f"{entry.origin}: {frames.offset} frames of '{path}' are to be skipped, but videos are cut by seconds "
            "only; turn them into frame folders: c3dhash data frames."
        )
    else:
        frames = None
    return Sample(path, entry.labels, entry.split, group, entry.segment, frames)


def _describe_missing(directory: Path, missing: list[str], *, num_listed: int) -> str:
    first = ", ".join(f"'{name}'" for name in missing[:NUM_NAMED])
    rest = " ..." if len(missing) > NUM_NAMED else ""
    return f"{len(missing)} of {num_listed} videos that the lists of '{directory}' name are missing: {first}{rest}"


def _settle_splits(samples: list[Sample], *, seed: int) -> tuple[list[Sample], list[str]]:
    """Give every sample a split of SPLITS, and see that there is something to query with; return notes too."""
    if any(sample.split == NO_SPLIT for sample in samples):
        shares = ", ".join(f"{share:.0%} {split}" for split, share in OWN_SHARES.items())
        note = f"no split is given: own split {seed}, {shares}, by class and group."
        return stratified_split(samples, shares=OWN_SHARES, seed=seed), [note]
    splits = {sample.split for sample in samples if sample.labels}
    if "val" not in splits or "query" in splits:
        return samples, []
    notes = ["no labelled test list: the val videos are the queries, and training keeps a val part of its own."]
    if num_unlabelled := sum(sample.split == "query" for sample in samples):
        notes.append(f"{num_unlabelled} test videos have no label and are left out.")
    samples = [
        replace(sample, split="query") if sample.split == "val" else sample
        for sample in samples
        if sample.split != "query"
    ]
    return samples, notes
