"""Videos of a gallery -> copies as they go around: how many are found, and what a score means.

Of each video a stretch is taken, changed in each way of KINDS, and coded again, as a file: what is measured is all that
a query goes through. Pictures are SHORT_SIDE px high at the most, at MAX_FPS or less: a copy is seldom better.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from c3dhash.config import EncodeConfig
from c3dhash.errors import GalleryError, VideoError
from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.pairs import needed_bits
from c3dhash.gallery.same_film import MAX_SCORE, SameFilm, bin_of
from c3dhash.gallery.store import Gallery
from c3dhash.gallery.windows import with_windows
from c3dhash.records import CodeBatch, Segment
from c3dhash.scratch import ScratchFolder
from c3dhash.video.reader import probe, read_clip
from c3dhash.video.writer import OpenCVWriter

if TYPE_CHECKING:
    from c3dhash.models.runs import Run

SHORT_SIDE, MAX_FPS = 240, 15.0
STRETCH_SECONDS = 30.0
VIDEOS_AT_A_TIME = 8
TOP = 20  # videos that are looked at of each query
SURE = 0.95  # a hit is sure where so many like it are right


def _code_badly(frame: np.ndarray) -> np.ndarray:
    decoded = cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded


def _halve(frame: np.ndarray) -> np.ndarray:
    height, width = (max(2, size // 4 * 2) for size in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def _crop(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    y, x = height // 20, width // 20
    return cv2.resize(frame[y : height - y, x : width - x], (width, height))


def _letterbox(frame: np.ndarray) -> np.ndarray:
    bar = frame.shape[0] // 12 * 2
    return np.pad(frame, ((bar, bar), (0, 0), (0, 0)))


def _recolour(frame: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV).astype(np.float32) * (1, 0.7, 1) + (8, 0, 0)
    hsv[..., 0] %= 180
    shifted = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)
    brightened: np.ndarray = cv2.convertScaleAbs(shifted, alpha=1.15, beta=12)
    return brightened


def _put_logo(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    marked = cv2.rectangle(
        frame.copy(), (width * 3 // 4, height // 20), (width * 19 // 20, height // 6), (250, 200, 30), -1
    )
    return cv2.putText(marked, "and so it goes on", (width // 6, height * 9 // 10), 0, height / 350, (255, 255, 255), 2)


def _flip(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[:, ::-1])


KINDS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {  # what is done to a frame; and the speed
    "coded again": (np.asarray, 1.0),
    "coded badly": (_code_badly, 1.0),
    "half the size": (_halve, 1.0),
    "cropped by 10 %": (_crop, 1.0),
    "letterboxed": (_letterbox, 1.0),
    "colours shifted": (_recolour, 1.0),
    "logo, subtitles": (_put_logo, 1.0),
    "at 1.1 the speed": (np.asarray, 1.1),
    "mirrored": (_flip, 1.0),
}


@dataclass(frozen=True)
class CopyTrial:
    """How copies of videos of a gallery were found.

    num_videos: that were copied. num_unreadable: files that could not be. found: of each kind, the share that was found
    first, alone. sure: that was, with a score at which SURE of the hits are right. meaning: of scores.
    """

    num_videos: int
    num_unreadable: int
    found: dict[str, float]
    sure: dict[str, float]
    meaning: SameFilm


def try_copies(
    run: Run,
    gallery: Gallery,
    *,
    num_videos: int,
    seed: int = 0,
    mirror: bool = False,
    any_speed: bool = False,
    config: EncodeConfig | None = None,
    on_copy: Callable[[], object] = lambda: None,
) -> CopyTrial:
    """Copy videos of a gallery, and search for the copies. The gallery is read only.

    Videos that the unchanged stretch finds, as surely as `duplicates` tells, are copies that the gallery has already:
    they count neither as right nor as wrong.

    Args:
        num_videos: how many, chosen at random; fewer where the gallery has fewer.
        mirror, any_speed: as of `query.query_video`; mirrored copies are made only with `mirror`.
        on_copy: called when a file was encoded.
    Raises:
        GalleryError: fewer than two videos can be read.
        ModelMismatchError: the gallery holds codes of another model.
    """
    gallery.check_model(run.fingerprint, hash_length=run.hash_length)
    config = with_windows(config or EncodeConfig(), gallery)
    kinds = kinds_of(mirror=mirror)
    known = [video for video in gallery.videos() if video.num_clips]
    order = np.random.default_rng(seed).permutation(len(known)).tolist()
    scores: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)  # of the right video, of the best other
    num_read = num_unreadable = 0
    while order and num_read < num_videos:
        chosen = [known[order.pop()] for _ in range(min(VIDEOS_AT_A_TIME, num_videos - num_read, len(order)))]
        with ScratchFolder("copies") as folder:
            made = {video.video: _make_copies(video, folder, kinds, config=config) for video in chosen}
            made = {name: copies for name, copies in made.items() if copies}
            paths = [path for copies in made.values() for path in copies.values()]
            codes = _encode(run, paths, mirror=mirror, config=config, on_copy=on_copy)
        num_read, num_unreadable = num_read + len(made), num_unreadable + len(chosen) - len(made)
        for name, copies in made.items():
            found = {kind: _search(gallery, codes[path], any_speed=any_speed) for kind, path in copies.items()}
            same = {other for other, (_, is_told) in found["coded again"].items() if is_told} - {name}
            for kind, of_kind in found.items():
                others = [score for other, (score, _) in of_kind.items() if other != name and other not in same]
                scores[kind].append((of_kind.get(name, (0.0, False))[0], max(others, default=0.0)))
    if num_read < 2:
        raise GalleryError(f"gallery '{gallery.path}' has {num_read} videos that can be read: two are needed.")
    return _summary(scores, num_videos=num_read, num_unreadable=num_unreadable, num_known=len(known))


def kinds_of(*, mirror: bool) -> list[str]:
    """Return the kinds of copies that `try_copies` makes."""
    return [kind for kind in KINDS if mirror or kind != "mirrored"]


def _summary(
    scores: Mapping[str, Sequence[tuple[float, float]]], *, num_videos: int, num_unreadable: int, num_known: int
) -> CopyTrial:
    own_counts, other_counts = (
        np.bincount([bin_of(pair[place]) for pairs in scores.values() for pair in pairs], minlength=MAX_SCORE + 1)
        for place in (0, 1)
    )
    meaning = SameFilm(own_counts, other_counts, f"copies of {num_videos} of {num_known} videos")
    found = {kind: float(np.mean([own > other for own, other in pairs])) for kind, pairs in scores.items()}
    sure = {
        kind: float(np.mean([own > other and meaning.precision(own) >= SURE for own, other in pairs]))
        for kind, pairs in scores.items()
    }
    return CopyTrial(num_videos, num_unreadable, found, sure, meaning)


def _make_copies(video: GalleryVideo, folder: Path, kinds: Sequence[str], *, config: EncodeConfig) -> dict[str, Path]:
    """Write a copy of each kind; none of a file that cannot be read, or is too long to be taken whole.

    Where a gallery does not cut videos into windows, a part has another code than the whole, and the whole is copied.
    """
    try:
        info = probe(video.video)
        seconds = info.duration_seconds
        if not config.window_seconds and seconds > 2 * STRETCH_SECONDS:
            return {}
        stretch = Segment(0.0, seconds)
        if config.window_seconds:
            length = min(seconds, max(STRETCH_SECONDS, 2 * config.window_seconds))
            stretch = Segment((seconds - length) / 2, (seconds + length) / 2)
        fps = min(info.fps or MAX_FPS, MAX_FPS)
        num_frames = max(1, round(fps * (stretch.end_seconds - stretch.start_seconds)))
        clip = read_clip(
            video.video,
            num_frames=num_frames,
            short_side=min(SHORT_SIDE, info.width_px, info.height_px),
            segment=stretch,
        )
    except VideoError:
        return {}
    copies = {}
    for kind in kinds:
        change, speed = KINDS[kind]
        path = copies[kind] = folder / f"{video.content_hash} {kind}.mp4"
        _write(path, map(change, clip.frames), fps=fps * speed)
    return copies


def _write(path: Path, frames: Iterator[np.ndarray], *, fps: float) -> None:
    writer = None
    for number, frame in enumerate(frames):
        even = frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]
        writer = writer or OpenCVWriter(path, size_px=(even.shape[1], even.shape[0]), fps=fps)
        writer.write(even, number / fps, (number + 1) / fps)
    if writer is not None:
        writer.close()
        writer.check(path, name=path.name)


def _encode(
    run: Run, paths: Sequence[Path], *, mirror: bool, config: EncodeConfig, on_copy: Callable[[], object]
) -> dict[Path, list[CodeBatch]]:
    """Return the codes of each file, and of its mirror image where that is searched for, too; [] of what has none."""
    from c3dhash.models.encode import encode_videos

    codes: dict[Path, list[CodeBatch]] = {path: [] for path in paths}
    for result in encode_videos(run, paths, config=config, with_mirrored=mirror):
        for each in (result, result.mirrored):
            if each is not None and each.codes is not None and len(each.codes.codes):
                codes[Path(result.video)].append(each.codes)
        on_copy()
    return codes


def _search(gallery: Gallery, queries: Sequence[CodeBatch], *, any_speed: bool) -> dict[str, tuple[float, bool]]:
    """Return the score of each video that is found, and whether `duplicates` would tell it, by the best of queries."""
    needed = needed_bits(len(gallery) * (len(gallery) - 1) / 2)
    found: dict[str, tuple[float, bool]] = {}
    for query in queries:
        for evidence, clip in gallery.similar_videos(query, top=TOP, any_speed=any_speed):
            bits = evidence.score
            if evidence.segments:
                bits = evidence.segments[0].score + math.log2(len(query.codes) * clip.num_clips)
            found[clip.video] = max(found.get(clip.video, (0.0, False)), (evidence.score, bits >= needed))
    return found
