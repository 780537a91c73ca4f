"""The routes that tell about the gallery and the server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

import c3dhash
from c3dhash.bits import MAX_HASH_LENGTH
from c3dhash.gallery.windows import WINDOWS
from c3dhash.memory import process_bytes
from c3dhash.web.answers import (
    CalibrationAnswer,
    DuplicatesAnswer,
    FacetsAnswer,
    HealthAnswer,
    LimitsAnswer,
    MapAnswer,
    ModelAnswer,
    PairAnswer,
    QueueAnswer,
    VideoDetails,
    VideosAnswer,
)
from c3dhash.web.asked import PairAsked, TokenAsked
from c3dhash.web.browsing import (
    count_bits,
    draw_map,
    list_videos,
    tell_failed,
    tell_group,
    tell_missing,
    tell_video,
)
from c3dhash.web.figures import CONTENT_TYPE
from c3dhash.web.guards import cookie_header, is_token
from c3dhash.web.media import CLIP_KEPT_SECONDS, PICTURE_ANSWERS, answer_picture
from c3dhash.web.query_routes import errors, json_body, read_object
from c3dhash.web.refusals import Refused
from c3dhash.web.service import Service

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
Offset = Annotated[int, Query(ge=0, le=2**62)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Seconds = Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)]
Text = Annotated[str, Query(max_length=1000)]
PictureKind = Literal["moving", "still"]


def gallery_routes(service: Service) -> APIRouter:
    """Return the routes about videos, clips, duplicates and the map."""
    router = APIRouter()

    @router.get(
        "/api/videos", response_model=VideosAnswer, responses=errors(), summary="List the videos of the gallery"
    )
    async def videos(
        label: Annotated[list[Annotated[str, Query(max_length=1000)]], Query(max_length=100)] = [],  # noqa: B006
        folder: Text | None = None,
        text: Text = "",
        missing: bool = False,
        offset: Offset = 0,
        limit: Limit = 100,
    ) -> VideosAnswer:
        return await service.ask(
            list_videos, labels=label, folder=folder, text=text, is_missing=missing, offset=offset, limit=limit
        )

    @router.get(
        "/api/videos/{video_id}", response_model=VideoDetails, responses=errors(404),
        summary="Tell about a video and its clips",
    )  # fmt: skip
    async def video(video_id: Number, clip_offset: Offset = 0, clip_limit: Limit = 1000) -> VideoDetails:
        return await service.ask(tell_video, video_id, clip_offset=clip_offset, clip_limit=clip_limit)

    @router.get(
        "/api/videos/{video_id}/preview", response_class=Response,
        responses={**PICTURE_ANSWERS, **errors(404, 409)}, summary="Show a stretch of a video",
    )  # fmt: skip
    async def preview_of_stretch(
        request: Request,
        video_id: Number,
        start_seconds: Seconds = 0.0,
        end_seconds: Seconds | None = None,
        mirrored: bool = False,
        kind: PictureKind = "moving",
    ) -> Response:
        pictures = await service.pictures_of(
            video_id, start_seconds=start_seconds, end_seconds=end_seconds, is_mirrored=mirrored
        )
        return answer_picture(request, pictures, kind=kind)

    @router.get(
        "/api/clips/{clip_id}/preview", response_class=Response,
        responses={**PICTURE_ANSWERS, **errors(404, 409)}, summary="Show a clip of a video",
    )  # fmt: skip
    async def preview_of_clip(
        request: Request, clip_id: Number, mirrored: bool = False, kind: PictureKind = "moving"
    ) -> Response:
        clip = await service.ask(lambda gallery, _: gallery.clip(clip_id))
        if clip is None:
            raise Refused(404, f"the gallery has no clip {clip_id}: `GET /api/videos/ID` lists those of a video.")
        pictures = await service.pictures_of(
            clip.video_id, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds, is_mirrored=mirrored
        )
        return answer_picture(request, pictures, kind=kind, kept_seconds=CLIP_KEPT_SECONDS)

    @router.get(
        "/api/facets", response_model=FacetsAnswer, responses=errors(),
        summary="List labels and folders, to choose videos by",
    )  # fmt: skip
    async def facets() -> FacetsAnswer:
        found: FacetsAnswer = await (await service.facets()).result()
        return found

    @router.get(
        "/api/map", response_model=MapAnswer,
        responses={202: {"model": MapAnswer, "description": "It is being computed: ask again."}, **errors()},
        summary="Lay the clips of the gallery out on a plane",
    )  # fmt: skip
    async def gallery_map() -> Response:
        computation = await service.compute("map", draw_map)
        if not await computation.is_done():
            waiting = MapAnswer(status="computing", num_clips=0, points=[])
            return JSONResponse(waiting.model_dump(), status_code=202, headers={"Retry-After": "1"})
        found: MapAnswer = await computation.result()
        return JSONResponse(found.model_dump())

    @router.get(
        "/api/duplicates", response_model=DuplicatesAnswer,
        responses={202: {"model": DuplicatesAnswer, "description": "They are being computed: ask again."}, **errors()},
        summary="List groups of videos that show the same",
    )  # fmt: skip
    async def duplicates(
        radius: Annotated[int | None, Query(ge=0, le=MAX_HASH_LENGTH)] = None,
        mirror: bool = False,
        offset: Offset = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Response:
        computation = await service.duplicates(radius=radius, mirror=mirror)
        is_done = await computation.is_done()
        groups = await computation.result() if is_done else []
        some = groups[offset : offset + limit]
        found = DuplicatesAnswer(
            status="done" if is_done else "computing", num_done=computation.progress.done,
            num_videos=computation.progress.total, total=len(groups), offset=offset, limit=limit,
            groups=await service.ask(lambda _, names: [tell_group(names, *each) for each in some]) if some else [],
        )  # fmt: skip
        if is_done:
            return JSONResponse(found.model_dump())
        return JSONResponse(found.model_dump(), status_code=202, headers={"Retry-After": "1"})

    @router.post(
        "/api/duplicates", response_model=PairAnswer, responses=errors(400, 404, 408, 413, 415),
        openapi_extra=json_body(PairAsked), summary="Remember that two videos are no match, or forget it",
    )  # fmt: skip
    async def note_pair(request: Request) -> PairAnswer:
        asked = await read_object(service, request, PairAsked)
        await service.writers.run(service.note_pair, asked.video_id, asked.other_id, is_match=asked.is_match)
        return PairAnswer(video_id=asked.video_id, other_id=asked.other_id, is_match=asked.is_match)

    return router


def server_routes(service: Service) -> APIRouter:
    """Return the routes about the server."""
    router = APIRouter()

    @router.get(
        "/api/health", response_model=HealthAnswer, responses=errors(), summary="Tell how gallery and server are"
    )
    async def health() -> HealthAnswer:
        return await tell_health(service)

    @router.get(
        "/metrics", response_class=Response, summary="Count what was answered, for Prometheus",
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}, **errors()},
    )  # fmt: skip
    async def metrics() -> Response:
        num_videos, num_clips = await service.ask(lambda gallery, _: (gallery.num_videos, len(gallery)))
        encoder = service.encoder
        gauges = {
            "c3dhash_gallery_videos": ("gauge", "Videos that can be found.", num_videos),
            "c3dhash_gallery_clips": ("gauge", "Clips that can be found.", num_clips),
            "c3dhash_uploads": (
                "gauge",
                "Uploads that are received, wait or are encoded.",
                service.uploads.num_uploads,
            ),
            "c3dhash_waiting": ("gauge", "Videos that wait for the encoder.", encoder.num_waiting),
            "c3dhash_encoded_videos_total": ("counter", "Videos that were encoded.", encoder.num_videos),
            "c3dhash_encoded_windows_total": ("counter", "Windows that were encoded.", encoder.num_windows),
            "c3dhash_queries_remembered": ("gauge", "Uploads that can be searched with again.", len(service.memory)),
            "c3dhash_pictures_bytes": ("gauge", "Memory of pictures of the gallery.", service.pictures.num_bytes),
            "process_resident_memory_bytes": ("gauge", "Memory of the server.", process_bytes()),
        }
        return Response(service.figures.text(gauges), media_type=CONTENT_TYPE)

    @router.post(
        "/api/login", status_code=204, response_class=Response, responses=errors(400, 408, 413, 415),
        openapi_extra=json_body(TokenAsked), summary="Bring the token once, and have a cookie for it",
    )  # fmt: skip
    async def login(request: Request) -> Response:
        asked = await read_object(service, request, TokenAsked)
        token = service.config.token
        if token is None:
            return Response(status_code=204)
        if not is_token(asked.token, token):
            raise Refused(401, "this is not the token.", headers={"WWW-Authenticate": "Bearer"})
        cookie = cookie_header(token, is_secure=request.url.scheme == "https")
        return Response(status_code=204, headers={"Set-Cookie": cookie})

    return router


async def tell_health(service: Service) -> HealthAnswer:
    """Tell how gallery and server are."""
    found, computation = await asyncio.gather(
        service.ask(lambda gallery, names: _told_of_gallery(service, gallery, names)),
        service.compute("balance", count_bits),
    )
    balance = await computation.result() if await computation.is_done() else None
    config, limits = service.config, service.limits
    return HealthAnswer(
        **found,
        status="ok",
        version=c3dhash.__version__,
        balance=balance,
        model=_told_of_model(service),
        limits=LimitsAnswer(
            max_upload_bytes=config.max_upload_mb * 1_000_000, max_seconds=limits.max_seconds,
            max_pixels=limits.max_pixels, max_uploads=config.max_uploads,
        ),
        queue=QueueAnswer(num_uploads=service.uploads.num_uploads, num_waiting=service.encoder.num_waiting),
    )  # fmt: skip


def _told_of_gallery(service: Service, gallery: Any, names: Any) -> dict[str, Any]:
    meaning = service.opened.meaning
    return {
        "gallery": names.gallery,
        "num_videos": gallery.page(limit=0)[0],
        "num_clips": len(gallery),
        **_told_of_files(service, gallery, names),
        "hash_length": gallery.hash_length,
        "calibration": CalibrationAnswer(
            precision=_where(names, meaning.calibration), same_film=_where(names, meaning.same_film)
        ),
        "windows": {name: gallery.run[name] for name in WINDOWS if name in gallery.run},
    }


def _told_of_files(service: Service, gallery: Any, names: Any) -> dict[str, Any]:
    if service.is_copy:
        return {"num_missing": None, "missing": [], "num_failed": None, "failed": []}
    num_missing, missing = tell_missing(gallery, names)
    num_failed, failed = tell_failed(gallery, names)
    return {"num_missing": num_missing, "missing": missing, "num_failed": num_failed, "failed": failed}


def _where(names: Any, measured: Any) -> str | None:
    return None if measured is None else names.without_paths(measured.measured_on)


def _told_of_model(service: Service) -> ModelAnswer | None:
    run = service.run
    if run is None:
        return None
    classes = list(run.labels) if service.can_classify else []
    return ModelAnswer(name=run.path.resolve().name, backbone=run.config["backbone"], classes=classes)
