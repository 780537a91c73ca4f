"""JHMDB as its authors publish it: splits/ beside the class folders, of videos or of frame folders.

Source: Jhuang et al., "Towards Understanding Action Recognition", ICCV 2013. The lists have the form of HMDB51's,
without code 0. Videos lie in `ReCompress_Videos/<class>/`, frames in `Frames/<class>/<video>/00001.png` (or
`Rename_Images`). The retrieval lists with a gallery of their own (`train_10_210.txt`, `db_20_420.txt`,
`test_10_210.txt`) are plain list files: see c3dhash.datasets.lists.
"""

from __future__ import annotations

from pathlib import Path

from c3dhash.datasets import hmdb51
from c3dhash.datasets.assemble import Listing
from c3dhash.errors import DatasetError

CLASSES = frozenset((
    "brush_hair", "catch", "clap", "climb_stairs", "golf", "jump", "kick_ball", "pick", "pour", "pullup", "push",
    "run", "shoot_ball", "shoot_bow", "shoot_gun", "sit", "stand", "swing_baseball", "throw", "walk", "wave",
))  # fmt: skip


def recognise(directory: Path) -> bool:
    """Tell whether a folder holds lists of JHMDB's classes, and not in the folder that HMDB51's come in."""
    list_dir = hmdb51.find_list_dir(directory)
    if list_dir is None or list_dir.name in hmdb51.OWN_LIST_DIRS:
        return False
    return {match["class_name"] for _, match in hmdb51.class_lists(list_dir)} <= CLASSES


def read(directory: Path, *, split: int) -> Listing:
    """Read one of the three official splits: 1 -> train, 2 -> query."""
    if hmdb51.find_list_dir(directory) is None:
        raise DatasetError(f"'{directory}' has no lists 'splits/CLASS_test_splitN.txt', which JHMDB comes with.")
    return hmdb51.read(directory, split=split)
