"""What a query asks of a gallery, wherever that is: a folder on a disk, or a collection of a database.

    query.py ──> SearchedGallery     store.Gallery          cluster.remote.RemoteGallery
    evidence.py ──> SearchedCodes    index.HammingIndex     cluster.remote_codes.RemoteCodes

Both give the same hits of the same codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from c3dhash.errors import ModelMismatchError
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.same_film import SameFilm
from c3dhash.records import CodeBatch

if TYPE_CHECKING:
    from c3dhash.gallery.catalog import GalleryClip
    from c3dhash.gallery.evidence import VideoEvidence


class SearchedGallery(Protocol):
    """A gallery that can be searched.

    path: its folder, or its address, for messages. The rest as of `store.Gallery`.
    """

    @property
    def path(self) -> Path | str: ...
    @property
    def hash_length(self) -> int: ...
    @property
    def model_fingerprint(self) -> str: ...
    @property
    def model_name(self) -> str: ...
    @property
    def run(self) -> Mapping[str, object]: ...

    def check_model(self, fingerprint: str, *, hash_length: int) -> None: ...
    def check_filter(self, only: VideoFilter) -> None: ...
    def check_filled(self) -> None: ...
    def same_film(self) -> SameFilm | None: ...
    def similar_videos(
        self, query: CodeBatch, *, top: int, only: VideoFilter | None, radius: int | None, any_speed: bool
    ) -> list[tuple[VideoEvidence, GalleryClip]]: ...


class Allowed(Protocol):
    """Which videos may be found, by their numbers, as a bool array tells it: asked for some, and told of others."""

    def __getitem__(self, videos: Any, /) -> Any: ...
    def __setitem__(self, video: Any, value: Any, /) -> None: ...


class SearchedCodes(Protocol):
    """Codes of videos that can be searched; methods as of `index.HammingIndex`.

    starts, sample and codes are asked for only where `notes` does not have what chance.py measures with them.
    """

    @property
    def hash_length(self) -> int: ...
    @property
    def notes(self) -> dict[str, Any]: ...
    @property
    def num_videos(self) -> int: ...
    @property
    def starts(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def search_videos(self, codes: np.ndarray, *, top: int, allowed: Any) -> tuple[np.ndarray, np.ndarray]: ...
    def near_videos(self, codes: np.ndarray, *, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
    def videos_of(self, ids: np.ndarray) -> np.ndarray: ...
    def video(self, number: int) -> tuple[np.ndarray, np.ndarray]: ...
    def sample(self, num_codes: int) -> tuple[np.ndarray, np.ndarray]: ...
    def codes(self, start: int, end: int) -> np.ndarray: ...


def check_same_model(gallery: SearchedGallery, fingerprint: str, *, hash_length: int) -> None:
    """Raise a ModelMismatchError unless a gallery holds the codes of this model."""
    if (fingerprint, hash_length) == (gallery.model_fingerprint, gallery.hash_length):
        return
    own = f"{gallery.hash_length}-bit codes of model {gallery.model_fingerprint[:8]}…"
    way_out = f"--model {gallery.model_name}" if gallery.model_name else "the model that it was indexed with"
    raise ModelMismatchError(
        f"gallery '{gallery.path}' holds {own}, got a {hash_length}-bit model {fingerprint[:8]}…: "
        f"query with {way_out} or index again."
    )
