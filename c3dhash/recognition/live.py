"""A camera -> what it sees now. What the network has no time for is dropped, so that it never falls behind.

camera ──> thread: the last frames, a window of them ──> clip ──> network ──> mean of the last windows ──> label
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from c3dhash.config import EncodeConfig
from c3dhash.errors import UsageError, VideoError
from c3dhash.models.encode import Encoder, make_encoder, window_means
from c3dhash.models.runs import Run
from c3dhash.models.scores import class_probabilities
from c3dhash.recognition.over_time import window_length
from c3dhash.video.pictures import resize_picture
from c3dhash.video.transforms import clip_views, decoded_short_side

CLIPS_OF_A_CAMERA = 1000  # a guess, by which an engine is chosen
PATIENCE_SECONDS = 2.0  # with a camera that is to end
WAIT_SECONDS = 0.005  # between looks for a new frame

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LiveAnswer:
    """What a camera sees: the first class and its probability, smoothed, and the newest picture, uint8 [H, W, 3] RGB.

    seconds: since the first frame. num_frames: that the camera has given until then.
    """

    seconds: float
    label: str
    probability: float
    picture: np.ndarray
    num_frames: int


class LiveClip(NamedTuple):
    """A clip of the last window, uint8 [T, H, W, 3] RGB; the newest picture, when it came, and how many had come."""

    frames: np.ndarray
    newest: np.ndarray
    seconds: float
    num_frames: int


class LastFrames:
    """The frames of the last seconds, with their times; filled by one thread and read by another.

    Args:
        num_frames: T of a clip.
        window_seconds: what a clip is to show.
        interval_seconds: from frame to frame of a clip; None spreads them over the window.
        short_side: px, at which frames are kept.
    """

    def __init__(
        self, *, num_frames: int, window_seconds: float, interval_seconds: float | None, short_side: int
    ) -> None:
        self._window_seconds, self._short_side = window_seconds, short_side
        places = np.arange(num_frames)
        self._ages = (
            (num_frames - 0.5 - places) * window_seconds / num_frames
            if interval_seconds is None
            else (num_frames - 1 - places) * interval_seconds
        )
        self._frames: deque[tuple[float, np.ndarray]] = deque()
        self._lock = threading.Lock()
        self._newest: np.ndarray | None = None
        self._first_seconds = 0.0
        self.num_frames = 0

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Take a frame, uint8 [H, W, 3] RGB, and let go of those that no clip needs any more."""
        small = resize_picture(picture, short_side=self._short_side)
        with self._lock:
            self._first_seconds = seconds if self._newest is None else self._first_seconds
            self._frames.append((seconds, small))
            self._newest, self.num_frames = picture, self.num_frames + 1
            while len(self._frames) > 1 and self._frames[1][0] <= seconds - self._window_seconds:
                self._frames.popleft()

    def clip(self) -> LiveClip | None:
        """Return a clip of the last window; None before there is a whole one."""
        with self._lock:
            if self._newest is None or self._frames[-1][0] - self._first_seconds < self._window_seconds:
                return None
            times = [seconds for seconds, _ in self._frames]
            targets = times[-1] - self._ages
            chosen = np.maximum(np.searchsorted(times, targets + 1e-6) - 1, 0)
            clip = np.stack([self._frames[place][1] for place in chosen])
            return LiveClip(clip, self._newest, times[-1] - self._first_seconds, self.num_frames)


