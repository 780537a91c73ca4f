"""What the packets of a video say before one is decoded: which frame is shown when, and what it takes to decode it.

packets, as they lie in the file      I0  P3  B1  B2 | I6  B4  B5  P9 ...     the number: when it is shown
position                               0   1   2   3    4   5   6   7
key frames                             x                x
frames, as they are shown             I0  B1  B2  P3  B4  B5  I6 ...          index 0, 1, 2, ...

To show P9, decode from I6. To show B5, shown before I6 and made from P3 too, decode from I0.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from c3dhash.video.clip_plan import Unsuited
from c3dhash.video.decoder import MAX_HELD_FRAMES, Clock


@dataclass
class Run:
    """Packets that are decoded one after the other, from a key frame on.

    start, end: positions of the first and the last of them. asked: the frames that are looked at, by index.
    """

    start: int
    end: int
    asked: set[int] = field(default_factory=set)


class Timeline:
    """The frames of a video, or of its beginning, in the order in which they are shown.

    Args:
        pts: presentation time of every packet in the order of the file, in ticks.
        is_key: whether decoding can begin there.
        is_hidden: whether an edit list hides the frame: it may be needed by others, and is not shown.
        tick_seconds: the unit of `pts`.
        frame_seconds: one by the frame rate of the header. Note [Clock].
        gap: the position before which packets were left out.
    Raises:
        Unsuited: times that repeat, leap or do not fit the order of the packets.
    """

    def __init__(
        self,
        pts: list[int],
        is_key: list[bool],
        is_hidden: list[bool],
        *,
        tick_seconds: float,
        frame_seconds: float,
        gap: int | None = None,
    ) -> None:
        if not pts or all(is_hidden) or not is_key[0]:
            raise Unsuited("it does not begin with a key frame")
        self.pts = pts
        self.positions = sorted(np.flatnonzero(np.logical_not(is_hidden)).tolist(), key=pts.__getitem__)
        ticks = np.array(pts)
        order = np.argsort(ticks, kind="stable")
        if (np.diff(ticks[order]) <= 0).any():
            raise Unsuited("two frames have the same time")
        if np.abs(order - np.arange(len(order))).max() > MAX_HELD_FRAMES:
            raise Unsuited("its times leap")
        self.is_reordered = bool((np.diff(ticks) < 0).any())
        # Shown later than all frames before it in the file: an I- or P-frame, which others may be made from.
        self._is_anchor = (ticks == np.maximum.accumulate(ticks)).tolist()
        self._keys = np.flatnonzero(is_key).tolist()
        clock = Clock(frame_seconds)
        self.times: list[float] = []
        for position in self.positions:
            seconds = (pts[position] - pts[self.positions[0]]) * tick_seconds
            if gap is not None and position >= gap:
                clock.leap(seconds)
                gap = None
            self.times.append(clock.tick(seconds))
        if clock.num_guessed:
            raise Unsuited("its clock jumps")
        self.position_of = {value: position for position, value in enumerate(pts)}
        self.index_of = {pts[position]: index for index, position in enumerate(self.positions)}

    def has_passed(self, seconds: float) -> bool:
        """Tell whether a frame is shown at or after a time."""
        return self.times[-1] >= seconds

    def runs(self, indices: list[int]) -> list[Run]:
        """Return what to decode to see the frames with these indices, which ascend."""
        runs: list[Run] = []
        for index in indices:
            key, position = self._key_before(index), self.positions[index]
            if not runs or key > runs[-1].end + 1:
                runs.append(Run(key, position))
            runs[-1].end = max(runs[-1].end, position)
            runs[-1].asked.add(index)
        return runs

    def due(self, run: Run, *, only_anchors: bool) -> list[int]:
        """Return the indices of the frames that must come out of a run, ascending.

        Args:
            only_anchors: besides the frames that are asked for; or else all, but for those that are shown before the
                key frame and made from frames before it too.
        """
        positions = range(run.start, run.end + 1)
        due = {
            self.index_of[self.pts[position]]
            for position in positions
            if self.pts[position] >= self.pts[run.start]
            and self.pts[position] in self.index_of
            and (self._is_anchor[position] or not only_anchors)
        }
        return sorted(due | run.asked)

    def _key_before(self, index: int) -> int:
        position = self.positions[index]
        place = bisect_right(self._keys, position) - 1
        while place >= 0 and self.pts[self._keys[place]] > self.pts[position]:
            place -= 1
        if place < 0:
            raise Unsuited(f"frame {index} needs frames that are not there")
        return self._keys[place]
