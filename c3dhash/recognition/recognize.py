"""Videos -> the actions that they show: class probabilities, averaged over the windows of each video, or over time."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Container, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from c3dhash.config import EncodeConfig
from c3dhash.errors import UsageError, VideoError
from c3dhash.models.encode import Encoder, encode_videos, make_encoder, window_options
from c3dhash.models.engines import settle_engine
from c3dhash.models.runs import Run
from c3dhash.models.scores import class_probabilities
from c3dhash.models.windows import encode_windows
from c3dhash.recognition.over_time import ActionSegment, Answer, answers, segments, window_length
from c3dhash.recognition.timeline import Timeline, Track
from c3dhash.video.reader import find_videos

logger = logging.getLogger(__name__)

WINDOWS_OF_A_VIDEO = 50  # a guess, by which an engine is chosen before a video is opened


@dataclass(frozen=True)
class Prediction:
    """A class and its probability, 0..1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Recognition:
    """One video: its most probable classes, the most probable first; or why there are none.

    segments: which class is first when, where that was asked for; track and timeline: the same for its frames and for a
    picture.
    """

    video: Path
    top: tuple[Prediction, ...] = ()
    error: VideoError | None = None
    segments: tuple[ActionSegment, ...] | None = None
    track: Track | None = None
    timeline: Timeline | None = None


def recognize_videos(
    run: Run,
    places: Sequence[Path | str],
    *,
    top: int = 5,
    config: EncodeConfig | None = None,
    skip: Container[Path] = (),
) -> Iterator[Recognition]:
    """Recognise the actions of videos.

    Args:
        run: with a class head.
        places: video files, and folders, which are searched with their subfolders.
        top: how many classes a video; fewer where the run knows fewer.
        config: windows, batch size, device; EncodeConfig() by default.
        skip: videos to leave out.
    Returns:
        A Recognition a video, as it is through, each video once, in the order of `places`; one that cannot be read
        carries the error.
    Raises:
        CheckpointError: the run has no class head.
        UsageError: top is below 1, or there is no video.
    """
    labels, found = _check(run, places, top=top, skip=skip)
    num_videos = sum(error is None for error in found.values())
    config = config or EncodeConfig()
    engine = settle_engine(config, backbone=run.model.backbone.name, num_clips=num_videos)
    return _recognize_each(run, found, labels=labels, top=top, config=dataclasses.replace(config, engine=engine))


def _recognize_each(
    run: Run, found: dict[Path, VideoError | None], *, labels: Sequence[str], top: int, config: EncodeConfig
) -> Iterator[Recognition]:
    to_read = [video for video, error in found.items() if error is None]
    with closing(encode_videos(run, to_read, config=config)) as results:
        for video, error in tqdm(found.items(), desc="Recognising", unit="video"):
            if error is not None:
                yield Recognition(video, error=error)
                continue
            result = next(results)
            if result.error is not None:
                logger.warning("%s", result.error)
                yield Recognition(video, error=result.error)
                continue
            assert result.scores is not None  # the run has a class head
            probabilities = class_probabilities(result.scores, is_multi_label=run.is_multi_label)
            yield Recognition(video, _best(probabilities.mean(axis=0), labels, top))


