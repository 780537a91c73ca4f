"""Load published weights into a backbone, and bring the preprocessing that they expect.

file -> Checkpoint (identify.py) -> own names -> backbone + LoadReport
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from c3dhash.errors import CheckpointError
from c3dhash.models.backbones import KNOWN_WEIGHTS, LAYOUTS, backbone_class, build_backbone
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.checkpoints import load_checkpoint
from c3dhash.models.identify import Checkpoint, first_few, identify_weights, open_checkpoint, weights_metadata
from c3dhash.models.weight_files import choose_weights, fetch_weights, fetchable_weights, find_weights
from c3dhash.records import Preprocessing

__all__ = [
    "KNOWN_WEIGHTS",
    "LAYOUTS",
    "LoadReport",
    "choose_weights",
    "fetch_weights",
    "fetchable_weights",
    "find_weights",
    "identify_weights",
    "load_backbone",
    "load_checkpoint",
    "load_into",
    "weights_metadata",
]

logger = logging.getLogger(__name__)

MIN_MATCHED = 0.9
REPORTED = {  # fields of LoadReport -> how it prints them
    "missing": "missing",
    "misshaped": "mis-shaped",
    "unexpected": "unexpected",
    "not_used": "heads for other classes or codes, not used",
}
BATCH_COUNTER = "num_batches_tracked"  # absent from old checkpoints, and without effect on what is computed


@dataclass(frozen=True)
class LoadReport:
    """What became of each entry when a checkpoint was loaded into a backbone.

    matched, missing, misshaped: the backbone's own names (batch counters are not counted).
    unexpected, not_used: the checkpoint's names; not_used are heads, which a feature does not need.
    """

    path: Path
    layout: str
    backbone: str
    preprocessing: Preprocessing
    matched: tuple[str, ...]
    missing: tuple[str, ...] = ()
    misshaped: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    not_used: tuple[str, ...] = ()

    @property
    def num_expected(self) -> int:
        """How many entries the backbone has."""
        return len(self.matched) + len(self.missing) + len(self.misshaped)

    @property
    def is_complete(self) -> bool:
        return len(self.matched) == self.num_expected

    @property
    def fits(self) -> bool:
        """Whether enough entries matched, and not so many are left over that it is another network."""
        strangers = len(self.unexpected) + len(self.misshaped)
        needed = MIN_MATCHED * self.num_expected
        return len(self.matched) >= needed and strangers <= self.num_expected - needed

    def __str__(self) -> str:
        lines = [
            f"{self.path} ({self.layout}) -> {self.backbone}: "
            f"{len(self.matched)} of {self.num_expected} entries matched; input {self.preprocessing}"
        ]
        for kind, title in REPORTED.items():
            if names := getattr(self, kind):
                lines.append(f"  {title} ({len(names)}): {first_few(names, 8)}")
        return "\n".join(lines)


def load_backbone(path: Path | str, *, backbone: str | None = None, layout: str | None = None) -> Backbone:
    """Build the backbone that a checkpoint holds, with its weights and the preprocessing they expect.

    Args:
        path: a checkpoint, or a run directory.
        backbone: the name it must have (a key of BACKBONES), or None to take what is recognised.
        layout: a key of LAYOUTS to read it as, or None to recognise it.
    Returns:
        The backbone in evaluation mode, on the CPU. A run's has the run's clip size.
    Raises:
        CheckpointError: not a checkpoint, not recognised, another architecture, fits badly, NaN or infinite.
        UsageError: `backbone` or `layout` is not a known name.
    """
    if backbone is not None:
        backbone_class(backbone)
    checkpoint = open_checkpoint(Path(path), layout=layout)
    name = next(iter(checkpoint.backbones), backbone)
    if backbone is not None and {backbone, backbone_class(backbone).starts_from} & set(checkpoint.backbones):
        name = backbone
    if name is None:
        raise CheckpointError(
            f"checkpoint '{checkpoint.path}' has the layout {checkpoint.layout.name}, but the blocks of no "
            "known backbone: name the nearest one (backbone=...) to see what differs."
        )
    if backbone not in (None, name):
        raise CheckpointError(
            f"checkpoint '{checkpoint.path}' holds weights of {name} ({checkpoint.layout.name}), not of "
            f"{backbone}: name {name}, or take a file for {backbone}."
        )
    num_frames, size = (None, None) if checkpoint.clip_size is None else checkpoint.clip_size[:2]
    shortcut = checkpoint.shortcut if backbone_class(name).shortcuts else None
    network = build_backbone(name, num_frames=num_frames, size=size, shortcut=shortcut)
    _fill(network, checkpoint)
    return network.eval()


def load_into(backbone: Backbone, path: Path | str, *, layout: str | None = None) -> LoadReport:
    """Load a checkpoint into a backbone; its preprocessing becomes the one that the weights expect.

    Args:
        backbone: from build_backbone; its mode and device stay.
        path: a checkpoint, or a run directory.
        layout: as for load_backbone.
    Raises:
        CheckpointError: as for load_backbone; the backbone is then as it was.
    """
    checkpoint = open_checkpoint(Path(path), layout=layout)
    is_for_it = {backbone.name, backbone.starts_from} & set(checkpoint.backbones)
    if checkpoint.backbones and not (is_for_it and backbone.shortcut == checkpoint.shortcut):
        held = _describe(checkpoint.backbones[0], checkpoint.shortcut)
        raise CheckpointError(
            f"checkpoint '{checkpoint.path}' holds weights of {held} ({checkpoint.layout.name}), "
            f"not of {_describe(backbone.name, backbone.shortcut)}: build that one, or take another file."
        )
    return _fill(backbone, checkpoint)


def _fill(backbone: Backbone, checkpoint: Checkpoint) -> LoadReport:
    """Copy the entries that match; check everything before the first one is touched."""
    report, pairs = _match(backbone, checkpoint)
    if not report.fits:
        raise CheckpointError(
            f"checkpoint '{report.path}' ({report.layout}) does not fit {report.backbone}: "
            f"{len(report.matched)} of {report.num_expected} entries matched, "
            f"{len(report.missing)} missing [{first_few(report.missing, 3)}], "
            f"{len(report.misshaped)} mis-shaped [{first_few(report.misshaped, 3)}], "
            f"{len(report.unexpected)} unexpected [{first_few(report.unexpected, 3)}]; "
            f"{MIN_MATCHED:.0%} must match: take a file for this backbone, or the backbone of this file."
        )
    for key, tensor in checkpoint.entries.tensors.items():
        if not _is_finite(tensor):
            raise CheckpointError(
                f"checkpoint '{report.path}' holds NaN or infinite values in '{key}': its training diverged "
                "or the file is damaged; take an earlier checkpoint or download it again."
            )
    with torch.no_grad():
        for target, tensor in pairs:
            target.copy_(tensor)
    backbone.preprocessing = report.preprocessing
    logger.log(logging.INFO if report.is_complete else logging.WARNING, "%s", report)
    return report


def _is_finite(tensor: torch.Tensor) -> bool:
    """Look at the least and the greatest value only: no copy of a large tensor is made, and NaN is both."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return bool(torch.stack(tensor.aminmax()).isfinite().all())


