"""Where things lie, from a test of any wing."""

from __future__ import annotations

from pathlib import Path

TESTS_DIR = Path(__file__).parent
GOLDEN_DIR = TESTS_DIR / "golden"
ROOT = TESTS_DIR.parent
PACKAGE = ROOT / "c3dhash"
