"""A run directory: what it takes to use a trained network anywhere.

config.json          how it was made and what it reads; "finished" once training is done
model.safetensors    backbone.*, hash_head.*, class_head.*, class_codes
labels.txt           one class a line
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from c3dhash.config import ModelConfig
from c3dhash.errors import CheckpointError, UsageError
from c3dhash.files import claim_folder, read_mark, replacing, write_text
from c3dhash.models.calibration import CALIBRATION_FILE
from c3dhash.models.checkpoints import RUN_WEIGHTS_NAME
from c3dhash.models.fingerprints import fingerprint
from c3dhash.models.hashnet import HashNet, build_model
from c3dhash.models.identify import weights_metadata
from c3dhash.records import Preprocessing

CONFIG_FILE, LABELS_FILE = "config.json", "labels.txt"
MADE_BY = "train"  # as our marker has it
# What a training may have written before its first epoch is over.
TRAINING_FILES = ("tensorboard", "metrics.jsonl", "curves.png", "last.pt", "videos.txt")
MAX_SHOWN = 5  # runs in a message
# What draws weights. Other functions of torch.nn.init come to these two of tensors.
_DRAWS = frozenset((init.kaiming_uniform_, init.normal_, init.uniform_, Tensor.normal_, Tensor.uniform_))


@dataclass(frozen=True, repr=False)
class Run:
    """A trained network and what it needs around it.

    config: what config.json holds. labels: class names, () where it knows none. model: in evaluation mode.
    fingerprint: of everything that decides its codes, by the rule it was made under; a gallery remembers it.
    """

    path: Path
    config: dict[str, Any]
    labels: tuple[str, ...]
    model: HashNet
    fingerprint: str

    @property
    def hash_length(self) -> int:
        if self.model.hash_head is None:
            raise CheckpointError(
                f"run '{self.path}' was trained with --task classify and makes no codes; train with --task joint."
            )
        return self.model.hash_head.out_features

    @property
    def class_labels(self) -> tuple[str, ...]:
        if self.model.class_head is None:
            raise CheckpointError(
                f"run '{self.path}' has no class head and recognises nothing: train with --task joint or classify."
            )
        return self.labels

    @property
    def is_multi_label(self) -> bool:
        """Whether a video may have several of the labels."""
        return bool(self.config.get("is_multi_label"))

    def __repr__(self) -> str:
        frames, size = self.model.clip_size[:2]
        return (
            f"Run('{self.path}', {self.config['backbone']}, clips {frames} x {size} x {size}, {self.fingerprint[:8]})"
        )


def save_run(path: Path, model: HashNet, *, config: dict[str, Any], labels: tuple[str, ...]) -> None:
    """Write a run directory.

    Each file is written under a temporary name and renamed.

    Args:
        config: what ModelConfig holds, and more; clip size, preprocessing, heads and fingerprint are added.
    Raises:
        UsageError: the folder is neither empty nor a run's.
        CheckpointError: a file cannot be written.
    """
    claim_run(path)
    model = model.without_scaling()
    frames, size = model.clip_size[:2]
    config = {
        **config,
        "num_frames": frames,
        "size": size,
        "preprocessing": dataclasses.asdict(model.preprocessing),
        "has_hash_head": model.hash_head is not None,
        "has_class_head": model.class_head is not None,
        "has_unit_features": model.has_unit_features,
        "has_changes": model.backbone.has_changes,
        "has_motion": model.backbone.has_motion,
        "fingerprint": fingerprint(model),
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        with replacing(path / RUN_WEIGHTS_NAME) as partial:
            save_file(weights, partial, metadata=weights_metadata(model.backbone))
        write_text(path / LABELS_FILE, "".join(f"{label}\n" for label in labels))
        write_text(path / CONFIG_FILE, json.dumps(config, indent=2, default=str) + "\n")
    except (OSError, SafetensorError) as error:  # the second is what safetensors makes of the first
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"run '{path}' cannot be written ({reason}): look for room and rights, then type the same command again."
        ) from error


def claim_run(path: Path) -> None:
    """Make a folder ours to write a run in: a new or empty one, a run's, or one in which a training has begun.

    Raises:
        UsageError: it holds something else, or cannot be made.
    """
    if read_mark(path, made_by=MADE_BY) is not None:
        return
    is_run = {"backbone", "has_hash_head"} <= _read_config(path).keys()  # also one from before there were marks
    own_files = (CONFIG_FILE, RUN_WEIGHTS_NAME, LABELS_FILE, CALIBRATION_FILE) if is_run else ()
    claim_folder(path, made_by=MADE_BY, own_names=(*TRAINING_FILES, *own_files))


def _read_config(path: Path) -> dict[str, Any]:
    """Return what the config.json of a folder holds; nothing where it holds no settings."""
    try:
        content = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class _NothingDrawn(TorchFunctionMode):
    """Build a network whose weights are 0 where they would be random, for a file that has all of them.

    To draw them takes most of the time to build it. What is no weight is drawn: `trunc_normal_` does so again and again
    until numbers are within its bounds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS and isinstance(weight := args[0] if args else kwargs["tensor"], nn.Parameter):
            with torch.no_grad():
                return weight.zero_()
        return func(*args, **kwargs)


