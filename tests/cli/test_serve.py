"""`c3dhash serve` before it serves, and `c3dhash query --server`."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import closing

import pytest
from servers import TOKEN, listening

from c3dhash.config import EncodeConfig, ServeConfig
from c3dhash.gallery.served import Folder
from c3dhash.web.app import create_app
from c3dhash.web.service import Service
from c3dhash.web.serving import bind

FP32 = EncodeConfig(precision="fp32", device="cpu")


@pytest.mark.parametrize(
    "options, code, message",
    [
        (("--host", "0.0.0.0"), 2, "host (0.0.0.0) can be reached from other machines, so that --token is needed"),
        (("--token", "short"), 2, "token (5 characters) must have 16 or more"),
        (("--port", "70000"), 2, "port (70000) must be between 0 and 65535; the default is 8000."),
        (("--max-uploads", "0"), 2, "max_uploads (0) must be between 1 and 1000; the default is 16."),
        ((), 1, "gallery 'gallery' does not exist: run `c3dhash index DIR` first."),
    ],
)
def test_what_is_refused_before_anything_is_served(run, options, code, message):
    found, out, err = run("serve", *options)
    assert (found, out) == (code, "") and message in err.strip().splitlines()[-1]


def test_without_the_extra_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr("c3dhash.cli.serve.find_spec", lambda name: None if name == "uvicorn" else object())
    code, out, err = run("serve")
    assert (code, out) == (2, "")
    assert err == "c3dhash: `c3dhash serve` needs the extra serve: pip install 'c3dhash[serve]'\n"


def test_the_token_may_come_from_the_environment(run, monkeypatch):
    monkeypatch.setenv("C3DHASH_TOKEN", "short")
    code, _, err = run("serve")
    assert code == 2 and "token (5 characters)" in err


def test_a_port_that_is_taken(run, untrained_run, motion_dir, tmp_path):
    assert run("index", motion_dir / "gallery", "--model", untrained_run.path, "--precision", "fp32")[0] == 0
    with bind(ServeConfig(port=0)) as listening:
        port = listening.getsockname()[1]
        code, _, err = run("serve", "--port", port)
    assert code == 2 and f"port ({port}) of host (127.0.0.1) cannot be listened on (Address" in err


@pytest.fixture
def server(run, untrained_run, motion_dir, tmp_path):
    """The address of a server with a token, and its gallery."""
    shutil.copytree(motion_dir / "gallery", tmp_path / "db")
    code, _, err = run("index", "db", "--model", untrained_run.path, "--precision", "fp32", "--window-seconds", "1")
    assert code == 0, err
    config = ServeConfig(port=0, token=TOKEN)
    with (
        closing(Service(Folder(tmp_path / "gallery"), untrained_run, config=config, encode=FP32)) as service,
        listening(service, create_app(service)) as served,
    ):
        yield served.url


def test_a_query_by_a_server_is_that_of_the_command(run, server, motion_dir, tmp_path):
    video = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    options = ("--top", "4", "--mirror", "--label", "move_up", "--label", "move_down", "--not-itself")
    here = run("query", video, *options, "--precision", "fp32", "--json")
    there = run("query", video, *options, "--server", server, "--token", TOKEN, "--json")
    assert here[0] == there[0] == 0, there[2]
    expected = json.loads(here[1])
    for hit in expected:
        hit["video"] = hit["video"].removeprefix(f"{tmp_path}/db/")
    assert json.loads(there[1]) == expected
    table = run("query", video, *options, "--precision", "fp32")[1]
    assert run("query", video, *options, "--server", server, "--token", TOKEN)[1] == table.replace(" db/", " ")
    by_folder = run("query", video, "--folder", "move_up", "--server", server, "--token", TOKEN, "--json")
    assert {hit["label"] for hit in json.loads(by_folder[1])} == {"move_up"}


def test_several_videos_and_one_that_cannot_be_read(run, server, motion_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("C3DHASH_TOKEN", TOKEN)
    (tmp_path / "bad.mp4").write_bytes(b"a text that is no video at all")
    video = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    code, out, _ = run("query", "bad.mp4", video, "--server", server, "--json")
    bad, good = json.loads(out)
    assert (code, bad["hits"], good["error"], len(good["hits"])) == (1, [], None, 9)
    assert bad["error"].startswith("video 'bad.mp4' is a text")
    code, out, err = run("query", "bad.mp4", "--server", server)
    assert (code, out) == (1, "") and err.startswith("c3dhash: video 'bad.mp4' is a text")
    code, out, err = run("query", "gone.mp4", "--server", server)
    assert code == 2 and "video 'gone.mp4' cannot be read" in err
    monkeypatch.delenv("C3DHASH_TOKEN")
    code, out, err = run("query", video, video.with_name("move_up_001.mp4"), "--server", server)
    assert code == 1 and "a token is needed" in err


@pytest.mark.parametrize(
    "options, message",
    [
        (("--server", "http://x", "--gallery", "y"), "leave out --gallery"),
        (("--server", "http://x", "--engine", "torch"), "leave out --engine"),
        (("--server", "http://x", "--html", "y.html"), "leave out --html"),
        (("--token", TOKEN), "--token goes with --server: leave out --token"),
        (("--server", "ftp://x"), "server ('ftp://x') must be an address, as http://127.0.0.1:8000."),
    ],
)
def test_options_that_would_do_nothing(run, options, message):
    code, out, err = run("query", "a.mp4", *options)
    assert (code, out) == (2, "") and message in err


def test_the_client_needs_nothing_but_python():
    import subprocess

    script = (
        "import sys, c3dhash.client; sys.exit(any(n in sys.modules for n in ('numpy', 'httpx', 'fastapi', 'click')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
