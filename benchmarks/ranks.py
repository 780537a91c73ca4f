"""Training in several processes against one: clips a second, and what exchanging costs.

    python benchmarks/ranks.py [--backbone resnet3d18] [--size 112] [--frames 16] [--threads 1] [--repeats 3]

The same training of generated videos in batches of 16, by `c3dhash train`, in one process and in N by torchrun, in
turns; each epoch but the first of a training is timed. Each process has `--threads` threads; a row more is one process
that has them all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import machine

from c3dhash.datasets.synth import make_motion_set


def training_rates(data: Path, out: Path, *, processes: int, threads: int, options: list[str]) -> list[float]:
    """Train, and return the clips a second of each epoch but the first."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), "-m", "c3dhash", "train", "--data", str(data),
         "--out", str(out), "--workers", "1", *options],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)}, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["clips_per_second"] for row in rows[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet3d18")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    options = ["--backbone", arguments.backbone, "--size", str(arguments.size), "--num-frames", str(arguments.frames),
               "--epochs", str(arguments.epochs), "--weights", "none", "--precision", "fp32", "--val-share", "0",
               "--classes-per-batch", "4", "--clips-per-class", "4", "--device", arguments.device]  # fmt: skip
    many = arguments.processes * arguments.threads
    kinds = {(1, arguments.threads), (arguments.processes, arguments.threads), (1, many)}
    rates: dict[tuple[int, int], list[float]] = {kind: [] for kind in sorted(kinds)}
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        data = make_motion_set(Path(folder) / "data", num_classes=4, videos_per_class={"train": 8}, seed=0)
        print("processes  threads each  clips/s: median, lowest, highest epoch so far")
        for repeat in range(arguments.repeats):
            for (processes, threads), found in rates.items():
                out = Path(folder) / f"{repeat} {processes} {threads}"
                found += training_rates(data, out, processes=processes, threads=threads, options=options)
                figures = f"{statistics.median(found):.2f} {min(found):.2f} {max(found):.2f}"
                print(f"{processes:9}  {threads:12}  {figures}", flush=True)


if __name__ == "__main__":
    main()
