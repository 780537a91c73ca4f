"""What training needs of a backbone that is not trained itself: its features, computed once.

With --freeze an epoch costs milliseconds, since no clip goes through the backbone again. Augmentation happens before
the features: each training video is seen in a few augmented views, and an epoch draws one of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from c3dhash.config import TrainConfig
from c3dhash.models.encode import Encoded, Encoder, encode_clips, encode_samples
from c3dhash.models.hashnet import HashNet
from c3dhash.records import Sample
from c3dhash.video.clips import ClipReader
from c3dhash.video.loader import prefetch


class FrozenFeatures(NamedTuple):
    """Features of a data set, float32. views: [views, N, feature_dim], of training videos. val: [M, feature_dim]."""

    views: np.ndarray
    val: np.ndarray

    def batch(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        """Return features of training videos, [B, feature_dim], each of a random view."""
        return self.views[np.random.default_rng(seed).integers(len(self.views), size=len(indices)), indices]

    def encode_val(self, model: HashNet, device: torch.device) -> Encoded:
        """Let the heads read the val features."""
        with torch.inference_mode():
            outputs = model.heads(torch.from_numpy(self.val).to(device))
        return Encoded(*(None if part is None else part.cpu().numpy() for part in outputs[1:]))


def frozen_features(
    model: HashNet, reader: ClipReader, train: list[Sample], val: list[Sample], *, config: TrainConfig
) -> FrozenFeatures:
    """Compute the features of augmented views of each training video, and of the middle of each val video."""
    encoder = Encoder(model, device=config.device, precision=config.precision, with_features=True)
    batch_size = config.classes_per_batch * config.clips_per_class

    def view(place: int) -> np.ndarray:
        number, index = divmod(place, len(train))
        return reader.training_clip(
            train[index], seed=(config.seed, number, index), min_crop_scale=config.min_crop_scale, flip=config.flip
        )

    clips = prefetch(view, range(config.views * len(train)), workers=config.workers, ahead=2 * batch_size)
    progress = tqdm(clips, desc="Features of training videos", total=config.views * len(train), unit="clip")
    views = encode_clips(encoder, progress, batch_size=batch_size).features
    val_features = encode_samples(encoder, val, reader=reader, batch_size=batch_size, workers=config.workers).features
    return FrozenFeatures(views.reshape(config.views, len(train), -1), val_features)
