"""Lists of nearest codes -> the nearest codes, the nearest videos, where the lists are long enough to tell.

Note [Long enough]
    A list of what is nearest to a query ends at a distance: all that is nearer is in it, and of what is as far some may
    have been cut off, whichever an index took first. Of several lists, of slices of a gallery or of windows of a query,
    what is nearer than the nearest of their ends is known as a whole, with its ties. An answer that reaches no farther
    is therefore the one of a sort by (distance, position); any other needs longer lists, or a search of everything.
"""

from __future__ import annotations

import numpy as np

NO_END = np.iinfo(np.int32).max  # of a list with room left: nothing was cut off
POSITION_BITS = 40


def ends_of(distances: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return where lists end, int64 [Q]: the distance of their last entry, NO_END of one with room left.

    Args:
        distances, positions: [Q, n] by rising distance, position -1 where there is no entry.
    """
    if not positions.shape[1]:
        return np.full(len(positions), NO_END, np.int64)
    ends: np.ndarray = np.where(positions[:, -1] < 0, NO_END, distances[:, -1].astype(np.int64))
    return ends


def codes_of_lists(
    distances: np.ndarray, positions: np.ndarray, *, ends: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the k nearest of the entries of each row.

    Args:
        distances, positions: [Q, n], in any order, position -1 where there is no entry; n is k or more.
        ends: int64 [Q], the nearest end of the lists of each row.
    Returns:
        distances: int32 [Q, k], and positions: int64 [Q, k], by (distance, position), and bool [Q]: of which rows they
        are known to be the first k. Note [Long enough].
    """
    keys = (distances.astype(np.int64) << POSITION_BITS) | positions
    keys[positions < 0] = np.iinfo(np.int64).max
    keys = np.sort(keys, axis=1)[:, :k]
    is_entry = keys < np.iinfo(np.int64).max
    nearest = np.where(is_entry, keys >> POSITION_BITS, NO_END)
    places = np.where(is_entry, keys & ((1 << POSITION_BITS) - 1), -1)
    return nearest.astype(np.int32), places, is_entry.all(axis=1) & (nearest[:, -1] < ends)


def videos_of_lists(
    distances: np.ndarray, positions: np.ndarray, *, ends: np.ndarray, starts: np.ndarray, top: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Take the nearest videos, each by its nearest entry in any row.

    Args:
        distances, positions, ends: as of `codes_of_lists`; a row a window of one query.
        starts: int64 [V], rising from 0: the position of the first code of each video.
        top: how many videos.
    Returns:
        distances: int64 [top], and positions: int64 [top], of the nearest code of each, by (distance, position); or
        None where the lists are too short to tell. Note [Long enough].
    """
    is_known = (positions >= 0) & (distances < ends.min(initial=NO_END))
    keys = np.sort((distances[is_known].astype(np.int64) << POSITION_BITS) | positions[is_known])
    places = keys & ((1 << POSITION_BITS) - 1)
    videos = np.searchsorted(starts, places, side="right") - 1
    firsts = np.sort(np.unique(videos, return_index=True)[1])[:top]
    if len(firsts) < top:
        return None
    return keys[firsts] >> POSITION_BITS, places[firsts]
