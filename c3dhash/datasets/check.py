"""Look at every video of a data set, and say what is there and what is wrong.

    Dataset ──> every file once: its bytes hashed in a thread, all its frames decoded in a process ──> CheckReport

A data set is clean when every listed video is there and decodes, every segment lies inside its video, no two videos are
the same, no split divides a group, and every class has the two training videos that a triplet needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from c3dhash.datasets.find import READERS, find_dataset
from c3dhash.datasets.samples import SPLITS, Dataset
from c3dhash.datasets.splitting import straddling_groups
from c3dhash.errors import VideoError
from c3dhash.records import FrameFolder, Sample
from c3dhash.video.decoder import Decoder
from c3dhash.video.frame_folder import holds_flow_alone, pictures_of
from c3dhash.video.isolation import DecoderPool
from c3dhash.video.pictures import read_picture
from c3dhash.video.samples import sample_hash

MIN_TRAIN_VIDEOS = 2  # an anchor and a positive
NUM_SHOWN = 10  # findings of a kind in the text
OVERHANG_SECONDS = 0.1  # of a segment past the end of its video, which lists round


@dataclass(frozen=True)
class VideoFacts:
    """What a video, or a frame folder, turned out to be; or, with `reason`, why it cannot be read.

    num_frames: as many as decode, whatever the header claims.
    """

    content_hash: str = ""
    num_frames: int = 0
    duration_seconds: float = 0.0
    size_px: str = ""
    reason: str | None = None

    @property
    def fps(self) -> int:
        """The mean frame rate, rounded: recordings drop frames, and 29.97 is 30 to a reader."""
        return round(self.num_frames / self.duration_seconds)


Facts = dict[tuple[Path, FrameFolder | None], VideoFacts]


@dataclass(frozen=True)
class OutsideSegment:
    """A segment of a list that begins or ends after its video."""

    video: str
    start_seconds: float
    end_seconds: float
    duration_seconds: float

    def __str__(self) -> str:
        return f"{self.video}: {self.start_seconds:g} to {self.end_seconds:g} s of {self.duration_seconds:.2f} s"


@dataclass(frozen=True)
class CheckReport:
    """What is in a data set, and what is wrong with it. Videos are named from the data set's folder.

    counts: split -> class -> readable videos that have the label. durations_seconds: one a readable video.
    frame_rates: frames a second, rounded -> videos. sizes: "width x height" -> videos. missing: listed but not
    there. unreadable: video -> reason. outside: segments that their videos are too short for. duplicates: videos
    with the same bytes, together. leaks: group -> split -> videos, where a split divides a group. small_classes:
    class -> training videos, where these are too few for a triplet.
    """

    directory: Path
    format: str
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    num_videos: dict[str, int]
    durations_seconds: tuple[float, ...]
    frame_rates: dict[str, int]
    sizes: dict[str, int]
    missing: tuple[str, ...]
    unreadable: dict[str, str]
    outside: tuple[OutsideSegment, ...]
    duplicates: tuple[tuple[str, ...], ...]
    leaks: dict[str, dict[str, int]]
    small_classes: dict[str, int]

    @property
    def is_clean(self) -> bool:
        return not self._findings()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "directory": str(self.directory),
            "format": self.format,
            "is_clean": self.is_clean,
            "classes": list(self.classes),
            "notes": list(self.notes),
            "num_videos": self.num_videos,
            "counts": self.counts,
            "duration_seconds": _spread(self.durations_seconds),
            "frame_rates": self.frame_rates,
            "sizes": self.sizes,
            "missing": list(self.missing),
            "unreadable": [{"video": video, "reason": reason} for video, reason in self.unreadable.items()],
            "outside": [asdict(segment) for segment in self.outside],
            "duplicates": [list(videos) for videos in self.duplicates],
            "leaks": [{"group": group, "splits": splits} for group, splits in self.leaks.items()],
            "small_classes": self.small_classes,
        }

    def to_text(self) -> str:
        """Return the report for people, a line a fact; of each kind of finding the first few."""
        lines = [f"{self.directory}: {READERS[self.format].what} ({self.format})"]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"{len(self.classes)} classes")
        for split, num_videos in self.num_videos.items():
            in_class = self.counts[split].values()
            lines.append(f"{split}: {num_videos} videos, {min(in_class)} to {max(in_class)} a class")
        if self.durations_seconds:
            spread = _spread(self.durations_seconds)
            lines.append(
                f"durations: {spread['min']:.2f} to {spread['max']:.2f} s, median {spread['median']:.2f} s, "
                f"{spread['total'] / 3600:.2f} h in all"
            )
            lines.append("frame rates: " + _shares(self.frame_rates, unit=" fps"))
            lines.append("sizes: " + _shares(self.sizes))
        findings = self._findings()
        for title, rows in findings.items():
            rest = [f"  ... and {len(rows) - NUM_SHOWN} more"] if len(rows) > NUM_SHOWN else []
            lines += [f"{title}: {len(rows)}", *(f"  {row}" for row in rows[:NUM_SHOWN]), *rest]
        lines.append("clean" if self.is_clean else f"not clean: {', '.join(findings)}")
        return "\n".join(lines)

    def _findings(self) -> dict[str, list[str]]:
        findings = {
            "missing": list(self.missing),
            "unreadable": [f"{video}: {reason}" for video, reason in self.unreadable.items()],
            "segments outside their video": [str(segment) for segment in self.outside],
            "duplicates": [" = ".join(videos) for videos in self.duplicates],
            "groups in several splits": [f"{group}: {_shares(splits)}" for group, splits in self.leaks.items()],
            "classes too small for a triplet": [
                f"{name}: {count} of at least {MIN_TRAIN_VIDEOS} training videos"
                for name, count in self.small_classes.items()
            ],
        }
        return {title: rows for title, rows in findings.items() if rows}


def check_dataset(directory: Path | str, *, split: int = 1, format: str | None = None, workers: int = 2) -> CheckReport:
    """Read a data set and decode every frame of its videos.

    Args:
        directory, split, format: as of `find_dataset`.
        workers: processes that decode.
    Raises:
        UsageError, DatasetError: there is no data set, or its lists are wrong.
    """
    dataset = find_dataset(directory, split=split, format=format, allow_missing=True)
    # A video may be in several samples, as segments or in several splits.
    files = list({(sample.video, sample.frames): sample for sample in dataset.samples}.values())
    with DecoderPool() as pool:
        inspected = pool.map(partial(inspect_sample, pool=pool), files, workers=workers)
        facts = list(tqdm(inspected, desc="Checking videos", total=len(files), unit="video"))
    return _report(dataset, {(sample.video, sample.frames): fact for sample, fact in zip(files, facts, strict=True)})


def inspect_sample(sample: Sample, *, pool: DecoderPool) -> VideoFacts:
    """Decode every frame of a sample's video or frame folder; its segment does not matter."""
    try:
        # Read here: a large file on a slow disk is no decoder that hangs.
        is_flow = sample.frames is not None and holds_flow_alone(sample.video)
        digest = sample_hash(sample, channels="flow" if is_flow else "RGB")
        task = _inspect_video if sample.frames is None else _inspect_folder
        return replace(pool.call(task, sample.video, frames=sample.frames), content_hash=digest)
    except VideoError as error:
        return VideoFacts(reason=str(error))


