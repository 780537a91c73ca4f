"""An approximate index of a state of a gallery, and the codes as they are now -> what is nearest now.

Note [Never out of date]
    built of:    | a | b | c |  d  |                 removed since: b; added since: e, f
    now:         | a | c |  d  | e | f |
                   found by the index   searched exactly: the tail
    Clips keep their ids, and those that come have higher ones. So what the index finds is moved to where the video is
    now, what is gone is left out, and everything behind the last id that the index knows is searched exactly. An index
    that does not know all other videos, as of a state that is still to come, is not used at all.
    The kinds of FAISS take no selector (kinds.py): they are asked for more than needed, so that enough is left of what
    may be found; where it is not, or the lists are too short to tell (lists.py), all codes are searched exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from c3dhash.bits import check_codes, pad_codes
from c3dhash.gallery.approximate_file import StoredIndex
from c3dhash.gallery.index import NO_DISTANCE, NO_ID, HammingIndex, check_top
from c3dhash.gallery.kinds import KINDS, search
from c3dhash.gallery.lists import NO_END, codes_of_lists, ends_of, videos_of_lists
from c3dhash.gallery.search import nearest_codes, nearest_videos

MIN_ASKED, MAX_ASKED = 64, 4096  # codes a query; beyond, an exact search costs no more than sorting out what is found
MORE_ASKED = 4  # times, where it was not enough


class Moves(NamedTuple):
    """How an index follows the codes of now: Note [Never out of date].

    shifts: int64 [V], of each video that the index knows, by how much its codes moved. is_there: bool [V]. numbers:
    int64 [V], its number now. share: of the codes it knows, how many are there. tail: the position from which on it
    knows none. tail_video: the number of the first video there.
    """

    shifts: np.ndarray
    is_there: np.ndarray
    numbers: np.ndarray
    share: float
    tail: int
    tail_video: int


class ApproximateIndex:
    """An index of FAISS, searched as what a HammingIndex holds now.

    Attributes:
        stored: what the file of it holds.
    """

    def __init__(self, stored: StoredIndex) -> None:
        self.stored = stored
        KINDS[stored.facts.kind].set_effort(stored.index, stored.facts.effort)

    def __repr__(self) -> str:
        return f"ApproximateIndex({self.stored.num_codes} codes, {self.stored.facts.kind})"

    def moves(self, index: HammingIndex) -> Moves | None:
        """Return how this follows an index; None where it cannot."""
        whose, noted = index.notes.get("moves", (None, None))
        if whose is not self:
            noted = self._moves(index)
            index.notes["moves"] = self, noted
        moves: Moves | None = noted
        return moves

    def share_changed(self, index: HammingIndex) -> float:
        """Return which share of the codes of an index came or went since, 0 and above; 1 where it cannot follow."""
        moves = self.moves(index)
        if moves is None:
            return 1.0
        num_removed = self.stored.num_codes - moves.tail
        return (num_removed + len(index) - moves.tail) / max(1, len(index))

    def search(self, index: HammingIndex, codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find k near codes of each query, nearly all of them the nearest; else as `HammingIndex.search`.

        Ordered by (distance, id), at their exact distances; of codes tied at the last rank any may be there. A query of
        which the index finds fewer than k is answered exactly.
        """
        moves = self.moves(index)
        if moves is None or k < 1 or k > MAX_ASKED // 2 or not len(codes) or moves.tail < k:
            return index.search(codes, k=k)
        check_codes(codes, hash_length=index.hash_length, name="query codes")
        queries = pad_codes(codes, num_bytes=index.num_bytes)
        distances, positions = self._lists(moves, queries, num_asked=min(MAX_ASKED, int(k / moves.share) + k))
        is_full = np.count_nonzero(positions >= 0, axis=1) >= k  # what is in the tail says nothing of the others
        if moves.tail < len(index):
            tail = index.padded_codes[moves.tail :]
            others = nearest_codes(queries, tail, k=min(k, len(tail)))
            distances = np.concatenate([distances, others[0]], axis=1)
            positions = np.concatenate([positions, others[1] + moves.tail], axis=1)
        no_ends = np.full(len(queries), NO_END, np.int64)  # what may have been cut off is as far as what is taken
        distances, positions, _ = codes_of_lists(distances, positions, ends=no_ends, k=k)
        ids = np.where(positions < 0, NO_ID, index.ids_at(np.maximum(positions, 0)))
        distances[positions < 0] = NO_DISTANCE
        if not is_full.all():
            distances[~is_full], ids[~is_full] = index.search(codes[~is_full], k=k)
        return distances, ids

    def search_videos(
        self, index: HammingIndex, codes: np.ndarray, *, top: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the videos that hold codes near to any of the given ones; else as `HammingIndex.search_videos`."""
        check_top(top)
        check_codes(codes, hash_length=index.hash_length, name="query codes")
        moves = self.moves(index)
        if moves is not None and len(codes) and len(index):
            queries = np.unique(pad_codes(codes, num_bytes=index.num_bytes), axis=0)
            found = self._near_videos(index, moves, queries, top=top, allowed=allowed)
            if found is not None:
                return found[0].astype(np.int32), index.ids_at(found[1])
        return index.search_videos(codes, top=top, allowed=allowed)

    def _near_videos(
        self, index: HammingIndex, moves: Moves, queries: np.ndarray, *, top: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return distances and positions as of `search.nearest_videos`; None where only an exact search can tell."""
        may_be = moves.is_there if allowed is None else moves.is_there & allowed[moves.numbers]
        share = self._num_clips[may_be].sum() / self.stored.num_codes
        of_body = min(top, int(may_be.sum()))
        found = [] if of_body else [(np.empty(0, np.int64), np.empty(0, np.int64))]
        num_asked = max(MIN_ASKED, int(2 * of_body / share)) if of_body else MAX_ASKED + 1
        while num_asked <= MAX_ASKED:
            distances, positions, ends = self._raw_lists(queries, num_asked=num_asked)
            positions = self._move(moves, positions, may_be)
            videos = videos_of_lists(distances, positions, ends=ends, starts=index.starts, top=of_body)
            if videos is not None:
                found.append(videos)
                break
            if (ends == NO_END).all():
                return None  # there is no more to be had
            num_asked *= MORE_ASKED
        if not found:
            return None
        if moves.tail < len(index):
            starts = index.starts[moves.tail_video :] - moves.tail
            passes = None if allowed is None else allowed[moves.tail_video :]
            others = nearest_videos(
                queries, index.padded_codes[moves.tail :], starts=starts, top=min(top, len(starts)), allowed=passes
            )
            found.append((others[0].astype(np.int64), others[1] + moves.tail))
        distances, positions = (np.concatenate([each[part] for each in found]) for part in (0, 1))
        order = np.lexsort((positions, distances))[:top]
        return distances[order], positions[order]

    def _lists(self, moves: Moves, queries: np.ndarray, *, num_asked: int) -> tuple[np.ndarray, np.ndarray]:
        distances, positions, _ = self._raw_lists(queries, num_asked=num_asked)
        return distances, self._move(moves, positions, moves.is_there)

    def _raw_lists(self, queries: np.ndarray, *, num_asked: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what FAISS finds, distances and positions when it was built, and where the lists end."""
        distances, positions = search(self.stored.index, queries, num_asked)
        return distances, positions, ends_of(distances, positions)

    def _move(self, moves: Moves, positions: np.ndarray, may_be: np.ndarray) -> np.ndarray:
        """Return where codes are now, -1 for those of videos that may not be found."""
        videos = np.searchsorted(self.stored.starts, positions, side="right") - 1  # -1 where there is no entry
        is_found = (positions >= 0) & may_be[videos]
        moved: np.ndarray = np.where(is_found, positions + moves.shifts[videos], -1)
        return moved

    def _moves(self, index: HammingIndex) -> Moves | None:
        first_ids, starts = self.stored.first_ids, self.stored.starts
        last_id = int(first_ids[-1]) + self.stored.num_codes - int(starts[-1]) - 1
        tail_video = int(np.searchsorted(index.first_ids, last_id, side="right"))
        numbers = np.searchsorted(index.first_ids[:tail_video], first_ids)
        is_there = numbers < tail_video
        numbers = np.where(is_there, numbers, 0)
        if tail_video:
            is_there &= index.first_ids[numbers] == first_ids
        tail = int(index.starts[tail_video]) if tail_video < index.num_videos else len(index)
        if not tail or int(self._num_clips[is_there].sum()) != tail:
            return None
        shifts = index.starts[numbers] - starts
        return Moves(shifts, is_there, numbers, tail / self.stored.num_codes, tail, tail_video)

    @property
    def _num_clips(self) -> np.ndarray:
        return np.diff(np.append(self.stored.starts, self.stored.num_codes))
