"""Checkpoints as upstream writes them, filled by the rule that the golden values were made by."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN_DIR = Path(__file__).parent / "golden"


def golden_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """List the entries of an upstream checkpoint: its keys and shapes."""
    entries = json.loads((GOLDEN_DIR / f"{name}.json").read_text())["entries"]
    return {key: tuple(shape) for key, shape in entries.items()}


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """Return what the upstream network computes."""
    with np.load(GOLDEN_DIR / f"{name}.npz") as arrays:
        return dict(arrays)


def fill(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Fill one entry: noise seeded by its key, scaled by what the last part of the key says it is."""
    noise = np.asarray(np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape), np.float32)
    match key.rsplit(".", 1)[-1]:
        case "num_batches_tracked":
            noise = np.zeros(shape, np.float32)
        case "running_var":
            noise = 0.5 + np.abs(noise)
        case "running_mean" | "bias":
            noise = 0.1 * noise
        case "weight" if len(shape) == 1:
            noise = 1 + 0.1 * noise
        case _:
            noise *= np.sqrt(2 / np.prod(shape[1:]), dtype=np.float32)
    return torch.from_numpy(noise)


def golden_tensors(name: str) -> dict[str, torch.Tensor]:
    """Fill all entries of an upstream checkpoint."""
    return {key: fill(key, shape) for key, shape in golden_shapes(name).items()}


def hollow_tensors(name: str) -> dict[str, torch.Tensor]:
    """Give each entry its shape, but one stored number: files of a few kilobytes for tests of structure."""
    return {key: torch.tensor(0.5).expand(shape) for key, shape in golden_shapes(name).items()}


def golden_clips(num_frames: int, *, scale: float = 1.0) -> torch.Tensor:
    """Return the input of the golden values, float32 [2, 3, T, 112, 112]."""
    clips = np.random.RandomState(20260101).standard_normal((2, 3, num_frames, 112, 112))
    return torch.from_numpy(clips.astype(np.float32)) * scale


def relative_error(values: torch.Tensor, expected: np.ndarray) -> float:
    """Return the largest error in standard deviations of the expected values."""
    return float(np.abs(values.detach().numpy() - expected).max() / expected.std())
