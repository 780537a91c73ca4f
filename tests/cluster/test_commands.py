"""`c3dhash gallery push` and `c3dhash query --gallery milvus://...`, typed."""

from __future__ import annotations

import json

from c3dhash.gallery.indexing import index_videos, open_gallery


def test_push_and_query(run, untrained_run, motion_dir, tmp_path, free_address):
    """The same answer from the collection as from the gallery, without the gallery, on another machine's files."""
    with open_gallery(tmp_path / "gallery", untrained_run) as gallery:
        index_videos(untrained_run, gallery, [motion_dir / "gallery"])
    address = free_address()
    code, out, _ = run("gallery", "push", "--to", address, "--json")
    nothing = {"removed": 0, "updated": 0, "unchanged": 0, "recall": None}
    assert (code, json.loads(out)) == (0, {"added": 9, "clips": 9, **nothing})
    code, out, _ = run("gallery", "push", "--to", address, "--index", "flat")
    assert (code, out) == (0, f"0 added, 0 removed, 0 updated, 9 unchanged; 0 clips were sent to {address}.\n")

    video = sorted((motion_dir / "query").rglob("*.*"))[0]
    asked = [video, "--json", "--precision", "fp32", "--device", "cpu", "--model", untrained_run.path]
    here = run("query", *asked)
    (tmp_path / "gallery").rename(tmp_path / "elsewhere")
    there = run("query", *asked, "--gallery", address)
    assert here[0] == there[0] == 0 and len(json.loads(here[1])) == 9
    assert json.loads(there[1]) == json.loads(here[1])
    assert run("query", *asked[:-2], "--gallery", address)[1] == there[1], "the run is found where it was"
    code, _, _ = run("query", *asked, "--gallery", address, "--html", tmp_path / "page.html")
    assert code == 0 and (tmp_path / "page.html").stat().st_size > 1000


def test_what_is_typed_wrong(run):
    for arguments, told in [
        (["query", "a.mp4", "--gallery", "milvus://host"], "must be milvus://HOST:PORT/COLLECTION"),
        (["gallery", "push", "--to", "films"], r"address ('films') must be milvus://HOST:PORT/COLLECTION"),
        (["gallery", "info", "--gallery", "milvus://host/films"], "takes a directory, not an address"),
        (["index", "db", "--gallery", "milvus://host/films"], "takes a directory, not an address"),
    ]:
        code, _, err = run(*arguments)
        assert (code, told in err, len(err.strip().splitlines())) == (2, True, 1), err
