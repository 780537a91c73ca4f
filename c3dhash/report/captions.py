"""Text on pictures: readable on any background, of a size that fits the picture, in any script that a font here has."""

from __future__ import annotations

import logging
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

logger = logging.getLogger(__name__)

HEIGHT_SHARE, MIN_TEXT_PX = 1 / 18, 9  # height of the letters, of the short side of the picture
DIGITS = "0123456789%"  # what stands behind a label
OPACITY = 0.62  # of the dark ground behind them


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
    top, left = height_px - margin - len(patch), margin
    place = picture[top : top + patch.shape[0], left : left + patch.shape[1]]
    bar = np.zeros_like(patch)
    thickness = max(2, len(patch) // 12)
    bar[-thickness:, : round(np.clip(share, 0, 1) * patch.shape[1])] = 255
    patch = np.maximum(patch, bar)
    opacity = np.maximum(OPACITY, patch / 255)[..., None]  # the ground, or the letters on it
    place[:] = (place * (1 - opacity) + patch[..., None] * opacity).astype(np.uint8)


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
