"""The codes of a gallery -> those of its videos in a mirror, without a look at a video.

Note [A code in a mirror]
    A cosine wave of an odd number of half periods along a line is its own negative in a mirror, one of an even number
    is itself. So of a picture in a mirror the odd horizontal frequencies have the other sign, and where bits are the
    signs of frequencies ("sign" in models/hashing.py, of backbones/phash.py), the code is another in these bits.

    That is nearly so: a bit says whether a frequency is above its median, which is near 0, not 0; and where cutting the
    middle out leaves an odd number of columns, that of the mirror image is a column off. Of 64 bits, 4.5 differed from
    those of the mirrored pictures on average, 14 at most (1,273 windows of 48 films of 320 x 240 px); with medians of
    0 it would be 3.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from c3dhash.config import SIGN
from c3dhash.errors import ModelMismatchError, UsageError
from c3dhash.gallery.runs import run_of
from c3dhash.gallery.searched import SearchedGallery

if TYPE_CHECKING:
    from c3dhash.models.runs import Run


def mirror_mask(gallery: SearchedGallery, *, run: Run | None = None) -> np.ndarray:
    """Return the bits that a mirror turns over in the codes of a gallery: uint8 [ceil(hash_length / 8)].

    Args:
        run: that made the codes, where it is open; else it is looked for.
    Raises:
        UsageError: its codes are of another kind, or of mirror images already.
    """
    try:
        run = run or run_of(gallery)
    except ModelMismatchError:
        made_by, signs = "a run that is not there", None
    else:
        method = run.config.get("hash")
        made_by = f"{run.config['backbone']}, hash {method}" if method else f"{run.config['backbone']}, trained"
        signs = run.model.backbone.mirror_signs() if method == SIGN else None
    if signs is None:
        raise UsageError(
            f"mirror: of codes in a mirror only those of phash, hash sign, are known, and gallery '{gallery.path}' has "
            f"those of {made_by}: leave --mirror out (networks find most mirrored copies without it), or index into "
            "another folder with --backbone phash."
        )
    views: Any = gallery.run.get("views", 1)
    if views % 2 == 0:
        raise UsageError(
            f"mirror: the codes of gallery '{gallery.path}' are of {views} views, half of them mirror images: a video "
            "and its mirror image have the same, leave --mirror out."
        )
    mask: np.ndarray = np.packbits(signs[: gallery.hash_length] < 0)
    return mask
