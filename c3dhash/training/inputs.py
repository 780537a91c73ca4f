"""What the network reads in training: augmented clips, or what frozen stages of the backbone give of them.

Both are Inputs: the loop does not know which it has. Videos are counted through train and val, in this order.

With frozen stages an epoch costs little, since no clip goes through them again. Each training video is seen in a few
views and as it is indexed, and an epoch draws one of these.

Of heads alone there is no map to take windows of: their views are crops, and they are not better for them (folds of
JHMDB's training list, mAP: I3D 0.732 without, 0.725 with one; EfficientNet-Lite0 0.539 without, 0.541 with four;
standard errors 0.01). Where stages are trained: Note [Windows of whole pictures] in pictures.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from c3dhash.config import TrainConfig
from c3dhash.models.encode import Encoded, Encoder, batches, encode_samples, window_means
from c3dhash.models.engines import TorchBackbone
from c3dhash.models.freezing import freeze_backbone
from c3dhash.models.hashnet import HashNet
from c3dhash.models.precision import autocast, pick_device, pick_precision
from c3dhash.training.augmentation import Augmentation
from c3dhash.training.kept import Rows, put_together
from c3dhash.training.pictures import batches_by_shape, view_sides, window_of
from c3dhash.training.videos import TrainingVideos
from c3dhash.video.clips import ClipReader
from c3dhash.video.loader import prefetch
from c3dhash.video.normalization import Normalizer
from c3dhash.video.transforms import MAX_ASPECT

BATCH_SIZE = 16  # clips that go through frozen stages together
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
        self._augmentation = Augmentation(config, size=reader.size, channels=reader.channels)
        self.encoder = Encoder(model, device=config.device, precision=config.precision)
        self._normalizer = Normalizer(model.preprocessing, self.encoder.device)

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        samples, draw = self.videos.samples, self._augmentation.clip
        clips = [
            self.reader.training_clip(samples[index], seed=(*seed, row), draw=draw) for row, index in enumerate(indices)
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
        indexed: [clips, ...], of the clips that each video is indexed by, video after video.
        num_clips: of each video, in `indexed`.
        config: resolved.
        views: of each video, config.views times, what training draws from: all videos once, then again. A view more is
            the video as it is indexed: the mean of the features of its clips, or the middle one of these.
            Maps of whole pictures, [..., h, w], are seen in windows.
    """

    def __init__(
        self,
        model: HashNet,
        indexed: np.ndarray,
        num_clips: Sequence[int],
        config: TrainConfig,
        views: Rows | None = None,
    ) -> None:
        self.model, self.indexed, self.views = model, indexed, views
        self.num_views = len(views) // len(num_clips) if views is not None else 0
        self.first = config.freeze_stages or 0
        self.encoder = Encoder(model, device=config.device, precision=config.precision)
        self.is_whole_backbone = self.first == len(model.backbone.stages())
        # What is behind the frozen stages takes longer to validate than to train a step.
        assert config.epochs is not None
        self.validates_every = 1 if self.is_whole_backbone else max(1, config.epochs // 12)
        self._num_clips, self._seed = np.array(num_clips), config.seed
        self._starts = np.cumsum([0, *num_clips[:-1]])
        self._means = window_means(indexed, num_clips) if self.is_whole_backbone else None
        self._batch_size = _batch_size(config)

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng(seed)
        views = rng.integers(self.num_views + 1, size=len(indices))
        return np.stack([self.view(int(view), int(index), rng) for view, index in zip(views, indices, strict=True)])

    def view(self, number: int, index: int, rng: np.random.Generator) -> np.ndarray:
        """Return what was kept of a view of a video, or a window of it; the view after the last is what is indexed."""
        row: np.ndarray
        if number < self.num_views:
            assert self.views is not None
            row = self.views[number * len(self._num_clips) + index]
            return row if self.is_whole_backbone else window_of(row, self.indexed.shape[-2:], rng)
        if self._means is not None:
            row = self._means[index]
        else:
            row = self.indexed[self._starts[index] + self._num_clips[index] // 2]
        return row

    def encode(self, indices: np.ndarray) -> Encoded:
        self.model.eval()
        counts = self._num_clips[indices]
        clips = np.concatenate([np.arange(n) + start for n, start in zip(counts, self._starts[indices], strict=True)])
        features = self._clip_features(
            self.indexed[clips[i : i + self._batch_size]] for i in _steps(clips, self._batch_size)
        )
        return self.encoder.heads(window_means(features, counts.tolist()))

    def features(self, indices: np.ndarray) -> np.ndarray:
        self.model.eval()
        rng = np.random.default_rng((self._seed, self.num_views))
        parts = [indices[i : i + self._batch_size] for i in _steps(indices, self._batch_size)]
        return np.stack([
            self._clip_features(np.stack([self.view(number, index, rng) for index in part]) for part in parts)
            for number in range(self.num_views + 1)
        ])  # fmt: skip

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
    """Compute what the frozen stages give of the clips of each video when it is indexed, and of views of it.

    Args:
        run_dir: where a file without a name lies, as long as this process runs, for what is too much for memory.
    Raises:
        TrainingError: the disk has no room for it.
    """
    assert config.views is not None
    augmentation = Augmentation(config, size=reader.size, channels=reader.channels)
    samples, trunk = videos.samples, _frozen_stages(model, config)
    num_clips: list[int] = []

    def clips_of_windows() -> Iterator[np.ndarray]:
        windows = prefetch(reader.evaluation_clips, samples, workers=config.workers, ahead=2 * BATCH_SIZE)
        for clips in tqdm(windows, desc="Frozen stages: videos", total=len(samples), unit="video"):
            num_clips.append(len(clips))
            yield from clips

    parts = map(trunk, batches(clips_of_windows(), BATCH_SIZE))
    indexed = put_together(parts, num_parts=-(-len(samples) // BATCH_SIZE), directory=run_dir)
    if not config.views:
        return KeptStages(model, indexed, num_clips, config)
    is_map = config.freeze_stages != len(model.backbone.stages())
    draws: list[Callable[[np.ndarray, np.random.Generator], np.ndarray]] = [augmentation.clip] * config.views
    batch_size, total = BATCH_SIZE, config.views * len(samples)
    if is_map:
        assert config.min_crop_scale is not None  # `resolve` has decided
        sides = view_sides(
            config.views, size=reader.size, cells=min(indexed.shape[-2:]), min_crop_scale=config.min_crop_scale
        )
        draws = [partial(augmentation.picture, short_side=side) for side in sides]
        # The largest pictures fill a batch of square clips; a picture is up to twice as wide as high.
        batch_size = max(1, round(BATCH_SIZE * reader.size**2 / (MAX_ASPECT * max(sides) ** 2)))

    def view(place: int) -> np.ndarray:
        number, index = divmod(place, len(samples))
        return reader.training_clip(samples[index], seed=(config.seed, number, index), draw=draws[number])

    drawn = prefetch(view, range(total), workers=config.workers, ahead=batch_size)
    order: list[int] = []
    shapes: list[tuple[int, ...]] = []

    def values_of_views() -> Iterator[np.ndarray]:
        progress = tqdm(drawn, desc="Frozen stages: views", total=total, unit="clip")
        for places, clips in batches_by_shape(progress, batch_size):
            kept = trunk(clips)
            order.extend(places)
            shapes.extend([kept.shape[1:]] * len(places))
            yield kept.reshape(-1)

    values = put_together(values_of_views(), num_parts=-(-total // batch_size), directory=run_dir)
    return KeptStages(model, indexed, num_clips, config, Rows(values, shapes, np.argsort(order)))


def _frozen_stages(model: HashNet, config: TrainConfig) -> Callable[[np.ndarray], np.ndarray]:
    """Return what maps clips, uint8 [B, T, H, W, C], to what the frozen stages give: float16 [B, ...], or features."""
    device, is_whole = pick_device(config.device), config.freeze_stages == len(model.backbone.stages())
    stages = TorchBackbone(
        freeze_backbone(model.backbone),
        device=device,
        precision=pick_precision(config.precision, device, encoder=model.backbone),
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


def _steps(rows: np.ndarray, batch_size: int) -> range:
    return range(0, len(rows), batch_size)


def _batch_size(config: TrainConfig) -> int:
    """Return how many clips are encoded together: as many as are trained on, but no more than 64."""
    assert config.classes_per_batch is not None and config.clips_per_class is not None
    return min(64, config.classes_per_batch * config.clips_per_class)
