"""Codes without labels and without training: published weights, and a hash head made of the features of a gallery's
own videos.

gallery/
  model/      a run directory like any other, written before the first code; it travels with the gallery
  features/   what is through the network already, until the gallery holds the codes of it; it may be deleted

    videos ──> backbone ──> features/ ──> fit_hash ──> model/         (make_run)
                                └────────────────────────> codes      (index_with_features)

So each clip goes through the network once, also where this is stopped and started again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from c3dhash.bits import pack_codes
from c3dhash.config import EncodeConfig, HashConfig, IndexConfig, ModelConfig
from c3dhash.errors import GalleryError, ModelMismatchError
from c3dhash.files import delete_own_files, replacing
from c3dhash.gallery import lock
from c3dhash.gallery.indexing import (
    EncodeSteps,
    IndexReport,
    KnownCodes,
    Seen,
    encode_here,
    index_videos,
    is_unchanged,
)
from c3dhash.gallery.plan import Step
from c3dhash.gallery.scan import scan_places
from c3dhash.gallery.store import CATALOG_NAME, MODEL_DIR, Gallery
from c3dhash.gallery.windows import windows_of, with_windows
from c3dhash.models.backbones import backbone_class, build_backbone
from c3dhash.models.encode import window_options
from c3dhash.models.fingerprints import fingerprint, is_of_first_rule
from c3dhash.models.hashing import HashHead, check_hash, initialize_hash_head
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import Run, is_finished, load_run, save_run
from c3dhash.models.weights import find_weights, identify_weights, load_into
from c3dhash.records import CodeBatch, FeatureBatch
from c3dhash.versions import versions

logger = logging.getLogger(__name__)

FEATURES_DIR = "features"
FEATURES_NAME = re.compile(r"[0-9a-f]{32}\.npz")
# Enough for the covariance of 4,096 numbers; in float32 they then take 330 MB.
MAX_FITTED_CLIPS = 20_000
SEED = 0
# What two models must have in common to be one, beside their weights.
OPTIONS = (*(item.name for item in dataclasses.fields(ModelConfig)), "hash")


def own_run(gallery_path: Path) -> Run | None:
    """Load the run that a gallery brings with it; None where it has none."""
    path = gallery_path / MODEL_DIR
    return load_run(path) if is_finished(path) else None


def kept_features(run: Run, gallery_path: Path, *, config: EncodeConfig) -> KeptFeatures | None:
    """Return what `make_run` has kept of the features that a run makes codes of; None for a run that was trained."""
    network = run.config.get("backbone_fingerprint")
    if network and is_of_first_rule(network):  # it names the features of networks that differ; none are taken by it
        network = fingerprint(HashNet(run.model.backbone, hash_length=None, num_classes=None))
    return KeptFeatures(gallery_path, network=network, config=config) if network else None


def index_with_features(
    run: Run,
    gallery: Gallery,
    places: Sequence[Path | str],
    *,
    config: EncodeConfig,
    index: IndexConfig | None = None,
    encode: EncodeSteps | None = None,
) -> IndexReport:
    """Do what `index_videos` does, with the features that `make_run` has kept for a run; they are deleted in the end.

    Args:
        config: with the windows that the gallery has; the others of the arguments are as for `index_videos`.
    """
    kept = kept_features(run, gallery.path, config=with_windows(config, gallery))
    known_codes = partial(kept.codes, run) if kept else None
    report = index_videos(run, gallery, places, config=config, index=index, known_codes=known_codes, encode=encode)
    if kept:
        kept.clear()
    return report


def make_run(
    gallery_path: Path,
    places: Sequence[Path | str],
    *,
    config: HashConfig,
    encode: EncodeConfig | None = None,
    wait_seconds: float | None = None,
    encode_steps: EncodeSteps | None = None,
) -> Run:
    """Return the run of a gallery, and make it where there is none: fit a hash head to the features of its videos.

    Of several that start together the first fits, and the others wait and take its model. Stopped, the same call goes
    on: features that are in `features/` are not computed again. Videos that cannot be
    decoded are passed over; `index_videos` reports them.

    Args:
        gallery_path: the folder of the gallery, which there may not be yet.
        places: folders or files of videos, as for `index_videos`. Where they give more than MAX_FITTED_CLIPS clips,
            videos are drawn from them.
        config: backbone, weights, bits, and how the bits are made.
        encode: windows, batch size, device.
        wait_seconds: how long to wait for another writer; None for as long as it takes.
        encode_steps: what computes the features, as `encode` of `index_videos`. The model does not depend on the order
            in which they come.
    Raises:
        ModelMismatchError: the gallery has a model already, and it is another one.
        UsageError: an unknown backbone or a clip it cannot take, no videos, or too few of them for ITQ; several clips a
            window, of a network that has one.
        CheckpointError: the weights are not found or do not fit.
        GalleryError: the folder cannot be written, or another writer is not done in time.
    """
    with lock.writing(gallery_path, timeout_seconds=wait_seconds):
        return _make_run(gallery_path, places, config, encode or EncodeConfig(), encode_steps or encode_here)


def _make_run(
    gallery_path: Path,
    places: Sequence[Path | str],
    config: HashConfig,
    encode: EncodeConfig,
    encode_steps: EncodeSteps,
) -> Run:
    run = own_run(gallery_path)
    if run is None and (gallery_path / CATALOG_NAME).exists():
        raise ModelMismatchError(
            f"gallery '{gallery_path}' holds codes of a model that is not its own: index into another folder "
            "(--gallery NAME), or leave --backbone out."
        )
    if run is not None and run.config["backbone"] == config.backbone:  # where nothing is asked for, its own clips
        own = {name: run.config[name] for name in ("num_frames", "size") if getattr(config, name) is None}
        config = dataclasses.replace(config, **own)
    network, config = _build(config)
    window_options(network, encode)
    if run is not None:
        _check_same(run, config, network=network)
        return run
    if config.hash != "auto":
        check_hash(config.hash, hash_length=config.hash_length, feature_dim=network.backbone.feature_dim)
    key = fingerprint(network)
    kept = KeptFeatures(gallery_path, network=key, config=encode)
    videos = _in_random_order(places)
    headless = Run(gallery_path / MODEL_DIR, {}, (), network.eval(), key)
    _compute_features(headless, videos, kept, encode, encode_steps)
    features = _sample(videos, kept, feature_dim=network.backbone.feature_dim)
    if config.hash == "auto":
        config = dataclasses.replace(config, hash=_choose_hash(config.hash_length, features))
    model = HashNet(network.backbone, hash_length=config.hash_length, num_classes=None)
    initialize_hash_head(model, features, method=config.hash, seed=SEED)
    logger.info("%s: %d bits fitted on %d clips.", config.hash, config.hash_length, len(features))
    _save(headless, model, config=config, encode=encode, num_clips=len(features))
    return load_run(headless.path)


class KeptFeatures:
    """Features on disk, one file a video, until their codes are in the gallery.

    A file is named by all that decides what is in it - the network, the windows, and the video's name, size and time -
    and renamed into place when it is whole. With the features it holds the content hash of the video.

    Args:
        gallery_path: the folder of the gallery.
        network: the fingerprint of the backbone.
        config: with the windows.
    """

    def __init__(self, gallery_path: Path, *, network: str, config: EncodeConfig) -> None:
        self.directory = gallery_path / FEATURES_DIR
        self._origin = (network, *windows_of(config).values())

    def file(self, step: Step) -> Path:
        """Return where the features of a video are, as a step says it is, whether they are there or not."""
        name = repr((*self._origin, os.fsencode(step.video), step.size_bytes, step.mtime_ns))
        return self.directory / f"{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}.npz"

    def load(self, step: Step) -> tuple[FeatureBatch, str | None] | None:
        """Return the features of a video and its content hash, which earlier versions did not keep; None without."""
        path = self.file(step)
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                times = arrays["start_seconds"], arrays["end_seconds"]
                digest = str(arrays["content_hash"]) if "content_hash" in arrays else None
                return FeatureBatch(arrays["features"], *times, int(arrays["num_flat"])), digest
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            logger.warning("'%s' cannot be read and is made again.", path)
            return None

    def save(self, path: Path, batch: FeatureBatch, content_hash: str) -> None:
        """Write the features of a video to the file that `file` names."""
        arrays = {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}
        try:
            with replacing(path, is_durable=False) as partial, partial.open("wb") as opened:
                np.savez(opened, content_hash=np.array(content_hash), **arrays)
        except OSError as error:
            raise GalleryError(
                f"features '{path}' cannot be written ({error.strerror}): make room, then type the same command again."
            ) from error

    def codes(self, run: Run, step: Step) -> KnownCodes | None:
        """Return the codes that a run makes of the features of a video, or None where there are none."""
        kept = self.load(step)
        return None if kept is None else KnownCodes(hash_features(run, kept[0]), kept[1])

    def clear(self) -> None:
        """Delete all of it, and the folder where it holds nothing else."""
        with suppress(OSError):
            delete_own_files(self.directory, FEATURES_NAME)
            self.directory.rmdir()


def hash_features(run: Run, batch: FeatureBatch) -> CodeBatch:
    """Return the codes that a run with a hash head makes of features."""
    layer = run.model.hash_head
    assert layer is not None  # the model of a gallery has one
    head = HashHead(layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy())
    embeddings = np.tanh(head(batch.features))
    codes = pack_codes(embeddings)
    return CodeBatch(codes, run.hash_length, batch.start_seconds, batch.end_seconds, batch.num_flat, embeddings)


def _build(config: HashConfig) -> tuple[HashNet, HashConfig]:
    """Build a network without heads, with its weights; return it and the config with every setting filled in."""
    assert config.backbone is not None
    network = backbone_class(config.backbone)
    if not network.needs_weights:
        backbone = build_backbone(config.backbone, num_frames=config.num_frames, size=config.size)
        num_frames, size = backbone.clip_size[:2]
        model = HashNet(backbone, hash_length=None, num_classes=None)
        method = backbone.hash_method if backbone.hash_method and config.hash == "auto" else config.hash
        return model, dataclasses.replace(config, num_frames=num_frames, size=size, hash=method)
    assert config.weights is not None  # HashConfig sees to it
    weights = find_weights(config.weights, backbone=config.backbone)
    has_shortcuts = bool(network.shortcuts)
    shortcut = config.shortcut or (identify_weights(weights)[1] if has_shortcuts else None)
    backbone = build_backbone(config.backbone, num_frames=config.num_frames, size=config.size, shortcut=shortcut)
    load_into(backbone, weights)
    num_frames, size = backbone.clip_size[:2]
    resolved = dataclasses.replace(
        config, shortcut=backbone.shortcut, num_frames=num_frames, size=size, weights=str(weights)
    )
    return HashNet(backbone, hash_length=None, num_classes=None), resolved


def _check_same(run: Run, config: HashConfig, *, network: HashNet) -> None:
    """Raise unless a gallery's own run is what a config asks for.

    How it samples time is its own: galleries go on as they were made, and nothing that is asked for says otherwise.
    """
    backbone = network.backbone
    backbone.preprocessing = dataclasses.replace(
        backbone.preprocessing, interval_seconds=run.model.preprocessing.interval_seconds
    )
    options = [(name, run.config.get(name), getattr(config, name)) for name in OPTIONS]
    differing = [
        (name, own, given) for name, own, given in options if own != given and (name, given) != ("hash", "auto")
    ]
    own_network = run.config.get("backbone_fingerprint", "")
    given_network = fingerprint(network, like=own_network)
    if own_network != given_network:  # what is in the weights counts, whatever their file is called
        own_weights = f"'{run.config.get('weights')}' ({own_network[:8]})"
        differing.append(("weights", own_weights, f"'{config.weights}' ({given_network[:8]})"))
    if differing:
        name, own, given = differing[0]
        raise ModelMismatchError(
            f"gallery '{run.path.parent}' has a model of its own with {name} {own}, got {given}: leave --backbone out "
            "to use it, or index into another folder (--gallery NAME)."
        )


def _choose_hash(hash_length: int, features: np.ndarray) -> str:
    """Take ITQ where it can be fitted: it needs more clips than bits, and as many numbers in a feature."""
    return "itq" if len(features) > hash_length <= features.shape[1] else "lsh"


def _in_random_order(places: Sequence[Path | str]) -> list[Step]:
    """List the videos, always in the same order, and such that the first of them stand for all."""
    scan = scan_places(places)
    scan.refuse_missing_places()
    found = [Step(file.name, file.root, file.size_bytes, file.mtime_ns) for file in scan.files]
    return [found[place] for place in np.random.default_rng(SEED).permutation(len(found))]


def _compute_features(
    run: Run, videos: Sequence[Step], kept: KeptFeatures, config: EncodeConfig, encode: EncodeSteps
) -> None:
    """Bring the videos through the network and keep their features, until there are enough clips to fit on.

    Note [The first videos]
        Whatever comes in which order, the model is fitted on the first videos of the list that have enough clips. So
        it goes on until all of these are through; what comes of later ones is kept for the gallery, and not fitted on.
    """
    try:
        kept.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GalleryError(
            f"gallery '{kept.directory.parent}' cannot be made: {error.strerror}; choose another folder."
        ) from error
    num_clips = {step.video: len(each[0].features) for step in videos if (each := kept.load(step)) is not None}
    missing = {Path(step.video): step for step in videos if step.video not in num_clips}
    firsts = _Firsts(videos, num_clips)
    if not missing or firsts.are_enough():
        return

    def note_engine(name: str) -> None:
        run.config["engine"] = name

    with (
        tqdm(total=len(missing), desc="Features", unit="video") as progress,
        closing(encode(run, list(missing.values()), config, note_engine, with_features=True)) as results,
    ):
        for result, seen in results:
            progress.update()
            step = missing[result.video]
            num_clips[step.video] = 0
            if result.features is not None and seen is not None and _is_as_listed(step, seen):
                kept.save(kept.file(step), result.features, seen.content_hash)
                num_clips[step.video] = len(result.features.features)
            # Unreadable, or changed meanwhile: the update of the gallery sees it again and reports it.
            if firsts.are_enough():
                break


def _is_as_listed(step: Step, seen: Seen) -> bool:
    return (seen.size_bytes, seen.mtime_ns) == (step.size_bytes, step.mtime_ns) and is_unchanged(step, seen)


class _Firsts:
    """The first videos of a list up to one that is not through, and how many clips they have: Note [The first videos].

    Args:
        num_clips: of the videos that are through, by name; others come in.
    """

    def __init__(self, videos: Sequence[Step], num_clips: Mapping[str, int]) -> None:
        self._videos, self._num_clips = videos, num_clips
        self._num_videos = self._total = 0

    def are_enough(self) -> bool:
        """Tell whether they have as many clips as are fitted on."""
        while self._num_videos < len(self._videos):
            num_clips = self._num_clips.get(self._videos[self._num_videos].video)
            if num_clips is None:
                break
            self._total += num_clips
            self._num_videos += 1
        return self._total >= MAX_FITTED_CLIPS


def _sample(videos: Sequence[Step], kept: KeptFeatures, *, feature_dim: int) -> np.ndarray:
    """Read the features to fit on, in the order of the names: float32 [N, feature_dim], N at most MAX_FITTED_CLIPS."""
    parts: dict[Path, np.ndarray] = {}
    num_left = MAX_FITTED_CLIPS
    for step in videos:
        known = kept.load(step) if num_left else None
        if known is not None:
            parts[Path(step.video)] = known[0].features[:num_left]
            num_left -= len(parts[Path(step.video)])
    return np.concatenate([np.empty((0, feature_dim), np.float32), *(parts[video] for video in sorted(parts))])


def _save(headless: Run, model: HashNet, *, config: HashConfig, encode: EncodeConfig, num_clips: int) -> None:
    """Write the run directory; its config.json, with "finished", comes last."""
    content = {
        **dataclasses.asdict(config),
        "task": "hash",
        "seed": SEED,
        "fitted_clips": num_clips,
        **windows_of(encode),
        "backbone_fingerprint": headless.fingerprint,
        **headless.config,
        "finished": True,
        "versions": versions(),
    }
    save_run(headless.path, model, config=content, labels=())
