"""How published checkpoints name their entries, and what pixels the weights in them expect.

A checkpoint is recognised by its keys and shapes, whatever the file is called. Exactly one Layout recognises a file;
it renames the entries to the backbone's own names and brings the preprocessing. Each architecture's file lists the
layouts that its weights are published in (LAYOUTS) and the files that are known (KNOWN_WEIGHTS);
c3dhash.models.backbones puts them together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from c3dhash.records import Preprocessing


@dataclass(frozen=True)
class Entries:
    """The entries of a checkpoint without the prefixes that wrappers add.

    tensors: the weights, by upstream's name without `module.` and `backbone.`.
    heads: names beside `backbone.`, where that prefix was there: a hash head, a class head.
    """

    tensors: dict[str, torch.Tensor]
    heads: tuple[str, ...] = ()
    has_module_prefix: bool = False

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of an entry, () where there is none."""
        return tuple(self.tensors[key].shape) if key in self.tensors else ()

    def count(self, pattern: str) -> int:
        """Count the different texts that `pattern` finds at the start of the names."""
        return len({found[0] for key in self.tensors if (found := re.match(pattern, key))})


@dataclass(frozen=True)
class Layout:
    """One way of naming the entries of a backbone.

    recognise: whether a checkpoint has this layout.
    identify: the backbones that it can be loaded into, the usual one first, and the shortcut; () and None for what
        its entries do not tell.
    rename: (pattern, replacement) pairs, applied in order to a name.
    heads: how the names of entries begin that the feature does not need.
    adapt: (tensor, shape of the backbone's entry) -> tensor, where a file holds another form of an entry, such
        as a 2D kernel for a 3D one; a tensor that it cannot adapt is returned as it is.
    implied: (own name, value) of entries that are in no file, since upstream's code fixes what they say.
    """

    name: str
    recognise: Callable[[Entries], bool]
    identify: Callable[[Entries], tuple[tuple[str, ...], str | None]]
    rename: tuple[tuple[str, str], ...]
    heads: tuple[str, ...]
    preprocessing: Preprocessing
    adapt: Callable[[torch.Tensor, torch.Size], torch.Tensor] | None = None
    implied: tuple[tuple[str, float], ...] = ()

    def own_name(self, key: str) -> str:
        """Translate upstream's name of an entry to the backbone's own."""
        for pattern, replacement in self.rename:
            key = re.sub(pattern, replacement, key)
        return key


def unwrap(tensors: dict[str, torch.Tensor]) -> Entries:
    """Take `module.` (DataParallel) and `backbone.` (a whole model of ours) off the names."""
    has_module_prefix = all(key.startswith("module.") for key in tensors)
    if has_module_prefix:
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    inside = {key.removeprefix("backbone."): t for key, t in tensors.items() if key.startswith("backbone.")}
    if not inside:
        return Entries(tensors, has_module_prefix=has_module_prefix)
    heads = tuple(key for key in tensors if not key.startswith("backbone."))
    return Entries(inside, heads=heads, has_module_prefix=has_module_prefix)
