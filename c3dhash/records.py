"""The records that pass between the stages. Frozen, checked when made, NumPy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.errors import CodesError, UsageError, VideoError


@dataclass(frozen=True)
class VideoInfo:
    """What a container's header claims about its video stream; what decodes is the truth.

    `num_frames` is 0 and `fps` is 0.0 where the header does not say.
    """

    path: Path
    width_px: int
    height_px: int
    fps: float
    num_frames: int

    @property
    def duration_seconds(self) -> float:
        return self.num_frames / self.fps if self.fps else 0.0


@dataclass(frozen=True)
class Segment:
    """A stretch of a video, in seconds from its first frame."""

    start_seconds: float
    end_seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_seconds < self.end_seconds:
            raise UsageError(
                f"a segment must have 0 <= start < end, got {self.start_seconds} to {self.end_seconds} seconds."
            )


@dataclass(frozen=True, repr=False)
class Clip:
    """Frames of one video, in time order, and the segment that they stand for.

    frames: uint8 [T x stack, H, W, 3], RGB. pts_seconds: float64 [T x stack], not decreasing within a stack nor from
    stack to stack, which may overlap. stack: as in `clip_plan.Plan`.
    """

    frames: np.ndarray
    pts_seconds: np.ndarray
    segment: Segment
    stack: int = 1

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[3] != 3:
            raise VideoError(f"a clip needs uint8 [T, H, W, 3] frames, got {self.frames.dtype} {self.frames.shape}.")
        if self.pts_seconds.shape != self.frames.shape[:1] or not len(self.frames):
            raise VideoError(
                f"a clip needs a time for each of its frames, got {self.pts_seconds.shape} for {self.frames.shape}."
            )
        if len(self.frames) % self.stack:
            raise VideoError(f"a clip of stacks of {self.stack} frames cannot have {len(self.frames)} frames.")
        stacks = self.pts_seconds.reshape(-1, self.stack)
        if np.any(np.diff(stacks, axis=1) < 0) or np.any(np.diff(stacks, axis=0) < 0):
            raise VideoError(f"the times of a clip must not decrease, got {self.pts_seconds.tolist()}.")

    def __repr__(self) -> str:
        start, end = self.segment.start_seconds, self.segment.end_seconds
        return f"Clip(frames uint8 {list(self.frames.shape)}, {start:.2f}-{end:.2f} s)"


@dataclass(frozen=True)
class Preprocessing:
    """How a set of weights wants its clips: value = (pixel * scale - mean) / std, pixel in 0..255.

    channels: "RGB" or "BGR", the order in which the network reads them, or "flow", horizontal and vertical optical
        flow; `mean` and `std` are in that order.
    interval_seconds: from one frame of a clip to the next ("dense"); None where the frames of a clip are spread evenly
        over the window that it stands for.
    stack: how many flows the network reads as one picture. 1: the flow from each frame of a clip to the next. More:
        those between so many and one frames that follow each other in the video, at each of T places that are spread
        over the window; channels are x1 y1 x2 y2 ... (see c3dhash.video.optical_flow).
    """

    channels: str = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interval_seconds: float | None = None
    stack: int = 1

    def __post_init__(self) -> None:
        if self.channels not in ("RGB", "BGR", "flow"):
            raise UsageError(f"channels ({self.channels!r}) must be 'RGB', 'BGR' or 'flow'.")
        if self.stack < 1 or (self.stack > 1 and (self.channels != "flow" or self.interval_seconds is not None)):
            raise UsageError(
                f"stack ({self.stack}) must be 1, or more for flow whose stacks are spread over the window; here "
                f"channels are {self.channels!r} and interval_seconds is {self.interval_seconds}."
            )
        if {len(self.mean), len(self.std)} != {self.num_channels} or min(self.std) <= 0:
            raise UsageError(
                f"mean {self.mean} and std {self.std} need {self.num_channels} values each for {self.channels}, "
                "std above 0."
            )
        if self.interval_seconds is not None and not 0 < self.interval_seconds < math.inf:
            raise UsageError(
                f"interval_seconds ({self.interval_seconds}) must be above 0, or None for frames spread over a window."
            )
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))

    @property
    def num_channels(self) -> int:
        """C of the clips that the backbone reads."""
        return 2 * self.stack if self.channels == "flow" else 3

    @property
    def sampling(self) -> str:
        """How the frames of a clip lie in time, in words."""
        text = describe_sampling(self.interval_seconds)
        if self.stack == 1:
            return text
        return f"{text}, at each place the {self.stack} flows between {self.stack + 1} consecutive frames"

    def check_channels(self, num_channels: int) -> None:
        """Refuse clips that the backbone cannot read.

        Raises:
            UsageError: `num_channels` of the clips is not what the backbone reads.
        """
        if num_channels != self.num_channels:
            wanted = "optical flow, horizontal and vertical" if self.channels == "flow" else "RGB frames"
            if self.stack > 1:
                wanted = f"stacks of {self.stack} flows, each horizontal and vertical"
            raise UsageError(
                f"clips of {num_channels} channels are not for this network, which reads {self.num_channels} "
                f"({self.channels}): give it {wanted}, or take another backbone (i3d_flow reads flow, tsn_flow_* "
                "stacks of it, the others RGB)."
            )


def describe_sampling(interval_seconds: float | None) -> str:
    """Say how the frames of a clip lie in time; None is spread."""
    if interval_seconds is None:
        return "spread over the window"
    return f"every {interval_seconds:.3g} s ({1 / interval_seconds:.3g} a second)"


@dataclass(frozen=True)
class FrameFolder:
    """Says that a sample is a folder of pictures, one a frame, and which of them it is.

    offset: place of the first frame among the folder's pictures in the order of their numbers, from 0.
    num_frames: how many; None for all that follow.
    """

    offset: int = 0
    num_frames: int | None = None

    def __post_init__(self) -> None:
        if self.offset < 0 or (self.num_frames is not None and self.num_frames < 1):
            raise UsageError(
                f"a frame folder must have offset >= 0 and num_frames >= 1, got {self.offset} and {self.num_frames}."
            )


@dataclass(frozen=True)
class Sample:
    """One labelled video of a data set.

    video: a video file; or a folder of pictures, and then `frames` is set. labels: indices into the data
    set's classes; one, or several for multi-label data, or none where the label is not known (or, in
    multi-label data, where no class applies). split: "train", "val", "gallery" or "query". group: what must
    not be separated by a split (the source video), or None.
    """

    video: Path
    labels: tuple[int, ...]
    split: str
    group: str | None = None
    segment: Segment | None = None
    frames: FrameFolder | None = None


@dataclass(frozen=True, repr=False)
class CodeBatch:
    """The codes of the clips of one video.

    codes: uint8 [N, ceil(hash_length / 8)], numpy.packbits order (see c3dhash.bits).
    start_seconds, end_seconds: float64 [N], the segment that each clip stands for.
    num_flat: how many more windows the video has, which have no code since all of their frames are flat (see
        c3dhash.video.flat), as far as that is known.
    embeddings: float32 [N, hash_length], what the bits are the signs of; None where that is not known.
    """

    codes: np.ndarray
    hash_length: int
    start_seconds: np.ndarray
    end_seconds: np.ndarray
    num_flat: int = 0
    embeddings: np.ndarray | None = None

    def __post_init__(self) -> None:
        expected = (len(self.codes), (self.hash_length + 7) // 8)
        if self.codes.dtype != np.uint8 or self.codes.shape != expected:
            raise CodesError(
                f"{self.hash_length}-bit codes must be uint8 {list(expected)}, "
                f"got {self.codes.dtype} {list(self.codes.shape)}."
            )
        if self.start_seconds.shape != expected[:1] or self.end_seconds.shape != expected[:1]:
            raise CodesError(
                f"{len(self.codes)} codes need as many start and end times, "
                f"got {list(self.start_seconds.shape)} and {list(self.end_seconds.shape)}."
            )
        if self.embeddings is not None and self.embeddings.shape != (len(self.codes), self.hash_length):
            raise CodesError(
                f"{len(self.codes)} codes of {self.hash_length} bits need embeddings "
                f"[{len(self.codes)}, {self.hash_length}], got {list(self.embeddings.shape)}."
            )

    def __repr__(self) -> str:
        return f"CodeBatch(codes uint8 {list(self.codes.shape)}, hash_length={self.hash_length})"


@dataclass(frozen=True, repr=False)
class FeatureBatch:
    """The features of the clips of one video.

    features: float32 [N, feature_dim].
    start_seconds, end_seconds: float64 [N], the segment that each clip stands for.
    num_flat: as of CodeBatch.
    """

    features: np.ndarray
    start_seconds: np.ndarray
    end_seconds: np.ndarray
    num_flat: int = 0

    def __post_init__(self) -> None:
        if self.features.dtype != np.float32 or self.features.ndim != 2:
            raise CodesError(
                f"features must be float32 [N, feature_dim], got {self.features.dtype} {list(self.features.shape)}."
            )
        for times in (self.start_seconds, self.end_seconds):
            if times.dtype != np.float64 or times.shape != self.features.shape[:1]:
                raise CodesError(
                    f"{len(self.features)} features need as many float64 start and end times, got {times.dtype} "
                    f"{list(times.shape)}."
                )

    def __repr__(self) -> str:
        return f"FeatureBatch(features float32 {list(self.features.shape)})"


@dataclass(frozen=True)
class SegmentMatch:
    """A stretch of the query that agrees with a stretch of a video of the gallery.

    num_clips: how many windows of the query speak for it. distance: of the nearest pair of clips in it, bits of a code.
    score: by how many bits it is more improbable than what chance makes of two such videos, 0 where it is not; of a
    query of one window, how improbable it is. See c3dhash.gallery.evidence. speed: how many seconds of the video a
    second of the query shows.
    """

    query_start_seconds: float
    query_end_seconds: float
    start_seconds: float
    end_seconds: float
    num_clips: int
    distance: int
    score: float
    speed: float = 1.0


@dataclass(frozen=True)
class Hit:
    """A video of the gallery that is similar to the query.

    distance: Hamming distance of the nearest pair of clips, in bits: in the first segment, or, where there is none, in
    all of the video. start_seconds, end_seconds: where in the video that is, the first segment or the nearest clip.
    score: how much speaks for the video, the scores of its segments together, 0 where chance explains them.
    segments: the stretches that agree, by falling score; none share a window of the query.
    precision: how probable it is, by what was measured with the run, that both are of one class (see
    c3dhash.models.calibration); None where nothing was measured.
    is_mirrored: it is the mirror image of the query that all of this is told of.
    same_film: how probable it is, by what was measured with the gallery, that both show the same film, or a part of it
    (see c3dhash.gallery.same_film); None where nothing was measured.
    """

    rank: int
    distance: int
    video: str
    start_seconds: float
    end_seconds: float
    label: str | None
    score: float
    segments: tuple[SegmentMatch, ...]
    precision: float | None = None
    is_mirrored: bool = False
    same_film: float | None = None


@dataclass(frozen=True)
class VideoFacts:
    """What speaks for one of two files that show the same: as its header claims; 0 where it does not say, or the file
    cannot be read.

    bit_rate_bits: a second, of the whole file.
    """

    width_px: int = 0
    height_px: int = 0
    duration_seconds: float = 0.0
    bit_rate_bits: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True)
class Duplicate:
    """A video of which the best of its group shows the same, or a part of it.

    relation: "same bytes"; "copy": each holds nearly all of the other; "part": the best holds nearly all of it;
    "whole": it holds nearly all of the best; "shared": neither does. score: of its segments together, bits of evidence.
    segments: the stretches that agree, by falling score; the query of a SegmentMatch is the best of the group.
    is_mirrored: it matches the best in a mirror.
    """

    video: str
    relation: str
    score: float
    segments: tuple[SegmentMatch, ...]
    facts: VideoFacts
    is_mirrored: bool = False


@dataclass(frozen=True)
class DuplicateGroup:
    """Videos that show the same as the best of them, each by itself.

    best: which file to keep, as advice. members: the others, by falling score.
    """

    best: str
    facts: VideoFacts
    members: tuple[Duplicate, ...]
