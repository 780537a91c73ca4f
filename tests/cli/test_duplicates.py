"""c3dhash duplicates: what is printed and written, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import json

import cv2
import numpy as np
import pytest
from videos import write_frames, write_video

from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch


@pytest.fixture
def gallery(tmp_path):
    """a.mp4 and b.mp4, which is smaller, are copies of each other; the files of kept/ are alone."""
    rng = np.random.default_rng(0)
    shared = rng.integers(0, 256, (20, 6), np.uint8)
    starts = np.arange(20, dtype=np.float64)
    (tmp_path / "kept").mkdir()
    with Gallery.create(tmp_path / "gallery", hash_length=48, model_fingerprint="a" * 32) as gallery:
        for name, width in (("a, 1.mp4", 128), ("b.mp4", 64), ("kept/c.mp4", 64), ("kept/d.mp4", 64)):
            path = write_video(tmp_path / name, num_frames=30, width_px=width, height_px=48)
            codes = rng.integers(0, 256, (20, 6), np.uint8) if "kept" in name else shared
            gallery.add(
                str(path), CodeBatch(codes, 48, starts, starts + 1), content_hash=name, root=str(tmp_path),
                size_bytes=path.stat().st_size,
            )  # fmt: skip
    return tmp_path


def digests(folder) -> dict[str, str]:
    files = [path for path in folder.rglob("*.mp4") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_is_printed_and_written(run, gallery):
    before = digests(gallery)
    code, out, err = run("duplicates", "--csv", "new/table.csv", "--html", "new/page.html")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split("  ")[0].strip() == "score"
    assert lines[1].split() == ["best", "128x48", "1.2", "s", lines[1].split()[4], "kbit/s", "a,", "1.mp4"]
    assert lines[2].split()[1:4] == ["copy", "0.0-20.0", "s"] and lines[2].endswith(" b.mp4")
    assert "1 groups, 1 matches. Nothing was changed." in out and "Written: new/table.csv" in out
    with (gallery / "new" / "table.csv").open(newline="") as file:
        best, member = csv.DictReader(file)
    assert (best["group"], best["relation"], best["video"]) == ("1", "best", str(gallery / "a, 1.mp4"))
    assert (member["relation"], member["width_px"], member["video"]) == ("copy", "64", str(gallery / "b.mp4"))
    page = (gallery / "new" / "page.html").read_text()
    assert page.count("data:image/jpeg") == 2 and page.count("<svg") == 2 and "b.mp4" in page
    code, out, _ = run("duplicates", "--json")
    (group,) = json.loads(out)
    assert group["best"] == str(gallery / "a, 1.mp4")
    (member,) = group["members"]
    assert (member["video"], member["relation"]) == (str(gallery / "b.mp4"), "copy")
    assert member["score"] == pytest.approx(sum(segment["score"] for segment in member["segments"]))
    assert group["facts"]["bit_rate_bits"] > 0
    code, out, _ = run("duplicates", "--print-paths")
    assert (code, out) == (0, f"{gallery / 'b.mp4'}\n")
    assert digests(gallery) == before


def test_a_reference_and_what_is_no_match(run, gallery):
    assert run("duplicates", "--print-paths", "--reference", "b.mp4")[1] == f"{gallery / 'a, 1.mp4'}\n"
    code, out, err = run("duplicates", "--reference", "nowhere")
    assert (code, out) == (2, "") and "reference 'nowhere' holds no video of gallery 'gallery'" in err
    code, out, err = run("duplicates", "--ignore", "a, 1.mp4", "b.mp4")
    assert (code, out) == (0, "No videos match.\n"), err
    assert run("duplicates", "--json")[1] == "[]\n"
    assert "1 groups" in run("duplicates", "--forget", "b.mp4", "a, 1.mp4")[1]
    code, _, err = run("duplicates", "--ignore", "a, 1.mp4", "x.mp4")
    assert code == 2 and "'x.mp4' is no video of gallery 'gallery'" in err
    assert run("duplicates", "--radius", "0")[1].startswith("score")


def test_pairs_that_are_no_match_are_listed(run, gallery):
    assert run("duplicates", "--list-ignored")[:2] == (
        0,
        "No pair is remembered as no match: --ignore VIDEO VIDEO does that.\n",
    )
    a, b, c = (str(gallery / name) for name in ("a, 1.mp4", "b.mp4", "kept/c.mp4"))
    out = run("duplicates", "--ignore", c, b, "--ignore", b, a, "--list-ignored")[1]
    assert [line.split("  ")[0] for line in out.splitlines()[1:]] == ["a, 1.mp4", "b.mp4"]
    assert json.loads(run("duplicates", "--list-ignored", "--json")[1]) == [[a, b], [b, c]]
    with Gallery.open(gallery / "gallery") as opened:
        opened.remove([a])
    assert json.loads(run("duplicates", "--list-ignored", "--json")[1]) == [[b, c], [b, None]]
    assert "not in the gallery now" in run("duplicates", "--list-ignored")[1]
    assert json.loads(run("duplicates", "--forget", b, c, "--list-ignored", "--json")[1]) == [[b, None]]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--list-ignored", "--csv", "x.csv"], 2, "--list-ignored compares nothing"),
        (["--radius", "-1"], 2, "radius (-1) must be between 0 and 1024"),
        (["--json", "--print-paths"], 2, "--json and --print-paths both say what is printed"),
        (["--ignore", "a.mp4"], 2, "'--ignore' requires 2 arguments"),
        (["--gallery", "nowhere"], 1, "gallery 'nowhere' does not exist: run `c3dhash index DIR` first"),
    ],
)
def test_what_is_refused(run, gallery, options, code, message):
    found = run("duplicates", *options)
    assert found[:2] == (code, "") and message in found[2] and len(found[2].splitlines()) == 1


def test_mirrored_copies_are_marked(run, tmp_path):
    (tmp_path / "db").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        coarse = rng.integers(0, 256, (9, 6, 8, 3), np.uint8)
        frames = [cv2.resize(coarse[time // 25], (96, 72), interpolation=cv2.INTER_CUBIC) for time in range(225)]
        write_frames(tmp_path / "db" / f"{number}.avi", frames, fourcc="FFV1")
        if number == 2:
            write_frames(tmp_path / "db" / "flipped.avi", [frame[:, ::-1] for frame in frames], fourcc="FFV1")
    assert run("index", "db", "--backbone", "phash", "--hash-length", "64")[0] == 0
    assert run("duplicates")[1] == "No videos match.\n"
    code, out, err = run("duplicates", "--mirror", "--csv", "table.csv", "--html", "page.html")
    assert code == 0, err
    assert {line.split()[-1] for line in out.splitlines()[1:3]} == {"db/2.avi", "db/flipped.avi"}
    assert out.splitlines()[2].split()[1:3] == ["copy,", "mirrored"]
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [row["is_mirrored"] for row in csv.DictReader(file)] == ["", "1"]
    assert "<b>copy, mirrored</b>" in (tmp_path / "page.html").read_text()
    ((member,),) = [group["members"] for group in json.loads(run("duplicates", "--mirror", "--json")[1])]
    assert (member["relation"], member["is_mirrored"]) == ("copy", True)


def test_mirrored_copies_of_other_codes_are_not_known(run, gallery):
    code, out, err = run("duplicates", "--mirror")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (
        "only those of phash, hash sign, are known, and gallery 'gallery' has those of a run that is not there" in err
    )
