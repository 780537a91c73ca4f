"""What bf16 changes in the codes of a run: the share of bits that differ from those of fp32, and mAP.

c3dhash demo
python benchmarks/precision.py demo/run demo/data
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
from common import machine

from c3dhash.config import EncodeConfig, EvaluateConfig
from c3dhash.datasets.find import find_dataset
from c3dhash.evaluation.codes import Codes
from c3dhash.evaluation.evaluate import Report, evaluate_run
from c3dhash.models.runs import load_run
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader


def unpacked(codes: Codes) -> np.ndarray:
    """Return the bits of all codes of an evaluation, uint8 [N, hash_length]."""
    packed = np.concatenate([codes.gallery_codes, codes.query_codes])
    return np.unpackbits(packed, axis=1, count=codes.hash_length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    run, dataset = load_run(options.run), find_dataset(options.data)
    reports: dict[str, Report] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = FrameCache(Path(folder), max_bytes=8 << 30)
        reader = ClipReader.of_network(run.model.clip_size, run.model.preprocessing, cache)
        for precision in ("fp32", "bf16"):
            encode = EncodeConfig(precision=precision, device="cpu")
            config = EvaluateConfig(compare=False)
            reports[precision] = evaluate_run(run, dataset, reader=reader, config=config, encode=encode)
    print(machine())
    bits = [unpacked(report.codes) for report in reports.values()]
    print(f"{len(bits[0])} codes of {bits[0].shape[1]} bits: {(bits[0] != bits[1]).mean():.3%} of the bits differ")
    for precision, report in reports.items():
        print(f"mAP in {precision}: {report.numbers['mAP']['expected']:.4f}")


if __name__ == "__main__":
    main()
