"""A gallery is searched with what it was asked for, whatever becomes of the file, and answers for the codes of now."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from approximate_galleries import add_videos, batch_of, make_gallery, near_codes

from c3dhash.bits import hamming_distances
from c3dhash.config import INDEX_KINDS
from c3dhash.errors import UsageError
from c3dhash.gallery import approximate, companion
from c3dhash.gallery.companion import Companion, Setting
from c3dhash.gallery.exports import export_gallery
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.imports import import_file
from c3dhash.gallery.inventory import SearchFacts, take_inventory
from c3dhash.gallery.merge import merge_galleries
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.recall import Facts
from c3dhash.gallery.store import APPROXIMATE_NAME, CATALOG_NAME, CODES_NAME, Gallery
from c3dhash.gallery.verify import verify_gallery

KINDS = ("ivf", "hnsw", "multihash")
NUM_CODES = 2100  # 300 videos


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="c3dhash")
    return caplog


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with make_gallery(tmp_path / "gallery", near_codes(NUM_CODES)) as gallery:
        yield gallery


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which kind of index FAISS was asked for, each time."""
    calls, whole = [], approximate.search

    def search(index: object, *arguments: object) -> object:
        calls.append(type(index).__name__)
        return whole(index, *arguments)

    monkeypatch.setattr(approximate, "search", search)
    return calls


def slow(monkeypatch: pytest.MonkeyPatch, seconds: float = 10.0) -> None:
    monkeypatch.setattr(companion, "exact_seconds", lambda index: seconds)


def file_of(gallery: Gallery) -> Path:
    return gallery.path / APPROXIMATE_NAME


def facts_of(gallery: Gallery) -> Facts:
    measured = take_inventory(gallery.path).search.measured
    assert measured is not None
    return measured


def assert_answers_are_true(gallery: Gallery, *, least: float = 0.9) -> None:
    """Each clip found is there, at its own distance, and nearly all of the nearest are found."""
    queries = near_codes(20, seed=7)
    ids, codes = gallery.codes()
    every = hamming_distances(queries, codes)
    distances, found = gallery.search(queries, k=10)
    np.testing.assert_array_equal(
        distances, np.take_along_axis(every, np.searchsorted(ids, found), axis=1), "exact distances of clips of now"
    )
    assert np.isin(found, ids).all()
    assert (distances <= np.sort(every, axis=1)[:, 9:10]).mean() >= least


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_built_measured_and_used(
    kind: str, gallery: Gallery, used: list[str], log: pytest.LogCaptureFixture
) -> None:
    before = (gallery.codes()[1].tobytes(), gallery.videos(), (gallery.path / CODES_NAME).exists())
    gallery.settle_search(kind)
    facts = facts_of(gallery)
    assert (facts.kind, facts.k, facts.num_queries, facts.target) == (kind, 10, 256, 0.95)
    assert facts.recall >= 0.95 and facts.seconds > 0 and facts.exact_seconds > 0 and facts.build_seconds > 0
    assert f"Search: {facts}; built in" in log.text
    used.clear()
    assert_answers_are_true(gallery)
    assert used, "what was built is what is searched"
    after = (gallery.codes()[1].tobytes(), gallery.videos(), True)
    assert before[:2] == after[:2], "nothing else of the gallery changed"
    used.clear()
    with Gallery.open(gallery.path) as other:
        query_codes(other, batch_of(near_codes(1, seed=8)))
        assert used, "also by who opens it"
        exact = [(hit.video, hit.distance) for hit in query_codes(other, batch_of(near_codes(3, seed=8)))]
    gallery.settle_search("exact")
    assert exact == [(hit.video, hit.distance) for hit in query_codes(gallery, batch_of(near_codes(3, seed=8)))]
    assert verify_gallery(gallery.path).is_sound


