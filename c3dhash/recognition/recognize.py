"""Videos -> the actions that they show: class probabilities, averaged over the windows of each video."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from c3dhash.config import EncodeConfig
from c3dhash.errors import UsageError, VideoError
from c3dhash.models.encode import encode_videos
from c3dhash.models.engines import settle_engine
from c3dhash.models.runs import Run
from c3dhash.models.scores import class_probabilities
from c3dhash.video.reader import find_videos

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """A class and its probability, 0..1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Recognition:
    """One video: its most probable classes, the most probable first; or why there are none."""

    video: Path
    top: tuple[Prediction, ...] = ()
    error: VideoError | None = None


def recognize_videos(
    run: Run, places: Sequence[Path | str], *, top: int = 5, config: EncodeConfig | None = None
) -> list[Recognition]:
    """Recognise the actions of videos.

    Args:
        run: with a class head.
        places: video files, and folders, which are searched with their subfolders.
        top: how many classes a video; fewer where the run knows fewer.
        config: windows, batch size, device; EncodeConfig() by default.
    Returns:
        A Recognition a video, each video once, in the order of `places`; one that cannot be read carries the error.
    Raises:
        CheckpointError: the run has no class head.
        UsageError: top is below 1, or there is no video.
    """
    if top < 1:
        raise UsageError(f"top ({top}) must be 1 or more.")
    labels = run.class_labels
    failed: dict[Path, VideoError] = {}
    videos = _find(places, failed)
    found = {video: Recognition(video, error=failed.get(video)) for video in videos}
    to_read = [video for video in videos if video not in failed]
    config = config or EncodeConfig()
    engine = settle_engine(config, backbone=run.model.backbone.name, num_clips=len(to_read))
    config = dataclasses.replace(config, engine=engine)
    with closing(encode_videos(run, to_read, config=config)) as results:
        for result in tqdm(results, total=len(to_read), desc="Recognising", unit="video"):
            predictions: tuple[Prediction, ...] = ()
            if result.error is not None:
                logger.warning("%s", result.error)
            else:
                assert result.scores is not None  # the run has a class head
                probabilities = class_probabilities(result.scores, is_multi_label=run.is_multi_label)
                predictions = _best(probabilities.mean(axis=0), labels, top)
            found[result.video] = Recognition(result.video, predictions, result.error)
    return list(found.values())


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
