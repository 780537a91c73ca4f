"""Batches of clips -> what the network reads, on its device: uint8 until they are there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from c3dhash.records import Preprocessing


class Normalizer:
    """Turns batches of pixels into what a backbone reads; what it needs lies on the device from the start.

    Args:
        preprocessing: of the backbone.
        device: of the batches.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self.preprocessing = preprocessing
        std = torch.tensor(preprocessing.std)
        self._factor = (preprocessing.scale / std).to(device)
        self._offset = (torch.tensor(preprocessing.mean) / std).to(device)

    def __call__(self, clips: Tensor) -> Tensor:
        """Normalise a batch.

        Args:
            clips: uint8 [B, T, H, W, C], RGB or flow.
        Returns:
            float32 [B, C, T, H, W], a view of channels-last memory.
        Raises:
            UsageError: RGB for a network that reads flow, or the other way round.
        """
        self.preprocessing.check_channels(clips.shape[-1])
        if self.preprocessing.channels == "BGR":
            clips = clips.flip(-1)
        # [B, T, H, W, C] -> [B, C, T, H, W]
        return clips.float().mul_(self._factor).sub_(self._offset).permute(0, 4, 1, 2, 3)


def normalize(clips: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Normalise one batch; for many, a Normalizer prepares once."""
    return Normalizer(preprocessing, clips.device)(clips)


def for_device(batch: np.ndarray, device: torch.device) -> Tensor:
    """Make a tensor of a batch, where CUDA can fetch it while the CPU goes on: in pinned memory. Costs a copy there."""
    tensor = torch.from_numpy(batch)
    return tensor.pin_memory() if device.type == "cuda" else tensor


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """Put a batch of `for_device` on the device, without waiting for the copy."""
    return batch.to(device, non_blocking=device.type == "cuda")
