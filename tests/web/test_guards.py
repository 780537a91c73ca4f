"""Attacks on who may ask, and what answers say: each guard has a test that tries to pass it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from servers import ATTACK, TOKEN, asker

from c3dhash.config import ServeConfig
from c3dhash.errors import UsageError
from c3dhash.web.guards import known_hosts

EVERY_GET = (
    "/api/health", "/api/videos", "/api/videos/1", "/api/videos/1/preview", "/api/clips/1/preview", "/api/facets",
    "/api/map", "/api/duplicates", "/api/queries/x", "/metrics", "/openapi.json", "/nothing",
)  # fmt: skip
HERE = "http://127.0.0.1:8000"
EVERY_POST = ("/api/query", "/api/classify", "/api/duplicates")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost.evil"])
def test_another_name_of_this_machine_is_not_answered(served, host):
    """DNS rebinding: a page of evil.example whose name turned to 127.0.0.1."""
    for path in EVERY_GET:
        answer = served.ask("GET", path, headers={"Host": host})
        assert (answer.status_code, list(answer.json())) == (421, ["error"])


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "127.0.0.1"])
def test_its_own_names_are(served, host):
    assert served.ask("GET", "/api/videos", headers={"Host": host}).status_code == 200


def test_names_by_where_it_listens():
    assert "video.example" in known_hosts(ServeConfig(names=" Video.example, other.example"))
    reachable = ServeConfig(host="0.0.0.0", token=TOKEN)
    assert "*" in known_hosts(reachable) and "evil.example" not in known_hosts(reachable)
    assert known_hosts(ServeConfig(host="192.0.2.7", token=TOKEN)) == {"192.0.2.7"}


def test_an_address_in_digits_is_no_name_that_can_be_turned(serve):
    served = serve(host="0.0.0.0", token=TOKEN)
    key = {"Authorization": f"Bearer {TOKEN}"}
    assert served.ask("GET", "/api/videos", headers={"Host": "192.0.2.7:8000", **key}).status_code == 200
    assert served.ask("GET", "/api/videos", headers={"Host": "evil.example", **key}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://127.0.0.1:8000.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(served, headers, upload):
    """CSRF: a form of a stranger's page, sent by a browser that has our cookie."""
    for path in EVERY_POST:
        assert served.ask("POST", path, headers=headers, **upload).status_code == 403
    pair = {"video_id": 1, "other_id": 3}
    assert served.ask("POST", "/api/duplicates", json=pair, headers=headers).status_code == 403
    assert not served.service.gallery.not_matches() and not len(served.service.memory)


def test_its_own_page_does(served):
    headers = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    assert (
        served.ask("POST", "/api/duplicates", json={"video_id": 1, "other_id": 3}, headers=headers).status_code == 200
    )
    assert len(served.service.gallery.not_matches()) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", "127.0.0.1.example.org"])
