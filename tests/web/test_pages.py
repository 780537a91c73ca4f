"""What pages say, without a browser: statuses, addresses, text, and that what is in it cannot become anything else."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from servers import ATTACK, TOKEN, WINDOWS, asker

from c3dhash.gallery.indexing import index_videos
from c3dhash.gallery.store import Gallery
from c3dhash.web.answers import FacetsAnswer, FolderAnswer, LabelAnswer
from c3dhash.web.app import create_app
from c3dhash.web.rendering import clock, link, percent, size, static_files, stretch
from c3dhash.web.shown import choices_of

HTML = {"Accept": "text/html"}


@pytest.fixture
def pages(serve) -> Callable[..., Any]:
    """Make a service with pages: pages(token=..., run=None, ...) -> asks it."""

    def make(**options: Any) -> Any:
        service = serve(**options).service
        return asker(create_app(service))

    return make


def alerts(answer: Any) -> list[str]:
    """The texts of the regions that tell of errors."""
    found = re.findall(r'role="alert">([^<]+)</div>', answer.text)
    return [html.unescape(text) for text in found]


def shown(answer: Any) -> list[str]:
    """The names of the videos of a page."""
    return [html.unescape(name) for name in re.findall(r"<h3[^>]*>.*?<a [^>]*>([^<]*)</a>", answer.text)]


@pytest.mark.parametrize(
    "path", ["/", "/browse", "/videos/1", "/?video_id=1", "/map", "/duplicates", "/health", "/login"]
)
def test_pages_are_there_and_have_nothing_inline(pages, path):
    answer = pages()("GET", path)
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    text = answer.text.replace(html.escape(ATTACK), "").replace(
        '<script type="module" src="/static/app.js"></script>', ""
    )
    assert not re.search(r"<style|<script| style=| on\w+=", text)
    assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)
    assert ATTACK not in answer.text
    assert answer.text.count("<h1") == 1 and '<main id="main"' in answer.text and '<html lang="en">' in answer.text


def test_files_beside_pages_are_sent_once(pages):
    ask = pages()
    assert {"app.js", "style.css", "icon.svg"} <= static_files().keys()
    for name in static_files():
        answer = ask("GET", f"/static/{name}")
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-cache"
        again = ask("GET", f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert ask("GET", "/static/app.js").headers["content-type"] == "text/javascript; charset=utf-8"
    for name in ("none.js", "..%2fpages.py", "%2e%2e/pages.py", "../pages.py", "style.css%00"):
        assert ask("GET", f"/static/{name}").status_code == 404


def test_what_is_not_there_is_a_page_too(pages):
    ask = pages()
    for path, status, text in (
        ("/videos/99", 404, "the gallery has no video 99"),
        ("/videos/a", 422, "video_id ('a')"),
        ("/videos/1?clip_offset=500", 404, "offset (500) must be below 7"),
        ("/browse?offset=50", 404, "offset (50) must be below 11"),
        ("/browse?offset=-1", 422, "offset ('-1')"),
        ("/browse?label=nonsense", 422, "nonsense"),
        ("/duplicates?offset=50", 404, "offset (50) must be below 1"),
        ("/duplicates?radius=2000", 422, "radius ('2000')"),
        ("/?video_id=99", 404, "the gallery has no video 99"),
        ("/?query_id=gone", 404, "This link has expired: the latest 100 videos"),
        ("/?query_id=a%20b", 422, "query_id ('a b')"),
        ("/?video_id=1&video_id=2", 422, "'video_id' is there 2 times"),
        ("/?video_id=1&nonsense=2", 422, "nonsense ('2')"),
    ):
        answer = ask("GET", path)
        assert answer.status_code == status and text in " ".join(alerts(answer)), (path, alerts(answer))
        assert answer.headers["content-type"].startswith("text/html")


def test_a_browser_is_shown_a_page_wherever_it_goes(pages, served, monkeypatch, caplog):
    ask = pages(token=TOKEN)
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}):
        assert ask("GET", "/nothing", headers={**HTML, **headers}).status_code == (404 if headers else 303)
    ask = served.ask
    answer = ask("GET", "/nothing", headers=HTML)
    assert (answer.status_code, alerts(answer)) == (404, ["no page has this address."])
    assert "There is nothing here</h1>" in answer.text
    for path, method, status in (("/nothing", "GET", 404), ("/nothing", "POST", 404), ("/browse", "POST", 405)):
        answer = ask(method, path, headers={} if method == "GET" else HTML)
        assert answer.status_code == status and list(answer.json()) == ["error"]
    assert ask("GET", "/api/nothing", headers=HTML).json()["error"].endswith("/openapi.json lists what there is.")

    def fail(*_):
        raise ZeroDivisionError("/secret/place")

    monkeypatch.setattr("c3dhash.web.page_answers.tell_health", fail)
    answer = ask("GET", "/health", headers=HTML)
    assert (answer.status_code, alerts(answer)) == (500, ["the server failed; its log says why."])
    assert "ZeroDivisionError" in caplog.text


def test_all_is_on_some_page(pages, monkeypatch, upload):
    monkeypatch.setattr("c3dhash.web.page_answers.PAGE_VIDEOS", 4)
    monkeypatch.setattr("c3dhash.web.shown.STRIP_CLIPS", 3)
    ask = pages()
    everything = [each["video"] for each in ask("GET", "/api/videos?limit=100").json()["videos"]]

    def walk(path: str, pattern: str) -> list[list[str]]:
        """What fits on a page, and on those behind it."""
        found: list[list[str]] = []
        while path:
            answer = ask("GET", path)
            found.append(re.findall(pattern, answer.text))
            before, after = (re.search(f'rel="{rel}" href="([^"]+)"', answer.text) for rel in ("prev", "next"))
            if before:
                assert re.findall(pattern, ask("GET", html.unescape(before[1])).text) == found[-2]
            assert bool(before) == (len(found) > 1)
            path = html.unescape(after[1]) if after else ""
        return found

    found = walk("/browse", r"<h3[^>]*><a [^>]*>([^<]*)</a>")
    assert [len(each) for each in found] == [4, 4, 3]
    assert [html.unescape(name) for each in found for name in each] == [name.rpartition("/")[2] for name in everything]
    few = walk("/browse?folder=move_up&text=mp4", r"<h3[^>]*><a [^>]*>([^<]*)</a>")
    assert [len(each) for each in few] == [3]
    numbers = [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert walk("/videos/2", r'data-number="(\d+)"') == numbers
    assert walk("/?video_id=2&top=3", r'data-number="(\d+)"') == numbers
    assert re.findall(r'data-number="(\d+)"', ask("GET", "/?video_id=2&clips=4").text) == numbers[1]  # where it is


def test_a_missing_video_is_shown_without_what_its_file_is_needed_for(serve, untrained_run, folder):
    (folder / "db" / "long.mp4").unlink()
    with Gallery.open(folder / "gallery") as gallery:
        index_videos(untrained_run, gallery, [folder / "db"], config=WINDOWS)
    ask = asker(create_app(serve().service))
    answer = ask("GET", "/videos/2", headers=HTML)
    assert answer.status_code == 200 and "Its 7 clips are kept aside" in answer.text and "video_id=2" not in answer.text
    assert "Its file is missing since" in answer.text
    listed = ask("GET", "/browse?missing=true")
    assert shown(listed) == ["long.mp4"] and "/?video_id" not in listed.text


def test_a_stretch_stays_as_it_was_asked_for(pages):
    answer = pages()("GET", "/?video_id=2&start_seconds=1.3&end_seconds=2.71")
    values = re.findall(r'name="(start|end)_seconds" aria-label[^>]*value="([^"]+)"', answer.text)
    assert values == [("start", "1.30"), ("end", "2.71")]
    some = pages()("GET", "/?video_id=2&clips=2&clips=3")  # windows were asked for: theirs
    assert re.findall(r'name="start_seconds" aria-label[^>]*value="([^"]+)"', some.text) == ["1.00"]


def test_several_labels_are_asked_for(pages):
    ask = pages()
    one, two = (ask("GET", f"/browse?{rest}") for rest in ("label=move_up", "label=move_up&label=move_down"))
    assert (len(shown(one)), len(shown(two))) == (3, 6)
    for answer, chosen in ((one, ["move_up"]), (two, ["move_up", "move_down"])):
        assert re.findall(r'<option value="(\w+)" selected>', answer.text) == chosen
        assert answer.text.count('<select name="label"') == len(chosen) + 1  # another can be added
    assert ask("GET", "/?video_id=1&label=move_up&label=move_down").text.count('<select name="label"') == 3


def test_what_a_search_refuses_is_told_beside_the_query(pages):
    ask = pages()
    for rest, text in (
        ("&clips=99", "clips (99) must be some of 0 to 6"),
        ("&start_seconds=50", "start_seconds (50) must be below 4"),
        ("&label=move_up&folder=move_down", "no video with clips that passes"),
        ("&mirror=true", "mirror: of codes in a mirror only those of phash"),
    ):
        answer = ask("GET", f"/?video_id=1{rest}")
        assert answer.status_code == 200 and text in " ".join(alerts(answer))
        assert 'id="filters"' in answer.text and html.escape(ATTACK) in answer.text


def test_labels_and_folders_are_typed_where_counting_them_must_wait(serve):
    service = serve().service
    ask = asker(create_app(service))
    assert '<select name="label">' in ask("GET", "/browse").text
    ends = Event()
    for number in range(4):  # as many as may wait
        service.computed.get(number, 0, lambda *_: ends.wait(20), is_slow=True)
    service.computed.forget("facets")
    try:
        for path in ("/browse", "/?video_id=1"):
            answer = ask("GET", path)
            assert answer.status_code == 200 and '<input name="label"' in answer.text
    finally:
        ends.set()


def test_an_address_is_a_result(pages, upload):
    ask = pages()
    found = ask("POST", "/api/query", **upload).json()
    answer = ask("GET", f"/?query_id={found['query']['query_id']}")
    assert shown(answer) == [hit["video"].rpartition("/")[2] for hit in found["hits"]]
    few = ask("GET", f"/?query_id={found['query']['query_id']}&top=2&label=&radius=")  # a form sends what is empty, too
    assert shown(few) == shown(answer)[:2]
    classified = ask("POST", "/api/classify", **upload, data={"wait_seconds": "0"}).json()
    if "query_id" in classified:
        answer = ask("GET", f"/?query_id={classified['query_id']}")
        assert answer.status_code == 409 and "classified" in alerts(answer)[0]


def test_a_query_is_also_classified_where_that_is_asked(pages, upload):
    ask = pages()
    found = ask("POST", "/api/query", **upload, data={"classify": "true"}).json()
    path = f"/api/queries/{found['query']['query_id']}"
    for _ in range(200):
        told = ask("GET", path).json()
        if not told["are_classes_coming"]:
            break
    alone = ask("POST", "/api/classify", **upload).json()
    assert told["top"][: len(alone["top"])] == alone["top"]
    page = ask("GET", f"/?query_id={found['query']['query_id']}").text
    assert re.findall(r'<meter [^>]*aria-label="([^"]+)"', page) == [each["label"] for each in alone["top"]]
    plain = ask("POST", "/api/query", **upload).json()["query"]["query_id"]
    assert ask("GET", f"/api/queries/{plain}").json()["top"] is None
    refused = pages(run=None)("POST", "/api/query", **upload, data={"classify": "true"})
    assert refused.status_code == 409 and "nothing is recognised" in refused.json()["error"]


def test_without_its_run_a_gallery_is_searched_by_its_own_videos(pages):
    ask = pages(run=None)
    start = ask("GET", "/")
    assert 'id="upload"' not in start.text and "videos of the gallery can be searched with" in start.text
    assert len(shown(ask("GET", "/?video_id=1"))) == 10
    assert "What is seen" not in ask("GET", "/videos/1").text
    assert "not there" in ask("GET", "/health").text


def test_a_browser_without_the_token_is_led_to_the_page_that_asks_for_it(pages):
    ask = pages(token=TOKEN)
    answer = ask("GET", "/?video_id=1&top=2", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2F%3Fvideo_id%3D1%26top%3D2")
    for path in ("/login", "/static/app.js"):
        assert ask("GET", path).status_code == 200
    assert "gallery</span>" not in ask("GET", "/login").text  # what it is called is nobody's business
    assert ask("GET", "/browse").status_code == 401
    assert "No token is needed" in pages()("GET", "/login").text


def test_folders_are_chosen_with_what_is_below_them():
    facets = FacetsAnswer(
        labels=[LabelAnswer(label="a", num_videos=1), LabelAnswer(label=None, num_videos=5)],
        folders=[FolderAnswer(folder=name, num_videos=num) for name, num in (("", 1), ("x/y", 2), ("x/z/w", 3))],
    )
    choices = choices_of(facets)
    assert choices.labels == [("a", 1)]
    assert choices.folders == [("x", 5), ("x/y", 2), ("x/z", 3), ("x/z/w", 3)]


def test_addresses_hold_what_is_asked_and_no_more():
    assert link("/") == "/"
    assert link("/", {"a": [1, 2], "b": None, "c": False, "d": ""}, e=True, f="<&>", g=1.5) == (
        "/?a=1&a=2&e=true&f=%3C%26%3E&g=1.500"
    )
    assert link("/", {"a": 1}, a=2) == "/?a=2"


def test_numbers_are_for_people():
    assert [clock(each) for each in (0, 59.94, 61, 3599.6, 3725)] == ["0.0", "59.9", "1:01", "1:00:00", "1:02:05"]
    assert stretch(1, 2.25) == "1.0–2.2 s" and stretch(1.001, 1.05) == "1.00–1.05 s"
    assert stretch(58.2, 67) == "0:58–1:07" and stretch(61, 125) == "1:01–2:05"
    assert [size(each) for each in (0, 999, 1000, 573_000, 1.2e9)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "573 kB",
        "1.2 GB",
    ]
    assert [percent(each) for each in (0, 0.004, 0.5, 0.996, 1)] == ["0 %", "< 1 %", "50 %", "> 99 %", "100 %"]
