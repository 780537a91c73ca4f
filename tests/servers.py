"""What tests of servers share: how the videos are cut, names, and a way to ask an application."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from c3dhash.config import EncodeConfig
from c3dhash.web.guards import Guards
from c3dhash.web.service import Service
from c3dhash.web.serving import _Server, bind

WINDOWS = EncodeConfig(precision="fp32", device="cpu", window_seconds=1, stride_seconds=0.5, workers=2)
ATTACK = "<img src=x onerror=alert(1)>.mp4"
TOKEN = "a-token-of-sixteen"


class Served(NamedTuple):
    """A service, its application, and a way to ask it: (method, path, ...) -> answer."""

    service: Service
    app: Guards
    ask: Callable[..., httpx.Response]


class OnSocket(NamedTuple):
    """A service on a socket, and how to end it."""

    service: Service
    url: str
    server: Any
    thread: threading.Thread


@contextmanager
def listening(service: Service, app: Guards) -> Iterator[OnSocket]:
    """Serve an application on a socket of this machine, in a thread, as the command does; then end it."""
    import uvicorn

    with bind(service.config) as bound:
        settings = uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
                                  timeout_graceful_shutdown=20)  # fmt: skip
        server = _Server(settings, service)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[bound])), daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            yield OnSocket(service, f"http://127.0.0.1:{bound.getsockname()[1]}", server, thread)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def asker(app: Any, *, base_url: str = "http://127.0.0.1:8000") -> Callable[..., httpx.Response]:
    """Return what asks an application."""

    def ask(method: str, path: str, **options: Any) -> httpx.Response:
        async def request() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url=base_url, timeout=60) as client:
                return await client.request(method, path, **options)

        return asyncio.run(request())

    return ask
