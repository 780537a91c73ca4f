"""Pictures in a window, where OpenCV has windows: the headless build, which c3dhash needs no more than, has none."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

import cv2
import numpy as np

from c3dhash.errors import UsageError

CLOSING_KEYS = {ord("q"), 27}  # Escape
PROBE = "c3dhash"  # the title of a window that is closed at once


def check_screen() -> None:
    """Make sure that there is a screen, and a build of OpenCV that has windows.

    Raises:
        UsageError: there is not.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UsageError("--show needs a screen, and here is none: write an --overlay instead.")
    try:
        cv2.namedWindow(PROBE, cv2.WINDOW_NORMAL)
        cv2.destroyWindow(PROBE)
    except cv2.error as error:
        raise UsageError(
            "--show needs the build of OpenCV with windows: pip uninstall opencv-contrib-python-headless, then pip "
            "install opencv-contrib-python; or write an --overlay."
        ) from error


class Screen:
    """A window; closed by q, Escape, or its cross.

    Raises:
        UsageError: as of `check_screen`.
    """

    def __init__(self, title: str) -> None:
        check_screen()
        self._title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        self._started: float | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cv2.destroyWindow(self._title)

    def show(self, picture: np.ndarray, *, until_seconds: float | None = None) -> bool:
        """Show a picture, uint8 [H, W, 3] RGB.

        Args:
            until_seconds: from the first picture on; waits so long. None goes on at once.
        Returns:
            False where the user closed the window.
        """
        cv2.imshow(self._title, picture[..., ::-1])
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        left = 0.0 if until_seconds is None else self._started + until_seconds - now
        key = cv2.waitKey(max(1, round(1000 * left)))
        return key & 0xFF not in CLOSING_KEYS and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
