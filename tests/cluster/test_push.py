"""A gallery is pushed to Milvus: again and again, killed, by two at a time, and where it does not belong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import milvus_server
import pytest
from galleries import batch_of, make_gallery, name_of

from c3dhash.cluster import push
from c3dhash.cluster.address import Address
from c3dhash.cluster.connection import Connection
from c3dhash.cluster.push import PushReport, push_gallery
from c3dhash.cluster.remote import RemoteGallery
from c3dhash.cluster.tables import STATE_ROW, find_tables
from c3dhash.errors import GalleryError, ModelMismatchError, UsageError
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery

KILL = """
import os, signal, sys
from c3dhash.cluster.address import parse_address
from c3dhash.cluster.connection import Connection
from c3dhash.cluster.push import push_gallery
from c3dhash.gallery.store import Gallery

gallery, address, method, collection, number, when = sys.argv[1:]
call, seen = Connection.call, 0

def counted(self, name, *arguments, **named):
    global seen
    is_meant = name == method and arguments[0] == collection
    seen += is_meant
    if is_meant and seen == int(number) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = call(self, name, *arguments, **named)
    if is_meant and seen == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

Connection.call = counted
with Gallery.open(gallery) as opened:
    push_gallery(opened, parse_address(address))
"""


@pytest.fixture
def gallery(tmp_path) -> Iterator[Gallery]:
    with Gallery.open(make_gallery(tmp_path / "gallery", range(8))) as gallery:
        yield gallery


def rows_of(address: Address, name: str) -> list[dict[str, Any]]:
    """All that a collection holds, but for what is known of all."""
    connection = Connection(address)
    fields = {"code", "video", "start_seconds", "end_seconds"} if name == address.collection else {*push.ROW_FIELDS}
    found = connection.call("query", name, filter="id > 0", output_fields=["id", *fields], consistency_level="Strong")
    connection.close()
    return sorted(map(dict, found), key=lambda row: row["id"])


def check(gallery: Gallery, address: Address) -> None:
    """What is there is what is here, clip by clip."""
    ids, codes = gallery.codes()
    clips = rows_of(address, address.collection)
    told = [(clip.id, clip.start_seconds, clip.end_seconds) for clip in gallery.clips(ids)]
    assert [(row["id"], row["start_seconds"], row["end_seconds"]) for row in clips] == told
    assert [bytes(row["code"][0]) for row in clips] == [code.tobytes() for code in codes]
    firsts = {video.video: int(gallery.codes_of(video.id)[0][0]) for video in gallery.videos() if video.num_clips}
    videos = rows_of(address, address.videos)
    assert sorted(firsts.values()) == [row["id"] for row in videos] == sorted({row["video"] for row in clips})
    with RemoteGallery(str(address)) as there:
        for clip in gallery.clips(list(firsts.values())):
            assert there.clip(clip.id) == clip


def set_state(address: Address, **changes: Any) -> None:
    connection = Connection(address)
    tables = find_tables(connection)
    assert tables is not None
    tables.write(STATE_ROW, {**(tables.read(STATE_ROW, strong=True) or {}), **changes})
    connection.close()


def test_again_and_again(gallery, free_address, monkeypatch):
    """What is there is left alone; what changes, moves, goes, is missing or is back here, does so there."""
    monkeypatch.setattr(push, "BLOCK_IDS", 15)  # blocks that cut videos in two
    monkeypatch.setattr(push, "CLIPS_AT_A_TIME", 25)
    address = free_address()
    seen: list[int] = []
    assert push_gallery(gallery, address, on_videos=seen.append) == PushReport(added=8, clips=80)
    assert sum(seen) == 8
    check(gallery, address)
    before = rows_of(address, address.videos)
    assert push_gallery(gallery, address) == PushReport(unchanged=8)
    assert rows_of(address, address.videos) == before

    gallery.remove([name_of(0)])
    gallery.add(name_of(1), batch_of(11, num_clips=3), content_hash="h11", label="wave", root="/db")
    gallery.add(name_of(20), batch_of(20), content_hash="h20", root="/db")
    with gallery.editing() as edits:
        edits.mark_missing(name_of(2))
        edits.move(name_of(3), "/db/there/3.mp4", root="/db", size_bytes=1, mtime_ns=2, label="golf")
    assert push_gallery(gallery, address) == PushReport(added=2, removed=3, updated=1, unchanged=4, clips=13)
    check(gallery, address)
    with gallery.editing() as edits:
        edits.bring_back(name_of(2))
    assert push_gallery(gallery, address) == PushReport(added=1, unchanged=7, clips=10)
    check(gallery, address)

    gallery.remove([video.video for video in gallery.videos()])
    assert push_gallery(gallery, address) == PushReport(removed=8)
    check(gallery, address)
    with (
        RemoteGallery(str(address)) as there,
        pytest.raises(GalleryError, match=r"'milvus://.*' is empty: index videos"),
    ):
        query_codes(there, batch_of(1))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("is_first", "method", "is_of_clips", "number", "when"),
    [
        (False, "insert", True, 1, "after"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (True, "create_collection", True, 1, "before"),
                (True, "create_index", True, 1, "before"),
                (False, "delete", False, 1, "after"),
                (False, "insert", False, 1, "after"),
            )
        ),
    ],
)  # fmt: skip
def test_killed_it_goes_on(gallery, free_address, is_first, method, is_of_clips, number, when):
    address = free_address()
    if not is_first:
        push_gallery(gallery, address)
        gallery.remove([name_of(0), name_of(5)])
        gallery.add(name_of(30), batch_of(30), content_hash="h30", root="/db")
    collection = address.collection if is_of_clips else address.videos
    arguments = [gallery.path, address, method, collection, number, when]
    done = subprocess.run(
        [sys.executable, "-c", KILL, *map(str, arguments)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    if is_first:
        with pytest.raises(GalleryError, match=r"is not there: `c3dhash|is empty, its push was cut off: run `c3dhash"):
            RemoteGallery(str(address))
    report = push_gallery(gallery, address)
    assert report.added + report.unchanged == gallery.num_videos
    check(gallery, address)


def test_what_is_not_there_whole_is_in_no_answer(gallery, free_address, caplog):
    """Clips without a video, as a kill leaves them, are not found; the next push takes them away."""
    push_gallery(gallery, address := free_address())
    connection = Connection(address)
    code = batch_of(99).codes[0].tobytes()
    stray = {"id": 1_000, "video": 1_000, "start_seconds": 0.0, "end_seconds": 1.0, "code": code}
    connection.call("insert", address.collection, [stray])
    connection.close()
    set_state(address, open=[1_000, 1_010], last_id=1_000, is_complete=False)
    with RemoteGallery(str(address)) as there:
        assert "is not whole: a push is under way, or was cut off" in caplog.text
        assert len(query_codes(there, batch_of(99, num_clips=1), top=20)) == 8
        assert "/db/" in query_codes(there, batch_of(99, num_clips=1), top=1)[0].video
    assert push_gallery(gallery, address) == PushReport(unchanged=8)
    check(gallery, address)


def test_two_who_push(gallery, free_address, monkeypatch):
    push_gallery(gallery, address := free_address())
    writer = {"id": "other", "host": "far", "pid": 1, "at": time.time()}
    set_state(address, writer=writer, is_complete=False)
    with pytest.raises(GalleryError, match=r"is being pushed to by process 1 on far, last heard of \d s ago: wait"):
        push_gallery(gallery, address)
    set_state(address, writer={**writer, "at": time.time() - 61})
    assert push_gallery(gallery, address) == PushReport(unchanged=8)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    set_state(address, writer={**writer, "host": socket.gethostname(), "pid": gone.pid})
    assert push_gallery(gallery, address) == PushReport(unchanged=8)
    set_state(address, writer={**writer, "host": socket.gethostname(), "pid": os.getpid()})
    with pytest.raises(GalleryError, match=rf"by process {os.getpid()} on {socket.gethostname()}"):
        push_gallery(gallery, address)

    set_state(address, writer=None)
    gallery.add(name_of(40), batch_of(40), content_hash="h40", root="/db")
    with pytest.raises(GalleryError, match=r"another push to 'milvus://.*' began: this one ends"):
        push_gallery(gallery, address, on_videos=lambda num: set_state(address, writer=writer))
    set_state(address, writer=None)
    assert push_gallery(gallery, address) == PushReport(unchanged=9)
    check(gallery, address)


def test_what_is_no_copy_of_it_is_left_as_it_is(gallery, free_address, tmp_path):
    push_gallery(gallery, address := free_address())
    before = rows_of(address, address.collection), rows_of(address, address.videos)
    with (
        Gallery.open(make_gallery(tmp_path / "other", range(3))) as other,
        pytest.raises(GalleryError, match=r"is the copy of another gallery than '.*other': name another collection"),
    ):
        push_gallery(other, address)
    with Gallery.create(tmp_path / "model", hash_length=48, model_fingerprint="b" * 32) as other:
        other.add("a", batch_of(1), content_hash="a")
        with pytest.raises(
            ModelMismatchError, match=r"holds 48-bit codes of model 3f2a3f2a…, gallery '.*' 48-bit ones of"
        ):
            push_gallery(other, address)
    with pytest.raises(UsageError, match=r"index \('hnsw'\) must be one of flat, ivf"):
        push_gallery(gallery, address, index="hnsw")
    assert (rows_of(address, address.collection), rows_of(address, address.videos)) == before

    strange = free_address()
    connection = Connection(strange)
    schema = connection.new_schema("somebody's")
    schema.add_field("id", connection.types.INT64, is_primary=True)
    schema.add_field("code", connection.types.BINARY_VECTOR, dim=48)
    for name in (strange.collection, "beside_videos"):
        connection.call("create_collection", name, schema=schema)
    found = r"is no gallery of c3dhash \(it has code, id\), and left as it is: name another one"
    for each in (strange, strange._replace(collection="beside")):
        with pytest.raises(GalleryError, match=found):
            push_gallery(gallery, each)
        with pytest.raises(GalleryError, match=found):
            RemoteGallery(str(each))
    assert connection.call("describe_collection", strange.collection)["description"] == "somebody's"
    assert not connection.call("has_collection", "beside")

    connection.call("drop_collection", address.collection)
    left = r"_videos' of '.*' is of another gallery, and left as it is"
    with Gallery.open(tmp_path / "other") as other, pytest.raises(GalleryError, match=left):
        push_gallery(other, address)
    assert connection.call("has_collection", address.videos)
    assert push_gallery(gallery, address) == PushReport(added=8, clips=80)
    check(gallery, address)
    connection.call("drop_collection", address.videos)
    with pytest.raises(GalleryError, match=rf"is half a gallery: collection '{address.videos}' is gone; drop '"):
        push_gallery(gallery, address)
    connection.close()


def test_nothing_to_push(tmp_path, free_address):
    address = free_address()
    with Gallery.create(tmp_path / "gallery", hash_length=48, model_fingerprint="a" * 32) as gallery:
        with pytest.raises(GalleryError, match=r"is empty, and always was: run `c3dhash index DIR` first"):
            push_gallery(gallery, address)
        with pytest.raises(GalleryError, match=r"no Milvus at 127\.0\.0\.1:1 lets us in"):
            gallery.add("a", batch_of(1), content_hash="a")
            push_gallery(gallery, Address("127.0.0.1", 1, "films"))
    with pytest.raises(GalleryError, match="is not there"):
        RemoteGallery(str(address))


@pytest.mark.slow
def test_a_token(tmp_path, server, monkeypatch):
    """A server that wants to know who asks."""
    (tmp_path / "server").mkdir()
    process, port = milvus_server.start(tmp_path / "server", token=True, is_quick=True)
    address = f"milvus://127.0.0.1:{port}/films"
    try:
        for token in ("", "root:wrong"):
            monkeypatch.setenv("C3DHASH_MILVUS_TOKEN", token)
            with pytest.raises(GalleryError, match=r"lets us in: .* a token \(C3DHASH_MILVUS_TOKEN=USER:PASS"):
                RemoteGallery(address)
        monkeypatch.setenv("C3DHASH_MILVUS_TOKEN", "root:Milvus")
        with pytest.raises(GalleryError, match="is not there"):
            RemoteGallery(address)
    finally:
        milvus_server.stop(process)
