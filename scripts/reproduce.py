"""Train hash codes by a published recipe, from any backbone and weights that c3dhash knows, and score them.

    python scripts/reproduce.py published --data jhmdb --backbone i3d --weights kinetics400 --freeze-stages 3

It is there to be compared with: `c3dhash train` on the same data set, backbone, weights, stages and bits. The recipes:

published   github.com/zhongzhh8/Video-Retrieval-C3D (2019), with what it gets wrong where that changes the result:
            Note [What the published recipe gets wrong].
fixed       The same without these faults.
csq         Central Similarity Quantization (Yuan et al., CVPR 2020), with the settings of its public code for UCF101.

# Note [What the published recipe gets wrong]
statistics  Pixels are normalised with mean (0.434, 0.405, 0.378) and deviation (0.152, 0.149, 0.157), whatever the
            weights were trained with. `fixed` takes those of the weights.
frames      T frames spread over the video, for networks that were trained on consecutive ones, too. `fixed` shows the
            network a clip as its weights were trained, and averages the clips of a video.
triplets    A pair is an anchor and a positive in one order only, and the pairs of a class are listed once for each of
            its clips in the batch: large classes count for more. `fixed` takes every ordered triplet once.
epoch       Every fifth epoch is tried on the queries, and the best is what is reported. `fixed` keeps the last.
ties        Items at one distance are ranked as a sort leaves them. `fixed` has the mean over all their orders.

Not faults, and in both: a hash head alone, random batches of 120, SGD from 1e-3, a tenth of it every 40 of 160 epochs,
the middle of each frame, no augmentation, margin 14 for 48 bits.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from c3dhash.bits import hamming_distances, pack_codes
from c3dhash.cli.common import data_option, offline_option, open_dataset
from c3dhash.cli.options import config_options, take
from c3dhash.config import CacheConfig, ModelConfig, TrainConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.errors import C3DHashError, UsageError
from c3dhash.evaluation.codes import Codes, save_codes
from c3dhash.evaluation.evaluate import evaluate_codes
from c3dhash.models.batch_norm import training_mode
from c3dhash.models.hashnet import HashNet, build_model
from c3dhash.models.precision import pick_device
from c3dhash.models.weights import choose_weights, load_into
from c3dhash.records import Preprocessing
from c3dhash.training.computing import computing
from c3dhash.training.inputs import AugmentedClips, Inputs, keep_stages
from c3dhash.training.losses import batch_all_triplet_loss, center_loss, default_margin
from c3dhash.training.optimization import resolve, trained_parameters
from c3dhash.training.start import num_stages
from c3dhash.training.videos import TrainingVideos
from c3dhash.video.cache import open_cache
from c3dhash.video.clips import ClipReader
from c3dhash.video.normalization import for_device, to_device

PUBLISHED_STATISTICS = Preprocessing(mean=(0.434, 0.405, 0.378), std=(0.152, 0.149, 0.157))
TRIED_EVERY = 5  # epochs


@dataclass(frozen=True)
class Recipe:
    """How a recipe trains.

    learning_rate: of the hash head; the backbone has `backbone_share` of it. steps: shares of the epochs after which
    both are divided by ten. views: augmented, as with `c3dhash train`; 0 shows the middle of each video alone.
    """

    learning_rate: float
    backbone_share: float
    weight_decay: float
    nesterov: bool
    batch_size: int
    epochs: int
    steps: tuple[float, ...]
    views: int
    is_faulty: bool = False


_PUBLISHED = Recipe(1e-3, 1.0, 5e-4, False, 120, 160, (0.25, 0.5, 0.75), views=0, is_faulty=True)
RECIPES = {
    "published": _PUBLISHED,
    "fixed": dataclasses.replace(_PUBLISHED, is_faulty=False),
    # video/train_ucf101.py and train_model.py of github.com/yuanli2333/Hadamard-Matrix-for-hashing: steps at 200,000
    # and 400,000 of the 477,000 clips that 50 epochs of UCF101 are. Its augmentation (crops, mirror) is that of ours.
    "csq": Recipe(5e-3, 0.2, 1e-4, True, 64, 50, (0.42, 0.84), views=4),
}


class MiddleClips(AugmentedClips):
    """Whole clips that are not augmented: the middle of each video, as it is indexed."""

    def load(self, indices: np.ndarray, *, seed: tuple[int, ...]) -> np.ndarray:
        windows = [self.reader.evaluation_clips(self.videos.samples[index]) for index in indices]
        return np.stack([clips[len(clips) // 2] for clips in windows])


def published_triplet_loss(embeddings: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """Average the hinge over the triplets that the published recipe lists: Note [What the published recipe gets wrong].

    Args:
        embeddings: float [B, L].
        labels: int64 [B].
    Returns:
        float scalar; 0 with a graph where there is no triplet.
    """
    same = labels[:, None] == labels[None, :]
    distances = (embeddings[:, None] - embeddings[None, :]).square().sum(2)
    hinges = (margin + distances[:, :, None] - distances[:, None, :]).clamp_min(0)  # [anchor, positive, negative]
    listed = same.triu(1)[:, :, None] & ~same[:, None, :]
    times = listed * same.sum(1)[:, None, None]  # once for each clip of the class
    return (hinges * times).sum() / times.sum().clamp_min(1)


def published_mean_ap(codes: Codes) -> float:
    """Return the mean of AP in the order that a sort of the distances leaves, as the published recipe computes it."""
    values = []
    for code, label in zip(codes.query_codes, codes.query_labels, strict=True):
        order = np.argsort(hamming_distances(code[None], codes.gallery_codes)[0])
        relevant = codes.gallery_labels[order] == label
        values.append((np.cumsum(relevant) / np.arange(1, len(order) + 1))[relevant].mean() if relevant.any() else 0.0)
    return float(np.mean(values))


def csq_centers(num_classes: int, hash_length: int, *, seed: int) -> np.ndarray:
    """Return the hash centres of CSQ: rows of a Hadamard matrix, then of its negative; else balanced random codes.

    Returns:
        float32 [num_classes, hash_length], of -1 and +1.
    Source: Yuan et al., CVPR 2020, section 3.2 and algorithm 1: there is such a matrix for powers of two.
    """
    is_power, rng = hash_length & (hash_length - 1) == 0, np.random.default_rng(seed)
    rows = np.ones((1, 1), np.float32)
    while is_power and len(rows) < hash_length:
        rows = np.block([[rows, rows], [rows, -rows]])
    rows = np.concatenate([rows, -rows]) if is_power else np.empty((0, hash_length), np.float32)
    half = np.where(np.arange(hash_length) % 2 == 0, 1.0, -1.0).astype(np.float32)
    while len(rows) < num_classes:
        rows = np.concatenate([rows, rng.permutation(half)[None]])
    return rows[:num_classes]


@dataclass(frozen=True)
class Places:
    """Which videos of the inputs are what, int64 each; the gallery may be what is trained on.

    labels: of all videos, int64 [N].
    """

    train: np.ndarray
    gallery: np.ndarray
    queries: np.ndarray
    labels: np.ndarray


def read_videos(dataset: Dataset, reader: ClipReader, *, workers: int) -> tuple[TrainingVideos, Places]:
    """List the videos of all splits that decode: those that are trained on, then the gallery's own, then the queries.

    Raises:
        UsageError: nothing to train on or to query with, or several labels a video.
    """
    names = [name for name in ("train", "gallery", "query") if any(s.split == name for s in dataset.samples)]
    if missing := {"train", "query"} - set(names):
        raise UsageError(f"'{dataset.directory}' has no {missing.pop()} videos ({dataset.describe()}).")
    if dataset.is_multi_label:
        raise UsageError(f"'{dataset.directory}' has several labels a video; the recipes are for one.")
    splits = {
        name: reader.readable(dataset.split(name), workers=workers, description=f"Decoding {name} videos")
        for name in names
    }
    ends = np.cumsum([len(splits[name]) for name in names])
    found = {name: np.arange(end - len(splits[name]), end) for name, end in zip(names, ends, strict=True)}
    labels = np.concatenate([dataset.labels(splits[name]) for name in names])
    places = Places(found["train"], found.get("gallery", found["train"]), found["query"], labels)
    others = [sample for name in names[1:] for sample in splits[name]]
    num_train = len(places.train)
    return TrainingVideos(splits["train"], others, labels[:num_train], labels[num_train:], []), places


def prepare(name: str, dataset: Dataset, config: TrainConfig, cache: CacheConfig) -> tuple[HashNet, Inputs, Places]:
    """Build the network with its weights, and what it reads."""
    recipe = RECIPES[name]
    torch.manual_seed(config.seed)
    model = build_model(config, num_classes=None)
    weights = choose_weights(config.weights, backbone=config.backbone, shortcut=config.shortcut)
    if weights:
        load_into(model.backbone, weights)
    if recipe.is_faulty:
        if model.preprocessing.num_channels != 3:
            raise UsageError(f"backbone ({config.backbone}) reads optical flow, and the published recipe pictures.")
        model.backbone.preprocessing = PUBLISHED_STATISTICS
    model.to(pick_device(config.device))
    reader = ClipReader.of_network(model.clip_size, model.preprocessing, open_cache(cache))
    videos, places = read_videos(dataset, reader, workers=config.workers)
    config = dataclasses.replace(config, views=recipe.views)
    if config.freeze_stages:
        return model, keep_stages(model, reader, videos, config, run_dir=Path.cwd()), places
    return model, (AugmentedClips if recipe.views else MiddleClips)(model, reader, videos, config), places


def loss_of(name: str, *, num_classes: int, config: TrainConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a recipe: embeddings float [B, L], labels int64 [B] -> scalar."""
    margin = default_margin(config.hash_length) if config.margin is None else config.margin
    if name == "csq":
        centers = torch.from_numpy(csq_centers(num_classes, config.hash_length, seed=config.seed))
        return lambda embeddings, labels: center_loss(embeddings, labels, centers.to(embeddings.device))
    if RECIPES[name].is_faulty:
        return lambda embeddings, labels: published_triplet_loss(embeddings, labels, margin=margin)
    return lambda embeddings, labels: batch_all_triplet_loss(embeddings, labels, margin=margin)


