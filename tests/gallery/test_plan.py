"""A gallery follows its folders, and nothing is lost on the way: files of a few bytes, whose codes are made of them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c3dhash.config import IndexConfig
from c3dhash.errors import UsageError
from c3dhash.gallery.indexing import IndexReport, KnownCodes, index_videos, open_gallery, plan_index
from c3dhash.gallery.plan import Step
from c3dhash.gallery.store import Gallery
from c3dhash.models.runs import Run
from c3dhash.records import CodeBatch

PRUNE = IndexConfig(prune=True)


def codes_of(video: Path) -> CodeBatch:
    """One or two clips, of the content."""
    digest = hashlib.blake2b(video.read_bytes(), digest_size=5).digest()
    codes = np.frombuffer(digest[: 2 + digest[4] % 2 * 2], np.uint8).reshape(-1, 2)
    starts = np.arange(len(codes), dtype=np.float64)
    return CodeBatch(codes, 16, starts, starts + 1)


def known_codes(step: Step) -> KnownCodes:
    return KnownCodes(codes_of(Path(step.video)), None)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """project/db with three videos, and a place beside the project."""
    for name in ("a", "b", "sub/c"):
        write(tmp_path / "project" / "db" / f"{name}.mp4", f"{name}")
    (tmp_path / "other").mkdir()
    return tmp_path


@pytest.fixture
def db(base: Path) -> Path:
    return base / "project" / "db"


class Indexed:
    """A gallery beside its videos, and what was encoded for it since it was last asked."""

    def __init__(self, run: Run, path: Path) -> None:
        self.run, self.path = run, path

    def index(self, *places: Path, config: IndexConfig | None = None) -> dict[str, int]:
        """Index, and return what happened: the counts that are not 0, and the files that were encoded."""
        encoded: list[str] = []

        def codes(step: Step) -> KnownCodes:
            encoded.append(Path(step.video).name)
            return known_codes(step)

        with open_gallery(self.path, self.run) as gallery:
            before = plan_index(gallery, places, index=config).to_dict()
            self.report = index_videos(self.run, gallery, places, index=config, known_codes=codes)
        self.check()
        assert_plan_was_kept(before, self.report)
        counts = {key: value for key, value in vars(self.report).items() if isinstance(value, int) and value}
        assert len(encoded) == len(before["new"]) + len(before["changed"])
        return {**counts, **({"encoded": len(encoded)} if encoded else {})}

    def check(self) -> None:
        """Every answer is that of the file that is there under its name."""
        with Gallery.open(self.path) as gallery:
            ids, codes = gallery.codes()
            by_video: dict[str, list[bytes]] = {}
            for clip, code in zip(gallery.clips(ids), codes, strict=True):
                by_video.setdefault(clip.video, []).append(bytes(code))
            for name, found in by_video.items():
                assert found == [bytes(code) for code in codes_of(Path(name)).codes], name
            assert by_video.keys() == {video.video for video in gallery.videos()}

    def names(self, relative_to: Path) -> list[str]:
        with Gallery.open(self.path) as gallery:
            return [os.path.relpath(video.video, relative_to) for video in gallery.videos()]

    def missing(self, relative_to: Path) -> list[str]:
        with Gallery.open(self.path) as gallery:
            return [os.path.relpath(video.video, relative_to) for video in gallery.missing_videos()]


def assert_plan_was_kept(plan: dict[str, Any], report: IndexReport) -> None:
    """What --dry-run says is what happens."""
    assert len(plan["moved"]) == report.moved
    assert len(plan["missing"]) == report.missing
    assert len(plan["removed"]) == report.removed
    assert plan["unchanged"] == report.unchanged
    assert len(plan["new"]) + len(plan["changed"]) + len(plan["copies"]) == report.added + report.updated
    assert plan["vanished"] == report.vanished
    assert plan["failed"] == report.failed
    json.dumps(plan)


@pytest.fixture
def indexed(untrained_run: Run, base: Path, db: Path) -> Indexed:
    indexed = Indexed(untrained_run, base / "project" / "gallery")
    assert indexed.index(db)["added"] == 3
    return indexed


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_nothing_to_do_writes_nothing(indexed: Indexed, db: Path) -> None:
    with Gallery.open(indexed.path) as gallery:
        before = gallery._catalog.revision()
    assert indexed.index(db) == {"unchanged": 3}
    with Gallery.open(indexed.path) as gallery:
        assert gallery._catalog.revision() == before


def test_a_deleted_video_is_kept_aside_until_it_is_back_or_pruned(indexed: Indexed, db: Path) -> None:
    content = (db / "a.mp4").read_bytes()
    facts = (db / "a.mp4").stat()
    (db / "a.mp4").unlink()
    for _ in range(2):
        assert indexed.index(db) == {"missing": 1, "unchanged": 2}
        assert indexed.missing(db) == ["a.mp4"]
    (db / "a.mp4").write_bytes(content)
    assert indexed.index(db) == {"unchanged": 3}, "the same content at another time"
    (db / "a.mp4").unlink()
    assert indexed.index(db) == {"missing": 1, "unchanged": 2}
    (db / "a.mp4").write_bytes(content)
    os.utime(db / "a.mp4", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert indexed.index(db) == {"unchanged": 3}
    assert (indexed.missing(db), indexed.names(db)) == ([], ["a.mp4", "b.mp4", "sub/c.mp4"])
    (db / "a.mp4").unlink()
    assert indexed.index(db, config=PRUNE) == {"removed": 1, "unchanged": 2}
    assert indexed.missing(db) == []
    write(db / "a.mp4", "a")
    assert indexed.index(db) == {"added": 1, "unchanged": 2, "clips": len(codes_of(db / "a.mp4").codes), "encoded": 1}


def test_a_missing_video_that_is_back_with_other_content_is_encoded(indexed: Indexed, db: Path) -> None:
    (db / "a.mp4").unlink()
    indexed.index(db)
    write(db / "a.mp4", "something else")
    report = indexed.index(db)
    assert (report["updated"], report["encoded"], indexed.missing(db)) == (1, 1, [])


@pytest.mark.parametrize("how", ["empty", "gone", "other files", "unmounted link"])
def test_a_place_that_vanished_whole_is_said_and_never_pruned_by_accident(
    how: str, indexed: Indexed, base: Path, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db.rename(base / "away")
    if how in ("empty", "other files"):
        db.mkdir()
    if how == "other files":
        (db / ".not mounted").touch()
    if how == "unmounted link":
        db.symlink_to(base / "nowhere")
    caplog.set_level(logging.WARNING, logger="c3dhash")
    for config in (None, PRUNE, PRUNE):
        caplog.clear()
        report = indexed.index(db, config=config)
        assert report == {"missing": 3}
        assert indexed.report.vanished == [str(db)]
        assert f"'{db}' holds none of the 3 videos that the gallery knows from there: is its disk m" in caplog.text
        assert len(caplog.records) == 1
        assert indexed.names(db) == []
    if db.is_symlink():
        db.unlink()
    shutil.rmtree(db, ignore_errors=True)
    (base / "away").rename(db)
    assert indexed.index(db) == {"unchanged": 3}
    shutil.rmtree(db)
    assert indexed.index(db, config=IndexConfig(prune=True, prune_vanished=True)) == {"removed": 3}
    with pytest.raises(UsageError, match=f"'{db}' does not exist"):
        indexed.index(db)


def test_other_places_go_on_beside_one_that_vanished(indexed: Indexed, base: Path, db: Path) -> None:
    write(base / "other" / "o.mp4", "o")
    write(base / "other" / "p.mp4", "p")
    assert indexed.index(base / "other")["added"] == 2
    shutil.rmtree(db)
    (base / "other" / "p.mp4").unlink()
    assert indexed.index(base / "other", db, config=PRUNE) == {"missing": 3, "removed": 1, "unchanged": 1}
    assert indexed.report.vanished == [str(db)]


def test_a_root_within_a_place_may_vanish_too(indexed: Indexed, base: Path, db: Path) -> None:
    write(base / "project" / "o.mp4", "o")
    assert indexed.index(base / "project")["added"] == 1
    shutil.rmtree(db)
    assert indexed.index(base / "project", config=PRUNE) == {"missing": 3, "unchanged": 1}
    assert indexed.report.vanished == [str(db)]


@pytest.mark.parametrize("is_mount_point", [True, False])
def test_a_folder_where_a_disk_belongs_is_told_from_one_that_was_emptied(
    indexed: Indexed, db: Path, is_mount_point: bool
) -> None:
    (db / "sub" / "c.mp4").unlink()
    if is_mount_point:  # what lies under the disk was empty before
        os.utime(db / "sub", (1, 1))
    report = indexed.index(db, config=PRUNE)
    assert report == {"missing" if is_mount_point else "removed": 1, "unchanged": 2}
    assert indexed.report.vanished == ([str(db / "sub")] if is_mount_point else [])


@pytest.mark.parametrize("are_both_named", [True, False])
def test_a_renamed_folder_is_not_encoded_again(indexed: Indexed, db: Path, are_both_named: bool) -> None:
    with Gallery.open(indexed.path) as gallery:
        ids = gallery.codes()[0].tolist()
    db.rename(renamed := db.with_name("renamed"))
    assert indexed.index(*([db, renamed] if are_both_named else [renamed])) == {"moved": 3}
    assert indexed.names(renamed) == ["a.mp4", "b.mp4", "sub/c.mp4"]
    with Gallery.open(indexed.path) as gallery:
        assert gallery.codes()[0].tolist() == ids
    assert indexed.index(renamed) == {"unchanged": 3}


def test_a_file_that_was_missed_first_and_found_later_moved(indexed: Indexed, db: Path) -> None:
    (db / "a.mp4").rename(db.parent / "a.mp4")
    assert indexed.index(db) == {"missing": 1, "unchanged": 2}
    (db / "new").mkdir()
    (db.parent / "a.mp4").rename(db / "new" / "z.mp4")
    assert indexed.index(db) == {"moved": 1, "unchanged": 2}
    assert (indexed.names(db), indexed.missing(db)) == (["b.mp4", "new/z.mp4", "sub/c.mp4"], [])


def test_of_several_with_one_content_the_one_of_that_name_moved(indexed: Indexed, db: Path) -> None:
    for name in ("x", "y", "z"):
        write(db / "same" / f"{name}.mp4", "the same")
    indexed.index(db)
    (db / "same").rename(db / "there")
    assert indexed.index(db) == {"moved": 3, "unchanged": 3}
    assert indexed.names(db)[-3:] == ["there/x.mp4", "there/y.mp4", "there/z.mp4"]
    shutil.copy(db / "there" / "x.mp4", db / "one more.mp4")
    report = indexed.index(db)
    assert (report["added"], report["unchanged"], "encoded" in report) == (1, 6, False)


def test_copies_take_the_codes_of_what_they_are_copies_of(indexed: Indexed, db: Path, base: Path) -> None:
    shutil.copytree(db, base / "other" / "copy")
    report = indexed.index(base / "other")
    assert (report["added"], report.get("encoded")) == (3, None)
    assert len(indexed.names(base)) == 6


def test_names_that_change_places_keep_the_codes_of_their_content(indexed: Indexed, db: Path) -> None:
    (db / "a.mp4").rename(db / "t")
    (db / "b.mp4").rename(db / "a.mp4")
    (db / "t").rename(db / "b.mp4")
    for name, time in (("a", 10), ("b", 20)):
        os.utime(db / f"{name}.mp4", (time, time))
    report = indexed.index(db)  # `check` compares the codes with the files
    assert (report["updated"], report["unchanged"], report.get("encoded")) == (2, 1, None)


def test_a_changed_video_is_encoded_and_a_touched_one_is_not(indexed: Indexed, db: Path) -> None:
    write(db / "a.mp4", "other")
    os.utime(db / "b.mp4", (1, 1))
    report = indexed.index(db)
    assert (report["updated"], report["unchanged"], report["encoded"]) == (1, 2, 1)
    assert indexed.index(db) == {"unchanged": 3}


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_project_is_moved_or_copied_with_its_gallery(indexed: Indexed, base: Path, db: Path, how: str) -> None:
    project, there = base / "project", base / "other" / "project"
    if how == "moved":
        project.rename(there)
    else:
        shutil.copytree(project, there)
    indexed.path = there / "gallery"
    indexed.check()
    assert indexed.names(there) == ["db/a.mp4", "db/b.mp4", "db/sub/c.mp4"]
    assert indexed.index(there / "db") == {"unchanged": 3}
    there.rename(base / "again")  # it knows where it is now
    indexed.path = base / "again" / "gallery"
    indexed.check()
    assert indexed.index(base / "again" / "db") == {"unchanged": 3}


@pytest.mark.parametrize("kind", ["beside", "within", "to a part"])
def test_a_new_link_encodes_nothing(indexed: Indexed, db: Path, base: Path, kind: str) -> None:
    if kind == "within":  # comes before the folder itself in the order of names
        (db / "a link").symlink_to("sub")
        assert indexed.index(db) == {"unchanged": 3}
    else:
        (base / "link").symlink_to(db if kind == "beside" else db / "sub")
        assert indexed.index(base / "link") == {"unchanged": 3 if kind == "beside" else 1}
    assert indexed.names(db) == ["a.mp4", "b.mp4", "sub/c.mp4"]


def test_names_of_other_programs_are_left_alone(indexed: Indexed, db: Path) -> None:
    with Gallery.open(indexed.path) as gallery:
        for name in ("clip 7", "a.mp4", str(db / "gone.mp4")):
            gallery.add(name, codes_of(db / "a.mp4"), content_hash="x")
        assert plan_index(gallery, [db], index=PRUNE).to_dict()["unchanged"] == 3
        index_videos(indexed.run, gallery, [db], index=PRUNE, known_codes=known_codes)
        assert {video.video for video in gallery.videos()} >= {"clip 7", "a.mp4", str(db / "gone.mp4")}


def test_what_cannot_be_looked_at_stays(indexed: Indexed, db: Path, base: Path) -> None:
    (db / "a.mp4").rename(base / "a.mp4")
    (db / "a.mp4").symlink_to("nowhere")
    with Gallery.open(indexed.path) as gallery:
        report = index_videos(indexed.run, gallery, [db], index=PRUNE, known_codes=known_codes)
        assert (report.unchanged, report.missing, report.removed) == (2, 0, 0)
        assert [failure["video"] for failure in report.failed] == [str(db / "a.mp4")]
        assert gallery.num_videos == 3


def test_prune_vanished_goes_with_prune() -> None:
    with pytest.raises(UsageError, match=r"prune_vanished \(True\) goes with --prune"):
        IndexConfig(prune_vanished=True)


def test_a_plan_needs_no_gallery(db: Path) -> None:
    plan = plan_index(None, [db]).to_dict()
    assert [Path(name).name for name in plan["new"]] == ["a.mp4", "b.mp4", "c.mp4"]
