"""The pages in a real browser: what people do on them, with a mouse, with the keyboard alone, and on a phone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import DESKTOP, PHONE, Site, Visit, axe_script, chromium, drop, running, texts, until
from videos import H264, numbered_frame, write_frames

from c3dhash.config import EncodeConfig
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.models.runs import Run

WINDOWS = EncodeConfig(precision="fp32", device="cpu", window_seconds=1, stride_seconds=0.5, workers=2)
ATTACK = "<img src=x onerror=alert(1)>.mp4"
TOKEN = "a-token-of-sixteen-signs"
PAGES = ("/", "/browse", "/map", "/duplicates", "/health", "/videos/{long}", "/?video_id={long}", "/?query_id=none", "/login")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, untrained_run: Run, motion_dir: Path) -> Path:
    """Nine short videos of three motions, a longer one, the same under a hostile name, a part of it, a broken one."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(motion_dir / "gallery", folder / "db")
    frames = [numbered_frame(number) for number in range(100)]
    write_frames(folder / "db" / "long.mp4", frames)
    shutil.copy(folder / "db" / "long.mp4", folder / "db" / ATTACK)
    write_frames(folder / "db" / "part.mp4", frames[25:100])
    (folder / "db" / "broken.mp4").write_bytes(b"no video at all")
    write_frames(folder / "db" / "gone.mp4", frames[:30])
    with open_gallery(folder / "gallery", untrained_run, config=WINDOWS) as gallery:
        index_videos(untrained_run, gallery, [folder / "db"], config=WINDOWS)
        (folder / "db" / "gone.mp4").unlink()
        index_videos(untrained_run, gallery, [folder / "db"], config=WINDOWS)
    return folder / "gallery"


@pytest.fixture(scope="module")
def site(gallery: Path, untrained_run: Run) -> Iterator[Site]:
    with running(gallery, untrained_run, encode=WINDOWS) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Callable[..., Visit]]:
    """Open a window: visit(color_scheme="dark", ...); all are checked for complaints, and closed."""
    visits: list[Visit] = []

    def make(place: Site = site, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "no-preference", **options})
        visits.append(Visit(context.new_page(), place))
        return visits[-1]

    yield make
    try:
        for each in visits:
            each.check()
    finally:
        for each in visits:
            each.page.context.close()


@pytest.fixture(scope="module")
def numbers(site: Site) -> dict[str, int]:
    """The numbers of the videos, by the last part of their names."""
    _, videos = site.service.gallery.page(limit=100)
    return {Path(video.video).name: video.id for video in videos}


@pytest.fixture
def query(motion_dir: Path) -> Path:
    return motion_dir / "query" / "move_up" / "move_up_000.mp4"


def names(page: Any) -> list[str]:
    """The names of the videos that are shown."""
    return texts(page, ".cards h3 a, .cards h4 a")


def sources(page: Any, selector: str) -> list[str]:
    return [each.get_attribute("src") for each in page.locator(selector).all()]


def has_pictures(page: Any, selector: str) -> None:
    """Wait until all pictures that fit are there, with pixels in them; there is one at least."""
    until(page, f"() => {{ const all = [...document.querySelectorAll({selector!r})]; all.forEach((each) => each.loading = 'eager');"
          " return all.length > 0 && all.every((each) => each.complete && each.naturalWidth > 0); }")  # fmt: skip


def test_a_dropped_video_finds_others(visit, query):
    one = visit()
    page = one.open("/")
    drop(page, query)
    page.wait_for_url(re.compile(r"/\?query_id="))
    page.locator("#results .card").first.wait_for()
    assert "Similar to move_up_000.mp4" in page.title()
    found = names(page)
    assert len(found) == 10 and texts(page, "#results h2")[0] == "10 videos"
    has_pictures(page, "#results .preview img")
    has_pictures(page, ".clips img")  # pictures of the windows of what was sent
    until(page, "() => document.querySelectorAll('#classes .classes li').length === 3")  # as many as the run knows
    assert {"move_down", "move_up"} < set(texts(page, "#classes .name"))
    page.reload()
    assert names(page) == found  # the address says it all
    other = visit().open(page.url.removeprefix(one.site.url))
    assert names(other) == found  # to somebody else, too


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
    assert "not any more: send the video again" in page.locator("main [role=alert]").first.text_content()
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
    assert page.evaluate("async (address) => (await fetch(address)).headers.get('content-type')", moving) == "image/webp"
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
    wide = [each.bounding_box()["width"] for each in (svg, svg.locator("rect.held").first, svg.locator("rect.held").nth(1))]
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
    page.get_by_label("Label").focus()
    page.get_by_label("Label").select_option("move_up")
    until(page, "() => document.querySelectorAll('#results .card').length === 3")
    assert set(texts(page, "#results .tag")) == {"move_up"} and "label=move_up" in page.url
    assert page.get_by_label("Label").evaluate("(each) => each === document.activeElement")  # it keeps the focus
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
    page.get_by_role("link", name="Search without filters").click()
    assert names(page) == first
    page.get_by_label("Radius, bits").fill("0")
    until(page, "() => document.querySelectorAll('#results .card').length < 10")
    assert set(texts(page, "#results .numbers div:first-child b")) == {"0"}
    page.go_back()
    until(page, "() => document.querySelectorAll('#results .card').length === 10")
    page.get_by_label("Radius, bits").fill("99")  # a code has 16: the browser says so, and nothing is asked
    page.wait_for_timeout(500)
    assert "99" not in page.url


