"""A gallery equals a list of its clips, whoever writes, whatever is killed, whichever file is lost."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c3dhash.bits import hamming_distances, pack_codes
from c3dhash.errors import CodesError, GalleryError, ModelMismatchError, UsageError
from c3dhash.gallery.catalog import GalleryClip, GalleryVideo
from c3dhash.gallery.store import CATALOG_NAME, CODES_NAME, Gallery
from c3dhash.records import CodeBatch

FINGERPRINT = "3f2a0011223344"


def make_batch(rng: np.random.Generator, num_clips: int, hash_length: int = 48) -> CodeBatch:
    starts = np.arange(num_clips, dtype=np.float64)
    return CodeBatch(pack_codes(rng.random((num_clips, hash_length)) < 0.3), hash_length, starts, starts + 1.5)


def assert_search_equals_sorting(gallery: Gallery, model: dict[str, dict[int, bytes]], k: int = 9) -> None:
    """Compare with the distances to every clip, sorted by (distance, id); model: video -> id -> code."""
    clips = sorted((clip_id, code) for video in model.values() for clip_id, code in video.items())
    ids = np.array([clip_id for clip_id, _ in clips], np.int64)
    width = (gallery.hash_length + 7) // 8
    codes = np.frombuffer(b"".join(code for _, code in clips), np.uint8).reshape(len(clips), width)
    query_codes = make_batch(np.random.default_rng(len(clips)), 3, gallery.hash_length).codes
    distances, found_ids = gallery.search(query_codes, k=k)
    for row, all_distances in enumerate(hamming_distances(query_codes, codes)):
        order = np.lexsort((ids, all_distances))[:k]
        missing = k - len(order)
        assert distances[row].tolist() == [*all_distances[order].tolist(), *[2**31 - 1] * missing]
        assert found_ids[row].tolist() == [*ids[order].tolist(), *[-1] * missing]
    assert len(gallery) == len(ids)
    np.testing.assert_array_equal(gallery.codes()[0], ids)
    np.testing.assert_array_equal(gallery.codes()[1], codes)
    assert {video.video: video.num_clips for video in gallery.videos()} == {
        video: len(clips) for video, clips in model.items()
    }


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.create(
        tmp_path / "gallery",
        hash_length=48,
        model_fingerprint=FINGERPRINT,
        model_name="runs/a",
        run={"seed": 3},
    ) as gallery:
        yield gallery


def test_gallery_remembers_what_it_was_made_for(gallery: Gallery) -> None:
    gallery.close()
    with Gallery.open(str(gallery.path)) as again:
        assert again.hash_length == 48
        assert (again.model_fingerprint, again.model_name, again.run) == (FINGERPRINT, "runs/a", {"seed": 3})
        assert repr(again) == f"Gallery('{gallery.path}', hash_length=48, model 3f2a0011)"
        again.check_model(FINGERPRINT, hash_length=48)


def test_videos_and_clips_come_back(gallery: Gallery) -> None:
    rng = np.random.default_rng(0)
    ids = gallery.add("a.mp4", make_batch(rng, 2), content_hash="x", size_bytes=3, mtime_ns=4, label="wave")
    gallery.add("b.mp4", make_batch(rng, 1), content_hash="y")
    assert gallery.videos() == [
        GalleryVideo("a.mp4", "x", 3, 4, "wave", 2),
        GalleryVideo("b.mp4", "y", 0, 0, None, 1),
    ]
    assert gallery.clips(ids[::-1]) == [
        GalleryClip(2, "a.mp4", 1.0, 2.5, "wave", "x", 2),
        GalleryClip(1, "a.mp4", 0.0, 1.5, "wave", "x", 2),
    ]
    gallery.touch("b.mp4", size_bytes=8, mtime_ns=9)
    assert gallery.videos()[1] == GalleryVideo("b.mp4", "y", 8, 9, None, 1)


actions = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 4), st.integers(0, 6)),
    st.tuples(st.just("remove"), st.sets(st.integers(0, 4)), st.none()),
    st.tuples(st.sampled_from(["search", "reopen", "lose index", "spoil index", "keep index"]), st.none(), st.none()),
)


@settings(max_examples=25)
@given(hash_length=st.integers(1, 130), steps=st.lists(actions, max_size=16), seed=st.integers(0, 99))
def test_any_sequence_equals_a_dictionary(hash_length: int, steps: list[tuple], seed: int) -> None:
    rng, model = np.random.default_rng(seed), {}
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(folder, hash_length=hash_length, model_fingerprint=FINGERPRINT)
        index_path, kept = Path(folder, CODES_NAME), None
        for action, what, num_clips in steps:
            if action == "add":
                batch = make_batch(rng, num_clips, hash_length)
                ids = gallery.add(str(what), batch, content_hash="")
                model[str(what)] = {int(i): bytes(code) for i, code in zip(ids, batch.codes, strict=True)}
            elif action == "remove":
                videos = [str(video) for video in what if str(video) in model]
                gallery.remove(videos)
                for video in videos:
                    del model[video]
            elif action == "search":
                assert_search_equals_sorting(gallery, model)
            else:
                gallery.close()
                if action == "lose index":
                    index_path.unlink(missing_ok=True)
                elif action == "spoil index":
                    index_path.write_bytes(b"spoilt" * seed)
                elif action == "keep index" and kept is not None:  # an older one takes its place
                    index_path.write_bytes(kept)
                kept = index_path.read_bytes() if index_path.exists() else None
                gallery = Gallery.open(folder)
        assert_search_equals_sorting(gallery, model)
        gallery.close()


def test_close_writes_the_index_only_where_much_was_added(gallery: Gallery) -> None:
    rng, index_path = np.random.default_rng(0), gallery.path / CODES_NAME
    gallery.add("many", make_batch(rng, 100), content_hash="")
    gallery.close()
    assert index_path.exists()
    index_path.unlink()
    with Gallery.open(gallery.path) as again:
        again.add("few", make_batch(rng, 4), content_hash="")
    assert not index_path.exists()


ADD_FOREVER = """
import sys
import numpy as np
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch

