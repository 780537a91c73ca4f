"""Copies of films, changed in fourteen ways, searched for: c3dhash beside other programs.

    python benchmarks/copies.py [--data FOLDER] [--films 20] [--unrelated 15] [--peers PYTHON] [--work FOLDER]

Films of 12 s and more are joined from the clips of a folder (by default those of JHMDB in C3DHASH_REAL_DATA), those of
a source in one film. A copy of each kind of each of `--films` is searched for among these and as many others. The same
kinds of films that are not in the gallery are searched for, too: a score that 1 % of these reach is a false alarm.
Codes are made without labels, by a network (--backbone) and by phash, which is none. `--peers` names a Python that
has vpdq, videohash2 and iscc-sdk (copy_peers.py).

Printed are, of each kind: recall@1, how often the film is found first (of a compilation, how many of its films are
among the first three; of ties, the expectation); recall at 1 % false alarms, how often its score lies above those, too;
and of c3dhash, of films that are found, which share of the seconds of the segments is right, which share of the right
ones they hold, and how far their ends are off (median); and, where the copies of a kind are in the gallery themselves,
of how many `duplicates` tells, and how many pairs that it tells are of different films.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import machine
from films import FPS, Frames, Stretch, frames_of, make_copies, write

from c3dhash.config import EncodeConfig, HashConfig
from c3dhash.gallery.fitting import hash_features, index_with_features, make_run
from c3dhash.gallery.indexing import open_gallery
from c3dhash.gallery.mirrors import mirror_mask
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery
from c3dhash.models.encode import encode_videos
from c3dhash.models.engines import settle_engine
from c3dhash.models.runs import Run
from c3dhash.records import CodeBatch, FeatureBatch, Hit
from c3dhash.video.reader import find_videos

MIN_SECONDS = 12
FALSE_ALARMS = 0.01
FILM_CRF = 23


class Found(NamedTuple):
    """What a method says of a query: how alike each film of the gallery is, and where, if it says so."""

    scores: dict[str, float]
    segments: dict[str, list[Stretch]]


def source_of(clip: Path) -> str:
    """Return what a clip was cut from: in JHMDB, what precedes its class in the name."""
    return clip.stem.split(f"_{clip.parent.name}_")[0]


def make_films(data: Path, *, number: int, seed: int) -> list[Frames]:
    """Join clips to films of MIN_SECONDS and more."""
    sources = defaultdict(list)
    for clip in sorted(find_videos(data)):
        sources[source_of(clip)].append(clip)
    order = random.Random(seed).sample(sorted(sources), len(sources))
    films: list[Frames] = []
    frames: Frames = []
    for source in order:
        for clip in sources[source]:
            frames += frames_of(clip)
        if len(frames) >= MIN_SECONDS * FPS:
            films.append(frames)
            frames = []
        if len(films) == number:
            return films
    raise SystemExit(f"'{data}' has clips for {len(films)} films of {MIN_SECONDS} s; {number} are needed")


def make_library(folder: Path, data: Path, *, num_films: int, num_unrelated: int, seed: int) -> None:
    """Write gallery/, queries/ and truth.json: of each query its kind and, if it is related, what lies where in it."""
    films = make_films(data, number=2 * num_films + num_unrelated + 1, seed=seed)
    material = films.pop()
    named = {f"{number:03}.mp4": frames for number, frames in enumerate(films)}
    names = list(named)
    (folder / "gallery").mkdir(parents=True)
    (folder / "queries").mkdir()
    for name in names[: 2 * num_films]:
        write(folder / "gallery" / name, named[name], crf=FILM_CRF)
    truth = {}
    for chosen, is_known in ((names[:num_films], True), (names[2 * num_films :], False)):
        for place, name in enumerate(chosen):
            others = [chosen[(place + step) % len(chosen)] for step in (1, 2)]
            for kind, copy in make_copies(named, name, others, material).items():
                path = folder / "queries" / f"{Path(name).stem} {kind}.mp4"
                write(path, copy.frames, crf=copy.crf)
                truth[path.name] = {"kind": kind, "stretches": copy.truth if is_known else []}
    (folder / "truth.json").write_text(json.dumps(truth))


def search_ours(
    folder: Path,
    gallery_path: Path,
    truth: dict[str, dict],
    features: dict[str, FeatureBatch],
    *,
    config: HashConfig,
    encode: EncodeConfig,
    mirror: bool = False,
) -> tuple[tuple[dict[str, Found], float, int], dict[str, tuple[float, int]]]:
    """Return what c3dhash says of each query, the seconds that indexing took, and the bytes of the codes; and what
    `told_duplicates` does.

    Args:
        features: of the queries, from an earlier call with the same network; filled where it is empty.
        mirror: search with the mirror image of each query, too, as `query --mirror` does, and match mirror images, as
            `duplicates --mirror` does.
    """
    films = folder / "gallery"
    began = time.perf_counter()
    run = make_run(gallery_path, [films], config=config, encode=encode)
    with open_gallery(gallery_path, run, config=encode) as gallery:
        index_with_features(run, gallery, [films], config=encode)
        seconds = time.perf_counter() - began
        queries = sorted((folder / "queries").iterdir())
        if not features:
            num_clips = len(gallery) * len(queries) // gallery.num_videos
            engine = settle_engine(encode, backbone=config.backbone, num_clips=num_clips)
            features.update(features_of(run, queries, encode=replace(encode, engine=engine)))
        codes = {name: hash_features(run, batch) for name, batch in features.items()}
        found = {name: _as_found(query_codes(gallery, batch, top=10)) for name, batch in codes.items()}
        if mirror:
            for name, batch in features_of(run, queries, encode=encode, mirrored=True).items():
                mirrored = _as_found(query_codes(gallery, hash_features(run, batch), top=10))
                found[name] = _better_of(found[name], mirrored)
        told = told_duplicates(gallery, truth, codes, mask=mirror_mask(gallery) if mirror else None)
        num_bytes = gallery.codes()[1].nbytes
    return (found, seconds, num_bytes), told


def features_of(
    run: Run, videos: list[Path], *, encode: EncodeConfig, mirrored: bool = False
) -> dict[str, FeatureBatch]:
    features = {}
    for result in encode_videos(run, videos, config=encode, with_features=True, with_mirrored=mirrored):
        shown = result.mirrored if mirrored else result
        assert shown is not None and shown.features is not None, result.error
        features[result.video.name] = shown.features
    return features


def _better_of(found: Found, other: Found) -> Found:
    """Join what was found by two queries: of each film, what has the higher score."""
    films = found.scores.keys() | other.scores.keys()
    better = {film: max((found, other), key=lambda each, film=film: each.scores.get(film, -np.inf)) for film in films}
    return Found(
        {film: each.scores[film] for film, each in better.items()},
        {film: each.segments[film] for film, each in better.items()},
    )


def told_duplicates(
    gallery: Gallery, truth: dict[str, dict], codes: dict[str, CodeBatch], *, mask: np.ndarray | None
) -> dict[str, tuple[float, int]]:
    """Return, of each kind, which share of pairs of a film and its copy is told, and how many others are; the copies of
    one kind are in the gallery with the films at a time."""
    of_kind = defaultdict(list)
    for query, said in truth.items():
        if said["stretches"]:
            of_kind[said["kind"]].append(query)
    told = {}
    for kind, queries in of_kind.items():
        with gallery.editing() as edits:
            for query in queries:
                edits.add(query, codes[query], content_hash=query, size_bytes=0, mtime_ns=0, label=None)
        pairs = {
            frozenset(Path(clip.video).name for clip in (first, second))
            for first, second, _ in gallery.matching_pairs(mirror_mask=mask)
        }
        gallery.remove(queries)
        wanted = {frozenset((query, stretch[0])) for query in queries for stretch in truth[query]["stretches"]}
        of_each = {query: {stretch[0] for stretch in truth[query]["stretches"]} | {query} for query in queries}
        wrong = [pair for pair in pairs if not _is_right(*pair, of_each)]
        told[kind] = len(pairs & wanted) / len(wanted), len(wrong)
    return told


def _is_right(name: str, other: str, of_each: dict[str, set[str]]) -> bool:
    """Tell whether two videos have a film in common; those with parts inside other material have that."""
    material = {"material"} if "other material" in name and "other material" in other else set()
    return bool(material or of_each.get(name, {name}) & of_each.get(other, {other}))


def _as_found(hits: list[Hit]) -> Found:
    segments = {
        Path(hit.video).name: [
            Stretch("", each.query_start_seconds, each.query_end_seconds, each.start_seconds, each.end_seconds)
            for each in hit.segments
        ]
        for hit in hits
    }
    return Found({Path(hit.video).name: hit.score - hit.distance / 1000 for hit in hits}, segments)


def search_peers(folder: Path, python: str) -> dict[str, tuple[dict[str, Found], float, int]]:
    """Return what `search_ours` does, of each peer."""
    out = folder / "peers.json"
    script = Path(__file__).with_name("copy_peers.py")
    subprocess.run([python, script, folder / "gallery", folder / "queries", out], check=True)
    return {
        name: ({query: Found(scores, {}) for query, scores in said["scores"].items()}, said["seconds"], said["bytes"])
        for name, said in json.loads(out.read_text()).items()
    }


def recalls(found: dict[str, Found], truth: dict[str, dict]) -> tuple[dict[str, float], dict[str, float]]:
    """Return recall@1 and recall at FALSE_ALARMS of each kind."""
    unrelated = [
        max(found[query].scores.values(), default=0.0) for query, said in truth.items() if not said["stretches"]
    ]
    threshold = float(np.quantile(unrelated, 1 - FALSE_ALARMS, method="higher"))
    first, sure = defaultdict(list), defaultdict(list)
    for query, said in truth.items():
        if said["stretches"]:
            films = [stretch[0] for stretch in said["stretches"]]
            for film in films:
                chance = _chance_of_being_first(found[query].scores, film, among=len(films))
                first[said["kind"]].append(chance)
                sure[said["kind"]].append(chance * (found[query].scores.get(film, 0.0) > threshold))
    return tuple({kind: float(np.mean(values)) for kind, values in of_kind.items()} for of_kind in (first, sure))


def _chance_of_being_first(scores: dict[str, float], film: str, *, among: int) -> float:
    """Return how probable it is that a film is among the first, in any order of ties."""
    own = scores.get(film, 0.0)
    if own <= 0:
        return 0.0
    num_above, num_tied = (sum(map(test, scores.values())) for test in (own.__lt__, own.__eq__))
    return float(np.clip((among - num_above) / num_tied, 0, 1))


def localisation(found: dict[str, Found], truth: dict[str, dict]) -> dict[str, tuple[float, float, float]]:
    """Return precision and recall of the seconds of segments, and how far ends are off (s, median), of each kind."""
    sums, errors = defaultdict(lambda: np.zeros(3)), defaultdict(list)
    for query, said in truth.items():
        for true in (Stretch(*stretch) for stretch in said["stretches"]):
            segments = found[query].segments.get(true.film)
            if not segments:
                continue
            for start, end in (("query_start", "query_end"), ("film_start", "film_end")):
                wanted = _seconds([true], start, end)
                told = _seconds(segments, start, end)
                sums[said["kind"]] += (np.sum(wanted & told), np.sum(told), np.sum(wanted))
            best = segments[0]
            errors[said["kind"]] += [abs(ours - real) for ours, real in zip(best[1:], true[1:], strict=True)]
    return {
        kind: (both / told, both / wanted, float(np.median(errors[kind])))
        for kind, (both, told, wanted) in sums.items()
    }


def _seconds(stretches: list[Stretch], start: str, end: str) -> np.ndarray:
    """Return which hundredths of a second are in any of the stretches, bool [N]."""
    times = np.zeros(100 * 120, bool)
    for stretch in stretches:
        times[round(100 * getattr(stretch, start)) : round(100 * getattr(stretch, end))] = True
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--unrelated", type=int, default=15)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--peers", metavar="PYTHON", help="a Python that has vpdq, videohash2 and iscc-sdk")
    parser.add_argument("--work", type=Path, help="keep the videos here, or take those that are here")
    parser.add_argument("--backbone", default="tsn_efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--hash-lengths", type=int, nargs="*", default=[48, 256], help="of that network; or none")
    parser.add_argument("--window-seconds", type=float, default=2.0)
    parser.add_argument("--stride-seconds", type=float, default=1.0)
    options = parser.parse_args()
    if options.data is None and "C3DHASH_REAL_DATA" in os.environ:
        options.data = Path(os.environ["C3DHASH_REAL_DATA"]) / "jhmdb"
    if options.data is None:
        parser.error("--data FOLDER, or C3DHASH_REAL_DATA, says where clips are")
    print(machine())
    methods, told, features = {}, {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = options.work or Path(name)
        if not (folder / "truth.json").exists():
            make_library(
                folder, options.data, num_films=options.films, num_unrelated=options.unrelated, seed=options.seed
            )
        truth = json.loads((folder / "truth.json").read_text())
        encode = EncodeConfig(window_seconds=options.window_seconds, stride_seconds=options.stride_seconds)
        for hash_length in options.hash_lengths:
            config = HashConfig(backbone=options.backbone, weights=options.weights, hash_length=hash_length)
            gallery_path = Path(name) / f"gallery {hash_length}"
            ours = f"{hash_length} bits"
            methods[ours], told[ours] = search_ours(folder, gallery_path, truth, features, config=config, encode=encode)
        for name_of_it, mirror in (("phash", False), ("phash, mirror", True)):
            methods[name_of_it], told[name_of_it] = search_ours(
                folder, Path(name) / name_of_it, truth, {}, config=HashConfig(backbone="phash", hash_length=64),
                encode=EncodeConfig(window_seconds=1.0, stride_seconds=0.5), mirror=mirror,
            )  # fmt: skip
        if options.peers:
            methods.update(search_peers(folder, options.peers))
        gallery_films = sorted((folder / "gallery").iterdir())
        hours = sum(len(frames_of(path)) for path in gallery_films) / FPS / 3600
    print(f"{len(truth)} queries, {len(gallery_films)} films; {options.backbone}; recall@1 / at 1 % false alarms")
    figures = {method: recalls(found, truth) for method, (found, _, _) in methods.items()}
    print(f"{'':30}" + "".join(f"{method:>13}" for method in figures))
    kinds = list(told["phash"])
    rows = {kind: [(first[kind], sure[kind]) for first, sure in figures.values()] for kind in kinds}
    rows["mean"] = np.mean([rows[kind] for kind in kinds], axis=0).tolist()
    for kind, row in rows.items():
        print(f"{kind:30}" + "".join(f"  {first:.2f} / {sure:.2f}" for first, sure in row))
    for method in told:
        print(f"{method}: segments' precision, recall, ends off; duplicates told, pairs of different films")
        places = localisation(methods[method][0], truth)
        for kind in kinds:
            print(f"{kind:30}  {'{:.2f}  {:.2f}  {:.2f} s'.format(*places[kind]) if kind in places else '':18}"
                  f"  {told[method][kind][0]:.2f}  {told[method][kind][1]}")  # fmt: skip
    for method, (_, seconds, num_bytes) in methods.items():
        print(f"{method}: {seconds / hours:.0f} s and {num_bytes / hours / 1024:.0f} KiB an hour of video")


if __name__ == "__main__":
    main()
