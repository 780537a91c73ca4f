"""What tests of servers share: how the videos are cut, names, and a way to ask an application."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from c3dhash.config import EncodeConfig
from c3dhash.web.guards import Guards
from c3dhash.web.service import Service

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


def asker(app: Any, *, base_url: str = "http://127.0.0.1:8000") -> Callable[..., httpx.Response]:
    """Return what asks an application."""

    def ask(method: str, path: str, **options: Any) -> httpx.Response:
        async def request() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url=base_url, timeout=60) as client:
                return await client.request(method, path, **options)

        return asyncio.run(request())

    return ask
