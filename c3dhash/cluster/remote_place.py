"""Where a gallery in Milvus lies, as a server looks after it: whether it is there, and still the same."""

from __future__ import annotations

from c3dhash.cluster.address import parse_address
from c3dhash.cluster.connection import Connection, Lately
from c3dhash.cluster.remote import RemoteGallery, not_there
from c3dhash.cluster.tables import find_tables

LOOK_SECONDS = 5.0  # that a server may take to say what it has: so long requests wait for one that is silent


class RemotePlace:
    """As `gallery.served.GalleryPlace`; what lies there is looked at once in a moment, however many ask.

    Args:
        text: an address.
    Raises:
        UsageError: it is none.
    """

    def __init__(self, text: str) -> None:
        self._address = parse_address(text)
        self.name = self._address.collection
        self.own_names = {
            str(self._address): self.name,
            f"{self._address.host}:{self._address.port}": "its address",
        }
        self._connection: Connection | None = None
        self._made = Lately(self._look)

    def open(self) -> RemoteGallery:
        return RemoteGallery(str(self._address))

    def lies_there(self) -> tuple[int, int]:
        return self._made.get()

    def _look(self) -> tuple[int, int]:
        if self._connection is None:
            self._connection = Connection(self._address, seconds=LOOK_SECONDS)
        tables = find_tables(self._connection)
        if tables is None:
            raise not_there(self._address)
        return tables.made

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
