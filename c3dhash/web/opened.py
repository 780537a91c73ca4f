"""The gallery that is served, as it is now: opened again where another one lies in its place."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from c3dhash.config import EncodeConfig
from c3dhash.errors import GalleryError
from c3dhash.gallery.query import calibration_of
from c3dhash.gallery.same_film import COPIES_NAME
from c3dhash.gallery.store import CATALOG_NAME, Gallery
from c3dhash.gallery.windows import with_windows
from c3dhash.web.names import Names
from c3dhash.web.searching import Meaning

logger = logging.getLogger(__name__)


class Opened:
    """An open gallery, what its videos are called, and what its hits mean.

    Args:
        path: its folder.
        run: that made its codes; None where it is not there.
    Raises:
        GalleryError: it cannot be opened.
        ModelMismatchError: it holds the codes of another model.
    """

    def __init__(self, path: Path, run: Any) -> None:
        self.path, self.run = path, run
        self._lock = threading.Lock()
        self._gallery, self._file = self._open()
        self._former: list[Gallery] = []  # that lay in its place, and may still be read
        self._meaning: tuple[Any, Meaning] | None = None
        self._names = self._make_names()

    def _open(self) -> tuple[Gallery, tuple[int, int]]:
        gallery = Gallery.open(self.path)
        try:
            if self.run is not None:
                gallery.check_model(self.run.fingerprint, hash_length=self.run.hash_length)
            return gallery, self._catalog_file()
        except BaseException:
            gallery.close()
            raise

    def _catalog_file(self) -> tuple[int, int]:
        try:
            facts = (self.path / CATALOG_NAME).stat()
        except OSError as error:
            raise GalleryError(f"gallery '{self.path}' is not there ({error.strerror}).") from error
        return facts.st_dev, facts.st_ino

    @property
    def gallery(self) -> Gallery:
        """The gallery.

        Raises:
            GalleryError, ModelMismatchError: what lies in its place cannot be served.
        """
        with self._lock:
            if self._file != self._catalog_file():
                gallery, file = self._open()
                config = EncodeConfig()
                if with_windows(config, gallery) != with_windows(config, self._gallery):
                    gallery.close()
                    raise GalleryError(f"gallery '{self.path}' has other windows than before: start the server again.")
                self._former.append(self._gallery)
                self._gallery, self._file = gallery, file
                logger.info("gallery '%s' is another one now: it was opened again.", self.path)
            return self._gallery

    @property
    def state(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """What tells the state of the gallery from every other, also from those of another one in its place."""
        gallery = self.gallery
        return self._file, gallery.state

    @property
    def names(self) -> Names:
        """What the gallery's videos are called by strangers."""
        if self._names[0] != self.state:
            self._names = self._make_names()
        return self._names[1]

    @property
    def latest_names(self) -> Names:
        """What they were called when somebody last asked: for texts, which wait for no gallery."""
        return self._names[1]

    def _make_names(self) -> tuple[Any, Names]:
        with self.gallery.reading():
            run_path = None if self.run is None else self.run.path
            return self.state, Names(self.path, self.gallery.root_folders(), run=run_path)

    @property
    def meaning(self) -> Meaning:
        """What is known of what hits mean, as it was measured last."""
        places = [self.path / COPIES_NAME, *([] if self.run is None else [self.run.path])]  # files come by renaming
        state = [place.stat().st_mtime_ns if place.exists() else None for place in places]
        if self._meaning is None or self._meaning[0] != state:
            calibration = None if self.run is None else calibration_of(self.run)
            self._meaning = state, Meaning(calibration, self.gallery.same_film())
        return self._meaning[1]

    def close(self) -> None:
        """Close it, and those that lay in its place before."""
        for gallery in (self._gallery, *self._former):
            gallery.close()
