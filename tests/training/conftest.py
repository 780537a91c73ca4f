"""Training without its pictures."""

from __future__ import annotations

import pytest

from c3dhash.training import log


@pytest.fixture(autouse=True)
def without_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no curves, which take most of the time of so small a training, but for a test that looks at them."""
    if "draws_curves" not in request.keywords:
        monkeypatch.setattr(log, "plot_curves", lambda *_: None)
