"""Several processes that train one network: which of them this is, and what it exchanges with the others.

They are started by PyTorch's launcher (launch.py). Of one process alone, nothing here does anything.

Note [A batch among ranks]
    Each rank reads its rows of a batch; all get the features of all rows, and each computes heads and losses of the
    whole batch, the same numbers everywhere. So the gradient at the features is that of one process, whatever the
    losses are (triplets of all clips, centres, weighted means), and however uneven the shares. Each rank takes its
    rows of it back into the backbone, and the gradients of the backbone are summed: they are those of one process but
    for rounding. Those of the heads are whole on each rank. To compute the heads several times costs nothing beside
    the backbone.

    PyTorch's DistributedDataParallel would average the gradients of losses that ranks have for themselves, and a
    triplet is of three clips of any ranks. What it is faster by, that sums are under way while the backbone still goes
    back, is given up. Statistics of batch norms are those of a rank, and their running means are averaged after each
    epoch, or, with sync_bn, those of all (sync_norms.py). Masks of dropout inside a backbone differ from those of one
    process; that in front of the heads does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from c3dhash.errors import TrainingError, UsageError
from c3dhash.models.hashnet import HashNet

Item = TypeVar("Item")


class LostRankError(TrainingError):
    """Another process does not answer any more."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training. rank: of this one. size: how many. local_rank, local_size: on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run."""
        return self.rank == 0

    def share(self, total: int) -> np.ndarray:
        """Return which of `total` things are this rank's, int64: every size-th."""
        return np.arange(self.rank, total, self.size)

    def put_together(self, part: Tensor, rows: np.ndarray, *, total: int) -> Tensor:
        """Return the rows of all ranks, [total, ...], of those of this one, [len(rows), ...]; no graph."""
        whole = part.new_zeros(total, *part.shape[1:])
        whole[torch.from_numpy(rows).to(part.device)] = part.detach()
        self.sum(whole)
        return whole

    def sum(self, tensor: Tensor) -> None:
        """Add up a tensor over all ranks, in place."""
        if self.size > 1:
            with _together():
                dist.all_reduce(tensor)

    def gather(self, item: Item) -> list[Item]:
        """Return an object of each rank, in their order."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        with _together():
            dist.all_gather_object(items, item)
        return items

    def gather_rows(self, part: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the rows of all ranks, [N, ...], of those of this one, [len(rows), ...]."""
        if self.size == 1:
            return part
        parts = self.gather((part, rows))
        order = np.argsort(np.concatenate([places for _, places in parts]))
        whole: np.ndarray = np.concatenate([values for values, _ in parts])[order]
        return whole

    @contextmanager
    def one_on_each_machine_first(self) -> Iterator[None]:
        """Let one rank of each machine do something, then the others, who find what it has fetched."""
        if self.local_rank > 0:
            self.gather(None)
        yield
        if self.local_rank == 0:
            self.gather(None)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Make tensors their mean over all ranks, in place."""
        if self.size > 1 and tensors:
            flat = torch.cat([tensor.flatten() for tensor in tensors]) / self.size
            self.sum(flat)
            _copy_back(flat, tensors)

    def sum_gradients(self, model: HashNet) -> None:
        """Make each rank's gradients those of the whole batch: Note [A batch among ranks]."""
        if self.size == 1:
            return
        trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
        num_with = torch.tensor([value.grad is not None for _, value in trained], dtype=torch.int32)
        self.sum(num_with)  # on the CPU: nobody waits for a GPU
        gradients = []
        for (name, value), count in zip(trained, num_with.tolist(), strict=True):
            if count:
                if value.grad is None:  # no row of the batch is this rank's
                    value.grad = torch.zeros_like(value)
                elif not name.startswith("backbone."):
                    value.grad /= self.size
                gradients.append(value.grad)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self.sum(flat)
        _copy_back(flat, gradients)

    def require_same(self, facts: Mapping[str, object]) -> None:
        """Make sure that all ranks were started alike.

        Raises:
            UsageError: on all ranks, where some fact is another on one of them.
        """
        first, *others = self.gather(dict(facts))
        for rank, other in enumerate(others, start=1):
            for name, value in first.items():
                if other.get(name) != value:
                    raise UsageError(
                        f"{name} is {other.get(name)!r} in process {rank} and {value!r} in process 0: start all "
                        "processes of a training with the same command, on the same data."
                    )


ALONE = Ranks()


@dataclass(frozen=True)
class OwnRows:
    """Which rows of a batch of `total` are this rank's, and the seed of what only it draws while it reads them."""

    ranks: Ranks
    rows: np.ndarray
    total: int
    seed: int

    def whole(self, part: Tensor) -> Tensor:
        """Return the rows of all ranks, of those of this one; no graph."""
        return self.ranks.put_together(part, self.rows, total=self.total)

    def own(self, whole: Tensor) -> Tensor:
        """Return this rank's rows of a batch."""
        return whole[torch.from_numpy(self.rows).to(whole.device)]


@contextmanager
def _together() -> Iterator[None]:
    """Around what needs all ranks: say so where one is gone."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[\S+\] ", "", str(error)).partition(". ")[0].partition("\n")[0]  # without PyTorch's file
        raise LostRankError(f"another process of this training is gone ({reason}).") from error


def _copy_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, values in zip(tensors, torch.split(flat, sizes), strict=True):
        tensor.copy_(values.view_as(tensor))
