"""The pages of the gallery in a real browser: the list, a video, the map, duplicates, health."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
from browsers import follow, has_pictures, names, texts, until
from servers import ATTACK


def test_the_gallery_is_browsed(visit, numbers):
    page = visit().open("/browse")
    assert len(names(page)) == len(numbers) and ATTACK in names(page)
    page.get_by_label("Name").press_sequentially("move_up")
    until(page, "() => document.querySelectorAll('.card').length === 3")
    assert page.url.endswith("/browse?text=move_up") and page.get_by_label("Name").input_value() == "move_up"
    follow(page.get_by_role("link", name="show all"))
    page.get_by_label("Folder").select_option(label="move_down (3)")
    until(page, "() => document.querySelectorAll('.card').length === 3")
    page.get_by_label("Folder").select_option("")
    page.get_by_label("Label").first.select_option("move_up")
    until(page, "() => document.querySelector('.card h3').textContent === 'move_up_000.mp4'")
    page.get_by_label("Label").first.select_option("")
    page.get_by_label("missing files only").check()
    until(page, "() => document.querySelectorAll('.card').length === 1")
    assert texts(page, ".card .tag") == ["file missing"] and texts(page, ".card .preview") == ["no picture"]
    page.get_by_label("missing files only").uncheck()
    page.get_by_label("Name").fill("long")
    until(page, "() => document.querySelector('#results h2').textContent.startsWith('1 video')")
    until(page, "() => document.querySelector('.card h3').textContent === 'long.mp4'")
    follow(page.locator(".card h3 a"))
    assert page.locator("h1").text_content() == "long.mp4" and page.locator(".clips li").count() == 7
    follow(page.get_by_role("link", name="Search with this video"))
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
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp") * 8:  # to one of several that have one code
        if "one of " in page.locator(".tip p").text_content():
            break
        page.keyboard.press(key)
    picture = page.locator(".tip img").get_attribute("src")
    page.keyboard.press("Space")  # to the next of them
    assert page.locator(".tip img").get_attribute("src") != picture
    assert "one of " in page.locator(".tip p").text_content()
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
    follow(page.get_by_role("link", name="long.mp4", exact=True))
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


def test_what_is_seen_is_told_on_demand(visit, numbers):
    page = visit().open(f"/videos/{numbers['move_up_000.mp4']}")
    page.get_by_role("button", name="What is seen in it?").click()
    page.locator(".classes li").first.wait_for()
    assert len(texts(page, ".classes .name")) == 3 and "%" in texts(page, ".classes .quiet")[0]
