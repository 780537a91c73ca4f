"""Galleries become one: each file once, what differs is told, the others stay as they were, a kill loses nothing."""

from __future__ import annotations

import hashlib
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from damage import flip_bit
from galleries import FINGERPRINT, WINDOWS, batch_of, code_of, content_of, make_gallery, name_of
from old_galleries import make_schema

from c3dhash.errors import GalleryError, ModelMismatchError, UsageError
from c3dhash.gallery.merge import merge_galleries
from c3dhash.gallery.store import CATALOG_NAME, Gallery
from c3dhash.gallery.verify import verify_gallery


def merge(gallery: Path, *others: Path, **options: bool) -> tuple[int, int, int, list[str]]:
    with Gallery.open(gallery) as opened:
        found = merge_galleries(opened, others, **options)
    assert verify_gallery(gallery).is_sound
    return found.added, found.replaced, found.unchanged, found.conflicts


def rows(gallery: Path) -> list[str]:
    return sorted(content_of(gallery).splitlines()[2:])


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_each_file_is_there_once_and_the_others_do_not_change(tmp_path: Path) -> None:
    own = make_gallery(tmp_path / "own", range(10), missing=[2])
    first = make_gallery(tmp_path / "first", range(5, 20), missing=[15])
    second = make_gallery(tmp_path / "second", range(18, 25), root="/other")
    with Gallery.open(second) as gallery:
        gallery.note_not_matches([("h18", "h20")])
        gallery.note_engine("openvino 3")
        gallery.add("given", batch_of(77), content_hash="", label="x")
    before = {path: (digests(path), (path / CATALOG_NAME).stat().st_mtime_ns) for path in (first, second)}
    assert merge(own, first, second) == (10 + 8, 0, 5, [])
    assert {path: (digests(path), (path / CATALOG_NAME).stat().st_mtime_ns) for path in before} == before
    assert rows(own) == sorted(
        {*rows(first), *rows(second), *rows(make_gallery(tmp_path / "o", range(10), missing=[2]))}
    )
    with Gallery.open(own) as gallery:
        assert gallery.not_matches() == {("h1", "h2"), ("h18", "h20")}
        assert set(gallery.engines()) == {"torch 2", "openvino 3"}
        assert len(gallery.missing_videos()) == 2
        found = gallery.search(np.frombuffer(code_of(24, 3), np.uint8)[None], k=1)[1][0]
        assert gallery.clips(found)[0].video == "/other/24.mp4" and gallery.clips(found)[0].start_seconds == 3.0
    assert merge(own, first, second) == (0, 0, 23, [])


def test_conflicts_are_told_and_replaced_when_asked(tmp_path: Path) -> None:
    own, other = make_gallery(tmp_path / "own", range(3)), make_gallery(tmp_path / "other", range(4))
    with Gallery.open(other) as gallery:
        gallery.add(name_of(1), batch_of(50), content_hash="h1", label="mine")
        gallery.add(name_of(2), batch_of(51), content_hash="new")
    assert merge(own, other) == (1, 0, 1, [
        f"'/db/1.mp4' is in gallery '{own}' with other codes", f"'/db/2.mp4' is in gallery '{own}' with other content",
    ])  # fmt: skip
    with Gallery.open(own) as gallery, gallery.editing() as edits:
        assert bytes(edits.codes(name_of(1)).codes[0]) == code_of(1, 0)
    assert merge(own, other, replace=True) == (0, 2, 2, [])
    assert rows(own) == rows(other)


def test_roots_are_where_the_videos_are_now_whatever_links_lead_there(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "db").mkdir(parents=True)
    for number in range(3):
        (project / "db" / f"{number}.mp4").write_bytes(bytes([number]))
    make_gallery(project / "gallery", range(3), root=str(project / "db"))
    project.rename(moved := tmp_path / "moved")
    own = make_gallery(tmp_path / "own", [], root=None)
    (tmp_path / "link").symlink_to(moved / "db")
    with Gallery.open(own) as gallery:
        gallery.add(f"{tmp_path}/link/1.mp4", batch_of(1), content_hash="h1", root=f"{tmp_path}/link")
    assert merge(own, moved / "gallery") == (2, 0, 1, [])
    with Gallery.open(own) as gallery:
        assert {video.video: video.root for video in gallery.videos()} == {
            f"{tmp_path}/link/1.mp4": f"{tmp_path}/link",
            f"{moved}/db/0.mp4": f"{moved}/db",
            f"{moved}/db/2.mp4": f"{moved}/db",
        }


