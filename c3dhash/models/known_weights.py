"""Files of weights that are published, and the folders in which they are looked for. Without torch.

pretrain/ is where people put them; torchvision's cache, where it and we put downloads.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

PRETRAIN_DIR = Path("pretrain")


@dataclass(frozen=True)
class KnownWeights:
    """A published file: the short name to type, and where it comes from. pretrain/README.md tells more.

    source: for people. torchvision: "EnumName.MEMBER" where torchvision can download it, else "".
    """

    name: str
    file_name: str
    backbone: str
    source: str
    torchvision: str = ""


def torchvision_cache() -> Path:
    """Return the folder in which torchvision keeps downloaded weights (TORCH_HOME moves it)."""
    if hub := sys.modules.get("torch.hub"):  # a program may have moved it
        return Path(hub.get_dir()) / "checkpoints"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser() / "hub" / "checkpoints"


def find_file(file_name: Path | str) -> Path | None:
    """Look for a file in pretrain/, then in torchvision's cache."""
    places = (PRETRAIN_DIR / file_name, torchvision_cache() / file_name)
    return next((path for path in places if path.is_file()), None)
