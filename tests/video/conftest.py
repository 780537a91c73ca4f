"""What tests of reading share."""

from __future__ import annotations

import pytest

from c3dhash.video import reader


@pytest.fixture(params=["OpenCV", "PyAV"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read with each."""
    if request.param == "OpenCV":
        monkeypatch.setattr(reader, "_packets", lambda: None)
    else:
        pytest.importorskip("av")
    return request.param
