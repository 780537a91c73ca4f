"""Films joined from short clips, and copies of them with known truth, as the benchmarks of copies need them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

FPS, WIDTH, HEIGHT = 25, 320, 240
Frames = list[np.ndarray]  # uint8 [H, W, 3] BGR each


class Stretch(NamedTuple):
    """Where a part of a film lies in a copy: seconds of the copy, and of the film."""

    film: str
    query_start: float
    query_end: float
    film_start: float
    film_end: float


class Copy(NamedTuple):
    """A query with known truth: its frames, the quality that it is coded with, and what lies where in it."""

    frames: Frames
    crf: int
    truth: list[Stretch]


def frames_of(path: Path) -> Frames:
    """Decode a clip, every frame at WIDTH x HEIGHT."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(cv2.resize(read[1], (WIDTH, HEIGHT)))
    return frames


def write(path: Path, frames: Frames, *, crf: int) -> None:
    """Code frames at FPS with FFmpeg."""
    height, width = frames[0].shape[:2]
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}",
               "-r", str(FPS), "-i", "-", "-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf), "-pix_fmt",
               "yuv420p", str(path)]  # fmt: skip
    subprocess.run(command, input=np.stack(frames).tobytes(), check=True)


def crop(frame: np.ndarray, share: float) -> np.ndarray:
    """Cut a share of the width and of the height away, evenly from both sides, and fill the picture with the rest."""
    height, width = frame.shape[:2]
    y, x = round(height * share / 2), round(width * share / 2)
    return cv2.resize(frame[y : height - y, x : width - x], (width, height))


def _letterbox(frame: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(frame, HEIGHT // 6, HEIGHT // 6, 0, 0, cv2.BORDER_CONSTANT)


def _recolour(frame: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(frame, cv2.COLOR_BGR2HSV).astype(np.float32)
    hsv = hsv * (1, 0.6, 1.15) + (12, 0, 15)
    return cv2.cvtColor(np.clip(hsv, 0, (179, 255, 255)).astype(np.uint8), cv2.COLOR_HSV2BGR)


def _overlay(frame: np.ndarray) -> np.ndarray:
    frame = frame.copy()
    cv2.rectangle(frame, (WIDTH - 70, 10), (WIDTH - 12, 44), (40, 30, 200), -1)
    cv2.putText(frame, "C3D", (WIDTH - 64, 35), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    for line, text in enumerate(("- I have seen this before.", "- You say that every time.")):
        place = (40, HEIGHT - 34 + 20 * line)
        for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(frame, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, colour, thickness, cv2.LINE_AA)
    return frame


def _film_off_a_screen(frame: np.ndarray) -> np.ndarray:
    corners = np.float32([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]])
    seen = np.float32([[0.09, 0.12], [0.90, 0.04], [0.96, 0.93], [0.05, 0.86]]) * (WIDTH, HEIGHT)
    surroundings = (28, 24, 22)
    warped = cv2.warpPerspective(frame, cv2.getPerspectiveTransform(corners, seen.astype(np.float32)),
                                 (WIDTH, HEIGHT), borderValue=surroundings)  # fmt: skip
    return cv2.convertScaleAbs(cv2.GaussianBlur(warped, (0, 0), 1.2), alpha=0.8, beta=18)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of every frame
    "rescaled to a half": lambda frame: cv2.resize(frame, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA),
    "cropped by 10 %": lambda frame: crop(frame, 0.1),
    "cropped by 20 %": lambda frame: crop(frame, 0.2),
    "letterboxed": _letterbox,
    "mirrored": lambda frame: cv2.flip(frame, 1),
    "colours shifted": _recolour,
    "logo and subtitles": _overlay,
    "off a screen": _film_off_a_screen,
}
SPEEDS = (0.8, 1.25)
PART_SHARE = 0.4
CRF, LOW_CRF = 28, 40


def make_copies(films: dict[str, Frames], name: str, others: list[str], material: Frames) -> dict[str, Copy]:
    """Make a copy of each kind of a film.

    Args:
        films: frames by name. name: of the film. others: two more, for the compilation.
        material: what the film is put into, and is no film of the gallery.
    """
    frames = films[name]
    seconds = len(frames) / FPS
    whole = [Stretch(name, 0.0, seconds, 0.0, seconds)]
    copies = {"coded at a low rate": Copy(frames, LOW_CRF, whole)}
    for kind, change in CHANGES.items():
        copies[kind] = Copy([change(frame) for frame in frames], CRF, whole)
    for speed in SPEEDS:
        chosen = [frames[int(place * speed)] for place in range(int(len(frames) / speed))]
        copies[f"speed {speed}"] = Copy(chosen, CRF, [Stretch(name, 0.0, len(chosen) / FPS, 0.0, seconds)])

    def part_of(film: str, at: float) -> tuple[Frames, float]:
        """Return a part of a film and where it starts, seconds."""
        length = round(PART_SHARE * len(films[film]))
        first = round(at * (len(films[film]) - length))
        return films[film][first : first + length], first / FPS

    part, start = part_of(name, 0.6)
    length = len(part) / FPS
    copies["a part"] = Copy(part, CRF, [Stretch(name, 0.0, length, start, start + length)])
    before = len(material) // 2
    inside = material[:before] + part + material[before:]
    place = Stretch(name, before / FPS, before / FPS + length, start, start + length)
    copies["a part inside other material"] = Copy(inside, CRF, [place])
    joined: Frames = []
    truth = []
    for film, at in zip((name, *others), (0.3, 0.5, 0.7), strict=True):
        part, start = part_of(film, at)
        begin, length = len(joined) / FPS, len(part) / FPS
        truth.append(Stretch(film, begin, begin + length, start, start + length))
        joined += part
    copies["a compilation of three"] = Copy(joined, CRF, truth)
    return copies