def recognize_over_time(
    run: Run,
    places: Sequence[Path | str],
    *,
    top: int = 5,
    smooth: int = 1,
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    config: EncodeConfig | None = None,
) -> Iterator[Recognition]:
    """Recognise which actions videos show when: a window slides over each.

    Memory does not grow with the length of a video, but for 24 bytes a window.

    Args:
        run, places, top: as for `recognize_videos`; top is of the mean over the windows.
        smooth: over how many windows probabilities are averaged, as for `over_time.answers`.
        window_seconds: by default as long as a clip, or two seconds where clips are spread over what they show.
        stride_seconds: from window to window; by default half a window.
        config: clips of a window, views, batch size, device; its windows are not looked at.
    Returns:
        As `recognize_videos` does.
    Raises:
        CheckpointError: the run has no class head.
        UsageError: a number is out of range, or there is no video.
    """
    labels, found = _check(run, places, top=top)
    if smooth < 1:
        raise UsageError(f"smooth ({smooth}) must be 1 or more windows; 1 is off.")
    model = run.model
    if window_seconds is None:
        window_seconds = window_length(
            num_frames=model.clip_size[0], interval_seconds=model.preprocessing.interval_seconds
        )
    config = dataclasses.replace(
        config or EncodeConfig(), window_seconds=window_seconds, stride_seconds=stride_seconds or window_seconds / 2
    )
    window_options(model, config)
    encoder = make_encoder(model, config, num_clips=WINDOWS_OF_A_VIDEO * len(found))
    return _follow_each(run, found, encoder, labels=labels, top=top, smooth=smooth, config=config)


def _follow_each(
    run: Run,
    found: dict[Path, VideoError | None],
    encoder: Encoder,
    *,
    labels: Sequence[str],
    top: int,
    smooth: int,
    config: EncodeConfig,
) -> Iterator[Recognition]:
    for video, error in found.items():
        if error is not None:
            yield Recognition(video, error=error)
            continue
        try:
            recognition = _follow(video, run, encoder, labels=labels, top=top, smooth=smooth, config=config)
        except VideoError as caught:
            logger.warning("%s", caught)
            recognition = Recognition(video, error=caught)
        yield recognition


def _check(
    run: Run, places: Sequence[Path | str], *, top: int, skip: Container[Path] = ()
) -> tuple[Sequence[str], dict[Path, VideoError | None]]:
    """Return the names of the classes, and the videos, with the error of what cannot be looked into."""
    if top < 1:
        raise UsageError(f"top ({top}) must be 1 or more.")
    labels, failed = run.class_labels, dict[Path, VideoError]()
    return labels, {video: failed.get(video) for video in _find(places, failed) if video not in skip}


def _follow(
    video: Path, run: Run, encoder: Encoder, *, labels: Sequence[str], top: int, smooth: int, config: EncodeConfig
) -> Recognition:
    """Recognise one video over time."""
    track, timeline = Track(labels), Timeline()
    total, num_windows = np.zeros(len(labels)), 0

    def probabilities() -> Iterator[tuple[float, float, np.ndarray]]:
        nonlocal total, num_windows
        with closing(encode_windows(encoder, video, config=config)) as windows:
            for window in tqdm(windows, desc=f"Recognising {video.name}", unit="window"):
                assert window.scores is not None  # the run has a class head
                (values,) = class_probabilities(window.scores[None], is_multi_label=run.is_multi_label)
                total, num_windows = total + values, num_windows + 1
                yield window.start_seconds, window.end_seconds, values

    def kept() -> Iterator[Answer]:
        for answer in answers(probabilities(), smooth=smooth):
            track.add(answer)
            timeline.add(answer)
            yield answer

    found = tuple(segments(kept(), labels))
    return Recognition(video, _best(total / num_windows, labels, top), None, found, track, timeline)


def _best(probabilities: np.ndarray, labels: Sequence[str], top: int) -> tuple[Prediction, ...]:
    """Return the most probable classes; equal ones in the order of the labels."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Prediction(labels[index], float(probabilities[index])) for index in order)


def _find(places: Sequence[Path | str], failed: dict[Path, VideoError]) -> list[Path]:
    """Return the videos, each once; folders that cannot be read are among them, with their errors in `failed`."""
    found: dict[Path, None] = {}

    def note(error: OSError) -> None:
        folder = Path(error.filename)
        failed[folder] = VideoError(f"folder '{folder}' cannot be read: {error.strerror}.")
        logger.warning("%s", failed[folder])
        found[folder] = None

    for place in map(Path, places):
        found.update(dict.fromkeys(find_videos(place, on_error=note) if place.is_dir() else [place]))
    if not found:
        raise UsageError(f"no videos in {', '.join(repr(str(place)) for place in places)}.")
    return list(found)
