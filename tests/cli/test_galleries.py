"""c3dhash gallery: what is printed, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from damage import flip_bit, pages_with, zero_page
from galleries import batch_of, code_of, content_of, make_gallery

from c3dhash.gallery.store import Gallery


@pytest.fixture
def gallery(tmp_path):
    return make_gallery(tmp_path / "gallery", range(9), root=str(tmp_path / "db"), missing=[4])


def test_info(run, gallery, tmp_path):
    code, out, _ = run("gallery", "info")
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if line[0] != " ")
    assert lines["videos"] == "8 with 80 clips; missing: 1 with 10 clips"
    assert lines["codes"].startswith("48 bits, 80 distinct, a bit is on in 0.")
    assert lines["windows"] == "10 s" and lines["labels"] == "2, of 6 videos"
    assert lines["folders"] == "db, which is not there: 9 videos, 1 of them missing"
    assert lines["engines"].startswith("torch 2, last on ") and lines["gallery"] == "gallery (schema 4)"
    assert "catalog.sqlite" in lines["on"] and lines["model"].startswith("runs/a, fingerprint 3f2a")
    code, out, _ = run("gallery", "info", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["num_clips"] == 80 and facts["folders"][0]["is_there"] is False
    assert len(facts["ones"]) == 48 and facts["labels"]["wave"] == 3


def test_verify(run, gallery, tmp_path):
    gone = f"gone:       folder '{tmp_path / 'db'}' of 8 videos is not there: is its disk mounted?"
    summary = "9 videos, 90 clips, 0 files looked at: 1 gone."
    assert run("gallery", "verify")[:2] == (0, f"{gone}\n{summary}\n")
    (tmp_path / "db").mkdir()
    flip_bit(gallery / "catalog.sqlite", code_of(3, 2))
    code, out, err = run("gallery", "verify", "--contents")
    assert code == 1
    (found,) = (line for line in out.splitlines() if line.startswith("damage: "))
    assert found.startswith(f"damage:     '{tmp_path}/db/3.mp4': its clips are not those that were written (checksum)")
    assert out.splitlines()[-1] == "9 videos, 90 clips, 9 files read: 1 damage, 8 gone."
    code, out, _ = run("gallery", "verify", "--json")
    report = json.loads(out)
    assert code == 1 and report["is_sound"] is False and report["findings"][0]["kind"] == "damage"
    zero_page(gallery / "catalog.sqlite", 0)
    code, out, err = run("gallery", "verify")
    assert (code, out) == (1, "") and "cannot be read at all" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["info", "--gallery", "nowhere"], 1, "'nowhere' is no gallery, it has no catalog.sqlite"),
        (["verify", "--workers", "0"], 2, "workers (0) must be between 1 and 256"),
        (["compact", "--gallery", "nowhere"], 1, "gallery 'nowhere' does not exist"),
        (["merge"], 2, "Missing argument 'OTHER...'"),
        (["merge", "gallery"], 2, "'gallery' is gallery 'gallery' itself: name others to merge into it"),
        (["merge", "nowhere"], 1, "'nowhere' is no gallery, it has no catalog.sqlite"),
        (["remove", "--yes"], 2, "name videos, or say which by --label and --folder"),
        (["remove", "--label", "walk", "--yes"], 2, "label 'walk' is of no video of gallery 'gallery': it has"),
        (["remove", "--folder", "x", "--yes"], 2, "gallery 'gallery' has no video that passes (folder 'x')"),
        (["remove", "x", "--yes", "--gallery", "nowhere"], 1, "gallery 'nowhere' does not exist"),
        (["info", "extra"], 2, "unexpected extra argument (extra)"),
        (["wash"], 2, "No such command 'wash'"),
    ],
)
def test_what_is_refused(run, gallery, arguments, code, message):
    found = run("gallery", *arguments)
    assert found[:2] == (code, "") and message in found[2] and len(found[2].splitlines()) == 1


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_export_and_import(run, gallery, tmp_path, suffix):
    assert run("gallery", "export", f"all.{suffix}")[:2] == (0, f"all.{suffix}: 9 videos, 90 clips.\n")
    code, out, err = run("gallery", "export", f"all.{suffix}")
    assert (code, out) == (2, "") and "is there already and stays as it is" in err and len(err.splitlines()) == 1
    told = "9 added, 0 replaced, 0 unchanged, 0 refused; 90 clips were written into gallery 'new'.\n"
    assert run("gallery", "import", f"all.{suffix}", "--gallery", "new")[:2] == (0, told)
    assert content_of(tmp_path / "new") == content_of(gallery)
    code, out, _ = run("gallery", "import", f"all.{suffix}", "--gallery", "new", "--json")
    assert code == 0 and json.loads(out) == {"added": 0, "replaced": 0, "unchanged": 9, "clips": 0, "conflicts": []}
    with Gallery.open(tmp_path / "new") as other:
        other.add(f"{tmp_path}/db/1.mp4", batch_of(50), content_hash="h1")
    code, out, _ = run("gallery", "import", f"all.{suffix}", "--gallery", "new")
    assert code == 1 and out.splitlines() == [
        "0 added, 0 replaced, 8 unchanged, 1 refused; 0 clips were written into gallery 'new'.",
        f"refused: '{tmp_path}/db/1.mp4' is in gallery 'new' with other codes",
        "--replace takes the others in their place.",
    ]
    assert "1 replaced" in run("gallery", "import", f"all.{suffix}", "--gallery", "new", "--replace")[1]
    assert content_of(tmp_path / "new").splitlines()[2:] != []


def test_export_of_a_damaged_gallery(run, gallery, tmp_path):
    zero_page(gallery / "catalog.sqlite", pages_with(gallery / "catalog.sqlite", code_of(3, 2))[0])
    code, out, _ = run("gallery", "export", "saved.csv")
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith("saved.csv: ") and f"damaged: '{tmp_path}/db/3.mp4': none of 10 clips saved" in lines
    assert any(line.startswith("damaged: table clip from id ") for line in lines)
    assert "clips are lost. Import the file" in lines[-1]
    code, out, _ = run("gallery", "export", "saved.npz", "--json")
    assert code == 1 and json.loads(out)["losses"]["num_clips"] > 9


def test_import_of_a_table_by_hand(run, tmp_path):
    (tmp_path / "codes.csv").write_text("video,start_seconds,end_seconds,code\na.mp4,0,2.5,00ff\n")
    code, out, err = run("gallery", "import", "codes.csv")
    assert (code, out) == (2, "") and "does not say which model made its codes" in err
    assert run("gallery", "import", "codes.csv", "--model-fingerprint", "simhash")[0] == 0
    assert "16 bits" in run("gallery", "info")[1]
    (tmp_path / "codes.csv").write_text("video,start_seconds,end_seconds,code\na.mp4,0,2.5,00f\n")
    code, out, err = run("gallery", "import", "codes.csv", "--model-fingerprint", "simhash")
    assert (code, out) == (1, "")
    assert "c3dhash: 'codes.csv' has code '00f' in line 2; it must be hexadecimal digits, two a byte.\n" in err


@pytest.fixture
def with_files(gallery, tmp_path):
    """The gallery's videos, as files."""
    (tmp_path / "db").mkdir()
    for number in range(9):
        (tmp_path / "db" / f"{number}.mp4").write_bytes(bytes([number] * 1000))
    return tmp_path / "db"


