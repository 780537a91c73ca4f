"""Parts of films, searched for among films that have an intro in common: by the nearest clip, and by evidence.

    python benchmarks/parts.py [--data FOLDER] [--films 40] [--seed 7] [--backbone tsn_efficientnet_lite0]

Films are joined from the clips of a folder (by default those of C3DHASH_REAL_DATA, jhmdb and ut), 17 each; four in five
begin with the same 6 s, and all have a second of black before and behind what is their own. Of each a part of 8 s is
taken, changed, coded again by FFmpeg at crf 35, and searched for. Codes are made without labels, of windows of 2 s that
begin a second apart. Printed: how often the film that it is from is found first (by the nearest clip: the expectation
over ties), and how far the ends of segments are off, of films that are found.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from common import machine
from films import FPS, HEIGHT, WIDTH, crop, frames_of, write

from c3dhash.bits import hamming_distances
from c3dhash.config import EncodeConfig, HashConfig
from c3dhash.gallery import evidence
from c3dhash.gallery.fitting import index_with_features, make_run
from c3dhash.gallery.indexing import open_gallery
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery
from c3dhash.models.encode import encode_videos
from c3dhash.models.runs import Run
from c3dhash.records import CodeBatch
from c3dhash.video.reader import find_videos

CLIPS_A_FILM, INTRO_FRAMES, PART_FRAMES = 17, 150, 200
WINDOWS = EncodeConfig(window_seconds=2.0, stride_seconds=1.0)


class Part(NamedTuple):
    """A query: which film it is from, how it was changed, and from when to when it lies in both, seconds."""

    path: Path
    film: Path
    kind: str
    query_start: float
    film_start: float


def make_films(folder: Path, clips: list[Path], *, num_films: int, seed: int) -> list[Part]:
    """Write films and the parts that are searched for."""
    rng = random.Random(seed)
    clips = rng.sample(clips, len(clips))
    intro = [frame for clip in clips[:4] for frame in frames_of(clip)][:INTRO_FRAMES]
    black = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * FPS
    parts = []
    (folder / "films").mkdir()
    for number in range(num_films):
        first = 4 + number * CLIPS_A_FILM
        own = [frame for clip in clips[first : first + CLIPS_A_FILM] for frame in frames_of(clip)]
        before = (intro if number % 5 else []) + black
        film = folder / "films" / f"{number:03}.mp4"
        write(film, before + own + black, crf=23)
        start = rng.randrange(max(1, len(own) - PART_FRAMES))
        part = own[start : start + PART_FRAMES]
        changed = {
            "as it is": part,
            "behind the intro": [*intro, *black, *part],
            "cropped by a fifth": [crop(frame, 0.2) for frame in part],
            "160 x 120 px": [cv2.resize(frame, (160, 120)) for frame in part],
        }
        for kind, frames in changed.items():
            path = folder / f"{number:03} {kind}.mp4"
            write(path, frames, crf=35)
            parts.append(Part(path, film, kind, (len(frames) - len(part)) / FPS, (len(before) + start) / FPS))
    return parts


def encode(run: Run, paths: list[Path]) -> list[CodeBatch]:
    batches = []
    for result in encode_videos(run, paths, config=WINDOWS):
        assert result.codes is not None, result.error
        batches.append(result.codes)
    return batches


def first_by_nearest_clip(gallery: Gallery, query: CodeBatch, film: Path) -> float:
    """Return how probable it is that the film comes first, in any order of ties."""
    ids, codes = gallery.codes()
    distances = hamming_distances(query.codes, codes).min(axis=0)
    nearest: dict[str, int] = {}
    for clip, distance in zip(gallery.clips(ids), distances.tolist(), strict=True):
        nearest[clip.video] = min(distance, nearest.get(clip.video, distance))
    least = min(nearest.values())
    return (nearest[str(film)] == least) / list(nearest.values()).count(least)


def measure(gallery: Gallery, parts: list[Part], queries: list[CodeBatch]) -> tuple[dict[str, float], float, float]:
    """Return how often each kind is found first, how far ends are off (median, s), and the time of a query (s)."""
    found, errors, seconds = defaultdict(list), [], []
    for part, query in zip(parts, queries, strict=True):
        began = time.perf_counter()
        first = query_codes(gallery, query)[0]
        seconds.append(time.perf_counter() - began)
        found[part.kind].append(first.video == str(part.film))
        own = [segment for segment in first.segments if segment.query_end_seconds > part.query_start + 0.5]
        if found[part.kind][-1] and own:
            length = PART_FRAMES / FPS
            errors += [
                abs(own[0].query_start_seconds - part.query_start),
                abs(own[0].query_end_seconds - part.query_start - length),
                abs(own[0].start_seconds - part.film_start),
                abs(own[0].end_seconds - part.film_start - length),
            ]
    rates = {kind: float(np.mean(hits)) for kind, hits in found.items()}
    return rates, float(np.median(errors)), float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("C3DHASH_REAL_DATA"))
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--backbone", default="tsn_efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet")
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data FOLDER, or C3DHASH_REAL_DATA, says where clips are")
    clips = sorted(find_videos(options.data))
    if len(clips) < (needed := 4 + options.films * CLIPS_A_FILM):
        parser.error(f"{options.films} films take {needed} clips; '{options.data}' has {len(clips)}")
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = make_films(folder, clips, num_films=options.films, seed=options.seed)
        places = [folder / "films"]
        config = HashConfig(backbone=options.backbone, weights=options.weights)
        run = make_run(folder / "gallery", places, config=config, encode=WINDOWS)
        with open_gallery(folder / "gallery", run, config=WINDOWS) as gallery:
            index_with_features(run, gallery, places, config=WINDOWS)
            queries = encode(run, [part.path for part in parts])
            nearest = defaultdict(list)
            for part, query in zip(parts, queries, strict=True):
                nearest[part.kind].append(first_by_nearest_clip(gallery, query, part.film))
            rates, error, seconds = measure(gallery, parts, queries)
            weigh_windows, evidence.window_weights = evidence.window_weights, lambda counts, **_: np.ones(len(counts))
            alike = measure(gallery, parts, queries)[0]
            evidence.window_weights = weigh_windows
            print(f"{len(gallery)} clips of {options.films} films, {run.hash_length} bits, {options.backbone}")
    print(f"{'':20} nearest clip  evidence  windows weigh the same")
    for kind, rate in rates.items():
        print(f"{kind:20} {np.mean(nearest[kind]):12.3f}  {rate:8.3f}  {alike[kind]:22.3f}")
    print(f"ends of segments off by {error:.2f} s (median); {1e3 * seconds:.0f} ms a query (median)")


if __name__ == "__main__":
    main()
