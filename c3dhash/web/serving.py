"""The application on a socket, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from types import FrameType

import uvicorn

from c3dhash.config import ServeConfig
from c3dhash.errors import UsageError
from c3dhash.web.guards import Application
from c3dhash.web.service import Service

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ANSWER_SECONDS = 5.0  # for the answers of what was refused when the time was up
KEEP_ALIVE_SECONDS = 15


def bind(config: ServeConfig) -> socket.socket:
    """Return a socket that listens where a config says.

    Raises:
        UsageError: there is none to be had.
    """
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((config.host, config.port), family=family, backlog=512)
    except OSError as error:
        raise UsageError(
            f"port ({config.port}) of host ({config.host}) cannot be listened on ({error.strerror or error}): take "
            "another with --port, or 0 for a free one."
        ) from error
    # What it accepts has this from it. Without it the body of an answer waits behind its head for the client's kernel,
    # which takes its 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address(listening: socket.socket, config: ServeConfig) -> str:
    """Return the address of a server, for people."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{listening.getsockname()[1]}/"


class _Server(uvicorn.Server):
    """Ends in order: what waits is refused at once, what is under way when its time is up."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._service.begin_closing)
        timer = loop.call_later(
            self._service.config.grace_seconds, lambda: loop.run_in_executor(None, self._service.stop_encoding)
        )
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn does it, but that the signals have had their effect in the end: the command is done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._end) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self.should_exit = True
            seconds = self._service.config.grace_seconds
            logger.info("Ending: what is under way has %g seconds; a second Ctrl-C refuses it at once.", seconds)
        elif number == signal.SIGINT:
            threading.Thread(target=self._service.stop_encoding, daemon=True).start()


def serve(
    application: Application,
    service: Service,
    listening: socket.socket,
    *,
    on_start: Callable[[], object] = lambda: None,
) -> None:
    """Answer requests until SIGINT or SIGTERM, then what is under way; all of the service is closed in the end.

    Args:
        listening: as of `bind`; closed here.
        on_start: called before the first request.
    """
    server = _Server(
        uvicorn.Config(
            application, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(service.config.grace_seconds + ANSWER_SECONDS),
        ),
        service,
    )  # fmt: skip
    has_ended = False
    try:
        on_start()
        asyncio.run(server.serve(sockets=[listening]))
        has_ended = True
    finally:
        listening.close()
        is_idle = service.close(patience_seconds=ANSWER_SECONDS)
        if has_ended and not is_idle:  # a large network is in the middle of a batch, whose result nobody waits for
            logging.shutdown()
            os._exit(0)