def train(
    recipe: Recipe, model: HashNet, inputs: Inputs, labels: np.ndarray, config: TrainConfig,
    *, loss_of: Callable[[Tensor, Tensor], Tensor], end_epoch: Callable[[int], None],
) -> None:  # fmt: skip
    """Train on the first videos of the inputs.

    Args:
        labels: of these, int64 [N].
        end_epoch: called with the number of each epoch, from 1.
    """
    device, rng = next(model.parameters()).device, np.random.default_rng(config.seed)
    groups: list[dict[str, Any]] = []
    trained = trained_parameters(model, freeze_stages=config.freeze_stages or 0)
    for part, share in (("hash_head.", 1.0), ("backbone.", recipe.backbone_share)):
        if params := [value for name, value in trained.items() if name.startswith(part)]:
            groups.append({"params": params, "share": share})
    optimizer = torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
    )
    for epoch in range(recipe.epochs):
        for group in optimizer.param_groups:
            num_steps = sum(epoch >= share * recipe.epochs for share in recipe.steps)
            group["lr"] = recipe.learning_rate * group["share"] * 0.1**num_steps
        training_mode(model, freeze_bn=False)
        order = rng.permutation(len(labels))
        for start in range(0, len(order), recipe.batch_size):
            batch = order[start : start + recipe.batch_size]
            clips = to_device(for_device(inputs.load(batch, seed=(config.seed, epoch, start)), device), device)
            embedding = model.heads(inputs.read(clips)).embedding
            assert embedding is not None
            loss = loss_of(embedding, torch.from_numpy(labels[batch]).to(device))
            if not loss:
                continue
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # of PyTorch
            optimizer.step()
        end_epoch(epoch + 1)


