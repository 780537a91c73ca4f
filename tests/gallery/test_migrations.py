"""A gallery of an earlier schema opens, with all that was in it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from old_galleries import make_schema, make_schema_1

from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.reader import open_reader
from c3dhash.gallery.store import CATALOG_NAME, Gallery
from c3dhash.records import CodeBatch


def test_schema_1_is_migrated_with_all_that_is_in_it(tmp_path: Path) -> None:
    for folder in ("project/db/wave", "project/gallery"):
        (tmp_path / folder).mkdir(parents=True)
    base = tmp_path / "project"
    make_schema_1(base / "gallery", base=base)
    root = str(base / "db")
    for _ in range(2):  # the second time there is nothing to do
        with Gallery.open(base / "gallery") as gallery:
            assert gallery.videos() == [
                GalleryVideo("/no time.mp4", "h4", 0, 0, None, 0),
                GalleryVideo(f"{root}/b ü.mp4", "h2", 20, 200, None, 1, root),
                GalleryVideo(f"{root}/wave/a.mp4", "h1", 10, 100, "wave", 2, root),
                GalleryVideo("clip 7", "h3", 0, 0, None, 1),
            ]
            assert (len(gallery), gallery.num_videos, gallery.missing_videos()) == (4, 3, [])
            ids, codes = gallery.codes()
            assert (ids.tolist(), codes.tolist()) == ([1, 2, 3, 4], [[1, 0], [1, 1], [2, 0], [3, 0]])
            assert [clip.video for clip in gallery.clips([1, 3, 4])] == [
                f"{root}/wave/a.mp4",
                f"{root}/b ü.mp4",
                "clip 7",
            ]
    base.rename(moved := tmp_path / "moved")
    with Gallery.open(moved / "gallery") as gallery:
        assert gallery.videos()[1].video == f"{moved}/db/b ü.mp4", "it moves with its videos now"
        assert gallery.search(np.array([[1, 1]], np.uint8), k=1)[1].tolist() == [[2]]
        gallery.remove([f"{moved}/db/wave/a.mp4"])
        assert gallery.codes()[0].tolist() == [3, 4]
    with closing(sqlite3.connect(moved / "gallery" / CATALOG_NAME)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_migrating_an_empty_gallery(tmp_path: Path) -> None:
    make_schema_1(tmp_path / "gallery", base=tmp_path, videos=[])
    with Gallery.open(tmp_path / "gallery") as gallery:
        assert gallery.videos() == []


def test_videos_of_several_folders_get_several_roots(tmp_path: Path) -> None:
    names = ["/data/x/1.mp4", "/home/ann/2.mp4", "/3.mp4", "/odd/../4.mp4"]
    make_schema_1(tmp_path / "g", base=tmp_path, videos=[(name, name, 1, 1, None, 0) for name in names])
    with Gallery.open(tmp_path / "g") as gallery:
        assert {video.video: video.root for video in gallery.videos()} == {
            "/data/x/1.mp4": "/data/x", "/home/ann/2.mp4": "/home/ann", "/3.mp4": "/", "/odd/../4.mp4": None,
        }  # fmt: skip


READ = """
import os, sys
from c3dhash.gallery.store import Gallery
os.geteuid() or os.setuid(65534)  # root can write everywhere
with Gallery.open(sys.argv[1]) as gallery:
    print(len(gallery), [video.video for video in gallery.videos()])
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_schema_1_is_read_where_it_cannot_be_migrated() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_schema_1(Path(folder), base=Path("/elsewhere"))
        before = Path(folder, CATALOG_NAME).read_bytes()
        try:
            Path(folder).chmod(0o555)
            done = subprocess.run([sys.executable, "-c", READ, folder], capture_output=True, text=True, check=False)
        finally:
            Path(folder).chmod(0o755)
        assert "4 ['/elsewhere/db/b ü.mp4', '/elsewhere/db/wave/a.mp4', '/no time.mp4', 'clip 7']" in done.stdout, done
        assert Path(folder, CATALOG_NAME).read_bytes() == before


def test_schema_2_is_migrated_with_all_that_is_in_it(tmp_path: Path) -> None:
    make_schema(2, tmp_path / "gallery", [("a", "wave", False), ("b", None, True)])
    with Gallery.open(tmp_path / "gallery") as gallery:
        assert gallery.videos() == [GalleryVideo("a", "h1", 0, 0, "wave", 2)]
        assert [video.video for video in gallery.missing_videos()] == ["b"]
        assert gallery.codes()[1].tolist() == [[1, 0], [1, 1]]
        assert gallery.not_matches() == set()
        gallery.note_not_matches([("h2", "h1")])
    with Gallery.open(tmp_path / "gallery") as gallery:
        assert gallery.not_matches() == {("h1", "h2")}


@pytest.mark.parametrize("earlier", [1, 2, 3])
def test_videos_of_earlier_schemas_get_the_checksums_that_adding_them_gives(earlier: int, tmp_path: Path) -> None:
    def checksums(gallery: Path) -> list[tuple]:
        with open_reader(gallery) as reader:
            assert reader.schema == 4
            return [(row.video, row.checksum) for row in reader.videos().values()]

    codes = CodeBatch(np.array([[1, 0], [1, 1]], np.uint8), 16, np.arange(2.0), np.arange(2.0) + 1)
    with Gallery.create(tmp_path / "new", hash_length=16, model_fingerprint="3f2a") as gallery:
        gallery.add("a", codes, content_hash="h")
    if earlier == 1:
        make_schema_1(tmp_path / "old", base=tmp_path, videos=[("a", "h", 0, 0, None, 2)])
    else:
        make_schema(earlier, tmp_path / "old", [("a", None, earlier == 3)])
    Gallery.open(tmp_path / "old").close()
    assert checksums(tmp_path / "old") == checksums(tmp_path / "new")
