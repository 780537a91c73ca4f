"""Samples -> uint8 clips of one size, through the frame cache."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from c3dhash.errors import DatasetError, UsageError, VideoError
from c3dhash.records import FrameFolder, Preprocessing, Sample
from c3dhash.video.cache import FrameCache
from c3dhash.video.clip_plan import Plan
from c3dhash.video.frame_folder import FlowClip
from c3dhash.video.loader import prefetch
from c3dhash.video.optical_flow import flow_clip, frames_of_flow, stacked
from c3dhash.video.samples import compress_sample, read_sample, sample_files, sample_hash
from c3dhash.video.stored import StoredFrames
from c3dhash.video.transforms import clip_crops, clip_views, decoded_short_side

logger = logging.getLogger(__name__)

# Raised when the same file gives other frames than before: others chosen, cut, turned, resized or coloured otherwise.
FRAMES_VERSION = 3


@dataclass(frozen=True)
class ClipReader:
    """Reads the clips of a data set's samples, each of which is one window: the whole video, or its segment.

    All frames of a sample are in the cache, as JPEG pictures, and clips are made of these; where the cache does not
    keep them, of what the decoder gives.

    num_frames, size: of the clips, px.
    channels, stack: as in Preprocessing; clips of "flow" have two for each of a stack, all others three, RGB.
    interval_seconds: as in Preprocessing. clips_per_window: as in `Plan`, of clips that are evaluated. views: of each
    of these, as in `clip_views`. crops: 1, or 3 for those of `clip_crops`, of which there are one or two views.
    """

    num_frames: int
    size: int
    cache: FrameCache
    channels: str = "RGB"
    interval_seconds: float | None = None
    clips_per_window: int | None = None
    views: int = 1
    crops: int = 1
    stack: int = 1
    _hashes: dict[tuple[Path, FrameFolder | None], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.crops not in (1, 3):
            raise UsageError(f"crops ({self.crops}) must be 1 or 3: the middle of a clip, or all of it.")
        if self.crops == 3 and self.views > 2:
            raise UsageError(f"views ({self.views}) of 3 crops must be 1, or 2 for their mirror images, too.")

    @classmethod
    def of_network(
        cls,
        clip_size: tuple[int, int, int],
        preprocessing: Preprocessing,
        cache: FrameCache,
        *,
        clips_per_window: int | None = None,
        views: int = 1,
        crops: int = 1,
    ) -> ClipReader:
        """Make a reader of what a network reads."""
        num_frames, size = clip_size[:2]
        channels, interval_seconds = preprocessing.channels, preprocessing.interval_seconds
        stack = preprocessing.stack
        return cls(num_frames, size, cache, channels, interval_seconds, clips_per_window, views, crops, stack)

    def evaluation_clips(self, sample: Sample) -> np.ndarray:
        """Return the clips that an indexed video would have, in all views: uint8 [clips x views, T, size, size, C]."""
        clips = self._clips(sample, self._plan(sample, self.clips_per_window))
        views = clip_crops if self.crops == 3 else clip_views
        return np.stack([view for clip in clips for view in views(clip, size=self.size, num_views=self.views)])

    def training_clip(
        self, sample: Sample, *, seed: tuple[int, ...], draw: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    ) -> np.ndarray:
        """Return an augmented clip. The same seed gives the same clip.

        Spread frames stay evenly spread, so that motion stays even, all of them shifted by one draw; a dense clip
        begins anywhere in the sample.

        Args:
            draw: makes a clip of frames, uint8 [num_frames, H, W, C], and of what its draws come from.
        Returns:
            What draw gives.
        """
        rng = np.random.default_rng(seed)
        (frames,) = self._clips(sample, self._plan(sample, 1, phase=rng.uniform()))
        return draw(frames, rng)

    def readable(self, samples: list[Sample], *, workers: int, description: str) -> list[Sample]:
        """Decode every sample into the cache; return those that decode, and log the others with their reasons.

        Raises:
            DatasetError: none decodes.
        """

        errors = self.failures(samples, workers=workers, description=description)
        return keep_readable(samples, errors)

    def failures(self, samples: list[Sample], *, workers: int, description: str) -> list[VideoError | None]:
        """Decode every sample into the cache; return why each does not decode, None where it does."""

        def try_one(sample: Sample) -> VideoError | None:
            reader = self._pictures() if self._computes_flow(sample) else self
            try:
                reader._clips(sample, reader._plan(sample, 1))
            except VideoError as error:
                return error
            return None

        return list(
            tqdm(prefetch(try_one, samples, workers=workers), desc=description, total=len(samples), unit="video")
        )

    def _plan(self, sample: Sample, clips_per_window: int | None, *, phase: float = 0.5) -> Plan:
        return Plan(
            self.num_frames,
            decoded_short_side(self.size),
            segment=sample.segment,
            interval_seconds=self.interval_seconds,
            clips_per_window=clips_per_window,
            phase=phase,
            stack=self.stack,
        )

    def _clips(self, sample: Sample, plan: Plan) -> np.ndarray:
        """Return the clips of a plan, uint8 [clips, T, H, W, C], from the cache or from the video.

        The flow of a video is computed of its frames, as where videos are indexed.
        """
        if self._computes_flow(sample):
            num_frames, frames_a_stack = frames_of_flow(plan.num_frames, plan.stack)
            seen = self._pictures()._clips(
                sample, dataclasses.replace(plan, num_frames=num_frames, stack=frames_a_stack)
            )
            return np.stack([flow_clip(frames, stack=plan.stack) for frames in seen])
        if self.cache.is_on:
            kept = self.cache.frames(
                f"{self._hash(sample)} {plan.short_side} px {sample.segment} {sample.frames} {self.channels == 'flow'} "
                f"{decoders()}",
                choose=partial(shown_frames, plan),
                compress=partial(
                    compress_sample, sample, short_side=decoded_short_side(self.size), channels=self.channels
                ),
            )
            if kept is not None:
                clips = kept.reshape(-1, plan.num_frames * plan.stack, *kept.shape[1:])
                return stacked(clips, stack=plan.stack) if self.channels == "flow" else clips
        read = read_sample(
            sample,
            num_frames=plan.num_frames,
            short_side=plan.short_side,
            interval_seconds=plan.interval_seconds,
            clips_per_window=plan.clips_per_window,
            phase=plan.phase,
            stack=plan.stack,
            channels=self.channels,
        )
        return np.stack([clip.flow if isinstance(clip, FlowClip) else clip.frames for clip in read])

    def _computes_flow(self, sample: Sample) -> bool:
        return self.channels == "flow" and sample.frames is None

    def _pictures(self) -> ClipReader:
        """Return a reader of the frames that the flow of a clip is computed of."""
        num_frames, stack = frames_of_flow(self.num_frames, self.stack)
        return dataclasses.replace(self, channels="RGB", num_frames=num_frames, stack=stack)

    def _hash(self, sample: Sample) -> str:
        """Return the hash of a sample's content, as of the first time that it is asked for."""
        source = sample.video, sample.frames
        if source not in self._hashes:
            self._hashes[source] = self.cache.hashes.get(
                sample_files(sample, channels=self.channels),
                lambda: sample_hash(sample, channels=self.channels),
                about=f"{sample.frames} {self.channels}",
            )
        return self._hashes[source]