def encode(inputs: Inputs, places: Places, *, hash_length: int) -> Codes:
    """Encode gallery and queries with the network as it is."""
    embeddings = [inputs.encode(part).embeddings for part in (places.gallery, places.queries)]
    gallery, queries = (pack_codes(part) for part in embeddings if part is not None)
    return Codes(gallery, places.labels[places.gallery], queries, places.labels[places.queries], hash_length)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="RECIPE", type=click.Choice(list(RECIPES)))
@data_option
@config_options(ModelConfig)
@click.option("--weights", default=None, help="Weights to start from, as of `c3dhash train`.")
@click.option("--freeze-stages", type=int, default=0, help="Stages that stay as the weights have them; -1 is all.")
@click.option("--margin", type=float, default=None, help="Triplet margin, as of `c3dhash train`.")
@click.option("--learning-rate", type=float, default=None, help="Another rate than the recipe's.")
@click.option("--epochs", type=int, default=None, help="Other epochs than the recipe's.")
@click.option("--seed", type=int, default=0, help="Seed of everything random.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Write the codes to this .npz file.")
@config_options(CacheConfig)
@offline_option
def main(
    name: str, data: Path, freeze_stages: int, learning_rate: float | None, epochs: int | None, out: Path | None,
    **options: Any,
) -> None:  # fmt: skip
    """Train by RECIPE (published, fixed or csq) and print how its codes rank, as JSON."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    started, recipe = time.perf_counter(), RECIPES[name]
    recipe = dataclasses.replace(
        recipe, learning_rate=learning_rate or recipe.learning_rate, epochs=epochs or recipe.epochs
    )
    cache = take(CacheConfig, options)
    stages = num_stages(options["backbone"])
    num_frozen = stages if freeze_stages < 0 else freeze_stages
    config = take(TrainConfig, {**options, "task": "hash", "freeze_stages": num_frozen})
    config = resolve(config, num_stages=stages)
    dataset = open_dataset(data, split=config.split, format=None, allow_missing=False)
    with computing(pick_device(config.device), deterministic=False):
        model, inputs, places = prepare(name, dataset, config, cache)
        tried: list[float] = []

        def end_epoch(number: int) -> None:
            if recipe.is_faulty and (number - 1) % TRIED_EVERY == 0:
                tried.append(published_mean_ap(encode(inputs, places, hash_length=config.hash_length)))

        loss = loss_of(name, num_classes=len(dataset.classes), config=config)
        train(recipe, model, inputs, places.labels[places.train], config, loss_of=loss, end_epoch=end_epoch)
        codes = encode(inputs, places, hash_length=config.hash_length)
    numbers = evaluate_codes(codes).numbers
    result = {name: numbers[name] for name in ("mAP", "mAP@100/hits", "precision@1")}
    if tried:
        result["as it reports"] = max(tried)
    if out is not None:
        save_codes(codes, out)
    minutes = round((time.perf_counter() - started) / 60, 2)
    click.echo(json.dumps({"recipe": name, **result, "minutes": minutes, "seed": config.seed}))


if __name__ == "__main__":
    try:
        main()
    except C3DHashError as error:
        raise SystemExit(f"reproduce.py: {error}") from error
