"""Turn a folder of videos into a folder of frame folders: a picture a frame, zero-padded, with their times.

    source/run/a.avi ──> target/run/a/img_00001.jpg, img_00002.jpg, ..., times.txt
    source/train.txt ──> target/train.txt

c3dhash needs no such copy: a clip from a folder costs 0.6 of one from the video, and one from the cache, in every epoch
but the first, a fortieth (benchmarks/decode.py). It is for tools that do. List files are copied along, so that the
target is the same data set: a list that names `run/a.avi` finds the folder `run/a`.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from c3dhash.errors import UsageError, VideoError
from c3dhash.files import write_text
from c3dhash.video.clip_plan import EPSILON_SECONDS
from c3dhash.video.decoder import Decoder
from c3dhash.video.frame_folder import TIMES_FILE
from c3dhash.video.isolation import DecoderPool
from c3dhash.video.reader import find_videos

logger = logging.getLogger(__name__)

PICTURE_NAME = "img_{:05}.{}"  # counted from 1, as mmaction2 and TSN do
PICTURES = ("jpg", "png")
SETTINGS_FILE = "frames.json"
LIST_SUFFIXES = frozenset((".txt", ".csv", ".json", ".lst"))
MAX_FPS = 1000


@dataclass(frozen=True)
class FrameOptions:
    """How frames are written.

    fps: the frame on display every 1 / fps seconds; None for every frame at its time. size: px of the short side; None
    as it is. picture: "jpg" or "png". quality: of JPEG.
    """

    fps: float | None = None
    size: int | None = None
    picture: str = "jpg"
    quality: int = 95

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= MAX_FPS:
            raise UsageError(f"fps ({self.fps}) must be above 0 and at most {MAX_FPS}; None keeps every frame.")
        if self.size is not None and self.size < 1:
            raise UsageError(f"size ({self.size}) must be at least 1 px; None keeps the size.")
        if self.picture not in PICTURES:
            raise UsageError(f"picture ({self.picture!r}) must be one of {', '.join(PICTURES)}.")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality ({self.quality}) must be between 1 and 100; 95 is a good start.")


@dataclass(frozen=True)
class FramesReport:
    """What was done, in videos; num_frames were written. failed: video -> reason."""

    target: Path
    written: int
    unchanged: int
    num_frames: int
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "target": str(self.target),
            "written": self.written,
            "unchanged": self.unchanged,
            "num_frames": self.num_frames,
            "failed": [{"video": video, "reason": reason} for video, reason in self.failed.items()],
        }

    def to_text(self) -> str:
        """Return the report for people."""
        written = f"{self.written} videos written ({self.num_frames} frames)"
        summary = f"{self.target}: {written}, {self.unchanged} unchanged, {len(self.failed)} failed"
        return "\n".join([summary, *(f"failed: {reason}" for reason in self.failed.values())])


def extract_frames(
    source: Path | str, target: Path | str, *, options: FrameOptions | None = None, workers: int = 2
) -> FramesReport:
    """Write the frames of all videos in a folder and its subfolders.

    A video is done when its folder is there: it is written under another name and renamed. So the same call goes on
    where it was stopped, and writes anew only videos that are newer than their frames.

    Args:
        source: of the videos.
        target: made where needed.
        options: FrameOptions() by default; the same in every call for a target.
        workers: processes that decode.
    Returns:
        A report; a video that cannot be decoded has no folder and is in `failed`.
    Raises:
        UsageError: no such folder, no videos, two that would share a folder, or the target has other options.
    """
    source, target, options = Path(source), Path(target), options or FrameOptions()
    videos = find_videos(source)
    if not videos:
        raise UsageError(f"no videos in '{source}'.")
    folders = _folders(videos, source, target)
    _keep_options(target, options)
    _copy_lists(source, target)

    with DecoderPool() as pool:

        def write(video: Path) -> int | VideoError:
            try:
                return pool.call(_write_video, video, folder=folders[video], options=options)
            except VideoError as error:
                return error

        results = pool.map(write, videos, workers=workers)
        results = dict(zip(videos, tqdm(results, desc="Writing frames", total=len(videos), unit="video"), strict=True))
    failed = {str(video): str(result) for video, result in results.items() if isinstance(result, VideoError)}
    for reason in failed.values():
        logger.warning("%s", reason)
    counts = [result for result in results.values() if not isinstance(result, VideoError)]
    return FramesReport(target, sum(count > 0 for count in counts), counts.count(0), sum(counts), failed)


def _folders(videos: list[Path], source: Path, target: Path) -> dict[Path, Path]:
    """Return the folder of each video."""
    owners: dict[Path, Path] = {}
    for video in videos:
        folder = target / video.relative_to(source).with_suffix("")
        if folder in owners:
            raise UsageError(f"'{owners[folder]}' and '{video}' would both become '{folder}'; rename one.")
        owners[folder] = video
    return {video: folder for folder, video in owners.items()}


def _keep_options(target: Path, options: FrameOptions) -> None:
    """Write the options into the target, or raise where it has others."""
    path = target / SETTINGS_FILE
    if path.is_file():
        try:
            known = FrameOptions(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UsageError(f"'{path}' was not written by c3dhash ({error}); name another target.") from error
        if known != options:
            raise UsageError(f"'{target}' holds frames made with {known}, not {options}; name another target.")
        return
    target.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(vars(options)) + "\n")


def _copy_lists(source: Path, target: Path) -> None:
    """Copy the list files in a folder and its subfolders."""
    for folder, subfolders, names in os.walk(source):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and Path(folder, name) != target]
        for name in names:
            path = Path(folder, name)
            if path.suffix.lower() in LIST_SUFFIXES and not name.startswith(".") and name != SETTINGS_FILE:
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


def _write_video(video: Path, *, folder: Path, options: FrameOptions, on_frame: Callable[[], object]) -> Iterator[int]:
    """Write the frames of a video; yield their number, 0 where they are there already.

    Runs in a process of c3dhash.video.isolation.
    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        yield _write_folder(video, folder, options, on_frame)
    except OSError as error:
        raise UsageError(f"cannot write '{folder}' ({error.strerror}); make room and run again.") from error


