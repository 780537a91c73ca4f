"""A gallery -> lists, groups of duplicates, a map and its health, as answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.duplicates import find_duplicates
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.inventory import balance_of, take_inventory
from c3dhash.gallery.layout import MAX_CLIPS, map_places
from c3dhash.gallery.served import ServedGallery
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
from c3dhash.web.refusals import Refused
from c3dhash.web.searching import no_video

MAX_COUNTED = 100_000  # codes of a copy whose bits are counted
MAX_TOLD = 100  # missing and failed files of an answer about health


def whole_gallery(gallery: ServedGallery) -> Gallery:
    """Return the gallery, where it is one on a disk, with all that such a one knows.

    Raises:
        Refused: it is a copy.
    """
    if not isinstance(gallery, Gallery):
        raise Refused(
            409, "this is the copy of a gallery: duplicates are found, and what is no match is noted, in the gallery "
            "itself (`c3dhash duplicates`, or `c3dhash serve` on its folder).",
        )  # fmt: skip
    return gallery


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
    gallery: ServedGallery,
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


def tell_video(
    gallery: ServedGallery, names: Names, video_id: int, *, clip_offset: int, clip_limit: int
) -> VideoDetails:
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


def count_facets(gallery: ServedGallery, names: Names) -> FacetsAnswer:
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


def count_bits(gallery: ServedGallery, progress: Progress) -> BalanceAnswer:
    """Count in how many codes each bit is on: of all codes, or of some of a copy, evenly."""
    if isinstance(gallery, Gallery):
        whole = take_inventory(gallery.path, on_clips=progress.advance)
        return BalanceAnswer(
            ones=whole.ones, dead_bits=whole.dead_bits, distinct_codes=whole.distinct_codes, num_codes=whole.num_clips
        )
    _, codes = gallery.sample(MAX_COUNTED)
    ones = np.unpackbits(codes, axis=1, count=gallery.hash_length).sum(axis=0, dtype=np.int64)
    shares, dead_bits = balance_of(ones, num_codes=len(codes))
    distinct = len(np.unique(codes, axis=0))
    return BalanceAnswer(ones=shares, dead_bits=dead_bits, distinct_codes=distinct, num_codes=len(codes))


def group_duplicates(
    gallery: ServedGallery, progress: Progress, *, radius: int | None, mirror: bool
) -> list[tuple[DuplicateGroup, dict[str, int]]]:
    """Return groups of duplicates, each with the numbers of its videos.

    Raises:
        UsageError, GalleryError: as of `find_duplicates`.
    """
    progress.total = gallery.num_videos
    if not progress.total:
        return []
    whole = whole_gallery(gallery)
    groups = find_duplicates(whole, radius=radius, mirror=mirror, on_video=progress.advance)
    numbered = []
    for group in groups:
        names = [group.best, *(member.video for member in group.members)]
        numbers = {name: whole.video_id(name) for name in names}
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


def draw_map(gallery: ServedGallery, progress: Progress) -> MapAnswer:
    """Lay the clips of a gallery out on a plane, or some of them, evenly."""
    with gallery.reading():
        clips, codes = gallery.sample(MAX_CLIPS)
        num_clips = len(gallery)
    progress.advance()
    places = map_places(codes, hash_length=gallery.hash_length).round(4).tolist()
    points = [
        PointAnswer(
            clip_id=clip.id, video_id=clip.video_id, x=x, y=y, label=clip.label, start_seconds=clip.start_seconds,
            end_seconds=clip.end_seconds,
        )
        for clip, (x, y) in zip(clips, places, strict=True)
    ]  # fmt: skip
    return MapAnswer(status="done", num_clips=num_clips, points=points)


def tell_missing(gallery: ServedGallery, names: Names) -> tuple[int, list[MissingAnswer]]:
    """Return how many videos are missing, and the first of them."""
    total, videos = gallery.page(is_missing=True, limit=MAX_TOLD)
    told = [
        MissingAnswer(id=video.id, video=names.shown(video.video), missing_since=video.missing_since or "")
        for video in videos
    ]
    return total, told


def tell_failed(gallery: ServedGallery, names: Names) -> tuple[int, list[FailedAnswer]]:
    """Return how many files could not be taken in, and the first of them, with their reasons."""
    failures = whole_gallery(gallery).failures()
    told = [
        FailedAnswer(video=names.shown(each["video"]), reason=names.without_paths(each["reason"]))
        for each in failures[:MAX_TOLD]
    ]
    return len(failures), told
