"""Clips and videos -> embeddings, class scores and codes. Decoding runs beside the network.

Note [Clips of a window]
    A window has one code, however many clips the network sees of it: the heads read the mean of their features. So
    whoever has the features of the windows has all that matters: fitting a hash, heads that are trained on features,
    comparisons. The heads are linear in front of tanh and softmax, so that the mean of the logits is the same thing.

Files are anybody's, and are decoded in processes of their own: see c3dhash.video.isolation. Samples of a data set
are mostly in the frame cache by then.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from enum import Enum, auto
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from c3dhash.bits import pack_codes
from c3dhash.config import EncodeConfig
from c3dhash.errors import VideoError
from c3dhash.models.engines import CPU, TorchBackbone, make_engine
from c3dhash.models.hashnet import HashNet, Run
from c3dhash.models.precision import pick_device, pick_precision
from c3dhash.records import CodeBatch, FeatureBatch, Sample
from c3dhash.video.clip_plan import Plan
from c3dhash.video.clips import ClipReader
from c3dhash.video.isolation import shared_pool
from c3dhash.video.loader import Stopped, prefetch, stop_when
from c3dhash.video.reader import read_clips
from c3dhash.video.transforms import center_clip, decoded_short_side

AHEAD = 128  # videos that may be begun before the first of them is through


class Encoded(NamedTuple):
    """What a network says about windows, float32 arrays; None where it lacks the head.

    embeddings: [N, hash_length]. scores: class logits [N, num_classes]. features: [N, feature_dim], what the heads
    read: the mean over the clips of a window.
    """

    embeddings: np.ndarray | None
    scores: np.ndarray | None
    features: np.ndarray


class VideoResult(NamedTuple):
    """One video after encoding: its codes and class scores [windows, num_classes], or why there are none.

    features: what the codes were made of, where it was asked for.
    """

    video: Path
    codes: CodeBatch | None
    scores: np.ndarray | None
    error: VideoError | None
    features: FeatureBatch | None = None


class Encoder:
    """A network on its device, ready for clips.

    Args:
        model: put on the device, in evaluation mode while encoding.
        device, precision: as in EncodeConfig.
        engine: torch, openvino or onnx, for a network that stays as it is; None computes with the network itself, as
            it is at each call, which may be in training.
    """

    def __init__(
        self,
        model: HashNet,
        *,
        device: str = "auto",
        precision: str = "auto",
        engine: str | None = None,
    ) -> None:
        self.device = CPU if engine in ("openvino", "onnx") and device == "auto" else pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.model = model.to(self.device)
        self._engine = (
            TorchBackbone(model.backbone, device=self.device, precision=self.precision)
            if engine is None
            else make_engine(engine, model.backbone, device=device, precision=precision)
        )

    @property
    def engine_name(self) -> str:
        """What computes the backbone, its version and its precision."""
        return self._engine.name

    @property
    def feature_dim(self) -> int:
        return self.model.backbone.feature_dim

    def __call__(self, clips: np.ndarray) -> Encoded:
        """Encode clips, uint8 [B, T, H, W, 3], each the one clip of its window."""
        return self.heads(self.features(clips))

    @torch.inference_mode()
    def features(self, clips: np.ndarray) -> np.ndarray:
        """Return what the backbone says about clips, uint8 [B, T, H, W, 3]: float32 [B, feature_dim]."""
        self.model.eval()
        features: np.ndarray = self._engine(clips).cpu().numpy()
        return features

    @torch.inference_mode()
    def heads(self, features: np.ndarray) -> Encoded:
        """Let the heads read features, float32 [N, feature_dim]."""
        self.model.eval()
        outputs = self.model.heads(torch.from_numpy(features).to(self.device))
        embeddings, scores = (
            None if part is None else part.cpu().numpy() for part in (outputs.embedding, outputs.logits)
        )
        return Encoded(embeddings, scores, features)


def encode_samples(
    encoder: Encoder, samples: list[Sample], *, reader: ClipReader, batch_size: int, workers: int
) -> Encoded:
    """Encode the samples of a data set, each as one window, in their order.

    Raises:
        VideoError: a sample does not decode.
    """
    num_clips: list[int] = []

    def clips() -> Iterator[np.ndarray]:
        for window in prefetch(reader.evaluation_clips, samples, workers=workers, ahead=batch_size):
            num_clips.append(len(window))
            yield from window

    features = clip_features(encoder, clips(), batch_size=batch_size)
    return encoder.heads(window_means(features, num_clips))


def clip_features(encoder: Encoder, clips: Iterable[np.ndarray], *, batch_size: int) -> np.ndarray:
    """Return the features of clips, each uint8 [T, H, W, C], in their order: float32 [N, feature_dim]."""
    none = np.empty((0, encoder.feature_dim), np.float32)
    return np.concatenate([none, *(encoder.features(batch) for batch in _batches(clips, batch_size))])


def window_means(features: np.ndarray, num_clips: Sequence[int]) -> np.ndarray:
    """Average the features of the clips of each window. Note [Clips of a window].

    Args:
        features: float32 [sum of num_clips, feature_dim], window after window.
        num_clips: of each window, at least 1.
    Returns:
        float32 [windows, feature_dim].
    """
    if not num_clips:
        return features
    starts = np.cumsum([0, *num_clips[:-1]])
    means: np.ndarray = np.add.reduceat(features, starts, axis=0) / np.array(num_clips, np.float32)[:, None]
    return means


def encode_videos(
    run: Run,
    videos: Iterable[Path],
    *,
    config: EncodeConfig | None = None,
    with_features: bool = False,
    prepare: Callable[[Path], object] | None = None,
    on_engine: Callable[[str], object] | None = None,
) -> Generator[VideoResult, None, None]:
    """Encode video files, each cut into windows, and yield them in the order they came in.

    Processes decode several videos at once and hand over clip by clip, so that memory holds a few batches
    of clips however long a video is, and a file that crashes or stops its decoder is one error. They are kept for the
    next call. What is through waits for the videos before it: at most AHEAD of them are begun.

    Args:
        run: with a hash head or a class head, or both; or with none, for features.
        videos: paths.
        config: windows, batch size, device, engine; EncodeConfig() by default. Its engine `auto` is torch here, where
            it is not known how much there is to do: see `engines.settle_engine`.
        with_features: give the backbone's features, too.
        prepare: called with each video in the thread that will decode it, before that; a VideoError that it raises
            is that video's. Where it takes long, it calls `loader.stop_point`.
        on_engine: called once, before the first video, with what computes the network, its version and precision.
    Yields:
        A VideoResult a video; one that cannot be decoded carries the error and no codes.
    Raises:
        UsageError: as of `window_options`.
    """
    config = config or EncodeConfig()
    options = window_options(run.model, config)
    engine = "torch" if config.engine == "auto" else config.engine
    encoder = Encoder(run.model, device=config.device, precision=config.precision, engine=engine)
    if on_engine is not None:
        on_engine(encoder.engine_name)
    stream = _ClipStream(run, videos, config, options, prepare)
    collected: dict[int, _Collected] = {}
    done: dict[int, VideoResult] = {}
    try:
        for chunk in stream.chunks():
            clips = [message for message in chunk if message.clip is not None]
            if clips:
                features = encoder.features(np.stack([message.clip for message in clips if message.clip is not None]))
                for message, feature in zip(clips, features, strict=True):
                    collected.setdefault(message.number, _Collected([], [])).append(message, feature)
            for message in chunk:
                if message.clip is None:
                    clips_of_it = collected.pop(message.number, _Collected([], []))
                    done[message.number] = _result(message, clips_of_it, encoder, with_features=with_features)
            while stream.num_taken in done:
                yield done.pop(stream.num_taken)
                stream.take()
    finally:
        stream.close()


def window_options(model: HashNet, config: EncodeConfig) -> dict[str, Any]:
    """Return the arguments of `read_clips` that decide what a network sees of a video.

    Raises:
        UsageError: several clips a window are asked of a network whose frames are spread over it.
    """
    num_frames, size = model.clip_size[:2]
    options: dict[str, Any] = {
        "num_frames": num_frames,
        "short_side": decoded_short_side(size),
        "window_seconds": config.window_seconds or None,
        "stride_seconds": config.stride_seconds if config.window_seconds else None,
        "interval_seconds": model.preprocessing.interval_seconds,
        "clips_per_window": config.clips_per_window,
    }
    Plan(**options)
    return options


class _Message(NamedTuple):
    """A clip of a video; or, with clip None, its end, with the error that ended it."""

    number: int
    video: Path
    clip: np.ndarray | None
    span: tuple[float, float] | None
    error: VideoError | None


class _Pause(Enum):
    """A thread gives no more messages: for now, or for good."""

    WAITING = auto()
    DONE = auto()


class _Collected(NamedTuple):
    """The clips of one video that are through the backbone: the window of each, and its feature."""

    spans: list[tuple[float, float]]
    features: list[np.ndarray]

    def append(self, message: _Message, feature: np.ndarray) -> None:
        assert message.span is not None  # a clip has one
        self.spans.append(message.span)
        self.features.append(feature)


def _result(end: _Message, collected: _Collected, encoder: Encoder, *, with_features: bool) -> VideoResult:
    """Put the windows of a video together. A video that failed half-way has no codes: half a video is none."""
    if end.error is not None or not collected.spans:
        error = end.error or VideoError(f"'{end.video}' gave no clip.")
        return VideoResult(end.video, None, None, error)
    windows = [(span, len(list(clips))) for span, clips in groupby(collected.spans)]
    starts, ends = np.array([span for span, _ in windows], np.float64).T
    encoded = encoder.heads(window_means(np.stack(collected.features), [num_clips for _, num_clips in windows]))
    embeddings, codes = encoded.embeddings, None
    if embeddings is not None:
        codes = CodeBatch(pack_codes(embeddings), embeddings.shape[1], starts, ends)
    kept = FeatureBatch(encoded.features, starts, ends) if with_features else None
    return VideoResult(end.video, codes, encoded.scores, None, kept)


class _ClipStream:
    """Threads that carry clips from processes, one each, into one bounded queue of messages."""

    def __init__(
        self,
        run: Run,
        videos: Iterable[Path],
        config: EncodeConfig,
        options: dict[str, Any],
        prepare: Callable[[Path], object] | None,
    ) -> None:
        self.num_taken = 0  # videos whose results were taken, which happens in their order
        self._batch_size, self._options, self._prepare = config.batch_size, options, prepare
        self._taken = threading.Condition()
        self._size = run.model.clip_size[1]
        self._videos = enumerate(videos)
        self._videos_lock = threading.Lock()
        self._queue: queue.Queue[_Message | _Pause] = queue.Queue(maxsize=2 * config.batch_size)
        self._closed = threading.Event()
        self._failure: BaseException | None = None
        self._pool = shared_pool().part()  # to start a process takes longer than to decode a short video
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(config.workers)]
        for thread in self._threads:
            thread.start()

    def chunks(self) -> Iterator[list[_Message]]:
        """Yield messages in lists with at most one batch of clips each, until all threads are done.

        Where a thread waits for results, or has nothing more to do, what there is makes a batch.
        """
        running = len(self._threads)
        chunk: list[_Message] = []
        num_clips = 0
        while running:
            message = self._queue.get()
            if isinstance(message, _Message):
                chunk.append(message)
                num_clips += message.clip is not None
            else:
                running -= message is _Pause.DONE
            if chunk and (num_clips in (0, self._batch_size) or isinstance(message, _Pause)):
                yield chunk
                chunk, num_clips = [], 0
        if self._failure is not None:
            raise self._failure

    def take(self) -> None:
        """Note that the next result was taken, so that one more video may be begun."""
        with self._taken:
            self.num_taken += 1
            self._taken.notify_all()

    def close(self) -> None:
        """End the threads, and with them the processes that are in the middle of a video."""
        self._closed.set()
        with self._taken:
            self._taken.notify_all()
        self._pool.close()
        for thread in self._threads:
            while thread.is_alive():
                with contextlib.suppress(queue.Empty):  # it may wait for a place
                    while True:
                        self._queue.get_nowait()
                thread.join(timeout=0.05)

    def _work(self) -> None:
        stop_when(self._closed)
        try:
            while not self._closed.is_set():
                with self._videos_lock:
                    numbered = next(self._videos, None)
                if numbered is None:
                    break
                self._wait_for_turn(numbered[0])
                self._read(numbered[0], Path(numbered[1]))
        except BaseException as error:  # of the caller's iterator; raised again where its results are taken
            self._failure = error
        finally:
            self._queue.put(_Pause.DONE)

    def _wait_for_turn(self, number: int) -> None:
        """Wait until a video may be begun; the one that all others wait for is always begun already."""
        with self._taken:
            if number < self.num_taken + AHEAD:
                return
        self._queue.put(_Pause.WAITING)
        with self._taken:
            self._taken.wait_for(lambda: number < self.num_taken + AHEAD or self._closed.is_set())

    def _read(self, number: int, video: Path) -> None:
        error = None
        try:
            if self._prepare is not None:
                self._prepare(video)
            for clip in self._pool.stream(read_clips, video, **self._options):
                if self._closed.is_set():
                    return
                span = (clip.segment.start_seconds, clip.segment.end_seconds)
                self._queue.put(_Message(number, video, center_clip(clip.frames, size=self._size), span, None))
        except Stopped:
            return
        except VideoError as caught:
            error = caught
        except Exception as caught:  # a bug in a thread must not leave the consumer waiting for ever
            error = VideoError(f"'{video}' failed in the decoder: {caught!r}.")
        self._queue.put(_Message(number, video, None, None, error))


def _batches(clips: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    batch = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == batch_size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