def _match(backbone: Backbone, checkpoint: Checkpoint) -> tuple[LoadReport, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Pair the backbone's entries with the checkpoint's: report, and (target, source) tensors."""
    expected, adapt = dict(backbone.state_dict(keep_vars=True)), checkpoint.layout.adapt
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    matched: list[str] = []
    misshaped: list[str] = []
    unexpected: list[str] = []
    not_used = list(checkpoint.entries.heads)
    for own_name, value in checkpoint.layout.implied:
        if (target := expected.pop(own_name, None)) is not None:
            pairs.append((target, torch.full_like(target, value)))
            matched.append(own_name)
    for key, tensor in checkpoint.entries.tensors.items():
        target = expected.pop(own_name := checkpoint.layout.own_name(key), None)
        if target is not None:
            tensor = backbone.fit_tensor(adapt(tensor, target.shape) if adapt else tensor, target.shape)
        if own_name.endswith(BATCH_COUNTER):
            if target is not None and tensor.numel() == 1:
                pairs.append((target, tensor.reshape(())))
        elif target is None:
            (not_used if key.startswith(checkpoint.layout.heads) else unexpected).append(key)
        elif tensor.shape != target.shape or tensor.is_floating_point() < target.is_floating_point():
            dtype = str(tensor.dtype).removeprefix("torch.")
            misshaped.append(f"{own_name} {dtype} {list(tensor.shape)}, expected {list(target.shape)}")
        else:
            pairs.append((target, tensor))
            matched.append(own_name)
    report = LoadReport(
        path=checkpoint.path,
        layout=checkpoint.layout.name,
        backbone=backbone.name,
        preprocessing=backbone.fit_preprocessing(checkpoint.preprocessing),
        matched=tuple(matched),
        missing=tuple(name for name in expected if not name.endswith(BATCH_COUNTER)),
        misshaped=tuple(misshaped),
        unexpected=tuple(unexpected),
        not_used=tuple(not_used),
    )
    return report, pairs


def _describe(name: str, shortcut: str | None) -> str:
    return name if shortcut is None else f"{name} with shortcut {shortcut}"
