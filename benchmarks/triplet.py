"""The batch-all triplet loss against listing every triplet.

    python benchmarks/triplet.py [--batches 128 256 512 1024 2048] [--repeats 7]

The alternative lists the triplets with pytorch-metric-learning's miner-free utility and takes the mean of the
hinge over all of them. Both run here, each size in a process of its own, so that peak memory is that of one
method. Embeddings are tanh of noise, labels random among 101 classes. Forward and backward are timed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

from common import machine

MARGIN, BITS, CLASSES = 14.0, 48, 101
MAX_LISTED_BYTES = 12 << 30  # a listing that would not fit is left out, and said so


def problem(batch: int):
    import torch

    torch.manual_seed(batch)
    return torch.tanh(torch.randn(batch, BITS)).requires_grad_(), torch.randint(0, CLASSES, (batch,))


def listed_loss(embeddings, labels):
    """Mean hinge over the triplets that pytorch-metric-learning lists."""
    from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_triplets_indices

    anchors, positives, negatives = get_all_triplets_indices(labels)
    squared = (embeddings[:, None] - embeddings[None]).square().sum(2)
    return (MARGIN + squared[anchors, positives] - squared[anchors, negatives]).clamp_min(0).mean()


def our_loss(embeddings, labels):
    from c3dhash.training.losses import batch_all_triplet_loss

    return batch_all_triplet_loss(embeddings, labels, margin=MARGIN)


def measure(method: str, batch: int, repeats: int) -> dict:
    """Time one method in this process: value, median and spread in seconds, peak memory above the start in MiB."""
    function = {"listed": listed_loss, "c3dhash": our_loss}[method]
    embeddings, labels = problem(batch)
    function(*problem(8)).backward()  # imports and thread pools
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(repeats + 1):
        embeddings.grad = None
        started = time.perf_counter()
        loss = function(embeddings, labels)
        loss.backward()
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = seconds[1:]
    return {
        "value": loss.item(),
        "gradient_norm": embeddings.grad.norm().item(),
        "median": statistics.median(seconds),
        "spread": max(seconds) - min(seconds),
        "peak_mib": (peak - before) / 1024,
    }


def in_its_own_process(method: str, batch: int, repeats: int) -> dict:
    command = [sys.executable, __file__, "--worker", method, str(batch), str(repeats)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def num_triplets(batch: int) -> int:
    import torch

    _, labels = problem(batch)
    same = (labels[:, None] == labels[None]).sum(1)
    return int(((same - 1) * (batch - same)).sum().to(torch.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        method, batch, repeats = options.worker
        print(json.dumps(measure(method, int(batch), int(repeats))))
        return
    print(machine())
    print(
        f"margin {MARGIN:g}, {BITS} bits, {CLASSES} classes; forward + backward, median of {options.repeats} after 1\n"
    )
    print(f"{'B':>5} {'triplets':>12}  {'method':8} {'value':>11} {'ms':>9} {'spread':>8} {'peak MiB':>9} {'ratio':>7}")
    for batch in options.batches:
        count = num_triplets(batch)
        ours = in_its_own_process("c3dhash", batch, options.repeats)
        listed_bytes = count * 60  # six int64 index arrays and their masks, at the least
        if listed_bytes <= MAX_LISTED_BYTES:
            listed = in_its_own_process("listed", batch, options.repeats)
            _print(batch, count, "listed", listed)
            assert abs(listed["value"] - ours["value"]) < 1e-4 * abs(listed["value"]), "the values differ"
            _print(batch, count, "c3dhash", ours, ratio=listed["median"] / ours["median"])
        else:
            print(f"{batch:5} {count:12,}  listed   left out: over {listed_bytes >> 30} GiB of indices")
            _print(batch, count, "c3dhash", ours)


def _print(batch: int, count: int, method: str, row: dict, *, ratio: float | None = None) -> None:
    print(
        f"{batch:5} {count:12,}  {method:8} {row['value']:11.6f} {row['median'] * 1e3:9.2f} {row['spread'] * 1e3:8.2f} "
        f"{row['peak_mib']:9.0f} {f'{ratio:6.1f}x' if ratio else '':>7}",
        flush=True,
    )


if __name__ == "__main__":
    main()