def keep_readable(samples: list[Sample], errors: list[VideoError | None]) -> list[Sample]:
    """Return the samples that decode, and log the others with their reasons.

    Args:
        errors: of each, as `ClipReader.failures` has them.
    Raises:
        DatasetError: none decodes.
    """
    for error in filter(None, errors):
        logger.warning("left out: %s", error)
    if num_bad := len(samples) - errors.count(None):
        logger.warning("%d of %d videos cannot be decoded and are left out.", num_bad, len(samples))
    kept = [sample for sample, error in zip(samples, errors, strict=True) if error is None]
    if samples and not kept:
        raise DatasetError(f"none of {len(samples)} videos can be decoded; the first: {errors[0]}")
    return kept


def shown_frames(plan: Plan, stored: StoredFrames) -> list[int]:
    """Return which frames of a sample the clips of a plan show, clip after clip: those on display at their times."""
    return [index for clip in plan.clips(plan.segments(stored.end_seconds)) for index in clip.shown(stored.times)]


@functools.cache
def decoders() -> str:
    """Return the versions that decide the pixels of a frame: ours, OpenCV's, and PyAV's with its FFmpeg's.

    Which of the two read a file does not matter (docs/decisions/0001-decoder.md), their versions may.
    """
    try:
        import av
    except ImportError:
        return f"frames {FRAMES_VERSION}, OpenCV {cv2.__version__}"
    codecs = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"frames {FRAMES_VERSION}, OpenCV {cv2.__version__}, PyAV {av.__version__}, libavcodec {codecs}"
