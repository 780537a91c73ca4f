"""Train a HashNet: from a data set to a run directory.

    samples ──> P x K batches ──> augmented clips ──> network ──> triplet loss + cross-entropy ──> step
                                                          └─ each epoch: val mAP, accuracy, health of the codes

After every epoch `last.pt` holds all that the next one depends on, and everything random is drawn from
(seed, epoch, place in the epoch): a resumed run gives the very numbers of an uninterrupted one. (On CUDA, where sums
are made in any order, with `deterministic` only.)
"""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

from c3dhash.config import TrainConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.datasets.splitting import carve_val
from c3dhash.errors import TrainingError
from c3dhash.models.hashing import initialize_hash_head
from c3dhash.models.hashnet import claim_run
from c3dhash.models.precision import pick_device, pick_precision
from c3dhash.training import start
from c3dhash.training.computing import computing
from c3dhash.training.epoch import train_epoch
from c3dhash.training.inputs import AugmentedClips, Inputs, frozen_features
from c3dhash.training.log import TrainingLog
from c3dhash.training.run_files import mark_finished, save_best
from c3dhash.training.state import TrainingState
from c3dhash.training.validation import validate, warn_on_collapse
from c3dhash.training.videos import TrainingVideos, training_videos
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader

logger = logging.getLogger(__name__)


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
        UsageError: settings that do not go together, or are not those of the run that is resumed; run_dir holds
            something else.
    """
    with computing(pick_device(config.device), deterministic=config.deterministic):
        if resume:
            config, state = start.resume(config, run_dir, num_classes=len(dataset.classes))
        else:
            claim_run(run_dir)
            config, state = start.begin(config, num_classes=len(dataset.classes))
        dataset = carve_val(dataset, share=config.val_share, seed=config.seed)
        reader = ClipReader.of_network(state.model.clip_size, state.model.preprocessing, cache)
        videos = training_videos(dataset, reader, config)
        if not resume:
            state.videos = videos.names
        elif state.videos != videos.names:
            raise TrainingError(
                f"'{dataset.directory}' no longer holds the {len(state.videos)} training and val videos that "
                f"'{run_dir}' began with; restore them or train anew."
            )
        _log_start(state, videos, run_dir=run_dir, dataset=dataset, config=config)
        make_inputs = frozen_features if config.freeze else AugmentedClips
        inputs: Inputs = make_inputs(state.model, reader, videos, config)
        _train(state, inputs, videos, run_dir=run_dir, dataset=dataset, config=config)
    return run_dir


def _train(
    state: TrainingState,
    inputs: Inputs,
    videos: TrainingVideos,
    *,
    run_dir: Path,
    dataset: Dataset,
    config: TrainConfig,
) -> None:
    """Train epoch by epoch, and write after each what the next one, and a user, need."""
    if not state.epoch:  # what a training that is interrupted in its first epoch needs to resume
        if config.init != "random":
            initialize_hash_head(state.model, inputs.features(), method=config.init, seed=config.seed)
        state.save(run_dir)
        save_best(run_dir, state, dataset=dataset, config=config)
    with closing(TrainingLog(run_dir, next_epoch=state.epoch + 1)) as log:
        while state.epoch < config.epochs:
            losses = train_epoch(state, inputs, videos.train_labels, config)
            val = validate(inputs.encode_val(), videos.val, videos.val_labels)
            is_best = state.end_epoch({**losses, **val})
            warn_on_collapse(state.history, hash_length=config.hash_length, num_codes=len(videos.val))
            if is_best:
                save_best(run_dir, state, dataset=dataset, config=config)
            log.report(state.history, is_best=is_best, is_last=state.epoch == config.epochs)
            state.save(run_dir)
    mark_finished(run_dir)


def _log_start(
    state: TrainingState, videos: TrainingVideos, *, run_dir: Path, dataset: Dataset, config: TrainConfig
) -> None:
    frames, size = state.model.clip_size[:2]
    precision = pick_precision(config.precision, state.device)
    logger.info(
        "training %s, clips of %d x %d x %d, on %d videos of %d classes (%d to validate), %s on %s, into '%s'",
        config.backbone, frames, size, size, len(videos.train), len(dataset.classes), len(videos.val), precision,
        state.device, run_dir,
    )  # fmt: skip
