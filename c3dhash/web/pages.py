"""The routes of pages, and of the files that they refer to.

/               search: a video is dropped, or one of the gallery taken; the address says what is shown
/browse         the videos of the gallery, by label, folder and name
/videos/ID      one of them, clip by clip
/map            all clips on a plane
/duplicates     groups of videos that show the same
/health         how gallery and server are
/login          asks for the token
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter, Request, Response

import c3dhash
from c3dhash.errors import C3DHashError
from c3dhash.web.names import printable
from c3dhash.web.page_answers import (
    Content,
    browse_content,
    duplicates_content,
    health_content,
    map_content,
    search_content,
    video_content,
)
from c3dhash.web.refusals import Refused, status_of
from c3dhash.web.rendering import page, static_files
from c3dhash.web.service import Service
from c3dhash.web.shown import more_like, picture_of_best, picture_of_hit, picture_of_member, picture_of_video

HELPERS = {
    function.__name__: function
    for function in (more_like, picture_of_best, picture_of_hit, picture_of_member, picture_of_video)
}


def page_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def search_page(request: Request) -> Response:
        return await _page(service, "search", search_content(service, _fields(request)))

    @router.get("/browse")
    async def browse_page(request: Request) -> Response:
        return await _page(service, "browse", browse_content(service, _fields(request)))

    @router.get("/videos/{video_id}")
    async def video_page(request: Request, video_id: str) -> Response:
        return await _page(service, "video", video_content(service, video_id, _fields(request)))

    @router.get("/map")
    async def map_page() -> Response:
        return await _page(service, "map", map_content(service))

    @router.get("/duplicates")
    async def duplicates_page(request: Request) -> Response:
        return await _page(service, "duplicates", duplicates_content(service, _fields(request)))

    @router.get("/health")
    async def health_page() -> Response:
        return await _page(service, "health", health_content(service))

    @router.get("/login")
    async def login_page() -> Response:
        return page("login.html", {**_frame(service, "login"), "is_needed": service.config.token is not None})

    @router.get("/static/{name}")
    async def static_file(request: Request, name: str) -> Response:
        file = static_files().get(name)
        if file is None:
            raise Refused(404, "there is no such file.")
        headers = {"ETag": file.tag, "Cache-Control": "no-cache"}  # asked for again, and not sent again
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)

    return router


def error_page(service: Service, status: int, text: str, *, where: str = "") -> Response:
    """Return a page that says why another is not there.

    Args:
        where: that other one.
    """
    return page("error.html", {**_frame(service, where), "error": printable(text), "status": status}, status=status)


async def _page(service: Service, name: str, content: Awaitable[Content]) -> Response:
    """Return a page, or one that says why it is not there."""
    try:
        told = await content
    except (Refused, C3DHashError) as error:
        return error_page(service, status_of(error), service.text_of(error), where=name)
    return page(f"{name}.html", {**_frame(service, name), **told}, status=told.get("status", 200))


def _frame(service: Service, where: str) -> dict[str, Any]:
    """Return what is around every page."""
    return {
        "where": where,
        "gallery": service.name,
        "is_copy": service.is_copy,
        "version": c3dhash.__version__,
        "can_encode": service.can_encode,
        "can_classify": service.can_classify,
        **HELPERS,
    }


def _fields(request: Request) -> dict[str, list[str]]:
    """Return what a page is asked; what is empty, as a form sends it, is not asked."""
    fields: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if value and name != "token":
            fields.setdefault(name, []).append(value)
    return fields
