"""What DESIGN promises about the code itself: imports point downwards, and some of it works without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "c3dhash"

# From the top; a module may import from its own layer and from those below.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"demo"},
    {"train", "query", "evaluate", "recognize", "indexing", "fitting", "onnx_export", "model_list"},
    {"data_check", "data_split", "data_frames", "data_list"},
    {"validation", "optimization", "frozen", "training_log"},
    {"encode", "pages"},
    {"clips", "batches", "model", "gallery", "datasets"},
    {"replica", "weights", "versions", "plots", "comparison"},
    {"catalog", "index", "schema", "weight_files"},
    {"checkpoints"},
    {"backbones", "losses", "transforms", "frame_folder"},
    {"video"},
    {"packets", "passes"},
    {"timeline"},
    {"clip_plan", "decoder", "cache", "loader", "isolation", "precision"},
    {"containers"},
    {"metrics", "codes", "hashing"},
    {"counts", "ties", "accuracy"},
    {"config"},
    {"bits"},
    {"records"},
    {"files", "memory"},
    {"errors"},
    {"__init__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
WITHOUT_TORCH = [
    "errors",
    "records",
    "bits",
    "metrics",
    "accuracy",
    "codes",
    "hashing",
    "comparison",
    "config",
    "catalog",
    "index",
    "gallery",
    "query",
    "evaluate",
    "video",
    "datasets",
    "cli",
]


def imports(path: Path) -> set[str]:
    """The c3dhash modules that a file imports when it is imported; not those of functions and type checking."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "c3dhash":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found - {"__version__"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"give {own} a layer"
    upwards = {name for name in imports(path) if name in LEVEL and LEVEL[name] < LEVEL[own]}
    assert not upwards, f"{own} imports from above: {upwards}"


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_works_without_torch(name):
    script = f"import sys, c3dhash.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_no_path_of_a_machine_and_no_registry():
    forbidden = ("/" + "work/", "/" + "root/", "py" + "pi.org", "npm" + "js.org")
    root = PACKAGE.parent
    files = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        path = root / name
        if path.suffix in (".py", ".md", ".sh", ".cfg", ".toml", ".html", ".json") and path.exists():
            text = path.read_text()
            assert not [word for word in forbidden if word in text], name
