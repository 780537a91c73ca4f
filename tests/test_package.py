"""What `import c3dhash` gives."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from paths import PACKAGE

import c3dhash


@pytest.mark.parametrize("name", c3dhash.__all__)
def test_every_name_is_there_and_the_one_it_says(name: str) -> None:
    thing = getattr(c3dhash, name)
    assert name == "__version__" or thing.__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'c3dhash' has no attribute 'load_runs'"):
        c3dhash.load_runs  # noqa: B018


def test_type_checkers_see_what_python_sees() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module.removeprefix("c3dhash.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert seen == c3dhash._HOMES
    assert set(c3dhash.__all__) == {*seen, "__version__"}


def test_importing_it_imports_nothing_heavy() -> None:
    script = "import sys, c3dhash; sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'cv2', 'faiss')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
