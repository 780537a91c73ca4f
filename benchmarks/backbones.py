"""Clips per second of every backbone on this machine, and the share of its peak that it reaches.

    python benchmarks/backbones.py [--only TEXT] [--repeats 3]

From pixels to features with each engine that is installed, on random clips of its default size, as many at a time as
make about half a second of work; engines and precisions in turns, medians after one run of warm-up. The peak is the
better one of a square matrix multiplication and of a dense 3 x 3 x 3 convolution in the same precision, measured at
the start and before and after each backbone, the best of the three: other work on the machine slows them all, and
PyTorch, whose threads wait for each other, more than OpenVINO. GFLOPs are multiply-adds, each counted once, as
`c3dhash models` counts.
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
COLUMNS = (("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("onnx", "fp32"))


def seconds_of(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak(precision: str) -> float:
    """Return the most 10^9 multiply-adds a second that dense arithmetic reaches here."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(PEAK_SIZE, PEAK_SIZE).to(dtype) for _ in range(2))
    convolution = torch.nn.Conv3d(256, 256, 3, padding=1, bias=False).to(dtype, memory_format=torch.channels_last_3d)
    clips = torch.randn(4, 256, 8, 28, 28).to(dtype, memory_format=torch.channels_last_3d)
    best = 0.0
    with torch.inference_mode():
        for function, count in (
            (lambda: left @ right, PEAK_SIZE**3),
            (lambda: convolution(clips), clips.numel() * 256 * 27),
        ):
            function()
            best = max(best, count / min(seconds_of(function) for _ in range(3)) / 1e9)
    return best


def make_engines(network: HashNet) -> dict[str, Engine]:
    """Return what computes a backbone: PyTorch, and in the same precisions what else is installed and takes it."""
    engines: dict[str, Engine] = {}
    for engine, precision in COLUMNS:
        try:
            engines[f"{engine} {precision}"] = make_engine(engine, network.backbone, device="cpu", precision=precision)
        except C3DHashError as error:
            print(f"{engine}, {precision}: {error}", file=sys.stderr)
    return engines


def measure(name: str, *, repeats: int, first_peaks: dict[str, float]) -> str:
    """Return a row of the table."""
    network = HashNet(build_backbone(name), hash_length=48, num_classes=None).eval()
    shape = *network.clip_size, network.preprocessing.num_channels
    facts, engines = backbone_facts(name), make_engines(network)
    peaks = {precision: max(first, peak(precision)) for precision, first in first_peaks.items()}
    one = np.zeros((1, *shape), np.uint8)
    with torch.inference_mode():
        for engine in engines.values():
            engine(one)
        batch_size = max(1, min(32, round(TARGET_SECONDS / seconds_of(lambda: engines["torch bf16"](one)))))
        clips = np.random.default_rng(0).integers(0, 256, (batch_size, *shape), np.uint8)
        times: dict[str, list[float]] = {column: [] for column in engines}
        for turn in range(repeats + 1):
            for column, found in times.items():
                seconds = seconds_of(functools.partial(engines[column], clips))
                if turn:
                    found.append(seconds)
    rates = {column: batch_size / statistics.median(found) for column, found in times.items()}
    cells = []
    for engine, precision in COLUMNS:
        rate = rates.get(f"{engine} {precision}")
        cells.append("-" if rate is None else f"{rate:.2f}" if rate < 10 else f"{rate:.1f}")
    for precision, first in peaks.items():
        cells.append(f"{rates[f'torch {precision}'] * facts.gflops / max(first, peak(precision)):.0%}")
    clip = "x".join(map(str, network.clip_size))
    return f"| `{name}` | {clip} | {facts.num_parameters / 1e6:.1f} M | {facts.gflops:.1f} | {' | '.join(cells)} |"


def main() -> None:
    keep_freed_memory()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Backbones whose name holds this text.")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(machine("torchvision", "openvino", "onnxruntime"))
    peaks = {precision: peak(precision) for precision in ("fp32", "bf16")}
    print(f"peak: {peaks['fp32']:.0f} fp32, {peaks['bf16']:.0f} bf16, GFLOPs a second\n")
    engines = " | ".join(" ".join(column) for column in COLUMNS)
    print(f"| backbone | clip | parameters | GFLOPs | clips/s {engines} | share of peak torch fp32 | bf16 |")
    print("|---" * (6 + len(COLUMNS)) + "|")
    for name in BACKBONES:
        if options.only in name:
            print(measure(name, repeats=options.repeats, first_peaks=peaks), flush=True)


if __name__ == "__main__":
    main()
