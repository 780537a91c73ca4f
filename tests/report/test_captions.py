from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest

from c3dhash.report import captions
from c3dhash.report.captions import draw_caption, draw_person


def changed(picture: np.ndarray, label: str, share: float = 0.87) -> np.ndarray:
    """Return where a caption changed a picture: bool [H, W]."""
    before = picture.copy()
    draw_caption(picture, label, share=share)
    return (picture != before).any(axis=2)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_it_is_readable_on_any_ground(shade):
    picture = np.full((240, 320, 3), shade, np.uint8)
    place = changed(picture, "archery")
    rows, columns = np.flatnonzero(place.any(axis=1)), np.flatnonzero(place.any(axis=0))
    if shade:
        assert rows[0] > 160 and columns[-1] < 200, "in the lower left"
    inside = picture[200:234, 8:100]
    assert inside.max() > 250, "white letters"
    assert np.median(inside) < 0.4 * 255, "on a dark ground"
    assert (picture[:150] == shade).all()


@pytest.mark.parametrize("height, width", [(32, 48), (120, 160), (720, 1280), (1280, 720)])
def test_it_is_as_large_as_the_picture_asks_for(height, width):
    place = changed(np.full((height, width, 3), 255, np.uint8), "run")
    rows = np.flatnonzero(place.any(axis=1))
    assert 0.05 < (rows[-1] - rows[0] + 1) / min(height, width) < 0.7
    assert rows[-1] < height - 1 or height < 40


def test_what_is_too_long_is_cut():
    picture = np.full((120, 160, 3), 255, np.uint8)
    place = changed(picture, "someone is presenting a very long name of a class")
    columns = np.flatnonzero(place.any(axis=0))
    assert 100 < columns[-1] < 160


def test_the_bar_says_how_sure_it_is():
    widths = []
    for share in (0.25, 1.0):
        picture = np.full((240, 320, 3), 128, np.uint8)
        draw_caption(picture, "climbing stairs", share=share)
        bottom = np.flatnonzero((picture != 128).any(axis=(1, 2)))[-1]
        widths.append(int((picture[bottom] > 250).all(axis=1).sum()))
    assert widths[0] == pytest.approx(widths[1] / 4, abs=5)


def test_letters_outside_ascii_are_drawn():
    pictures = []
    for text in ("Fußball", "Fu", "прыжок", "□□□□□□"):
        picture = np.full((240, 320, 3), 255, np.uint8)
        draw_caption(picture, text, share=0.5)
        pictures.append(picture)
    assert all((one != other).any() for one, other in itertools.pairwise(pictures))


def test_a_script_without_a_font_is_said(monkeypatch, caplog):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: ["gone.ttf"])
    captions._font_of.cache_clear()
    captions._patch.cache_clear()
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        draw_caption(np.zeros((240, 320, 3), np.uint8), "跳", share=0.5)
        draw_caption(np.zeros((240, 320, 3), np.uint8), "跳", share=0.61)
    captions._font_of.cache_clear()
    assert caplog.text.count("no font on this machine has all of '跳'") == 1


def test_another_font_is_taken_where_it_has_the_letters(monkeypatch):
    from matplotlib import font_manager

    other = font_manager.findfont("DejaVu Serif")
    own = font_manager.findfont("DejaVu Sans")
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [other])
    monkeypatch.setattr("matplotlib.font_manager.findfont", lambda name: "gone.ttf")
    captions._font_of.cache_clear()
    assert captions._font_of("ab") == other != own
    captions._font_of.cache_clear()


def test_a_person_has_a_box_and_what_is_seen_above_it():
    picture = np.full((240, 320, 3), 128, np.uint8)
    draw_person(picture, np.array([100.0, 80, 160, 200]), [("walk", 0.8)], number=1, name=str(1), taken=[])
    color = captions.COLORS[0]
    for row, column in ((80, 130), (200, 130), (140, 100), (140, 160)):
        assert picture[row, column].tolist() == list(color), "four sides"
    assert (picture[100:190, 110:150] == 128).all(), "the person stays as it is"
    place = (picture != 128).any(axis=2)
    rows = np.flatnonzero(place[:79].any(axis=1))
    assert rows[-1] == 78 or rows[-1] == 79
    text = picture[rows[0] : 79, 100:160].reshape(-1, 3).astype(int)
    assert (np.abs(text - color).sum(axis=1) < 12).any(), "letters of the same colour"
    assert np.median(text.mean(axis=1)) < 70, "on a dark ground"


def test_where_there_is_no_room_it_is_inside():
    picture = np.full((240, 320, 3), 128, np.uint8)
    draw_person(
        picture,
        np.array([250.0, 2, 330, 230]),
        [("a long label of what is done", 0.8)],
        number=2,
        name=str(2),
        taken=[],
    )
    assert (picture[10:16, 200:310] != 128).any(), "moved to the left, below the upper edge"
    assert (picture[100, 250] == captions.COLORS[1]).all()
    assert (picture[120, 319] == captions.COLORS[1]).all(), "cut at the edge"


def test_every_line_has_its_own_share_and_every_person_a_colour():
    lines = [("walk", 0.9), ("talk", 0.6), ("hold", 0.5)]
    heights, colors = [], set()
    for number in range(1, 4):
        picture = np.full((240, 320, 3), 128, np.uint8)
        draw_person(
            picture, np.array([100.0, 120, 160, 200]), lines[:number], number=number, name=str(number), taken=[]
        )
        heights.append(int((picture[:119] != 128).any(axis=(1, 2)).sum()))
        colors.add(tuple(picture[200, 130].tolist()))
    assert heights[1] > 1.8 * heights[0] and heights[2] > 2.7 * heights[0] and len(colors) == 3


@pytest.mark.parametrize("box", [[-50, -50, -10, -10], [0, 0, 0, 0], [1e6, 1e6, 2e6, 2e6], [310, 230, 319, 239]])
def test_boxes_that_are_hardly_there(box):
    picture = np.full((240, 320, 3), 128, np.uint8)
    draw_person(picture, np.array(box, float), [("walk", 0.8)], number=99, name=str(99), taken=[])
    assert picture.shape == (240, 320, 3)


def test_texts_of_neighbours_do_not_cover_each_other():
    """Two people side by side, closer than their labels are wide, and a third; as many letters as by themselves."""
    boxes = [[100.0, 80, 130, 200], [120, 85, 150, 200], [140, 80, 170, 200]]
    taken: list[tuple[int, int, int, int]] = []
    picture = np.full((240, 320, 3), 128, np.uint8)
    for number, box in enumerate(boxes, start=1):
        draw_person(picture, np.array(box), [("shake hands", 0.8)], number=number, name=str(number), taken=taken)
    assert len(taken) == 3
    for (x0, y0, x1, y1), (left, top, right, bottom) in itertools.combinations(taken, 2):
        assert x1 <= left or right <= x0 or y1 <= top or bottom <= y0
    for number, (x0, y0, x1, y1) in enumerate(taken):
        letters = np.abs(picture[y0:y1, x0:x1].astype(int) - captions.COLORS[number]).sum(axis=2) < 12
        assert letters.sum() > 100, "readable"
