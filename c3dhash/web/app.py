"""The application: routes, errors as JSON, counts, and the guards around them."""

from __future__ import annotations

import logging
from time import perf_counter

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import c3dhash
from c3dhash.errors import C3DHashError
from c3dhash.web.asked import told
from c3dhash.web.guards import Application, Guards, Message, Receive, Scope, Send
from c3dhash.web.names import printable
from c3dhash.web.query_routes import query_routes
from c3dhash.web.refusals import Refused, closing_down, status_of
from c3dhash.web.routes import gallery_routes, server_routes
from c3dhash.web.service import Service
from c3dhash.web.uploads import BLOCK_BYTES, MAX_JSON_BYTES

logger = logging.getLogger(__name__)

UPLOAD_PATHS = frozenset(("/api/query", "/api/classify"))  # they look after what they read themselves
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def create_app(service: Service, *, routers: tuple[APIRouter, ...] = ()) -> Guards:
    """Make the application of a service.

    Args:
        service: answers; whoever made it closes it.
        routers: more routes, as those of pages. Where "/login" is one of them, browsers without the token are sent
            there; it and what lies under "/static/" are answered to anybody.
    Returns:
        An ASGI application.
    """
    app = FastAPI(
        title="c3dhash", version=c3dhash.__version__, docs_url=None, redoc_url=None,
        description="Finds the videos of a gallery that show the same as a video, or something similar.",
    )  # fmt: skip
    for router in (query_routes(service), gallery_routes(service), server_routes(service), *routers):
        app.include_router(router)
    _tell_errors(app, service)
    has_login_page = any(getattr(route, "path", None) == "/login" for router in routers for route in router.routes)
    return Guards(_Counted(app, service), service.config, has_login_page=has_login_page)


def _tell_errors(app: FastAPI, service: Service) -> None:
    """Make JSON of all errors: {"error": TEXT}."""

    @app.exception_handler(Refused)
    async def tell_refusal(request: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"error": printable(error.text)}, status_code=error.status, headers=error.headers)

    @app.exception_handler(C3DHashError)
    async def tell_error(request: Request, error: C3DHashError) -> JSONResponse:
        status = status_of(error)
        headers = {"Retry-After": "5"} if status == 503 else None
        return JSONResponse({"error": printable(service.text_of(error))}, status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def tell_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        is_json = not any(each["type"] == "json_invalid" for each in error.errors())
        return JSONResponse({"error": told(error.errors())}, status_code=422 if is_json else 400)

    @app.exception_handler(HTTPException)
    async def tell_http(request: Request, error: HTTPException) -> JSONResponse:
        text = {
            404: "there is nothing here: /openapi.json lists what there is.",
            405: "this method is not allowed here.",
        }
        return JSONResponse(
            {"error": text.get(error.status_code, printable(str(error.detail)))}, status_code=error.status_code,
            headers=error.headers,
        )  # fmt: skip

    @app.exception_handler(Exception)
    async def tell_failure(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": service.text_of(error)}, status_code=500)


def _limited(receive: Receive) -> Receive:
    """Return what gives a body as it comes, up to some length; beyond it raises."""
    num_bytes = 0

    async def receive_some() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > MAX_JSON_BYTES + BLOCK_BYTES:  # the route's own limit, and what may have come with it
            raise Refused(413, "the body is too long.", headers={"Connection": "close"})
        return message

    return receive_some


class _Counted:
    """An application whose answers are counted; while the server ends, it answers nothing new."""

    def __init__(self, application: Application, service: Service) -> None:
        self._application, self._service = application, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        if self._service.is_closing:
            refused = closing_down()
            await JSONResponse({"error": refused.text}, 503, headers=refused.headers)(scope, receive, send)
            return
        if scope["path"] not in UPLOAD_PATHS:
            receive = _limited(receive)
        start, status = perf_counter(), 500

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, send_and_look)
        except Exception:
            logger.exception("a request failed")  # its answer is sent
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._service.figures.note(route, method, status, perf_counter() - start)
