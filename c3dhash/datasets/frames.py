"""Turn a folder of videos into a folder of frame folders: a picture a frame, zero-padded, with their times.

    source/run/a.avi ──> target/run/a/img_00001.jpg, img_00002.jpg, ..., times.txt
    source/train.txt ──> target/train.txt

c3dhash needs no such copy: a clip from a folder costs 0.6 of one from the video, and one from the cache, in every epoch
but the first, a fortieth (benchmarks/decode.py). It is for tools that do. List files are copied along, so that the
target is the same data set: a list that names `run/a.avi` finds the folder `run/a`.

The target is a folder of our own (c3dhash.files), and what the user does in it stays: a frame folder is replaced only
as it was written, a list only as it was copied.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from c3dhash.datasets.copied_lists import copy_lists
from c3dhash.errors import UsageError, VideoError
from c3dhash.files import claim_folder, clear_leftovers, is_inside, is_replaceable, read_mark, replacing_folder
from c3dhash.video.clip_plan import EPSILON_SECONDS
from c3dhash.video.decoder import Decoder
from c3dhash.video.frame_folder import TIMES_FILE
from c3dhash.video.isolation import DecoderPool
from c3dhash.video.reader import find_videos

logger = logging.getLogger(__name__)

PICTURE_NAME = "img_{:05}.{}"  # counted from 1, as mmaction2 and TSN do
PICTURES = ("jpg", "png")
MADE_BY = "data frames"  # as our marker has it
MAX_FPS = 1000

Options = TypeVar("Options")


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
    """What was done, in videos; num_frames were written. failed: video -> reason. kept: lists of the target that were
    not replaced, since they are not as they were copied. unit: of what was written, for people."""

    target: Path
    written: int
    unchanged: int
    num_frames: int
    failed: dict[str, str]
    kept: tuple[str, ...] = ()
    unit: str = "frames"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "target": str(self.target),
            "written": self.written,
            "unchanged": self.unchanged,
            "num_frames": self.num_frames,
            "failed": [{"video": video, "reason": reason} for video, reason in self.failed.items()],
            "kept": list(self.kept),
        }

    def to_text(self) -> str:
        """Return the report for people."""
        written = f"{self.written} videos written ({self.num_frames} {self.unit})"
        summary = f"{self.target}: {written}, {self.unchanged} unchanged, {len(self.failed)} failed"
        kept = (f"kept: list '{name}' is not as it was copied; delete it to have the source's." for name in self.kept)
        return "\n".join([summary, *(f"failed: {reason}" for reason in self.failed.values()), *kept])


def extract_frames(
    source: Path | str, target: Path | str, *, options: FrameOptions | None = None, workers: int = 2
) -> FramesReport:
    """Write the frames of all videos in a folder and its subfolders.

    A video is done when its folder is there: it is written under another name and renamed. So the same call goes on
    where it was stopped, and writes anew only videos that changed.

    Args:
        source: of the videos.
        target: new, empty, or of an earlier call. It may lie in the source: it is no part of it.
        options: FrameOptions() by default; the same in every call for a target.
        workers: processes that decode.
    Returns:
        A report; a video that cannot be decoded has no folder and is in `failed`, as is one whose folder in the target
        is not as we wrote it.
    Raises:
        UsageError: no such folder, no videos, two that would share a folder, the target is not ours, has other options
            or holds the source.
    """
    return extract(
        source, target, options=options or FrameOptions(), made_by=MADE_BY, write=_write_pictures, unit="frames",
        workers=workers,
    )  # fmt: skip


def extract(
    source: Path | str,
    target: Path | str,
    *,
    options: Options,
    made_by: str,
    write: Callable[[Path, Path, Options, Callable[[], object]], list[float]],
    unit: str,
    workers: int,
) -> FramesReport:
    """Write a folder for each video in a folder and its subfolders, as `extract_frames` says.

    Args:
        made_by: as our marker has it.
        write: writes what is to be in the folder of a video; called in a process with the video, the folder, the
            options and `on_frame`, which it calls with each frame. Returns the times of the frames and the end.
        unit: of what it writes, for people.
    """
    source, target = Path(source), Path(target)
    if is_inside(source, target):
        raise UsageError(f"target '{target}' is the source '{source}' or holds it; name another folder.")
    videos = find_videos(source)
    own_places = {place for place in {video.parent for video in videos} if is_inside(place, target)}
    videos = [video for video in videos if video.parent not in own_places]
    if not videos:
        raise UsageError(f"no videos in '{source}'.")
    folders = _folders(videos, source, target)
    _claim(target, options, made_by=made_by, unit=unit)
    kept = copy_lists(source, target, made_by=made_by)
    for parent in {folder.parent for folder in folders.values()}:
        clear_leftovers(parent)

    with DecoderPool() as pool:

        def write_one(video: Path) -> int | VideoError:
            try:
                return pool.call(
                    _write_video, video, folder=folders[video], options=options, made_by=made_by, write=write
                )
            except VideoError as error:
                return error

        counted = pool.map(write_one, videos, workers=workers)
        results = dict(zip(videos, tqdm(counted, desc=f"Writing {unit}", total=len(videos), unit="video"), strict=True))
    failed = {str(video): str(result) for video, result in results.items() if isinstance(result, VideoError)}
    for reason in failed.values():
        logger.warning("%s", reason)
    counts = [result for result in results.values() if not isinstance(result, VideoError)]
    return FramesReport(target, sum(count > 0 for count in counts), counts.count(0), sum(counts), failed, kept, unit)


def _folders(videos: list[Path], source: Path, target: Path) -> dict[Path, Path]:
    """Return the folder of each video."""
    owners: dict[Path, Path] = {}
    for video in videos:
        folder = target / video.relative_to(source).with_suffix("")
        if folder in owners:
            raise UsageError(f"'{owners[folder]}' and '{video}' would both become '{folder}'; rename one.")
        owners[folder] = video
    for folder, video in owners.items():
        for parent in folder.parents:
            if parent in owners:
                raise UsageError(f"'{video}' would become a folder in that of '{owners[parent]}'; rename one.")
    return {video: folder for folder, video in owners.items()}


def _claim(target: Path, options: Any, *, made_by: str, unit: str) -> None:
    """Make the target ours, with the options, or raise where it is not or has others."""
    known = claim_folder(target, made_by=made_by, options=vars(options), lists={}).get("options")
    if known != vars(options):
        raise UsageError(f"'{target}' holds {unit} made with {known}, not {vars(options)}; name another target.")


def _write_video(
    video: Path,
    *,
    folder: Path,
    options: Options,
    made_by: str,
    write: Callable[[Path, Path, Options, Callable[[], object]], list[float]],
    on_frame: Callable[[], object],
) -> Iterator[int]:
    """Write the folder of a video; yield the number of its frames, 0 where it is there already.

    Runs in a process of c3dhash.video.isolation.
    Raises:
        UsageError: the folder cannot be written.
        VideoError: it cannot be decoded, or something else is in the place of its folder.
    """
    try:
        stat = video.stat()
        facts = {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        if _is_there(video, folder, facts, made_by=made_by):
            yield 0
        else:
            with replacing_folder(folder, made_by=made_by, video=facts) as partial:
                times = write(video, partial, options, on_frame)
                text = "".join(f"{time:.6f}\n" for time in times)
                (partial / TIMES_FILE).write_text(text, encoding="utf-8")
            yield len(times) - 1
    except OSError as error:
        raise UsageError(f"cannot write '{folder}' ({error.strerror}); make room and run again.") from error


def _is_there(video: Path, folder: Path, facts: dict[str, int], *, made_by: str) -> bool:
    """Tell whether the folder of a video was written when the video was what it is now.

    Raises:
        VideoError: something else is in its place.
    """
    known = read_mark(folder, made_by=made_by)
    if known is not None and known.get("video") == facts:
        return True
    if not is_replaceable(folder, made_by=made_by):
        raise VideoError(
            f"video '{video}': the place of its frames, '{folder}', holds what c3dhash did not write or what was "
            "changed since; that stays: move it away and run again."
        )
    return False


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
        while fps and picture is not None and num_shown / fps < time - EPSILON_SECONDS:
            write(num_shown / fps, picture)
            num_shown += 1
        times.append(time)
        picture = decoder.picture()
        if fps is None:
            write(time, picture)
    end_seconds = decoder.end_seconds(times)
    while fps and picture is not None and num_shown / fps < end_seconds - EPSILON_SECONDS:
        write(num_shown / fps, picture)
        num_shown += 1
    return end_seconds
