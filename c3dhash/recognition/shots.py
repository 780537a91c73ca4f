"""The frames of a video, in one pass -> clips, each cut out of its frames in its own way.

frames      |----|----|----|----|----|----|
a shot        x    x    x                     looks at these times, and sees what is shown then
another            x    x    x
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from c3dhash.video.playback import Frame


@dataclass(eq=False)
class Shot:
    """A clip that is to be cut.

    targets: float64 [T], rising, the times that it shows, in seconds. cut: what of the picture that is shown at a time,
    uint8 [H, W, 3]; the same size for each. parts: what is cut already.
    """

    targets: np.ndarray
    cut: Callable[[np.ndarray, float], np.ndarray]
    parts: list[np.ndarray] = field(default_factory=list)

    def look(self, picture: np.ndarray, until_seconds: float) -> bool:
        """Cut what of a picture is shown until a time; tell whether the clip is whole."""
        while len(self.parts) < len(self.targets) and self.targets[len(self.parts)] < until_seconds:
            self.parts.append(self.cut(picture, float(self.targets[len(self.parts)])))
        return len(self.parts) == len(self.targets)


def cut_shots(frames: Iterable[Frame], shots: Sequence[Shot]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the place of each shot in `shots`, and its clip, uint8 [T, H, W, 3], as soon as it is whole.

    In memory are the shots that a frame has begun and none has ended. What a shot looks for before the first frame is
    that frame, and after the last one the last.
    """
    waiting = sorted(range(len(shots)), key=lambda place: -shots[place].targets[0])
    begun: list[int] = []
    picture = None
    for frame in frames:
        picture = frame.picture
        while waiting and shots[waiting[-1]].targets[0] < frame.end_seconds:
            begun.append(waiting.pop())
        whole = [place for place in begun if shots[place].look(picture, frame.end_seconds)]
        begun = [place for place in begun if place not in whole]
        yield from ((place, _clip(shots[place])) for place in whole)
        if not begun and not waiting:
            return
    for place in [*begun, *reversed(waiting)]:
        assert picture is not None  # a video has a frame, or an error
        shots[place].look(picture, np.inf)
        yield place, _clip(shots[place])


def _clip(shot: Shot) -> np.ndarray:
    clip = np.stack(shot.parts)
    shot.parts.clear()
    return clip
