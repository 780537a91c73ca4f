"""Clips per second of every backbone on this machine, and the share of its peak that it reaches.

    python benchmarks/backbones.py [--only TEXT] [--repeats 3]

The network alone, in inference mode, on random clips of its default size, as many at a time as make about half a
second of work; fp32 and bf16 autocast in turns, medians after one run of warm-up. The peak is the better one of a
square matrix multiplication and of a dense 3 x 3 x 3 convolution in the same precision, measured at the start and
before and after each backbone, the best of the three: other work on the machine slows them all. GFLOPs are
multiply-adds, each counted once, as `c3dhash models` counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from common import machine

from c3dhash.memory import keep_freed_memory
from c3dhash.models.backbones import BACKBONES, build_backbone
from c3dhash.models.hashnet import HashNet
from c3dhash.models.listing import backbone_facts
from c3dhash.models.precision import autocast

PEAK_SIZE = 2048
TARGET_SECONDS = 0.5
CPU = torch.device("cpu")


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


def measure(name: str, *, repeats: int, first_peaks: dict[str, float]) -> str:
    """Return a row of the table."""
    network = HashNet(build_backbone(name), hash_length=48, num_classes=None).eval()
    shape = network.preprocessing.num_channels, *network.clip_size
    facts = backbone_facts(name)

    def run(clips: torch.Tensor, precision: str) -> float:
        with torch.inference_mode(), autocast(CPU, precision):
            return seconds_of(lambda: network(clips))

    peaks = {precision: max(first, peak(precision)) for precision, first in first_peaks.items()}
    one = torch.randn(1, *shape)
    for precision in peaks:
        run(one, precision)
    batch_size = max(1, min(32, round(TARGET_SECONDS / run(one, "bf16"))))
    clips = torch.randn(batch_size, *shape)
    times: dict[str, list[float]] = {precision: [] for precision in peaks}
    for turn in range(repeats + 1):
        for precision, found in times.items():
            seconds = run(clips, precision)
            if turn:
                found.append(seconds)
    cells = []
    for precision, found in times.items():
        rate = batch_size / statistics.median(found)
        best = max(peaks[precision], peak(precision))
        cells += [f"{rate:.2f}" if rate < 10 else f"{rate:.1f}", f"{rate * facts.gflops / best:.0%}"]
    clip = "x".join(map(str, network.clip_size))
    size = f"{facts.num_parameters / 1e6:.1f} M | {facts.gflops:.1f}"
    return f"| `{name}` | {clip} | {size} | {cells[0]} | {cells[2]} | {cells[1]} | {cells[3]} |"


def main() -> None:
    keep_freed_memory()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Backbones whose name holds this text.")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(machine("torch", "torchvision"))
    peaks = {precision: peak(precision) for precision in ("fp32", "bf16")}
    print(f"peak: {peaks['fp32']:.0f} fp32, {peaks['bf16']:.0f} bf16, GFLOPs a second\n")
    print("| backbone | clip | parameters | GFLOPs | clips/s fp32 | bf16 | share of peak fp32 | bf16 |")
    print("|---|---|---|---|---|---|---|---|")
    for name in BACKBONES:
        if options.only in name:
            print(measure(name, repeats=options.repeats, first_peaks=peaks), flush=True)


if __name__ == "__main__":
    main()
