"""Recognise a checkpoint by its keys: the backbone it is for, its layout, the pixels that it expects.

file -> tensors (checkpoints.py) -> layout (c3dhash.models.backbones) -> Checkpoint
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.backbones import KNOWN_WEIGHTS, LAYOUTS, backbone_class
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.backbones.layouts import Entries, Layout, unwrap
from c3dhash.models.checkpoints import read_checkpoint
from c3dhash.records import Preprocessing

METADATA_KEY = "c3dhash"
# Files that name their backbone in the metadata: its own names, and the facts beside it.
OWN_LAYOUT = Layout("c3dhash", lambda entries: False, lambda entries: ((), None), (), (), Preprocessing())
OWN_FACTS = ("shortcut", "preprocessing", "clip_size")


@dataclass(frozen=True)
class Checkpoint:
    """A recognised file: its entries, its layout, and the backbones that it is for, as far as the entries tell."""

    path: Path
    entries: Entries
    layout: Layout
    backbones: tuple[str, ...]
    shortcut: str | None
    preprocessing: Preprocessing
    clip_size: tuple[int, int, int] | None


def open_checkpoint(path: Path, *, layout: str | None) -> Checkpoint:
    """Read a file and recognise its layout."""
    if layout is not None and layout not in LAYOUTS:
        names = ", ".join(LAYOUTS)
        raise UsageError(f"layout ({layout!r}) must be one of {names}; leave it out to recognise it.")
    tensors, metadata = read_checkpoint(path)
    entries, facts = unwrap(tensors), _own_facts(path, metadata)
    if layout is None and facts and "backbone" in facts:
        return Checkpoint(path, entries, OWN_LAYOUT, (facts["backbone"],), *(facts[name] for name in OWN_FACTS))
    candidates = [LAYOUTS[layout]] if layout else LAYOUTS.values()
    found = next((each for each in candidates if each.recognise(entries) or layout), None)
    if found is None:
        raise CheckpointError(
            f"checkpoint '{path}' has no known layout: {len(tensors)} entries, {first_few(list(tensors), 3)}; "
            f"known are {', '.join(LAYOUTS)}: take one of the files in pretrain/README.md."
        )
    backbones, shortcut = found.identify(entries)
    preprocessing = facts.get("preprocessing") or _published(path, found)
    clip_size = facts.get("clip_size")
    return Checkpoint(path, entries, found, backbones, shortcut, preprocessing, clip_size)


def _published(path: Path, layout: Layout) -> Preprocessing:
    """Return what published weights expect; files of one layout may differ in how they sample time."""
    known = next((known for known in KNOWN_WEIGHTS if known.file_name == path.name), None)
    if known is None:
        return layout.preprocessing
    return replace(layout.preprocessing, interval_seconds=known.interval_seconds)


def identify_weights(path: Path | str) -> tuple[tuple[str, ...], str | None]:
    """Tell which backbones a checkpoint is for, and its shortcut; () and None for what its entries do not tell.

    Raises:
        CheckpointError: not a checkpoint, or not recognised.
    """
    checkpoint = open_checkpoint(Path(path), layout=None)
    return checkpoint.backbones, checkpoint.shortcut


def weights_metadata(backbone: Backbone) -> dict[str, str]:
    """Return metadata for a safetensors file of ours: what load_backbone cannot tell from the tensors."""
    facts = {
        "backbone": backbone.name,
        "shortcut": backbone.shortcut,
        "clip_size": backbone.clip_size,
        "preprocessing": asdict(backbone.preprocessing),
    }
    return {METADATA_KEY: json.dumps(facts)}


def _own_facts(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Read what weights_metadata wrote; {} where there is nothing. Files of version 0.1 do not name the backbone."""
    if METADATA_KEY not in metadata:
        return {}
    try:
        facts: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        facts["preprocessing"] = Preprocessing(**facts["preprocessing"])
        facts["clip_size"] = tuple(facts["clip_size"])
        if "backbone" in facts:
            backbone_class(facts["backbone"])
            facts["shortcut"]
        return facts
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise CheckpointError(f"checkpoint '{path}' has damaged metadata, {error!r}: save it again.") from error


def first_few(names: Sequence[str], count: int) -> str:
    """Join the first few names."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
