"""What a server asks of a gallery, wherever that is, beside what a query does: look-ups, lists, and where it lies.

    web/service.py ──> ServedGallery    store.Gallery    cluster.remote.RemoteGallery
    web/opened.py ──> GalleryPlace      Folder           cluster.remote_place.RemotePlace

What only a gallery on a disk can do (duplicates, notes of what is no match, what is missing or failed) is in neither.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from c3dhash.errors import GalleryError
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.searched import SearchedGallery
from c3dhash.gallery.store import CATALOG_NAME, Gallery
from c3dhash.records import CodeBatch

if TYPE_CHECKING:
    from c3dhash.gallery.catalog import GalleryClip, GalleryVideo, VideoTimes


class ServedGallery(SearchedGallery, Protocol):
    """A gallery that can be served: many threads ask it at a time. All as of `store.Gallery`."""

    @property
    def num_videos(self) -> int: ...
    @property
    def state(self) -> Hashable: ...
    @property
    def same_film_state(self) -> Hashable: ...
    def __len__(self) -> int: ...
    def close(self) -> None: ...
    def reading(self) -> AbstractContextManager[None]: ...
    def check_labels(self, only: VideoFilter) -> None: ...
    def root_folders(self) -> list[str]: ...
    def videos(self) -> list[GalleryVideo]: ...
    def page(
        self,
        only: VideoFilter | None = None,
        *,
        text: str = "",
        is_missing: bool = False,
        offset: int = 0,
        limit: int = 100,
    ) -> tuple[int, list[GalleryVideo]]: ...
    def video(self, video_id: int) -> GalleryVideo | None: ...
    def clip(self, clip_id: int) -> GalleryClip | None: ...
    def codes_of(self, video_id: int) -> tuple[np.ndarray, CodeBatch]: ...
    def times_of(self, names: Sequence[str]) -> list[VideoTimes]: ...
    def middle_clips(self, video_ids: Iterable[int]) -> list[int | None]: ...
    def sample(self, most: int) -> tuple[list[GalleryClip], np.ndarray]: ...


class GalleryPlace(Protocol):
    """Where a gallery lies.

    name: what strangers call it. own_names: texts about this machine or that of the gallery, as they stand in errors ->
    what strangers read in their place.
    """

    @property
    def name(self) -> str: ...
    @property
    def own_names(self) -> Mapping[str, str]: ...

    def open(self) -> ServedGallery:
        """Open what lies there now.

        Raises:
            GalleryError: nothing, or what cannot be opened.
        """
        ...

    def lies_there(self) -> Hashable:
        """Return what tells the gallery that lies there now from every other that may come into its place.

        Raises:
            GalleryError: nothing lies there, or it cannot be reached.
        """
        ...

    def close(self) -> None:
        """Let go of what `lies_there` may hold."""
        ...


class Folder:
    """A folder on a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.name = self.path.name or "gallery"
        self.own_names = {str(path): self.name, str(self.path): self.name}

    def open(self) -> Gallery:
        return Gallery.open(self.path)

    def lies_there(self) -> tuple[int, int]:
        try:
            facts = (self.path / CATALOG_NAME).stat()
        except OSError as error:
            raise GalleryError(f"gallery '{self.path}' is not there ({error.strerror}).") from error
        return facts.st_dev, facts.st_ino

    def close(self) -> None:
        """Nothing is held."""
