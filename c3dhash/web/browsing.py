"""A gallery -> lists, groups of duplicates, a map and its health, as answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.duplicates import find_duplicates
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.inventory import take_inventory
from c3dhash.gallery.layout import map_places, spread_evenly
from c3dhash.gallery.store import Gallery
from c3dhash.records import DuplicateGroup
from c3dhash.web.answers import (
    BalanceAnswer,
    ClipAnswer,
    FacetsAnswer,
    FailedAnswer,
    FolderAnswer,
    GroupAnswer,
    LabelAnswer,
    MapAnswer,
    MissingAnswer,
    PointAnswer,
    VideoAnswer,
    VideoDetails,
    VideosAnswer,
)
from c3dhash.web.computed import Progress
from c3dhash.web.names import Names
from c3dhash.web.searching import no_video

MAX_TOLD = 100  # missing and failed files of an answer about health


def _video_fields(names: Names, video: GalleryVideo) -> dict[str, Any]:
    return {
        "id": video.id,
        "video": names.shown(video.video),
        "folder": names.shown_folder(video.video),
        "label": video.label,
        "num_clips": video.num_clips,
        "size_bytes": video.size_bytes,
        "added_at": video.added_at,
        "missing_since": video.missing_since,
    }


def list_videos(
    gallery: Gallery,
    names: Names,
    *,
    labels: list[str],
    folder: str | None,
    text: str,
    is_missing: bool,
    offset: int,
    limit: int,
) -> VideosAnswer:
    """Return some of the videos of a gallery that have a label, lie in a folder and have a text in their names.

    Raises:
        UsageError: no video of the gallery has a label.
    """
    only = VideoFilter(labels=tuple(labels), place=None if folder is None else names.place(folder))
    with gallery.reading():
        gallery.check_labels(only)
        total, videos = gallery.page(only, text=text, is_missing=is_missing, offset=offset, limit=limit)
    told = [VideoAnswer(**_video_fields(names, video)) for video in videos]
    return VideosAnswer(total=total, offset=offset, limit=limit, videos=told)


def tell_video(gallery: Gallery, names: Names, video_id: int, *, clip_offset: int, clip_limit: int) -> VideoDetails:
    """Return what is known about a video, with some of its clips.

    Raises:
        Refused: there is none of this number.
    """
    with gallery.reading():
        video = gallery.video(video_id)
        if video is None:
            raise no_video(video_id)
        ids, codes = gallery.codes_of(video_id)
    rows = list(zip(ids.tolist(), codes.start_seconds.tolist(), codes.end_seconds.tolist(), strict=True))
    clips = [
        ClipAnswer(id=clip_id, number=number, start_seconds=start, end_seconds=end)
        for number, (clip_id, start, end) in enumerate(rows[clip_offset : clip_offset + clip_limit], clip_offset)
    ]
    seconds = float(codes.end_seconds.max()) if rows else 0.0
    return VideoDetails(**_video_fields(names, video), seconds=seconds, clip_offset=clip_offset, clips=clips)


def count_facets(gallery: Gallery, names: Names) -> FacetsAnswer:
    """Count the videos of each label, and of each folder."""
    videos = gallery.videos()
    labels = Counter(video.label for video in videos)
    folders = Counter(names.shown_folder(video.video) for video in videos)
    return FacetsAnswer(
        labels=[
            LabelAnswer(label=label, num_videos=num)
            for label, num in sorted(labels.items(), key=lambda item: (item[0] is None, item[0]))
        ],
        folders=[FolderAnswer(folder=folder, num_videos=num) for folder, num in sorted(folders.items())],
    )


def count_bits(gallery: Gallery, progress: Progress) -> BalanceAnswer:
    """Count in how many codes each bit is on."""
    inventory = take_inventory(gallery.path, on_clips=progress.advance)
    return BalanceAnswer(ones=inventory.ones, dead_bits=inventory.dead_bits, distinct_codes=inventory.distinct_codes)


def group_duplicates(
    gallery: Gallery, progress: Progress, *, radius: int | None, mirror: bool
) -> list[tuple[DuplicateGroup, dict[str, int]]]:
    """Return groups of duplicates, each with the numbers of its videos.

    Raises:
        UsageError, GalleryError: as of `find_duplicates`.
    """
    progress.total = gallery.num_videos
    if not progress.total:
        return []
    groups = find_duplicates(gallery, radius=radius, mirror=mirror, on_video=progress.advance)
    numbered = []
    for group in groups:
        names = [group.best, *(member.video for member in group.members)]
        numbers = {name: gallery.video_id(name) for name in names}
        known = {name: number for name, number in numbers.items() if number is not None}
        if len(known) == len(names):  # none was removed meanwhile
            numbered.append((group, known))
    return numbered


def tell_group(names: Names, group: DuplicateGroup, numbers: dict[str, int]) -> GroupAnswer:
    """Return a group as an answer."""
    members = [
        {**asdict(member), "video": names.shown(member.video), "video_id": numbers[member.video]}
        for member in group.members
    ]
    return GroupAnswer.model_validate(
        {
            "best": names.shown(group.best),
            "best_id": numbers[group.best],
            "facts": asdict(group.facts),
            "members": members,
        }
    )


def draw_map(gallery: Gallery, progress: Progress) -> MapAnswer:
    """Lay the clips of a gallery out on a plane, or some of them, evenly."""
    with gallery.reading():
        ids, codes = gallery.codes()
        taken = spread_evenly(len(ids))
        progress.advance()
        places = map_places(codes[taken], hash_length=gallery.hash_length).round(4).tolist()
        clips = gallery.clips(ids[taken])
    points = [
        PointAnswer(
            clip_id=clip.id, video_id=clip.video_id, x=x, y=y, label=clip.label, start_seconds=clip.start_seconds,
            end_seconds=clip.end_seconds,
        )
        for clip, (x, y) in zip(clips, places, strict=True)
    ]  # fmt: skip
    return MapAnswer(status="done", num_clips=len(ids), points=points)


def tell_missing(gallery: Gallery, names: Names) -> tuple[int, list[MissingAnswer]]:
    """Return how many videos are missing, and the first of them."""
    total, videos = gallery.page(is_missing=True, limit=MAX_TOLD)
    told = [
        MissingAnswer(id=video.id, video=names.shown(video.video), missing_since=video.missing_since or "")
        for video in videos
    ]
    return total, told


def tell_failed(gallery: Gallery, names: Names) -> tuple[int, list[FailedAnswer]]:
    """Return how many files could not be taken in, and the first of them, with their reasons."""
    failures = gallery.failures()
    told = [
        FailedAnswer(video=names.shown(each["video"]), reason=names.without_paths(each["reason"]))
        for each in failures[:MAX_TOLD]
    ]
    return len(failures), told