def _inspect_video(video: Path, *, frames: None, on_frame: Callable[[], object]) -> Iterator[VideoFacts]:
    """Yield what a video is. Runs in a process of c3dhash.video.isolation, as the next."""
    with Decoder(video, on_frame=on_frame) as decoder:
        times = list(decoder.times())
        size_px = f"{decoder.info.width_px} x {decoder.info.height_px}"
        yield VideoFacts("", len(times), decoder.end_seconds(times), size_px)


def _inspect_folder(folder: Path, *, frames: FrameFolder, on_frame: Callable[[], object]) -> Iterator[VideoFacts]:
    """Yield what a folder is of frames, or of optical flow alone."""
    planes, times = pictures_of(folder, frames, is_flow=holds_flow_alone(folder))
    sizes: Counter[str] = Counter()
    for path in chain(*planes):
        sizes[" x ".join(map(str, read_picture(path).shape[1::-1]))] += 1
        on_frame()
    if len(sizes) > 1:
        raise VideoError(f"frame folder '{folder}' has pictures of several sizes: {_shares(sizes)}.")
    end_seconds = float(times[-1])
    if not end_seconds:
        raise VideoError(f"frame folder '{folder}' lasts 0 s by its times.")
    yield VideoFacts("", len(planes[0]), end_seconds, next(iter(sizes)))


