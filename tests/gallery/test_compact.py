"""A gallery gets smaller and answers as before, whatever happens meanwhile."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from galleries import batch_of, code_of, content_of, make_gallery, name_of

from c3dhash.errors import GalleryError
from c3dhash.gallery import compact
from c3dhash.gallery.compact import compact_gallery
from c3dhash.gallery.store import CATALOG_NAME, CODES_NAME, Gallery
from c3dhash.gallery.verify import verify_gallery


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of which every second video was removed."""
    path = make_gallery(tmp_path_factory.mktemp("compact") / "gallery", range(2000), missing=[3])
    with Gallery.open(path) as gallery:
        gallery.remove([name_of(video) for video in range(0, 2000, 2)])
        gallery.add("late", batch_of(1), content_hash="")
        gallery.search(np.zeros((1, 6), np.uint8), k=1)
    return path


@pytest.fixture
def gallery(worn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(worn, tmp_path / "gallery"))


def answers(gallery: Path) -> tuple[bytes, bytes, bytes]:
    """What searches find, also without the index on disk, and what the gallery holds."""
    queries = np.stack([np.frombuffer(code_of(video, 5), np.uint8) for video in (1, 2, 77, 1500)])
    with Gallery.open(gallery) as opened:
        distances, ids = opened.search(queries, k=20)
        codes = b"".join(array.tobytes() for array in opened.codes())
    return distances.tobytes(), ids.tobytes(), codes


def test_it_is_smaller_and_all_answers_are_the_same(gallery: Path) -> None:
    before, content, index = answers(gallery), content_of(gallery), (gallery / CODES_NAME).read_bytes()
    size = (gallery / CATALOG_NAME).stat().st_size
    (gallery / ".c3dhash-partial-00000000-999999999-0").write_bytes(bytes(1000))
    report = compact_gallery(gallery)
    assert report.catalog_bytes_before == size
    assert report.catalog_bytes_after == (gallery / CATALOG_NAME).stat().st_size < 0.7 * size and report.is_settled
    assert report.bytes_before - report.bytes_after >= size - report.catalog_bytes_after
    assert (answers(gallery), content_of(gallery)) == (before, content)
    assert (gallery / CODES_NAME).read_bytes() == index, "it is still a copy of the catalog"
    (gallery / CODES_NAME).unlink()
    assert answers(gallery) == before
    assert verify_gallery(gallery).is_sound
    again = compact_gallery(gallery)
    assert again.catalog_bytes_after == again.catalog_bytes_before == report.catalog_bytes_after


def test_an_older_copy_still_learns_what_was_removed(gallery: Path) -> None:
    query = np.frombuffer(code_of(77, 5), np.uint8)[None]
    with Gallery.open(gallery) as reader, Gallery.open(gallery) as writer:
        assert reader.search(query, k=1)[0].tolist() == [[0]]
        writer.remove([name_of(77)])
        ids = writer.add("new", batch_of(2), content_hash="")
        report = compact_gallery(gallery)
        assert report.catalog_bytes_after > 0
        assert reader.search(query, k=1)[0].tolist() != [[0]]
        assert reader.search(np.frombuffer(code_of(2, 5), np.uint8)[None], k=1)[1].tolist() == [[ids[5]]]
        assert len(reader) == len(writer) == 10 * 1000, "a thousand, one of them missing, one gone, two new"
    next_id = ids[-1] + 1
    with Gallery.open(gallery) as writer:
        writer.remove(["new"])
        compact_gallery(gallery)
        assert writer.add("newer", batch_of(4), content_hash="")[0] == next_id, "no id is given twice"


def test_a_reader_keeps_its_moment(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "DEFAULT_TIMEOUT_SECONDS", 0.1)
    with Gallery.open(gallery) as reader:
        with reader.reading():
            num_before = len(reader.videos())
            report = compact_gallery(gallery)
            assert not report.is_settled and len(reader.videos()) == num_before
        assert len(reader.videos()) == num_before
    assert compact_gallery(gallery).is_settled


def test_without_room_nothing_is_begun(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (gallery / CATALOG_NAME).read_bytes()
    monkeypatch.setattr(compact, "SPARE_BYTES", 1 << 60)
    with pytest.raises(GalleryError, match=r"cannot be made smaller: that takes \d+\.\d MB for a while, and there are"):
        compact_gallery(gallery)
    assert (gallery / CATALOG_NAME).read_bytes() == before


COMPACT = """
import os, resource, sys, threading
from pathlib import Path
from c3dhash.errors import GalleryError
from c3dhash.gallery.compact import compact_gallery

gallery, seconds, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit),) * 2)
timer = threading.Timer(float(seconds), os.kill, (os.getpid(), 9))
timer.start()
try:
    compact_gallery(Path(gallery))
except GalleryError as error:
    print(error)
timer.cancel()
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs limits of POSIX")
@pytest.mark.parametrize("limit", [100_000, 400_000])
def test_a_disk_that_is_full_after_all_costs_nothing(limit: int, gallery: Path) -> None:
    before, content = answers(gallery), content_of(gallery)
    command = [sys.executable, "-c", COMPACT, gallery, "100", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "its disk refuses (disk I/O error); nothing that was done is lost" in done.stdout, done
    assert (answers(gallery), content_of(gallery)) == (before, content)
    compact_gallery(gallery)
    assert (answers(gallery), content_of(gallery)) == (before, content)


def kill(gallery: Path, seconds: float) -> int:
    before, content = answers(gallery), content_of(gallery)
    code = subprocess.run([sys.executable, "-c", COMPACT, gallery, str(seconds), "0"], check=False).returncode
    assert code in (0, -signal.SIGKILL)
    assert verify_gallery(gallery).is_sound
    assert (answers(gallery), content_of(gallery)) == (before, content)
    return code


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_it_answers_as_before(gallery: Path) -> None:
    assert kill(gallery, 0.0) == -signal.SIGKILL
    kill(gallery, 0.03)
    compact_gallery(gallery)
    assert kill(gallery, 100) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_killed_wherever_it_was_it_answers_as_before(seed: int, gallery: Path) -> None:
    rng = random.Random(seed)
    for _ in range(4):
        kill(gallery, rng.uniform(0, 0.06))
