"""What each page shows, by the names that its template has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from c3dhash.errors import C3DHashError, CheckpointError, LimitError, UsageError
from c3dhash.gallery.mirrors import mirror_mask
from c3dhash.gallery.served import ServedGallery
from c3dhash.web.asked import BrowseAsked, GroupsAsked, QueryAsked, StripAsked, from_fields
from c3dhash.web.browsing import tell_group, tell_video
from c3dhash.web.names import Names, printable
from c3dhash.web.query_routes import tell_remembered
from c3dhash.web.refusals import Refused, status_of
from c3dhash.web.remembered import Remembered
from c3dhash.web.routes import tell_health
from c3dhash.web.searching import Query, query_of, search
from c3dhash.web.service import Service
from c3dhash.web.shown import (
    Choices,
    Strip,
    agreement_seconds,
    cards_of,
    check_offset,
    choices_of,
    filters_of,
    source_of,
    strip_of_upload,
    strip_of_video,
    strip_place,
)

EXAMPLES, PAGE_VIDEOS, PAGE_GROUPS, LISTED = 12, 48, 20, 200  # on a page

Content = dict[str, Any]
Fields = Mapping[str, Sequence[str]]


async def search_content(service: Service, fields: Fields) -> Content:
    """Return what the page of a search shows: hits, or how far their query is, or why there are none."""
    content: Content = {
        "choices": await _choices(service), "filters": {}, "source": {}, "panel": None, "progress": None,
        "found": None, "error": None, "status": 200, "asked": QueryAsked.model_validate({}), "examples": [],
    }  # fmt: skip
    if "video_id" in fields or "query_id" in fields:
        try:
            content |= await _searched(service, fields)
        except (Refused, C3DHashError) as error:
            content |= {"error": _told(service, error, fields), "status": status_of(error)}
    content |= await service.ask(partial(_gallery_facts, service))
    if content["panel"] is None and content["progress"] is None:
        _, content["examples"] = await service.ask(cards_of, limit=EXAMPLES)
    return content


def _told(service: Service, error: Exception, fields: Fields) -> str:
    if "query_id" in fields and status_of(error) == 404:
        most = service.config.max_queries
        return f"This link has expired: the latest {most} videos that were sent are remembered. Send the video again."
    return printable(service.text_of(error))


async def _searched(service: Service, fields: Fields) -> Content:
    """Search, or tell how far the query is.

    Raises:
        Refused, C3DHashError: there is no such query, or it is not allowed.
    """
    place = from_fields(StripAsked, {name: value for name, value in fields.items() if name == "clip_offset"})
    asked = from_fields(QueryAsked, {name: value for name, value in fields.items() if name != "clip_offset"})
    asked_for = {"asked": asked, "filters": filters_of(asked), "source": source_of(asked)}
    remembered = None
    if asked.query_id is not None:
        remembered = service.memory.searchable(asked.query_id)
        if remembered.error is not None:
            raise remembered.error
        if remembered.status != "done":
            return {**asked_for, "progress": tell_remembered(service, remembered)}
    elif asked.video_id is None:
        raise Refused(422, "one of query_id and video_id is needed.")
    offset = place.clip_offset or strip_place(min(asked.clips or [0]))
    return {**asked_for, **await service.ask(partial(_look, service), asked, remembered, offset)}


def _look(
    service: Service,
    gallery: ServedGallery,
    names: Names,
    asked: QueryAsked,
    remembered: Remembered | None,
    offset: int,
) -> Content:
    """Search; where that is refused, what was searched with is shown all the same."""
    query = partial(query_of, gallery, names, asked, remembered, run=service.run)
    with gallery.reading():
        as_it_is = query(mirror=False)
        found, error = None, None
        try:
            asked_with = query(mirror=True) if asked.mirror else as_it_is
            found = search(gallery, names, asked_with, asked, service.opened.meaning)
        except (Refused, C3DHashError) as refused:
            error = refused
        taken = found.query.windows if found is not None else asked.clips or []
        if remembered is not None:
            strip, can_mirror = strip_of_upload(remembered, offset=offset, taken=taken), len(remembered.codes) > 1
        else:
            strip = strip_of_video(gallery, names, asked.video_id or 0, offset=offset, taken=taken)
            can_mirror = _can_mirror(service, gallery)
    return {
        "panel": _panel(as_it_is, strip, remembered, can_mirror=can_mirror),
        "found": found,
        "query_seconds": 1.0 if found is None else agreement_seconds(found),
        "error": None if error is None else printable(service.text_of(error)),  # a page with the query all the same
    }


def _panel(query: Query, strip: Strip, remembered: Remembered | None, *, can_mirror: bool) -> Content:
    """Return what is shown of a query."""
    return {
        "name": query.name,
        "seconds": query.seconds,
        "video_id": query.video_id,
        "query_id": query.query_id,
        "strip": strip,
        "classes": None if remembered is None else remembered.classes,
        "are_classes_coming": remembered is not None and remembered.are_classes_coming,
        "can_mirror": can_mirror,
    }


def _can_mirror(service: Service, gallery: ServedGallery) -> bool:
    if service.run is not None:
        with suppress(UsageError):
            return bool(len(mirror_mask(gallery, run=service.run)))
    return False


def _gallery_facts(service: Service, gallery: ServedGallery, names: Names) -> Content:
    """Return what pages say about the gallery, and about what numbers mean."""
    meaning = service.opened.meaning
    measured = {"precision": meaning.calibration, "same_film": meaning.same_film}
    can_mirror = False
    with suppress(UsageError, CheckpointError):
        service.check_encodes(mirror=True)
        can_mirror = True
    return {
        "hash_length": gallery.hash_length,
        "num_videos": gallery.num_videos,
        "num_clips": len(gallery),
        "measured": {name: names.without_paths(each.measured_on) if each else None for name, each in measured.items()},
        "can_send_mirrored": can_mirror,
        "max_upload_bytes": service.config.max_upload_mb * 1_000_000,
        "max_seconds": service.limits.max_seconds,
        "num_classes": len(service.run.labels) if service.can_classify else 0,
    }


async def browse_content(service: Service, fields: Fields) -> Content:
    """Return what the list of videos shows."""
    asked = from_fields(BrowseAsked, fields)
    total, cards = await service.ask(
        cards_of, labels=asked.label, folder=asked.folder, text=asked.text,
        is_missing=asked.missing, offset=asked.offset, limit=PAGE_VIDEOS,
    )  # fmt: skip
    check_offset(asked.offset, total)
    only = {"text": asked.text, "label": asked.label, "folder": asked.folder, "missing": asked.missing}
    return {
        "asked": asked, "only": only, "total": total, "cards": cards, "limit": PAGE_VIDEOS,
        "choices": await _choices(service), **await service.ask(partial(_gallery_facts, service)),
    }  # fmt: skip


async def video_content(service: Service, video_id: str, fields: Fields) -> Content:
    """Return what the page of a video shows."""
    asked = from_fields(StripAsked, {**fields, "video_id": [video_id]})
    number = asked.video_id or 0

    def look(gallery: ServedGallery, names: Names) -> Content:
        with gallery.reading():
            details = tell_video(gallery, names, number, clip_offset=0, clip_limit=1)
            strip = strip_of_video(gallery, names, number, offset=asked.clip_offset)
            check_offset(asked.clip_offset, details.num_clips)
            return {"details": details, "strip": strip, **_gallery_facts(service, gallery, names)}

    return await service.ask(look)


async def map_content(service: Service) -> Content:
    """Return what stands beside the map: the first videos as a list."""
    total, cards = await service.ask(cards_of, limit=LISTED)
    return {"total": total, "cards": cards, **await service.ask(partial(_gallery_facts, service))}


async def duplicates_content(service: Service, fields: Fields) -> Content:
    """Return groups of duplicates, or how far they are."""
    asked = from_fields(GroupsAsked, fields)
    computation = await service.duplicates(radius=asked.radius, mirror=asked.mirror)
    found = await computation.result() if await computation.is_done() else None
    groups = []
    if found is not None:
        check_offset(asked.offset, len(found))
        some = found[asked.offset : asked.offset + PAGE_GROUPS]
        groups = await service.ask(lambda _, names: [tell_group(names, *each) for each in some])
    facts = await service.ask(
        lambda gallery, names: {
            **_gallery_facts(service, gallery, names), "can_mirror": _can_mirror(service, gallery)
        }
    )  # fmt: skip
    return {
        "asked": asked, "only": {"radius": asked.radius, "mirror": asked.mirror}, "is_done": found is not None,
        "num_done": computation.progress.done, "num_total": computation.progress.total, "groups": groups,
        "total": len(found or []), "limit": PAGE_GROUPS, **facts,
    }  # fmt: skip


async def health_content(service: Service) -> Content:
    """Return how the gallery and the server are."""
    return {"health": await tell_health(service)}


async def _choices(service: Service) -> Choices | None:
    """Return labels and folders to choose by; None where counting them takes long, or must wait for much else.

    None, too, where there are too many to be counted.
    """
    try:
        computation = await service.facets()
        return choices_of(await computation.result()) if await computation.is_done() else None
    except (Refused, LimitError):
        return None
