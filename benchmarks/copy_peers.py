"""Other programs' fingerprints of videos, for copies.py; run by a Python that has vpdq, videohash2 and iscc-sdk.

    PYTHON benchmarks/copy_peers.py GALLERY_FOLDER QUERY_FOLDER OUT.json

Every file of the gallery is compared with every query. Written is, of each peer that this Python has: the seconds that
the gallery took, the bytes of its fingerprints, and of each query the score of each file of the gallery, where higher
is more alike.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VPDQ_FRAMES_PER_SECOND, VPDQ_MIN_QUALITY, VPDQ_RADIUS = 2.0, 50, 31  # as its own command compares
ISCC_BITS = 256


def vpdq() -> tuple[Callable[[Path], Any], Callable[[Any, Any], float]]:
    import vpdq

    def fingerprint(path: Path) -> np.ndarray:
        features = vpdq.computeHash(str(path), seconds_per_hash=1 / VPDQ_FRAMES_PER_SECOND)
        rows = [bytes.fromhex(each.hex) for each in features if each.quality >= VPDQ_MIN_QUALITY]
        return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)

    def compare(query: np.ndarray, other: np.ndarray) -> float:
        """Return the share of the query's frames that are in the other video."""
        if not len(query) or not len(other):
            return 0.0
        differing = np.bitwise_count(query[:, None] ^ other[None]).sum(axis=2, dtype=int)
        return float((differing.min(axis=1) <= VPDQ_RADIUS).mean())

    return fingerprint, compare


def videohash2() -> tuple[Callable[[Path], Any], Callable[[Any, Any], float]]:
    from videohash2 import VideoHash

    def compare(query: str, other: str) -> float:
        return 1 - bin(int(query, 16) ^ int(other, 16)).count("1") / 64

    return lambda path: VideoHash(path=str(path)).hash_hex, compare


def iscc() -> tuple[Callable[[Path], Any], Callable[[Any, Any], float]]:
    import iscc_lib
    import iscc_sdk

    iscc_sdk.tools.ffmpeg_bin = lambda: shutil.which("ffmpeg")  # it would download one

    def fingerprint(path: Path) -> np.ndarray:
        code = iscc_sdk.code_video(path, extract_meta=False, create_thumb=False, bits=ISCC_BITS).iscc
        return np.frombuffer(iscc_lib.iscc_decode(code)[-1], np.uint8)

    def compare(query: np.ndarray, other: np.ndarray) -> float:
        return 1 - int(np.bitwise_count(query ^ other).sum()) / (8 * len(query))

    return fingerprint, compare


PEERS = {"vpdq": vpdq, "videohash2": videohash2, "iscc-sdk": iscc}


def num_bytes(fingerprint: Any) -> int:
    return int(fingerprint.nbytes) if isinstance(fingerprint, np.ndarray) else 8


def main(gallery: Path, queries: Path, out: Path) -> None:
    answers = {}
    for name, load in PEERS.items():
        try:
            fingerprint, compare = load()
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        print(f"{name} ...", file=sys.stderr)
        began = time.perf_counter()
        known = {path.name: fingerprint(path) for path in sorted(gallery.iterdir())}
        seconds = time.perf_counter() - began
        scores = {}
        for path in sorted(queries.iterdir()):
            query = fingerprint(path)
            scores[path.name] = {film: compare(query, other) for film, other in known.items()}
        answers[name] = {"seconds": seconds, "bytes": sum(map(num_bytes, known.values())), "scores": scores}
        out.write_text(json.dumps(answers))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
