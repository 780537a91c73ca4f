"""What the network reads in training: augmented clips, or the features of a backbone that is not trained itself.

Both are Inputs: the loop does not know which it has.

With --freeze an epoch costs milliseconds, since no clip goes through the backbone again. Augmentation happens before
the features: each training video is seen in a few augmented views, and an epoch draws one of them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from c3dhash.config import TrainConfig
from c3dhash.models.encode import Encoded, Encoder, clip_features, encode_samples
from c3dhash.models.hashnet import HashNet, Outputs
from c3dhash.models.precision import autocast
from c3dhash.records import Sample
from c3dhash.training.videos import TrainingVideos
from c3dhash.video.clips import ClipReader
from c3dhash.video.loader import prefetch
from c3dhash.video.transforms import Normalizer


class Inputs(Protocol):
    """What the loop asks for."""

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        """Return a batch of training videos, the same for the same seed. Called by threads, ahead of the steps."""
        ...

    def outputs(self, batch: Tensor) -> Outputs:
        """Let the network read a batch that is on its device."""
        ...

    def encode_val(self) -> Encoded:
        """Encode the middle of each val video with the network as it is."""
        ...

    def features(self) -> np.ndarray:
        """Return features of the training videos, float32 [N, feature_dim], of the backbone as it is."""
        ...


class AugmentedClips:
    """Clips of the training videos, drawn anew each time: uint8 [B, T, H, W, C]."""

    def __init__(self, model: HashNet, reader: ClipReader, videos: TrainingVideos, config: TrainConfig) -> None:
        self.reader, self.videos, self.config = reader, videos, config
        self.encoder = Encoder(model, device=config.device, precision=config.precision)
        self._normalizer = Normalizer(model.preprocessing, self.encoder.device)

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        config = self.config
        clips = [
            self.reader.training_clip(
                self.videos.train[index], seed=(*seed, row), min_crop_scale=config.min_crop_scale, flip=config.flip
            )
            for row, index in enumerate(indices)
        ]
        return np.stack(clips)

    def outputs(self, batch: Tensor) -> Outputs:
        with autocast(self.encoder.device, self.encoder.precision):
            outputs: Outputs = self.encoder.model(self._normalizer(batch))
        return outputs

    def encode_val(self) -> Encoded:
        return _encode(self.encoder, self.videos.val, self.reader, self.config)

    def features(self) -> np.ndarray:
        return _encode(self.encoder, self.videos.train, self.reader, self.config).features


class FrozenFeatures:
    """Features that a frozen backbone has computed once: float32 [B, feature_dim].

    Args:
        model: on its device; only its heads are used.
        views: [views, N, feature_dim], of augmented views of each training video.
        val: [M, feature_dim], of the middle of each val video.
    """

    def __init__(self, model: HashNet, views: np.ndarray, val: np.ndarray) -> None:
        self.model, self.views, self.val = model, views, val

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        views = np.random.default_rng(seed).integers(len(self.views), size=len(indices))
        batch: np.ndarray = self.views[views, indices]
        return batch

    def outputs(self, batch: Tensor) -> Outputs:
        return self.model.heads(batch)

    def encode_val(self) -> Encoded:
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            outputs = self.model.heads(torch.from_numpy(self.val).to(device))
        embeddings, scores = (
            None if part is None else part.cpu().numpy() for part in (outputs.embedding, outputs.logits)
        )
        return Encoded(embeddings, scores, self.val)

    def features(self) -> np.ndarray:
        return self.views.reshape(-1, self.views.shape[2])


def frozen_features(model: HashNet, reader: ClipReader, videos: TrainingVideos, config: TrainConfig) -> FrozenFeatures:
    """Compute the features of augmented views of each training video, and of the middle of each val video."""
    encoder = Encoder(model, device=config.device, precision=config.precision)
    train, batch_size = videos.train, config.classes_per_batch * config.clips_per_class

    def view(place: int) -> np.ndarray:
        number, index = divmod(place, len(train))
        return reader.training_clip(
            train[index], seed=(config.seed, number, index), min_crop_scale=config.min_crop_scale, flip=config.flip
        )

    clips = prefetch(view, range(config.views * len(train)), workers=config.workers, ahead=2 * batch_size)
    progress = tqdm(clips, desc="Features of training videos", total=config.views * len(train), unit="clip")
    views = clip_features(encoder, progress, batch_size=batch_size)
    val = _encode(encoder, videos.val, reader, config).features
    return FrozenFeatures(model, views.reshape(config.views, len(train), -1), val)


def _encode(encoder: Encoder, samples: list[Sample], reader: ClipReader, config: TrainConfig) -> Encoded:
    """Encode the middle of each sample, in batches of the size that is trained with."""
    batch_size = config.classes_per_batch * config.clips_per_class
    return encode_samples(encoder, samples, reader=reader, batch_size=batch_size, workers=config.workers)
