"""What `c3dhash query` prints where it is asked with more than a video."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from videos import numbered_frame, write_frames

from c3dhash.cli.common import shown_stretch


@pytest.fixture
def indexed(run, untrained_run, motion_dir, tmp_path):
    """A gallery of three videos and a video whose halves differ, in the folder of the commands."""
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "db")
    frames = [numbered_frame(number).copy() for number in range(20)]
    for frame in frames:
        frame[:, 80:] //= 4
    write_frames(tmp_path / "db" / "skewed.avi", frames)
    write_frames(tmp_path / "flipped.avi", [frame[:, ::-1] for frame in frames])
    assert run("index", "db", "--model", untrained_run.path)[0] == 0
    return tmp_path


def test_mirrored_hits_are_marked(run, indexed):
    code, out, _ = run("query", "flipped.avi", "--mirror", "--top", "1", "--html", "page.html")
    header, row, _ = out.splitlines()
    assert (code, header.split()[:4], row.split()[:1]) == (0, ["rank", "score", "distance", "query"], ["1"])
    assert row.split()[3] == "mirrored" and "db/" in row
    assert row.index("mirrored") + len("mirrored") == header.index("query") + len("query")
    assert "<b>mirrored</b>" in (indexed / "page.html").read_text()
    code, out, _ = run("query", "flipped.avi", "--mirror", "--top", "1", "--json")
    assert (code, json.loads(out)[0]["is_mirrored"]) == (0, True)
    code, out, _ = run("query", "db/skewed.avi", "flipped.avi", "--mirror", "--top", "1")
    tables = out.split("\n\n")
    assert ("mirrored" in tables[0], "mirrored" in tables[1]) == (False, True)
    code, out, _ = run("query", "flipped.avi", "--top", "1", "--html", "page.html")
    assert (code, out.split()[3:5]) == (0, ["of", "the"])
    assert "<b>mirrored</b>" not in (indexed / "page.html").read_text()


def test_the_speed_of_a_copy_is_told(run, tmp_path):
    rng = np.random.default_rng(0)
    for name, num_frames in (("film", 400), ("other", 400), ("another", 200)):
        (tmp_path / "db").mkdir(exist_ok=True)
        scenes = rng.integers(0, 256, (2 + num_frames // 20, 6, 8, 3), np.uint8)
        frames = []
        for number in range(num_frames):
            scene, share = number // 20, number % 20 / 20
            mixed = (1 - share) * scenes[scene] + share * scenes[scene + 1]
            frames.append(cv2.resize(mixed.astype(np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC))
        write_frames(tmp_path / "db" / f"{name}.avi", frames, fps=20)
        if name == "film":
            write_frames(tmp_path / "fast.avi", frames, fps=24)
    assert run("index", "db", "--backbone", "phash")[0] == 0
    code, out, _ = run("query", "fast.avi", "--any-speed", "--html", "page.html")
    header, row, *_ = out.splitlines()
    assert (code, header.split()[3], row.split()[3:5]) == (0, "query", ["1.22", "x"]) and row.endswith("db/film.avi")
    assert "at 1.22 times the speed" in (tmp_path / "page.html").read_text()
    hits = [json.loads(run("query", "fast.avi", *options, "--json")[1])[0] for options in (["--any-speed"], [])]
    assert [round(hit["segments"][0]["speed"], 2) for hit in hits] == [1.22, 1]
    assert [hit["segments"][0]["end_seconds"] > 18 for hit in hits] == [True, False]


def test_a_picture_is_a_query(run, indexed):
    """Sniffed, whatever its name; the page has it. `index` and `classify` want videos."""
    cv2.imwrite(str(indexed / "a.jpg"), numbered_frame(300)[..., ::-1])
    shutil.copy(indexed / "a.jpg", indexed / "b.mp4")
    answers = [run("query", name, "--html", "page.html")[:2] for name in ("a.jpg", "b.mp4")]
    assert answers[0] == answers[1] and answers[0][0] == 0
    assert "0.00-0.04 s" in answers[0][1]
    assert (indexed / "page.html").read_text().count("data:image/jpeg") == 4
    code, out, _ = run("query", "a.jpg", "db", "--json", "--top", "2")
    assert (code, [len(answer["hits"]) for answer in json.loads(out)]) == (0, [2, 2, 2, 2])
    code, out, _ = run("index", "a.jpg")
    assert (code, "a JPEG picture, not a video" in out) == (1, True)
    code, out, err = run("query", "missing.jpg")
    assert (code, out) == (1, "") and "'missing.jpg' does not exist" in err


def test_bars_are_an_option_of_new_galleries(run, untrained_run, indexed):
    code, _, err = run("index", "db", "--no-crop-bars")
    assert code == 2 and "with black bars cropped, got" in err and "with black bars left in: keep them" in err
    code, out, _ = run("index", "db", "--no-crop-bars", "--gallery", "other", "--model", untrained_run.path)
    assert (code, out.split(",")[0]) == (0, "3 added")
    assert run("index", "db", "--gallery", "other")[1].split(", ")[5] == "3 unchanged"


def test_short_stretches_by_hand():
    assert shown_stretch(0, 0.04) == "0.00-0.04 s"
    assert shown_stretch(7, 14.04) == "7.0-14.0 s"
