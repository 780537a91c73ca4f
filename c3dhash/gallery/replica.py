"""The search index of a gallery as a replica of its catalog, and the file that keeps it.

Note [Index as a replica]
The index knows the revision of the catalog that it equals. Before each search the two are compared; where
they differ, whoever wrote, the index takes in what changed since: the clips above its highest id and the
removals after its revision. An index made from nothing is the same step from revision 0. Adding a video
therefore costs nothing that grows with the gallery, and a reader follows a writer in another process.
The file is a cache: missing, damaged or foreign, it is made again. It is written once a share of the clips
has changed since the last time, so that the cost of writing stays a share of the cost of adding.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import numpy as np

from c3dhash.errors import GalleryError
from c3dhash.files import clear_leftovers, replacing
from c3dhash.gallery.catalog import EMPTY, Catalog, Revision
from c3dhash.gallery.index import HammingIndex

logger = logging.getLogger(__name__)

FORMER_NAME = "index.faiss"  # of this file, until schema 3; where its magic stood, from the end of the file
FORMER_MAGICS = {b"c3dhash1": -32, b"c3dhash2": -40}
SAVE_SHARE = 0.05  # of the clips: with fewer changes than that, the file is left as it is


class Replica:
    """A HammingIndex that follows a catalog, loaded when it is first asked for.

    Args:
        catalog: what it follows.
        path: the file of the index, where there is one or not.
    """

    def __init__(self, catalog: Catalog, path: Path) -> None:
        self.path = path
        self._catalog = catalog
        self._index: HammingIndex | None = None
        self._revision = EMPTY
        self._num_unsaved = 0  # changes taken in since the file was read or written

    def index(self) -> HammingIndex:
        """Return the index as the catalog is now.

        Raises:
            GalleryError: the catalog cannot be read.
        """
        if self._index is None:
            self._index = HammingIndex(self._catalog.hash_length)
            self._revision = self._load(self._index)
        index = self._index
        if self._catalog.revision() == self._revision:
            return index
        with self._catalog.snapshot():
            updated = self._update(index, self._revision)
        if updated is None:
            logger.info("'%s' is no copy of any state of the catalog: it is built again.", self.path)
            self._index, self._revision = HammingIndex(self._catalog.hash_length), EMPTY
            return self.index()
        self._revision, num_changed = updated
        self._num_unsaved += num_changed
        if self._num_unsaved and self._num_unsaved >= SAVE_SHARE * len(index):
            self._save(index)
        return index

    @property
    def revision(self) -> Revision:
        """The state of the catalog that the index was brought up to last."""
        return self._revision

    def problem(self) -> str | None:
        """Say what is wrong with the file, which is compared with the catalog code by code; None where nothing is.

        There need be no file, and one of an earlier state is right where it can be brought up to date.
        """
        if not self.path.exists():
            return None
        index = HammingIndex(self._catalog.hash_length)
        try:
            revision = Revision(*index.load(self.path))
        except GalleryError as error:
            return str(error)
        with self._catalog.snapshot():
            if self._update(index, revision) is None:
                return f"'{self.path}' is no copy of any state of the catalog."
            truth = self._catalog.changes(since=EMPTY, last_id=0)
            if truth is None or not np.array_equal(index.first_ids, truth.first_ids):
                return f"'{self.path}' holds other videos than the catalog."
            end = 0
            for codes in self._catalog.codes():
                start, end = end, end + len(codes)
                if not np.array_equal(index.codes(start, end), codes):
                    first_id, last_id = index.ids_at(np.clip([start, end - 1], 0, len(index) - 1))
                    return f"'{self.path}' holds other codes than the catalog among clips {first_id} to {last_id}."
        return None

    def _update(self, index: HammingIndex, revision: Revision) -> tuple[Revision, int] | None:
        """Bring an index up to the state of the catalog; inside a snapshot.

        Returns:
            That state, and how many clips were removed and added; None where `revision` was never a state.
        """
        changes = self._catalog.changes(since=revision, last_id=index.last_id)
        if changes is None:
            return None
        logger.debug("'%s' takes in %r", self.path, changes)
        codes = self._catalog.codes(after_id=index.last_id)
        num_removed = index.remove(changes.removed)
        index.add(codes, first_ids=changes.first_ids, num_clips=changes.num_clips)
        return changes.revision, num_removed + int(changes.num_clips.sum())

    def _load(self, index: HammingIndex) -> Revision:
        """Read the file, and return what state it is of; nothing where it cannot be used."""
        try:
            return Revision(*index.load(self.path))
        except GalleryError as error:
            level = logging.INFO if self.path.exists() else logging.DEBUG  # a new gallery has none yet
            logger.log(level, "%s It is built from the catalog.", error)
            return EMPTY

    def _save(self, index: HammingIndex) -> None:
        """Write the file under a temporary name, rename it and map it; where that fails, do without it."""
        clear_leftovers(self.path.parent)
        try:
            with replacing(self.path, is_durable=False) as partial:
                index.save(partial, stamp=(self._revision.number, self._revision.token))
            index.load(self.path)
            self._num_unsaved = 0
            _delete_former(self.path.with_name(FORMER_NAME))
        except (OSError, GalleryError) as error:
            logger.info("'%s' was not saved (%s): it is built again next time.", self.path, error)


def _delete_former(path: Path) -> None:
    """Delete the file of an earlier version, if it is one of ours."""
    with contextlib.suppress(OSError):
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 40))
            tail = file.read()
        if any(tail[place : place + 8] == magic for magic, place in FORMER_MAGICS.items()):
            path.unlink()
