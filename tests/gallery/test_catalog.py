"""The catalog gives back what was written, and says what a copy of an earlier state lacks."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c3dhash.errors import GalleryError
from c3dhash.gallery import schema
from c3dhash.gallery.catalog import EMPTY, Catalog, GalleryClip, GalleryVideo, Revision
from c3dhash.records import CodeBatch

NO_FILE = {"content_hash": "h", "size_bytes": 1, "mtime_ns": 2, "label": None}


def batch(*codes: bytes) -> CodeBatch:
    """Make clips of 16-bit codes, one second each."""
    array = np.array([list(code) for code in codes], np.uint8).reshape(len(codes), 2)
    starts = np.arange(len(codes), dtype=np.float64)
    return CodeBatch(array, 16, starts, starts + 1)


def add(catalog: Catalog, video: str, codes: CodeBatch, **facts: Any) -> np.ndarray:
    with catalog.editing() as edits:
        return edits.add(video, codes, **facts)


def remove(catalog: Catalog, *videos: str) -> None:
    with catalog.editing() as edits:
        for video in videos:
            assert edits.remove(video), f"no {video}"


def touch(catalog: Catalog, video: str) -> None:
    with catalog.editing() as edits:
        assert edits.touch(video, size_bytes=5, mtime_ns=6)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    path = tmp_path / "catalog.sqlite"
    schema.create(path, meta={"hash_length": "16"}, timeout_seconds=0.05)
    with closing(Catalog(path, timeout_seconds=0.05)) as catalog:
        yield catalog


def test_video_and_clips_come_back(catalog: Catalog) -> None:
    ids = add(
        catalog, "b ü.mp4", batch(b"\1\0", b"\0\0"), content_hash="x", size_bytes=2**40, mtime_ns=2**60, label="wave"
    )
    assert ids.tolist() == [1, 2]
    assert ids.dtype == np.int64
    add(catalog, "a.mp4", batch(b"\xff\xff"), **NO_FILE)
    assert catalog.videos() == [
        GalleryVideo("a.mp4", "h", 1, 2, None, 1),
        GalleryVideo("b ü.mp4", "x", 2**40, 2**60, "wave", 2),
    ]
    assert catalog.clips(np.array([3, 1, 2, 3])) == [
        GalleryClip(3, "a.mp4", 0.0, 1.0, None, "h", 1),
        GalleryClip(1, "b ü.mp4", 0.0, 1.0, "wave", "x", 2),
        GalleryClip(2, "b ü.mp4", 1.0, 2.0, "wave", "x", 2),
        GalleryClip(3, "a.mp4", 0.0, 1.0, None, "h", 1),
    ]
    assert catalog.num_clips() == 3
    changes = catalog.changes(since=EMPTY, last_id=0)
    assert (changes.first_ids.tolist(), changes.num_clips.tolist()) == ([1, 3], [2, 1])
    assert changes.first_ids.dtype == changes.num_clips.dtype == changes.removed.dtype == np.int64
    (codes,) = catalog.codes()
    assert codes.tolist() == [[1, 0], [0, 0], [255, 255]]  # trailing zero bytes are kept
    assert codes.dtype == np.uint8


def test_ids_are_never_used_again(catalog: Catalog) -> None:
    assert add(catalog, "a", batch(b"aa", b"bb"), **NO_FILE).tolist() == [1, 2]
    assert add(catalog, "a", batch(b"cc"), **NO_FILE).tolist() == [3]
    remove(catalog, "a")
    assert add(catalog, "a", batch(), **NO_FILE).tolist() == []
    assert add(catalog, "b", batch(b"dd"), **NO_FILE).tolist() == [4]
    assert [video.num_clips for video in catalog.videos()] == [0, 1]


def what_lacks(catalog: Catalog, since: Revision, last_id: int) -> tuple[list[int], list[int], list[int]]:
    changes = catalog.changes(since=since, last_id=last_id)
    return changes.removed.tolist(), changes.first_ids.tolist(), changes.num_clips.tolist()


def test_changes_are_what_a_copy_lacks(catalog: Catalog) -> None:
    assert what_lacks(catalog, EMPTY, 0) == ([], [], [])
    add(catalog, "a", batch(b"aa", b"bb"), **NO_FILE)
    add(catalog, "b", batch(b"cc", b"dd"), **NO_FILE)
    copied = catalog.revision()
    assert what_lacks(catalog, copied, 4) == ([], [], [])
    add(catalog, "a", batch(b"ee"), **NO_FILE)  # clip 5 for 1 and 2
    add(catalog, "c", batch(b"ff", b"gg"), **NO_FILE)  # 6 and 7, gone again
    remove(catalog, "c")
    add(catalog, "d", batch(), **NO_FILE)
    remove(catalog, "d")
    assert what_lacks(catalog, copied, 4) == ([1], [5], [1])
    assert [codes.tobytes() for codes in catalog.codes(after_id=4)] == [b"ee"]
    changes = catalog.changes(since=copied, last_id=4)
    assert changes.revision == catalog.revision() == Revision(7, changes.revision.token)
    assert repr(changes) == "Changes(to revision 7: -1 +1 videos)"
    remove(catalog, "a")  # the highest ids go: those above the copy's are none
    assert what_lacks(catalog, changes.revision, 5) == ([5], [], [])
    assert what_lacks(catalog, catalog.revision(), 5) == ([], [], [])


def test_changes_are_of_one_state_while_another_process_writes(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(catalog, "a", batch(b"aa"), **NO_FILE)
    before, read_one = catalog.revision(), catalog._one

    def read_then_write(*query: object) -> object:
        read = read_one(*query)
        with closing(Catalog(catalog.path, timeout_seconds=0.05)) as other:
            add(other, "b", batch(b"bb"), **NO_FILE)
        return read

    monkeypatch.setattr(catalog, "_one", read_then_write)
    changes = catalog.changes(since=before, last_id=0)
    assert (changes.revision, changes.first_ids.tolist()) == (before, [1])
    assert catalog.revision().number == before.number + 1


def test_clips_of_a_video_that_do_not_follow_each_other_are_damage(catalog: Catalog) -> None:
    add(catalog, "a", batch(b"aa", b"bb"), **NO_FILE)
    add(catalog, "b", batch(b"cc"), **NO_FILE)
    with closing(sqlite3.connect(catalog.path)) as connection, connection:
        connection.execute("UPDATE clip SET id = 9 WHERE id = 2")
    with pytest.raises(GalleryError, match="damaged: between clips 1 and 9 of one video lie others"):
        catalog.changes(since=EMPTY, last_id=0)


def test_every_write_is_a_revision_and_a_failed_one_is_not(catalog: Catalog) -> None:
    states = [catalog.revision()]
    assert states == [EMPTY]
    for write in (
        lambda: add(catalog, "a", batch(b"aa"), **NO_FILE),
        lambda: touch(catalog, "a"),
        lambda: remove(catalog, "a"),
    ):
        write()
        states.append(catalog.revision())
    assert [state.number for state in states] == [0, 1, 2, 3]
    assert len({state.token for state in states}) == 4
    with pytest.raises(AssertionError, match="no a"):
        remove(catalog, "a")
    assert catalog.revision() == states[-1]


def test_states_of_another_time_line_are_unknown(catalog: Catalog) -> None:
    add(catalog, "a", batch(b"aa"), **NO_FILE)
    backup = catalog.path.with_name("backup")
    with closing(sqlite3.connect(backup)) as target, closing(sqlite3.connect(catalog.path)) as source:
        source.backup(target)
    add(catalog, "b", batch(b"bb"), **NO_FILE)
    lost = catalog.revision()
    catalog.close()
    shutil.copy(backup, catalog.path)
    with closing(Catalog(catalog.path, timeout_seconds=0.05)) as restored:
        assert restored.changes(since=lost, last_id=2) is None
        add(restored, "c", batch(b"cc"), **NO_FILE)
        assert restored.revision().number == lost.number
        assert restored.changes(since=lost, last_id=2) is None


def test_touch_changes_the_file_and_nothing_else(catalog: Catalog) -> None:
    add(catalog, "a", batch(b"aa"), content_hash="x", size_bytes=1, mtime_ns=2, label="l")
    touch(catalog, "a")
    assert catalog.videos() == [GalleryVideo("a", "x", 5, 6, "l", 1)]


def test_failed_write_leaves_everything_as_it_was(catalog: Catalog) -> None:
    add(catalog, "a", batch(b"aa"), **NO_FILE)
    add(catalog, "b", batch(b"bb"), **NO_FILE)
    before = (catalog.revision(), catalog.videos(), catalog.clips([1, 2]))
    nan = CodeBatch(np.zeros((2, 2), np.uint8), 16, np.array([0.0, np.nan]), np.array([1.0, 2.0]))
    with pytest.raises(GalleryError, match=r"NOT NULL constraint failed: clip\.start_seconds"):
        add(catalog, "a", nan, **NO_FILE)
    with pytest.raises(AssertionError, match="no nowhere"):
        remove(catalog, "a", "nowhere", "b")
    assert (catalog.revision(), catalog.videos(), catalog.clips([1, 2])) == before
    assert add(catalog, "c", batch(b"cc"), **NO_FILE).tolist() == [3]


def test_unknown_clip(catalog: Catalog) -> None:
    add(catalog, "a", batch(b"aa"), **NO_FILE)
    for unknown in (-1, 2):
        with pytest.raises(GalleryError, match=f"has no clip {unknown}: take ids from search"):
            catalog.clips([1, unknown])


def test_code_of_another_width_is_damage(catalog: Catalog) -> None:
    add(catalog, "a", batch(b"aa", b"bb"), **NO_FILE)
    with closing(sqlite3.connect(catalog.path)) as connection, connection:
        connection.execute("UPDATE clip SET code = x'616161' WHERE id = 2")
    with pytest.raises(GalleryError, match="damaged: not all codes have 2 bytes; `c3dhash gallery verify` says which"):
        list(catalog.codes())


def test_many_clips_take_several_fetches(catalog: Catalog) -> None:
    rng = np.random.default_rng(0)
    codes, starts = rng.integers(0, 256, (2500, 2), dtype=np.uint8), np.arange(2500.0)
    add(catalog, "first", batch(b"aa"), **NO_FILE)
    add(catalog, "a", CodeBatch(codes, 16, starts, starts + 1), **NO_FILE)
    np.testing.assert_array_equal(np.concatenate(list(catalog.codes(after_id=1))), codes)
    assert what_lacks(catalog, catalog.revision(), 1) == ([], [2], [2500])
