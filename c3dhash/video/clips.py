"""Samples -> uint8 clips of one size, through the frame cache."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from c3dhash.errors import DatasetError, VideoError
from c3dhash.records import FrameFolder, Sample
from c3dhash.video.cache import FrameCache
from c3dhash.video.frame_folder import FlowClip
from c3dhash.video.loader import prefetch
from c3dhash.video.samples import read_sample, sample_files, sample_hash
from c3dhash.video.transforms import augment_clip, center_clip, decoded_short_side

logger = logging.getLogger(__name__)

# A training clip is thinned from twice its frames, so that it may start at one of two phases.
PHASES = 2
# Raised when the same file gives other frames than before: others chosen, cut, turned, resized or coloured otherwise.
FRAMES_VERSION = 2


@dataclass(frozen=True)
class ClipReader:
    """Reads the clips of a data set's samples, one a sample: the whole video or its segment, evenly spread.

    num_frames, size: of the clips, px.
    channels: as in Preprocessing; clips of "flow" have two, all others three in the order RGB.
    """

    num_frames: int
    size: int
    cache: FrameCache
    channels: str = "RGB"
    _hashes: dict[tuple[Path, FrameFolder | None], str] = field(default_factory=dict)

    def evaluation_clip(self, sample: Sample) -> np.ndarray:
        """Return the middle of a sample's frames: uint8 [num_frames, size, size, C]."""
        return center_clip(self._frames(sample, self.num_frames), size=self.size)

    def training_clip(self, sample: Sample, *, seed: tuple[int, ...], min_crop_scale: float, flip: bool) -> np.ndarray:
        """Return an augmented clip: uint8 [num_frames, size, size, C]. The same seed gives the same clip."""
        return augment_clip(
            self._frames(sample, PHASES * self.num_frames),
            num_frames=self.num_frames,
            size=self.size,
            min_crop_scale=min_crop_scale,
            flip=flip,
            rng=np.random.default_rng(seed),
        )

    def readable(self, samples: list[Sample], *, for_training: bool, workers: int, description: str) -> list[Sample]:
        """Decode every sample into the cache; return those that decode, and log the others with their reasons.

        Raises:
            DatasetError: none decodes.
        """
        num_frames = self.num_frames * (PHASES if for_training else 1)

        def try_one(sample: Sample) -> VideoError | None:
            try:
                self._frames(sample, num_frames)
            except VideoError as error:
                return error
            return None

        errors = list(
            tqdm(prefetch(try_one, samples, workers=workers), desc=description, total=len(samples), unit="video")
        )
        for error in filter(None, errors):
            logger.warning("left out: %s", error)
        if num_bad := len(samples) - errors.count(None):
            logger.warning("%d of %d videos cannot be decoded and are left out.", num_bad, len(samples))
        kept = [sample for sample, error in zip(samples, errors, strict=True) if error is None]
        if samples and not kept:
            raise DatasetError(f"none of {len(samples)} videos can be decoded; the first: {errors[0]}")
        return kept

    def _frames(self, sample: Sample, num_frames: int) -> np.ndarray:
        short_side, is_flow = decoded_short_side(self.size), self.channels == "flow"
        key = f"{self._hash(sample)} {num_frames} frames {short_side} px {sample.segment} {sample.frames} {decoders()}"

        def decode() -> np.ndarray:
            clip = read_sample(sample, num_frames=num_frames, short_side=short_side, channels=self.channels)
            return clip.flow if isinstance(clip, FlowClip) else clip.frames

        return self.cache.frames(f"{key} flow" if is_flow else key, decode)

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
