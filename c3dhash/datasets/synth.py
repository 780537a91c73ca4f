"""A generated data set whose classes differ by motion only.

Textured shapes over a textured background, one motion a class. The set is made so that order in time is
the only evidence there is:

* Position, scale and angle of a shape have the same distribution in **every single frame** of **every
  class**. Positions live on a torus (what leaves on one side enters on the other), scales run along a
  sawtooth or triangle of random phase (both are log-uniform at any moment), angles are uniform. So the
  best guess from one frame is chance.
* `move_up` and `move_down`, and `zoom_in` and `zoom_out`, are the same frames in reverse, so a network
  that ignores the order of the frames confuses them.
* No class is the mirror image of another (sideways, spin and orbit go both ways), so the horizontal flip
  of the usual augmentation keeps the label true.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from c3dhash.errors import DatasetError, UsageError
from c3dhash.files import claim_folder, clear_leftovers, replacing
from c3dhash.video.loader import prefetch

WIDTH_PX, HEIGHT_PX = 96, 72
SHAPE_PX = 68
WORKERS = 2
MADE_BY = "data synth"  # as our marker has it
VERSION = 1  # of the generator: raised when the same seed gives other videos
SPLITS = {"train": 32, "val": 8, "gallery": 16, "query": 8}  # videos a class


def _triangle(phase: np.ndarray) -> np.ndarray:
    """Run from -1 to 1 and back once a unit of phase."""
    return 1 - 4 * np.abs(phase % 1 - 0.5)


def _sawtooth(phase: np.ndarray) -> np.ndarray:
    """Run from -1 to 1 once a unit of phase, then jump back."""
    return 2 * (phase % 1) - 1


# A motion maps (time [T] in 0..1 of the video, number of cycles, phase, direction +-1) to the offsets
# (x, y) in units of the frame's height, the log-scale in -1..1 or None, and the angle in turns.
Motion = Callable[[np.ndarray, float, float, int], tuple[Any, Any, Any, Any]]

MOTIONS: dict[str, Motion] = {
    "move_up": lambda t, cycles, phase, way: (0, -0.45 * cycles * t, None, 0),
    "move_down": lambda t, cycles, phase, way: (0, 0.45 * cycles * t, None, 0),
    "move_sideways": lambda t, cycles, phase, way: (0.45 * way * cycles * t, 0, None, 0),
    "spin": lambda t, cycles, phase, way: (0, 0, None, 0.6 * way * cycles * t),
    "pulse": lambda t, cycles, phase, way: (0, 0, _triangle(phase + 1.2 * cycles * t), 0),
    "still": lambda t, cycles, phase, way: (0, 0, None, 0),
    "zoom_in": lambda t, cycles, phase, way: (0, 0, _sawtooth(phase + cycles * t), 0),
    "zoom_out": lambda t, cycles, phase, way: (0, 0, _sawtooth(phase - cycles * t), 0),
    "orbit": lambda t, cycles, phase, way: (
        0.15 * np.cos(2 * np.pi * (phase + way * cycles * t)),
        0.15 * np.sin(2 * np.pi * (phase + way * cycles * t)),
        None,
        0,
    ),
    "shake": lambda t, cycles, phase, way: (0.15 * np.sin(2 * np.pi * (phase + 1.2 * cycles * t)), 0, None, 0),
    "bounce": lambda t, cycles, phase, way: (0, 0.15 * np.sin(2 * np.pi * (phase + 1.2 * cycles * t)), None, 0),
    "swing": lambda t, cycles, phase, way: (0, 0, None, 0.15 * np.sin(2 * np.pi * (phase + 1.2 * cycles * t))),
}


def _texture(rng: np.random.Generator, *, height_px: int, width_px: int, grain_px: int) -> np.ndarray:
    """Draw smooth coloured noise: uint8-ranged float32 [height, width, 3]."""
    coarse = rng.uniform(0, 255, (max(2, height_px // grain_px), max(2, width_px // grain_px), 3))
    return cv2.resize(coarse.astype(np.float32), (width_px, height_px), interpolation=cv2.INTER_CUBIC).clip(0, 255)


def _shape(rng: np.random.Generator) -> np.ndarray:
    """Draw a textured polygon: float32 [SHAPE_PX, SHAPE_PX, 4], colours times their opacity, and the opacity."""
    corners = int(rng.integers(3, 8))
    turns = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) / corners + rng.uniform()
    radii = rng.uniform(0.6, 1.0, corners) * SHAPE_PX * 0.48
    points = np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], 1) * radii[:, None] + SHAPE_PX / 2
    mask = np.zeros((SHAPE_PX, SHAPE_PX), np.float32)
    cv2.fillPoly(mask, [points.round().astype(np.int32)], 1.0, cv2.LINE_AA)
    colours = _texture(rng, height_px=SHAPE_PX, width_px=SHAPE_PX, grain_px=SHAPE_PX // 4)
    return np.dstack([colours * mask[..., None], mask])


def _paste(frame: np.ndarray, shape: np.ndarray, *, x: float, y: float, scale: float, turns: float) -> None:
    """Draw a shape into a float32 frame, wrapping around its borders."""
    whole_x, whole_y = int(np.floor(x)), int(np.floor(y))
    affine = cv2.getRotationMatrix2D((SHAPE_PX / 2, SHAPE_PX / 2), 360 * turns, scale)
    affine[:, 2] += np.array((x - whole_x, y - whole_y))
    drawn = cv2.warpAffine(shape, affine, (SHAPE_PX, SHAPE_PX))
    around = np.arange(SHAPE_PX) - SHAPE_PX // 2
    window = np.ix_((whole_y + around) % frame.shape[0], (whole_x + around) % frame.shape[1])
    frame[window] = frame[window] * (1 - drawn[..., 3:]) + drawn[..., :3]


def render_video(motion: str, *, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Render one video of a motion.

    Args:
        motion: a key of MOTIONS.
        rng: draws everything that varies: textures, shapes, speed, length, frame rate.
    Returns:
        uint8 [T, HEIGHT_PX, WIDTH_PX, 3] frames, and frames a second.
    """
    num_frames = int(rng.integers(20, 33))
    fps = float(rng.choice([15, 20, 24, 25, 30]))
    cycles, phase, way = rng.uniform(0.8, 1.4), rng.uniform(), int(rng.choice([-1, 1]))
    time = np.arange(num_frames) / num_frames
    offset_x, offset_y, log_scale, turns = MOTIONS[motion](time, cycles, phase, way)
    background = _texture(rng, height_px=HEIGHT_PX, width_px=WIDTH_PX, grain_px=int(rng.integers(8, 24)))
    background = 0.2 * background + rng.uniform(0, 200, 3)
    frames = np.repeat(background[None].astype(np.float32), num_frames, 0)
    for _ in range(int(rng.integers(3, 6))):
        shape = _shape(rng)
        x = rng.uniform(0, WIDTH_PX) + HEIGHT_PX * np.broadcast_to(offset_x, num_frames)
        y = rng.uniform(0, HEIGHT_PX) + HEIGHT_PX * np.broadcast_to(offset_y, num_frames)
        still_scale = rng.uniform(-1, 1)
        scales = 0.8 * 1.6 ** np.broadcast_to(still_scale if log_scale is None else log_scale, num_frames)
        angles = rng.uniform() + np.broadcast_to(turns, num_frames)
        for index, frame in enumerate(frames):
            _paste(frame, shape, x=x[index], y=y[index], scale=scales[index], turns=angles[index])
    return frames.clip(0, 255).astype(np.uint8), fps


