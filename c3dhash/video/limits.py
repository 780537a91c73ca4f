"""What is read of a stranger's video: so large, so long, and not for longer than so much work.

Headers are asked before anything is decoded, and believed where they say too much; where they say too little, the
frames tell while they come. All of it happens in the process that decodes: see c3dhash.video.isolation.

Pictures that grow behind the first are noticed with PyAV. OpenCV hands them out at the size of the first, and says
nothing: what is read with it has the process's limit of memory in their place.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from c3dhash.errors import VideoError
from c3dhash.records import VideoInfo

MAX_SIDES = 20  # one side of a picture by the other: what is thinner grows without end when its short side does


@dataclass(frozen=True)
class Limits:
    """The most that is read of a video.

    max_pixels: of a picture. max_seconds: of the video. max_work_seconds: that its process computes.
    """

    max_pixels: int
    max_seconds: float
    max_work_seconds: float

    def check_header(self, info: VideoInfo) -> None:
        """Refuse a video by what its header says.

        Raises:
            VideoError: too large, or too long.
        """
        self.check_picture(info.path, info.width_px, info.height_px)
        self.check_time(info.path, info.duration_seconds)

    def check_picture(self, path: Path, width_px: int, height_px: int) -> None:
        """Refuse a picture of a size.

        Raises:
            VideoError: it is too large, or much longer than wide.
        """
        if max(width_px, height_px) > MAX_SIDES * min(width_px, height_px):
            raise VideoError(
                f"video '{path}' has pictures of {width_px} x {height_px} px, and no side may be more than {MAX_SIDES} "
                "times the other here: cut them."
            )
        if width_px * height_px > self.max_pixels:
            raise VideoError(
                f"video '{path}' has pictures of {width_px} x {height_px} px, at most {self.max_pixels:,} pixels are "
                "taken here: make them smaller."
            )

    def check_time(self, path: Path, seconds: float) -> None:
        """Refuse a video that has a frame at a time, or lasts so long.

        Raises:
            VideoError: it is too long.
        """
        if seconds > self.max_seconds:
            raise VideoError(
                f"video '{path}' lasts {seconds:.0f} s or more, at most {self.max_seconds:g} s are taken here: cut it."
            )

    def check_still(self, path: Path) -> None:
        """Refuse a picture file by what its header says; what has no header that can be read is not looked at.

        Raises:
            VideoError: it is too large.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked
            try:
                with Image.open(path) as picture:
                    size_px = picture.size
            except Image.DecompressionBombError as error:
                raise VideoError(
                    f"picture '{path}' is far too large, at most {self.max_pixels:,} pixels are taken here."
                ) from error
            except OSError:
                return
        self.check_picture(path, *size_px)

    def working(self, path: Path, on_frame: Callable[[], object]) -> Callable[[], object]:
        """Return what calls `on_frame`, and ends the work of this process on a video that takes too much of it.

        Raises:
            VideoError: of the function that is returned.
        """
        until = time.process_time() + self.max_work_seconds

        def step() -> None:
            if time.process_time() > until:
                raise VideoError(
                    f"video '{path}' takes more than {self.max_work_seconds:g} s to decode, which is the most that is "
                    "done here: cut it, or make its pictures smaller."
                )
            on_frame()

        return step


@dataclass(frozen=True)
class HeaderFacts:
    """What the header of a video or of a still picture says; duration_seconds is 0 where it does not."""

    width_px: int
    height_px: int
    duration_seconds: float
    is_still: bool


def header_facts(path: Path, *, limits: Limits, on_frame: Callable[[], object]) -> Iterator[HeaderFacts]:
    """Yield what the header of a video or of a still picture says: the task of a decoder process.

    Raises:
        VideoError: it is neither, cut short, too large or too long.
    """
    from c3dhash.video.containers import is_still_picture
    from c3dhash.video.decoder import Decoder

    on_frame()
    if is_still_picture(path):
        limits.check_still(path)
        with suppress(OSError), Image.open(path) as picture:
            yield HeaderFacts(*picture.size, 0.0, True)
            return
        raise VideoError(f"picture '{path}' is damaged or no picture; make it again, or copy it.")
    with Decoder(path, limits=limits) as decoder:
        info = decoder.info
        yield HeaderFacts(info.width_px, info.height_px, info.duration_seconds, False)
