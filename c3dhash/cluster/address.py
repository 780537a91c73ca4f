"""Where a gallery is that lies in Milvus: milvus://host:port/collection."""

from __future__ import annotations

import re
from typing import NamedTuple

from c3dhash.errors import UsageError

SCHEME = "milvus://"
DEFAULT_PORT = 19530
VIDEOS_ENDING = "_videos"
PATTERN = re.compile(
    r"milvus://(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\])(?::(?P<port>\d{1,5}))?/(?P<collection>[A-Za-z_]\w{0,199})", re.ASCII
)


class Address(NamedTuple):
    """A server, and the name of a collection of codes; one of videos lies beside it."""

    host: str
    port: int
    collection: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.host}:{self.port}/{self.collection}"

    @property
    def videos(self) -> str:
        """The name of the collection of videos."""
        return self.collection + VIDEOS_ENDING


def is_address(text: str) -> bool:
    """Tell whether this is meant as an address, right or wrong."""
    return text.startswith("milvus:")


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        UsageError: it is none.
    """
    found = PATTERN.fullmatch(text)
    if found is None or not 0 < int(found["port"] or DEFAULT_PORT) < 65536:
        raise UsageError(
            f"address ({text!r}) must be milvus://HOST:PORT/COLLECTION, as in milvus://localhost:19530/films; a "
            "collection is named by letters, digits and _, and begins with no digit."
        )
    return Address(found["host"], int(found["port"] or DEFAULT_PORT), found["collection"])
