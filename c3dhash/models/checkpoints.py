"""Read the tensors of a checkpoint file, and nothing else: no file that is opened here can run code."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import safetensors
import torch

from c3dhash.errors import CheckpointError

RUN_WEIGHTS_NAME = "model.safetensors"
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict")


def load_checkpoint(path: Path | str) -> dict[str, torch.Tensor]:
    """Read the state dict of a checkpoint.

    Args:
        path: safetensors, a torch.save file of tensors in plain containers, or a run directory.
    Returns:
        The tensors by name, taken out of "state_dict", "model" or the like. They are mapped from the file
        where its format allows: they cost memory when they are read, and the file must stay.
    Raises:
        CheckpointError: missing, truncated, not a checkpoint, or a pickle of objects (which is never run).
    """
    return read_checkpoint(path)[0]


def read_checkpoint(path: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Do what load_checkpoint does, and return the metadata of a safetensors file, too ({} for others)."""
    file = Path(path) / RUN_WEIGHTS_NAME if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise CheckpointError(f"checkpoint '{file}' is no file: give a checkpoint file or a run directory.")
    with file.open("rb") as opened:
        start = opened.read(9)
    content: object
    metadata: dict[str, str]
    if start[8:] == b"{" or file.suffix == ".safetensors":  # after 8 bytes of its length, JSON
        content, metadata = _read_safetensors(file)
    else:
        content, metadata = _read_torch(file, start=start), {}
    while isinstance(content, dict) and (wrapper := _wrapper(content)):
        content = content[wrapper]
    named = content if isinstance(content, dict) else {}
    tensors = {key: value.detach() for key, value in named.items() if isinstance(value, torch.Tensor)}
    if not tensors or not all(isinstance(key, str) for key in tensors):
        holds = f"the keys {list(named)[:5]}" if named else f"a {type(content).__name__}"
        raise CheckpointError(f"checkpoint '{file}' holds {holds}, not named tensors: save a state_dict.")
    return tensors, metadata


def _wrapper(content: dict[Any, Any]) -> str | None:
    return next((key for key in WRAPPERS if isinstance(content.get(key), dict)), None)


def _read_safetensors(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _unreadable(file, kind="safetensors file", error=error) from error


def _read_torch(file: Path, *, start: bytes) -> object:
    """Load with weights_only=True, which builds tensors and plain containers and refuses all else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of pickle protocols, and then fails anyway
            return torch.load(str(file), map_location="cpu", weights_only=True, mmap=start.startswith(b"PK"))
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None and not start.startswith(b"\x80"):  # the first byte of a pickle
            raise _unreadable(file, kind="checkpoint", error=error) from error
        objects = wanted[1] if wanted else "not from torch.save"
        raise CheckpointError(
            f"checkpoint '{file}' is a pickle of Python objects ({objects}), which could run any code when "
            "opened, and is refused; only tensors are read: if you trust its author, open it in a throw-away "
            "environment, write its state_dict with safetensors.torch.save_file, and use that file."
        ) from error
    except Exception as error:  # arbitrary bytes fail in any way: EOFError, RuntimeError, KeyError, ...
        raise _unreadable(file, kind="checkpoint", error=error) from error


def _unreadable(file: Path, *, kind: str, error: Exception) -> CheckpointError:
    reason = next(iter(str(error).splitlines()), "")[:100] or type(error).__name__
    return CheckpointError(
        f"'{file}' ({file.stat().st_size} bytes) is not a {kind}, or is truncated or damaged ({reason}): "
        "download it again, or give a file written by safetensors or torch.save."
    )
