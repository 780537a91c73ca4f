"""Black bars that were burnt into a picture: where they end, measured on the frames of a clip.

        top bar      ################        a row is black where nearly all of its pixels are, in every frame
                     ................ <- edge: just inside, a good part of the row is not
                     ................
        bottom bar   ####_I_am_back_#        as high as the other; something may be written into one of the two

A night sky, a dark room or a vignette are black at the border, too. They have no such edge, or not at the same distance
from both borders; what a person burns in has. (Bars of one side alone are left, and so are thin ones: a clip loses an
eighth of its picture anyway, and a strip of few pixels is no letterbox.)

Of a long video only the frames of the clip at hand are known. So bars are found clip by clip, and those of the clip
before hold on as long as nothing is seen in them: in a dark scene, whose edges do not show.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BLACK = 32  # of 255, the brightest channel: black in studio levels is 16, and coding adds noise to it
CLEAN_SHARE = 0.98  # of a row of a bar
WRITTEN_SHARE = 0.4  # of a row of a bar with subtitles, which leave 0.58, or a logo
EDGE_PX = 3  # how far an edge is smeared where a picture was resized and coded
EDGE_SHARE = 0.3  # of a row just inside that is not black in some frame
MIN_BAR_SHARE, MAX_BARS_SHARE = 0.02, 0.75  # of a side: of one bar, and of both; 9:16 in 16:9 has bars of 0.68
MAX_LOOKED_AT = 8  # frames of a clip


class Inside(NamedTuple):
    """What is inside of the bars: rows top to bottom and columns left to right of a picture, px, ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    def cut(self, frames: np.ndarray) -> np.ndarray:
        """Return this part of frames, [T, H, W, C], as a view."""
        return frames[:, self.top : self.bottom, self.left : self.right]


class BarFinder:
    """Finds the bars of one video, clip after clip."""

    def __init__(self) -> None:
        self._before: Inside | None = None

    def inside(self, frames: np.ndarray) -> Inside:
        """Return what is inside of the bars of a clip, all of it where there are none.

        Args:
            frames: uint8 [T, H, W, 3] RGB, of one size for all clips of the video.
        """
        looked_at = frames[:: -(-len(frames) // MAX_LOOKED_AT)]
        found = find_inside(looked_at)
        height_px, width_px = frames.shape[1:3]
        if found == (0, height_px, 0, width_px) and self._before is not None and _hold(self._before, looked_at):
            return self._before
        self._before = found
        return found


def find_inside(frames: np.ndarray) -> Inside:
    """Return what is inside of the bars that the frames of a clip show by themselves, uint8 [T, H, W, 3]."""
    height_px, width_px = frames.shape[1:3]
    top, bottom, left, right = 0, height_px, 0, width_px
    if not _may_have_bars(frames):
        return Inside(top, bottom, left, right)
    dark = frames.max(axis=3) <= BLACK
    for _ in range(2):  # bars at the sides hide that something is written above or below, until they are cut
        part = dark[:, top:bottom, left:right]
        before, behind = _bars(part)
        top, bottom = top + before, bottom - behind
        part = dark[:, top:bottom, left:right]
        before, behind = _bars(part.swapaxes(1, 2))
        left, right = left + before, right - behind
    return Inside(top, bottom, left, right)


def _may_have_bars(frames: np.ndarray) -> bool:
    """Tell whether any border is black: of most videos none is, and that is soon seen."""
    borders = frames[:, 0], frames[:, -1], frames[:, :, 0], frames[:, :, -1]
    return any((border.max(axis=2) <= BLACK).mean() >= CLEAN_SHARE for border in borders)


def _bars(dark: np.ndarray) -> tuple[int, int]:
    """Return how many rows the bars before and behind a picture have, 0 and 0 without.

    Args:
        dark: which pixels are black, bool [T, H, W].
    """
    num_rows = dark.shape[1]
    always = np.asarray(dark.all(axis=0))  # [H, W]
    shares = always.mean(axis=1)
    ends = [_num_clean(shares), _num_clean(shares[::-1])]
    tolerance = max(EDGE_PX, round(0.02 * num_rows))
    size = max(ends)
    if not MIN_BAR_SHARE * num_rows <= size <= MAX_BARS_SHARE / 2 * num_rows:
        return 0, 0
    if abs(ends[0] - ends[1]) > tolerance:
        written = 0 if ends[0] < ends[1] else 1
        if not _is_written(shares[::-1] if written else shares, size):
            return 0, 0
        ends[written] = size
    if not (_has_edge(always, ends[0]) and _has_edge(always[::-1], ends[1])):
        return 0, 0
    return ends[0] + 1, ends[1] + 1  # and the row that is half a bar where the picture was resized


def _num_clean(shares: np.ndarray) -> int:
    """Return how many rows from the first on are those of a clean bar."""
    is_clean = shares >= CLEAN_SHARE
    return len(is_clean) if is_clean.all() else int(np.argmin(is_clean))


def _is_written(shares: np.ndarray, size: int) -> bool:
    """Tell whether the first rows may be a bar with something written into it; not so near to its edge."""
    near_edge = shares[max(0, size - 2 * EDGE_PX) : max(1, size - EDGE_PX)]
    return bool(shares[: size - EDGE_PX].min(initial=1) >= WRITTEN_SHARE and near_edge.min() >= CLEAN_SHARE)


def _has_edge(always: np.ndarray, size: int) -> bool:
    """Tell whether a picture begins behind the first rows, all at once: bool [H, W], what is black in every frame."""
    inside = always[size : size + 2 * EDGE_PX]
    is_black = np.asarray(inside.all(axis=0))
    return len(inside) > 0 and 1 - float(is_black.mean()) >= EDGE_SHARE


def _hold(before: Inside, frames: np.ndarray) -> bool:
    """Tell whether all that was bar is nearly black in frames, too."""
    dark = frames.max(axis=3) <= BLACK
    outside = np.ones(dark.shape[1:], bool)
    outside[before.top : before.bottom, before.left : before.right] = False
    return bool(outside.any() and dark[:, outside].mean() >= CLEAN_SHARE)
