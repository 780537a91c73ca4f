"""What the backbones are: size, cost, what they read, and which of their weights lie on this machine.

# Note [The table of backbones]
To import torch and to build 40 networks takes ten seconds, and to read a table of what comes of it none. The table lies
beside the backbones, with a digest of their files: once one is edited or added, it is not believed any more, and
all is counted anew, each time, until

    python -m c3dhash.models.listing

has written a new one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from c3dhash.files import write_text
from c3dhash.models.known_weights import KnownWeights, find_file
from c3dhash.records import Preprocessing

TABLE_PATH = Path(__file__).parent / "backbones" / "table.json"


@dataclass(frozen=True)
class BackboneFacts:
    """A backbone, at its default clip.

    num_parameters: without heads. gflops: of one clip, see c3dhash.models.costs.
    """

    name: str
    feature_dim: int
    num_parameters: int
    gflops: float
    clip_size: tuple[int, int, int]
    min_clip_size: tuple[int, int, int]
    clip_multiple: tuple[int, int]
    shortcuts: tuple[str, ...]
    preprocessing: Preprocessing
    known_weights: tuple[KnownWeights, ...]

    @property
    def weights(self) -> tuple[tuple[KnownWeights, Path | None], ...]:
        """Each known file, and where it is now, or None."""
        return tuple((known, find_file(known.file_name)) for known in self.known_weights)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "backbone": self.name,
            "feature_dim": self.feature_dim,
            "parameters": self.num_parameters,
            "gflops": round(self.gflops, 3),
            "clip_size": list(self.clip_size),
            "min_clip_size": list(self.min_clip_size),
            "clip_multiple": list(self.clip_multiple),
            "shortcuts": list(self.shortcuts),
            "preprocessing": asdict(self.preprocessing),
            "weights": [
                {
                    "name": known.name,
                    "file": known.file_name,
                    "source": known.source,
                    "torchvision": known.torchvision or None,
                    "package": known.package and asdict(known.package),
                    "interval_seconds": known.interval_seconds,
                    "is_found": path is not None,
                    "path": None if path is None else str(path),
                }
                for known, path in self.weights
            ],
        }


def backbone_facts(name: str) -> BackboneFacts:
    """Look up what is known of a backbone.

    Raises:
        UsageError: `name` is not in BACKBONES.
    """
    return _facts((name,))[0]


def all_backbones() -> list[BackboneFacts]:
    """Look up the facts of every backbone, in the order of BACKBONES."""
    backbones = sys.modules.get("c3dhash.models.backbones")  # a program may have added to it
    table = read_table()
    if backbones is None and table:
        return list(table.values())
    from c3dhash.models.backbones import BACKBONES

    return _facts(BACKBONES)


def _facts(names: Iterable[str]) -> list[BackboneFacts]:
    """Take from the table what is in it, and count the rest."""
    table = read_table()
    if all(name in table for name in names):
        return [table[name] for name in names]
    from c3dhash.models.costs import measure

    return [table[name] if name in table else measure(name) for name in names]


def read_table() -> dict[str, BackboneFacts]:
    """Read the table; {} where the files of the backbones are no longer those that it was made of."""
    try:
        content = json.loads(TABLE_PATH.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if content["digest"] != _digest():
        return {}
    return {row["name"]: _from_row(row) for row in content["backbones"]}


def write_table() -> None:
    """Count all backbones and write the table."""
    from c3dhash.models.backbones import BACKBONES
    from c3dhash.models.costs import measure

    rows = [asdict(measure(name)) for name in BACKBONES]
    write_text(TABLE_PATH, json.dumps({"digest": _digest(), "backbones": rows}, indent=1) + "\n")


def _digest() -> str:
    """Hash the source of the backbones."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(TABLE_PATH.parent.glob("*.py")):
        digest.update(f"{path.name}\0{path.read_text(encoding='utf-8')}\0".encode())
    return digest.hexdigest()


def _from_row(row: dict[str, Any]) -> BackboneFacts:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    values["preprocessing"] = Preprocessing(**row["preprocessing"])
    values["known_weights"] = tuple(KnownWeights.from_dict(known) for known in row["known_weights"])
    return BackboneFacts(**values)


def describe_preprocessing(preprocessing: Preprocessing, *, with_std: bool = True) -> str:
    """Say shortly what is read: the channels and, of the pixels, the range that they are brought to.

    Where channels differ: their range before the mean is taken off, the mean, and the standard deviation.
    """
    top, mean, std = 255 * preprocessing.scale, preprocessing.mean, preprocessing.std
    channels = (
        preprocessing.channels if preprocessing.stack == 1 else f"{preprocessing.stack} x {preprocessing.channels}"
    )
    if len({*mean}) == len({*std}) == 1:
        return f"{channels} {-mean[0] / std[0]:.3g} to {(top - mean[0]) / std[0]:.3g}"
    text = f"{channels} 0 to {top:.3g}, mean {_short(mean)}"
    return f"{text}, std {_short(std)}" if with_std else text


def _short(values: tuple[float, ...]) -> str:
    """Write numbers with two figures behind the point below 10 (and no 0 before it), else with none."""
    texts = (f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}" for value in values)
    return " ".join(text.removeprefix("0") if "." in text else text for text in texts)


if __name__ == "__main__":
    write_table()
