"""Rows that are computed once and read in each epoch: in memory, or in a file that goes when the process ends."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from c3dhash.errors import TrainingError

logger = logging.getLogger(__name__)

IN_MEMORY_BYTES = 1 << 30  # what is kept beyond that lies in a file
SPARE_BYTES = 1 << 30  # left free on the disk


class Rows:
    """Arrays of one type and several shapes.

    Args:
        values: of all of them, one after the other: [sum of their sizes].
        shapes: of each, as they lie there.
        order: which of them is row 0, row 1 and so on; by default as they lie there.
    """

    def __init__(self, values: np.ndarray, shapes: Sequence[tuple[int, ...]], order: np.ndarray | None = None) -> None:
        self._values, self._shapes = values, shapes
        self._places = np.arange(len(shapes)) if order is None else order
        self._ends = np.cumsum([0, *(np.prod(shape, dtype=np.int64) for shape in shapes)])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> np.ndarray:
        place = self._places[row]
        part: np.ndarray = self._values[self._ends[place] : self._ends[place + 1]]
        return part.reshape(self._shapes[place])


def put_together(parts: Iterable[np.ndarray], *, num_parts: int, directory: Path) -> np.ndarray:
    """Concatenate arrays [B, ...]: in memory, or, where they are large, in a file that goes when the process ends.

    Args:
        num_parts: about how many there will be, to find out early that there is no room.
        directory: where the file lies, without a name.
    Raises:
        TrainingError: the disk has no room for it.
    """
    kept: deque[np.ndarray] = deque()
    parts, num_bytes = iter(parts), 0
    for part in parts:
        kept.append(part)
        num_bytes += part.nbytes
        if num_bytes > IN_MEMORY_BYTES:
            break
    else:
        return np.concatenate(list(kept))
    _require_room(num_bytes * max(num_parts, len(kept)) // len(kept), directory)
    logger.info("what the frozen stages give is kept on the disk while this trains.")
    dtype, shape = kept[0].dtype, kept[0].shape[1:]
    with tempfile.TemporaryFile(dir=directory) as file:
        for part in chain((kept.popleft() for _ in range(len(kept))), parts):
            _require_room(part.nbytes, directory)
            file.write(np.ascontiguousarray(part).data)
        file.flush()
        row_bytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        return np.memmap(file, dtype=dtype, mode="r", shape=(file.tell() // row_bytes, *shape))


def _require_room(num_bytes: int, directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if num_bytes + SPARE_BYTES > free:
        raise TrainingError(
            f"what the frozen stages give takes another {num_bytes / 2**30:.1f} GiB, and '{directory}' has "
            f"{free / 2**30:.1f}: take fewer --views, or --freeze, which keeps features only."
        )