def test_what_does_not_compare_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    own, good = make_gallery(tmp_path / "own", range(2)), make_gallery(tmp_path / "good", range(4))
    for name, model, message in (
        ("model", {"model_fingerprint": "other", "hash_length": 48, "run": WINDOWS}, "48-bit codes of model other…"),
        ("length", {"model_fingerprint": FINGERPRINT, "hash_length": 64, "run": WINDOWS}, "64-bit codes of model"),
        (
            "window",
            {"model_fingerprint": FINGERPRINT, "hash_length": 48, "run": {"views": 4}},
            "has window_seconds 10.0",
        ),
    ):
        Gallery.create(tmp_path / name, **model).close()
        with pytest.raises(ModelMismatchError, match=message):
            merge(own, good, tmp_path / name)
    (tmp_path / "link").symlink_to(own)
    for itself in (own, tmp_path / "link"):
        with pytest.raises(UsageError, match=f"'{itself}' is gallery '{own}' itself: name others"):
            merge(own, good, itself)
    with pytest.raises(GalleryError, match="nowhere' is no gallery"):
        merge(own, good, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="name one or more galleries"):
        merge(own)
    assert len(rows(own)) == 20, "the good one was not merged either"


def test_galleries_of_earlier_schemas_are_merged_as_they_are(tmp_path: Path) -> None:
    make_schema(2, tmp_path / "old", [("a", "wave", False), ("b", None, True)])
    before = digests(tmp_path / "old")
    Gallery.create(tmp_path / "own", hash_length=16, model_fingerprint="3f2a").close()
    assert merge(tmp_path / "own", tmp_path / "old") == (2, 0, 0, [])
    assert digests(tmp_path / "old") == before
    with Gallery.open(tmp_path / "own") as gallery:
        assert gallery.codes()[1].tolist() == [[1, 0], [1, 1]] and gallery.missing_videos()[0].video == "b"


def test_a_damaged_gallery_is_told(tmp_path: Path) -> None:
    own, other = make_gallery(tmp_path / "own", range(2)), make_gallery(tmp_path / "other", range(9))
    flip_bit(other / CATALOG_NAME, code_of(7, 1))
    with pytest.raises(GalleryError, match=r"other' is damaged \(at '/db/7\.mp4'\), and what could be read was merged"):
        merge(own, other)
    with Gallery.open(own) as gallery:
        assert {video.video: video.content_hash for video in gallery.videos()}[name_of(7)] == ""


MERGE = """
import os, resource, sys, threading
from pathlib import Path
from c3dhash.errors import GalleryError
from c3dhash.gallery import intake
from c3dhash.gallery.merge import merge_galleries
from c3dhash.gallery.store import Gallery

intake.CLIPS_PER_TRANSACTION = 60
gallery, seconds, limit, *others = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit),) * 2)
timer = threading.Timer(float(seconds), os.kill, (os.getpid(), 9))
timer.start()
try:
    with Gallery.open(gallery) as opened:
        merge_galleries(opened, [Path(other) for other in others])
except GalleryError as error:
    print(error)
timer.cancel()
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merge")
    make_gallery(folder / "own", range(10))
    make_gallery(folder / "first", range(5, 90), missing=[60])
    make_gallery(folder / "second", range(80, 150), root="/other")
    shutil.copytree(folder / "own", folder / "whole")
    merge(folder / "whole", folder / "first", folder / "second")
    return folder


def kill_and_resume(sources: Path, gallery: Path, rng: random.Random) -> None:
    """Merge, be killed after random times until it is through, and compare with what was not disturbed."""
    shutil.copytree(sources / "own", gallery)
    before = digests(sources / "first"), digests(sources / "second")
    code, num_kills = -signal.SIGKILL, 0
    while code:
        seconds = rng.uniform(0, 0.5 if num_kills else 0.02)
        command = [sys.executable, "-c", MERGE, gallery, str(seconds), "0", sources / "first", sources / "second"]
        code = subprocess.run(command, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        assert verify_gallery(gallery).is_sound
        num_kills += code != 0
    assert num_kills
    assert content_of(gallery) == content_of(sources / "whole")
    assert (digests(sources / "first"), digests(sources / "second")) == before
    for path in (sources / "first", sources / "second"):
        with Gallery.open(path):
            pass


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_merge_goes_on(sources: Path, tmp_path: Path) -> None:
    kill_and_resume(sources, tmp_path / "gallery", random.Random(0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 13))
def test_a_killed_merge_goes_on_wherever_it_was(seed: int, sources: Path, tmp_path: Path) -> None:
    kill_and_resume(sources, tmp_path / "gallery", random.Random(seed))


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs limits of POSIX")
def test_without_room_it_says_so_and_goes_on_later(sources: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    shutil.copytree(sources / "own", gallery)
    command = [sys.executable, "-c", MERGE, gallery, "100", "70000", sources / "first", sources / "second"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "its disk refuses (disk I/O error); nothing that was done is lost" in done.stdout, done
    with closing(sqlite3.connect(gallery / CATALOG_NAME)) as connection:
        assert 10 <= connection.execute("SELECT count(*) FROM video").fetchone()[0] < 150
    merge(gallery, sources / "first", sources / "second")
    assert content_of(gallery) == content_of(sources / "whole")
