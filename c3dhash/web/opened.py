"""The gallery that is served, as it is now: opened again where another one lies in its place."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable
from typing import Any

from c3dhash.config import EncodeConfig
from c3dhash.errors import GalleryError
from c3dhash.gallery.query import calibration_of
from c3dhash.gallery.served import GalleryPlace, ServedGallery
from c3dhash.gallery.windows import with_windows
from c3dhash.web.names import Names
from c3dhash.web.searching import Meaning

logger = logging.getLogger(__name__)


class Opened:
    """An open gallery, what its videos are called, and what its hits mean.

    Args:
        place: where it lies; closed with it.
        run: that made its codes; None where it is not there.
    Raises:
        GalleryError: it cannot be opened.
        ModelMismatchError: it holds the codes of another model.
    """

    def __init__(self, place: GalleryPlace, run: Any) -> None:
        self.place, self.run = place, run
        self._lock = threading.Lock()
        self._gallery, self._which = self._open()
        self._former: list[ServedGallery] = []  # that lay in its place, and may still be read
        self._meaning: tuple[Any, Meaning] | None = None
        self._names = self._make_names()

    def _open(self) -> tuple[ServedGallery, Hashable]:
        gallery = self.place.open()
        try:
            if self.run is not None:
                gallery.check_model(self.run.fingerprint, hash_length=self.run.hash_length)
            return gallery, self.place.lies_there()
        except BaseException:
            gallery.close()
            raise

    @property
    def gallery(self) -> ServedGallery:
        """The gallery.

        Raises:
            GalleryError, ModelMismatchError: what lies in its place cannot be served.
        """
        with self._lock:
            if self._which != self.place.lies_there():
                gallery, which = self._open()
                config = EncodeConfig()
                if with_windows(config, gallery) != with_windows(config, self._gallery):
                    gallery.close()
                    raise GalleryError(
                        f"gallery '{gallery.path}' has other windows than before: start the server again."
                    )
                self._former.append(self._gallery)
                self._gallery, self._which = gallery, which
                logger.info("gallery '%s' is another one now: it was opened again.", gallery.path)
            return self._gallery

    @property
    def state(self) -> tuple[Hashable, Hashable]:
        """What tells the state of the gallery from every other, also from those of another one in its place."""
        gallery = self.gallery
        return self._which, gallery.state

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
        own = dict(self.place.own_names)
        if self.run is not None:
            own |= {str(path): path.name for path in (self.run.path, self.run.path.absolute())}
        with self.gallery.reading():
            return self.state, Names(self.place.name, self.gallery.root_folders(), own=own)

    @property
    def meaning(self) -> Meaning:
        """What is known of what hits mean, as it was measured last."""
        gallery, path = self.gallery, None if self.run is None else self.run.path
        of_run = path.stat().st_mtime_ns if path is not None and path.exists() else None  # files come by renaming
        state = self._which, gallery.same_film_state, of_run
        if self._meaning is None or self._meaning[0] != state:
            calibration = None if self.run is None else calibration_of(self.run)
            self._meaning = state, Meaning(calibration, gallery.same_film())
        return self._meaning[1]

    def close(self) -> None:
        """Close it, and those that lay in its place before."""
        for gallery in (self._gallery, *self._former):
            gallery.close()
        self.place.close()
