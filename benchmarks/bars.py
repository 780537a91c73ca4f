"""Copies of films with burnt-in bars, searched for with bars left in and with bars cropped.

    python benchmarks/bars.py [--data FOLDER] [--films 12] [--unrelated 10] [--work FOLDER]

Films are made, and recall@1, recall at 1 % false alarms and the share of copies that `duplicates` tells are measured,
as benchmarks/copies.py says; the films of the gallery have no bars. "none" is coded again, and changed in nothing else.
Last, what it takes to look for bars and flat frames in a clip.
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
from copies import FILM_CRF, make_films, recalls, search_ours
from films import CRF, FPS, HEIGHT, LOW_CRF, WIDTH, Stretch, write

from c3dhash.config import EncodeConfig, HashConfig
from c3dhash.video.bars import BarFinder
from c3dhash.video.flat import is_flat
from c3dhash.video.reader import find_videos, read_clips

Change = Callable[[np.ndarray], np.ndarray]


def with_bars(high: int, wide: int) -> Change:
    return lambda frame: cv2.copyMakeBorder(frame, high, high, wide, wide, cv2.BORDER_CONSTANT)


def _scope(frame: np.ndarray) -> np.ndarray:
    cut = (HEIGHT - round(WIDTH / 2.39)) // 2
    return with_bars(cut, 0)(frame[cut : HEIGHT - cut])


def _upright(frame: np.ndarray) -> np.ndarray:
    cut = (WIDTH - HEIGHT * 9 // 16) // 2
    part = frame[:, cut : WIDTH - cut]
    return with_bars(0, (HEIGHT * 16 // 9 - part.shape[1]) // 2)(part)


def _subtitled(frame: np.ndarray) -> np.ndarray:
    frame = with_bars(HEIGHT // 6, 0)(frame)
    place = 40, len(frame) - 14
    return cv2.putText(frame, "- I have seen this before.", place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1)


def _logo(frame: np.ndarray) -> np.ndarray:
    return cv2.rectangle(with_bars(0, WIDTH // 6)(frame), (8, 10), (44, 40), (40, 30, 200), -1)


KINDS: dict[str, tuple[Change, int]] = {
    "none": (lambda frame: frame, CRF),
    "letterboxed": (with_bars(HEIGHT // 6, 0), CRF),
    "letterboxed, crf 40": (with_bars(HEIGHT // 6, 0), LOW_CRF),
    "letterboxed, with subtitles": (_subtitled, CRF),
    "2.39:1 in 4:3": (_scope, CRF),
    "pillarboxed": (with_bars(0, WIDTH // 6), CRF),
    "pillarboxed, with a logo": (_logo, CRF),
    "both": (with_bars(HEIGHT // 6, WIDTH // 6), CRF),
    "9:16 in 16:9": (_upright, CRF),
}


def make_library(folder: Path, data: Path, *, num_films: int, num_unrelated: int) -> None:
    """Write gallery/, queries/ and truth.json, as `copies.make_library` does."""
    films = make_films(data, number=2 * num_films + num_unrelated, seed=5)
    for name in ("gallery", "queries"):
        (folder / name).mkdir(parents=True)
    truth = {}
    for number, frames in enumerate(films):
        name, seconds = f"{number:03}.mp4", len(frames) / FPS
        is_known = number < 2 * num_films
        if is_known:
            write(folder / "gallery" / name, frames, crf=FILM_CRF)
        if num_films <= number < 2 * num_films:
            continue
        for kind, (change, crf) in KINDS.items():
            query = f"{number:03} {kind.replace('/', ' ')}.mp4"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--films", type=int, default=12)
    parser.add_argument("--unrelated", type=int, default=10)
    parser.add_argument("--work", type=Path, help="keep the videos here, or take those that are here")
    parser.add_argument("--hash-lengths", type=int, nargs="+", default=[48, 256])
    options = parser.parse_args()
    data = options.data or Path(os.environ["C3DHASH_REAL_DATA"])
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = options.work or Path(name)
        if not (folder / "truth.json").exists():
            make_library(folder, data, num_films=options.films, num_unrelated=options.unrelated)
        truth = json.loads((folder / "truth.json").read_text())
        methods, told = {}, {}
        for crop_bars in (False, True):
            encode, features = EncodeConfig(window_seconds=2.0, stride_seconds=1.0, crop_bars=crop_bars), {}
            for bits in options.hash_lengths:
                method = f"{bits} bits, {'cropped' if crop_bars else 'left in'}"
                config = HashConfig(backbone="tsn_efficientnet_lite0", weights="imagenet", hash_length=bits)
                began = time.perf_counter()
                (found, _, _), told[method] = search_ours(
                    folder, Path(name) / f"gallery {method}", truth, features, config=config, encode=encode
                )
                methods[method] = recalls(found, truth)
                print(f"{method}: {time.perf_counter() - began:.0f} s in all")
        seconds, spread = cost(find_videos(data)[::20])
    print(f"{len(truth)} queries; recall@1 / at 1 % false alarms / told by duplicates (wrong pairs)")
    print(f"{'':28}" + "".join(f"{method:>26}" for method in methods))
    for kind in KINDS:
        cells = [
            f"{first[kind]:.2f} / {sure[kind]:.2f} / {told[method][kind][0]:.2f} ({told[method][kind][1]})"
            for method, (first, sure) in methods.items()
        ]
        print(f"{kind:28}" + "".join(f"{cell:>26}" for cell in cells))
    print(f"bars and flat frames: {1000 * seconds:.2f} ms a clip (spread {1000 * spread:.2f})")


if __name__ == "__main__":
    main()
