"""Which versions made a result."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from pathlib import Path

import torch

import c3dhash


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on, with the git commit where there is one."""
    commit, root = "", Path(__file__).parents[1]
    if (root / ".git").exists():  # an installed package may lie in somebody else's repository
        with suppress(OSError):  # no git
            command = ["git", "rev-parse", "HEAD"]
            commit = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    return {"c3dhash": c3dhash.__version__, "torch": torch.__version__, "python": platform.python_version(),
            **({"git_commit": commit} if commit else {})}  # fmt: skip
