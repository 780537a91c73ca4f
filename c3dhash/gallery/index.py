"""The codes of a gallery in memory, with clip ids and where each video begins: a FAISS binary index.

Note [Fast widths]
FAISS has a special kernel for codes of 4, 8, 16, 20, 32 and 64 bytes; every other width takes a general
one that is two to four times slower. Codes are therefore padded with zero bytes to the next of these
widths, which changes no distance. Beyond 64 bytes no width is special and nothing is padded.

Note [Rising ids]
Ids are added in rising order and removals keep the order, so the order of positions is that of ids. Among
codes at one distance FAISS keeps those of the lowest positions: a result is ordered by (distance, id), and
which of the tied codes are left out at rank k follows from their ids, not from chance.

Note [Starts of videos]
The ids of one video's clips follow each other, so a clip's video is known from the positions at which videos
begin: eight bytes a video. Those that hold no clip are not known here, and cannot be found either.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

from c3dhash.bits import check_codes, num_code_bytes, pad_codes
from c3dhash.errors import CodesError, GalleryError, UsageError
from c3dhash.gallery.search import near_pairs, nearest_codes, nearest_videos

FAST_NUM_BYTES = (4, 8, 16, 20, 32, 64)
NO_ID = -1
NO_DISTANCE = 2**31 - 1

# After the bytes of the FAISS file: the starts of the videos, int64; magic, hash_length, how many videos, stamp; then a
# CRC-32 of all that precedes it. FAISS reads such a file too, since it stops at the end of its own part.
TRAILER = struct.Struct("<8sIqqq")
CHECKSUM = struct.Struct("<I")
MAGIC = b"c3dhash2"


def padded_num_bytes(hash_length: int) -> int:
    """Return the width, in bytes, at which codes of `hash_length` bits are searched: Note [Fast widths]."""
    width = num_code_bytes(hash_length)
    return next((fast for fast in FAST_NUM_BYTES if fast >= width), width)


class HammingIndex:
    """Packed codes with rising int64 ids, those of a video one after the other, searched exactly by Hamming distance.

    Several threads may search at once; `add` and `remove` need the index for themselves.

    notes: what others measured on these codes; the next `add` or `remove` forgets it.
    """

    def __init__(self, hash_length: int) -> None:
        self.hash_length = hash_length
        self.num_bytes = padded_num_bytes(hash_length)
        self._codes = faiss.IndexBinaryFlat(8 * self.num_bytes)
        self._index = faiss.IndexBinaryIDMap(self._codes)
        self._starts = faiss.Int64Vector()  # Note [Starts of videos]
        self.notes: dict[str, Any] = {}

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def __repr__(self) -> str:
        return f"HammingIndex({len(self)} codes, hash_length={self.hash_length})"

    @property
    def ids(self) -> np.ndarray:
        """The ids, int64 [G], rising; a view that holds until the next `add` or `remove`."""
        return _view(self._index.id_map, len(self), np.int64)

    @property
    def num_videos(self) -> int:
        return int(self._starts.size())

    @property
    def starts(self) -> np.ndarray:
        """The position of the first code of each video, int64 [V], rising; a view as `ids` is."""
        return _view(self._starts, self.num_videos, np.int64)

    def add(self, codes: np.ndarray, *, ids: np.ndarray, video_ids: np.ndarray) -> None:
        """Append the codes of whole videos.

        Args:
            codes: uint8 [N, ceil(hash_length / 8)].
            ids: int64 [N], rising, and above every id that is in the index.
            video_ids: int64 [N]; equal ones, which follow each other, are one video, and none continues the last video
                of the index.
        Raises:
            CodesError: the codes have another width, or the ids another shape or order.
        """
        check_codes(codes, hash_length=self.hash_length)
        for name, numbers in (("ids", ids), ("video_ids", video_ids)):
            if numbers.dtype != np.int64 or numbers.shape != codes.shape[:1]:
                raise CodesError(
                    f"{len(codes)} codes need int64 [{len(codes)}] {name}, got {numbers.dtype} {list(numbers.shape)}."
                )
        if not len(ids):
            return
        last = int(self.ids[-1]) if len(self) else NO_ID
        falls = np.flatnonzero(ids <= np.concatenate([[last], ids[:-1]]))
        if len(falls):
            raise CodesError(f"ids must rise and lie above {last}, got {ids[falls[0]]} at place {falls[0]}.")
        self.notes.clear()
        is_first = np.concatenate([[True], video_ids[1:] != video_ids[:-1]])
        self._append_starts(len(self) + np.flatnonzero(is_first))
        self._index.add_with_ids(pad_codes(codes, num_bytes=self.num_bytes), ids)

    def remove(self, ids: np.ndarray) -> int:
        """Take codes out, in one pass over the index.

        Args:
            ids: int64 [N]; those that are not in the index are passed over.
        Returns:
            How many codes were removed.
        """
        ids = np.unique(ids[ids <= self.ids[-1]]) if len(self) else ids[:0]
        removed = np.searchsorted(self.ids, ids)
        removed = removed[self.ids[removed] == ids]
        if not len(removed):
            return 0
        self.notes.clear()
        starts = self.starts - np.searchsorted(removed, self.starts)
        ends = np.append(starts[1:], len(self) - len(removed))
        self._starts = faiss.Int64Vector()
        self._append_starts(starts[starts < ends])
        self._index.remove_ids(self.ids[removed])
        return len(removed)

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
            found_distances, positions = nearest_codes(self._padded(codes), self._all_codes(), k=num_found)
            distances[:, :num_found] = found_distances
            ids[:, :num_found] = self.ids[positions]
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
        distances, positions = nearest_videos(
            self._padded(codes),
            self._all_codes(),
            starts=self.starts,
            top=min(top, self.num_videos),
            allowed=allowed,
        )
        return distances, self.ids[positions]

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
        queries, positions, distances = near_pairs(self._padded(codes), self._all_codes(), radius=radius)
        videos = self._videos_at(positions)
        pairs = queries * self.num_videos + videos
        firsts = np.flatnonzero(np.diff(pairs, prepend=-1))
        if not len(firsts):
            return queries, videos, distances
        return queries[firsts], videos[firsts], np.minimum.reduceat(distances, firsts)

    def videos_of(self, ids: np.ndarray) -> np.ndarray:
        """Return which videos of the index clips of it, int64 [N], belong to, as `near_videos` counts them."""
        return self._videos_at(np.searchsorted(self.ids, ids))

    def video(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids, int64 [N], and codes, uint8 [N, ceil(hash_length / 8)], of a video of the index."""
        end = self.starts[number + 1] if number + 1 < self.num_videos else len(self)
        return self._at(slice(self.starts[number], end))

    def sample(self, num_codes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and codes, as of `video`, evenly spread over the index: all where it has fewer."""
        return self._at(np.unique(np.linspace(0, len(self) - 1, num_codes).astype(np.int64)))

    def save(self, path: Path, *, stamp: tuple[int, int]) -> None:
        """Write the index as a FAISS file that ends in a stamp and a checksum.

        Args:
            path: written in place; the caller renames.
            stamp: two int64 that `load` gives back: what the index is a copy of.
        Raises:
            OSError: the file cannot be written.
        """
        with path.open("wb") as file:
            checksum = 0

            def write(data: bytes) -> int:
                nonlocal checksum
                checksum = zlib.crc32(data, checksum)
                return file.write(data)

            faiss.write_index_binary(self._index, faiss.PyCallbackIOWriter(write))
            write(self.starts.astype("<i8").tobytes())
            write(TRAILER.pack(MAGIC, self.hash_length, self.num_videos, *stamp))
            file.write(CHECKSUM.pack(checksum))

    @classmethod
    def load(cls, path: Path, *, hash_length: int) -> tuple[HammingIndex, tuple[int, int]]:
        """Read what `save` wrote.

        Returns:
            The index and its stamp.
        Raises:
            GalleryError: the file is missing, damaged, or holds codes of another length.
        """
        index = cls(hash_length)
        try:
            with path.open("rb") as file:
                saved_hash_length, starts, stamp = _read_trailer(file)
                if saved_hash_length != hash_length:
                    raise ValueError(f"it holds {saved_hash_length}-bit codes, not {hash_length}-bit ones")
                index._append_starts(starts)
                index._index = faiss.read_index_binary(faiss.PyCallbackIOReader(file.read))
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise GalleryError(f"index '{path}' cannot be read: {reason}.") from error
        index._codes = faiss.downcast_IndexBinary(index._index.index)
        return index, stamp

    def _at(self, positions: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and codes, without what they are padded with."""
        return self.ids[positions], self._all_codes()[positions, : num_code_bytes(self.hash_length)]

    def _videos_at(self, positions: np.ndarray) -> np.ndarray:
        videos: np.ndarray = np.searchsorted(self.starts, positions, side="right") - 1
        return videos

    def _all_codes(self) -> np.ndarray:
        """Show the codes, uint8 [G, num_bytes]; there must be one."""
        return _view(self._codes.xb, len(self) * self.num_bytes, np.uint8).reshape(len(self), -1)

    def _padded(self, codes: np.ndarray) -> np.ndarray:
        return pad_codes(codes, num_bytes=self.num_bytes)

    def _append_starts(self, starts: np.ndarray) -> None:
        size = self.num_videos
        self._starts.resize(size + len(starts))
        self.starts[size:] = starts


def check_top(top: int) -> None:
    """Raise a UsageError where a number of videos to find is below 1."""
    if top < 1:
        raise UsageError(f"top ({top}) must be 1 or more: the number of videos.")


def _view(vector: Any, size: int, dtype: type) -> np.ndarray:
    """Show a C++ vector as an array, without a copy."""
    return faiss.rev_swig_ptr(vector.data(), size) if size else np.empty(0, dtype)


def _read_trailer(file: BinaryIO) -> tuple[int, np.ndarray, tuple[int, int]]:
    """Verify the checksum of a saved index, leave the file at its start, return hash_length, starts and stamp.

    Raises:
        ValueError: the file is no whole saved index.
    """
    checksum, tail = 0, b""
    while chunk := file.read(2**20):
        data = tail + chunk
        tail = data[-CHECKSUM.size :]
        checksum = zlib.crc32(memoryview(data)[: -CHECKSUM.size], checksum)
    end = file.tell() - TRAILER.size - CHECKSUM.size
    if end < 0 or CHECKSUM.unpack(tail)[0] != checksum:
        raise ValueError("its checksum does not match")
    file.seek(end)
    magic, hash_length, num_videos, *stamp = TRAILER.unpack(file.read(TRAILER.size))
    if magic != MAGIC:
        raise ValueError(f"it ends in {magic!r} instead of {MAGIC!r}")
    file.seek(end - 8 * num_videos)
    starts = np.frombuffer(file.read(8 * num_videos), "<i8")
    file.seek(0)
    return hash_length, starts, (stamp[0], stamp[1])
