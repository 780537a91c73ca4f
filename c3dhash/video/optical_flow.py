"""Two pictures -> how everything moves from the one to the other, in px; and in 8 bits, as networks read it.

px a frame   -20   0   20
stored         0  128 255      what moves further is cut off

Note [Flow clips]
    A clip of flow is uint8 [T, H, W, 2]: horizontal and vertical flow from each of T + 1 frames to the next. A clip of
    stacks is [T, H, W, 2 L]: at each of T places the L flows between L + 1 frames that follow each other in the video.

        frames      a b c d           ...        (a stack of L + 1 = 4 of them)
        flows       ab bc cd
        channels    x y of ab, x y of bc, x y of cd

    Source: Simonyan and Zisserman, Two-Stream Convolutional Networks, NIPS 2014, section 3.1 (L flows, 2 L channels);
        Wang et al., Temporal Segment Networks, ECCV 2016 (L = 5, at each of T segments). The order of the channels is
        that of github.com/yjxiong/tsn-pytorch, dataset.py, and of mmaction2's FormatShape (NCHW_Flow).
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


def frames_of_flow(num_frames: int, stack: int) -> tuple[int, int]:
    """Return of which frames the flow of a clip is computed: how many, or in how many stacks, and how many a stack.

    Args:
        num_frames, stack: T and L of the flow. Note [Flow clips].
    """
    return (num_frames + 1, 1) if stack == 1 else (num_frames, stack + 1)


def flow_clip(frames: np.ndarray, *, stack: int) -> np.ndarray:
    """Compute the flow of a clip, as it is stored: uint8 [T, H, W, 2 * stack]. Note [Flow clips].

    Args:
        frames: uint8 [N, H, W, 3] RGB: those of `frames_of_flow`, a stack after the other.
        stack: L.
    """
    if stack == 1:
        return flow_of(frames)
    stacks = frames.reshape(-1, stack + 1, *frames.shape[1:])
    return stacked(np.concatenate([flow_of(each) for each in stacks]), stack=stack)


def stacked(flows: np.ndarray, *, stack: int) -> np.ndarray:
    """Put the flows of each stack behind each other, as channels: uint8 [..., T * stack, H, W, 2] -> [T, H, W, C]."""
    *before, num_flows, height, width, _ = flows.shape
    parts = flows.reshape(*before, num_flows // stack, stack, height, width, 2)
    # [..., T, L, H, W, 2] -> [..., T, H, W, L, 2] -> [..., T, H, W, 2 L]
    return np.ascontiguousarray(np.moveaxis(parts, -4, -2)).reshape(*before, -1, height, width, 2 * stack)


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
