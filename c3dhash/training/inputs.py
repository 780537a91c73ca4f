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
from c3dhash.errors import UsageError
from c3dhash.models.encode import Encoded, Encoder, batches, encode_samples, window_means
from c3dhash.models.engines import TorchBackbone
from c3dhash.models.freezing import freeze_backbone
from c3dhash.models.hashnet import HashNet
from c3dhash.models.precision import autocast, pick_device, pick_precision
from c3dhash.training.augmentation import Augmentation
from c3dhash.training.kept import Rows, put_together
from c3dhash.training.pictures import batches_by_shape, view_sides, window_of
from c3dhash.training.ranks import ALONE, Ranks
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
    ranks: Ranks

    def own_rows(self, indices: np.ndarray) -> np.ndarray:
        """Return which rows of a batch of videos this rank reads."""
        ...

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...], rows: np.ndarray | None = None) -> np.ndarray:
        """Return a batch of videos, or some rows of it, the same for the same seed. Called by threads, ahead."""
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

    def __init__(
        self,
        model: HashNet,
        reader: ClipReader,
        videos: TrainingVideos,
        config: TrainConfig,
        *,
        ranks: Ranks = ALONE,
    ) -> None:
        self.reader, self.videos, self.config, self.ranks = reader, videos, config, ranks
        self._augmentation = Augmentation(config, size=reader.size, channels=reader.channels)
        self.encoder = Encoder(model, device=config.device, precision=config.precision)
        self._normalizer = Normalizer(model.preprocessing, self.encoder.device)

    def own_rows(self, indices: np.ndarray) -> np.ndarray:
        if len(indices) < self.ranks.size:
            raise UsageError(
                f"a batch of {len(indices)} clips cannot be divided among {self.ranks.size} processes: start fewer, or "
                "give larger --classes-per-batch and --clips-per-class."
            )
        return self.ranks.share(len(indices))

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...], rows: np.ndarray | None = None) -> np.ndarray:
        samples, draw = self.videos.samples, self._augmentation.clip
        return np.stack([
            self.reader.training_clip(samples[indices[row]], seed=(*seed, int(row)), draw=draw)
            for row in (np.arange(len(indices)) if rows is None else rows)
        ])  # fmt: skip

    def read(self, batch: Tensor) -> Tensor:
        with autocast(self.encoder.device, self.encoder.precision):
            features: Tensor = self.encoder.model.backbone(self._normalizer(batch))
        return features.float()

    def encode(self, indices: np.ndarray) -> Encoded:
        rows = self.ranks.share(len(indices))
        part = encode_samples(
            self.encoder,
            [self.videos.samples[index] for index in indices[rows]],
            reader=self.reader,
            batch_size=_batch_size(self.config),
            workers=self.config.workers,
        )
        return _of_all_ranks(part, rows, self.ranks)

    def features(self, indices: np.ndarray) -> np.ndarray:
        return self.encode(indices).features[None]


