"""`index` where nothing changed: how long until it says so, with many videos that the gallery knows.

    python benchmarks/unchanged.py [--videos 20000 200000] [--repeats 3]

Files of one byte in folders of a thousand; none of them is read, since size and time are as they were.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
from common import machine, median_seconds

from c3dhash.config import ModelConfig
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.models.hashnet import build_model
from c3dhash.models.runs import load_run, save_run
from c3dhash.records import CodeBatch

HASH_LENGTH = 48


def measure(folder: Path, *, num_videos: int, repeats: int) -> None:
    model_config = ModelConfig(backbone="resnet3d10", hash_length=HASH_LENGTH)
    settings = {"backbone": "resnet3d10", "shortcut": None, "hash_length": HASH_LENGTH, "finished": True}
    save_run(folder / "run", build_model(model_config, num_classes=None), config=settings, labels=())
    run = load_run(folder / "run")
    codes = CodeBatch(np.zeros((1, HASH_LENGTH // 8), np.uint8), HASH_LENGTH, np.zeros(1), np.ones(1))
    with open_gallery(folder / "gallery", run) as gallery:
        with gallery.writing(), gallery.editing() as edits:
            for number in range(num_videos):
                video = folder / "db" / f"{number // 1000:04}" / f"{number:07}.mp4"
                video.parent.mkdir(parents=True, exist_ok=True)
                video.write_bytes(b"x")
                stat = video.stat()
                known = {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
                edits.add(str(video), codes, content_hash=str(number), label=None, root=str(folder / "db"), **known)

        def update() -> None:
            with contextlib.redirect_stderr(io.StringIO()):
                report = index_videos(run, gallery, [folder / "db"])
            assert report.unchanged == num_videos

        seconds, spread = median_seconds(update, repeats=repeats, warmup=1)
    print(f"{num_videos:>9,} videos: {seconds:6.2f} s (spread {spread:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{machine()}\n{arguments.repeats} runs after 1, median")
    for num_videos in arguments.videos:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), num_videos=num_videos, repeats=arguments.repeats)


if __name__ == "__main__":
    main()
