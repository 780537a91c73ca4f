"""POST /api/query and /api/classify, with a file or without, and what became of what was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from c3dhash.gallery.served import ServedGallery
from c3dhash.web.answers import (
    ClassAnswer,
    ClassifyAnswer,
    ErrorAnswer,
    QueryAnswer,
    QueryStatus,
    WindowAnswer,
)
from c3dhash.web.asked import ClassifyAsked, PairAsked, QueryAsked, TokenAsked, from_fields, from_json
from c3dhash.web.encoding import Kind
from c3dhash.web.media import PICTURE_ANSWERS, answer_picture
from c3dhash.web.names import Names
from c3dhash.web.refusals import Refused, closing_down
from c3dhash.web.remembered import Remembered
from c3dhash.web.searching import check_filter, query_of, search
from c3dhash.web.service import Service
from c3dhash.web.uploads import Form, Place, drain, read_json, receive_form, too_large

Asked = TypeVar("Asked", QueryAsked, ClassifyAsked)
Object = TypeVar("Object", PairAsked, TokenAsked)
QueryId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
MULTIPART = "multipart/form-data"
MAX_CLASSES = 100  # that are told of a query

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in (
        (400, "It cannot be read."),
        (401, "A token is needed."),
        (403, "It comes from a page of another site."),
        (404, "There is no such thing."),
        (408, "Nothing more was received."),
        (409, "The gallery, or its run, cannot do this."),
        (413, "It is too large."),
        (415, "It is neither JSON nor a form."),
        (421, "The server is not called that."),
        (422, "A value is not allowed, or a video cannot be read."),
        (429, "Too much waits: again after Retry-After seconds."),
        (500, "The server failed."),
        (503, "The gallery cannot be read now, or the server ends."),
        (507, "There is no room for the upload."),
    )
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of answers with these statuses, and of those that any route may give."""
    return {status: ERRORS[status] for status in sorted({401, 403, 409, 421, 422, 429, 500, 503, *statuses})}


