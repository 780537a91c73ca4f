"""Settings that depend on where they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from c3dhash.config import CacheConfig
from c3dhash.errors import UsageError
from c3dhash.models.known_weights import weights_cache


@pytest.mark.parametrize("home", ["", "other"])
def test_frames_and_weights_are_in_one_folder(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tmp_path / (home or ".cache") / "c3dhash"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / home) if home else "")
    assert CacheConfig().directory == expected / "frames"
    assert weights_cache() == expected / "weights"
    assert CacheConfig(cache=tmp_path).directory == tmp_path


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_out_of_range(quality: int) -> None:
    with pytest.raises(UsageError, match=rf"cache_quality \({quality}\)"):
        CacheConfig(cache_quality=quality)