def test_what_is_not_allowed_is_told_beside_the_query(visit, numbers):
    page = visit().open(f"/?video_id={numbers['long.mp4']}&label=nonsense")
    assert "nonsense" in page.locator("#results [role=alert]").text_content()
    assert page.locator("#query h1").is_visible() and page.locator("#filters").is_visible()


def test_more_like_this_is_followed(visit, numbers):
    page = visit().open(f"/?video_id={numbers['move_up_000.mp4']}&top=5")
    hit = names(page)[2]
    page.get_by_role("link", name="More like this").nth(2).click()
    assert page.locator("#query h1 .name").text_content() == hit
    assert hit not in names(page) and len(names(page)) == 5  # as many as before, and not itself


def test_its_clips_are_searched_with(visit, numbers):
    page = visit().open(f"/?video_id={numbers['long.mp4']}")
    has_pictures(page, ".clips img")
    assert page.locator(".clips li").count() == 7
    page.get_by_role("link", name="Search with clip 3, ").click()
    assert page.locator("#query b").first.text_content() == "clip 3" and "clips=2" in page.url
    assert page.locator(".clips a.is-taken").count() == 1
    button = page.locator(".strip button[type=submit]")
    assert button.is_disabled()
    page.get_by_label("Choose clip 1, ").check()
    page.get_by_label("Choose clip 6, ").check()
    assert button.text_content() == "Search with 2 chosen"
    button.click()
    assert page.locator("#query b").first.text_content() == "2 of its 7 clips"
    assert page.locator(".clips a.is-taken").count() == 2
    page.get_by_label("Videos to find").fill("2")  # filters keep the choice
    until(page, "() => document.querySelectorAll('#results .card').length === 2")
    assert page.locator(".clips a.is-taken").count() == 2
    page.get_by_role("link", name="search with all of it").click()
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
    page.get_by_role("button", name="Search this stretch").click()
    assert f"start_seconds={start:g}" in page.url and "of its 7 clips" in page.locator("#query b").first.text_content()
    assert page.get_by_label("Start, in seconds").input_value() != "0"  # marked here, too


def test_what_is_seen_is_told_on_demand(visit, numbers):
    page = visit().open(f"/videos/{numbers['move_up_000.mp4']}")
    page.get_by_role("button", name="What is seen in it?").click()
    page.locator(".classes li").first.wait_for()
    assert len(texts(page, ".classes .name")) == 3 and "%" in texts(page, ".classes .quiet")[0]


def test_the_gallery_is_browsed(visit, numbers):
    page = visit().open("/browse")
    assert len(names(page)) == len(numbers) and ATTACK in names(page)
    page.get_by_label("Name").press_sequentially("move_up")
    until(page, "() => document.querySelectorAll('.card').length === 3")
    assert page.url.endswith("/browse?text=move_up") and page.get_by_label("Name").input_value() == "move_up"
    page.get_by_role("link", name="show all").click()
    page.get_by_label("Folder").select_option(label="move_down (3)")
    until(page, "() => document.querySelectorAll('.card').length === 3")
    page.get_by_label("Folder").select_option("")
    page.get_by_label("missing files only").check()
    until(page, "() => document.querySelectorAll('.card').length === 1")
    assert texts(page, ".card .tag") == ["file missing"] and texts(page, ".card .preview") == ["no picture"]
    page.get_by_label("missing files only").uncheck()
    page.get_by_label("Name").fill("long")
    until(page, "() => document.querySelector('#results h2').textContent.startsWith('1 video')")
    until(page, "() => document.querySelector('.card h3').textContent === 'long.mp4'")
    page.locator(".card h3 a").click()
    assert page.locator("h1").text_content() == "long.mp4" and page.locator(".clips li").count() == 7
    page.get_by_role("link", name="Search with this video").click()
    assert page.locator("#query h1 .name").text_content() == "long.mp4"


