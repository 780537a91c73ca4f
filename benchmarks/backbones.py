"""Clips per second of every backbone on this machine, and the share of its peak that it reaches.

    python benchmarks/backbones.py [--only TEXT] [--repeats 3] [--device cuda]

From pixels to features with each engine that is installed, on random clips of its default size, as many at a time as
make about half a second of work, 32 at the most; on CUDA in PyTorch alone, with both ways between memory and device;
engines and precisions in turns, medians after one run of warm-up. The peak is the better one of a square matrix
multiplication and of a dense 3 x 3 x 3 convolution in the same precision, measured at the start and before and after
each backbone, the best of the three: other work on the machine slows them all, and PyTorch, whose threads wait for each
other, more than OpenVINO. GFLOPs are multiply-adds, each counted once, as `c3dhash models` counts.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from common import machine

from c3dhash.errors import C3DHashError
from c3dhash.memory import keep_freed_memory
from c3dhash.models.backbones import BACKBONES, build_backbone
from c3dhash.models.engines import Engine, make_engine
from c3dhash.models.hashnet import HashNet
from c3dhash.models.listing import backbone_facts

PEAK_SIZE = 2048
TARGET_SECONDS = 0.5
TORCH = (("torch", "fp32"), ("torch", "bf16"))
OTHERS = (("openvino", "fp32"), ("openvino", "bf16"), ("onnx", "fp32"))  # on a CPU


def columns(device: str) -> tuple[tuple[str, str], ...]:
    """Return engine and precision of each column."""
    return (*TORCH, *OTHERS) if device == "cpu" else TORCH


def seconds_of(function: Callable[[], torch.Tensor]) -> float:
    """Time a function until what it returns could be read."""
    start = time.perf_counter()
    result = function()
    if result.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(precision: str, device: str) -> float:
    """Return the most 10^9 multiply-adds a second that dense arithmetic reaches here."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(PEAK_SIZE, PEAK_SIZE).to(device, dtype) for _ in range(2))
    convolution, clips = (
        part.to(device, dtype, memory_format=torch.channels_last_3d)
        for part in (torch.nn.Conv3d(256, 256, 3, padding=1, bias=False), torch.randn(4, 256, 8, 28, 28))
    )
    best = 0.0
    with torch.inference_mode():
        for function, count in (
            (lambda: left @ right, PEAK_SIZE**3),
            (lambda: convolution(clips), clips.numel() * 256 * 27),
        ):
            function()
            best = max(best, count / min(seconds_of(function) for _ in range(3)) / 1e9)
    return best


def make_engines(network: HashNet, device: str) -> dict[str, Engine]:
    """Return what computes a backbone: PyTorch, and in the same precisions what else is installed and takes it."""
    engines: dict[str, Engine] = {}
    for engine, precision in columns(device):
        try:
            engines[f"{engine} {precision}"] = make_engine(engine, network.backbone, device=device, precision=precision)
        except C3DHashError as error:
            print(f"{engine}, {precision}: {error}", file=sys.stderr)
    return engines


def compute(engine: Engine, clips: np.ndarray) -> torch.Tensor:
    return engine(clips).cpu()


def measure(name: str, *, device: str, repeats: int, first_peaks: dict[str, float]) -> str:
    """Return a row of the table."""
    network = HashNet(build_backbone(name), hash_length=48, num_classes=None).eval()
    shape = *network.clip_size, network.preprocessing.num_channels
    facts, engines = backbone_facts(name), make_engines(network, device)
    peaks = {precision: max(first, peak(precision, device)) for precision, first in first_peaks.items()}
    one = np.zeros((1, *shape), np.uint8)
    with torch.inference_mode():
        for engine in engines.values():
            engine(one)
        batch_size = max(1, min(32, round(TARGET_SECONDS / seconds_of(lambda: compute(engines["torch bf16"], one)))))
        clips = np.random.default_rng(0).integers(0, 256, (batch_size, *shape), np.uint8)
        times: dict[str, list[float]] = {column: [] for column in engines}
        for turn in range(repeats + 1):
            for column, found in times.items():
                seconds = seconds_of(functools.partial(compute, engines[column], clips))
                if turn:
                    found.append(seconds)
    rates = {column: batch_size / statistics.median(found) for column, found in times.items()}
    cells = []
    for engine, precision in columns(device):
        rate = rates.get(f"{engine} {precision}")
        cells.append("-" if rate is None else f"{rate:.2f}" if rate < 10 else f"{rate:.1f}")
    for precision, first in peaks.items():
        cells.append(f"{rates[f'torch {precision}'] * facts.gflops / max(first, peak(precision, device)):.0%}")
    clip = "x".join(map(str, network.clip_size))
    return f"| `{name}` | {clip} | {facts.num_parameters / 1e6:.1f} M | {facts.gflops:.1f} | {' | '.join(cells)} |"


def main() -> None:
    keep_freed_memory()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Backbones whose name holds this text.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if options.device == "cuda":
        print(torch.cuda.get_device_name())
    print(machine("torchvision", "openvino", "onnxruntime"))
    peaks = {precision: peak(precision, options.device) for precision in ("fp32", "bf16")}
    print(f"peak: {peaks['fp32']:.0f} fp32, {peaks['bf16']:.0f} bf16, GFLOPs a second\n")
    engines = " | ".join(" ".join(column) for column in columns(options.device))
    print(f"| backbone | clip | parameters | GFLOPs | clips/s {engines} | share of peak torch fp32 | bf16 |")
    print("|---" * (6 + len(columns(options.device))) + "|")
    for name in BACKBONES:
        if options.only in name:
            print(measure(name, device=options.device, repeats=options.repeats, first_peaks=peaks), flush=True)


if __name__ == "__main__":
    main()
