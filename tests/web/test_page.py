"""The page of a search in a real browser: what people do on it."""

from __future__ import annotations

import re
from pathlib import Path
from time import sleep

import pytest
from browsers import drop, follow, has_pictures, names, texts, until


@pytest.fixture
def query(motion_dir: Path) -> Path:
    return motion_dir / "query" / "move_up" / "move_up_000.mp4"


@pytest.fixture
def long_video(pages_gallery: Path) -> Path:
    return pages_gallery.parent / "db" / "long.mp4"


def test_a_dropped_video_finds_others(visit, query):
    one = visit()
    page = one.open("/")
    drop(page, query)
    page.locator("#results .card").first.wait_for()
    assert "Similar to move_up_000.mp4" in page.title()
    found = names(page)
    assert len(found) == 10 and texts(page, "#results h2")[0] == "10 videos"
    has_pictures(page, "#results .preview img")
    until(page, "() => document.querySelectorAll('#classes .classes li').length === 3")  # as many as the run knows
    assert {"move_down", "move_up"} < set(texts(page, "#classes .name"))
    page.reload()
    assert names(page) == found  # the address says it all
    other = visit().open(page.url.removeprefix(one.site.url))
    assert names(other) == found  # to somebody else, too


def test_pictures_of_what_was_sent_come_when_they_are_made(visit, site, long_video):
    page = visit().open("/")
    site.service.strip_painters.submit(lambda: sleep(2))  # later than hits
    drop(page, long_video)
    page.locator("#results .card").first.wait_for()
    assert page.locator(".clips li").count() == 7 and page.locator(".clips img").count() == 0
    has_pictures(page, ".clips img")
    until(page, "() => document.querySelectorAll('.clips img').length === 7")


def test_a_video_is_chosen_and_cancelled(visit, query):
    page = visit().open("/")
    page.route("**/api/query", lambda route: None)  # the server is slow
    page.locator("#upload input[type=file]").set_input_files(query)
    page.locator(".sending").wait_for(state="visible")
    assert page.locator(".sending .name").text_content() == "move_up_000.mp4"
    page.get_by_role("button", name="Cancel").click()
    page.locator(".sending").wait_for(state="hidden")
    page.unroute("**/api/query")
    page.locator("#upload input[type=file]").set_input_files(query)
    page.locator("#results .card").first.wait_for()


def test_progress_is_told_while_a_video_is_encoded(visit, site, query, monkeypatch):
    from c3dhash.web.remembered import Remembered

    page = visit().open("/")
    monkeypatch.setattr(Remembered, "status", property(lambda _: "encoding"))
    drop(page, query)
    page.locator(".progress progress").wait_for()
    assert "Looking at move_up_000.mp4" in page.locator("h1").text_content()
    assert re.search(r"\d+ of \d+ windows? encoded", page.locator(".progress label").text_content())
    monkeypatch.undo()
    page.locator("#results .card").first.wait_for()  # the page asks again by itself


def test_a_bad_file_is_told_in_one_line(visit, tmp_path):
    one = visit()
    page = one.open("/")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    drop(page, bad)
    until(page, "() => document.getElementById('upload-alert').textContent !== ''")
    text = page.locator("#upload-alert").text_content()
    assert text.startswith("video 'bad.mp4' is") and "\n" not in text.strip() and str(tmp_path) not in text
    assert page.locator("#upload-alert").get_attribute("role") == "alert"
    assert page.url == one.site.url + "/"
    page.evaluate("() => { document.getElementById('upload').dataset.maxBytes = '5'; }")
    drop(page, bad)  # too large: it is not even sent
    until(page, "() => document.getElementById('upload-alert').textContent.startsWith('the file is larger than')")
    one.expect_complaint("status of 422")


def test_an_expired_query_says_so(visit):
    one = visit()
    page = one.open("/?query_id=gone")
    assert "This link has expired" in page.locator("main [role=alert]:not(:empty)").first.text_content()
    assert page.locator("#upload").is_visible()  # here
    one.expect_complaint("status of 404")


def test_a_preview_plays(visit, numbers):
    page = visit().open(f"/?video_id={numbers['long.mp4']}")
    image = page.locator("#results .card img").first
    still = image.get_attribute("src")
    assert "kind=still" in still
    page.locator("#results .card").first.hover()
    moving = image.get_attribute("src")
    assert moving != still and "kind=still" not in moving
    has_pictures(page, "#results .card:first-child img")
    assert (
        page.evaluate("async (address) => (await fetch(address)).headers.get('content-type')", moving) == "image/webp"
    )
    page.mouse.move(2, 2)
    assert image.get_attribute("src") == still
    button = page.get_by_role("button", name="Play the preview").first
    button.click()
    page.mouse.move(2, 2)
    page.locator("h1").first.click()
    assert image.get_attribute("src") == moving and button.get_attribute("aria-pressed") == "true"
    button.click()
    page.mouse.move(2, 2)
    page.locator("h1").first.click()
    assert image.get_attribute("src") == still


