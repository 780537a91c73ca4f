"""Clips and videos -> embeddings, class scores and codes. Decoding runs beside the network.

Note [Clips of a window]
    A window has one code, however many clips the network sees of it: the heads read the mean of their features. So
    whoever has the features of the windows has all that matters: fitting a hash, heads that are trained on features,
    comparisons. The heads are linear in front of tanh and softmax, so that the mean of the logits is the same thing.

Files are anybody's, and are decoded in processes of their own: see c3dhash.video.isolation. Samples of a data set
are mostly in the frame cache by then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from c3dhash.bits import pack_codes
from c3dhash.config import EncodeConfig
from c3dhash.errors import VideoError
from c3dhash.models.clip_stream import ClipStream, Message
from c3dhash.models.engines import CPU, TorchBackbone, make_engine, settle_engine
from c3dhash.models.hashnet import HashNet
from c3dhash.models.precision import pick_device, pick_precision
from c3dhash.models.runs import Run
from c3dhash.records import CodeBatch, FeatureBatch, Sample
from c3dhash.video.clip_plan import Plan
from c3dhash.video.clips import ClipReader
from c3dhash.video.limits import Limits
from c3dhash.video.loader import prefetch
from c3dhash.video.transforms import decoded_short_side


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

    features: what the codes were made of, where it was asked for. mirrored: the same of the video in a mirror, where
    it was asked for.
    """

    video: Path
    codes: CodeBatch | None
    scores: np.ndarray | None
    error: VideoError | None
    features: FeatureBatch | None = None
    mirrored: VideoResult | None = None


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
        self.precision = pick_precision(precision, self.device, encoder=model.backbone if engine else None)
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


def make_encoder(model: HashNet, config: EncodeConfig, *, num_clips: int) -> Encoder:
    """Make an encoder for a network that stays as it is.

    Args:
        config: device, precision and engine; its `auto` is settled.
        num_clips: about how many are to be encoded.
    """
    engine = settle_engine(config, backbone=model.backbone.name, num_clips=num_clips)
    return Encoder(model, device=config.device, precision=config.precision, engine=engine)


def encode_samples(
    encoder: Encoder,
    samples: list[Sample],
    *,
    reader: ClipReader,
    batch_size: int,
    workers: int,
    description: str | None = None,
) -> Encoded:
    """Encode the samples of a data set, each as one window, in their order.

    Args:
        description: of a progress bar; None shows none.
    Raises:
        VideoError: a sample does not decode.
    """
    features, num_clips = sample_features(
        encoder, samples, reader=reader, batch_size=batch_size, workers=workers, description=description
    )
    return encoder.heads(window_means(features, num_clips))


def sample_features(
    encoder: Encoder,
    samples: list[Sample],
    *,
    reader: ClipReader,
    batch_size: int,
    workers: int,
    description: str | None = None,
) -> tuple[np.ndarray, list[int]]:
    """Return the features of the clips of samples, float32 [clips, feature_dim], and how many clips each sample has.

    Args:
        description: of a progress bar; None shows none.
    Raises:
        VideoError: a sample does not decode.
    """
    num_clips: list[int] = []

    def clips() -> Iterator[np.ndarray]:
        windows = prefetch(reader.evaluation_clips, samples, workers=workers, ahead=batch_size)
        for window in tqdm(windows, desc=description, total=len(samples), unit="video", disable=description is None):
            num_clips.append(len(window))
            yield from window

    return clip_features(encoder, clips(), batch_size=batch_size), num_clips


