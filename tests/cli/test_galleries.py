"""c3dhash gallery: what is printed, and what is refused."""

from __future__ import annotations

import json

import pytest
from damage import flip_bit, zero_page
from galleries import code_of, make_gallery


@pytest.fixture
def gallery(tmp_path):
    return make_gallery(tmp_path / "gallery", range(9), root=str(tmp_path / "db"), missing=[4])


def test_info(run, gallery, tmp_path):
    code, out, err = run("gallery", "info")
    assert (code, err) == (0, "")
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
    assert run("gallery", "verify") == (0, f"{gone}\n{summary}\n", "")
    (tmp_path / "db").mkdir()
    flip_bit(gallery / "catalog.sqlite", code_of(3, 2))
    code, out, err = run("gallery", "verify", "--contents")
    assert (code, err) == (1, "")
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
        (["info", "extra"], 2, "unexpected extra argument (extra)"),
        (["wash"], 2, "No such command 'wash'"),
    ],
)
def test_what_is_refused(run, gallery, arguments, code, message):
    found = run("gallery", *arguments)
    assert found[:2] == (code, "") and message in found[2] and len(found[2].splitlines()) == 1
