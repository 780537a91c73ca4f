"""A video -> the most similar videos of a gallery, each with the segment that matches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from c3dhash.config import EncodeConfig
from c3dhash.errors import GalleryError
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch, Hit

if TYPE_CHECKING:  # torch is imported where a video is encoded, not to search
    from c3dhash.models.runs import Run


def encode_video(run: Run, video: Path | str, *, config: EncodeConfig | None = None) -> CodeBatch:
    """Return the codes of one video.

    Raises:
        VideoError: it cannot be decoded.
    """
    from c3dhash.models.encode import encode_videos

    run.hash_length  # noqa: B018 - a run without a hash head says so before anything is decoded
    (result,) = encode_videos(run, [Path(video)], config=config)
    if result.error is not None:
        raise result.error
    assert result.codes is not None
    return result.codes


def query_video(
    run: Run, gallery: Gallery, video: Path | str, *, top: int = 10, config: EncodeConfig | None = None
) -> list[Hit]:
    """Find the videos of a gallery that are most similar to a video, cut into windows as the gallery's are.

    Raises:
        VideoError: the video cannot be decoded.
        ModelMismatchError: the gallery holds the codes of another model.
    """
    from c3dhash.gallery.indexing import with_windows

    gallery.check_model(run.fingerprint, hash_length=run.hash_length)
    config = with_windows(config or EncodeConfig(), gallery)
    return query_codes(gallery, encode_video(run, video, config=config).codes, top=top)


def query_codes(gallery: Gallery, codes: np.ndarray, *, top: int = 10) -> list[Hit]:
    """Find the videos that hold the clips nearest to any of the given codes.

    Args:
        gallery: is searched.
        codes: of the clips of one query video, uint8 [N, ceil(hash_length / 8)].
        top: how many videos.
    Returns:
        At most `top` hits, one a video, by rising distance (then by clip id): those that a look at every clip of the
        gallery gives. The segment is that of the nearest clip.
    Raises:
        UsageError: top is below 1.
        GalleryError: the gallery is empty, or all of its videos are missing.
    """
    nearest = gallery.nearest_videos(codes, top=top)
    if not nearest and len(codes):
        num_missing = len(gallery.missing_videos())
        why = f"has only videos whose files are missing ({num_missing})" if num_missing else "is empty"
        raise GalleryError(f"gallery '{gallery.path}' {why}: run `c3dhash index DIR` first.")
    return [
        Hit(rank, distance, clip.video, clip.start_seconds, clip.end_seconds, clip.label)
        for rank, (distance, clip) in enumerate(nearest, 1)
    ]