def recognize_live(
    run: Run,
    camera: str,
    *,
    smooth: int = 1,
    window_seconds: float | None = None,
    config: EncodeConfig | None = None,
) -> Generator[LiveAnswer, None, None]:
    """Recognise what a camera sees, as often as the network can.

    Args:
        run: with a class head, on RGB.
        camera: the number of a camera, or an address that OpenCV opens.
        smooth: over how many clips probabilities are averaged.
        window_seconds: what a clip shows; by default as for `recognize_over_time`.
        config: views, device, precision, engine.
    Returns:
        Answers, until the camera ends.
    Raises:
        CheckpointError: the run has no class head.
        UsageError: it reads optical flow, or a number is out of range.
        VideoError: the camera cannot be opened; raised at once. Or it ended, or failed, before there was an answer.
    """
    if smooth < 1:
        raise UsageError(f"smooth ({smooth}) must be 1 or more clips; 1 is off.")
    if window_seconds is not None and not window_seconds > 0:
        raise UsageError(f"window_seconds ({window_seconds}) must be above 0.")
    labels, model, config = run.class_labels, run.model, config or EncodeConfig()
    if model.preprocessing.channels == "flow":
        raise UsageError(f"camera ({camera}): {model.backbone.name} reads optical flow; take a run on RGB.")
    interval_seconds = model.preprocessing.interval_seconds
    num_frames, size = model.clip_size[:2]
    if window_seconds is None:
        window_seconds = window_length(num_frames=num_frames, interval_seconds=interval_seconds)
    frames = LastFrames(
        num_frames=num_frames, window_seconds=window_seconds, interval_seconds=interval_seconds,
        short_side=decoded_short_side(size),
    )  # fmt: skip
    encoder = make_encoder(model, config, num_clips=CLIPS_OF_A_CAMERA)
    early = VideoError(f"camera ({camera}) ended before it had given {window_seconds:.1f} s of frames.")
    clips = _newest_clips(_open(camera), frames, early=early)
    return _follow(run, clips, encoder, labels=labels, smooth=smooth, num_views=config.views)


def _follow(
    run: Run,
    clips: Generator[LiveClip, None, None],
    encoder: Encoder,
    *,
    labels: Sequence[str],
    smooth: int,
    num_views: int,
) -> Generator[LiveAnswer, None, None]:
    last: deque[np.ndarray] = deque(maxlen=smooth)
    with closing(clips):
        for clip in clips:
            views = np.stack(clip_views(clip.frames, size=run.model.clip_size[1], num_views=num_views))
            scores = encoder.heads(window_means(encoder.features(views), [len(views)])).scores
            assert scores is not None  # the run has a class head
            last.append(class_probabilities(scores, is_multi_label=run.is_multi_label)[0])
            mean = np.mean(np.stack(last), axis=0)
            best = int(mean.argmax())
            yield LiveAnswer(clip.seconds, labels[best], float(mean[best]), clip.newest, clip.num_frames)


def _newest_clips(
    capture: cv2.VideoCapture, frames: LastFrames, *, early: VideoError
) -> Generator[LiveClip, None, None]:
    """Yield the clip of the last window whenever there is a new frame, until the camera ends.

    Args:
        early: raised where it ends before there is a clip.
    """
    with _reading(capture, frames) as over:
        num_seen = 0
        while True:
            was_over = over.is_set()
            clip = frames.clip()
            if clip is not None and clip.num_frames > num_seen:
                num_seen = clip.num_frames
                yield clip
            elif not was_over:
                time.sleep(WAIT_SECONDS)
            elif num_seen:
                return
            else:
                raise early


def _open(camera: str) -> cv2.VideoCapture:
    try:
        capture = cv2.VideoCapture(int(camera) if camera.isdecimal() else camera)
    except cv2.error:  # a number that no camera can have
        capture = None
    if capture is None or not capture.isOpened():
        raise VideoError(f"camera ({camera}) cannot be opened: is it there, and free? Try another number or address.")
    return capture


@contextmanager
def _reading(capture: cv2.VideoCapture, frames: LastFrames) -> Iterator[threading.Event]:
    """Let a thread read frames as they come, until the end."""
    stop, over = threading.Event(), threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                is_good, picture = capture.read()
                if not is_good:
                    return
                frames.add(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), time.monotonic())
        except Exception as error:
            logger.error("the camera cannot be read any further: %s", error)
        finally:
            over.set()
            capture.release()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield over
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)  # a stream that gives nothing is left to its thread