def json_body(kind: type[BaseModel]) -> dict[str, Any]:
    """Return what OpenAPI says of a body that is JSON."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def _body(kind: type[QueryAsked] | type[ClassifyAsked]) -> dict[str, Any]:
    """Return what OpenAPI says of a body that may be JSON, or a form with a file."""
    schema = kind.model_json_schema()
    with_file = {"file": {"type": "string", "format": "binary"}, **schema["properties"]}
    form = {"type": "object", "properties": with_file, "required": ["file"], "additionalProperties": False}
    content = {"application/json": {"schema": schema}, MULTIPART: {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def query_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter()
    of_files: dict[int | str, dict[str, Any]] = {
        202: {"model": QueryStatus, "description": "It is not encoded yet: ask /api/queries/{query_id}."},
        **errors(400, 404, 408, 409, 413, 415, 507),
    }

    @router.post(
        "/api/query", response_model=QueryAnswer, responses=of_files, openapi_extra=_body(QueryAsked),
        summary="Find the videos that show the same as a video",
    )  # fmt: skip
    async def query(request: Request) -> Response:
        asked, form, place = await _read(service, request, QueryAsked)
        remembered = None
        if place is not None and form is not None:
            remembered = await _take(service, place, form, asked)
        elif asked.query_id is not None:
            remembered = service.memory.searchable(asked.query_id)
        if remembered is not None and not await service.wait_for(remembered, seconds=asked.wait_seconds):
            return _later(service, remembered)

        def find(gallery: ServedGallery, names: Names) -> QueryAnswer:
            asked_with = query_of(gallery, names, asked, remembered, mirror=asked.mirror, run=service.run)
            return search(gallery, names, asked_with, asked, service.opened.meaning)

        return JSONResponse((await service.ask(find)).model_dump())

    @router.post(
        "/api/classify", response_model=ClassifyAnswer, responses=of_files, openapi_extra=_body(ClassifyAsked),
        summary="Say what is seen in a video",
    )  # fmt: skip
    async def classify(request: Request) -> Response:
        service.check_classifies()
        asked, form, place = await _read(service, request, ClassifyAsked)
        if place is not None and form is not None:
            remembered = await _take(service, place, form, asked)
        else:
            assert asked.video_id is not None  # _read saw to it
            remembered = await service.take_own(asked.video_id, Kind("classify", is_own=True))
        if not await service.wait_for(remembered, seconds=asked.wait_seconds):
            return _later(service, remembered)
        top = _classes(remembered.classes or [], most=asked.top)
        return JSONResponse(ClassifyAnswer(status="done", video=remembered.name, top=top).model_dump())

    @router.get(
        "/api/queries/{query_id}", response_model=QueryStatus, responses=errors(404),
        summary="Say what became of a video that was sent",
    )  # fmt: skip
    async def tell_query(query_id: QueryId) -> QueryStatus:
        return tell_remembered(service, service.memory.get(query_id))

    @router.get(
        "/api/queries/{query_id}/clips/{number}/preview", responses={**PICTURE_ANSWERS, **errors(404)},
        response_class=Response, summary="Show a window of a video that was sent",
    )  # fmt: skip
    async def preview_of_query(
        request: Request,
        query_id: QueryId,
        number: Annotated[int, Path(ge=0, le=10**9)],
        kind: Literal["moving", "still"] = "moving",
    ) -> Response:
        pictures = service.memory.get(query_id).pictures.get(number)
        if pictures is None:
            raise Refused(404, f"window {number} of this query has no picture, or none yet.")
        return answer_picture(request, pictures, kind=kind)

    return router


def tell_remembered(service: Service, remembered: Remembered) -> QueryStatus:
    """Say what became of a video that was sent."""
    job, codes = remembered.job, remembered.codes
    windows = zip(codes[0].start_seconds.tolist(), codes[0].end_seconds.tolist(), strict=True) if codes else ()
    clips = [
        WindowAnswer(number=number, start_seconds=start, end_seconds=end, has_preview=number in remembered.pictures)
        for number, (start, end) in enumerate(windows)
    ]
    return QueryStatus(
        query_id=remembered.id,
        task="query" if job.kind.task == "query" else "classify",
        name=remembered.name,
        status=remembered.status,  # type: ignore[arg-type]  # one of these
        num_before=service.encoder.num_before(job),
        windows_done=job.num_done,
        num_windows=len(clips) or max(job.num_windows, job.num_done),
        seconds=remembered.seconds,
        are_previews_made=remembered.are_pictures_made,
        clips=clips,
        top=None if remembered.classes is None else _classes(remembered.classes, most=MAX_CLASSES),
        are_classes_coming=remembered.are_classes_coming,
        error=None if remembered.error is None else service.text_of(remembered.error),
    )  # fmt: skip


def _classes(classes: list[tuple[str, float]], *, most: int) -> list[ClassAnswer]:
    return [ClassAnswer(label=label, probability=share) for label, share in classes[:most]]


def _later(service: Service, remembered: Remembered) -> Response:
    told = tell_remembered(service, remembered)
    return JSONResponse(told.model_dump(), status_code=202, headers={"Location": f"/api/queries/{remembered.id}"})


async def _read(service: Service, request: Request, kind: type[Asked]) -> tuple[Asked, Form | None, Place | None]:
    """Read what is asked; of a form, the file is then in a place of its own, for the caller to give back.

    Where it is refused before its end, some of the rest is read, so that the sender hears why, and then the connection
    is closed: what has no end is not listened to.

    Raises:
        Refused: it cannot be read, or is not allowed.
    """
    blocks = _blocks(service, request)
    try:
        return await _read_body(service, request, blocks, kind)
    except Refused as refused:
        if not await drain(blocks):
            refused.headers["Connection"] = "close"
        raise


async def _read_body(
    service: Service, request: Request, blocks: AsyncIterator[bytes], kind: type[Asked]
) -> tuple[Asked, Form | None, Place | None]:
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json":
        asked = from_json(kind, await read_json(blocks))
        _check_sources(asked, has_file=False)
        return asked, None, None
    if media_type != MULTIPART:
        raise Refused(415, f"the body must be application/json or {MULTIPART}, got {media_type[:50]!r}.")
    max_bytes = service.config.max_upload_mb * 1_000_000
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes + (1 << 20):
        raise too_large(max_bytes)
    place = service.uploads.take_place(retry_seconds=service.encoder.retry_seconds())
    try:
        form = await receive_form(
            blocks, content_type, path=place.path, max_bytes=max_bytes,
            in_thread=service.writers.run,
        )  # fmt: skip
        asked = from_fields(kind, form.fields)
        _check_sources(asked, has_file=form.name is not None)
        if form.name is None:
            place.give_back()
            return asked, None, None
        if not form.num_bytes:
            raise Refused(422, f"video '{form.name}' is empty (0 bytes); copy or download it again.")
    except BaseException:
        place.give_back()
        raise
    return asked, form, place


async def read_object(service: Service, request: Request, kind: type[Object]) -> Object:
    """Read what is asked in JSON.

    Raises:
        Refused: it cannot be read, or is not allowed.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refused(415, f"the body must be application/json, got {media_type[:50]!r}.")
    return from_json(kind, await read_json(_blocks(service, request)))


async def _take(service: Service, place: Place, form: Form, asked: QueryAsked | ClassifyAsked) -> Remembered:
    """Have a file that was received encoded."""
    name = form.name or "upload"
    mirror = isinstance(asked, QueryAsked) and asked.mirror
    kind = Kind("query", with_mirrored=mirror) if isinstance(asked, QueryAsked) else Kind("classify")
    try:
        is_to_classify = isinstance(asked, QueryAsked) and asked.classify
        if is_to_classify:
            service.check_classifies()
        if isinstance(asked, QueryAsked):
            await service.searchers.run(service.check_encodes, mirror=mirror)
            await service.ask(check_filter, asked)
        return await service.take(place, name, kind, content_hash=form.content_hash, is_to_classify=is_to_classify)
    except Refused:
        place.give_back()
        raise
    except Exception as error:
        place.give_back()
        raise service.renamed(error, files={str(place.path): name}) from error
    except BaseException:
        place.give_back()
        raise


def _check_sources(asked: QueryAsked | ClassifyAsked, *, has_file: bool) -> None:
    sources = [has_file, asked.video_id is not None, isinstance(asked, QueryAsked) and asked.query_id is not None]
    if sum(sources) != 1:
        queries = ", query_id" if isinstance(asked, QueryAsked) else ""
        raise Refused(422, f"one of a file{queries} and video_id is needed, got {sum(sources)}.")


async def _blocks(service: Service, request: Request) -> AsyncIterator[bytes]:
    """Yield the body of a request as it comes."""
    async for block in request.stream():
        if service.is_closing:
            raise closing_down()
        yield block
