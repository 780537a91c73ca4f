"""Train a HashNet: from a data set to a run directory.

    samples ──> P x K batches ──> augmented clips ──> network ──> triplet loss + cross-entropy ──> step
                                                          └─ each epoch: val mAP, accuracy, health of the codes

After every epoch `last.pt` holds all that the next one depends on, and everything random is drawn from
(seed, epoch, place in the epoch): a resumed run gives the very numbers of an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from c3dhash.config import TrainConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.datasets.splitting import carve_val
from c3dhash.errors import TrainingError, UsageError
from c3dhash.files import write_text
from c3dhash.models.batch_norm import training_mode
from c3dhash.models.encode import Encoded, Encoder, encode_samples
from c3dhash.models.hashing import initialize_hash_head
from c3dhash.models.hashnet import HashNet, build_model, save_run
from c3dhash.models.precision import autocast
from c3dhash.models.weights import choose_weights, identify_weights, load_into
from c3dhash.records import Sample
from c3dhash.training.batches import balanced_batches
from c3dhash.training.frozen import FrozenFeatures, frozen_features
from c3dhash.training.log import TrainingLog
from c3dhash.training.losses import batch_all_triplet_sums, classification_loss, reduce_triplets
from c3dhash.training.optimization import learning_rate, make_optimizer, resolve
from c3dhash.training.validation import is_collapsed, validate
from c3dhash.versions import versions
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader
from c3dhash.video.loader import prefetch
from c3dhash.video.transforms import normalize

logger = logging.getLogger(__name__)

LAST_FILE = "last.pt"
VIDEOS_FILE = "videos.txt"


def train_run(dataset: Dataset, config: TrainConfig, *, run_dir: Path, cache: FrameCache, resume: bool = False) -> Path:
    """Train a network on a data set and write a run directory.

    Args:
        dataset: its train split is trained on; its val split, or a part of train kept aside by group, decides
            which epoch is kept. Gallery and queries are not looked at.
        config: the settings.
        run_dir: where to write; must not hold a run unless `resume`.
        cache: for decoded frames.
        resume: go on from `last.pt` of run_dir, which must have been made with the same settings and videos.
    Returns:
        run_dir, with the best epoch's weights.
    Raises:
        TrainingError: nothing to train or validate on, a loss that is not finite, or nothing to resume.
    """
    weights = None
    if not resume:
        weights = choose_weights(config.weights, backbone=config.backbone, shortcut=config.shortcut)
        config = dataclasses.replace(config, weights=str(weights) if weights else None)
        if config.freeze and not weights:
            raise UsageError(
                "freeze needs a trained backbone: give --weights FILE or a name; `c3dhash models` lists them."
            )
    config = resolve(config, shortcut=identify_weights(weights)[1] if weights else None)
    dataset = carve_val(dataset, share=config.val_share, seed=config.seed)
    torch.manual_seed(config.seed)
    model = build_model(
        config, num_classes=len(dataset.classes) if config.has_class_head else None, has_hash_head=config.has_hash_head
    )
    if weights:
        load_into(model.backbone, weights)
    session = _Session(dataset, config, model, run_dir=run_dir, cache=cache)
    if resume:
        session.restore()
    session.begin()
    while session.epoch < config.epochs:
        session.train_epoch()
        session.finish_epoch()
    session.finish()
    return run_dir


class _Session:
    """One training in progress: the network, its optimizer and its history, and what is written of them."""

    def __init__(
        self, dataset: Dataset, config: TrainConfig, model: HashNet, *, run_dir: Path, cache: FrameCache
    ) -> None:
        self.dataset, self.config, self.run_dir = dataset, config, run_dir
        self.reader = ClipReader(*model.clip_size[:2], cache, model.preprocessing.channels)
        self.train_samples, self.val_samples = self._readable_samples()
        self.train_labels = dataset.labels(self.train_samples)
        self.val_labels = dataset.labels(self.val_samples)
        self.encoder = Encoder(model, device=config.device, precision=config.precision)
        self.model, self.device, self.precision = model, self.encoder.device, self.encoder.precision
        self.frozen: FrozenFeatures | None = None
        self.optimizer = make_optimizer(model, config)
        self.epoch = 0
        self.best_value: list[float] = []
        self.history: list[dict[str, Any]] = []
        self.log: TrainingLog | None = None
        self.is_collapsed = False

    def _readable_samples(self) -> tuple[list[Sample], list[Sample]]:
        config, kept = self.config, []
        for split, for_training in (("train", True), ("val", False)):
            samples = self.dataset.split(split)
            if not samples:
                raise TrainingError(
                    f"'{self.dataset.directory}' has no {split} videos ({self.dataset.describe()}); add some, "
                    "or divide it anew: c3dhash data split"
                )
            is_unlabelled = not self.dataset.is_multi_label and any(not sample.labels for sample in samples)
            if is_unlabelled:
                raise TrainingError(f"'{self.dataset.directory}' has {split} videos without a label.")
            kept.append(
                self.reader.readable(
                    samples, for_training=for_training, workers=config.workers, description=f"Decoding {split} videos"
                )
            )
        return kept[0], kept[1]

    def begin(self) -> None:
        """Log what is trained on what, prepare what does not change, and write what an early stop needs to resume."""
        frames, size = self.model.clip_size[:2]
        logger.info(
            "training %s, clips of %d x %d x %d, on %d videos of %d classes (%d to validate), %s on %s, into '%s'",
            self.config.backbone, frames, size, size, len(self.train_samples), len(self.dataset.classes),
            len(self.val_samples), self.precision, self.device, self.run_dir,
        )  # fmt: skip
        if self.config.freeze:
            self.frozen = frozen_features(
                self.model, self.reader, self.train_samples, self.val_samples, config=self.config
            )
        if not self.epoch:
            if self.config.init != "random":
                self._initialize_hash_head()
            self._save_model()
            self._save_last()
        self.log = TrainingLog(self.run_dir, next_epoch=self.epoch + 1)

    def _initialize_hash_head(self) -> None:
        if self.frozen is not None:
            features = self.frozen.views.reshape(-1, self.model.backbone.feature_dim)
        else:
            encoder = Encoder(
                self.model, device=self.config.device, precision=self.config.precision, with_features=True
            )
            features = self._encode(self.train_samples, encoder).features
        initialize_hash_head(self.model, features, method=self.config.init, seed=self.config.seed)

    def train_epoch(self) -> None:
        """Go through the training videos once, and append the means of the losses to the history."""
        config, started = self.config, time.perf_counter()
        torch.manual_seed(hash_seed(config.seed, self.epoch))  # dropout
        batches = balanced_batches(
            self.train_labels,
            classes_per_batch=config.classes_per_batch,
            clips_per_class=config.clips_per_class,
            seed=(config.seed, self.epoch),
        )
        sums: dict[str, float] = {}
        training_mode(self.model, freeze_bn=config.freeze_bn)
        progress = tqdm(
            self._load(batches), total=len(batches), desc=f"Epoch {self.epoch + 1}/{config.epochs}", unit="batch"
        )
        for place, (inputs, labels) in enumerate(progress):
            rate = learning_rate(config, self.epoch + place / len(batches))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses = self._step(torch.from_numpy(inputs), torch.from_numpy(labels))
            if not np.isfinite(losses["loss"]):
                raise TrainingError(
                    f"the loss is {losses['loss']} in epoch {self.epoch + 1}: try a learning_rate below "
                    f"{config.learning_rate}, or --precision fp32. '{self.run_dir}' holds the epochs before."
                )
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            progress.set_postfix(loss=f"{losses['loss']:.3f}")
        seconds = time.perf_counter() - started
        means = {name: value / len(batches) for name, value in sums.items()}
        num_clips = sum(len(batch) for batch in batches)
        speed = {"seconds": round(seconds, 2), "clips_per_second": round(num_clips / seconds, 2)}
        self.history.append({"epoch": self.epoch + 1, "learning_rate": rate, **means, **speed})

    def _load(self, batches: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (clips uint8 [B, T, H, W, C], labels) of each batch, read ahead by threads.

        With a frozen backbone, features float32 [B, feature_dim] in the place of clips.
        """
        config, epoch = self.config, self.epoch
        if self.frozen is not None:
            return (
                (self.frozen.batch(batch, seed=(config.seed, epoch, place)), self.train_labels[batch])
                for place, batch in enumerate(batches)
            )

        def load(place: int) -> tuple[np.ndarray, np.ndarray]:
            clips = [
                self.reader.training_clip(
                    self.train_samples[index], seed=(config.seed, epoch, place, row),
                    min_crop_scale=config.min_crop_scale, flip=config.flip,
                )
                for row, index in enumerate(batches[place])
            ]  # fmt: skip
            return np.stack(clips), self.train_labels[batches[place]]

        return prefetch(load, range(len(batches)), workers=config.workers)

    def _step(self, inputs: Tensor, labels: Tensor) -> dict[str, float]:
        """Take one optimizer step; return the losses of the batch."""
        config = self.config
        inputs, labels = inputs.to(self.device), labels.to(self.device)
        if self.frozen is not None:
            outputs = self.model.heads(inputs)
        else:
            with autocast(self.device, self.precision):
                outputs = self.model(normalize(inputs, self.model.preprocessing))
        losses: dict[str, Tensor] = {}
        if outputs.embedding is not None:
            sums = batch_all_triplet_sums(outputs.embedding, labels, margin=config.margin)
            losses["triplet_loss"] = reduce_triplets(sums, reduction=config.triplet_reduction)
            losses["active_share"] = sums.num_active / sums.num_triplets.clamp_min(1)
        if outputs.logits is not None:
            losses["class_loss"] = classification_loss(outputs.logits, labels)
        share = {"joint": config.class_weight, "hash": 0.0, "classify": 1.0}[config.task]
        loss = (1 - share) * losses.get("triplet_loss", 0.0) + share * losses.get("class_loss", 0.0)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip or float("inf"))
        self.optimizer.step()
        return {
            "loss": loss.item(),
            **{name: value.item() for name, value in losses.items()},
            "gradient_norm": norm.item(),
        }

    def finish_epoch(self) -> None:
        """Validate, keep the best weights, and write everything that the next epoch needs."""
        if self.frozen is not None:
            encoded = self.frozen.encode_val(self.model, self.device)
        else:
            encoded = self._encode(self.val_samples, self.encoder)
        val = validate(encoded, self.val_samples, self.val_labels)
        self._warn_on_collapse(val)
        # mAP first, then accuracy; of equal epochs the later one, which has seen more.
        value = [val[name] for name in ("val_mAP", "val_accuracy") if name in val]
        self.history[-1].update(val)
        self.epoch += 1
        is_best = value >= self.best_value
        if is_best:
            self.best_value = value
            self._save_model()
        self.log.report(self.history, is_best=is_best, is_last=self.epoch == self.config.epochs)
        self._save_last()

    def _warn_on_collapse(self, val: dict[str, float]) -> None:
        """Log a warning in the first epoch in which the codes have collapsed, and again where they do so anew."""
        was_collapsed, hash_length = self.is_collapsed, self.config.hash_length
        self.is_collapsed = is_collapsed(val, hash_length=hash_length, num_codes=len(self.val_samples))
        if self.is_collapsed and not was_collapsed:
            logger.warning(
                "the codes collapse: %d of %d bits are dead, %d distinct codes for %d videos. A lower learning rate, "
                "--triplet-reduction active or more classes a batch may help.",
                val["val_dead_bits"], hash_length, val["val_distinct_codes"], len(self.val_samples),
            )  # fmt: skip

    def _encode(self, samples: list[Sample], encoder: Encoder) -> Encoded:
        """Encode the middle of each sample with the network as it is."""
        batch_size = self.config.classes_per_batch * self.config.clips_per_class
        return encode_samples(encoder, samples, reader=self.reader, batch_size=batch_size, workers=self.config.workers)

    def finish(self) -> None:
        """Mark the run as finished; model.safetensors already holds the best epoch."""
        config_path = self.run_dir / "config.json"
        config = json.loads(config_path.read_text())
        write_text(config_path, json.dumps({**config, "finished": True}, indent=2) + "\n")
        if self.log is not None:
            self.log.close()

    def _save_model(self) -> None:
        config = {
            **dataclasses.asdict(self.config),
            "data": str(self.dataset.directory.resolve()),
            "format": self.dataset.format,
            "is_multi_label": self.dataset.is_multi_label,
            "allow_missing": bool(self.dataset.missing),
            "best_epoch": self.epoch,
            "best_value": self.best_value[0] if self.best_value else None,
            "finished": False,
            "versions": versions(),
        }
        save_run(self.run_dir, self.model, config=config, labels=self.dataset.classes)
        write_text(self.run_dir / VIDEOS_FILE, "".join(f"{name}\n" for name in self._video_names()))

    def _save_last(self) -> None:
        state = {
            "epoch": self.epoch,
            "best_value": self.best_value,
            "history": self.history,
            "videos": self._video_names(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, self.run_dir / f"{LAST_FILE}.partial")
        (self.run_dir / f"{LAST_FILE}.partial").replace(self.run_dir / LAST_FILE)

    def restore(self) -> None:
        """Take up the state after the last whole epoch."""
        path = self.run_dir / LAST_FILE
        if not path.is_file():
            raise TrainingError(f"'{self.run_dir}' has no {LAST_FILE} to resume from; train anew.")
        try:
            state = torch.load(path, weights_only=True, map_location=self.device)
            videos = state["videos"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (OSError, RuntimeError, EOFError, KeyError, ValueError, UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            raise TrainingError(f"'{path}' is damaged and cannot be resumed from ({reason}); train anew.") from error
        if videos != self._video_names():
            raise TrainingError(
                f"'{self.dataset.directory}' no longer holds the {len(videos)} training and val videos that "
                f"'{self.run_dir}' began with; restore them or train anew."
            )
        self.epoch, self.best_value, self.history = state["epoch"], state["best_value"], state["history"]

    def _video_names(self) -> list[str]:
        samples = [*self.train_samples, *self.val_samples]
        return [os.path.relpath(sample.video, self.dataset.directory) for sample in samples]


def hash_seed(*parts: int) -> int:
    """Mix integers into one seed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
