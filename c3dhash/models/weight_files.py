"""Find weights files by name, and download those that torchvision publishes.

They are looked for in pretrain/, where people put them, and in torchvision's cache, where it and we put downloads.
"""

from __future__ import annotations

import logging
import re
from http.client import HTTPException
from pathlib import Path

import torch

from c3dhash.errors import CheckpointError
from c3dhash.models.backbones import KNOWN_WEIGHTS, backbone_class
from c3dhash.models.backbones.layouts import KnownWeights
from c3dhash.models.checkpoints import RUN_WEIGHTS_NAME

logger = logging.getLogger(__name__)

PRETRAIN_DIR = Path("pretrain")


def weights_of(backbone: str) -> tuple[KnownWeights, ...]:
    """Return the published weights that are known for a backbone.

    Raises:
        UsageError: `backbone` is not a known name.
    """
    backbone_class(backbone)
    return tuple(known for known in KNOWN_WEIGHTS if known.backbone == backbone)


def torchvision_cache() -> Path:
    """Return the folder in which torchvision keeps downloaded weights (TORCH_HOME moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def find_file(file_name: Path | str) -> Path | None:
    """Look for a file in pretrain/, then in torchvision's cache."""
    places = (PRETRAIN_DIR / file_name, torchvision_cache() / file_name)
    return next((path for path in places if path.is_file()), None)


def find_weights(name_or_path: Path | str, *, backbone: str) -> Path:
    """Find a weights file by its path, its file name, or a short name such as "kinetics400".

    Where it lies nowhere and torchvision publishes it, it is downloaded into torchvision's cache.

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
    if found := find_file(wanted.file_name if wanted else path):
        return found
    if wanted is None:
        names = f"a name ({', '.join(each.name for each in known)})" if known else "a name (none is known)"
        raise CheckpointError(
            f"weights '{name_or_path}' for {backbone} must be {names}, a file or a run directory: there is no "
            f"such file, nor one in '{PRETRAIN_DIR}/'; `c3dhash models show {backbone}` tells what is known."
        )
    if wanted.torchvision:
        return download_weights(wanted)
    raise CheckpointError(
        f"weights '{name_or_path}' for {backbone} are the file {wanted.file_name}, which is neither in "
        f"'{PRETRAIN_DIR}/' nor in '{torchvision_cache()}/': download it from {wanted.source} and put it into "
        f"'{PRETRAIN_DIR}/' (pretrain/README.md tells how), or give a path."
    )


def download_weights(known: KnownWeights) -> Path:
    """Download weights that torchvision publishes into its cache, as it would itself, and check their hash.

    The file appears under its name when it is whole and right. Progress goes to stderr.

    Raises:
        CheckpointError: no network, or not the file that was expected.
    """
    from torchvision.models import get_weight  # knows the address, and changes it when the file moves

    url = get_weight(known.torchvision).url
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
