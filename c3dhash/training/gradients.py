"""A batch -> the gradient of its loss, in as many parts as memory asks for.

The losses relate the clips of a batch to each other, so that parts with losses of their own would be another training.
But they see the backbone through features alone:

    features of all, part by part, without a graph  ->  losses, and their gradient at the features
    features again, with a graph, part by part      ->  this gradient goes on into the backbone

That is the gradient of the whole batch, for one more pass forward and the memory of one part. Both times a part draws
the same random numbers. Where batch norms take the statistics of a batch, they are those of a part, which is another
training: such a batch is divided only where somebody says so (`--micro-batch`).

Source: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, RepL4NLP 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from c3dhash.memory import total_memory_bytes
from c3dhash.training.ranks import OwnRows

# Of the memory there is, for the graph of a part; that of a CPU also holds what frozen stages gave, and other programs.
CPU_SHARE, DEVICE_SHARE = 1 / 4, 1 / 2


def backward(
    read: Callable[[Tensor], Tensor],
    losses_of: Callable[[Tensor], dict[str, Tensor]],
    batch: Tensor,
    *,
    part_size: int,
    first_pass: Callable[[], AbstractContextManager[object]] = nullcontext,
    own: OwnRows | None = None,
) -> dict[str, Tensor]:
    """Add the gradient of a batch's loss to that of the parameters.

    Args:
        read: a backbone, or the stages of it that are trained: rows of a batch -> features, float32 [B, feature_dim].
        losses_of: features of a whole batch -> scalars; `loss` is the one that counts.
        batch: on its device.
        part_size: the most rows that are read with a graph at once.
        first_pass: what the pass without a graph happens in, which must leave no trace in the network.
        own: where `batch` is what one of several ranks has of it: Note [A batch among ranks] in ranks.py. What is added
            is this rank's part of the gradient then.
    Returns:
        What losses_of gave.
    """
    if own is None and len(batch) <= part_size:
        losses = losses_of(read(batch))
        losses["loss"].backward()  # type: ignore[no-untyped-call]  # of PyTorch
        return losses
    num_parts = max(1, -(-len(batch) // part_size))
    is_read_twice = num_parts > 1
    parts, states, features = batch.tensor_split(num_parts), [], []
    before = _random_state(batch.device)
    if own is not None:
        torch.manual_seed(own.seed)
    with torch.no_grad() if is_read_twice else nullcontext(), first_pass() if is_read_twice else nullcontext():
        for part in parts:
            states.append(_random_state(batch.device))
            features.append(read(part))
    whole = torch.cat(features)
    if own is not None:
        _set_random_state(before, batch.device)  # so that the losses of all ranks draw the same
        whole = own.whole(whole)
    losses = losses_of(whole.requires_grad_())
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    after = _random_state(batch.device)
    assert whole.grad is not None
    gradients = (whole.grad if own is None else own.own(whole.grad)).tensor_split(num_parts)
    for part, state, read_first, gradient in zip(parts, states, features, gradients, strict=True):
        _set_random_state(state, batch.device)
        again = read(part) if is_read_twice else read_first
        if again.requires_grad:  # not where heads alone are trained, nor of no rows
            again.backward(gradient)  # type: ignore[no-untyped-call]
    _set_random_state(after, batch.device)
    return losses


def fitting_rows(read: Callable[[Tensor], Tensor], two_rows: Tensor) -> int | None:
    """Return how many rows of a batch can be read with a graph at once; None where there is no graph to keep.

    By the memory of the machine, not by what is free of it now, so that a training that goes on computes as before.

    Args:
        read: as of `backward`, in training mode.
        two_rows: of any batch, on its device.
    """
    device = two_rows.device
    row_bytes = _graph_bytes(read, two_rows) - _graph_bytes(read, two_rows[:1])
    if row_bytes <= 0:
        return None
    if device.type == "cuda":
        memory_bytes = DEVICE_SHARE * torch.cuda.get_device_properties(device).total_memory
    else:
        memory_bytes = CPU_SHARE * total_memory_bytes()
    return max(1, int(memory_bytes // row_bytes))


def _graph_bytes(read: Callable[[Tensor], Tensor], batch: Tensor) -> int:
    """Return how many bytes are kept for the way back, with weights."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        features = read(batch)
    total = sum(kept.values())
    del features  # the graph was alive until here, so that no two tensors had one address
    return total


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
