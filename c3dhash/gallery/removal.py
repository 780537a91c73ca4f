"""Names or a filter -> the videos of a gallery that are meant, to be taken out of it. No file is ever touched."""

from __future__ import annotations

from collections.abc import Sequence

from c3dhash.errors import UsageError
from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.filters import VideoFilter, find_video
from c3dhash.gallery.store import Gallery


def chosen_videos(gallery: Gallery, names: Sequence[str], *, only: VideoFilter | None = None) -> list[GalleryVideo]:
    """Find the videos that are meant, missing ones too, in the order of their names.

    Args:
        names: as the gallery has them, or paths of their files as seen from here.
        only: in their place, which videos, whatever their content.
    Raises:
        UsageError: a name is not in the gallery, no video passes the filter, or neither or both are given.
    """
    if bool(names) == bool(only):
        raise UsageError("name videos, or say which by --label and --folder: one of the two.")
    with gallery.reading():
        if only:
            gallery.check_labels(only)
            found = [*gallery.videos(only), *gallery.missing_videos(only)]
            if not found:
                raise UsageError(f"gallery '{gallery.path}' has no video that passes ({only}).")
        else:
            known = {video.video: video for video in [*gallery.videos(), *gallery.missing_videos()]}
            found = list({video.video: video for video in (_find(known, gallery, name) for name in names)}.values())
    return sorted(found, key=lambda video: video.video)


def _find(known: dict[str, GalleryVideo], gallery: Gallery, name: str) -> GalleryVideo:
    video = find_video(known, name)
    if video is None:
        raise UsageError(
            f"'{name}' is no video of gallery '{gallery.path}', and nothing was removed: take names as `c3dhash "
            "gallery export` writes them, or --folder DIR."
        )
    return video
