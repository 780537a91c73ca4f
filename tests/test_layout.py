"""What DESIGN promises about the code itself: the floors of the house, its doors, and what works without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from paths import PACKAGE, ROOT

# From the top; a wing imports from the floors below its own, and from itself.
FLOORS = [
    {"cli"},
    {"web"},
    {"demo"},
    {"training"},
    {"cluster"},
    {"gallery", "evaluation", "recognition"},
    {"report", "models", "datasets"},
    {"video"},
    {"ground"},
]
FLOOR = {wing: height for height, wings in enumerate(reversed(FLOORS)) for wing in wings}
WINGS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
FILES = sorted(PACKAGE.rglob("*.py"))
WITHOUT_TORCH = [
    *(f"c3dhash.{name}" for name in ("errors", "records", "bits", "config", "files", "memory", "cli", *WINGS)),
    *(f"c3dhash.evaluation.{name}" for name in ("metrics", "accuracy", "codes", "comparison", "evaluate")),
    *(f"c3dhash.gallery.{name}" for name in ("catalog", "index", "store", "query")),
    *(f"c3dhash.video.{name}" for name in ("reader", "isolation", "cache", "frame_folder")),
    *(f"c3dhash.datasets.{name}" for name in ("find", "check", "split", "frames", "synth")),
    "c3dhash.models.hashing",
    "c3dhash.models.listing",
    "c3dhash.report.pages",
    "c3dhash.client",
]


def ids(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def wing_of(module: tuple[str, ...]) -> str:
    """("c3dhash", "video", "reader") -> "video"; the files in the package itself are the ground, but for demo."""
    name = module[1] if len(module) > 1 else ""
    return name if name in WINGS or name == "demo" else "ground"


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def is_module(module: tuple[str, ...]) -> bool:
    path = PACKAGE.parent.joinpath(*module)
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(path: Path, *, anywhere: bool) -> list[tuple[tuple[str, ...], str]]:
    """List (module, name) of what a file imports from c3dhash; name is "" where the module itself is meant.

    anywhere: also what functions and type checkers import; else what is imported when the file is.
    """
    tree = ast.parse(path.read_text())
    found = []
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "c3dhash":
            module = tuple(node.module.split("."))
            for alias in node.names:
                inner = (*module, alias.name)
                found.append((inner, "") if is_module(inner) else (module, alias.name))
        elif isinstance(node, ast.Import):
            found += [(tuple(a.name.split(".")), "") for a in node.names if a.name.split(".")[0] == "c3dhash"]
    return found


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_imports_point_downwards(path):
    """Also those inside functions: what is imported late to start fast is no less an import."""
    if path.name == "__main__.py" or path == PACKAGE / "__init__.py":
        return  # the doors of the house: they lead to every floor
    own = wing_of(module_of(path))
    for module, _ in imports(path, anywhere=True):
        other = wing_of(module)
        assert other == own or FLOOR[other] < FLOOR[own], f"{own} imports {'.'.join(module)} from {other}"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_wings_use_only_what_others_hand_on(path):
    own = wing_of(module_of(path))
    for module, name in imports(path, anywhere=True):
        wing = wing_of(module)
        if wing == own:
            continue
        assert not name.startswith("_") or name == "__version__", f"{'.'.join(module)}.{name} is private"
        if wing in WINGS and wing != "cli":
            handed_on = import_module(f"c3dhash.{wing}").__all__
            assert len(module) > 2 and module[2] in handed_on, f"{wing} does not hand on {'.'.join(module)}"


def test_the_web_knows_no_tables_and_no_tensors():
    """What it serves comes from galleries, recognition and reports; with the ground, that is all it calls."""
    for path in (PACKAGE / "web").glob("*.py"):
        wings = {wing_of(module) for module, _ in imports(path, anywhere=True)}
        assert wings <= {"web", "gallery", "recognition", "report", "ground"}, f"{path.name} calls {wings}"
        assert not {"sqlite3", "torch", "cv2", "faiss"} & {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }


def test_nothing_is_handed_on_that_nobody_takes():
    taken = {
        (wing_of(module), module[2])
        for path in [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
        for module, _ in imports(path, anywhere=True)
        if len(module) > 2 and (PACKAGE not in path.parents or wing_of(module) != wing_of(module_of(path)))
    }
    for wing in WINGS:
        if wing != "cli":
            for name in import_module(f"c3dhash.{wing}").__all__:
                assert is_module(("c3dhash", wing, name)), f"{wing} hands on {name}, which is not there"
                assert (wing, name) in taken, f"{wing} hands on {name}, which nobody takes"


def test_no_two_files_import_each_other():
    """No circle at all, of two files or of more; imports for type checkers and inside functions apart."""
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for path in FILES:
        own = module_of(path)
        graph[own] = {module for module, _ in imports(path, anywhere=False)} - {own, ("c3dhash",)}
        if path.name == "__init__.py":  # its own files are its content
            graph[own] = {module for module in graph[own] if module[: len(own)] != own}
    done: set[tuple[str, ...]] = set()

    def visit(module: tuple[str, ...], way: tuple[tuple[str, ...], ...]) -> None:
        assert module not in way, " -> ".join(".".join(step) for step in (*way, module))
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("wing", WINGS)
def test_each_wing_says_in_which_order_to_read_it(wing):
    if wing == "cli":
        return
    text = import_module(f"c3dhash.{wing}").__doc__
    assert "In: " in text and "Out: " in text
    for path in (PACKAGE / wing).iterdir():
        if path.suffix == ".py" and path.stem != "__init__":
            assert path.stem in text.split(), f"{wing} does not mention {path.stem}"
            assert not path.stem.startswith(wing), f"{path.stem} repeats the name of its wing"


def test_tests_mirror_the_wings():
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders == set(WINGS)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_works_without_torch(name):
    script = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_no_path_of_a_machine_and_no_registry():
    forbidden = ("/" + "work/", "/" + "root/", "py" + "pi.org", "npm" + "js.org")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".sh", ".cfg", ".toml", ".html", ".json") and path.exists():
            text = path.read_text()
            assert not [word for word in forbidden if word in text], name
