"""Addresses of galleries in Milvus, right and wrong."""

from __future__ import annotations

import pytest

from c3dhash.cluster.address import is_address, parse_address
from c3dhash.errors import UsageError


def test_addresses():
    address = parse_address("milvus://db.example.org:19531/films_1")
    assert address == ("db.example.org", 19531, "films_1")
    assert (str(address), address.videos) == ("milvus://db.example.org:19531/films_1", "films_1_videos")
    assert str(parse_address("milvus://localhost/a")) == "milvus://localhost:19530/a"
    assert parse_address("milvus://[::1]:5/a").host == "[::1]"


@pytest.mark.parametrize(
    "text",
    ["milvus://", "milvus://host", "milvus://host/", "milvus://host:0/a", "milvus://host:70000/a", "milvus://host/1a",
     "milvus://host/a-b", "milvus://host/a/b", "milvus://host:port/a", "milvus:/host/a", "milvus://a b/c",
     "milvus://host/ä", "http://host/a", f"milvus://host/{'a' * 201}", "milvus://host/a\n"],
)  # fmt: skip
def test_no_addresses(text):
    with pytest.raises(UsageError, match="must be milvus://HOST:PORT/COLLECTION"):
        parse_address(text)


def test_what_is_meant_as_one():
    assert is_address("milvus://host/a") and is_address("milvus:/host/a")
    assert not is_address("gallery") and not is_address("/milvus:/a")