with Gallery.open(sys.argv[1]) as gallery:
    for number in range(10**6):
        codes = np.full((20, 6), number % 256, np.uint8)
        times = np.arange(20.0)
        batch = CodeBatch(codes, 48, times, times + 1)
        ids = gallery.add(f"video {number % 40}", batch, content_hash=str(number))
        if number % 5 == 4:
            gallery.search(codes[:1], k=3)
        print(number, ids[0], flush=True)
"""


def start_writer(path: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", ADD_FOREVER, str(path)], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_writer_loses_nothing_it_reported(gallery: Gallery) -> None:
    gallery.close()
    for num_reports in (1, 57, 203):
        with start_writer(gallery.path) as writer:
            reports = [writer.stdout.readline().split() for _ in range(num_reports)]
            writer.kill()
            reports += [line.split() for line in writer.stdout if line.endswith("\n")]
        assert writer.returncode == -signal.SIGKILL
        with Gallery.open(gallery.path) as survivor:
            hashes = {video.video: int(video.content_hash) for video in survivor.videos()}
            model: dict[str, dict[int, bytes]] = {}
            for number, first_id in (map(int, report) for report in reports):
                code = bytes([number % 256] * 6)
                model[f"video {number % 40}"] = {first_id + clip: code for clip in range(20)}
            for number in range(int(reports[-1][0]), max(-1, int(reports[-1][0]) - 40), -1):
                # One more may have been written than was reported.
                assert hashes[f"video {number % 40}"] in (number, int(reports[-1][0]) + 1)
            unreported = [v for v in survivor.videos() if int(v.content_hash) == int(reports[-1][0]) + 1]
            if not unreported:
                assert_search_equals_sorting(survivor, model)
            survivor.remove([video.video for video in survivor.videos()])


def test_reader_follows_a_writer_in_another_process(gallery: Gallery) -> None:
    rng = np.random.default_rng(0)
    first = gallery.add("mine", make_batch(rng, 30), content_hash="")
    assert gallery.search(np.zeros((1, 6), np.uint8), k=1)[1][0, 0] in first
    with start_writer(gallery.path) as writer:
        for _ in range(20):
            reported_id = int(writer.stdout.readline().split()[1])
            ids = np.sort(gallery.search(np.zeros((1, 6), np.uint8), k=30 + 41 * 20)[1][0])
            theirs = ids[ids > first[-1]]
            assert theirs[-1] >= reported_id + 19
            assert len(theirs) <= 40 * 20
            # Whole videos of 20 clips, and never a part of one: x x+1 ... x+19, y y+1 ... y+19, ...
            steps = theirs.reshape(-1, 20) - theirs.reshape(-1, 20)[:, :1]
            np.testing.assert_array_equal(steps, np.broadcast_to(np.arange(20), steps.shape))
            assert set(first.tolist()) <= set(ids.tolist())
        writer.kill()


def test_two_writers_take_turns_or_one_says_that_it_is_locked(gallery: Gallery) -> None:
    rng = np.random.default_rng(0)
    with Gallery.open(gallery.path, timeout_seconds=0.05) as other:
        gallery.add("a", make_batch(rng, 2), content_hash="")
        other.add("b", make_batch(rng, 2), content_hash="")
        with closing(sqlite3.connect(gallery.path / CATALOG_NAME, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            with pytest.raises(GalleryError, match=r"catalog\.sqlite' is locked by another process \(waited 0\.05 s\)"):
                other.add("c", make_batch(rng, 2), content_hash="")
            assert (other.search(np.zeros((1, 6), np.uint8), k=4)[1] > 0).all()
        assert [video.video for video in other.videos()] == ["a", "b"]


def test_threads_share_a_gallery(gallery: Gallery) -> None:
    problems = []

    def work(number: int) -> None:
        try:
            rng = np.random.default_rng(number)
            for step in range(8):
                batch = make_batch(rng, 3)
                ids = gallery.add(f"{number} {step % 2}", batch, content_hash="")
                distances, _ = gallery.search(batch.codes, k=2)
                assert (distances[:, 0] == 0).all()
                assert [clip.video for clip in gallery.clips(ids)] == [f"{number} {step % 2}"] * 3
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(gallery) == 4 * 2 * 3


READ_ONLY = """
import logging, os, sys
import numpy as np
from c3dhash.gallery.store import Gallery
os.geteuid() or os.setuid(65534)  # root can write everywhere
logging.basicConfig(level=logging.INFO)
gallery = Gallery.open(sys.argv[1])
print(gallery.search(np.zeros((1, 6), np.uint8), k=1), len(gallery), gallery.clips([1])[0].video)
gallery.close()
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_folder_that_cannot_be_written_is_searched() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with Gallery.create(path, hash_length=48, model_fingerprint=FINGERPRINT) as gallery:
            gallery.add("a.mp4", make_batch(np.random.default_rng(0), 1), content_hash="")
        (path / CODES_NAME).unlink()
        try:
            path.chmod(0o555)
            done = subprocess.run(
                [sys.executable, "-c", READ_ONLY, folder], capture_output=True, text=True, check=False
            )
        finally:
            path.chmod(0o755)
    assert "array([[1]])) 1 a.mp4" in done.stdout
    assert "was not saved ([Errno 13] Permission denied" in done.stderr


