from __future__ import annotations

import pytest

from c3dhash.web.names import Names, printable

OWN = {"/srv/of us/gallery": "gallery", "/home/ann/runs/x": "x"}


def test_one_root_is_not_told():
    names = Names("gallery", ["/srv/films"], own=OWN)
    assert names.shown("/srv/films/a/b.mp4") == "a/b.mp4" and names.shown_folder("/srv/films/a/b.mp4") == "a"
    assert names.shown_folder("/srv/films/b.mp4") == ""
    assert names.place("a/") == ("/srv/films", "a") and names.place("") == ("/srv/films", "")


def test_of_several_the_last_part_is():
    names = Names("gallery", ["/srv/films", "/mnt/films", "/srv/clips", ""], own=OWN)
    assert names.shown("/srv/films/a.mp4") == "films/a.mp4"
    assert names.shown("/mnt/films/x/a.mp4") == "films (2)/x/a.mp4"
    assert names.shown("clip 7") == "clip 7" and names.shown("/elsewhere/secret/a.mp4") == "a.mp4"
    assert names.place("films (2)/x") == ("/mnt/films", "x") and names.place("clips") == ("/srv/clips", "")
    assert names.place("set/a") == ("", "set/a")


def test_a_root_inside_another():
    names = Names("gallery", ["/srv", "/srv/films"], own=OWN)
    assert names.shown("/srv/films/a.mp4") == "films/a.mp4" and names.shown("/srv/b.mp4") == "srv/b.mp4"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("video '/srv/films/a b/c.mp4' is cut", "video 'a b/c.mp4' is cut"),
        ("video '/srv/films/bob's/c.mp4' is cut", "video 'bob's/c.mp4' is cut"),
        ("gallery '/srv/of us/gallery' is empty", "gallery 'gallery' is empty"),
        ("catalog '/srv/of us/gallery/catalog.sqlite' is locked", "catalog 'gallery/catalog.sqlite' is locked"),
        ("run '/home/ann/runs/x' is damaged", "run 'x' is damaged"),
        ("folder '/srv/films' is gone", "folder 'films' is gone"),
        ("'/etc/other place/x.mp4' and /usr/lib/y.so: no", "'x.mp4' and y.so: no"),
        ("1/2 of a/b, see https://example.org/page", "1/2 of a/b, see https://example.org/page"),
        ("nothing '/' here", "nothing 'a folder' here"),
    ],
)
def test_paths_are_taken_out_of_texts(text, expected):
    names = Names("gallery", ["/srv/films"], own=OWN)
    assert names.without_paths(text) == expected


def test_an_upload_has_its_senders_name():
    names = Names("gallery", ["/srv/films"], own=OWN)
    text = "video '/tmp/c3dhash-serve-x/0af3' is a text"
    assert names.without_paths(text, files={"/tmp/c3dhash-serve-x/0af3": "mine.mp4"}) == "video 'mine.mp4' is a text"


def test_text_that_json_cannot_carry():
    assert printable("a\ud800\nb") == "a\\ud800 b"


def test_a_root_on_a_server_is_not_told():
    names = Names("gallery", ["s3://secret/films"], own=OWN)
    assert names.shown("s3://secret/films/a/b.mp4") == "a/b.mp4"
    assert names.place("a") == ("s3://secret/films", "a")
    for text in ("video 's3://secret/films/a/b.mp4' is cut", "video 's3:/secret/films/a/b.mp4' is cut"):
        assert names.without_paths(text) == "video 'a/b.mp4' is cut"
