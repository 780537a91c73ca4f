"""How PyTorch computes while a training runs: as fast as it can, or the same each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from c3dhash.errors import TrainingError

# Source: PyTorch's notes on reproducibility; one of the two values with which cuBLAS gives the same sums each time.
CUBLAS_VARIABLE, CUBLAS_VALUE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
REFUSAL = "does not have a deterministic implementation"  # of PyTorch


@contextmanager
def computing(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Set PyTorch up for a training, and put everything back afterwards.

    On CUDA, cuDNN tries which of its algorithms is the fastest for these clips (all batches have one shape); which one
    wins, and the order in which some of them add, differ from run to run. With `deterministic`, only what gives the
    same numbers each time is used.

    Raises:
        TrainingError: deterministic, and the network has an operation for which PyTorch has no such way.
    """
    was_deterministic, was_benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    sets_variable = deterministic and CUBLAS_VARIABLE not in os.environ
    if sets_variable:
        os.environ[CUBLAS_VARIABLE] = CUBLAS_VALUE
    torch.use_deterministic_algorithms(deterministic or was_deterministic)
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
    try:
        yield
    except RuntimeError as error:
        if not deterministic or REFUSAL not in str(error):
            raise
        operation = str(error).partition(REFUSAL)[0].strip()
        raise TrainingError(
            f"{operation} of this network cannot be computed the same each time on {device.type}: leave "
            "--deterministic out, or take another backbone or --device cpu."
        ) from error
    finally:
        if sets_variable:
            del os.environ[CUBLAS_VARIABLE]
        torch.use_deterministic_algorithms(was_deterministic)
        torch.backends.cudnn.benchmark = was_benchmark