def clip_features(encoder: Encoder, clips: Iterable[np.ndarray], *, batch_size: int) -> np.ndarray:
    """Return the features of clips, each uint8 [T, H, W, C], in their order: float32 [N, feature_dim]."""
    none = np.empty((0, encoder.feature_dim), np.float32)
    return np.concatenate([none, *(encoder.features(batch) for batch in batches(clips, batch_size))])


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
    videos: Iterable[Path | None],
    *,
    config: EncodeConfig | None = None,
    encoder: Encoder | None = None,
    limits: Limits | None = None,
    in_order: bool = True,
    with_features: bool = False,
    with_flat: bool = False,
    take_stills: bool = False,
    with_mirrored: bool = False,
    prepare: Callable[[Path], AbstractContextManager[Path]] | None = None,
    on_engine: Callable[[str], object] | None = None,
    on_windows: Callable[[list[Path]], object] | None = None,
) -> Generator[VideoResult, None, None]:
    """Encode video files, each cut into windows, and yield them in the order they came in.

    Processes decode several videos at once and hand over clip by clip, so that memory holds a few batches
    of clips however long a video is, and a file that crashes or stops its decoder is one error. They are kept for the
    next call. What is through waits for the videos before it: at most `clip_stream.AHEAD` of them are begun.

    Args:
        run: with a hash head or a class head, or both; or with none, for features.
        videos: paths; None among them says that there is none at the moment, and that more may come: again and again,
            as long as that is so.
        config: windows, batch size, device, engine; EncodeConfig() by default. Its engine `auto` is torch here, where
            it is not known how much there is to do: see `engines.settle_engine`.
        encoder: of the run, where one was made before; its device, precision and engine count.
        limits: of what is read of a video; None for none.
        in_order: yield videos in the order they came in; else each as it is through.
        with_features: give the backbone's features, too.
        with_flat: also encode clips whose frames are all flat. Without it the network does not see them, and a window
            of no other clip is left out: a code of black frames is that of every other film with some.
        take_stills: take a still picture, too, as a video of one frame.
        with_mirrored: encode also what the videos are in a mirror, of one decoding; flow in it moves to the other side.
        prepare: makes of each video a context, for as long as the thread that enters it decodes it, that gives the file
            to read; a VideoError that it raises is that video's, a StorageError ends all of this. Where it takes long,
            it calls `loader.stop_point`.
        on_engine: called once, before the first video, with what computes the network, its version and precision.
        on_windows: called now and then with the videos of the windows that are through since, one for each of these.
            What it raises ends all of this.
    Yields:
        A VideoResult a video; one that cannot be decoded carries the error and no codes, and one of flat windows alone
        has codes and scores of no window.
    Raises:
        UsageError: as of `window_options`.
    """
    config = config or EncodeConfig()
    options = window_options(run.model, config)
    engine = "torch" if config.engine == "auto" else config.engine
    if encoder is None:
        encoder = Encoder(run.model, device=config.device, precision=config.precision, engine=engine)
    if on_engine is not None:
        on_engine(encoder.engine_name)
    options |= {"crop_bars": config.crops_bars, "skip_flat": not with_flat}
    options |= {"take_stills": take_stills, "with_mirrored": with_mirrored, "limits": limits}
    stream = ClipStream(videos, size=run.model.clip_size[1], config=config, options=options, prepare=prepare)
    collected: defaultdict[int, tuple[Collected, Collected]] = defaultdict(_as_it_is_and_mirrored)
    done: dict[int, VideoResult] = {}
    last_spans: dict[int, tuple[float, float]] = {}
    try:
        for chunk in stream.chunks():
            clips = [message for message in chunk if message.clip is not None]
            if clips:
                features = encoder.features(np.stack([message.clip for message in clips if message.clip is not None]))
                for message, feature in zip(clips, features, strict=True):
                    assert message.span is not None  # a clip has one
                    collected[message.number][message.is_mirrored].append(message.span, feature)
            for message in chunk:
                if message.is_end:
                    parts = collected.pop(message.number, _as_it_is_and_mirrored())
                    result, mirrored = (
                        video_result(message.video, message.error, part, encoder, with_features=with_features)
                        for part in parts
                    )
                    done[message.number] = result._replace(mirrored=mirrored if with_mirrored else None)
                elif message.clip is None:
                    assert message.span is not None  # it is not the end
                    for part in collected[message.number]:
                        part.flat_spans.append(message.span)
            if on_windows is not None:
                on_windows(_new_windows(chunk, last_spans))
            while done and (not in_order or stream.num_taken in done):
                yield done.pop(stream.num_taken if in_order else next(iter(done)))
                stream.take()
    finally:
        stream.close()


def _new_windows(chunk: Sequence[Message], last_spans: dict[int, tuple[float, float]]) -> list[Path]:
    """Return the videos of messages, one for each window that begins in them.

    Args:
        last_spans: the last window of each video that is not at its end, by number; kept up here.
    """
    begun = []
    for message in chunk:
        if message.span is None:
            last_spans.pop(message.number, None)
        elif last_spans.get(message.number) != message.span:
            last_spans[message.number] = message.span
            begun.append(message.video)
    return begun


def window_options(model: HashNet, config: EncodeConfig) -> dict[str, Any]:
    """Return the arguments of `read_views` that decide what a network sees of a video.

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
        "stack": model.preprocessing.stack,
    }
    Plan(**options)
    return {**options, "channels": model.preprocessing.channels}


@dataclass(eq=False)
class Collected:
    """The clips of one video that are through the backbone, in their order: the window of each, and its feature; and
    the windows of those that are flat."""

    spans: list[tuple[float, float]] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    flat_spans: list[tuple[float, float]] = field(default_factory=list)

    def append(self, span: tuple[float, float], feature: np.ndarray) -> None:
        self.spans.append(span)
        self.features.append(feature)


def _as_it_is_and_mirrored() -> tuple[Collected, Collected]:
    """Return where the clips of a video are collected, and those of it in a mirror: nothing yet."""
    return Collected(), Collected()


def video_result(
    video: Path, error: VideoError | None, collected: Collected, encoder: Encoder, *, with_features: bool = False
) -> VideoResult:
    """Put the windows of a video together. A video that failed half-way has no codes: half a video is none.

    Args:
        error: that ended it.
        encoder: whose heads read the features.
    """
    if error is not None or not (collected.spans or collected.flat_spans):
        return VideoResult(video, None, None, error or VideoError(f"'{video}' gave no clip."))
    num_flat = len(set(collected.flat_spans) - set(collected.spans))
    windows = [(span, len(list(clips))) for span, clips in groupby(collected.spans)]
    starts, ends = np.array([span for span, _ in windows], np.float64).reshape(-1, 2).T
    features = np.array(collected.features, np.float32).reshape(-1, encoder.feature_dim)
    encoded = encoder.heads(window_means(features, [num_clips for _, num_clips in windows]))
    embeddings, codes = encoded.embeddings, None
    if embeddings is not None:
        codes = CodeBatch(pack_codes(embeddings), embeddings.shape[1], starts, ends, num_flat, embeddings)
    kept = FeatureBatch(encoded.features, starts, ends, num_flat) if with_features else None
    return VideoResult(video, codes, encoded.scores, None, kept)


def batches(clips: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """Stack clips, each uint8 [T, H, W, C], into batches: uint8 [B, T, H, W, C], the last of them what is left."""
    batch = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == batch_size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