class KeptStages:
    """What the frozen stages of a backbone gave, computed once: float [B, ...]. Of several ranks each keeps a share.

    Args:
        model: on its device; only the stages behind the frozen ones, and the heads, are used.
        indexed: [clips, ...], of the clips that each video of this rank is indexed by, video after video.
        num_clips: of each of these videos, in `indexed`.
        config: resolved.
        views: of each of these videos, config.views times, what training draws from: all videos once, then again. A
            view more is the video as it is indexed: the mean of the features of its clips, or the middle one of these.
            Maps of whole pictures, [..., h, w], are seen in windows.
        ranks: of these, the videos that `Ranks.share` gives are this one's.
    """

    def __init__(
        self,
        model: HashNet,
        indexed: np.ndarray,
        num_clips: Sequence[int],
        config: TrainConfig,
        views: Rows | None = None,
        *,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.indexed, self.views, self.ranks = model, indexed, views, ranks
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

    def own_rows(self, indices: np.ndarray) -> np.ndarray:
        rows: np.ndarray = np.flatnonzero(indices % self.ranks.size == self.ranks.rank)
        return rows

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...], rows: np.ndarray | None = None) -> np.ndarray:
        views = np.random.default_rng(seed).integers(self.num_views + 1, size=len(indices))
        kept = [
            self.view(int(views[row]), int(indices[row]), np.random.default_rng((*seed, int(row))))
            for row in (np.arange(len(indices)) if rows is None else rows)
        ]
        return np.stack(kept) if kept else self.indexed[:0]

    def view(self, number: int, index: int, rng: np.random.Generator) -> np.ndarray:
        """Return what was kept of a view of a video, or a window of it; the view after the last is what is indexed."""
        row: np.ndarray
        place = index // self.ranks.size  # among the videos of this rank
        if number < self.num_views:
            assert self.views is not None
            row = self.views[number * len(self._num_clips) + place]
            return row if self.is_whole_backbone else window_of(row, self.indexed.shape[-2:], rng)
        if self._means is not None:
            row = self._means[place]
        else:
            row = self.indexed[self._starts[place] + self._num_clips[place] // 2]
        return row

    def encode(self, indices: np.ndarray) -> Encoded:
        self.model.eval()
        rows = self.own_rows(indices)
        places = indices[rows] // self.ranks.size
        counts = self._num_clips[places]
        clips = np.concatenate(
            [np.arange(0), *(np.arange(n) + start for n, start in zip(counts, self._starts[places], strict=True))]
        )
        features = self._clip_features(
            self.indexed[clips[i : i + self._batch_size]] for i in _steps(clips, self._batch_size)
        )
        part = self.encoder.heads(window_means(features, counts.tolist()))
        return _of_all_ranks(part, rows, self.ranks)

    def features(self, indices: np.ndarray) -> np.ndarray:
        self.model.eval()
        rows = self.own_rows(indices)
        parts = [indices[rows[i : i + self._batch_size]] for i in _steps(rows, self._batch_size)]

        def view(number: int, index: int) -> np.ndarray:
            return self.view(number, index, np.random.default_rng((self._seed, self.num_views, number, index)))

        kept = [
            self._clip_features(np.stack([view(number, int(index)) for index in part]) for part in parts)
            for number in range(self.num_views + 1)
        ]
        return np.stack([self.ranks.gather_rows(each, rows) for each in kept])

    @torch.inference_mode()
    def _clip_features(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        device = self.encoder.device
        none = np.empty((0, self.encoder.feature_dim), np.float32)
        parts = [self.read(torch.from_numpy(batch).to(device)).cpu().numpy() for batch in batches]
        return np.concatenate([none, *parts])

    def read(self, batch: Tensor) -> Tensor:
        if self.is_whole_backbone:
            return batch.float()
        if not len(batch):  # of several ranks one may have no row of a batch
            return torch.empty(0, self.encoder.feature_dim, device=batch.device)
        with autocast(self.encoder.device, self.encoder.precision):
            features: Tensor = self.model.backbone.run_stages(batch.float(), first=self.first)
        return features.float()


def keep_stages(
    model: HashNet,
    reader: ClipReader,
    videos: TrainingVideos,
    config: TrainConfig,
    *,
    run_dir: Path,
    ranks: Ranks = ALONE,
) -> KeptStages:
    """Compute what the frozen stages give of the clips of each video when it is indexed, and of views of it.

    Args:
        run_dir: where a file without a name lies, as long as this process runs, for what is too much for memory.
        ranks: of which each computes, and keeps, a share of the videos.
    Raises:
        TrainingError: the disk has no room for it.
        UsageError: there are fewer videos than ranks.
    """
    assert config.views is not None
    augmentation = Augmentation(config, size=reader.size, channels=reader.channels)
    own, trunk = ranks.share(len(videos.samples)), _frozen_stages(model, config)
    if len(videos.samples) < ranks.size:
        raise UsageError(f"{len(videos.samples)} videos cannot be divided among {ranks.size} processes: start fewer.")
    samples = [videos.samples[index] for index in own]
    num_clips: list[int] = []

    def clips_of_windows() -> Iterator[np.ndarray]:
        windows = prefetch(reader.evaluation_clips, samples, workers=config.workers, ahead=2 * BATCH_SIZE)
        for clips in tqdm(windows, desc="Frozen stages: videos", total=len(samples), unit="video"):
            num_clips.append(len(clips))
            yield from clips

    parts = map(trunk, batches(clips_of_windows(), BATCH_SIZE))
    indexed = put_together(parts, num_parts=-(-len(samples) // BATCH_SIZE), directory=run_dir)
    if not config.views:
        return KeptStages(model, indexed, num_clips, config, ranks=ranks)
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
        return reader.training_clip(samples[index], seed=(config.seed, number, int(own[index])), draw=draws[number])

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
    return KeptStages(model, indexed, num_clips, config, Rows(values, shapes, np.argsort(order)), ranks=ranks)


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


def _of_all_ranks(part: Encoded, rows: np.ndarray, ranks: Ranks) -> Encoded:
    """Put together what each rank has encoded, the rows of videos that are its own."""
    embeddings, scores, features = part
    return Encoded(
        None if embeddings is None else ranks.gather_rows(embeddings, rows),
        None if scores is None else ranks.gather_rows(scores, rows),
        ranks.gather_rows(features, rows),
    )


def _steps(rows: np.ndarray, batch_size: int) -> range:
    return range(0, len(rows), batch_size)


def _batch_size(config: TrainConfig) -> int:
    """Return how many clips are encoded together: as many as are trained on, but no more than 64."""
    assert config.classes_per_batch is not None and config.clips_per_class is not None
    return min(64, config.classes_per_batch * config.clips_per_class)
