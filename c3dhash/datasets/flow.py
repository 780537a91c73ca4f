"""Turn a folder of videos into a folder of optical flow, two grey pictures for each frame but the last.

    source/run/a.avi ──> target/run/a/flow_x_00001.jpg, flow_y_00001.jpg, ..., times.txt

What is in the target, and what becomes of it when the command is typed again, is as in `frames`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from c3dhash.datasets.frames import FramesReport, extract
from c3dhash.errors import UsageError, VideoError
from c3dhash.video.decoder import Decoder
from c3dhash.video.optical_flow import METHODS, flow_picture, grey, make_flow, stored_flow
from c3dhash.video.playback import playback
from c3dhash.video.writer import writing_video

NAME = "flow_{}_{:05}.jpg"  # counted from 1, as TSN does


@dataclass(frozen=True)
class FlowOptions:
    """How flow is computed.

    method: as of `make_flow`. size: px of the short side at which it is computed and stored; None as it is. quality: of
    JPEG.
    """

    method: str = "dis"
    size: int | None = 256
    quality: int = 95

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"method ({self.method!r}) must be one of {', '.join(METHODS)}.")
        if self.size is not None and self.size < 16:
            raise UsageError(f"size ({self.size}) must be at least 16 px; None keeps the size.")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality ({self.quality}) must be between 1 and 100; 95 is a good start.")


def extract_flow(
    source: Path | str, target: Path | str, *, options: FlowOptions | None = None, workers: int = 2
) -> FramesReport:
    """Write the optical flow of all videos in a folder and its subfolders.

    Args:
        source, target, workers: as for `extract_frames`; a folder for frames cannot be one for flow.
        options: FlowOptions() by default; the same in every call for a target.
    Returns:
        A report, which counts pairs of pictures.
    Raises:
        UsageError: as of `extract_frames`.
        MissingExtraError: tvl1, where OpenCV lacks it.
    """
    options = options or FlowOptions()
    make_flow(options.method)
    return extract(
        source, target, options=options, made_by="data flow", write=write_flow, unit="flow fields", workers=workers
    )


def write_flow(video: Path, folder: Path, options: FlowOptions, on_frame: Callable[[], object]) -> list[float]:
    """Write the flow of a video; return the times of its frames, and the end of the last.

    Runs in a process of c3dhash.video.isolation.
    """
    compute, coding = make_flow(options.method), [cv2.IMWRITE_JPEG_QUALITY, options.quality]

    def write(path: Path, picture: np.ndarray) -> None:
        path.write_bytes(cv2.imencode(".jpg", picture, coding)[1].tobytes())

    times: list[float] = []
    before: np.ndarray | None = None
    with Decoder(video, short_side=options.size, on_frame=on_frame) as decoder:
        for time in decoder.times():
            after = grey(decoder.picture())
            if before is not None:
                number = len(times)
                flow = stored_flow(compute(before, after))
                for axis, plane in zip("xy", np.moveaxis(flow, -1, 0), strict=True):
                    write(folder / NAME.format(axis, number), plane)
            times.append(time)
            before = after
        end_seconds = decoder.end_seconds(times)
    if len(times) < 2:
        raise VideoError(f"video '{video}' has one frame, and flow is from frame to frame; leave it out.")
    return [*times, end_seconds]


def draw_flow(video: Path, path: Path, *, method: str = "dis") -> None:
    """Write a video of the flow of a video, as `flow_picture` draws it, at its size and in its time.

    Args:
        path: the new file; its suffix says what kind.
        method: as of `make_flow`.
    Raises:
        UsageError: no codec for its suffix, or something is there.
        VideoError: the video does not decode, has one frame, or the new one cannot be written.
    """
    compute = make_flow(method)
    with closing(playback(video, description=f"Writing {path.name}")) as frames:
        info, before = next(frames)
        size_px = before.picture.shape[1], before.picture.shape[0]
        with writing_video(path, size_px=size_px, fps=info.fps, sound_of=video) as writer:
            shown: np.ndarray | None = None
            grey_before = grey(before.picture)
            for _, after in frames:
                grey_after = grey(after.picture)
                shown = flow_picture(stored_flow(compute(grey_before, grey_after)))
                writer.write(shown, before.start_seconds, before.end_seconds)
                before, grey_before = after, grey_after
            if shown is None:
                raise VideoError(f"video '{video}' has one frame, and flow is from frame to frame.")
            writer.write(shown, before.start_seconds, before.end_seconds)  # the last frame has none of its own
