"""What pages show of videos: cards, strips of clips, the filters that a search is asked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from c3dhash.gallery.served import ServedGallery
from c3dhash.web.answers import (
    ClipAnswer,
    DuplicateAnswer,
    FacetsAnswer,
    GroupAnswer,
    HitAnswer,
    QueryAnswer,
    VideoAnswer,
    VideoDetails,
)
from c3dhash.web.asked import QueryAsked
from c3dhash.web.browsing import list_videos, tell_video
from c3dhash.web.names import Names
from c3dhash.web.refusals import Refused
from c3dhash.web.remembered import Remembered
from c3dhash.web.rendering import link

STRIP_CLIPS = 120  # of a video on a page
MAX_CHOICES = 1000  # labels, or folders, in a list to choose from
MAX_SHOWN_SECONDS = 60.0  # of a stretch in a preview: all of it is decoded
DEFAULTS = {name: field.default for name, field in QueryAsked.model_fields.items()}
FILTERS = ("label", "folder", "added_since", "top", "radius", "not_itself", "mirror", "any_speed")


class Picture(NamedTuple):
    """A preview: addresses of a still picture, and of one that moves."""

    still: str
    moving: str


class Card(NamedTuple):
    """A video of the gallery. picture: None where there is nothing to show."""

    video: VideoAnswer
    picture: Picture | None


class StripClip(NamedTuple):
    """A clip of a video that can be searched with. picture: None where there is none, or none yet."""

    number: int
    start_seconds: float
    end_seconds: float
    picture: Picture | None
    is_taken: bool


class Strip(NamedTuple):
    """Some of the clips of a video. total: all it has. offset: of the first that is here. most: that a strip has."""

    clips: list[StripClip]
    total: int
    offset: int
    most: int


class Choice(NamedTuple):
    """A label or folder to choose, and how many videos it has."""

    value: str
    num_videos: int


class Choices(NamedTuple):
    """What videos can be chosen by; folders with all that is below them."""

    labels: list[Choice]
    folders: list[Choice]


def picture_of(path: str, **values: Any) -> Picture:
    """Return the preview that a path of the API gives."""
    return Picture(link(path, kind="still", **values), link(path, **values))


def picture_of_stretch(video_id: int, start_seconds: float, end_seconds: float, *, mirrored: bool = False) -> Picture:
    """Return the preview of a stretch of a video of the gallery."""
    start, end = float(start_seconds), float(min(end_seconds, start_seconds + MAX_SHOWN_SECONDS))
    return picture_of(
        f"/api/videos/{video_id}/preview", start_seconds=start, end_seconds=max(end, start + 0.01), mirrored=mirrored
    )


def picture_of_clip(clip_id: int) -> Picture:
    """Return the preview of a clip of the gallery."""
    return picture_of(f"/api/clips/{clip_id}/preview")


def cards_of(gallery: ServedGallery, names: Names, **asked: Any) -> tuple[int, list[Card]]:
    """Return how many videos there are of those asked for, as of `list_videos`, and some of them."""
    defaults: dict[str, Any] = {"labels": [], "folder": None, "text": "", "is_missing": False, "offset": 0}
    with gallery.reading():
        found = list_videos(gallery, names, **{**defaults, **asked})
        middles = gallery.middle_clips([video.id for video in found.videos])  # none of those that are missing
    pictures = [None if clip_id is None else picture_of_clip(clip_id) for clip_id in middles]
    return found.total, list(map(Card, found.videos, pictures))


def strip_of_video(
    gallery: ServedGallery, names: Names, video_id: int, *, offset: int, taken: Sequence[int] = ()
) -> Strip:
    """Return some of the clips of a video of the gallery.

    Args:
        taken: the numbers of those that were searched with.
    """
    told = tell_video(gallery, names, video_id, clip_offset=offset, clip_limit=STRIP_CLIPS)
    return Strip([_strip_clip(clip, set(taken)) for clip in told.clips], told.num_clips, offset, STRIP_CLIPS)


def _strip_clip(clip: ClipAnswer, taken: set[int]) -> StripClip:
    return StripClip(clip.number, clip.start_seconds, clip.end_seconds, picture_of_clip(clip.id), clip.number in taken)


def strip_of_upload(remembered: Remembered, *, offset: int, taken: Sequence[int] = ()) -> Strip:
    """Return some of the clips of a video that was sent."""
    codes, pictures, chosen = remembered.codes[0], remembered.pictures, set(taken)
    clips = []
    for number in range(offset, min(offset + STRIP_CLIPS, len(codes.codes))):
        path = f"/api/queries/{remembered.id}/clips/{number}/preview"
        clips.append(
            StripClip(
                number, float(codes.start_seconds[number]), float(codes.end_seconds[number]),
                picture_of(path) if number in pictures else None, number in chosen,
            )
        )  # fmt: skip
    return Strip(clips, len(codes.codes), offset, STRIP_CLIPS)


def strip_place(number: int) -> int:
    """Return where the strip begins that has a clip."""
    return number // STRIP_CLIPS * STRIP_CLIPS


def choices_of(facets: FacetsAnswer) -> Choices:
    """Return labels and folders to choose by, those above others among them."""
    labels = [Choice(each.label, each.num_videos) for each in facets.labels if each.label is not None]
    counts: dict[str, int] = {}
    for each in facets.folders:
        parts = each.folder.split("/")
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            counts[folder] = counts.get(folder, 0) + each.num_videos
    folders = [Choice(folder, num) for folder, num in sorted(counts.items()) if folder]
    return Choices(labels[:MAX_CHOICES], folders[:MAX_CHOICES])


def filters_of(asked: QueryAsked) -> dict[str, Any]:
    """Return what is asked of hits, but for what is asked by default: part of an address."""
    return {name: getattr(asked, name) for name in FILTERS if getattr(asked, name) != DEFAULTS[name]}


def source_of(asked: QueryAsked) -> dict[str, Any]:
    """Return what is searched with: part of an address."""
    named = {"video_id": asked.video_id, "query_id": asked.query_id}
    return {name: value for name, value in named.items() if value is not None}


def agreement_seconds(found: QueryAnswer) -> float:
    """Return how long the query is, for what is drawn on its timeline."""
    ends = [segment.query_end_seconds for hit in found.hits for segment in hit.segments]
    return max([found.query.seconds, *ends, 1e-3])


def check_offset(offset: int, total: int) -> None:
    """Refuse a page that is behind the last.

    Raises:
        Refused: there is none.
    """
    if offset and offset >= total:
        raise Refused(404, f"offset ({offset}) must be below {total}: there is no more than that.")


def picture_of_hit(hit: HitAnswer) -> Picture:
    """Return the preview of what matches."""
    return picture_of_stretch(hit.video_id, hit.start_seconds, hit.end_seconds)


def picture_of_video(details: VideoDetails) -> Picture | None:
    """Return the preview of a video, from its start on."""
    is_there = details.num_clips and details.missing_since is None
    return picture_of_stretch(details.id, 0.0, details.seconds) if is_there else None


def picture_of_best(group: GroupAnswer) -> Picture:
    """Return the preview of what the first match of the best of a group shows in it."""
    first = group.members[0].segments[0]
    return picture_of_stretch(group.best_id, first.query_start_seconds, first.query_end_seconds)


def picture_of_member(member: DuplicateAnswer) -> Picture:
    """Return the preview of what matches of a member of a group."""
    first = member.segments[0]
    return picture_of_stretch(member.video_id, first.start_seconds, first.end_seconds)


def more_like(hit: HitAnswer, filters: Mapping[str, Any]) -> str:
    """Return the address of a search with what matches of a hit, filtered as before, but for what goes with a query."""
    kept = {name: value for name, value in filters.items() if name not in ("mirror", "not_itself")}
    return link(
        "/", kept, video_id=hit.video_id, start_seconds=float(hit.start_seconds), end_seconds=float(hit.end_seconds),
        not_itself=True,
    )  # fmt: skip
