"""Where and how finely a network computes: device, bf16 autocast, and a guard for a wrong gradient.

Note [Wrong bf16 weight gradients on CPU]
    On CPUs, PyTorch runs bf16 convolutions with oneDNN. In the versions tried (PyTorch 2.15 on a CPU with
    AVX512-BF16), the weight gradient of a 3D convolution is garbage - relative error near 1, infinities, once a
    corrupted heap - when the input has more than one frame but no more than the kernel is long, as in the
    deeper stages of a network on short clips. The output and the gradient of the input are right.
    tests/models/test_precision.py holds the shapes. In fp32 the same befalls kernels of seven frames that stride by two
    (the stem of s3d) on 5 to 7 frames. While a gradient is wanted, such input is padded first, which gives the same
    sum by another route; where that is not possible, a bf16 layer is computed in fp32.

Note [3D convolutions on CUDA]
    cuDNN's 3D convolutions are slower in bf16 than in fp32, which PyTorch computes as TF32: forward passes a second, 32
    clips at a time, on an H100 (PyTorch 2.11, the network alone) 352 against 583 (i3d) and 1,903 against 4,190
    (resnet3d18), on an H200 likewise; to let cuDNN choose by trial changes nothing. A 2D network is faster in bf16
    (tsn_efficientnet_lite0 2,431 against 1,897). So `auto` takes fp32 to encode with 3D convolutions there. Training,
    where bf16 halves the memory, too, and networks of attention were not timed and stay in bf16.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c3dhash.errors import UsageError


def pick_device(name: str = "auto") -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:N` or `mps` into a device that is there.

    `auto` takes CUDA, else the CPU: Apple's GPU only where it is asked for, as it was not tried.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device ({name!r}) must be auto, cpu, cuda, cuda:N or mps.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device ({name!r}) is not there: this PyTorch sees {torch.cuda.device_count()} CUDA devices; "
            "use --device cpu."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"device ({name!r}) is not there: this PyTorch sees no GPU of Apple; use --device cpu.")
    return device


def pick_precision(name: str, device: torch.device, *, encoder: nn.Module | None = None) -> str:
    """Turn `auto` into `bf16` where the device computes in it at speed, else `fp32`.

    Args:
        encoder: a network that is not trained: Note [3D convolutions on CUDA].
    """
    if device.type == "mps" and name == "bf16":
        raise UsageError("precision ('bf16') is for cpu and cuda; leave it out with --device mps, which takes fp32.")
    if name != "auto":
        return name
    if device.type == "cuda":
        if encoder is not None and _is_convolution_in_time(encoder):
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"


def _is_convolution_in_time(network: nn.Module) -> bool:
    """Tell a network of 3D convolutions from 2D ones and from those of attention, which only begin with one."""
    modules = list(network.modules())
    has_3d = any(isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1 for module in modules)
    return has_3d and not any(isinstance(module, nn.LayerNorm) for module in modules)


@lru_cache
def _cpu_has_bf16() -> bool:
    """Tell whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX); known on Linux only."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the context in which a network of this precision runs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


class GuardedConv3d(nn.Conv3d):
    """A 3D convolution whose weight gradient is right on CPUs too."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve [B, C, T, H, W]; see Note [Wrong bf16 weight gradients on CPU]."""
        length, is_autocast = self.kernel_size[0], torch.is_autocast_enabled("cpu")
        if not (
            1 < input.shape[2] <= length
            and input.device.type == "cpu"
            and torch.is_grad_enabled()
            and (is_autocast or (self.stride[0] > 1 and length > 5))
        ):
            return super().forward(input)
        frames = length // 2
        if self.padding_mode == "zeros" and self.padding[0] == frames > 0:
            padded = F.pad(input, (0, 0, 0, 0, frames, frames))
            return F.conv3d(
                padded, self.weight, self.bias, self.stride, (0, *self.padding[1:]), self.dilation, self.groups
            )
        if not is_autocast:
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


def guard_conv3d(model: nn.Module) -> None:
    """Make every 3D convolution of a model a GuardedConv3d, in place; parameters and their names stay."""
    for module in model.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = GuardedConv3d
