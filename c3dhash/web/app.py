"""The application: routes, errors as JSON, counts, and the guards around them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import perf_counter

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import c3dhash
from c3dhash.errors import C3DHashError
from c3dhash.web.asked import told
from c3dhash.web.guards import Application, Guards, Message, Receive, Scope, Send
from c3dhash.web.names import printable
from c3dhash.web.pages import error_page, page_routes
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
        routers: more routes.
    Returns:
        An ASGI application.
    """
    app = FastAPI(
        title="c3dhash", version=c3dhash.__version__, docs_url=None, redoc_url=None,
        description="Finds the videos of a gallery that show the same as a video, or something similar.",
    )  # fmt: skip
    for make in (query_routes, gallery_routes, server_routes, page_routes):
        app.include_router(make(service))
    for router in routers:
        app.include_router(router)
    _tell_errors(app, service)
    return Guards(_Counted(app, service), service.config)


def _tell_errors(app: FastAPI, service: Service) -> None:
    """Make JSON of all errors: {"error": TEXT}; or a page, where a browser goes to an address."""

    def tell(request: Request, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
        if not _is_for_a_page(request):
            return JSONResponse({"error": printable(text)}, status_code=status, headers=headers)
        response = error_page(service, status, text)
        response.headers.update(headers or {})
        return response

    @app.exception_handler(Refused)
    async def tell_refusal(request: Request, error: Refused) -> Response:
        return tell(request, error.status, error.text, error.headers)

    @app.exception_handler(C3DHashError)
    async def tell_error(request: Request, error: C3DHashError) -> Response:
        status = status_of(error)
        return tell(request, status, service.text_of(error), {"Retry-After": "5"} if status == 503 else None)

    @app.exception_handler(RequestValidationError)
    async def tell_invalid(request: Request, error: RequestValidationError) -> Response:
        is_json = not any(each["type"] == "json_invalid" for each in error.errors())
        return tell(request, 422 if is_json else 400, told(error.errors()))

    @app.exception_handler(HTTPException)
    async def tell_http(request: Request, error: HTTPException) -> Response:
        text = {404: "no page has this address.", 405: "this method is not allowed here."}
        if not _is_for_a_page(request):
            text[404] = "there is nothing here: /openapi.json lists what there is."
        return tell(request, error.status_code, text.get(error.status_code, str(error.detail)), error.headers)

    @app.exception_handler(Exception)
    async def tell_failure(request: Request, error: Exception) -> Response:
        return tell(request, 500, service.text_of(error))


def _is_for_a_page(request: Request) -> bool:
    """Whether a browser goes to an address, as against a script or what is in a page."""
    is_of_api = request.url.path.startswith(("/api/", "/static/"))
    return request.method == "GET" and not is_of_api and "text/html" in request.headers.get("accept", "")


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