def a_point(page: Any) -> tuple[float, float]:
    """Return the middle of a point that is drawn on the map: where the picture has most colour, far from its edge."""
    box = page.locator("canvas").bounding_box()
    picture = cv2.imdecode(np.frombuffer(page.locator("canvas").screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(int)
    colour = np.ptp(picture, axis=2)
    colour[:20], colour[-20:], colour[:, :20], colour[:, -20:] = 0, 0, 0, 0
    inside = cv2.blur(colour.astype(np.float32), (5, 5))
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    assert inside[y, x] > 40, "nothing is drawn"
    return box["x"] + float(x), box["y"] + float(y)


def test_the_map_is_explored(visit, numbers):
    one = visit()
    page = one.open("/map")
    until(page, "() => document.getElementById('map-count').textContent.endsWith(' clips.')")
    assert "move_up" in " ".join(texts(page, "#map-legend button"))
    canvas = page.locator("canvas")
    place = a_point(page)
    canvas.focus()
    page.keyboard.press("ArrowRight")  # to the clip nearest to the middle
    page.locator(".tip img").wait_for()
    has_pictures(page, ".tip img")
    until(page, "() => document.getElementById('status').textContent.includes('.mp4: ')")
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "+", "-"):
        page.keyboard.press(key)
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()
    page.mouse.move(place[0] + 40, place[1] + 40)
    page.mouse.move(*place)
    page.locator(".tip img").wait_for()
    until(page, "() => document.querySelector('.tip p').textContent.includes('.mp4: ')")
    shown = page.locator(".tip p").text_content()
    page.get_by_role("button", name="move_up (").click()
    assert page.get_by_role("button", name="move_up (").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="move_up (").click()
    page.mouse.move(*place)
    page.mouse.click(*place)
    page.wait_for_url(re.compile(r"/videos/\d+$"))
    assert page.locator("h1").text_content() in shown
    page.go_back()
    page.get_by_text("The same as a list").click()
    page.get_by_role("link", name="long.mp4", exact=True).click()
    assert page.locator("h1").text_content() == "long.mp4"


def test_duplicates_are_judged(visit, site, numbers):
    page = visit().open("/duplicates")
    until(page, "() => document.querySelector('.group')")
    assert "part.mp4" not in names(page)
    page.get_by_label("Radius, bits").fill("0")
    until(page, "() => document.getElementById('results').textContent.includes('part.mp4')")
    has_pictures(page, ".group .preview img")
    group = page.locator(".group").filter(has_text="part.mp4")
    assert "long.mp4" in " ".join(names(page)) and ATTACK in names(page)
    same = group.locator(".card").filter(has_text="same bytes")
    assert same.get_by_role("button", name="Not a match").count() == 0  # that cannot be said of it
    card = group.locator(".card[data-pair]").filter(has_text="part.mp4")
    card.get_by_role("button", name="Not a match: ").click()
    card.get_by_text("Noted: no match.").wait_for()
    assert len(site.service.gallery.not_matches()) == 1
    card.get_by_role("button", name="Undo: ").click()
    card.get_by_role("button", name="Not a match: ").wait_for()
    assert len(site.service.gallery.not_matches()) == 0
    card.get_by_role("button", name="Not a match: ").click()
    card.get_by_text("Noted: no match.").wait_for()
    pair = f"[data-pair='{card.get_attribute('data-pair')}']"
    page.reload()
    until(page, "() => document.querySelector('#results h2')")
    assert page.locator(".group").count() > 0 and page.locator(pair).count() == 0
    site.service.gallery.note_not_matches(site.service.gallery.not_matches(), are_matches=True)


def test_health_tells_what_is_wrong(visit):
    page = visit().open("/health")
    until(page, "() => document.querySelectorAll('.bits rect').length === 16")  # one of each bit
    assert "broken.mp4" in page.locator("section[aria-labelledby=failed]").text_content()
    assert "gone.mp4" in page.locator("section[aria-labelledby=missing]").text_content()


