"""Two pictures -> how everything moves from the one to the other, in px; and in 8 bits, as networks read it.

px a frame   -20   0   20
stored         0  128 255      what moves further is cut off
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from c3dhash.errors import MissingExtraError, UsageError

METHODS = ("dis", "farneback", "tvl1")
BOUND_PX = 20.0  # Carreira and Zisserman, CVPR 2017: what their I3D reads; Wang et al., ECCV 2016: TSN's

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_flow(method: str) -> Flow:
    """Return a function of two grey pictures, uint8 [H, W]: float32 [H, W, 2], px to the right and down.

    Args:
        method: dis, Dense Inverse Search; farneback; or tvl1, which the published flow networks were trained on, and
            which is in the contributed part of OpenCV.
    Raises:
        UsageError: another name.
        MissingExtraError: tvl1, without that part.
    Source:
        Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016; Farneback, Two-Frame Motion Estimation
        Based on Polynomial Expansion, SCIA 2003; Zach et al., A Duality Based Approach for Realtime TV-L1 Optical Flow,
        DAGM 2007; all three as OpenCV has them, with its settings (DIS: medium; Farneback: those of its example).
    """
    if method == "dis":
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return lambda before, after: search.calc(before, after, None)  # type: ignore[call-overload]
    if method == "farneback":
        return lambda before, after: cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
    if method == "tvl1":
        if not hasattr(cv2, "optflow"):
            raise MissingExtraError(
                "method ('tvl1') is in OpenCV's contributed part, which this build lacks: pip uninstall what pip list "
                "shows of opencv, then pip install opencv-contrib-python-headless; or take dis."
            )
        solver = cv2.optflow.DualTVL1OpticalFlow.create()
        return lambda before, after: solver.calc(before, after, None)  # type: ignore[call-overload]
    raise UsageError(f"method ({method!r}) must be one of {', '.join(METHODS)}.")


def grey(picture: np.ndarray) -> np.ndarray:
    """Return what flow is computed of: a picture, uint8 [H, W, 3] RGB, in grey, uint8 [H, W]."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def stored_flow(flow: np.ndarray) -> np.ndarray:
    """Return flow, float [..., 2] px, cut off and in 8 bits: uint8 [..., 2]."""
    share = (np.clip(flow, -BOUND_PX, BOUND_PX) + BOUND_PX) / (2 * BOUND_PX)
    return np.asarray(np.floor(share * 255 + 0.5).astype(np.uint8))  # no motion, 127.5, becomes 128


def flow_of(frames: np.ndarray) -> np.ndarray:
    """Return the flow (dis) from each frame to the next, as it is stored: uint8 [T + 1, H, W, 3] -> [T, H, W, 2]."""
    compute, greys = make_flow("dis"), [grey(frame) for frame in frames]
    return np.stack([stored_flow(compute(*pair)) for pair in pairwise(greys)])


def flow_picture(flow: np.ndarray) -> np.ndarray:
    """Draw flow, uint8 [H, W, 2] as it is stored: its direction is the hue, its speed the brightness.

    Returns:
        uint8 [H, W, 3] RGB: to the right red, down yellow-green, to the left cyan, up violet; black where nothing
        moves, and at full brightness from a quarter of BOUND_PX on.
    """
    right, down = np.moveaxis((flow.astype(np.float32) - 128) / 127 * BOUND_PX, -1, 0)
    speed, degrees = cv2.cartToPolar(right, down, angleInDegrees=True)
    brightness = np.clip(speed / (BOUND_PX / 4), 0, 1) * 255
    hue = np.round(degrees / 2).astype(np.uint8) % 180  # OpenCV's hue is in steps of two degrees
    picture = np.stack([hue, np.full_like(hue, 255), brightness.astype(np.uint8)], axis=-1)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_HSV2RGB))
