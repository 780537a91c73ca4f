"""Videos move, are missing and come back, and what follows the catalog sees no more than it must."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from c3dhash.errors import GalleryError, UsageError
from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch

FILE = {"size_bytes": 5, "mtime_ns": 6}
ROOT = "/videos"


def batch(*codes: bytes) -> CodeBatch:
    array = np.array([list(code) for code in codes], np.uint8).reshape(len(codes), 2)
    starts = np.arange(len(codes), dtype=np.float64)
    return CodeBatch(array, 16, starts, starts + 1)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    """Three videos; one search, so that the index follows from here."""
    with Gallery.create(tmp_path / "gallery", hash_length=16, model_fingerprint="3f2a") as gallery:
        for name, codes in (("/videos/a", [b"aa", b"b\0"]), ("/videos/b", [b"cc"]), ("given", [b"dd"])):
            root = ROOT if name.startswith(ROOT) else None
            gallery.add(name, batch(*codes), content_hash=name, **FILE, label="l", root=root)
        assert found(gallery) == {1: b"aa", 2: b"b\0", 3: b"cc", 4: b"dd"}
        yield gallery


def found(gallery: Gallery) -> dict[int, bytes]:
    """All that answers are made of, the same from the index and from the catalog."""
    ids, codes = gallery.codes()
    in_index = gallery.search(np.zeros((1, 2), np.uint8), k=20)[1][0]
    assert sorted(in_index[in_index > 0].tolist()) == ids.tolist()
    assert len(gallery) == len(ids) == sum(video.num_clips for video in gallery.videos())
    assert gallery.num_videos == len(gallery.videos())
    assert {clip.video for clip in gallery.clips(ids)} <= {video.video for video in gallery.videos()}
    return dict(zip(ids.tolist(), map(bytes, codes), strict=True))


def test_a_missing_video_is_in_no_answer_and_comes_back_with_its_codes(gallery: Gallery) -> None:
    with gallery.editing() as edits:
        edits.mark_missing("/videos/a")
    assert found(gallery) == {3: b"cc", 4: b"dd"}
    (missing,) = gallery.missing_videos()
    assert missing.missing_since is not None
    assert missing == GalleryVideo("/videos/a", "/videos/a", 5, 6, "l", 2, ROOT, missing.missing_since)
    with pytest.raises(GalleryError, match="no clip 1"):
        gallery.clips([1])
    gallery.close()
    with Gallery.open(gallery.path) as again:
        assert found(again) == {3: b"cc", 4: b"dd"}
        with again.editing() as edits:
            assert edits.codes("/videos/a").codes.tobytes() == b"aab\0"
            edits.bring_back("/videos/a")
        assert again.missing_videos() == []
        assert found(again) == {3: b"cc", 4: b"dd", 5: b"aa", 6: b"b\0"}, "fresh ids, as of a new video"
        assert [(clip.start_seconds, clip.label) for clip in again.clips([5, 6])] == [(0, "l"), (1, "l")]


@pytest.mark.parametrize("what", ["remove", "add"])
def test_a_missing_video_can_be_removed_and_replaced(gallery: Gallery, what: str) -> None:
    with gallery.editing() as edits:
        edits.mark_missing("/videos/a")
    if what == "remove":
        gallery.remove(["/videos/a"])
        assert found(gallery) == {3: b"cc", 4: b"dd"}
    else:
        gallery.add("/videos/a", batch(b"ee"), content_hash="new")
        assert found(gallery) == {3: b"cc", 4: b"dd", 5: b"ee"}
        assert gallery.videos()[0].root == ROOT, "it stays where it is stored"
    assert gallery.missing_videos() == []
    count = "SELECT count(*) FROM missing_clip"
    assert gallery._catalog._one(count) == 0


def test_a_moved_video_keeps_its_clips(gallery: Gallery) -> None:
    with gallery.editing() as edits:
        edits.move("/videos/a", "/other/c", root="/other", size_bytes=7, mtime_ns=8, label="m")
    assert found(gallery) == {1: b"aa", 2: b"b\0", 3: b"cc", 4: b"dd"}
    assert gallery.videos()[0] == GalleryVideo("/other/c", "/videos/a", 7, 8, "m", 2, "/other")
    assert gallery.clips([1])[0].video == "/other/c"


def test_a_transaction_is_all_or_nothing(gallery: Gallery) -> None:
    before = gallery.videos()
    none = rf"gallery '{gallery.path}' has no video '/videos/none'"
    with pytest.raises(GalleryError, match=none), gallery.editing() as edits:
        edits.mark_missing("/videos/a")
        edits.remove("given")
        edits.bring_back("/videos/none")
    assert gallery.videos() == before
    assert found(gallery) == {1: b"aa", 2: b"b\0", 3: b"cc", 4: b"dd"}


def test_one_name_is_one_video_whichever_root_it_is_stored_in(gallery: Gallery) -> None:
    gallery.add("/videos/deep/a", batch(b"ee"), content_hash="", root="/videos/deep")
    gallery.add("/videos/deep/a", batch(b"ff"), content_hash="", root="/videos")
    gallery.add("/videos/b", batch(b"gg"), content_hash="")
    assert found(gallery) == {1: b"aa", 2: b"b\0", 4: b"dd", 6: b"ff", 7: b"gg"}
    gallery.touch("/videos/b", size_bytes=1, mtime_ns=2)
    assert [(video.video, video.mtime_ns, video.root) for video in gallery.videos()] == [
        ("/videos/a", 6, ROOT), ("/videos/b", 2, ROOT), ("/videos/deep/a", 0, ROOT), ("given", 6, None),
    ]  # fmt: skip


@pytest.mark.parametrize("video, root", [("/videos2/a", "/videos"), ("a", "."), ("videos/a", "videos")])
def test_a_video_lies_in_its_root(gallery: Gallery, video: str, root: str) -> None:
    with pytest.raises(UsageError, match=rf"video '{video}' must lie in its root, an absolute folder, got '{root}'"):
        gallery.add(video, batch(b"aa"), content_hash="", root=root)


def test_a_reader_learns_of_new_roots(gallery: Gallery) -> None:
    with Gallery.open(gallery.path) as reader:
        assert len(reader.videos()) == 3
        gallery.add("/new/a", batch(b"ee"), content_hash="", root="/new")
        assert reader.clips([5])[0].video == "/new/a"
        assert reader.videos()[0].root == "/new"


def test_a_root_that_moved_on_its_own_is_noted(tmp_path: Path) -> None:
    (tmp_path / "p" / "db").mkdir(parents=True)
    with Gallery.create(tmp_path / "p" / "gallery", hash_length=16, model_fingerprint="3f2a") as gallery:
        video = tmp_path / "p" / "db" / "a.mp4"
        video.touch()
        gallery.add(str(video), batch(b"aa"), content_hash="", root=str(video.parent))
        revision = gallery._catalog.revision()
        gallery.note_moved_roots()
        assert gallery._catalog.revision() == revision, "nothing moved"
    (tmp_path / "p" / "gallery").rename(tmp_path / "gallery")  # without its videos
    with Gallery.open(tmp_path / "gallery") as gallery:
        gallery.note_moved_roots()
    (tmp_path / "q").mkdir()
    for name in ("p", "gallery"):
        (tmp_path / name).rename(tmp_path / "q" / name)  # now with them
    with Gallery.open(tmp_path / "q" / "gallery") as gallery:
        assert gallery.videos()[0].video == str(tmp_path / "q" / "p" / "db" / "a.mp4")


def test_another_writer_is_waited_for_and_named(gallery: Gallery) -> None:
    gallery.close()
    with Gallery.open(gallery.path, timeout_seconds=0.01) as other:
        with held_by_another_thread(gallery):
            for write in (
                lambda: other.add("x", batch(b"xx"), content_hash=""),
                lambda: other.remove(["given"]),
                lambda: other.touch("given", **FILE),
            ):
                with pytest.raises(GalleryError, match=r"is being written by process \d+ on .* \(waited 0\.01 s\)"):
                    write()
            assert found(other) == {1: b"aa", 2: b"b\0", 3: b"cc", 4: b"dd"}, "a reader needs no lock"
        other.add("x", batch(b"xx"), content_hash="")


@contextlib.contextmanager
def held_by_another_thread(gallery: Gallery) -> Iterator[None]:
    entered, release = threading.Event(), threading.Event()

    def work() -> None:
        with gallery.writing():
            entered.set()
            release.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(10)
    yield
    release.set()
    thread.join()
