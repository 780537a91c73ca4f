"""Text on pictures: readable on any background, of a size that fits the picture, in any script that a font here has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

logger = logging.getLogger(__name__)

HEIGHT_SHARE, MIN_TEXT_PX = 1 / 18, 9  # height of the letters, of the short side of the picture
DIGITS = "0123456789%"  # what stands behind a label
OPACITY = 0.62  # of the dark ground behind them
PERSON_SHARE = 1 / 24  # height of the letters at a person's box
COLORS = (  # of people, one after the other; light enough for the dark ground of their text
    (255, 176, 0), (86, 180, 233), (120, 220, 120), (255, 120, 120), (200, 150, 255), (255, 255, 120), (120, 230, 220),
)  # fmt: skip


def draw_caption(picture: np.ndarray, label: str, *, share: float) -> None:
    """Draw a label and a share into the lower left of a picture; what is too long for it is cut.

    Args:
        picture: uint8 [H, W, 3] RGB, changed in place.
        share: 0..1, in per cent behind the label, and as a bar below.
    """
    height_px, width_px = picture.shape[:2]
    text_px = max(MIN_TEXT_PX, round(min(height_px, width_px) * HEIGHT_SHARE))
    patch = _patch(" ".join(label.split()), f"  {share:.0%}", text_px, width_px)
    margin = min(height_px, width_px) // 40
    patch = patch[: height_px - margin, : width_px - margin]
    _lay(picture, patch, top=height_px - margin - len(patch), left=margin, share=share)


def draw_person(
    picture: np.ndarray,
    box: np.ndarray,
    seen: Sequence[tuple[str, float]],
    *,
    number: int,
    name: str,
    taken: list[tuple[int, int, int, int]],
) -> None:
    """Draw the box of a person, and a number and what is seen: above it, or below or inside where there is no room.

    Args:
        picture: uint8 [H, W, 3] RGB, changed in place.
        box: x0 y0 x1 y1, px.
        seen: labels and shares, 0..1, a line each.
        number: chooses the colour.
        name: of the person.
        taken: where text of others is in this picture, x0 y0 x1 y1; that of this one is added.
    """
    height_px, width_px = picture.shape[:2]
    color = COLORS[(number - 1) % len(COLORS)]
    thickness = max(1, round(min(height_px, width_px) / 180))
    limits = (width_px - 1, height_px - 1, width_px - 1, height_px - 1)
    x0, y0, x1, y1 = (int(np.clip(round(float(side)), 0, limit)) for side, limit in zip(box, limits, strict=True))
    cv2.rectangle(picture, (x0, y0), (x1, y1), color, thickness)
    text_px = max(MIN_TEXT_PX, round(min(height_px, width_px) * PERSON_SHARE))
    labels = [" ".join(label.split()) for label, _ in seen]
    labels[0] = f"{name}  {labels[0]}"
    patches = [
        _patch(label, f"  {share:.0%}", text_px, width_px) for label, (_, share) in zip(labels, seen, strict=True)
    ]
    tall, wide = sum(map(len, patches)), max(patch.shape[1] for patch in patches)
    left = max(0, min(x0, width_px - wide))
    tops = [top for top in (y0 - tall, y1 + 1, y0 + thickness, y1 - tall) if 0 <= top <= height_px - tall]
    top = next((top for top in tops if not _meets((left, top, left + wide, top + tall), taken)), max(0, y0 - tall))
    taken.append((left, top, left + wide, top + tall))
    for patch, (_, share) in zip(patches, seen, strict=True):
        _lay(picture, patch, top=top, left=left, share=share, color=color)
        top += len(patch)


def _meets(place: tuple[int, int, int, int], others: Sequence[tuple[int, int, int, int]]) -> bool:
    """Tell whether a rectangle, x0 y0 x1 y1, has a pixel in common with others."""
    x0, y0, x1, y1 = place
    return any(x0 < right and left < x1 and y0 < bottom and top < y1 for left, top, right, bottom in others)


def _lay(
    picture: np.ndarray,
    patch: np.ndarray,
    *,
    top: int,
    left: int,
    share: float,
    color: tuple[int, int, int] = (255, 255, 255),
) -> None:
    """Lay a patch of text, uint8 [H, W], with a bar for a share below it, on a picture; what is outside is cut."""
    patch = patch[: max(0, len(picture) - top), : max(0, picture.shape[1] - left)]
    if not patch.size:
        return
    place = picture[top : top + patch.shape[0], left : left + patch.shape[1]]
    bar = np.zeros_like(patch)
    thickness = max(2, len(patch) // 12)
    bar[-thickness:, : round(np.clip(share, 0, 1) * patch.shape[1])] = 255
    patch = np.maximum(patch, bar)
    opacity = np.maximum(OPACITY, patch / 255)[..., None]  # the ground, or the letters on it
    letters = patch[..., None] / 255 * np.array(color)
    place[:] = (place * (1 - opacity) + letters * opacity).astype(np.uint8)


@lru_cache(maxsize=256)
def _patch(label: str, ending: str, text_px: int, max_width_px: int) -> np.ndarray:
    """Return white text on black with some room around it: uint8 [H, W]."""
    font = ImageFont.truetype(_font_of("".join(sorted(set(label)))), text_px)
    room = max(2, text_px // 3)
    while len(label) > 1 and font.getlength(label + ending) > max_width_px - 4 * room:
        label = label.removesuffix("…")[:-1] + "…"
    text = label + ending
    ascent, descent = font.getmetrics()
    image = Image.new("L", (round(font.getlength(text)) + 2 * room, ascent + descent + 2 * room))
    ImageDraw.Draw(image).text((room, room), text, font=font, fill=255)
    return np.array(image)


@lru_cache(maxsize=256)
def _font_of(characters: str) -> str:
    """Return the file of a font that has some characters: Matplotlib's own where it does, else one of the system."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    own = font_manager.findfont("DejaVu Sans")
    needed = {ord(character) for character in characters if not character.isspace()} | {ord(c) for c in DIGITS}
    for path in (own, *sorted(font_manager.findSystemFonts())):
        try:
            if needed <= FT2Font(path).get_charmap().keys():
                return str(path)
        except (OSError, RuntimeError):  # not a font that can be read
            continue
    logger.warning("no font on this machine has all of %r: install one (Noto has most scripts).", characters)
    return str(own)
