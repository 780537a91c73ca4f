"""Each file once, under one name, however it is reached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from c3dhash.errors import UsageError
from c3dhash.gallery.scan import Scan, readable, scan_places


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("db/x/a.mp4", "db/x/b.mp4", "db/y/a.mp4", "out/o.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def names(scan: Scan, base: Path) -> dict[str, str]:
    """Name -> root, both relative to the base."""
    return {os.path.relpath(file.name, base): os.path.relpath(file.root, base) for file in scan.files}


def test_a_folder_and_a_file_are_places(base: Path) -> None:
    scan = scan_places([base / "db", base / "out" / "o.mp4"])
    assert names(scan, base) == {"db/x/a.mp4": "db", "db/x/b.mp4": "db", "db/y/a.mp4": "db", "out/o.mp4": "out"}
    facts = (base / "db/x/a.mp4").stat()
    assert (scan.files[0].size_bytes, scan.files[0].mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert [(place.is_there, place.is_folder, place.num_found) for place in scan.places] == [
        (True, True, 3), (True, False, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("places", [["db", "db"], ["db", "db/x"], ["db/x", "db"], ["db", "link"], ["link", "db"]])
def test_places_that_overlap_give_each_file_once(base: Path, places: list[str]) -> None:
    (base / "link").symlink_to("db")
    scan = scan_places([base / place for place in places])
    assert sorted(name.partition("/")[2] for name in names(scan, base)) == ["x/a.mp4", "x/b.mp4", "y/a.mp4"]
    assert len({file.root for file in scan.files}) == 1


def test_a_link_to_a_known_folder_is_that_folder(base: Path) -> None:
    (base / "link").symlink_to("db")
    for place, known in (("link", "db"), ("link/x", "db"), ("db", "link"), (".", "db")):
        scan = scan_places([base / place], roots=[str(base / known)])
        expected = {f"{known}/x/a.mp4", f"{known}/x/b.mp4"}
        assert expected <= set(names(scan, base))
        assert {root for name, root in names(scan, base).items() if name in expected} == {known}


def test_a_link_within_a_folder_gives_no_second_name(base: Path) -> None:
    (base / "db" / "a first link").symlink_to("y")
    (base / "db" / "outwards").symlink_to("../out")
    scan = scan_places([base / "db"])
    assert names(scan, base) == dict.fromkeys(["db/x/a.mp4", "db/x/b.mp4", "db/y/a.mp4", "db/outwards/o.mp4"], "db")
    scan = scan_places([base / "db"], roots=[str(base / "out")])
    assert names(scan, base)["out/o.mp4"] == "out"


def test_what_is_no_file_to_be_read_is_said(base: Path) -> None:
    os.mkfifo(base / "db" / "pipe.mp4")
    (base / "db" / "broken.mp4").symlink_to("nowhere")
    (base / "db" / "device.mp4").symlink_to("/dev/zero")
    odd = os.fsdecode(os.fsencode(base / "db") + b"/odd\xff.mp4")
    Path(odd).touch()
    scan = scan_places([base / "db"])
    assert len(scan.files) == 3
    reasons = {Path(failure["video"]).name: failure["reason"] for failure in scan.failed}
    assert reasons.keys() == {"pipe.mp4", "broken.mp4", "device.mp4", "odd\\xff.mp4"}
    assert reasons["pipe.mp4"] == f"video '{base}/db/pipe.mp4' is no regular file: take it out of the folder."
    assert "is no regular file" in reasons["device.mp4"]
    assert reasons["broken.mp4"] == f"video '{base}/db/broken.mp4' cannot be read: No such file or directory."
    assert reasons["odd\\xff.mp4"] == f"video name '{base}/db/odd\\xff.mp4' is not valid UTF-8: rename the file."
    assert {Path(real).name for real in scan.hidden} == {"pipe.mp4", "broken.mp4", "device.mp4", "odd\udcff.mp4"}


def test_places_without_videos(base: Path) -> None:
    scan = scan_places([base / "db", base / "nowhere"])
    assert [place.is_there for place in scan.places] == [True, False]
    with pytest.raises(UsageError, match=r"'.*nowhere' does not exist; name a folder of videos"):
        scan.refuse_missing_places()
    (base / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no videos in '.*empty'"):
        scan_places([base / "empty"]).refuse_missing_places()


def test_names_are_made_readable() -> None:
    assert readable("ü.mp4") == "ü.mp4"
    assert readable(os.fsdecode(b"\xc3\xbc\xff")) == "ü\\xff"
