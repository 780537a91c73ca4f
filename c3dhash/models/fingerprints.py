"""What tells one network from every other, as far as codes go: a gallery remembers it and refuses other codes.

Note [Rules of a fingerprint]
    A fingerprint covers all that decides the codes of a clip, or of a feature: which architecture it is (networks
    with and without shifts in time have the same weights), its clip size, how clips and pixels are prepared (the times
    of the frames, too), and each tensor that is read. Batch counters, and what only class scores need, are not.

    The first rule, of 32 digits, left the architecture out. Runs and galleries of that time keep it: a run whose
    config.json states such a fingerprint, or none, goes on under it, so that its galleries know it. That is safe
    for a network with a hash head, which was made for the features of its own architecture and differs where those do.
    It is not for a backbone alone, whose fingerprint by the first rule says nothing unless the name of the backbone is
    compared beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from c3dhash.video.transforms import CROP_MARGIN

if TYPE_CHECKING:
    from c3dhash.models.hashnet import HashNet

FIRST_RULE_DIGITS = 32
NOT_READ = ("num_batches_tracked",)  # ends of names
OF_CLASSES = ("class_head.", "class_codes")  # beginnings of names


def fingerprint(model: HashNet, *, like: str | None = None) -> str:
    """Hash everything that decides the codes of a network: 40 hexadecimal digits.

    Args:
        like: a fingerprint to compare with; one of the first rule (or "", for a run that states none) gives one of
            that rule, of 32 digits: Note [Rules of a fingerprint].
    """
    backbone = model.backbone
    pixels = dataclasses.asdict(backbone.preprocessing)
    interval_seconds, stack = pixels.pop("interval_seconds"), pixels.pop("stack")
    # The first rule knows of spread clips of single frames only, and so do networks that were made under it.
    if like is not None and is_of_first_rule(like) and interval_seconds is None and stack == 1:
        return _first_rule(model)
    facts = {
        "backbone": backbone.name,
        "shortcut": backbone.shortcut,
        "clip_size": backbone.clip_size,
        "sampling": "spread" if interval_seconds is None else f"dense {interval_seconds!r}",
        "crop_margin": CROP_MARGIN,
        "preprocessing": pixels,
    }
    # Named only where they are so, so that networks of before keep their fingerprints.
    if stack > 1:
        facts["stack"] = stack
    if model.has_unit_features:
        facts["has_unit_features"] = True
    if backbone.has_changes:
        facts["has_changes"] = True
    if backbone.has_motion:
        facts["has_motion"] = True
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=20)
    for name, tensor in _tensors(model):
        if not name.endswith(NOT_READ):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(_content(tensor))
    return digest.hexdigest()


def is_of_first_rule(text: str) -> bool:
    """Tell by its length under which rule a fingerprint was made."""
    return len(text) <= FIRST_RULE_DIGITS


def _first_rule(model: HashNet) -> str:
    """Hash as the first rule did, to the letter."""
    preprocessing = model.preprocessing
    values = {name: getattr(preprocessing, name) for name in ("channels", "scale", "mean", "std")}
    described = ", ".join(f"{name}={value!r}" for name, value in values.items())
    digest = hashlib.blake2b(f"({model.clip_size!r}, Preprocessing({described}))".encode(), digest_size=16)
    for name, tensor in _tensors(model):
        digest.update(name.encode())
        digest.update(_content(tensor))
    return digest.hexdigest()


def _tensors(model: HashNet) -> list[tuple[str, torch.Tensor]]:
    """List what the codes are computed with, in the order of the names."""
    return [(name, tensor) for name, tensor in sorted(model.state_dict().items()) if not name.startswith(OF_CLASSES)]


def _content(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
