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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
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
from c3dhash.models.hashnet import HashNet
from c3dhash.models.precision import autocast, pick_device, pick_precision
from c3dhash.training.videos import TrainingVideos
from c3dhash.video.clips import ClipReader
from c3dhash.video.loader import prefetch
from c3dhash.video.normalization import Normalizer

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

    def read(self, batch: Tensor) -> Tensor:
        """Return features of a batch that is on its device, float32 [B, feature_dim], with a graph where it is on."""
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

    def read(self, batch: Tensor) -> Tensor:
        with autocast(self.encoder.device, self.encoder.precision):
            features: Tensor = self.encoder.model.backbone(self._normalizer(batch))
        return features.float()

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
        views: [views, N, ...], of augmented views of each video; views may be 0. A view more is the video as it is
            indexed: the mean of the features of its clips, or the middle one of these.
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
        self._means = window_means(whole, num_clips) if self.is_whole_backbone else None
        self._batch_size = _batch_size(config)

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        views = np.random.default_rng(seed).integers(len(self.views) + 1, size=len(indices))
        return np.stack([self.view(int(view), index) for view, index in zip(views, indices, strict=True)])

    def view(self, number: int, indices: np.ndarray | np.integer) -> np.ndarray:
        """Return what was kept of a view of videos, or of one; the view after the last is what is indexed."""
        rows: np.ndarray
        if number < len(self.views):
            rows = self.views[number, indices]
        elif self._means is not None:
            rows = self._means[indices]
        else:
            rows = self.whole[self._starts[indices] + self._num_clips[indices] // 2]
        return rows

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
        views = range(len(self.views) + 1)
        return np.stack([self._clip_features(self.view(number, part) for part in parts) for number in views])

    @torch.inference_mode()
    def _clip_features(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        device = self.encoder.device
        parts = [self.read(torch.from_numpy(batch).to(device)).cpu().numpy() for batch in batches]
        return np.concatenate(parts)

    def read(self, batch: Tensor) -> Tensor:
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

    whole = _put_together(map(trunk, batches(clips_of_windows(), BATCH_SIZE)), num_rows=len(samples), run_dir=run_dir)

    def view(place: int) -> np.ndarray:
        number, index = divmod(place, len(samples))
        return reader.training_clip(
            samples[index], seed=(config.seed, number, index), min_crop_scale=config.min_crop_scale, flip=config.flip
        )

    total = config.views * len(samples)
    if not total:
        return KeptStages(model, whole[:0].reshape(0, len(samples), *whole.shape[1:]), whole, num_clips, config)
    drawn = prefetch(view, range(total), workers=config.workers, ahead=2 * BATCH_SIZE)
    progress = tqdm(drawn, desc="Frozen stages: views", total=total, unit="clip")
    views = _put_together(map(trunk, batches(progress, BATCH_SIZE)), num_rows=total, run_dir=run_dir)
    return KeptStages(model, views.reshape(config.views, len(samples), *views.shape[1:]), whole, num_clips, config)


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


def _put_together(parts: Iterable[np.ndarray], *, num_rows: int, run_dir: Path) -> np.ndarray:
    """Concatenate arrays [B, ...]: in memory, or, where they are large, in a file that goes when the process ends.

    Args:
        num_rows: how many rows there will be at the least, to find out early that there is no room.
    Raises:
        TrainingError: the disk has no room for it.
    """
    kept: deque[np.ndarray] = deque()
    parts, num_bytes = iter(parts), 0
    for part in parts:
        kept.append(part)
        num_bytes += part.nbytes
        if num_bytes > IN_MEMORY_BYTES:
            break
    else:
        return np.concatenate(list(kept))
    row = kept[0][0]
    _require_room(num_rows * row.nbytes, run_dir)
    logger.info("what the frozen stages give is kept on the disk while this trains.")
    with tempfile.TemporaryFile(dir=run_dir) as file:
        for part in chain((kept.popleft() for _ in range(len(kept))), parts):
            _require_room(part.nbytes, run_dir)
            file.write(np.ascontiguousarray(part).data)
        file.flush()
        return np.memmap(file, dtype=row.dtype, mode="r", shape=(file.tell() // row.nbytes, *row.shape))


def _require_room(num_bytes: int, run_dir: Path) -> None:
    free = shutil.disk_usage(run_dir).free
    if num_bytes + SPARE_BYTES > free:
        raise TrainingError(
            f"what the frozen stages give takes another {num_bytes / 2**30:.1f} GiB, and '{run_dir}' has "
            f"{free / 2**30:.1f}: take fewer --views, or --freeze, which keeps features only."
        )


def _steps(rows: np.ndarray, batch_size: int) -> range:
    return range(0, len(rows), batch_size)


def _batch_size(config: TrainConfig) -> int:
    """Return how many clips are encoded together: as many as are trained on, but no more than 64."""
    assert config.classes_per_batch is not None and config.clips_per_class is not None
    return min(64, config.classes_per_batch * config.clips_per_class)