def test_what_agrees_is_drawn_on_both_timelines(visit, numbers):
    page = visit().open(f"/?video_id={numbers['long.mp4']}&radius=0&top=2")
    svg = page.locator("#results .agreement svg").first
    assert svg.get_attribute("aria-label").startswith("0.0–4.0 s of the query agree with 0.0–4.0 s of the video")
    wide = [
        each.bounding_box()["width"] for each in (svg, svg.locator("rect.held").first, svg.locator("rect.held").nth(1))
    ]
    assert wide[0] > 100 and wide[1] == wide[2] == wide[0]  # all of one is all of the other


def test_less_motion_is_respected(visit, numbers):
    page = visit(reduced_motion="reduce").open(f"/?video_id={numbers['long.mp4']}")
    image = page.locator("#results .card img").first
    page.locator("#results .card").first.hover()
    assert "kind=still" in image.get_attribute("src")
    page.get_by_role("button", name="Play the preview").first.click()
    assert "kind=still" not in image.get_attribute("src")


def test_filters_search_again(visit, numbers):
    page = visit().open(f"/?video_id={numbers['move_up_000.mp4']}")
    first = names(page)
    page.get_by_label("Label").first.focus()
    page.get_by_label("Label").first.select_option("move_up")
    until(page, "() => document.querySelectorAll('#results .card').length === 3")
    assert set(texts(page, "#results .tag")) == {"move_up"} and "label=move_up" in page.url
    assert page.get_by_label("Label").first.evaluate("(each) => each === document.activeElement")  # it keeps the focus
    until(page, "() => document.getElementById('status').textContent === '3 videos found'")
    page.get_by_label("not the same file").check()
    until(page, "() => document.querySelectorAll('#results .card').length === 2")
    assert "move_up_000.mp4" not in names(page)
    page.get_by_label("Videos to find").fill("1")
    until(page, "() => document.querySelectorAll('#results .card').length === 1")
    page.reload()
    assert len(names(page)) == 1 and page.get_by_label("not the same file").is_checked()
    page.get_by_label("Folder").select_option(label="move_down (3)")
    until(page, "() => document.querySelector('#results [role=alert]')")  # there is none of both
    follow(page.get_by_role("link", name="Search without filters"))
    assert names(page) == first
    page.get_by_label("Radius, bits").fill("0")
    until(page, "() => document.querySelectorAll('#results .card').length < 10")
    assert set(texts(page, "#results .numbers div:first-child b")) == {"0"}
    page.go_back()
    until(page, "() => document.querySelectorAll('#results .card').length === 10")
    page.get_by_label("Radius, bits").fill("99")  # a code has 16: the browser says so, and nothing is asked
    page.wait_for_timeout(500)
    assert "radius=99" not in page.url


def test_labels_are_added_and_taken_away(visit, numbers):
    page = visit().open(f"/?video_id={numbers['move_up_000.mp4']}")
    page.get_by_label("Label").first.select_option("move_up")
    until(page, "() => document.querySelectorAll('#results .card').length === 3")
    page.get_by_label("or another label").focus()
    page.get_by_label("or another label").select_option("move_down")
    until(page, "() => document.querySelectorAll('#results .card').length === 6")
    assert set(texts(page, "#results .tag")) == {"move_up", "move_down"}
    selects = page.locator("select[name=label]")
    assert [each.input_value() for each in selects.all()] == ["move_up", "move_down", ""]
    assert selects.nth(1).evaluate("(each) => each === document.activeElement")  # the one that was changed
    selects.nth(0).select_option("")
    until(page, "() => document.querySelectorAll('#results .card').length === 3")
    assert [each.input_value() for each in selects.all()] == ["move_down", ""]
    assert page.url.endswith("label=move_down&top=10")


def test_a_server_that_is_gone_is_told(visit, numbers):
    one = visit()
    page = one.open(f"/?video_id={numbers['long.mp4']}")
    page.route("**/?video_id=*", lambda route: route.abort())
    page.get_by_label("not the same file").check()
    until(page, "() => document.getElementById('problem').textContent.startsWith('The server does not answer')")
    assert page.locator("#problem").is_visible()
    page.unroute("**/?video_id=*")
    page.get_by_label("not the same file").uncheck()
    until(page, "() => document.getElementById('problem').textContent === ''")
    assert not page.locator("#problem").is_visible()
    one.expect_complaint("ERR_FAILED")