def load_run(path: Path | str) -> Run:
    """Load a run directory in evaluation mode, on the CPU.

    Raises:
        CheckpointError: not a run, or one that is damaged.
    """
    path = find_run(path)
    try:
        config = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
        labels = tuple((path / LABELS_FILE).read_text(encoding="utf-8").removesuffix("\n").split("\n"))
        weights = load_file(path / RUN_WEIGHTS_NAME)
    except (OSError, SafetensorError, ValueError) as error:  # of JSON and of UTF-8, too
        raise CheckpointError(
            f"run '{path}' cannot be read: {error}. Bring it back from a copy, or train again."
        ) from error
    if labels == ("",):  # an empty file: a run that knows no classes
        labels = ()
    if not isinstance(config, dict):
        raise CheckpointError(f"run '{path}' is damaged: its {CONFIG_FILE} holds a {type(config).__name__}.")
    if not labels and config.get("has_class_head"):
        raise CheckpointError(f"run '{path}' is damaged: its {LABELS_FILE} is empty.")
    if config.get("has_shifts"):  # for some hours of 28 November 2026
        raise CheckpointError(
            f"run '{path}' was trained by a version whose features this one does not have any more: train it again."
        )
    try:
        settings = ModelConfig(**{item.name: config[item.name] for item in dataclasses.fields(ModelConfig)})
        with _NothingDrawn():
            model = build_model(
                settings,
                num_classes=len(labels) if config["has_class_head"] else None,
                has_hash_head=config["has_hash_head"],
                has_unit_features=bool(config.get("has_unit_features")),  # runs of before have none of these
                has_changes=bool(config.get("has_changes")),
                has_motion=bool(config.get("has_motion")),
            )
        model.backbone.preprocessing = Preprocessing(**config["preprocessing"])
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, UsageError) as error:
        reason = f"{CONFIG_FILE} lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"run '{path}' is damaged: its weights and its config.json do not fit ({reason})."
        ) from error
    return Run(path, config, labels, model.eval(), fingerprint(model, like=str(config.get("fingerprint", ""))))


def find_run(path: Path | str | None = None, *, runs_dir: Path = Path("runs")) -> Path:
    """Return the run directory that is meant: `path`, or the newest finished run.

    Raises:
        CheckpointError: there is none; the text lists the runs near `path` and under `runs_dir`.
    """
    if path is None:
        runs = [run for run in _runs_in(runs_dir) if is_finished(run)]
        if not runs:
            raise CheckpointError(
                f"no finished run under '{runs_dir}/'. Train one: c3dhash train; or name one that lies elsewhere: "
                "--model DIR"
            )
        return max(runs, key=lambda run: (run / RUN_WEIGHTS_NAME).stat().st_mtime)
    if (Path(path) / CONFIG_FILE).is_file():
        return Path(path)
    problem = f"has no {CONFIG_FILE}" if Path(path).exists() else "does not exist"
    near = _runs_near(Path(path), runs_dir)
    if not near:
        advice = f"nor is there a run beside it or under '{runs_dir}/': name the folder that holds it now"
    else:
        shown = ", ".join(f"'{run}'" for run in near[:MAX_SHOWN]) + (", ..." if len(near) > MAX_SHOWN else "")
        advice = f"was it moved? There is {shown}"
    raise CheckpointError(f"'{path}' is no run directory, it {problem}; {advice}.")


def _runs_near(path: Path, runs_dir: Path) -> list[Path]:
    """List runs where one that was moved or mistyped may be: inside, around, and in `runs_dir`; the newest first."""
    around = next(folder for folder in (path, *path.parents) if folder.is_dir())
    places = dict.fromkeys((around, around / "runs", around.parent, runs_dir))
    runs = {run.resolve(): run for place in places for run in _runs_in(place)}
    return sorted(runs.values(), key=lambda run: (run / RUN_WEIGHTS_NAME).stat().st_mtime, reverse=True)


def _runs_in(folder: Path) -> list[Path]:
    return [file.parent for file in folder.glob(f"*/{RUN_WEIGHTS_NAME}") if (file.parent / CONFIG_FILE).is_file()]


def is_finished(run: Path) -> bool:
    """Tell whether a folder is a run whose training is done."""
    return bool(_read_config(run).get("finished"))
