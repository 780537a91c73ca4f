"""`c3dhash index` of the same clips, from a folder and from an S3 server on this machine.

    python benchmarks/fetching.py VIDEO_DIR [--backbone tsn_efficientnet_lite0] [--clips 168] [--repeats 3]

The server is moto's, in a process of its own that takes its share of the same cores; a round trip to it takes
no time. In turns: a new gallery of each place, and each again with nothing changed. The codes have to be the same.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from common import machine, untrained_run

from c3dhash.config import EncodeConfig
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.memory import keep_freed_memory
from c3dhash.models.runs import Run
from c3dhash.video.reader import find_videos

CONFIG = EncodeConfig(precision="fp32", device="cpu", engine="torch")


@contextmanager
def s3_of(folder: Path) -> Iterator[str]:
    """Serve a folder as a bucket."""
    import boto3

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
        "FSSPEC_S3_ENDPOINT_URL": url,
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-c", f"from moto.server import main; main(['-p', '{port}'])"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket="films")
        for path in sorted(folder.iterdir()):
            client.upload_file(str(path), "films", f"db/{path.name}")
        yield "s3://films/db"
    finally:
        server.kill()
        server.wait()


def index_seconds(run: Run, place: Path | str) -> tuple[float, float, np.ndarray]:
    """Return how long a new gallery of a place takes, and the same again; and the codes."""
    with tempfile.TemporaryDirectory() as folder, open_gallery(Path(folder) / "gallery", run) as gallery:
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            report = index_videos(run, gallery, [place], config=CONFIG)
            seconds.append(time.perf_counter() - started)
            assert not report.failed
        return seconds[0], seconds[1], gallery.codes()[1]


def main() -> None:
    keep_freed_memory()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--backbone", default="tsn_efficientnet_lite0")
    parser.add_argument("--clips", type=int, default=168)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        db, path = Path(folder) / "db", Path(folder) / "run"
        db.mkdir()
        for number, video in enumerate(itertools.islice(find_videos(options.videos), options.clips)):
            shutil.copy(video, db / f"{number:04}{video.suffix}")
        run = untrained_run(path, options.backbone)
        num_bytes = sum(file.stat().st_size for file in db.iterdir())
        print(machine())
        print(f"{run}: {options.clips} videos of {num_bytes / options.clips / 1e3:.0f} kB, in turns")
        with s3_of(db) as url:
            expected = index_seconds(run, db)[2]  # and warm
            measured: dict[str, list[tuple[float, float]]] = {"folder": [], "S3": []}
            for _ in range(options.repeats):
                for name, place in (("folder", db), ("S3", url)):
                    new, unchanged, codes = index_seconds(run, place)
                    assert np.array_equal(codes, expected)
                    measured[name].append((new, unchanged))
    print(f"{'':8} {'new, s':>22} {'unchanged, s':>22}   median (fastest to slowest) of {options.repeats}")
    for name, seconds in measured.items():
        cells = [
            f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in zip(*seconds, strict=True)
        ]
        print(f"{name:8} {cells[0]:>22} {cells[1]:>22}")


if __name__ == "__main__":
    main()
