"""Videos -> the people in them, and what each of them does.

    video -> boxes in key pictures -> tracks -> what a network says of each window of each track -> people
             detectors, or boxes      tracks    tubes: any network; scenes: one that looks at boxes

A video is decoded twice: to know who is where, and to look at everybody.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from c3dhash.config import EncodeConfig, PeopleConfig
from c3dhash.errors import UsageError, VideoError
from c3dhash.models.encode import make_encoder, window_options
from c3dhash.models.runs import Run
from c3dhash.recognition.boxes import BoxFile
from c3dhash.recognition.detectors import Detector, make_detector
from c3dhash.recognition.over_time import answers, label_segments, segments
from c3dhash.recognition.recognize import WINDOWS_OF_A_VIDEO, check_counts, over_time
from c3dhash.recognition.results import Person, Recognition, best_classes
from c3dhash.recognition.scenes import STRIDE_SECONDS, scene_windows
from c3dhash.recognition.timeline import FirstClasses
from c3dhash.recognition.tracks import Linker, Track
from c3dhash.recognition.tubes import tube_windows
from c3dhash.video.playback import Frame, playback
from c3dhash.video.reader import find_each

if TYPE_CHECKING:
    from c3dhash.models.action_detector import ActionDetector

logger = logging.getLogger(__name__)

# Start and end of a window of a track in seconds, and probabilities of the classes.
Window = tuple[Track, float, float, np.ndarray]
# Tracks, the frames of their video, and its width and height in px -> windows.
Recognize = Callable[[Sequence[Track], Iterable[Frame], tuple[int, int]], Iterator[Window]]


def recognize_people(
    network: Run | ActionDetector,
    places: Sequence[Path | str],
    *,
    top: int = 5,
    smooth: int = 1,
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    boxes: Path | None = None,
    people: PeopleConfig | None = None,
    config: EncodeConfig | None = None,
) -> Iterator[Recognition]:
    """Find the people in videos, and recognise what each of them does.

    Args:
        network: a run with a class head, on RGB, which sees the square tube around each person; or one that looks at
            boxes in whole pictures.
        places: video files, and folders, which are searched with their subfolders.
        top: how many classes a person.
        smooth: over how many windows of a person probabilities are averaged.
        window_seconds, stride_seconds: as for `recognize_over_time`; of a network that looks at boxes, the stride alone
            counts, by default scenes.STRIDE_SECONDS.
        boxes: a file of boxes, in the place of a detector.
        people: how people are found; PeopleConfig() by default.
        config: clips of a window, views, batch size, device; its windows are not looked at.
    Returns:
        A Recognition a video, as it is through, with `people`; one that cannot be read carries the error.
    Raises:
        CheckpointError: the run has no class head, or weights of the detector cannot be had.
        UsageError: the run reads optical flow, a number is out of range, or the boxes do not fit.
    """
    found, config = find_each(places), config or EncodeConfig()
    if isinstance(network, Run):
        labels: Sequence[str] = network.class_labels
        is_multi_label = network.is_multi_label
        config = over_time(network.model, config, window_seconds=window_seconds, stride_seconds=stride_seconds)
        recognize = _by_tubes(network, config, num_videos=len(found))
    else:
        labels, is_multi_label = network.labels, True
        recognize = _by_scenes(network, stride_seconds or STRIDE_SECONDS, device=config.device)
    return _look_at_each(
        found, recognize, labels=labels, is_multi_label=is_multi_label, top=top, smooth=smooth, boxes=boxes,
        people=people or PeopleConfig(), device=config.device,
    )  # fmt: skip


def _by_tubes(run: Run, config: EncodeConfig, *, num_videos: int) -> Recognize:
    model = run.model
    if model.preprocessing.channels == "flow":
        raise UsageError(f"--people: {model.backbone.name} reads optical flow; take a run on RGB.")
    window_options(model, config)
    encoder = make_encoder(model, config, num_clips=WINDOWS_OF_A_VIDEO * num_videos)

    def recognize(tracks: Sequence[Track], frames: Iterable[Frame], size_px: tuple[int, int]) -> Iterator[Window]:
        return tube_windows(encoder, tracks, frames, config=config, is_multi_label=run.is_multi_label)

    return recognize


def _by_scenes(network: ActionDetector, stride_seconds: float, *, device: str) -> Recognize:
    def recognize(tracks: Sequence[Track], frames: Iterable[Frame], size_px: tuple[int, int]) -> Iterator[Window]:
        return scene_windows(network, tracks, frames, size_px=size_px, stride_seconds=stride_seconds, device=device)

    return recognize


def _look_at_each(
    found: dict[Path, VideoError | None],
    recognize: Recognize,
    *,
    labels: Sequence[str],
    is_multi_label: bool,
    top: int,
    smooth: int,
    boxes: Path | None,
    people: PeopleConfig,
    device: str,
) -> Iterator[Recognition]:
    check_counts(top=top, smooth=smooth)
    box_file = None if boxes is None else BoxFile(boxes)
    if box_file is not None and box_file.is_of_one_video and len(found) > 1:
        raise UsageError(f"boxes ('{boxes}') are of one video: name one file, or give boxes as AVA has them.")
    detector = make_detector(people.detector, device=device) if box_file is None else None

    def each() -> Iterator[Recognition]:
        for video, error in found.items():
            try:
                if error is not None:
                    raise error
                if box_file is not None:
                    tracks, size_px = _given_tracks(video, box_file)
                else:
                    assert detector is not None  # there are no boxes
                    tracks, size_px = find_tracks(video, detector, every_seconds=people.every_seconds)
                seen = _look(
                    video, tracks, size_px, recognize, labels=labels, is_multi_label=is_multi_label, top=top,
                    smooth=smooth,
                )  # fmt: skip
            except VideoError as caught:
                logger.warning("%s", caught)
                yield Recognition(video, error=caught)
            else:
                yield Recognition(video, people=tuple(seen), size_px=size_px)

    return each()


def find_tracks(video: Path, detector: Detector, *, every_seconds: float) -> tuple[list[Track], tuple[int, int]]:
    """Find the people in a video, and follow them.

    Args:
        every_seconds: from one picture in which they are looked for to the next; at the most every one.
    Returns:
        Their tracks, and width and height of the video in px.
    Raises:
        VideoError: it does not decode.
    """
    linker = Linker(begin_score=detector.begin_score)
    due_seconds, end_seconds, size_px = 0.0, 0.0, (0, 0)
    with closing(playback(video, description=f"Looking for people in {video.name}")) as frames:
        for _, frame in frames:
            end_seconds, size_px = frame.end_seconds, (frame.picture.shape[1], frame.picture.shape[0])
            if frame.end_seconds <= due_seconds:  # what is on display then comes later
                continue
            linker.add(frame.start_seconds, *detector(frame.picture))
            due_seconds = every_seconds * np.ceil(frame.end_seconds / every_seconds - 1e-6)
    return linker.tracks(end_seconds=end_seconds), size_px


def _given_tracks(video: Path, boxes: BoxFile) -> tuple[list[Track], tuple[int, int]]:
    """Return the tracks of a file of boxes, and width and height of the video."""
    end_seconds, size_px = 0.0, (0, 0)
    with closing(playback(video, description=f"Counting frames of {video.name}")) as frames:  # headers promise too much
        for _, frame in frames:
            end_seconds, size_px = frame.end_seconds, (frame.picture.shape[1], frame.picture.shape[0])
    return boxes.tracks(video, size_px=size_px, end_seconds=end_seconds), size_px


def _look(
    video: Path,
    tracks: Sequence[Track],
    size_px: tuple[int, int],
    recognize: Recognize,
    *,
    labels: Sequence[str],
    is_multi_label: bool,
    top: int,
    smooth: int,
) -> list[Person]:
    """Recognise what the people of a video do."""
    if not tracks:
        return []
    windows: dict[int, list[tuple[float, float, np.ndarray]]] = defaultdict(list)
    with closing(playback(video, description=f"Looking at people in {video.name}")) as frames:
        for track, start, end, probabilities in recognize(tracks, (frame for _, frame in frames), size_px):
            windows[track.number].append((start, end, probabilities.astype(np.float32)))
    people = []
    for track in tracks:
        seen = windows[track.number]
        found = list(answers(seen, smooth=smooth, start_seconds=track.start_seconds))
        found[-1] = dataclasses.replace(found[-1], end_seconds=track.end_seconds)
        classes = FirstClasses(labels, num_kept=top)
        for answer in found:
            classes.add(answer)
        mean = np.mean(np.stack([probabilities for *_, probabilities in seen]), axis=0)
        when = label_segments(found, labels) if is_multi_label else segments(found, labels)
        people.append(Person(track, best_classes(mean, labels, top), tuple(when), classes))
    return people
