"""A Milvus server that is asked: with a limit of time, and errors that say what to do."""

from __future__ import annotations

import logging
import os
from typing import Any

from c3dhash.cluster.address import Address
from c3dhash.errors import GalleryError, MissingExtraError

TOKEN_VARIABLE = "C3DHASH_MILVUS_TOKEN"
CONNECT_SECONDS = 10.0
CALL_SECONDS = 120.0
LOAD_SECONDS = 600.0  # of a large collection into the memory of the servers
MOST_ROWS = 16_384  # of an answer: Milvus gives no more


class Connection:
    """A connection to the server of an address; for one thread at a time.

    Args:
        address: the token for it, "USER:PASSWORD" or a key, is taken from the environment.
    Raises:
        MissingExtraError: pymilvus is not installed.
        GalleryError: no server answers there, or it does not let us in; also from `call`, where the server fails.
    """

    def __init__(self, address: Address) -> None:
        try:
            import pymilvus
        except ImportError as error:
            raise MissingExtraError(f"'{address}' needs the extra milvus: pip install 'c3dhash[milvus]'") from error
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)  # its tracebacks of errors that are told in a line
        self.address, self.types = address, pymilvus.DataType
        self._error: type[Exception] = pymilvus.MilvusException
        token = os.environ.get(TOKEN_VARIABLE, "")
        try:
            uri = f"http://{address.host}:{address.port}"
            self._client: Any = pymilvus.MilvusClient(uri=uri, token=token, timeout=CONNECT_SECONDS)
        except self._error as error:
            raise self._told(error) from error

    def call(self, method: str, /, *arguments: Any, timeout: float = CALL_SECONDS, **named: Any) -> Any:
        """Return what a method of pymilvus' client returns.

        Raises:
            GalleryError: the server refuses, or does not answer in time.
        """
        try:
            return getattr(self._client, method)(*arguments, timeout=timeout, **named)
        except self._error as error:
            raise self._told(error) from error

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

    def _told(self, error: Exception) -> GalleryError:
        text = " ".join(str(getattr(error, "message", "") or error).split()).rstrip(".")
        server = f"{self.address.host}:{self.address.port}"
        if "Fail connecting" in text or "unavailable" in text.lower():
            wanted = f"is it running there, and does it want a token ({TOKEN_VARIABLE}=USER:PASSWORD)?"
            return GalleryError(f"no Milvus at {server} lets us in: {wanted} ({text})")
        return GalleryError(f"Milvus at {server} refuses '{self.address}': {text}.")
