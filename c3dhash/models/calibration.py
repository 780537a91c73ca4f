"""What a distance means: how often two videos whose codes lie so far apart are of one class.

Note [Precision of a distance]
    Counted on a labelled set: of the pairs of a query and an item at distance d, which share is of one class. A nearer
    pair is at least as good as a farther one, so shares that say otherwise are pooled (isotonic regression), and each
    share is one of counts to which one more pair is added, that is of one class as often as any pair.

    A hit of a video with several clips, or with a query of several windows, tells the smallest of n distances. From the
    shares follow the distributions of distances within and across classes, and of the smallest of n draws from each;
    with these, the share of one class among pairs whose smallest distance is d. Draws are taken for independent.

Source: Ayer et al. 1955, Annals of Mathematical Statistics 26(4) (pooling adjacent violators).
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from c3dhash.errors import CheckpointError
from c3dhash.files import write_text

CALIBRATION_FILE = "calibration.json"  # in a run directory


@dataclass(frozen=True, repr=False, eq=False)
class Calibration:
    """Counts of pairs of a query and an item, by Hamming distance.

    all_counts, relevant_counts: int64 [hash_length + 1], of all pairs, and of those of one class. measured_on: which
    videos these are, for people.
    """

    all_counts: np.ndarray
    relevant_counts: np.ndarray
    measured_on: str

    def __post_init__(self) -> None:
        for name in ("all_counts", "relevant_counts"):
            counts = getattr(self, name)
            if counts.dtype != np.int64 or counts.ndim != 1 or counts.shape != self.all_counts.shape:
                raise CheckpointError(
                    f"{name} must be int64 [hash_length + 1], got {counts.dtype} {list(counts.shape)}."
                )
        if np.any(self.relevant_counts < 0) or np.any(self.relevant_counts > self.all_counts):
            raise CheckpointError("relevant_counts must be between 0 and all_counts.")
        if not 0 < self.relevant_counts.sum() < self.all_counts.sum():
            raise CheckpointError("a calibration needs pairs of one class and of two.")

    def __repr__(self) -> str:
        return f"Calibration({self.all_counts.sum()} pairs, {self.measured_on})"

    @property
    def hash_length(self) -> int:
        return len(self.all_counts) - 1

    def precision(self, distance: int, *, num_pairs: int = 1) -> float:
        """Return how probable it is that two videos are of one class: Note [Precision of a distance].

        Args:
            distance: the smallest of their clips, bits.
            num_pairs: how many pairs of clips it is the smallest of.
        """
        return float(self._table(num_pairs)[distance])

    @functools.lru_cache(maxsize=256)  # noqa: B019 - few live, as long as their runs
    def _table(self, num_pairs: int) -> np.ndarray:
        """Return the precision at each distance, float64 [hash_length + 1]."""
        share = self.relevant_counts.sum() / self.all_counts.sum()
        within = pooled(self.relevant_counts, self.all_counts, prior=share)
        if num_pairs == 1:
            return within
        near = _smallest_of(within * self.all_counts, num_pairs) * share
        far = _smallest_of((1 - within) * self.all_counts, num_pairs) * (1 - share)
        return pooled(near, near + far, prior=share, prior_weight=1e-9)


def pooled(part: np.ndarray, whole: np.ndarray, *, prior: float, prior_weight: float = 1.0) -> np.ndarray:
    """Return shares that never rise: float64 [N], each that of a stretch of counts.

    Args:
        part, whole: counts, [N] each, part <= whole.
        prior, prior_weight: a share, and how many further counts there are with it in each stretch.
    """
    blocks: list[list[float]] = []  # part, whole, how many
    for counts in zip(part.tolist(), whole.tolist(), strict=True):
        blocks.append([*counts, 1])
        while len(blocks) > 1 and not _falls(*blocks[-2:]):
            other = blocks.pop()
            blocks[-1] = [mine + yours for mine, yours in zip(blocks[-1], other, strict=True)]
    shares = [(block[0] + prior_weight * prior) / (block[1] + prior_weight) for block in blocks]
    return np.minimum.accumulate(np.repeat(shares, [int(block[2]) for block in blocks]))


def _falls(one: list[float], other: list[float]) -> bool:
    """Tell whether a stretch has a larger share than the next one; one without counts has none of its own."""
    return one[1] > 0 and other[1] > 0 and one[0] * other[1] > other[0] * one[1]


def _smallest_of(counts: np.ndarray, num_draws: int) -> np.ndarray:
    """Return the distribution of the smallest of independent draws, float64 [N], from counts of each value."""
    at_least = np.append(np.cumsum(counts[::-1])[::-1], 0) / counts.sum()
    distribution: np.ndarray = -np.diff(at_least**num_draws)
    return distribution


def save_calibration(run_path: Path, calibration: Calibration) -> None:
    """Write it into a run directory."""
    content = {
        "measured_on": calibration.measured_on,
        "all_counts": calibration.all_counts.tolist(),
        "relevant_counts": calibration.relevant_counts.tolist(),
    }
    write_text(run_path / CALIBRATION_FILE, json.dumps(content) + "\n")


def load_calibration(run_path: Path, *, hash_length: int) -> Calibration | None:
    """Read that of a run; None where it has none.

    Raises:
        CheckpointError: the file is damaged, or of another run.
    """
    path = run_path / CALIBRATION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        all_counts, relevant_counts = (np.array(content[name], np.int64) for name in ("all_counts", "relevant_counts"))
        calibration = Calibration(all_counts, relevant_counts, str(content["measured_on"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, CheckpointError) as error:
        raise CheckpointError(f"'{path}' cannot be used ({error}): delete it, or measure it again.") from error
    if calibration.hash_length != hash_length:
        raise CheckpointError(
            f"'{path}' is of {calibration.hash_length}-bit codes, its run makes {hash_length}-bit ones: delete it."
        )
    return calibration
