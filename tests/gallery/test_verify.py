"""What is damaged is found, whatever it is; what is only gone or changed is told apart from it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from damage import cut, flip_bit, pages_with, zero_page
from galleries import batch_of, code_of, make_gallery
from old_galleries import make_schema

from c3dhash.errors import GalleryError
from c3dhash.gallery.store import CATALOG_NAME, CODES_NAME, Gallery
from c3dhash.gallery.verify import verify_gallery
from c3dhash.video.reader import content_hash

NUM_VIDEOS = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A gallery of names that are no files, so that only the catalog can be wrong."""
    return make_gallery(tmp_path / "gallery", range(NUM_VIDEOS), root=None, missing=[7])


def run_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path / CATALOG_NAME, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def damage(path: Path) -> list[tuple[str | None, str]]:
    found = verify_gallery(path)
    assert {finding.kind for finding in found.findings} <= {"damage"}
    assert found.is_sound == (not found.findings)
    return [(finding.video, finding.text) for finding in found.findings]


def test_a_sound_gallery(path: Path) -> None:
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    steps: list[tuple[str, int]] = []
    found = verify_gallery(path, on_step=lambda *step: steps.append(step))
    assert (found.findings, found.num_videos, found.num_clips, found.num_files) == ([], NUM_VIDEOS, 600, 0)
    assert sum(num for stage, num in steps if stage == "Checking clips") == 600 and found.has_checksums
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


@pytest.mark.parametrize("bit", range(0, 48, 5))
@pytest.mark.parametrize("video", [0, 7, 33])  # 7 is missing
def test_any_bit_of_a_code_that_flips_is_found(bit: int, video: int, path: Path) -> None:
    flip_bit(path / CATALOG_NAME, code_of(video, 4), bit=bit)
    ((name, text),) = damage(path)
    assert name == f"{video}.mp4"
    assert text == (
        f"'{video}.mp4': its clips are not those that were written (checksum): take it out (`c3dhash gallery remove`) "
        "and index it again."
    )


@pytest.mark.parametrize(
    ("statement", "video", "text"),
    [
        ("UPDATE clip SET end_seconds = end_seconds + 1e-9 WHERE id = 12", "1.mp4", "not those that were written"),
        ("UPDATE clip SET code = x'0102' WHERE id = 12", "1.mp4", "clip 12 has a code of 2 bytes"),
        ("UPDATE clip SET code = 'abcdef' WHERE id = 12", "1.mp4", "clip 12 has no code"),
        ("UPDATE clip SET start_seconds = 'x' WHERE id = 12", "1.mp4", "or times that are none"),
        ("UPDATE clip SET end_seconds = 9e999 WHERE id = 12", "1.mp4", "or times that are none"),
        ("UPDATE clip SET start_seconds = end_seconds + 1 WHERE id = 12", "1.mp4", "or times that are none"),
        ("DELETE FROM clip WHERE id = 20", "1.mp4", "it has 9 clips, 10 were written"),
        ("DELETE FROM clip WHERE id = 15", "1.mp4", "its clips do not follow each other at id 11"),
        ("DELETE FROM clip WHERE video_id = 2", "1.mp4", "none of its 10 clips is there"),
        ("UPDATE video SET num_clips = 9 WHERE id = 2", "1.mp4", "it has 10 clips, 9 were written"),
        ("UPDATE video SET missing_since = '2024' WHERE id = 2", "1.mp4", "are in table clip, but it is missing"),
        ("UPDATE video SET missing_since = NULL WHERE id = 8", "7.mp4", "table missing_clip, but it is not missing"),
        ("UPDATE video SET checksum = x'' WHERE id = 2", "1.mp4", "(checksum)"),
        ("UPDATE clip SET id = id + 5000 WHERE id = 20", "1.mp4", "its clips do not follow each other at id 5020"),
    ],
)  # fmt: skip
def test_each_kind_of_damage_is_named(statement: str, video: str, text: str, path: Path) -> None:
    run_sql(path, statement)
    found = damage(path)
    assert video in {name for name, _ in found}
    assert any(text in each for _, each in found), found


def test_rows_that_belong_to_nobody(path: Path) -> None:
    run_sql(
        path, "PRAGMA foreign_keys = OFF", "DELETE FROM video WHERE id = 3", "UPDATE video SET root_id = 9 WHERE id = 5"
    )
    texts = [text for _, text in damage(path)]
    assert any("10 rows of table clip belong to no video" in text for text in texts)
    assert any("1 rows of table video belong to no root" in text for text in texts)
    assert any("clips 21 to 30 belong to no video" in text for text in texts)