def test_other_machines_need_a_token(host):
    with pytest.raises(UsageError, match=rf"host \({host}\) can be reached from other machines, so that --token"):
        ServeConfig(host=host)
    ServeConfig(host=host, token=TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_none(host):
    assert ServeConfig(host=host).is_local


@pytest.mark.parametrize("token, text", [("short", r"token \(5 characters\)"), ("x" * 16 + "\n", "without blanks")])
def test_tokens_that_are_none(token, text):
    with pytest.raises(UsageError, match=text) as caught:
        ServeConfig(token=token)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong-token-of-sixteen"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer ÿ".encode("latin-1")},
        {"Cookie": f"c3dhash_session={TOKEN}"},
        {"Cookie": "c3dhash_session="},
        {"Cookie": "c3dhash_session=é".encode("latin-1")},
    ],
)
def test_without_the_token_nothing_is_told(serve, headers):
    served = serve(token=TOKEN)
    for method, paths in (("GET", EVERY_GET), ("HEAD", EVERY_GET), ("POST", EVERY_POST), ("PUT", EVERY_GET)):
        for path in paths:
            answer = served.ask(method, path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path


def test_the_token_in_a_header_or_once_in_the_address(serve):
    served = serve(token=TOKEN)
    ask = served.ask
    assert ask("GET", "/api/videos", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    answer = ask("GET", f"/api/videos?limit=2&token={TOKEN}&text=a")
    assert (answer.status_code, answer.headers["location"]) == (303, "/api/videos?limit=2&text=a")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and TOKEN not in cookie
    assert ask("GET", "/api/videos", headers={"Cookie": cookie.partition(";")[0]}).status_code == 200
    assert ask("GET", "/api/videos?token=wrong-token-of-sixteen").status_code == 401
    assert ask("POST", f"/api/duplicates?token={TOKEN}", json={"video_id": 1, "other_id": 3}).status_code == 401
    assert ask("GET", f"{HERE}//evil.example/a?token={TOKEN}").headers["location"] == "/evil.example/a"


def test_login_gives_the_cookie(serve):
    served = serve(token=TOKEN)
    answer = served.ask("POST", "/api/login", json={"token": "wrong-token-of-sixteen"})
    assert answer.status_code == 401 and "set-cookie" not in answer.headers
    answer = served.ask("POST", "/api/login", json={"token": TOKEN})
    assert answer.status_code == 204 and "Secure" not in answer.headers["set-cookie"]
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert served.ask("GET", "/api/videos", headers={"Cookie": f"a=b; {cookie}"}).status_code == 200
    secure = asker(served.app, base_url="https://127.0.0.1")("POST", "/api/login", json={"token": TOKEN})
    assert "; Secure" in secure.headers["set-cookie"]
    foreign = {"Origin": "https://evil.example"}
    assert served.ask("POST", "/api/login", json={"token": TOKEN}, headers=foreign).status_code == 403


def test_a_browser_is_sent_to_the_login_page(serve):
    ask = serve(token=TOKEN).ask
    answer = ask("GET", "/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert ask("GET", "/login").status_code == 200
    assert ask("GET", "/api/videos").status_code == 401


def test_every_answer_tells_a_browser_to_run_nothing(serve, upload):
    served = serve(token=TOKEN)
    key = {"Authorization": f"Bearer {TOKEN}"}
    answers = [served.ask("GET", path, headers=key) for path in EVERY_GET]
    answers += [served.ask("GET", "/api/videos"), served.ask("GET", "/api/videos", headers={"Host": "evil"})]
    answers += [served.ask("POST", "/api/query", headers={**key, "Origin": "null"})]
    answers += [served.ask("POST", "/api/query", headers=key, **upload), served.ask("PUT", "/api/query", headers=key)]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in ("application/json", "text/plain", "image/webp"), answer.url
    assert {answer.headers["cache-control"] for answer in answers} == {
        "no-store", "private, max-age=86400", "private, max-age=60",
    }  # fmt: skip


def test_a_name_of_markup_is_text(served, motion_dir):
    """It is data in JSON, which no browser takes for a page: application/json, and nosniff."""
    answer = served.ask("GET", "/api/videos?text=onerror")
    assert answer.json()["videos"][0]["video"] == ATTACK
    assert answer.headers["content-type"] == "application/json"
    form = {"file": (f"../../{ATTACK}", b"no video at all, but a text that is long enough", "text/html")}
    answer = served.ask("POST", "/api/query", files=form)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/json")
    assert answer.json()["error"].startswith(f"video '{ATTACK}' is a text or a playlist")


def test_no_answer_names_a_place_on_this_machine(served, indexed, folder, upload, untrained_run, motion_dir):
    """Not of the gallery, its videos, the run or the uploads; in answers and in errors."""
    (folder / "db" / "move_up" / "move_up_000.mp4").unlink()
    (folder / "db" / "move_down" / "move_down_000.mp4").write_bytes(b"not a video any more, but a text")
    bad = {"files": {"file": ("a.mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(100), "video/mp4")}}
    more = ("/api/videos?label=none", "/api/videos/9/preview", "/api/videos/3/preview", "/api/duplicates?mirror=true")
    answers = [served.ask("GET", path) for path in (*EVERY_GET, *more)]
    answers += [served.ask("POST", path, **bad) for path in ("/api/query", "/api/classify")]
    answers += [served.ask("POST", path, **upload) for path in ("/api/query", "/api/classify")]
    answers += [served.ask("POST", "/api/classify", json={"video_id": number}) for number in (3, 9)]
    answers += [served.ask("POST", "/api/query", json=asked) for asked in (
        {"video_id": 1, "mirror": True}, {"video_id": 1, "label": ["none"]}, {"video_id": 1, "folder": "none"},
    )]  # fmt: skip
    failed = answers[-6]
    assert failed.status_code == 200  # the good upload; those around it are errors
    places = {indexed, folder, untrained_run.path, served.service.uploads.path, motion_dir, Path.home(), Path.cwd()}
    parts = {part for place in places for part in (str(place), str(place.resolve())) if part != "/"}
    for answer in answers:
        assert not [part for part in parts if part in answer.text], (answer.url, answer.text)
        assert "c3dhash-serve-" not in answer.text
    assert sum(answer.status_code >= 400 for answer in answers) >= 12


def test_no_path_of_a_request_is_looked_at(served, tmp_path, monkeypatch):
    """A folder, a label, a text and a file name of a stranger are compared with names, and ask the disk nothing."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "marker.mp4").write_bytes(b"x")
    asked_for = []
    for name in ("stat", "lstat", "open", "scandir", "listdir", "readlink"):
        real = getattr(os, name)

        def record(path, *args, _real=real, **options):
            asked_for.append(os.fspath(path) if isinstance(path, str | os.PathLike) else "")
            return _real(path, *args, **options)

        monkeypatch.setattr(os, name, record)
    for text in (str(secret), f"{secret}/marker.mp4", "../secret", "move_up/../../../secret", "..", "/"):
        for answer in (
            served.ask("GET", "/api/videos", params={"folder": text}),
            served.ask("GET", "/api/videos", params={"text": text}),
            served.ask("GET", "/api/videos", params={"label": text}),
            served.ask("POST", "/api/query", json={"video_id": 1, "folder": text}),
            served.ask("GET", f"/api/queries/{text.replace('/', '%2F')}"),
            served.ask("POST", "/api/query", files={"file": (text, b"a text that is no video at all", "")}),
        ):
            assert answer.status_code in (200, 404, 422), answer.text
            if answer.status_code == 200:
                assert answer.json().get("total") == 0 or text in ("/", ".."), text
    assert not [path for path in asked_for if "secret" in str(path)]