def test_a_full_server_is_asked_again(visit, site, query):
    one = visit()
    page = one.open("/")
    places = [site.service.uploads.take_place(retry_seconds=1) for _ in range(site.service.config.max_uploads)]
    try:
        drop(page, query)
        until(page, "() => document.getElementById('upload-alert').textContent.endsWith('tried again by itself.')")
        assert "uploads are under way" in page.locator("#upload-alert").text_content()
    finally:
        for place in places:
            place.give_back()
    page.locator("#results .card").first.wait_for()
    assert "Similar to move_up_000.mp4" in page.title()
    one.expect_complaint("status of 429")


def test_the_link_is_copied(visit, numbers):
    one = visit(permissions=["clipboard-read", "clipboard-write"])
    page = one.open(f"/?video_id={numbers['long.mp4']}")
    page.get_by_label("Videos to find").fill("2")
    until(page, "() => document.querySelectorAll('#results .card').length === 2")
    page.get_by_role("button", name="Copy the link").click()
    page.get_by_role("button", name="Copied").wait_for()
    address = page.evaluate("() => navigator.clipboard.readText()")
    assert address.startswith(one.site.url + "/?")
    other = visit().open(address.removeprefix(one.site.url))
    assert names(other) == names(page)


def test_the_link_is_shown_where_it_cannot_be_copied(visit, numbers):
    page = visit().open(f"/?video_id={numbers['long.mp4']}&top=3")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no https')); }")
    page.get_by_role("button", name="Copy the link").click()
    link = page.get_by_label("Link to this result")
    assert link.input_value() == page.url and link.evaluate("(each) => each === document.activeElement")


def test_what_is_not_allowed_is_told_beside_the_query(visit, numbers):
    page = visit().open(f"/?video_id={numbers['long.mp4']}&label=nonsense")
    assert "nonsense" in page.locator("#results [role=alert]").text_content()
    assert page.locator("#query h1").is_visible() and page.locator("#filters").is_visible()


def test_more_like_this_is_followed(visit, numbers):
    page = visit().open(f"/?video_id={numbers['move_up_000.mp4']}&top=5")
    hit = names(page)[2]
    follow(page.get_by_role("link", name="More like this").nth(2))
    assert page.locator("#query h1 .name").text_content() == hit
    assert hit not in names(page) and len(names(page)) == 5  # as many as before, and not itself


def test_its_clips_are_searched_with(visit, numbers):
    page = visit().open(f"/?video_id={numbers['long.mp4']}")
    has_pictures(page, ".clips img")
    assert page.locator(".clips li").count() == 7
    follow(page.get_by_role("link", name="Search with clip 3, "))
    assert page.locator("#query b").first.text_content() == "clip 3" and "clips=2" in page.url
    assert page.locator(".clips a.is-taken").count() == 1
    button = page.locator(".strip button[type=submit]")
    assert button.is_disabled()
    page.get_by_label("Choose clip 1, ").check()
    page.get_by_label("Choose clip 6, ").check()
    assert button.text_content() == "Search with 2 chosen"
    follow(button)
    assert page.locator("#query b").first.text_content() == "2 of its 7 clips"
    assert page.locator(".clips a.is-taken").count() == 2
    page.get_by_label("Videos to find").fill("2")  # filters keep the choice
    until(page, "() => document.querySelectorAll('#results .card').length === 2")
    assert page.locator(".clips a.is-taken").count() == 2
    follow(page.get_by_role("link", name="search with all of it"))
    assert "clips" not in page.url and len(names(page)) == 2


def test_a_stretch_is_marked_on_the_timeline(visit, numbers):
    page = visit().open(f"/videos/{numbers['long.mp4']}")
    box = page.locator(".track").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.25 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], y, steps=4)
    page.mouse.up()
    start, end = (float(page.get_by_label(name).input_value()) for name in ("Start, in seconds", "End, in seconds"))
    assert abs(start - 1) < 0.15 and abs(end - 2) < 0.15
    has_pictures(page, ".marked img")  # what is marked is shown
    page.get_by_label("End, in seconds").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert float(page.get_by_label("End, in seconds").input_value()) > end + 0.2
    follow(page.get_by_role("button", name="Search this stretch"))
    assert f"start_seconds={start:g}" in page.url and "of its 7 clips" in page.locator("#query b").first.text_content()
    assert page.get_by_label("Start, in seconds").input_value() != "0"  # marked here, too