def test_bits_beyond_the_length(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", hash_length=45, model_fingerprint="1") as gallery:
        batch = batch_of(0)
        codes = batch.codes & [255, 255, 255, 255, 255, 0xF8]
        gallery.add("a", type(batch)(codes.astype("u1"), 45, batch.start_seconds, batch.end_seconds), content_hash="")
    assert damage(tmp_path / "g") == []
    run_sql(tmp_path / "g", "UPDATE clip SET code = x'000000000007' WHERE id = 1")
    assert "a code has bits beyond its 45" in damage(tmp_path / "g")[0][1]


def test_pages_that_are_lost_name_export(path: Path) -> None:
    zero_page(path / CATALOG_NAME, pages_with(path / CATALOG_NAME, code_of(30, 0))[0])
    found = damage(path)
    assert any(text.startswith("table clip from id ") and "`c3dhash gallery export` saves" in text for _, text in found)
    assert any(name == "30.mp4" for name, _ in found) and not any(name == "1.mp4" for name, _ in found)
    assert any("SQLite says" in text or "SQLite cannot read" in text for _, text in found)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_catalog_that_was_cut_off(share: float, path: Path) -> None:
    cut(path / CATALOG_NAME, share)
    found = damage(path)
    assert found and all("\n" not in text for _, text in found)
    assert any("`c3dhash gallery export` saves what can be read" in text for _, text in found)


def test_a_lost_first_page_is_one_line(path: Path) -> None:
    zero_page(path / CATALOG_NAME, 0)
    with pytest.raises(GalleryError, match="cannot be read at all"):
        verify_gallery(path)


def test_a_gallery_without_checksums(tmp_path: Path) -> None:
    make_schema(3, tmp_path / "old", [("a", "wave", False), ("b", None, True)])
    before = (tmp_path / "old" / CATALOG_NAME).read_bytes()
    found = verify_gallery(tmp_path / "old")
    assert (found.findings, found.has_checksums, found.num_clips) == ([], False, 4)
    assert (tmp_path / "old" / CATALOG_NAME).read_bytes() == before, "it is not migrated"


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """Six files as `index` notes them; the sixth is missing."""
    (tmp_path / "db").mkdir()
    with Gallery.create(tmp_path / "gallery", hash_length=48, model_fingerprint="1") as gallery:
        for number in range(6):
            file = tmp_path / "db" / f"{number}.mp4"
            file.write_bytes(bytes([number] * 100))
            facts = file.stat()
            gallery.add(
                str(file), batch_of(number), content_hash=content_hash(file), size_bytes=100,
                mtime_ns=facts.st_mtime_ns, root=str(tmp_path / "db"),
            )  # fmt: skip
        with gallery.editing() as edits:
            edits.mark_missing(str(tmp_path / "db" / "5.mp4"))
    (tmp_path / "db" / "5.mp4").unlink()
    return tmp_path


def kinds(folder: Path, *, contents: bool) -> dict[str, str]:
    found = verify_gallery(folder / "gallery", contents=contents)
    assert found.is_sound == ("bytes" not in {finding.kind for finding in found.findings})
    return {Path(finding.video).name: finding.kind for finding in found.findings if finding.video}


def test_files_that_are_gone_or_changed_are_no_damage(indexed: Path) -> None:
    db = indexed / "db"
    before = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in db.iterdir()}
    assert kinds(indexed, contents=True) == kinds(indexed, contents=False) == {}
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in db.iterdir()} == before
    (db / "0.mp4").unlink()
    (db / "1.mp4").write_bytes(b"longer" * 100)
    os.utime(db / "2.mp4", ns=(5, 5))
    facts = (db / "3.mp4").stat()
    (db / "3.mp4").write_bytes(b"x" * 100)
    os.utime(db / "3.mp4", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    (db / "5.mp4").write_bytes(b"back")
    changed = {"0.mp4": "gone", "1.mp4": "changed", "2.mp4": "changed", "5.mp4": "back"}
    assert kinds(indexed, contents=False) == changed
    # Read, the file with a new time is what it was, and the one that looks untouched is not.
    assert kinds(indexed, contents=True) == {"0.mp4": "gone", "1.mp4": "changed", "3.mp4": "bytes", "5.mp4": "back"}


def test_a_folder_that_is_gone_is_one_line(indexed: Path) -> None:
    (indexed / "db").rename(indexed / "moved")
    (finding,) = verify_gallery(indexed / "gallery").findings
    assert (finding.kind, finding.video) == ("gone", None)
    assert finding.text == f"folder '{indexed / 'db'}' of 5 videos is not there: is its disk mounted?"


VERIFY = """
import os, sys
from pathlib import Path
from c3dhash.gallery.verify import verify_gallery
os.geteuid() or os.setuid(65534)  # root can write everywhere
found = verify_gallery(Path(sys.argv[1]))
print(found.is_sound, found.num_clips)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_a_gallery_that_cannot_be_written() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = make_gallery(Path(folder) / "gallery", range(3), root=None)
        Path(folder).chmod(0o755)
        try:
            path.chmod(0o555)
            done = subprocess.run(
                [sys.executable, "-c", VERIFY, str(path)], capture_output=True, text=True, check=False
            )
        finally:
            path.chmod(0o755)
    assert done.stdout == "True 30\n", done.stderr


def test_what_is_found_while_another_writes(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.remove(["3.mp4"])
        gallery.add("new", batch_of(3), content_hash="")
        assert Counter(finding.kind for finding in verify_gallery(path).findings) == {}


def test_what_is_searched_in_is_compared_with_the_catalog(path: Path) -> None:
    with Gallery.open(path) as gallery:
        codes_path = path / CODES_NAME
        whole = codes_path.read_bytes()
        assert damage(path) == []
        codes_path.unlink()  # not in place: it is mapped
        codes_path.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    ((_, text),) = damage(path)
    assert text.endswith("codes.bin' cannot be read: its checksum does not match: delete it, and it is made again.")
    with Gallery.open(path) as gallery:
        assert len(gallery) == 590
    assert damage(path) == []
