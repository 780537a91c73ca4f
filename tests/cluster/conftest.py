"""A real Milvus, started here, and what is pushed to it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import milvus_server
import pytest
from both import Both, open_both

from c3dhash.cluster.address import Address

COUNTER = itertools.count()

# At its first import pymilvus sets up logging, which closes all handlers there are. One that TensorBoard's absl made
# closes its stream, too, unless that is sys.stderr at the moment: within a test it would be what pytest writes to.
with contextlib.suppress(ImportError):
    import pymilvus  # noqa: F401


@pytest.fixture(scope="module")  # a server that nobody asks takes half a core, of all tests that come after
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server."""
    if find_spec("milvus") is None or find_spec("pymilvus") is None:
        pytest.skip("needs the packages milvus (a server) and pymilvus: pip install 'c3dhash[test,milvus]'")
    process, port = milvus_server.start(tmp_path_factory.mktemp("milvus"), is_quick=True)
    yield port
    milvus_server.stop(process)


@pytest.fixture(scope="module")
def free_address(server: int) -> Callable[[], Address]:
    """Return an address where nothing is."""
    return lambda: Address("127.0.0.1", server, f"films_{next(COUNTER)}")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, free_address: Callable[[], Address]) -> Iterator[Both]:
    """A gallery, and its copy."""
    with open_both(tmp_path_factory.mktemp("both") / "gallery", free_address()) as both:
        yield both
