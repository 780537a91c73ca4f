"""The index follows its catalog, from whatever file it finds."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import faiss
import numpy as np
import pytest

from c3dhash.files import temporary_path
from c3dhash.gallery import schema
from c3dhash.gallery.catalog import EMPTY, Catalog
from c3dhash.gallery.index import HammingIndex
from c3dhash.gallery.replica import Replica
from c3dhash.records import CodeBatch

NO_FILE = {"content_hash": "h", "size_bytes": 1, "mtime_ns": 2, "label": None}


def add(catalog: Catalog, video: str, num_clips: int) -> None:
    rng = np.random.default_rng(num_clips)
    codes, starts = rng.integers(0, 256, (num_clips, 2), dtype=np.uint8), np.arange(float(num_clips))
    with catalog.editing() as edits:
        edits.add(video, CodeBatch(codes, 16, starts, starts + 1), **NO_FILE)


def remove(catalog: Catalog, *videos: str) -> None:
    with catalog.editing() as edits:
        assert all(edits.remove(video) for video in videos)


def assert_equals_catalog(index: HammingIndex, catalog: Catalog) -> None:
    truth = catalog.changes(since=EMPTY, last_id=0)
    assert truth is not None
    np.testing.assert_array_equal(index.first_ids, truth.first_ids)
    np.testing.assert_array_equal(np.diff(np.append(index.starts, len(index))), truth.num_clips)
    assert index.num_videos == sum(video.num_clips > 0 for video in catalog.videos())
    codes = np.concatenate([np.empty((0, 2), np.uint8), *catalog.codes()])
    np.testing.assert_array_equal(index.sample(len(codes))[1] if len(codes) else codes, codes)
    distances, ids = index.search(codes, k=1)
    assert (distances == 0).all()
    all_ids = index.ids_at(np.arange(len(index)))
    np.testing.assert_array_equal(ids[:, 0], [all_ids[(codes == code).all(axis=1)][0] for code in codes])


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    path = tmp_path / "catalog.sqlite"
    schema.create(path, meta={"hash_length": "16"}, timeout_seconds=0.05)
    with closing(Catalog(path, timeout_seconds=0.05)) as catalog:
        add(catalog, "a", 60)
        add(catalog, "b", 40)
        yield catalog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "codes.bin"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="c3dhash")
    return caplog


def test_missing_file_is_made(catalog: Catalog, path: Path, log: pytest.LogCaptureFixture) -> None:
    assert_equals_catalog(Replica(catalog, path).index(), catalog)
    assert log.text == "", "a new gallery has no index file, and nobody need hear of it"
    assert [name.name for name in path.parent.glob("codes*")] == ["codes.bin"]
    log.clear()
    whole = path.read_bytes()
    assert_equals_catalog(Replica(catalog, path).index(), catalog)
    assert log.text == ""
    assert path.read_bytes() == whole


def of_a_former_format(magic: bytes, format: str, *numbers: int) -> bytes:
    """Return what the file of an earlier version may look like: one of FAISS, a trailer, its checksum."""
    index = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(32))
    content = faiss.serialize_index_binary(index).tobytes() + struct.pack(format, magic, 16, *numbers)
    return content + struct.pack("<I", zlib.crc32(content))


FORMER = {
    "first": of_a_former_format(b"c3dhash1", "<8sIqq", 2, 5),
    "second": of_a_former_format(b"c3dhash2", "<8sIqqq", 0, 2, 5),
}


@pytest.mark.parametrize("which", [*FORMER, "a foreign file", "a short file", "a folder"])
def test_a_former_file_goes_once_there_is_another(which: str, catalog: Catalog, path: Path) -> None:
    former = path.with_name("index.faiss")
    if which == "a folder":
        former.mkdir()
    else:
        former.write_bytes(FORMER.get(which, bytes(100) if which == "a foreign file" else b"c3dhash2"))
    Replica(catalog, path.parent / "gone" / "codes.bin").index()
    assert former.exists(), "what replaces it is not safe yet"
    assert_equals_catalog(Replica(catalog, path).index(), catalog)
    assert former.exists() == (which not in FORMER)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "directory", "another width", "another format"])
def test_damaged_file_is_made_again(damage: str, catalog: Catalog, path: Path, log: pytest.LogCaptureFixture) -> None:
    Replica(catalog, path).index()
    whole = path.read_bytes()
    if damage == "directory":
        path.unlink()
        path.mkdir()
    elif damage == "another width":
        HammingIndex(48).save(path, stamp=(2, 5))
    else:
        content = {
            "cut": whole[:-9],
            "flipped": b"\0" + whole[1:],
            "empty": b"",
            "another format": FORMER["second"],
        }
        path.unlink()  # not in place: it is mapped
        path.write_bytes(content[damage])
    log.clear()
    assert_equals_catalog(Replica(catalog, path).index(), catalog)
    assert "It is built from the catalog" in log.text
    assert ("was not saved" in log.text) == (damage == "directory")
    if damage != "directory":
        assert path.read_bytes() == whole
    assert not list(path.parent.glob("*.tmp")), "a save that failed leaves nothing"


def test_older_file_is_brought_up_to_date(
    catalog: Catalog, path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Replica(catalog, path).index()
    old = path.read_bytes()
    add(catalog, "a", 3)
    remove(catalog, "b")
    add(catalog, "c", 5)
    read = []
    monkeypatch.setattr(catalog, "changes", lambda **since: read.append(changes(**since)) or read[-1])
    changes = Catalog.changes.__get__(catalog)
    log.clear()
    index = Replica(catalog, path).index()
    assert len(read) == 1
    assert (len(read[0].removed), read[0].num_clips.tolist()) == (2, [3, 5])  # and not everything
    assert_equals_catalog(index, catalog)
    assert log.text == ""
    assert path.read_bytes() != old


def test_file_of_another_history_is_made_again(catalog: Catalog, path: Path, log: pytest.LogCaptureFixture) -> None:
    stranger = HammingIndex(16)
    stranger.add([np.zeros((7, 2), np.uint8)], first_ids=np.array([200]), num_clips=np.array([7]))
    for number in (2, 1000):  # a token that was never there; a revision that is still to come
        path.unlink(missing_ok=True)
        stranger.save(path, stamp=(number, 12345))
        log.clear()
        assert_equals_catalog(Replica(catalog, path).index(), catalog)
        assert "is no copy of any state of the catalog: it is built again" in log.text
    loaded = HammingIndex(16)
    loaded.load(path)
    assert_equals_catalog(loaded, catalog)


def test_open_index_follows_the_catalog(catalog: Catalog, path: Path) -> None:
    replica = Replica(catalog, path)
    index = replica.index()
    with closing(Catalog(catalog.path, timeout_seconds=0.05)) as other:  # as another process has it
        for step in range(30):
            writer = (catalog, other)[step % 2]
            add(writer, f"video {step % 4}", step % 5)
            if step % 7 == 6:
                remove(writer, f"video {step % 4}")
            assert replica.index() is index
            assert_equals_catalog(index, catalog)
    remove(catalog, *(video.video for video in catalog.videos()))
    assert len(replica.index()) == 0


def test_file_is_written_again_after_enough_changes(catalog: Catalog, path: Path) -> None:
    replica = Replica(catalog, path)
    replica.index()
    written = []
    for step in range(20):  # one clip each, to 100
        add(catalog, f"one {step}", 1)
        before = path.stat().st_ino
        replica.index()
        written.append(path.stat().st_ino != before)
    # 6 of 106 clips are the first to be 5 % (5 of 105 are less), then 6 of 112 and of 118.
    assert [step + 1 for step in range(20) if written[step]] == [6, 12, 18]


def test_leftovers_of_killed_processes_are_swept(catalog: Catalog, path: Path) -> None:
    own = temporary_path(path)
    killed = path.with_name(own.name.replace(f"-{os.getpid()}-", "-999999999-"))
    for leftover in (own, killed):
        leftover.touch()
    Replica(catalog, path).index()
    add(catalog, "one", 1)
    Replica(catalog, path).index()
    assert not killed.exists()
    assert own.exists()


def test_a_failed_save_leaves_nothing(catalog: Catalog, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add(catalog, "one", 1)
    path.mkdir()  # no file can take its place
    before = sorted(path.parent.iterdir())
    with caplog.at_level(logging.INFO):
        assert len(Replica(catalog, path).index()) == 101
    assert "was not saved" in caplog.text
    assert sorted(path.parent.iterdir()) == before


def test_what_was_saved_is_mapped(catalog: Catalog, path: Path) -> None:
    replica = Replica(catalog, path)
    index = replica.index()
    assert not index._room.flags.writeable
    add(catalog, "one", 1)
    assert replica.index()._room.flags.writeable, "too little to be saved"
    add(catalog, "ten", 10)
    assert not replica.index()._room.flags.writeable
    assert_equals_catalog(index, catalog)


def test_index_is_of_one_state_while_another_process_writes(
    catalog: Catalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, read_changes = Replica(catalog, path), catalog.changes

    def read_then_write(**since: object) -> object:
        read = read_changes(**since)
        with closing(Catalog(catalog.path, timeout_seconds=0.05)) as other:
            add(other, "c", 5)
            remove(other, "a")
        return read

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "changes", read_then_write)
        assert len(replica.index()) == 100
    assert len(replica.index()) == 45
    assert_equals_catalog(replica.index(), catalog)


def test_problems_of_the_file_are_told(catalog: Catalog, path: Path) -> None:
    replica = Replica(catalog, path)
    assert replica.problem() is None
    index = replica.index()
    add(catalog, "one", 1)  # not saved: the file is of an earlier state
    assert replica.problem() is None
    revision = catalog.revision()
    codes = index.codes(0, 100).copy()
    codes[70, 1] ^= 4
    for number, last_clips, said in (
        (revision.number, 40, "holds other codes than the catalog among clips 1 to 101"),
        (revision.number, 41, "holds other videos than the catalog"),
        (77, 40, "is no copy of any state of the catalog"),
    ):
        foreign = HammingIndex(16)
        clips = np.concatenate([codes, codes])[: 60 + last_clips]
        foreign.add([clips], first_ids=np.array([1, 61]), num_clips=np.array([60, last_clips]))
        path.unlink()
        foreign.save(path, stamp=(number, revision.token))
        assert said in str(replica.problem())
    path.unlink()
    path.write_bytes(b"damaged")
    assert "codes.bin' cannot be read: its checksum does not match" in str(replica.problem())
