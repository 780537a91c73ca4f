"""The codes of a gallery in memory, with the clip ids and where each video begins.

Note [Fast widths]
FAISS has a special kernel for codes of 4, 8, 16, 20, 32 and 64 bytes; every other width takes a general
one that is two to four times slower. Codes are therefore padded with zero bytes to the next of these
widths, which changes no distance. Beyond 64 bytes no width is special and nothing is padded.

Note [Rising ids]
The clips of one video have consecutive ids and follow each other, and videos come in the order of their ids. So the
order of positions is that of ids, and the id at a position, like the video at it, is known from the positions at which
videos begin and the ids that they begin with: 16 bytes a video, none a clip. Among codes at one distance a search takes
those of the lowest positions: a result is ordered by (distance, id), and which of the tied codes are left out at rank k
follows from their ids, not from chance. Videos without a clip are not known here, and cannot be found either.

Note [Mapped codes]
The codes are a file that is mapped (codes_file.py) until something is added or removed. Then they are copied into
memory, with room to grow, 80 MB for ten million codes of 48 bits. Once the file was written again they are that file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.bits import check_codes, num_code_bytes, pad_codes
from c3dhash.errors import CodesError, UsageError
from c3dhash.gallery import gpu
from c3dhash.gallery.codes_file import StoredCodes, map_codes, write_codes
from c3dhash.gallery.search import near_pairs, nearest_codes, nearest_videos

FAST_NUM_BYTES = (4, 8, 16, 20, 32, 64)
NO_ID = -1
NO_DISTANCE = 2**31 - 1
CODES_AT_A_TIME = 2**16
ROOM_SHARE = 0.25  # of the codes: empty room behind them, so that not every `add` copies all


def padded_num_bytes(hash_length: int) -> int:
    """Return the width, in bytes, at which codes of `hash_length` bits are searched: Note [Fast widths]."""
    width = num_code_bytes(hash_length)
    return next((fast for fast in FAST_NUM_BYTES if fast >= width), width)


class HammingIndex:
    """Packed codes of videos, whose clips have consecutive ids, searched exactly by Hamming distance.

    Several threads may search at once; `add`, `remove` and `save` need the index for themselves.

    Attributes:
        starts: int64 [V], rising from 0: the position of the first code of each video.
        first_ids: int64 [V], rising: the id of that code.
        notes: what others measured on these codes; the next `add` or `remove` forgets it.
    """

    def __init__(self, hash_length: int) -> None:
        self.hash_length = hash_length
        self.num_bytes = padded_num_bytes(hash_length)
        self._room = np.empty((0, self.num_bytes), np.uint8)  # the codes, and more: Note [Mapped codes]
        self._size = 0
        self.starts = self.first_ids = np.empty(0, np.int64)
        self.notes: dict[str, Any] = {}

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"HammingIndex({len(self)} codes, hash_length={self.hash_length})"

    @property
    def num_videos(self) -> int:
        return len(self.starts)

    @property
    def padded_codes(self) -> np.ndarray:
        """The codes as they are searched, uint8 [G, num_bytes]: Note [Fast widths]."""
        return self._room[: self._size]

    @property
    def last_id(self) -> int:
        """The highest id, NO_ID where there is none."""
        return int(self.first_ids[-1] + len(self) - self.starts[-1] - 1) if len(self) else NO_ID

    def add(self, code_blocks: Iterable[np.ndarray], *, first_ids: np.ndarray, num_clips: np.ndarray) -> None:
        """Append whole videos; nothing where that fails.

        Args:
            code_blocks: the codes of all their clips, one after the other, in pieces: uint8 [some,
                ceil(hash_length / 8)] each.
            first_ids: int64 [V], the id of the first clip of each; rising, and above every id that is in the index or
                of a clip of a video before.
            num_clips: int64 [V], 1 or more.
        Raises:
            CodesError: the codes have another width, or are not as many; or ids that do not rise.
        """
        if first_ids.shape != num_clips.shape or not first_ids.dtype == num_clips.dtype == np.int64:
            raise CodesError(
                f"videos need int64 [V] first_ids and num_clips, got {first_ids.dtype} {list(first_ids.shape)} and "
                f"{num_clips.dtype} {list(num_clips.shape)}."
            )
        lowest = np.concatenate([[self.last_id], first_ids + num_clips - 1])[:-1] + 1
        if np.any(wrong := (first_ids < lowest) | (num_clips < 1)):
            place = int(wrong.argmax())
            raise CodesError(
                f"ids must rise: video {place} may begin at {lowest[place]}, got {num_clips[place]} clips from "
                f"{first_ids[place]}."
            )
        end, total = len(self), len(self) + int(num_clips.sum())
        self._make_room(total)
        for codes in code_blocks:
            check_codes(codes, hash_length=self.hash_length)
            begin, end = end, end + len(codes)
            if end <= total:
                self._room[begin:end] = self._padded(codes)
        if end != total:
            raise CodesError(f"videos of {int(num_clips.sum())} clips need as many codes, got {end - len(self)}.")
        self.notes.clear()
        self.starts = np.append(self.starts, len(self) + np.cumsum(num_clips) - num_clips)
        self.first_ids = np.append(self.first_ids, first_ids)
        self._size = total

    def remove(self, first_ids: np.ndarray) -> int:
        """Take videos out, in one pass over the index.

        Args:
            first_ids: int64 [N], the ids that they begin with; others are passed over.
        Returns:
            How many codes were removed.
        """
        is_kept = ~np.isin(self.first_ids, first_ids)
        if is_kept.all():
            return 0
        self.notes.clear()
        self._make_room(len(self))
        edges = np.append(self.starts, len(self))
        turns = np.flatnonzero(np.diff(is_kept, prepend=False, append=False))  # where kept videos begin and end
        size = 0
        for begin, end in edges[turns].reshape(-1, 2).tolist():
            for start in range(begin, end, CODES_AT_A_TIME):
                codes = self._room[start : min(start + CODES_AT_A_TIME, end)]
                self._room[size : size + len(codes)] = codes
                size += len(codes)
        num_removed, num_clips = len(self) - size, np.diff(edges)[is_kept]
        self._size = size
        self.starts, self.first_ids = np.cumsum(num_clips) - num_clips, self.first_ids[is_kept]
        return num_removed

    def search(self, codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest codes of each query.

        Args:
            codes: queries, uint8 [Q, ceil(hash_length / 8)].
            k: results per query, 1 or more.
        Returns:
            distances: int32 [Q, k], bits, 0..hash_length.
            ids: int64 [Q, k]. Each row is ordered by (distance, id). Where the index holds fewer than k
            codes, the rest of a row has id -1 at distance 2**31 - 1.
        Raises:
            UsageError: k is below 1.
            CodesError: the codes have another width.
        """
        if k < 1:
            raise UsageError(f"k ({k}) must be 1 or more: the number of results per query.")
        check_codes(codes, hash_length=self.hash_length, name="query codes")
        distances = np.full((len(codes), k), NO_DISTANCE, np.int32)
        ids = np.full((len(codes), k), NO_ID, np.int64)
        num_found = min(k, len(self))
        if num_found and len(codes):
            queries, on_gpu = self._padded(codes), gpu.held(self.notes, self.padded_codes, num_queries=len(codes))
            if on_gpu is None:
                found_distances, positions = nearest_codes(queries, self.padded_codes, k=num_found)
            else:
                found_distances, positions = on_gpu.nearest_codes(queries, k=num_found)
            distances[:, :num_found] = found_distances
            ids[:, :num_found] = self.ids_at(positions)
        return distances, ids

    def search_videos(
        self, codes: np.ndarray, *, top: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the videos that hold the codes nearest to any of the given ones.

        Args:
            codes: of one query video, uint8 [Q, ceil(hash_length / 8)].
            top: how many videos, 1 or more.
            allowed: bool [num_videos], which of them may be found; None for all.
        Returns:
            distances: int32 [V], bits, 0..hash_length; V is top, or how many videos are allowed, or 0 without codes.
            ids: int64 [V], of the nearest clip of each video, the lowest one of those at that distance. Ordered by
            (distance, id).
        Raises:
            UsageError: top is below 1.
            CodesError: the codes have another width.
        """
        check_top(top)
        check_codes(codes, hash_length=self.hash_length, name="query codes")
        if not len(codes) or not len(self):
            return np.empty(0, np.int32), np.empty(0, np.int64)
        on_gpu = gpu.held(self.notes, self.padded_codes, num_queries=len(codes))
        queries, top = self._padded(codes), min(top, self.num_videos)
        if on_gpu is None:
            distances, positions = nearest_videos(
                queries, self.padded_codes, starts=self.starts, top=top, allowed=allowed
            )
        else:
            distances, positions = on_gpu.nearest_videos(queries, starts=self.starts, top=top, allowed=allowed)
        return distances, self.ids_at(positions)

    def near_videos(self, codes: np.ndarray, *, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the videos that have a clip within a radius of the given codes.

        Args:
            codes: uint8 [Q, ceil(hash_length / 8)].
            radius: bits.
        Returns:
            queries, videos, distances: int64 [P] each, in the order of (query, video): of each pair that is near
            enough, which code, which video (0..num_videos - 1, in the order of the index), and the distance of its
            nearest clip.
        Raises:
            CodesError: the codes have another width.
        """
        check_codes(codes, hash_length=self.hash_length, name="query codes")
        if not len(codes) or not len(self):
            none = np.empty(0, np.int64)
            return none, none, none
        queries, positions, distances = near_pairs(self._padded(codes), self.padded_codes, radius=radius)
        videos = self._videos_at(positions)
        pairs = queries * self.num_videos + videos
        firsts = np.flatnonzero(np.diff(pairs, prepend=-1))
        if not len(firsts):
            return queries, videos, distances
        return queries[firsts], videos[firsts], np.minimum.reduceat(distances, firsts)

    def ids_at(self, positions: np.ndarray) -> np.ndarray:
        """Return the clip ids at positions, int64 of any shape."""
        videos = self._videos_at(positions)
        ids: np.ndarray = self.first_ids[videos] + positions - self.starts[videos]
        return ids

    def positions_of(self, ids: np.ndarray) -> np.ndarray:
        """Return the positions of clips of the index by their ids, int64 of any shape."""
        videos = self.videos_of(ids)
        positions: np.ndarray = self.starts[videos] + ids - self.first_ids[videos]
        return positions

    def videos_of(self, ids: np.ndarray) -> np.ndarray:
        """Return which videos of the index clips of it, int64 [N], belong to, as `near_videos` counts them."""
        videos: np.ndarray = np.searchsorted(self.first_ids, ids, side="right") - 1
        return videos

    def video(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids, int64 [N], and codes, uint8 [N, ceil(hash_length / 8)], of a video of the index."""
        start, end = self.starts[number], self.starts[number + 1] if number + 1 < self.num_videos else len(self)
        return self.first_ids[number] + np.arange(end - start), self.codes(start, end)

    def codes(self, start: int, end: int) -> np.ndarray:
        """Return the codes from a position to another, uint8 [end - start, ceil(hash_length / 8)]."""
        return self._room[start : min(end, len(self)), : num_code_bytes(self.hash_length)]

    def sample(self, num_codes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and codes, as of `video`, evenly spread over the index: all where it has fewer."""
        positions = np.unique(np.linspace(0, len(self) - 1, num_codes).astype(np.int64))
        return self.ids_at(positions), self._room[positions, : num_code_bytes(self.hash_length)]

    def save(self, path: Path, *, stamp: tuple[int, int]) -> None:
        """Write the index into a file, to be mapped.

        Args:
            path: written in place; the caller renames.
            stamp: two int64 that `load` gives back: what the index is a copy of.
        Raises:
            OSError: the file cannot be written.
        """
        stored = StoredCodes(self.padded_codes, self.starts, self.first_ids, stamp)
        write_codes(path, stored, hash_length=self.hash_length)

    def load(self, path: Path) -> tuple[int, int]:
        """Take the place of what the index holds from a file that `save` wrote: Note [Mapped codes].

        Returns:
            Its stamp.
        Raises:
            GalleryError: the file is missing, damaged, or holds codes of another length; the index stays what it is.
        """
        stored = map_codes(path, hash_length=self.hash_length, num_bytes=self.num_bytes)
        self._room, self._size = stored.codes, len(stored.codes)
        self.starts, self.first_ids = stored.starts, stored.first_ids
        self.notes.clear()
        return stored.stamp

    def _videos_at(self, positions: np.ndarray) -> np.ndarray:
        videos: np.ndarray = np.searchsorted(self.starts, positions, side="right") - 1
        return videos

    def _padded(self, codes: np.ndarray) -> np.ndarray:
        return pad_codes(codes, num_bytes=self.num_bytes)

    def _make_room(self, num_codes: int) -> None:
        """Let the codes be written to, with room for as many."""
        if len(self._room) >= num_codes and self._room.flags.writeable:
            return
        room = np.empty((num_codes + int(ROOM_SHARE * num_codes), self.num_bytes), np.uint8)
        room[: len(self)] = self.padded_codes
        self._room = room


def check_top(top: int) -> None:
    """Raise a UsageError where a number of videos to find is below 1."""
    if top < 1:
        raise UsageError(f"top ({top}) must be 1 or more: the number of videos.")
