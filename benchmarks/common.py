"""What benchmarks need: the machine in words, the median time of a function, a network with random weights."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from c3dhash.config import ModelConfig

if TYPE_CHECKING:
    from c3dhash.models.runs import Run

MEMORY = """
def status(name):
    (line,) = [line for line in open("/proc/self/status") if line.startswith(name)]
    return int(line.split()[1]) / 1000
"""  # for a program of its own: status("VmRSS") and status("VmHWM"), its memory and the peak of that, MB


def machine(*packages: str) -> str:
    """Describe the CPU, its cores, and the versions of what does the work, of further `packages` too."""
    versions = [f"Python {platform.python_version()}"]
    for package in ("numpy", "torch", "faiss-cpu", "faiss-gpu", *packages):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{_cpu_model()}, {os.cpu_count()} cores, {', '.join(versions)}"


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def untrained_run(folder: Path, backbone: str, *, hash_length: int = 48) -> Run:
    """Return a run of a network with random weights, and save it in a folder."""
    from c3dhash.models.hashnet import build_model
    from c3dhash.models.runs import load_run, save_run

    model = build_model(ModelConfig(backbone=backbone, hash_length=hash_length), num_classes=None)
    save_run(folder, model, config={"backbone": backbone, "shortcut": None, "hash_length": hash_length}, labels=())
    return load_run(folder)


def median_seconds(function: Callable[[], object], *, repeats: int, warmup: int) -> tuple[float, float]:
    """Time `repeats` runs after `warmup` runs: the median and the spread, slowest - fastest."""
    for _ in range(warmup):
        function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), max(seconds) - min(seconds)
