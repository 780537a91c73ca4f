"""Windows, with the few functions of OpenCV that draw them replaced: the headless build has none."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from c3dhash.errors import UsageError
from c3dhash.report.screen import Screen, check_screen

PICTURE = np.zeros((4, 6, 3), np.uint8)


@pytest.fixture
def windows(monkeypatch):
    """The calls that were made, and the key that is pressed next."""
    calls, keys = [], []
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr(cv2, "namedWindow", lambda title, flags: calls.append(("open", title)))
    monkeypatch.setattr(cv2, "destroyWindow", lambda title: calls.append(("close", title)))
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: calls.append(("show", picture[0, 0].tolist())))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, flag: 1.0)

    def wait(milliseconds):
        time.sleep(milliseconds / 1000)
        return keys.pop() if keys else -1

    monkeypatch.setattr(cv2, "waitKey", wait)
    return calls, keys


def test_pictures_are_shown_in_their_colours_and_in_time(windows):
    calls, keys = windows
    picture = PICTURE.copy()
    picture[..., 0] = 200  # red
    with Screen("a.mp4") as screen:
        started = time.monotonic()
        assert screen.show(picture, until_seconds=0.05)
        assert screen.show(picture, until_seconds=0.1)
        assert time.monotonic() - started >= 0.09
        keys.append(ord("q"))
        assert not screen.show(picture)
    assert ("show", [0, 0, 200]) in calls, "OpenCV's order is blue, green, red"
    assert calls[-1] == ("close", "a.mp4")


def test_a_closed_window_ends_it(windows, monkeypatch):
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, flag: 0.0)
    with Screen("a.mp4") as screen:
        assert not screen.show(PICTURE)


def test_no_windows(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="--show needs a screen, and here is none"):
        check_screen()
    monkeypatch.setenv("DISPLAY", ":7")

    def refuse(*_):
        raise cv2.error("The function is not implemented.")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(UsageError, match="--show needs the build of OpenCV with windows"):
        Screen("a.mp4")