def test_a_hostile_name_is_text_everywhere(visit, numbers, query):
    one = visit()
    for path in ("/", "/browse", "/duplicates", f"/videos/{numbers[ATTACK]}", f"/?video_id={numbers[ATTACK]}", "/map"):
        page = one.open(path)
        assert ATTACK in page.content().replace("&lt;", "<").replace("&gt;", ">"), path
        assert page.locator("img[src=x]").count() == 0, path
    drop(page := one.open("/"), query, name=ATTACK)  # as what is sent, in JavaScript
    page.locator("#results .card").first.wait_for()
    assert page.locator("#query h1 .name").text_content() == ATTACK and page.title().startswith(f"Similar to {ATTACK}")
    page = one.open("/map")
    canvas = page.locator("canvas")
    canvas.focus()
    for key in ("ArrowRight",) * 4 + ("ArrowLeft",) * 12 + ("ArrowUp",) * 6 + ("ArrowDown",) * 12:
        page.keyboard.press(key)
    assert page.locator("img[src=x]").count() == 0
    assert one.dialogs == []


def test_nothing_is_wider_than_a_phone(visit, numbers):
    one = visit(viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
    for path in PAGES:
        page = one.open(path.format(long=numbers[ATTACK]))
        until(page, "() => !document.querySelector('[data-refresh]')")
        width = page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= PHONE["width"], f"{path} is {width} px wide"
        small = page.evaluate("""() => [...document.querySelectorAll("button, .button, select, input:not([type=checkbox])")]
            .filter((each) => each.checkVisibility()).map((each) => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
            .filter(([, box]) => box.height < 35 || box.width < 35).map(([text]) => text)""")
        assert small == [], path  # for fingers
    one.expect_complaint("status of 404")


def test_the_keyboard_alone_will_do(visit, numbers):
    """From the top of the page to a hit's page, by Tab, Enter and Space."""
    one = visit()
    page = one.open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("() => document.activeElement.getBoundingClientRect().left >= 0")  # seen when it is reached

    def tab_to(label: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            told = page.evaluate("""() => {
                const each = document.activeElement;
                const label = each.getAttribute("aria-label") ?? each.labels?.[0]?.textContent ?? each.textContent;
                const seen = [each, each.closest(".zone")].some((part) => part && getComputedStyle(part).outlineStyle !== "none");
                return [label.trim(), seen, each.tagName];
            }""")
            assert told[2] == "BODY" or told[1], f"the focus is not seen on {told}"
            if told[0].startswith(label):
                return
        raise AssertionError(f"{label} is not reached")

    page.keyboard.press("Enter")
    tab_to("Drop a video here")
    with page.expect_file_chooser():
        page.keyboard.press("Space")
    tab_to("Play the preview of ")
    page.keyboard.press("Space")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-pressed')") == "true"
    tab_to("Search with ")
    page.keyboard.press("Enter")
    page.locator("#results .card").first.wait_for()
    tab_to("Videos to find")
    page.keyboard.type("3")
    until(page, "() => document.querySelectorAll('#results .card').length === 3 || location.search.includes('3')")
    tab_to("not the same file")
    page.keyboard.press("Space")
    until(page, "() => location.search.includes('not_itself=true')")
    tab_to("Copy the link")
    tab_to("More like this")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("start_seconds="))
    page.locator("#results .card").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, numbers, scheme):
    script = axe_script()
    one = visit(color_scheme=scheme)
    for path in PAGES:
        page = one.open(path.format(long=numbers["long.mp4"]))
        until(page, "() => !document.querySelector('[data-refresh]')")
        page.evaluate(script)
        found = page.evaluate("async () => (await axe.run()).violations")
        serious = [
            f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:120]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], f"{path}, {scheme}"
    one.expect_complaint("status of 404")


def test_pages_work_without_scripts(visit, numbers):
    page = visit(java_script_enabled=False).open(f"/?video_id={numbers['move_up_000.mp4']}")
    page.get_by_label("Label").select_option("move_up")
    page.get_by_label("Label").press("Tab")
    page.locator("#filters button[type=submit]").click()
    assert len(names(page)) == 3
    page.get_by_role("link", name="Browse").click()
    page.get_by_label("Name").fill("long")
    page.get_by_label("Name").press("Enter")
    assert names(page) == ["long.mp4"]


def test_the_token_is_asked_for_once(visit, gallery, untrained_run):
    with running(gallery, untrained_run, encode=WINDOWS, token=TOKEN) as guarded:
        one = visit(guarded)
        page = one.open("/browse?text=long")
        assert page.url.startswith(guarded.url + "/login") and page.get_by_role("navigation").count() == 0
        page.get_by_label("Token").fill("not-the-token-at-all")
        page.keyboard.press("Enter")
        until(page, "() => document.querySelector('.login [role=alert]').textContent === 'this is not the token.'")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url(guarded.url + "/browse?text=long")  # where it was asked for
        assert names(page) == ["long.mp4"]
        page = one.open("/login?next=//example.org/")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url(guarded.url + "/")  # never to another site
        one.expect_complaint("status of 401")
        one.check()