def write_video(path: Path, frames: np.ndarray, *, fps: float) -> None:
    """Encode RGB frames (uint8 [T, H, W, 3]) as MPEG-4 in the container that the suffix names."""
    height_px, width_px = frames.shape[1:3]
    with replacing(path, suffix=path.suffix, is_durable=False) as partial:
        writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width_px, height_px))
        if not writer.isOpened():
            raise DatasetError(f"cannot write '{path}': this OpenCV has no MPEG-4 encoder for {path.suffix!r} files.")
        for frame in frames:
            writer.write(frame[..., ::-1])
        writer.release()


def scaled_splits(num_train: int | None) -> dict[str, int]:
    """Return the videos a class of each split: SPLITS, or in proportion to so many training videos."""
    if num_train is None:
        return SPLITS
    if num_train < 1:
        raise UsageError(f"train_videos ({num_train}) must be 1 or more; the default is {SPLITS['train']}.")
    return {split: max(2, round(count * num_train / SPLITS["train"])) for split, count in SPLITS.items()} | {
        "train": num_train
    }


def make_motion_set(
    directory: Path, *, num_classes: int = 6, videos_per_class: dict[str, int] | None = None, seed: int = 0
) -> Path:
    """Write the generated motion set as class folders: directory/split/class/NNN.mp4.

    The same arguments give the same videos. A set that was only half written is completed.

    Args:
        directory: new, empty, or of an earlier call with the same seed.
        num_classes: 2..12, the first so many of MOTIONS.
        videos_per_class: split -> number of videos; None takes SPLITS.
        seed: of everything random.
    Returns:
        `directory`.
    Raises:
        UsageError: num_classes or seed is out of range; the folder holds something else, or the set of another seed.
    """
    if not 2 <= num_classes <= len(MOTIONS):
        raise UsageError(f"num_classes ({num_classes}) must be between 2 and {len(MOTIONS)}.")
    if seed < 0:
        raise UsageError(f"seed ({seed}) must be 0 or more.")
    known = claim_folder(directory, made_by=MADE_BY, seed=seed, version=VERSION)
    if known != {"seed": seed, "version": VERSION}:
        raise UsageError(
            f"'{directory}' holds the set of seed {known.get('seed')} (version {known.get('version')}), not of seed "
            f"{seed} (version {VERSION}); name another folder."
        )
    names = list(MOTIONS)[:num_classes]
    videos = [
        (split, name, number)
        for split, count in (videos_per_class or SPLITS).items()
        for name in names
        for number in range(count)
    ]

    for folder in {directory / split / name for split, name, _ in videos}:
        folder.mkdir(parents=True, exist_ok=True)
        clear_leftovers(folder)

    def make(video: tuple[str, str, int]) -> None:
        split, name, number = video
        path = directory / split / name / f"{name}_{number:03d}.mp4"
        if path.exists():
            return
        rng = np.random.default_rng([seed, list(SPLITS).index(split), names.index(name), number])
        frames, fps = render_video(name, rng=rng)
        write_video(path, frames, fps=fps)

    for _ in tqdm(prefetch(make, videos, workers=WORKERS), total=len(videos), desc="Generating videos", unit="video"):
        pass
    return directory