def _write_folder(video: Path, folder: Path, options: FrameOptions, on_frame: Callable[[], object]) -> int:
    times_path = folder / TIMES_FILE
    if times_path.is_file() and times_path.stat().st_mtime >= video.stat().st_mtime:
        return 0
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        times = _write_pictures(video, partial, options, on_frame)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    write_text(partial / TIMES_FILE, "".join(f"{time:.6f}\n" for time in times))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return len(times) - 1


def _write_pictures(video: Path, folder: Path, options: FrameOptions, on_frame: Callable[[], object]) -> list[float]:
    """Write the pictures of a video; return their times and the end of the last."""
    coding = [cv2.IMWRITE_JPEG_QUALITY, options.quality] if options.picture == "jpg" else []
    times: list[float] = []

    def write(time: float, picture: np.ndarray) -> None:
        times.append(time)
        encoded = cv2.imencode(f".{options.picture}", picture[..., ::-1], coding)[1]
        (folder / PICTURE_NAME.format(len(times), options.picture)).write_bytes(encoded.tobytes())

    with Decoder(video, short_side=options.size, on_frame=on_frame) as decoder:
        end_seconds = _show(decoder, options.fps, write)
    return [*times, end_seconds]


def _show(decoder: Decoder, fps: float | None, write: Callable[[float, np.ndarray], None]) -> float:
    """Write every frame at its time; or, at a frame rate, the one on display at each multiple of 1 / fps.

        frames   0    1    2    3    | end
        targets  x       x       x   |         1 / fps = 1.6 frames: 0, 1, 3

    Returns:
        The end of the video, seconds.
    Raises:
        VideoError: the video cannot be decoded to its end.
    """
    times: list[float] = []
    picture: np.ndarray | None = None
    num_shown = 0
    for time in decoder.times():
        while fps and times and num_shown / fps < time - EPSILON_SECONDS:
            write(num_shown / fps, picture)
            num_shown += 1
        times.append(time)
        picture = decoder.picture()
        if fps is None:
            write(time, picture)
    end_seconds = decoder.end_seconds(times)
    while fps and num_shown / fps < end_seconds - EPSILON_SECONDS:
        write(num_shown / fps, picture)
        num_shown += 1
    return end_seconds