def test_what_comes_and_goes_is_seen_at_once(gallery: Gallery, used: list[str]) -> None:
    gallery.settle_search("ivf")
    assert verify_gallery(gallery.path).is_sound
    written = file_of(gallery).read_bytes()
    with Gallery.open(gallery.path) as reader:
        reader.search(near_codes(1), k=1)
        new = near_codes(14, seed=20)
        add_videos(gallery, new, name="new")
        gallery.remove([f"video {start}" for start in range(0, 70, 7)])
        with gallery.editing() as edits:
            edits.mark_missing("video 70")
        for each in (gallery, reader):
            used.clear()
            assert_answers_are_true(each)
            assert used
            assert (each.search(new, k=1)[0] == 0).all()
            hits = query_codes(each, batch_of(new[:1]), only=VideoFilter(labels=("odd",)), top=50)
            assert len(hits) == 50 and {hit.label for hit in hits} == {"odd"}
            assert not {hit.video for hit in hits} & {f"video {start}" for start in range(0, 77, 7)}
    gallery.settle_search()
    assert file_of(gallery).read_bytes() == written, "95 of some 2,000 codes are a share too small to build for"
    gallery.remove(["video 77"])
    gallery.remove([f"video {start}" for start in range(84, 168, 7)])
    gallery.settle_search()
    assert file_of(gallery).read_bytes() != written
    assert_answers_are_true(gallery)


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "empty", "another length", "another history"])
def test_a_file_of_no_use_is_passed_over_and_built_again(
    damage: str, gallery: Gallery, used: list[str], log: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    gallery.settle_search("ivf")
    path = file_of(gallery)
    whole = path.read_bytes()
    if damage == "another length":
        with Gallery.create(tmp_path / "other", hash_length=40, model_fingerprint="f") as other:
            for start in range(20):
                batch = batch_of(near_codes(3, seed=start))
                other.add(f"{start}", type(batch)(batch.codes[:, :5], 40, batch.start_seconds, batch.end_seconds),
                          content_hash="")  # fmt: skip
            other.settle_search("ivf")
            path.write_bytes(file_of(other).read_bytes())
    elif damage == "another history":
        with make_gallery(tmp_path / "other", near_codes(NUM_CODES, seed=1)) as other:
            other.settle_search("ivf")
            path.write_bytes(file_of(other).read_bytes())
    else:
        path.unlink()
        content = {"cut": whole[:-9], "flipped": whole[:900] + bytes([whole[900] ^ 1]) + whole[901:], "empty": b""}
        if damage != "gone":
            path.write_bytes(content[damage])
    log.clear()
    used.clear()
    with Gallery.open(gallery.path) as reader:
        for each in (gallery, reader):
            assert_answers_are_true(each, least=1.0)
    assert not used, "exact search"
    if damage in ("cut", "flipped", "another length"):
        assert "Search is exact until `c3dhash index` has built it again" in log.text
    facts = take_inventory(gallery.path).search
    assert (facts.setting, facts.kind, facts.measured) == ("ivf", "exact", None) and facts.problem
    if damage == "gone":
        assert verify_gallery(gallery.path).is_sound, "no file is no damage"
    elif damage != "empty":
        found = [finding.text for finding in verify_gallery(gallery.path).findings]
        assert (
            len(found) == 1 and found[0].endswith("delete it, and it is made again.") and "approximate.bin" in found[0]
        )
    gallery.settle_search()
    assert facts_of(gallery).kind == "ivf"
    assert_answers_are_true(gallery)
    assert used and verify_gallery(gallery.path).is_sound


def test_a_backup_of_the_catalog_is_another_history(gallery: Gallery, used: list[str], tmp_path: Path) -> None:
    """The file is of a later state of the same gallery: its number comes again, with other codes."""
    gallery.close()
    backup = (gallery.path / CATALOG_NAME).read_bytes()
    with Gallery.open(gallery.path) as again:
        add_videos(again, near_codes(70, seed=1), name="lost")
        again.settle_search("ivf")
    (gallery.path / CATALOG_NAME).write_bytes(backup)
    with Gallery.open(gallery.path) as restored:
        restored.search(near_codes(1), k=1)
        add_videos(restored, near_codes(70, seed=2), name="other")
        used.clear()
        assert_answers_are_true(restored, least=1.0)
        assert not used


def test_a_file_of_another_program_stays(gallery: Gallery, log: pytest.LogCaptureFixture) -> None:
    file_of(gallery).write_bytes(b"somebody's notes")
    gallery.settle_search("ivf")
    assert "approximate.bin' is no file of c3dhash and stays: move it away" in log.text
    assert_answers_are_true(gallery, least=1.0)
    gallery.settle_search("exact")
    assert file_of(gallery).read_bytes() == b"somebody's notes"
    assert verify_gallery(gallery.path).is_sound


def test_back_to_exact(gallery: Gallery, used: list[str]) -> None:
    gallery.settle_search("hnsw")
    with Gallery.open(gallery.path) as reader:
        reader.search(near_codes(1), k=1)
        gallery.settle_search("exact")
        assert not file_of(gallery).exists()
        used.clear()
        for each in (gallery, reader):
            assert_answers_are_true(each, least=1.0)
        gallery.settle_search("multihash")
        gallery.settle_search("ivf")
        reader.search(near_codes(1), k=1)
        assert used == ["IndexBinaryIVF"], "a reader follows what a writer chose"
    assert facts_of(gallery).kind == "ivf"
    assert take_inventory(gallery.path).sizes_bytes[APPROXIMATE_NAME] == file_of(gallery).stat().st_size


def test_auto_is_exact_as_long_as_that_is_fast(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    assert take_inventory(gallery.path).search == SearchFacts("auto", "exact")
    slow(monkeypatch, 0.1)
    gallery.settle_search()
    assert not file_of(gallery).exists() and log.text == "", "nothing was asked, and nothing is different"
    gallery.settle_search("exact")
    gallery.settle_search("auto")
    assert "Search: exact, which takes 100 ms a query (auto takes ivf from 100 ms on)." in log.text
    log.clear()
    slow(monkeypatch, 0.11)
    gallery.settle_search()
    assert "Search: an exact one takes 110 ms a query, more than 100 ms: auto takes ivf." in log.text
    facts = take_inventory(gallery.path).search
    assert (facts.setting, facts.kind) == ("auto", "ivf") and facts.measured is not None
    slow(monkeypatch, 0.05)
    gallery.settle_search()
    assert not file_of(gallery).exists(), "fewer codes, or a faster machine"
    slow(monkeypatch)
    gallery.settle_search("exact")
    gallery.settle_search()
    assert not file_of(gallery).exists(), "who asks for exact gets it"


def test_auto_does_not_keep_what_is_no_better(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    slow(monkeypatch)
    built = []
    whole = companion.build
    monkeypatch.setattr(
        companion, "build", lambda kind, *rest, **more: built.append(kind) or whole(kind, *rest, **more)
    )
    monkeypatch.setattr(companion, "TARGET", 1.1)
    gallery.settle_search()
    assert "Search: exact, since ivf is of no use here: ivf, nprobe" in log.text and built == ["ivf"]
    assert "below the target of 1.1" in log.text and not file_of(gallery).exists()
    gallery.settle_search()
    add_videos(gallery, near_codes(700, seed=1), name="some")
    gallery.settle_search()
    assert built == ["ivf"], "it is not tried each time"
    monkeypatch.setattr(companion, "TARGET", 0.95)
    add_videos(gallery, near_codes(700, seed=2), name="more")
    gallery.settle_search()
    assert built == ["ivf", "ivf"] and file_of(gallery).exists(), "but when the gallery has grown by half"


def test_a_kind_that_misses_the_target_says_so(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(companion, "TARGET", 1.1)
    gallery.settle_search("ivf")
    assert "below the target of 1.1" in log.text and facts_of(gallery).kind == "ivf"
    assert not facts_of(gallery).is_reached


def test_pairs_and_counts_stay_exact(gallery: Gallery, used: list[str]) -> None:
    """An index that finds next to nothing changes no pair of videos, and no weight of a window."""
    gallery.add("copy", batch_of(near_codes(7)), content_hash="copy")
    windows = batch_of(near_codes(7))
    expected = gallery.matching_pairs(radius=3), gallery.similar_videos(windows, top=5)
    assert expected[0]
    gallery.settle_search("ivf")
    loaded = gallery._companion.current(gallery._replica.index())
    assert loaded is not None
    loaded.stored.index.nprobe = 0
    used.clear()
    assert gallery.matching_pairs(radius=3) == expected[0] and not used
    assert gallery.similar_videos(windows, top=5) == expected[1]


def test_whoever_adds_many_settles_it(gallery: Gallery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Codes of other methods come in by import, and never see `index`."""
    export_gallery(gallery.path, tmp_path / "codes.npz")
    slow(monkeypatch)
    import_file(tmp_path / "imported", tmp_path / "codes.npz")
    assert take_inventory(tmp_path / "imported").search.kind == "ivf"
    with Gallery.create(tmp_path / "merged", hash_length=48, model_fingerprint="f") as merged:
        merge_galleries(merged, [gallery.path])
        assert facts_of(merged).kind == "ivf"


def test_one_video_cannot_be_measured(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    with Gallery.create(tmp_path / "small", hash_length=48, model_fingerprint="f") as gallery:
        for number in range(2):
            gallery.settle_search("ivf")
            assert not file_of(gallery).exists() and "exact, since ivf needs two videos" in log.text
            gallery.add(f"{number}", batch_of(near_codes(3, seed=number)), content_hash="")
        gallery.settle_search()
        assert facts_of(gallery).num_queries == 6
        gallery.remove(["0", "1"])
        assert gallery.search(near_codes(1), k=1)[1].tolist() == [[-1]]
        gallery.settle_search()
        assert not file_of(gallery).exists()


def test_kinds_that_are_none(gallery: Gallery) -> None:
    with pytest.raises(UsageError, match=r"kind \('flat'\) must be one of auto, exact, ivf, hnsw, multihash\."):
        gallery.settle_search("flat")
    assert INDEX_KINDS[0] == "auto" == Setting().kind
    gallery._catalog.note_search_setting({"kind": "of a later version", "depth": 3})
    assert_answers_are_true(gallery, least=1.0)
    gallery.settle_search()
    assert not file_of(gallery).exists()


def test_a_failed_write_leaves_what_was_there(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    gallery.settle_search("ivf")
    whole = file_of(gallery).read_bytes()
    before = sorted(gallery.path.iterdir())

    def write(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(companion, "write_index", write)
        gallery.settle_search("hnsw")
    assert "was not saved (No space left on device): search is exact" in log.text
    assert file_of(gallery).read_bytes() == whole and sorted(gallery.path.iterdir()) == before
    assert_answers_are_true(gallery, least=1.0)
    gallery.settle_search()
    assert facts_of(gallery).kind == "hnsw"


def test_killed_while_it_writes(gallery: Gallery, used: list[str]) -> None:
    gallery.settle_search("ivf")
    add_videos(gallery, near_codes(350, seed=3), name="more")
    gallery.close()
    script = (
        "import os, sys\n"
        "from c3dhash.gallery import companion\n"
        "from c3dhash.gallery.store import Gallery\n"
        "def write(path, *_, **__):\n"
        "    path.write_bytes(b'c3dhapx1 and half of the rest')\n"
        "    os._exit(9)\n"
        "companion.write_index = write\n"
        "Gallery.open(sys.argv[1]).settle_search()\n"
    )
    assert subprocess.run([sys.executable, "-c", script, gallery.path], check=False).returncode == 9
    assert len(list(gallery.path.glob(".c3dhash-partial-*"))) == 1
    with Gallery.open(gallery.path) as again:
        used.clear()
        assert_answers_are_true(again)
        assert used, "the former file is whole, and follows"
        again.settle_search()
        assert facts_of(again).kind == "ivf"
    assert not list(gallery.path.glob(".c3dhash-partial-*"))


def test_a_gallery_that_cannot_be_written_is_searched(gallery: Gallery, used: list[str]) -> None:
    gallery.settle_search("ivf")
    gallery.close()
    files = [*gallery.path.iterdir(), gallery.path]
    modes = [path.stat().st_mode for path in files]
    try:
        for path in files:
            path.chmod(path.stat().st_mode & ~0o222)
        with Gallery.open(gallery.path) as reader:
            used.clear()
            assert_answers_are_true(reader)
            assert used
    finally:
        for path, mode in zip(files, modes, strict=True):
            path.chmod(mode)


def test_a_reader_behind_the_writer_does_not_miss_videos(gallery: Gallery, used: list[str]) -> None:
    """The file is of a state in which a video is gone that this snapshot still has."""
    gallery.settle_search("ivf")
    with Gallery.open(gallery.path) as reader, reader.reading():
        reader.search(near_codes(1), k=1)
        victim = next(video for video in reader.videos() if video.num_clips)
        gallery.remove([victim.video])
        gallery.settle_search("hnsw")
        gallery.settle_search("ivf")
        gallery._companion = Companion(gallery._catalog, file_of(gallery))
        used.clear()
        assert_answers_are_true(reader)
        hits = query_codes(reader, batch_of(near_codes(7)), top=300)
        assert victim.video in {hit.video for hit in hits}
