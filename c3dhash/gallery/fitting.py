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
from collections.abc import Iterator, Sequence
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
from c3dhash.gallery.indexing import EncodeSteps, IndexReport, index_videos
from c3dhash.gallery.scan import scan_places
from c3dhash.gallery.store import CATALOG_NAME, MODEL_DIR, Gallery
from c3dhash.gallery.windows import windows_of, with_windows
from c3dhash.models.backbones import backbone_class, build_backbone
from c3dhash.models.encode import encode_videos, window_options
from c3dhash.models.engines import settle_engine
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
    places: Sequence[Path],
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
    places: Sequence[Path],
    *,
    config: HashConfig,
    encode: EncodeConfig | None = None,
    wait_seconds: float | None = None,
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
    Raises:
        ModelMismatchError: the gallery has a model already, and it is another one.
        UsageError: an unknown backbone or a clip it cannot take, no videos, or too few of them for ITQ; several clips a
            window, of a network that has one.
        CheckpointError: the weights are not found or do not fit.
        GalleryError: the folder cannot be written, or another writer is not done in time.
    """
    with lock.writing(gallery_path, timeout_seconds=wait_seconds):
        return _make_run(gallery_path, places, config, encode or EncodeConfig())


def _make_run(gallery_path: Path, places: Sequence[Path], config: HashConfig, encode: EncodeConfig) -> Run:
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
    _compute_features(headless, videos, kept, encode)
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

    A file is named by all that decides what is in it - the network, the windows, and the video's path, size and time -
    and renamed into place when it is whole.

    Args:
        gallery_path: the folder of the gallery.
        network: the fingerprint of the backbone.
        config: with the windows.
    """

    def __init__(self, gallery_path: Path, *, network: str, config: EncodeConfig) -> None:
        self.directory = gallery_path / FEATURES_DIR
        self._origin = (network, *windows_of(config).values())

    def file(self, video: Path) -> Path | None:
        """Return where the features of a video are as it is now, whether they are there or not; None without it."""
        try:
            stat = video.stat()
        except OSError:
            return None
        name = repr((*self._origin, os.fsencode(video), stat.st_size, stat.st_mtime_ns))
        return self.directory / f"{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}.npz"

    def load(self, video: Path) -> FeatureBatch | None:
        """Return the features of a video as it is now, or None where there are none."""
        path = self.file(video)
        if path is None:
            return None
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                times = arrays["start_seconds"], arrays["end_seconds"]
                return FeatureBatch(arrays["features"], *times, int(arrays["num_flat"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            logger.warning("'%s' cannot be read and is made again.", path)
            return None

    def save(self, path: Path, batch: FeatureBatch) -> None:
        """Write the features of a video to the file that `file` named before it was decoded."""
        try:
            with replacing(path, is_durable=False) as partial, partial.open("wb") as opened:
                np.savez(opened, **{item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)})
        except OSError as error:
            raise GalleryError(
                f"features '{path}' cannot be written ({error.strerror}): make room, then type the same command again."
            ) from error

    def codes(self, run: Run, video: Path) -> CodeBatch | None:
        """Return the codes that a run makes of the features of a video, or None where there are none."""
        batch = self.load(video)
        return None if batch is None else hash_features(run, batch)

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


def _in_random_order(places: Sequence[Path]) -> list[Path]:
    """List the videos, always in the same order, and such that the first of them stand for all."""
    scan = scan_places(places)
    scan.refuse_missing_places()
    found = [file.name for file in scan.files]
    return [Path(found[place]) for place in np.random.default_rng(SEED).permutation(len(found))]


def _compute_features(run: Run, videos: Sequence[Path], kept: KeptFeatures, config: EncodeConfig) -> None:
    """Bring the videos through the network and keep their features, until there are enough clips to fit on."""
    try:
        kept.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GalleryError(
            f"gallery '{kept.directory.parent}' cannot be made: {error.strerror}; choose another folder."
        ) from error
    missing, num_clips = [], 0
    for video in videos:
        batch = kept.load(video)
        if batch is None:
            missing.append(video)
        else:
            num_clips += len(batch.features)
    files: dict[Path, Path | None] = {}

    def before_decoding() -> Iterator[Path]:
        for video in missing:
            files[video] = kept.file(video)
            yield video

    def note_engine(name: str) -> None:
        run.config["engine"] = name

    if num_clips >= MAX_FITTED_CLIPS or not missing:
        return
    engine = settle_engine(config, backbone=run.model.backbone.name, num_clips=len(missing))
    config = dataclasses.replace(config, engine=engine)
    with (
        tqdm(total=len(missing), desc="Features", unit="video") as progress,
        closing(
            encode_videos(run, before_decoding(), config=config, with_features=True, on_engine=note_engine)
        ) as results,
    ):
        for result in results:
            progress.update()
            path = files.pop(result.video)
            if result.features is None or path is None or path != kept.file(result.video):
                continue  # unreadable, or changed meanwhile: the update of the gallery sees it again and reports it
            kept.save(path, result.features)
            num_clips += len(result.features.features)
            if num_clips >= MAX_FITTED_CLIPS:
                break


def _sample(videos: Sequence[Path], kept: KeptFeatures, *, feature_dim: int) -> np.ndarray:
    """Read the features to fit on, in the order of the paths: float32 [N, feature_dim], N at most MAX_FITTED_CLIPS."""
    parts: dict[Path, np.ndarray] = {}
    num_left = MAX_FITTED_CLIPS
    for video in videos:
        batch = kept.load(video)
        if batch is not None and num_left:
            parts[video] = batch.features[:num_left]
            num_left -= len(parts[video])
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
