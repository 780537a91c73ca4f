"""Train a HashNet: from a data set to a run directory.

    samples ──> P x K batches ──> augmented clips ──> network ──> triplet loss + cross-entropy ──> step
                                                          └─ each epoch: val mAP, accuracy, health of the codes

After every epoch `last.pt` holds all that the next one depends on, and everything random is drawn from
(seed, epoch, place in the epoch): a resumed run gives the very numbers of an uninterrupted one. (On CUDA, where sums
are made in any order, with `deterministic` only.)
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import torch

import c3dhash
from c3dhash.config import TrainConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.datasets.splitting import carve_val
from c3dhash.errors import TrainingError
from c3dhash.files import leaving_no_trace
from c3dhash.models.calibration import save_calibration
from c3dhash.models.hashing import initialize_hash_head
from c3dhash.models.precision import pick_device, pick_precision
from c3dhash.models.runs import claim_run
from c3dhash.training import start
from c3dhash.training.centers import class_similarity, hash_centers
from c3dhash.training.computing import computing
from c3dhash.training.epoch import deal, fitting_part_size, settle_norms, train_epoch
from c3dhash.training.inputs import AugmentedClips, Inputs, keep_stages
from c3dhash.training.launch import goes_on, joined, launched
from c3dhash.training.log import TrainingLog
from c3dhash.training.ranks import Ranks
from c3dhash.training.run_files import mark_finished, save_best
from c3dhash.training.state import TrainingState
from c3dhash.training.sync_norms import synchronize
from c3dhash.training.validation import Validation, val_gallery, validate, warn_on_collapse
from c3dhash.training.videos import TrainingVideos, training_videos
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader

logger = logging.getLogger(__name__)


def train_run(
    dataset: Dataset, config: TrainConfig, *, run_dir: Path, cache: FrameCache, resume: bool | None = False
) -> Path:
    """Train a network on a data set and write a run directory.

    Args:
        dataset: its train split is trained on; its val split, or a part of train kept aside by group, decides
            which epoch is kept. Gallery and queries are not looked at.
        config: the settings.
        run_dir: where to write; must not hold a run unless `resume`.
        cache: for decoded frames.
        resume: go on from `last.pt` of run_dir, which must have been made with the same settings and videos; None:
            where a launcher that has lost a process starts again, go on with what it had begun, else begin.
    Returns:
        run_dir, with the best epoch's weights.
    Raises:
        TrainingError: nothing to train or validate on, a loss that is not finite, or nothing to resume.
        UsageError: settings that do not go together, or are not those of the run that is resumed; run_dir holds
            something else.
        RankError: any of these, or a lost process, where a launcher has started several: launch.py.
    """
    if resume and config.device.startswith("cuda:") and launched().size > 1:
        config = dataclasses.replace(config, device="cuda")  # the run was trained on one GPU until now
    with (
        joined(config, run_dir=run_dir) as ranks,
        computing(pick_device(config.device), deterministic=config.deterministic),
        leaving_no_trace(run_dir) if ranks.is_first else nullcontext(),
    ):
        _train_among(ranks, dataset, config, run_dir=run_dir, cache=cache, resume=resume)
    return run_dir


def _train_among(
    ranks: Ranks, dataset: Dataset, config: TrainConfig, *, run_dir: Path, cache: FrameCache, resume: bool | None
) -> None:
    """Train as one of the processes of a training."""
    resume = goes_on(run_dir, ranks) if resume is None else resume
    ranks.require_same(_facts(dataset, config, run_dir=run_dir, resume=resume))
    if resume:
        config, state = start.resume(config, run_dir, num_classes=len(dataset.classes))
    else:
        if ranks.is_first:
            claim_run(run_dir)
        with ranks.one_on_each_machine_first():  # it fetches the weights
            config, state = start.begin(config, classes=dataset.classes)
    ranks.require_same({"the epoch": state.epoch})
    if config.sync_bn and ranks.size > 1:
        synchronize(state.model, ranks)
    has_own_val = bool(dataset.split("val"))
    if config.val_share:
        dataset = carve_val(dataset, share=config.val_share, seed=config.seed)
    reader = ClipReader.of_network(state.model.clip_size, state.model.preprocessing, cache)
    videos = training_videos(dataset, reader, config, ranks=ranks)
    if not resume:
        state.videos = videos.names
    elif state.videos != videos.names:
        raise TrainingError(
            f"'{dataset.directory}' no longer holds the {len(state.videos)} training and val videos that "
            f"'{run_dir}' began with; restore them or train anew."
        )
    _log_start(state, videos, ranks, run_dir=run_dir, dataset=dataset, config=config)
    inputs: Inputs
    if config.freeze_stages:
        inputs = keep_stages(state.model, reader, videos, config, run_dir=run_dir, ranks=ranks)
    else:
        inputs = AugmentedClips(state.model, reader, videos, config, ranks=ranks)
    is_carved = not has_own_val and bool(videos.val)
    _train(state, inputs, videos, run_dir=run_dir, dataset=dataset, config=config, may_refit=is_carved)


def _facts(dataset: Dataset, config: TrainConfig, *, run_dir: Path, resume: bool) -> dict[str, object]:
    """Return what must be the same in all processes of a training."""
    names = "\n".join(os.path.relpath(sample.video, dataset.directory) for sample in dataset.samples)
    return {
        **{item.name: getattr(config, item.name) for item in dataclasses.fields(config) if item.name != "workers"},
        "the run directory": str(run_dir),
        "resume": resume,
        "the data set": f"{dataset.describe()} ({hashlib.blake2b(os.fsencode(names), digest_size=4).hexdigest()})",
        "the version": f"c3dhash {c3dhash.__version__}, PyTorch {torch.__version__}",
    }


def _train(
    state: TrainingState,
    inputs: Inputs,
    videos: TrainingVideos,
    *,
    run_dir: Path,
    dataset: Dataset,
    config: TrainConfig,
    may_refit: bool,
) -> None:
    """Train epoch by epoch, and write after each what the next one, and a user, need; the first rank does."""
    assert config.epochs is not None
    is_first = inputs.ranks.is_first
    inputs.own_rows(deal(videos.train_labels, config, epoch=0)[0])  # before anything is written
    gallery = val_gallery(
        videos.train_labels, num_val=len(videos.val), seed=config.seed, takes_all=bool(config.freeze_stages)
    )
    if not state.epoch and not state.is_refit:  # what a training that is interrupted in its first epoch needs
        _prepare_heads(state, inputs, videos.train_labels, num_classes=len(dataset.classes), config=config)
        if is_first:
            state.save(run_dir)
            save_best(run_dir, state, dataset=dataset, config=config)
    part_size = fitting_part_size(state, inputs, config)
    with closing(TrainingLog(run_dir, next_epoch=len(state.history) + 1)) if is_first else nullcontext() as log:
        while not state.is_refit and state.epoch < config.epochs:
            losses = train_epoch(state, inputs, videos.train_labels, config, part_size=part_size)
            is_last = state.epoch + 1 == config.epochs
            is_measured = is_last or (state.epoch + 1) % inputs.validates_every == 0
            with state.averaged():
                val = _validate(inputs, videos, gallery) if is_measured and videos.val else Validation({})
            is_best = state.end_epoch({**losses, **val.metrics}, may_be_best=is_measured or not videos.val)
            if val.metrics:
                measured = [row for row in state.history if "val_dead_bits" in row or "val_accuracy" in row]
                warn_on_collapse(measured, hash_length=config.hash_length, num_codes=len(videos.val))
            if log is None:
                continue
            if is_best:
                with state.averaged():
                    save_best(run_dir, state, dataset=dataset, config=config)
                if val.calibration is not None:
                    save_calibration(run_dir, val.calibration)
            log.report(state.history, is_best=is_best and bool(val.metrics), is_last=is_last)
            state.save(run_dir)
        if config.refit and may_refit:
            _refit(state, inputs, videos, log, run_dir=run_dir, dataset=dataset, config=config, part_size=part_size)
    if is_first:
        mark_finished(run_dir)


def _refit(
    state: TrainingState,
    inputs: Inputs,
    videos: TrainingVideos,
    log: TrainingLog | None,
    *,
    run_dir: Path,
    dataset: Dataset,
    config: TrainConfig,
    part_size: int | None,
) -> None:
    """Begin again and train on the val videos, too; keep the last epoch.

    All epochs, not those up to the best: at its end the learning rate has come down, which is worth more than the
    epoch that a few val videos chose. JHMDB, I3D, heads alone, five folds of the training list: mAP 0.746 after all of
    the schedule, 0.733 after a quarter of it; standard error 0.02.
    """
    assert config.epochs is not None
    if not state.is_refit:
        logger.info("epoch %d was the best on the val videos; now all epochs on these videos, too.", state.best_epoch)
        start.begin_refit(state, config, num_classes=len(dataset.classes))
        _prepare_heads(state, inputs, videos.labels, num_classes=len(dataset.classes), config=config)
        if log is not None:
            state.save(run_dir)
    while state.epoch < config.epochs:
        losses = train_epoch(state, inputs, videos.labels, config, part_size=part_size)
        state.end_epoch(losses, may_be_best=False)
        if log is not None:
            log.report(state.history, is_best=False, is_last=state.epoch == config.epochs)
            state.save(run_dir)
    if log is None:
        return
    with state.averaged():
        save_best(run_dir, state, dataset=dataset, config=config)


def _prepare_heads(
    state: TrainingState, inputs: Inputs, labels: np.ndarray, *, num_classes: int, config: TrainConfig
) -> None:
    """Do what the features of the videos to train on are needed for, before the first step.

    They scale what the heads read, say which centres of classes should be nearer, and, where asked, start the hash head
    from a code without training.

    Args:
        labels: of the videos to train on, the first that the inputs count, int64 [N], or bool [N, num_classes].
    """
    model, means = state.model, None
    settle_norms(state, inputs, labels, config)
    if model.scaling is not None or config.init != "random":
        features = torch.from_numpy(inputs.features(np.arange(len(labels)))).to(state.device)  # [views, N, feature_dim]
        with torch.inference_mode():
            read = model.head_inputs(features.flatten(0, 1))  # the scaling does nothing yet
            means = read.reshape(features.shape).mean(0).cpu().numpy()  # over views
            if model.scaling is not None:
                model.scaling.fit(read)
                read = model.scaling(read)
        if config.init != "random":
            initialize_hash_head(model, read.cpu().numpy(), method=config.init, seed=config.seed)
    if config.has_hash_head and config.center_weight:  # of many classes they take seconds
        similarity = None if means is None else class_similarity(means, labels, num_classes=num_classes)
        found = hash_centers(num_classes, config.hash_length, similarity=similarity, seed=config.seed)
        model.class_codes = torch.from_numpy(found).to(state.device)


def _validate(inputs: Inputs, videos: TrainingVideos, gallery: np.ndarray) -> Validation:
    """Let the val videos query training videos."""
    num_train = len(videos.train)
    val = inputs.encode(np.arange(num_train, num_train + len(videos.val)))
    if val.embeddings is None:
        return validate(val, videos.val_labels)
    return validate(val, videos.val_labels, inputs.encode(gallery), videos.train_labels[gallery])


def _log_start(
    state: TrainingState,
    videos: TrainingVideos,
    ranks: Ranks,
    *,
    run_dir: Path,
    dataset: Dataset,
    config: TrainConfig,
) -> None:
    frames, size = state.model.clip_size[:2]
    precision = pick_precision(config.precision, state.device)
    logger.info(
        "training %s, clips of %d x %d x %d, on %d videos of %d classes (%d to validate), %s on %s%s, into '%s'",
        config.backbone, frames, size, size, len(videos.train), len(dataset.classes), len(videos.val), precision,
        state.device, f" in {ranks.size} processes" if ranks.size > 1 else "", run_dir,
    )  # fmt: skip
