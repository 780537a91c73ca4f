"""What the network reads in training: augmented clips, or what frozen stages of the backbone give of them.

Both are Inputs: the loop does not know which it has. Videos are counted through train and val, in this order.

With frozen stages an epoch costs little, since no clip goes through them again. Augmentation happens before them: each
training video is seen in a few augmented views and as it is indexed, and an epoch draws one of these. Heads alone are
not better for such views (folds of JHMDB's training list, mAP: I3D 0.732 without, 0.725 with one; EfficientNet-Lite0
0.539 without, 0.541 with four; standard errors 0.01), and each costs as much as the features themselves.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from c3dhash.config import TrainConfig
from c3dhash.errors import TrainingError
from c3dhash.models.encode import Encoded, Encoder, batches, encode_samples, window_means
from c3dhash.models.engines import TorchBackbone
from c3dhash.models.freezing import freeze_backbone
from c3dhash.models.hashnet import HashNet, Outputs
from c3dhash.models.precision import autocast, pick_device, pick_precision
from c3dhash.training.videos import TrainingVideos
from c3dhash.video.clips import ClipReader
from c3dhash.video.loader import prefetch
from c3dhash.video.transforms import Normalizer

logger = logging.getLogger(__name__)

IN_MEMORY_BYTES = 1 << 30  # what is kept beyond that lies in a file
BATCH_SIZE = 16  # clips that go through frozen stages together
SPARE_BYTES = 1 << 30  # left free on the disk
LARGEST = torch.finfo(torch.float16).max  # what frozen stages give is kept in it: more digits than bf16, small values


class Inputs(Protocol):
    """What the loop asks for."""

    validates_every: int  # epochs

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        """Return a batch of videos, the same for the same seed. Called by threads, ahead of the steps."""
        ...

    def outputs(self, batch: Tensor) -> Outputs:
        """Let the network read a batch that is on its device."""
        ...

    def encode(self, indices: np.ndarray) -> Encoded:
        """Encode videos as they are indexed, not augmented, with the network as it is."""
        ...

    def features(self, indices: np.ndarray) -> np.ndarray:
        """Return features of videos in all their views, float32 [views, N, feature_dim], of the backbone as it is."""
        ...


class AugmentedClips:
    """Clips of the videos, drawn anew each time: uint8 [B, T, H, W, C]."""

    validates_every = 1

    def __init__(self, model: HashNet, reader: ClipReader, videos: TrainingVideos, config: TrainConfig) -> None:
        self.reader, self.videos, self.config = reader, videos, config
        self.encoder = Encoder(model, device=config.device, precision=config.precision)
        self._normalizer = Normalizer(model.preprocessing, self.encoder.device)

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        config, samples = self.config, self.videos.samples
        clips = [
            self.reader.training_clip(
                samples[index], seed=(*seed, row), min_crop_scale=config.min_crop_scale, flip=config.flip
            )
            for row, index in enumerate(indices)
        ]
        return np.stack(clips)

    def outputs(self, batch: Tensor) -> Outputs:
        with autocast(self.encoder.device, self.encoder.precision):
            outputs: Outputs = self.encoder.model(self._normalizer(batch))
        return outputs

    def encode(self, indices: np.ndarray) -> Encoded:
        samples = [self.videos.samples[index] for index in indices]
        return encode_samples(
            self.encoder, samples, reader=self.reader, batch_size=_batch_size(self.config), workers=self.config.workers
        )

    def features(self, indices: np.ndarray) -> np.ndarray:
        return self.encode(indices).features[None]


class KeptStages:
    """What the frozen stages of a backbone gave, computed once: float [B, ...].

    Args:
        model: on its device; only the stages behind the frozen ones, and the heads, are used.
        views: [views, N, ...], of augmented views of each video, and last of it as it is indexed: the mean of the
            features of its clips, or the middle one of these.
        whole: [clips, ...], of the clips that each video is indexed by, video after video.
        num_clips: of each video, in `whole`.
        config: resolved.
    """

    def __init__(
        self, model: HashNet, views: np.ndarray, whole: np.ndarray, num_clips: Sequence[int], config: TrainConfig
    ) -> None:
        self.model, self.views, self.whole = model, views, whole
        self.first = config.freeze_stages or 0
        self.encoder = Encoder(model, device=config.device, precision=config.precision)
        self.is_whole_backbone = self.first == len(model.backbone.stages())
        # What is behind the frozen stages takes longer to validate than to train a step.
        assert config.epochs is not None
        self.validates_every = 1 if self.is_whole_backbone else max(1, config.epochs // 12)
        self._num_clips = np.array(num_clips)
        self._starts = np.cumsum([0, *num_clips[:-1]])
        self._batch_size = _batch_size(config)

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        views = np.random.default_rng(seed).integers(len(self.views), size=len(indices))
        batch: np.ndarray = self.views[views, indices]
        return batch

    def outputs(self, batch: Tensor) -> Outputs:
        return self.model.heads(self._features(batch))

    def encode(self, indices: np.ndarray) -> Encoded:
        self.model.eval()
        counts = self._num_clips[indices]
        clips = np.concatenate([np.arange(n) + start for n, start in zip(counts, self._starts[indices], strict=True)])
        features = self._clip_features(
            self.whole[clips[i : i + self._batch_size]] for i in _steps(clips, self._batch_size)
        )
        return self.encoder.heads(window_means(features, counts.tolist()))

    def features(self, indices: np.ndarray) -> np.ndarray:
        self.model.eval()
        parts = [indices[i : i + self._batch_size] for i in _steps(indices, self._batch_size)]
        return np.stack([self._clip_features(view[part] for part in parts) for view in self.views])

    @torch.inference_mode()
    def _clip_features(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        device = self.encoder.device
        parts = [self._features(torch.from_numpy(batch).to(device)).cpu().numpy() for batch in batches]
        return np.concatenate(parts)

    def _features(self, batch: Tensor) -> Tensor:
        """Run the stages behind the frozen ones: what was kept -> features, float32 [B, feature_dim]."""
        if self.is_whole_backbone:
            return batch.float()
        with autocast(self.encoder.device, self.encoder.precision):
            features: Tensor = self.model.backbone.run_stages(batch.float(), first=self.first)
        return features.float()


def keep_stages(
    model: HashNet, reader: ClipReader, videos: TrainingVideos, config: TrainConfig, *, run_dir: Path
) -> KeptStages:
    """Compute what the frozen stages give of augmented views of each video, and of its clips when it is indexed.

    Args:
        run_dir: where a file without a name lies, as long as this process runs, for what is too much for memory.
    Raises:
        TrainingError: the disk has no room for it.
    """
    assert config.views is not None
    samples, trunk = videos.samples, _frozen_stages(model, config)
    num_clips: list[int] = []

    def clips_of_windows() -> Iterator[np.ndarray]:
        windows = prefetch(reader.evaluation_clips, samples, workers=config.workers, ahead=2 * BATCH_SIZE)
        for clips in tqdm(windows, desc="Frozen stages: videos", total=len(samples), unit="video"):
            num_clips.append(len(clips))
            yield from clips

    whole = np.concatenate([trunk(batch) for batch in batches(clips_of_windows(), BATCH_SIZE)])
    views = _room((config.views + 1, len(samples), *whole.shape[1:]), whole.dtype, run_dir)
    if whole.ndim == 2:  # features
        views[-1] = window_means(whole, num_clips)
    else:
        views[-1] = whole[np.cumsum([0, *num_clips[:-1]]) + np.array(num_clips) // 2]

    def view(place: int) -> np.ndarray:
        number, index = divmod(place, len(samples))
        return reader.training_clip(
            samples[index], seed=(config.seed, number, index), min_crop_scale=config.min_crop_scale, flip=config.flip
        )

    total, place = config.views * len(samples), 0
    flat = views[:-1].reshape(total, *views.shape[2:])
    drawn = prefetch(view, range(total), workers=config.workers, ahead=2 * BATCH_SIZE)
    progress = tqdm(drawn, desc="Frozen stages: views", total=total, unit="clip", disable=not total)
    for batch in batches(progress, BATCH_SIZE):
        flat[place : place + len(batch)] = trunk(batch)
        place += len(batch)
    return KeptStages(model, views, whole, num_clips, config)


def _frozen_stages(model: HashNet, config: TrainConfig) -> Callable[[np.ndarray], np.ndarray]:
    """Return what maps clips, uint8 [B, T, H, W, C], to what the frozen stages give: float16 [B, ...], or features."""
    device, is_whole = pick_device(config.device), config.freeze_stages == len(model.backbone.stages())
    stages = TorchBackbone(
        freeze_backbone(model.backbone),
        device=device,
        precision=pick_precision(config.precision, device),
        last=config.freeze_stages,
    )

    @torch.inference_mode()
    def run(clips: np.ndarray) -> np.ndarray:
        kept = stages(clips)
        if not is_whole:
            kept = kept.clamp(-LARGEST, LARGEST).half()
        result: np.ndarray = kept.contiguous().cpu().numpy()
        return result

    return run


def _room(shape: tuple[int, ...], dtype: np.dtype, run_dir: Path) -> np.ndarray:
    """Return an array to write into: in memory, or, where it is large, in a file that goes when the process ends."""
    num_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if num_bytes <= IN_MEMORY_BYTES:
        return np.empty(shape, dtype)
    free = shutil.disk_usage(run_dir).free
    if num_bytes + SPARE_BYTES > free:
        raise TrainingError(
            f"what the frozen stages give takes {num_bytes / 2**30:.1f} GiB, and '{run_dir}' has {free / 2**30:.1f}: "
            f"take fewer --views than {shape[0] - 1}, or --freeze, which keeps features only."
        )
    logger.info("what the frozen stages give takes %.1f GiB of disk while this trains.", num_bytes / 2**30)
    with tempfile.TemporaryFile(dir=run_dir) as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def _steps(rows: np.ndarray, batch_size: int) -> range:
    return range(0, len(rows), batch_size)


def _batch_size(config: TrainConfig) -> int:
    """Return how many clips are encoded together: as many as are trained on, but no more than 64."""
    assert config.classes_per_batch is not None and config.clips_per_class is not None
    return min(64, config.classes_per_batch * config.clips_per_class)
