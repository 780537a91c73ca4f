"""All pages in a real browser: for whom they work, and what hostile names and strangers do to them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browsers import PHONE, axe_script, drop, follow, names, running, until
from servers import ATTACK, TOKEN

PAGES = (
    "/", "/browse", "/map", "/duplicates", "/health", "/videos/{long}", "/?video_id={long}", "/?query_id=none",
    "/login",
)  # fmt: skip
SMALL = """() => [...document.querySelectorAll("button, .button, select, input:not([type=checkbox])")]
    .filter((each) => each.checkVisibility())
    .filter((each) => each.getBoundingClientRect().height < 43 || each.getBoundingClientRect().width < 43)
    .map((each) => each.outerHTML.slice(0, 80))"""
FOCUSED = """() => {
    const each = document.activeElement;
    const label = each.getAttribute("aria-label") ?? each.labels?.[0]?.textContent ?? each.textContent;
    const seen = [each, each.closest(".zone")].some((part) => part && getComputedStyle(part).outlineStyle !== "none");
    return [label.trim(), seen, each.tagName];
}"""


@pytest.fixture
def query(motion_dir: Path) -> Path:
    return motion_dir / "query" / "move_up" / "move_up_000.mp4"


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
        small = page.evaluate(SMALL)
        assert small == [], path  # for fingers
    one.expect_complaint("status of 404")


def test_the_keyboard_alone_will_do(visit, numbers):
    """From the top of the page to a hit's page, by Tab, Enter and Space."""
    one = visit()
    choosers: list[Any] = []
    one.page.on("filechooser", lambda chooser: choosers.append(chooser))
    page = one.open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("() => document.activeElement.getBoundingClientRect().left >= 0")  # seen when it is reached

    def tab_to(label: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            told = page.evaluate(FOCUSED)
            assert told[2] == "BODY" or told[1], f"the focus is not seen on {told}"
            if told[0].startswith(label):
                return
        raise AssertionError(f"{label} is not reached")

    page.keyboard.press("Enter")
    tab_to("Drop a video here")
    page.keyboard.press("Space")
    for _ in range(100):
        if choosers:
            break
        page.wait_for_timeout(50)
    assert choosers  # the window in which a file is chosen
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
        until(page, "() => !document.querySelector('[data-refresh], #map-legend:empty')")
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
    follow(page.locator("#filters button[type=submit]"))
    assert len(names(page)) == 3
    follow(page.get_by_role("link", name="Browse"))
    page.get_by_label("Name").fill("long")
    with page.expect_navigation():
        page.get_by_label("Name").press("Enter")
    assert names(page) == ["long.mp4"]


def test_the_token_is_asked_for_once(visit, pages_gallery, untrained_run):
    with running(pages_gallery, untrained_run, token=TOKEN) as guarded:
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
