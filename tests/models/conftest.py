"""What tests of weights share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Save anything with torch.save and return the path."""

    def save_as(content: object, name: str = "file.pth", **options: Any) -> Path:
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return save_as
