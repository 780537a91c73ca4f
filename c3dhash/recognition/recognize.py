"""Videos -> the actions that they show: class probabilities, averaged over the windows of each video, or over time."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from c3dhash.config import EncodeConfig
from c3dhash.errors import UsageError, VideoError
from c3dhash.models.encode import Encoder, encode_videos, make_encoder, window_options
from c3dhash.models.engines import settle_engine
from c3dhash.models.fusion import as_list, check_alike, fuse, fusion_weights
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import Run
from c3dhash.models.scores import class_probabilities
from c3dhash.models.windows import encode_windows
from c3dhash.recognition.over_time import Answer, answers, segments, window_length
from c3dhash.recognition.results import Recognition, best_classes
from c3dhash.recognition.timeline import FirstClasses, Timeline
from c3dhash.video.limits import Limits
from c3dhash.video.reader import find_each

logger = logging.getLogger(__name__)

WINDOWS_OF_A_VIDEO = 50  # a guess, by which an engine is chosen before a video is opened


def recognize_videos(
    run: Run | Sequence[Run],
    places: Sequence[Path | str],
    *,
    top: int = 5,
    fusion: str = "sum",
    config: EncodeConfig | None = None,
    skip: Container[Path] = (),
) -> Iterator[Recognition]:
    """Recognise the actions of videos.

    Args:
        run: with a class head; or several that tell the same classes apart, whose scores are fused window by window.
        fusion: how, as `fusion_weights` reads it.
        places: video files, and folders, which are searched with their subfolders.
        top: how many classes a video; fewer where the run knows fewer.
        config: windows, batch size, device; EncodeConfig() by default. Black bars are never cropped: nothing that is
            trained on labels was.
        skip: videos to leave out.
    Returns:
        A Recognition a video, as it is through, each video once, in the order of `places`; one that cannot be read
        carries the error.
    Raises:
        CheckpointError: the run has no class head.
        UsageError: top is below 1, or there is no video.
    """
    runs = as_list(run)
    weights = fusion_weights(fusion, num_runs=len(runs))
    labels, found = _check(runs, places, top=top, skip=skip)
    num_videos = sum(error is None for error in found.values())
    config = config or EncodeConfig()
    engines = [settle_engine(config, backbone=each.model.backbone.name, num_clips=num_videos) for each in runs]
    configs = [dataclasses.replace(config, engine=engine, crop_bars=False) for engine in engines]
    return _recognize_each(runs, found, labels=labels, top=top, weights=weights, configs=configs)


def _recognize_each(
    runs: Sequence[Run],
    found: dict[Path, VideoError | None],
    *,
    labels: Sequence[str],
    top: int,
    weights: Sequence[float],
    configs: Sequence[EncodeConfig],
) -> Iterator[Recognition]:
    to_read = [video for video, error in found.items() if error is None]
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(encode_videos(run, to_read, config=config, with_flat=True)))
            for run, config in zip(runs, configs, strict=True)
        ]
        for video, error in tqdm(found.items(), desc="Recognising", unit="video"):
            results = [next(stream) for stream in streams] if error is None else []
            if failed := error or next((result.error for result in results if result.error is not None), None):
                if results:
                    logger.warning("%s", failed)
                yield Recognition(video, error=failed)
                continue
            scores = [result.scores for result in results if result.scores is not None]  # all have a class head
            num_windows = min(map(len, scores))  # a tail too short for the clips of one of them is left
            fused = fuse([part[:num_windows] for part in scores], weights)
            probabilities = class_probabilities(fused, is_multi_label=runs[0].is_multi_label)
            yield Recognition(video, best_classes(probabilities.mean(axis=0), labels, top))


def recognize_arriving(
    run: Run,
    videos: Iterable[Path | None],
    *,
    network: Encoder,
    config: EncodeConfig,
    limits: Limits | None,
    on_windows: Callable[[list[Path]], object],
) -> Generator[Recognition, None, None]:
    """Recognise videos that arrive one by one, as `recognize_videos` does, and yield each as it is through.

    Args:
        run: with a class head.
        videos: paths; None among them says that there is none at the moment, and that more may come.
        network: of the run, made before.
        config: windows, batch size, workers.
        limits: of what is read of a video; None for none.
        on_windows: as of `encode.encode_videos`; what it raises ends all of this.
    Returns:
        A Recognition a video, with all classes.
    Raises:
        CheckpointError: the run has no class head.
    """
    labels = run.class_labels
    config = dataclasses.replace(config, crop_bars=False)
    results = encode_videos(
        run, videos, config=config, encoder=network, limits=limits, in_order=False, with_flat=True,
        on_windows=on_windows,
    )  # fmt: skip
    with closing(results):
        for result in results:
            if result.error is not None or result.scores is None:
                yield Recognition(result.video, error=result.error)
                continue
            probabilities = class_probabilities(result.scores, is_multi_label=run.is_multi_label)
            yield Recognition(result.video, best_classes(probabilities.mean(axis=0), labels, len(labels)))


def recognize_over_time(
    run: Run | Sequence[Run],
    places: Sequence[Path | str],
    *,
    top: int = 5,
    smooth: int = 1,
    fusion: str = "sum",
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    config: EncodeConfig | None = None,
) -> Iterator[Recognition]:
    """Recognise which actions videos show when: a window slides over each.

    Memory does not grow with the length of a video, but for 24 bytes a window.

    Args:
        run, places, top, fusion: as for `recognize_videos`; top is of the mean over the windows.
        smooth: over how many windows probabilities are averaged, as for `over_time.answers`.
        window_seconds: by default as long as a clip (of the first run), or two seconds where clips are spread over what
            they show.
        stride_seconds: from window to window; by default half a window.
        config: clips of a window, views, batch size, device; its windows are not looked at.
    Returns:
        As `recognize_videos` does.
    Raises:
        CheckpointError: the run has no class head.
        UsageError: a number is out of range, or there is no video.
    """
    runs = as_list(run)
    weights = fusion_weights(fusion, num_runs=len(runs))
    labels, found = _check(runs, places, top=top)
    check_counts(top=top, smooth=smooth)
    config = over_time(runs[0].model, config, window_seconds=window_seconds, stride_seconds=stride_seconds)
    encoders = []
    for each in runs:
        window_options(each.model, config)
        encoders.append(make_encoder(each.model, config, num_clips=WINDOWS_OF_A_VIDEO * len(found)))
    scores_of = partial(_window_scores, encoders, weights=weights, config=config)
    return _follow_each(found, scores_of, is_multi_label=runs[0].is_multi_label, labels=labels, top=top, smooth=smooth)


def over_time(
    model: HashNet, config: EncodeConfig | None, *, window_seconds: float | None, stride_seconds: float | None
) -> EncodeConfig:
    """Return a config whose windows slide: by default as long as a clip, by half their length.

    Raises:
        UsageError: window_seconds is 0 or less.
    """
    if window_seconds is None:
        window_seconds = window_length(
            num_frames=model.clip_size[0], interval_seconds=model.preprocessing.interval_seconds
        )
    if not window_seconds > 0:
        raise UsageError(f"window_seconds ({window_seconds:g}) must be above 0 where windows slide.")
    stride_seconds = stride_seconds or window_seconds / 2
    return dataclasses.replace(config or EncodeConfig(), window_seconds=window_seconds, stride_seconds=stride_seconds)


def _window_scores(
    encoders: Sequence[Encoder], video: Path, *, weights: Sequence[float], config: EncodeConfig
) -> Generator[tuple[float, float, np.ndarray], None, None]:
    """Yield start and end of each window of a video, and its fused class scores, float64 [num_classes]."""
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(encode_windows(encoder, video, config=config))) for encoder in encoders]
        for windows in zip(*streams, strict=False):  # a tail too short for the clips of one of them is left
            scores = [window.scores for window in windows if window.scores is not None]  # all have a class head
            yield windows[0].start_seconds, windows[0].end_seconds, fuse(scores, weights)


def _follow_each(
    found: dict[Path, VideoError | None],
    scores_of: Callable[[Path], Generator[tuple[float, float, np.ndarray], None, None]],
    *,
    is_multi_label: bool,
    labels: Sequence[str],
    top: int,
    smooth: int,
) -> Iterator[Recognition]:
    for video, error in found.items():
        if error is not None:
            yield Recognition(video, error=error)
            continue
        try:
            recognition = _follow(
                video, scores_of, is_multi_label=is_multi_label, labels=labels, top=top, smooth=smooth
            )
        except VideoError as caught:
            logger.warning("%s", caught)
            recognition = Recognition(video, error=caught)
        yield recognition


def _check(
    runs: Sequence[Run], places: Sequence[Path | str], *, top: int, skip: Container[Path] = ()
) -> tuple[Sequence[str], dict[Path, VideoError | None]]:
    """Return the names of the classes, and the videos, with the error of what cannot be looked into."""
    check_counts(top=top)
    check_alike(runs)
    return runs[0].class_labels, {video: error for video, error in find_each(places).items() if video not in skip}


def _follow(
    video: Path,
    scores_of: Callable[[Path], Generator[tuple[float, float, np.ndarray], None, None]],
    *,
    is_multi_label: bool,
    labels: Sequence[str],
    top: int,
    smooth: int,
) -> Recognition:
    """Recognise one video over time."""
    classes, timeline = FirstClasses(labels), Timeline()
    total, num_windows = np.zeros(len(labels)), 0

    def probabilities() -> Iterator[tuple[float, float, np.ndarray]]:
        nonlocal total, num_windows
        with closing(scores_of(video)) as windows:
            for start_seconds, end_seconds, scores in tqdm(windows, desc=f"Recognising {video.name}", unit="window"):
                (values,) = class_probabilities(scores[None], is_multi_label=is_multi_label)
                total, num_windows = total + values, num_windows + 1
                yield start_seconds, end_seconds, values

    def kept() -> Iterator[Answer]:
        for answer in answers(probabilities(), smooth=smooth):
            classes.add(answer)
            timeline.add(answer)
            yield answer

    found = tuple(segments(kept(), labels))
    return Recognition(video, best_classes(total / num_windows, labels, top), None, found, classes, timeline)


def check_counts(*, top: int, smooth: int = 1) -> None:
    """Make sure that how many classes are told, and over how many windows they are smoothed, make sense.

    Raises:
        UsageError: one of them is below 1.
    """
    if top < 1:
        raise UsageError(f"top ({top}) must be 1 or more.")
    if smooth < 1:
        raise UsageError(f"smooth ({smooth}) must be 1 or more windows; 1 is off.")