def test_what_is_no_gallery_is_refused(tmp_path: Path) -> None:
    missing, file, empty = tmp_path / "missing", tmp_path / "file", tmp_path / "empty"
    file.touch()
    empty.mkdir()
    with pytest.raises(GalleryError, match=f"gallery '{missing}' does not exist: run `c3dhash index DIR` first"):
        Gallery.open(missing)
    with pytest.raises(GalleryError, match=f"gallery '{file}' is a file; a gallery is a folder"):
        Gallery.open(file)
    with pytest.raises(GalleryError, match=rf"'{empty}' is no gallery, it has no catalog\.sqlite: run"):
        Gallery.open(empty)
    with pytest.raises(GalleryError, match=f"gallery '{file}' cannot be made: File exists"):
        Gallery.create(file, hash_length=48, model_fingerprint=FINGERPRINT)
    with pytest.raises(GalleryError, match=f"gallery '{file / 'x'}' cannot be made: Not a directory"):
        Gallery.create(file / "x", hash_length=48, model_fingerprint=FINGERPRINT)
    assert not missing.exists()


def test_newer_schema_is_refused(gallery: Gallery) -> None:
    with closing(sqlite3.connect(gallery.path / CATALOG_NAME)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(GalleryError, match=f"'{gallery.path}' has schema 9, this c3dhash knows up to 4: update"):
        Gallery.open(gallery.path)


def test_gallery_is_made_once(gallery: Gallery) -> None:
    with pytest.raises(GalleryError, match=f"gallery '{gallery.path}' exists already: open it"):
        Gallery.create(gallery.path, hash_length=64, model_fingerprint="other")
    assert (gallery.path / CATALOG_NAME).exists()


def test_create_checks_its_arguments(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"hash_length \(0\) must be between"):
        Gallery.create(tmp_path / "g", hash_length=0, model_fingerprint=FINGERPRINT)
    with pytest.raises(UsageError, match=r"model_fingerprint \(''\) must not be empty"):
        Gallery.create(tmp_path / "g", hash_length=48, model_fingerprint="")
    assert not (tmp_path / "g").exists()


def test_create_where_a_gallery_may_be(tmp_path: Path) -> None:
    model = {"hash_length": 48, "model_fingerprint": FINGERPRINT}
    path = tmp_path / "deep" / "gallery"
    with Gallery.create(path, **model, exist_ok=True) as gallery:
        gallery.add("a", make_batch(np.random.default_rng(0), 2), content_hash="")
    with Gallery.create(path, **model, exist_ok=True) as gallery:
        assert len(gallery) == 2
    with pytest.raises(ModelMismatchError, match="got a 64-bit model"):
        Gallery.create(path, hash_length=64, model_fingerprint=FINGERPRINT, exist_ok=True)
    (path / CATALOG_NAME).write_bytes(b"")  # as a process killed while making it leaves it
    with Gallery.create(path, **model, exist_ok=True) as gallery:
        assert len(gallery) == 0


def test_codes_of_another_model_are_refused(gallery: Gallery) -> None:
    with pytest.raises(
        ModelMismatchError,
        match=re.escape(
            f"gallery '{gallery.path}' holds 48-bit codes of model 3f2a0011…, got a 64-bit model 77aa…: "
            "query with --model runs/a or index again."
        ),
    ):
        gallery.check_model("77aa", hash_length=64)
    with pytest.raises(ModelMismatchError, match="got a 48-bit model 77aa"):
        gallery.check_model("77aa", hash_length=48)
    with (
        Gallery.create(gallery.path / "unnamed", hash_length=8, model_fingerprint="12") as unnamed,
        pytest.raises(ModelMismatchError, match="query with the model that it was indexed with or"),
    ):
        unnamed.check_model("13", hash_length=8)


def test_wrong_codes_and_names_are_refused(gallery: Gallery) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(CodesError, match=f"gallery '{gallery.path}' holds 48-bit codes, got 47-bit ones"):
        gallery.add("a", make_batch(rng, 2, 47), content_hash="")
    with pytest.raises(GalleryError, match=r"video name 'a\\udcff\.mp4' is not valid UTF-8"):
        gallery.add("a\udcff.mp4", make_batch(rng, 2), content_hash="")
    with pytest.raises(CodesError, match=r"query codes of 48 bits must be uint8 \[N, 6\], got uint8 \[2, 8\]"):
        gallery.search(make_batch(rng, 2, 64).codes, k=1)
    with pytest.raises(UsageError, match=r"k \(-3\) must be 1 or more"):
        gallery.search(make_batch(rng, 2).codes, k=-3)
    with pytest.raises(GalleryError, match=f"gallery '{gallery.path}' has no video 'b'"):
        gallery.remove(["b"])
    with pytest.raises(GalleryError, match=f"gallery '{gallery.path}' has no video 'b'"):
        gallery.touch("b", size_bytes=5, mtime_ns=6)
    with pytest.raises(GalleryError, match="has no clip -1"):
        gallery.clips(gallery.search(make_batch(rng, 1).codes, k=1)[1][0])
    assert len(gallery) == 0
    with Gallery.create(gallery.path / "47", hash_length=47, model_fingerprint="1") as odd:
        batch = CodeBatch(np.full((1, 6), 255, np.uint8), 47, np.zeros(1), np.ones(1))
        with pytest.raises(CodesError, match=r"bits set beyond hash_length \(47\)"):
            odd.add("a", batch, content_hash="")


def test_closed_gallery_says_so(gallery: Gallery) -> None:
    gallery.close()
    gallery.close()
    for use in (gallery.videos, gallery.codes, lambda: gallery.search(np.zeros((1, 6), np.uint8), k=1)):
        with pytest.raises(GalleryError, match=r"catalog\.sqlite' is closed: open the gallery again"):
            use()