def digests(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def names(gallery):
    with Gallery.open(gallery) as opened:
        return [video.video.rpartition("/")[2] for video in [*opened.videos(), *opened.missing_videos()]]


def test_remove_takes_videos_out_and_leaves_files_alone(run, gallery, with_files):
    before = digests(with_files)
    code, out, _ = run("gallery", "remove", "db/3.mp4", "--dry-run")
    assert (code, out) == (0, "db/3.mp4\n1 video with 10 clips would be removed; nothing was done.\n")
    code, out, err = run("gallery", "remove", "db/3.mp4", "db/99.mp4", "--yes")
    assert (code, out) == (2, "") and "'db/99.mp4' is no video of gallery 'gallery', and nothing was removed" in err
    assert len(names(gallery)) == 9
    told = "db/3.mp4\ndb/4.mp4\nRemoved: 2 videos with 20 clips.\n"
    assert run("gallery", "remove", "db/3.mp4", "db/4.mp4", "--yes")[:2] == (0, told)
    code, out, _ = run("gallery", "remove", "--label", "wave", "--json", "--yes")
    assert code == 0 and [name.rpartition("/")[2] for name in json.loads(out)["removed"]] == ["1.mp4", "7.mp4"]
    assert names(gallery) == ["0.mp4", "2.mp4", "5.mp4", "6.mp4", "8.mp4"]
    code, out, _ = run("gallery", "remove", "--folder", "db", "--yes")
    assert code == 0 and out.endswith("Removed: 5 videos with 50 clips.\n")
    assert names(gallery) == [] and digests(with_files) == before
    assert run("gallery", "verify")[0] == 0


def test_remove_asks_and_where_nobody_is_there_refuses(run, gallery, with_files, tmp_path):
    before = digests(with_files)
    command = [sys.executable, "-m", "c3dhash", "gallery", "remove", "db/3.mp4"]
    done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "nobody can be asked here, the input is no terminal: --yes removes" in done.stderr
    for answer, code, number in ((b"n\n", 1, 9), (b"y\n", 0, 8)):
        terminal, end = pty.openpty()
        os.write(terminal, answer)
        done = subprocess.run(command, cwd=tmp_path, stdin=end, capture_output=True, text=True, check=False)
        os.close(end)
        os.close(terminal)
        assert done.returncode == code
        assert "Remove 1 video with 10 clips from gallery 'gallery'? No file is deleted." in done.stderr
        assert ("Nothing was removed." in done.stdout) == (code == 1)
        assert len(names(gallery)) == number
    assert digests(with_files) == before


def test_merge(run, gallery, tmp_path):
    other = make_gallery(tmp_path / "other", range(5, 12), root=str(tmp_path / "db"))
    told = "3 added, 0 replaced, 4 unchanged, 0 refused; 30 clips were written into gallery 'gallery'.\n"
    assert run("gallery", "merge", "other")[:2] == (0, told)
    with Gallery.open(other) as opened:
        opened.add(f"{tmp_path}/db/1.mp4", batch_of(50), content_hash="h1", root=f"{tmp_path}/db")
    code, out, _ = run("gallery", "merge", "other", "--json")
    (conflict,) = json.loads(out)["conflicts"]
    assert (code, conflict) == (1, f"'{tmp_path}/db/1.mp4' is in gallery 'gallery' with other codes")
    assert run("gallery", "merge", "other", "--replace")[0] == 0
    assert len(names(gallery)) == 12 and run("gallery", "verify", "--json")[0] == 0


def test_compact(run, gallery):
    assert run("gallery", "remove", "--label", "wave", "--yes")[0] == 0
    code, out, _ = run("gallery", "compact")
    assert code == 0
    assert re.fullmatch(r"catalog \S+ kB -> \S+ kB, all of 'gallery' \S+ kB -> \S+ kB\n", out)
    code, out, _ = run("gallery", "compact", "--json")
    report = json.loads(out)
    assert code == 0 and report["is_settled"] and report["catalog_bytes_after"] == report["catalog_bytes_before"]
