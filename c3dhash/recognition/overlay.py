"""A video and what is seen in it -> the video with it drawn on every frame, in time, size and sound as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from c3dhash.recognition.over_time import LIKELY
from c3dhash.recognition.results import Person, Recognition
from c3dhash.recognition.timeline import FirstClasses
from c3dhash.report.captions import draw_caption, draw_person
from c3dhash.report.screen import Screen
from c3dhash.video.playback import Frame, playback
from c3dhash.video.writer import writing_video

# Draws on a picture, uint8 [H, W, 3] RGB, what is seen in a frame.
Draw = Callable[[np.ndarray, Frame], None]
NUM_LINES = 3  # of a person, at the most


def write_overlay(recognition: Recognition, path: Path) -> None:
    """Write a video with what is seen in it on every frame.

    Args:
        recognition: over time, or of people.
        path: the new file; its suffix says what kind.
    Raises:
        UsageError: no codec for its suffix, or something is there.
        VideoError: the video does not decode (any more), or the new one cannot be written.
    """
    video, draw = recognition.video, _draw(recognition)
    with closing(playback(video, description=f"Writing {path.name}")) as frames:
        info, first = next(frames)
        size_px = first.picture.shape[1], first.picture.shape[0]
        with writing_video(path, size_px=size_px, fps=info.fps, sound_of=video) as writer:
            for _, frame in chain([(info, first)], frames):
                writer.write(_drawn(frame, draw), frame.start_seconds, frame.end_seconds)


def show_overlay(recognition: Recognition, screen: Screen) -> None:
    """Play a video with what is seen in it on every frame, in its time, until the window is closed.

    Raises:
        VideoError: the video does not decode (any more).
    """
    draw = _draw(recognition)
    with closing(playback(recognition.video, description=f"Showing {recognition.video.name}")) as frames:
        for _, frame in frames:
            if not screen.show(_drawn(frame, draw), until_seconds=frame.end_seconds):
                return


def caption(picture: np.ndarray, label: str, probability: float) -> np.ndarray:
    """Return a picture, uint8 [H, W, 3] RGB, with what is seen written on it."""
    captioned = picture.copy()
    draw_caption(captioned, label, share=probability)
    return captioned


def _draw(recognition: Recognition) -> Draw:
    if recognition.people is not None:
        return partial(_draw_people, recognition.people)
    assert recognition.classes is not None  # it is over time
    return partial(_draw_label, recognition.classes)


def _draw_label(classes: FirstClasses, picture: np.ndarray, frame: Frame) -> None:
    label, probability = classes.at((frame.start_seconds + frame.end_seconds) / 2)[0]
    draw_caption(picture, label, share=probability)


def _draw_people(people: Sequence[Person], picture: np.ndarray, frame: Frame) -> None:
    """Draw who is there when a frame begins: boxes are of that time, as `find_tracks` finds them."""
    seconds = frame.start_seconds
    taken: list[tuple[int, int, int, int]] = []
    for person in people:
        if person.track.shows(seconds):
            first, *others = person.classes.at(seconds)
            seen = [first, *(other for other in others if other[1] >= LIKELY)][:NUM_LINES]
            draw_person(
                picture, person.track.at(seconds), seen, number=person.track.number, name=person.track.id, taken=taken
            )


def _drawn(frame: Frame, draw: Draw) -> np.ndarray:
    picture = frame.picture.copy()
    draw(picture, frame)
    return picture
