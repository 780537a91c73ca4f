"""Copies of films with burnt-in bars, searched for with bars left in and with bars cropped.

    python benchmarks/bars.py [--data FOLDER] [--films 12] [--unrelated 10] [--shapes 4:3 ...] [--work FOLDER]

Films are joined from clips as benchmarks/copies.py says; those of the gallery have no bars. "none" is coded again, and
changed in nothing else. The films of the shapes 2.39:1 and 9:16 are cut to these, and their bars fill 4:3 and 16:9.

Printed are, of each kind, with bars left in and cropped: the mean distance between the codes of a copy and of its film,
bits; of parts of PART_WINDOWS windows, how often the film is found first, and with a score above that of 99 % of the
parts of copies of other films; and of whole copies, how many `duplicates` tells, and how many wrong pairs. And what it
takes to look for bars and flat frames in a clip.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from common import machine
from copies import FALSE_ALARMS, FILM_CRF, make_films, told_duplicates
from films import CRF, FPS, HEIGHT, LOW_CRF, WIDTH, Stretch, write

from c3dhash import load_backbone
from c3dhash.bits import hamming_distances, pack_codes
from c3dhash.config import EncodeConfig
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery
from c3dhash.models.encode import encode_videos
from c3dhash.models.hashing import fit_hash
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import Run
from c3dhash.models.weights import find_weights
from c3dhash.records import CodeBatch, FeatureBatch
from c3dhash.video.bars import BarFinder
from c3dhash.video.flat import is_flat
from c3dhash.video.reader import find_videos, read_clips

BACKBONE, WEIGHTS = "tsn_efficientnet_lite0", "imagenet"
PART_WINDOWS = 4

Change = Callable[[np.ndarray], np.ndarray]


def with_bars(high: int, wide: int) -> Change:
    return lambda frame: cv2.copyMakeBorder(frame, high, high, wide, wide, cv2.BORDER_CONSTANT)


def _subtitled(frame: np.ndarray) -> np.ndarray:
    frame = with_bars(HEIGHT // 6, 0)(frame)
    place = 40, len(frame) - 14
    return cv2.putText(frame, "- I have seen this before.", place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1)


def _cut(high: int, wide: int) -> Change:
    return lambda frame: frame[high : len(frame) - high, wide : frame.shape[1] - wide]


Kinds = dict[str, tuple[Change, int]]  # a change of every frame, and the quality that the copy is coded with
KINDS: Kinds = {
    "none": (_cut(0, 0), CRF),
    "letterboxed": (with_bars(HEIGHT // 6, 0), CRF),
    "letterboxed, crf 40": (with_bars(HEIGHT // 6, 0), LOW_CRF),
    "letterboxed, with subtitles": (_subtitled, CRF),
    "pillarboxed": (with_bars(0, WIDTH // 6), CRF),
    "both": (with_bars(HEIGHT // 6, WIDTH // 6), CRF),
}
SHAPES: dict[str, tuple[Change, Kinds]] = {  # of the films: what of JHMDB's pictures, and the copies
    "4:3": (_cut(0, 0), KINDS),
    "2.39:1": (_cut(53, 0), {"2.39:1, in 4:3": (with_bars(53, 0), CRF)}),
    "9:16": (_cut(0, 93), {"9:16, in 16:9": (with_bars(0, 147), CRF)}),
}


def make_library(folder: Path, data: Path, *, shape: str, num_films: int, num_unrelated: int) -> None:
    """Write gallery/, queries/ and truth.json, as `copies.make_library` does."""
    cut, kinds = SHAPES[shape]
    films = make_films(data, number=2 * num_films + num_unrelated, seed=5)
    for name in ("gallery", "queries"):
        (folder / name).mkdir(parents=True)
    truth = {}
    for number, uncut in enumerate(films):
        name, seconds, frames = f"{number:03}.mp4", len(uncut) / FPS, [cut(frame) for frame in uncut]
        is_known = number < 2 * num_films
        if is_known:
            write(folder / "gallery" / name, frames, crf=FILM_CRF)
        if num_films <= number < 2 * num_films:
            continue
        for kind, (change, crf) in kinds.items():
            query = f"{number:03} {kind}.mp4"
            write(folder / "queries" / query, [change(frame) for frame in frames], crf=crf)
            whole = Stretch(name, 0.0, seconds, 0.0, seconds)
            truth[query] = {"kind": kind, "stretches": [whole] if is_known else []}
    (folder / "truth.json").write_text(json.dumps(truth))


def cost(videos: list[Path], *, repeats: int = 3) -> tuple[float, float]:
    """Return how many seconds it takes to find bars and flat frames in a clip of 8 frames of 256 px: median, spread."""
    clips = [next(iter(read_clips(video, num_frames=8, short_side=256))).frames for video in videos]
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        for frames in clips:
            is_flat(BarFinder().inside(frames).cut(frames))
        taken.append((time.perf_counter() - began) / len(clips))
    return float(np.median(taken)), max(taken) - min(taken)


def encode(run: Run, videos: list[Path], *, crop_bars: bool) -> dict[str, FeatureBatch]:
    config = EncodeConfig(window_seconds=2.0, stride_seconds=1.0, crop_bars=crop_bars)
    found = {}
    for result in encode_videos(run, videos, config=config, with_features=True):
        assert result.features is not None, result.error
        found[result.video.name] = result.features
    return found


def measure(
    films: dict[str, FeatureBatch], copies: dict[str, FeatureBatch], truth: dict[str, dict], *, hash_length: int
) -> dict[str, str]:
    """Return the figures of each kind, for people."""
    head = fit_hash(np.concatenate([films[name].features for name in sorted(films)]), hash_length=hash_length,
                    method="itq")  # fmt: skip

    def codes_of(batch: FeatureBatch) -> CodeBatch:
        return CodeBatch(pack_codes(head(batch.features)), hash_length, batch.start_seconds, batch.end_seconds)

    of_films, of_copies = ({name: codes_of(batch) for name, batch in each.items()} for each in (films, copies))
    with (
        tempfile.TemporaryDirectory() as name,
        Gallery.create(Path(name) / "gallery", hash_length=hash_length, model_fingerprint="bars") as gallery,
    ):
        for film, codes in of_films.items():
            gallery.add(film, codes, content_hash=film)
        told = told_duplicates(gallery, truth, of_copies)
        return {
            kind: f"{distance(of_films, of_copies, truth, kind):5.1f}  {parts(gallery, of_copies, truth, kind)}  "
            f"{share:.2f} ({num_wrong})"
            for kind, (share, num_wrong) in told.items()
        }


def distance(films: dict[str, CodeBatch], copies: dict[str, CodeBatch], truth: dict[str, dict], kind: str) -> float:
    """Return the mean distance between the windows of copies of a kind and those of their films, bits."""
    found: list[int] = []
    for name, said in truth.items():
        if said["kind"] == kind and said["stretches"]:
            film, copy = films[said["stretches"][0][0]].codes, copies[name].codes
            length = min(len(film), len(copy))
            found += np.diag(hamming_distances(copy[:length], film[:length])).tolist()
    return float(np.mean(found))


def parts(gallery: Gallery, copies: dict[str, CodeBatch], truth: dict[str, dict], kind: str) -> str:
    """Return how often parts of copies of a kind find their film first, and how often above the others' scores."""
    is_first, scores, unrelated = [], [], []
    for name, said in truth.items():
        batch = copies[name]
        if said["kind"] != kind:
            continue
        for first in range(0, len(batch.codes) - PART_WINDOWS + 1, PART_WINDOWS):
            part = slice(first, first + PART_WINDOWS)
            times = batch.start_seconds[part], batch.end_seconds[part]
            hits = query_codes(gallery, CodeBatch(batch.codes[part], batch.hash_length, *times), top=5)
            if said["stretches"]:
                film = said["stretches"][0][0]
                is_first.append(hits[0].video == film)
                scores.append(next((hit.score for hit in hits if hit.video == film), 0.0))
            else:
                unrelated.append(hits[0].score)
    threshold = np.quantile(unrelated, 1 - FALSE_ALARMS, method="higher")
    return f"{np.mean(is_first):.2f} / {np.mean(np.array(is_first) & (np.array(scores) > threshold)):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--films", type=int, default=12)
    parser.add_argument("--unrelated", type=int, default=10)
    parser.add_argument("--work", type=Path, help="keep the videos here, or take those that are here")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--hash-lengths", type=int, nargs="+", default=[48, 256])
    options = parser.parse_args()
    data = options.data or Path(os.environ["C3DHASH_REAL_DATA"])
    print(machine())
    seconds, spread = cost(find_videos(data)[::20])
    print(f"bars and flat frames: {1000 * seconds:.2f} ms a clip (spread {1000 * spread:.2f})")
    backbone = load_backbone(find_weights(WEIGHTS, backbone=BACKBONE), backbone=BACKBONE)
    network = HashNet(backbone, hash_length=None, num_classes=None)
    run = Run(Path("none"), {}, (), network.eval(), "bars")
    print("bits, parts: first / above 99 % of others, duplicates (wrong pairs); bars left in, and cropped")
    for shape in options.shapes:
        with tempfile.TemporaryDirectory() as name:
            folder = (options.work or Path(name)) / shape
            if not (folder / "truth.json").exists():
                sizes = {"num_films": options.films, "num_unrelated": options.unrelated}
                make_library(folder, data, shape=shape, **sizes)
            truth = json.loads((folder / "truth.json").read_text())
            films = encode(run, sorted((folder / "gallery").iterdir()), crop_bars=True)
            queries = [folder / "queries" / query for query in truth]
            left, cropped = (encode(run, queries, crop_bars=crop_bars) for crop_bars in (False, True))
        for bits in options.hash_lengths:
            figures = [measure(films, copies, truth, hash_length=bits) for copies in (left, cropped)]
            for kind in figures[0]:
                print(f"{bits:4} bits  {kind:28}" + "".join(f"{each[kind]:>34}" for each in figures), flush=True)


if __name__ == "__main__":
    main()
