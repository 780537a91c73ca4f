"""A Milvus server that is asked: with a limit of time, and errors that say what to do."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Generic, TypeVar

from c3dhash.cluster.address import Address
from c3dhash.errors import C3DHashError, GalleryError, MissingExtraError

Answer = TypeVar("Answer")

TOKEN_VARIABLE = "C3DHASH_MILVUS_TOKEN"
CONNECT_SECONDS = 10.0
CALL_SECONDS = 120.0
LOAD_SECONDS = 600.0  # of a large collection into the memory of the servers
FRESH_SECONDS = 1.0  # for which what a server said is taken for what it would say
MOST_ROWS = 16_384  # of an answer: Milvus gives no more


class Connection:
    """A connection to the server of an address; threads may share it.

    Args:
        address: the token for it, "USER:PASSWORD" or a key, is taken from the environment.
        seconds: that a call may take, unless it says otherwise.
    Raises:
        MissingExtraError: pymilvus is not installed.
        GalleryError: no server answers there, or it does not let us in; also from `call`, where the server fails.
    """

    def __init__(self, address: Address, *, seconds: float = CALL_SECONDS) -> None:
        try:
            import grpc
            import pymilvus
        except ImportError as error:
            raise MissingExtraError(f"'{address}' needs the extra milvus: pip install 'c3dhash[milvus]'") from error
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)  # its tracebacks of errors that are told in a line
        self.address, self.types, self._seconds = address, pymilvus.DataType, seconds
        self._errors: tuple[type[Exception], ...] = (pymilvus.MilvusException, grpc.RpcError)
        token = os.environ.get(TOKEN_VARIABLE, "")
        try:
            uri = f"http://{address.host}:{address.port}"
            self._client: Any = pymilvus.MilvusClient(uri=uri, token=token, timeout=CONNECT_SECONDS)
        except self._errors as error:
            raise self._told(error, CONNECT_SECONDS) from error

    def call(self, method: str, /, *arguments: Any, timeout: float | None = None, **named: Any) -> Any:
        """Return what a method of pymilvus' client returns.

        Raises:
            GalleryError: the server refuses, or does not answer in time.
        """
        seconds = timeout or self._seconds
        try:
            return getattr(self._client, method)(*arguments, timeout=seconds, **named)
        except self._errors as error:
            raise self._told(error, seconds) from error

    def new_schema(self, description: str) -> Any:
        """Return a schema without fields, for `create_collection`."""
        return self._client.create_schema(auto_id=False, enable_dynamic_field=False, description=description)

    def new_index(self, field: str, **named: Any) -> Any:
        """Return the parameters of one index, by Hamming distance."""
        parameters = self._client.prepare_index_params()
        parameters.add_index(field, metric_type="HAMMING", **named)
        return parameters

    def close(self) -> None:
        self._client.close()

    def _told(self, error: Any, seconds: float) -> GalleryError:
        told = error.details() if hasattr(error, "details") else getattr(error, "message", "")  # of grpc, of pymilvus
        text = " ".join(str(told or error).split()).rstrip(".")
        server = f"{self.address.host}:{self.address.port}"
        if "deadline exceeded" in text.lower():
            return GalleryError(f"Milvus at {server} is silent: it did not answer '{self.address}' in {seconds:g} s.")
        if "Fail connecting" in text or "unavailable" in text.lower():
            wanted = f"is it running there, and does it want a token ({TOKEN_VARIABLE}=USER:PASSWORD)?"
            return GalleryError(f"no Milvus at {server} lets us in: {wanted} ({text})")
        return GalleryError(f"Milvus at {server} refuses '{self.address}': {text}.")


class Lately(Generic[Answer]):
    """What a server said within FRESH_SECONDS, or that it did not: many threads ask, one at a time asks the server.

    Args:
        ask: asks it.
    """

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask, self._lock = ask, threading.Lock()
        self._answer: Answer | C3DHashError | None = None
        self._at = 0.0

    def get(self) -> Answer:
        """Return what it says.

        Raises:
            C3DHashError: what it refuses.
        """
        with self._lock:
            if self._answer is None or monotonic() - self._at >= FRESH_SECONDS:
                try:
                    self._answer = self._ask()
                except C3DHashError as error:
                    self._answer = error
                self._at = monotonic()  # of a server that is silent those who waited meanwhile hear at once
            if isinstance(self._answer, C3DHashError):
                raise type(self._answer)(str(self._answer)) from self._answer
            return self._answer