def _report(dataset: Dataset, facts: Facts) -> CheckReport:
    readable = [sample for sample in dataset.samples if facts[sample.video, sample.frames].reason is None]
    good = [fact for fact in facts.values() if fact.reason is None]
    counts = _count_classes(dataset, readable)
    by_hash: dict[str, set[str]] = {}
    for (video, _), fact in facts.items():
        if fact.reason is None:
            by_hash.setdefault(fact.content_hash, set()).add(_name(dataset, video))
    leaks = straddling_groups(list(dataset.samples))
    return CheckReport(
        directory=dataset.directory,
        format=dataset.format,
        classes=dataset.classes,
        notes=dataset.notes,
        counts=counts,
        num_videos={split: sum(sample.split == split for sample in readable) for split in counts},
        durations_seconds=tuple(fact.duration_seconds for fact in good),
        frame_rates=_sorted_counts(str(fact.fps) for fact in good),
        sizes=_sorted_counts(fact.size_px for fact in good),
        missing=dataset.missing,
        unreadable={_name(dataset, video): fact.reason for (video, _), fact in facts.items() if fact.reason},
        outside=tuple(_outside(dataset, readable, facts)),
        duplicates=tuple(tuple(sorted(videos)) for videos in by_hash.values() if len(videos) > 1),
        leaks={_name(dataset, Path(group)): dict(splits) for group, splits in leaks.items()},
        small_classes={name: count for name, count in counts.get("train", {}).items() if count < MIN_TRAIN_VIDEOS},
    )


def _outside(dataset: Dataset, samples: list[Sample], facts: Facts) -> Iterator[OutsideSegment]:
    """Yield the segments of readable samples that do not lie inside their video."""
    for sample in samples:
        duration_seconds = facts[sample.video, sample.frames].duration_seconds
        if (part := sample.segment) and (
            part.start_seconds >= duration_seconds or part.end_seconds > duration_seconds + OVERHANG_SECONDS
        ):
            yield OutsideSegment(_name(dataset, sample.video), part.start_seconds, part.end_seconds, duration_seconds)


def _count_classes(dataset: Dataset, samples: list[Sample]) -> dict[str, dict[str, int]]:
    """Return split -> class -> number of samples, for the splits that the data set has."""
    splits = {sample.split for sample in dataset.samples}
    counts = {split: dict.fromkeys(dataset.classes, 0) for split in SPLITS if split in splits}
    for sample in samples:
        for label in sample.labels:
            counts[sample.split][dataset.classes[label]] += 1
    return counts


def _name(dataset: Dataset, path: Path) -> str:
    """Return a path from the data set's folder, as it is where it lies elsewhere (or is the name of a group)."""
    return str(path.relative_to(dataset.directory) if path.is_relative_to(dataset.directory) else path)


def _sorted_counts(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _shares(counts: dict[str, int], *, unit: str = "") -> str:
    first = [f"{count} of {value}{unit}" for value, count in list(counts.items())[:NUM_SHOWN]]
    return ", ".join([*first, "..."] if len(counts) > NUM_SHOWN else first)


def _spread(values: tuple[float, ...]) -> dict[str, float]:
    if not values:
        return {"min": 0.0, "median": 0.0, "max": 0.0, "total": 0.0}
    spread = {"min": min(values), "median": median(values), "max": max(values), "total": sum(values)}
    return {name: round(value, 3) for name, value in spread.items()}
