"""The windows of a video -> which action is seen when.

    windows        |---0---|           each is seen around its middle: a window answers from half-way between
                       |---1---|       the middles of its neighbours and its own, the first from the start
                           |---2---|   of the video and the last to its end
    answers        |----|---|------|

Note [Smoothing]
    Probabilities are averaged over the last `smooth` windows, the rolling average that is used against flicker. Here
    the video is known to its end, so that the mean answers for the middle of these windows and not for the last of
    them: a change is seen where it is. (A camera cannot wait; what is seen there is (smooth - 1) / 2 steps late.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from c3dhash.errors import UsageError

LIKELY = 0.5  # probability from which a class counts, where several can
DEFAULT_SECONDS = 2.0  # of a window, where the frames of a clip are spread over what it is to show


@dataclass(frozen=True, eq=False)
class Answer:
    """From start to end, a network sees these probabilities: float64 [num_classes], smoothed. In seconds."""

    start_seconds: float
    end_seconds: float
    probabilities: np.ndarray


@dataclass(frozen=True)
class ActionSegment:
    """A stretch of a video over which one class is first. score: its mean probability over it, 0..1."""

    start_seconds: float
    end_seconds: float
    label: str
    score: float


def window_length(*, num_frames: int, interval_seconds: float | None) -> float:
    """Return how long a window is, in seconds, where nobody says: as long as a clip."""
    return num_frames * interval_seconds if interval_seconds else DEFAULT_SECONDS


def answers(
    windows: Iterable[tuple[float, float, np.ndarray]], *, smooth: int = 1, start_seconds: float = 0.0
) -> Iterator[Answer]:
    """Turn the probabilities of windows into answers that follow each other without a gap.

    Args:
        windows: start and end in seconds, and probabilities float [num_classes]; in their order, up to the end.
        smooth: over how many windows the mean is taken; 1 is off. Note [Smoothing].
        start_seconds: from when the first of them answers.
    Raises:
        UsageError: smooth is below 1.
    """
    if smooth < 1:
        raise UsageError(f"smooth ({smooth}) must be 1 or more windows; 1 is off.")
    last: deque[tuple[float, np.ndarray]] = deque(maxlen=smooth)
    start, video_end, before = start_seconds, start_seconds, None
    for window_start, video_end, probabilities in windows:
        last.append(((window_start + video_end) / 2, probabilities))
        middle = sum(each for each, _ in last) / len(last)
        if before is not None:
            end = (before[0] + middle) / 2
            yield Answer(start, end, before[1])
            start = end
        before = middle, np.mean(np.stack([each for _, each in last]), axis=0)
    if before is not None:
        yield Answer(start, video_end, before[1])


def segments(found: Iterable[Answer], labels: Sequence[str]) -> list[ActionSegment]:
    """Join answers that follow each other and have the same first class; of equal ones the first counts."""
    joined: list[ActionSegment] = []
    current, start, end, total = -1, 0.0, 0.0, 0.0
    for answer in found:
        best = int(answer.probabilities.argmax())
        if best != current:
            if current >= 0:
                joined.append(ActionSegment(start, end, labels[current], total / (end - start)))
            current, start, total = best, answer.start_seconds, 0.0
        end = answer.end_seconds
        total += float(answer.probabilities[best]) * (end - answer.start_seconds)
    if current >= 0:
        joined.append(ActionSegment(start, end, labels[current], total / (end - start)))
    return joined


def label_segments(found: Sequence[Answer], labels: Sequence[str]) -> list[ActionSegment]:
    """Join answers that follow each other and give a class LIKELY or more, class by class: where several can be so.

    Returns:
        Segments by their start, those of one start by their score.
    """
    joined: list[ActionSegment] = []
    for number, label in enumerate(labels):
        for is_likely, answers_of_it in groupby(found, key=lambda answer: answer.probabilities[number] >= LIKELY):
            if is_likely:
                part = list(answers_of_it)
                seconds = np.array([answer.end_seconds - answer.start_seconds for answer in part])
                score = np.average([answer.probabilities[number] for answer in part], weights=seconds)
                joined.append(ActionSegment(part[0].start_seconds, part[-1].end_seconds, label, float(score)))
    return sorted(joined, key=lambda segment: (segment.start_seconds, -segment.score))


def as_subtitles(found: Sequence[ActionSegment]) -> str:
    """Return segments in the format of SubRip (.srt): number, from --> to, text."""
    blocks = [
        f"{number}\n{_clock(segment.start_seconds)} --> {_clock(segment.end_seconds)}\n"
        f"{' '.join(segment.label.split())} ({segment.score:.0%})\n"
        for number, segment in enumerate(found, start=1)
    ]
    return "\n".join(blocks)


def _clock(seconds: float) -> str:
    """Return a time as SubRip writes it: hours:minutes:seconds,thousandths."""
    total, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{total // 3600:02}:{total // 60 % 60:02}:{total % 60:02},{thousandths:03}"
