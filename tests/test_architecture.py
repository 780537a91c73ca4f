"""docs/architecture.md: the commits that it shows apply, are short, and do what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import PACKAGE, ROOT
from videos import write_video

from c3dhash.evaluation.codes import Codes, save_codes

COMMITS = re.findall(r"```diff\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with all the commits in it."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(PACKAGE, folder / "c3dhash", ignore=shutil.ignore_patterns("__pycache__"))
    for commit in COMMITS:
        command = ["git", "apply", "-C1", "-"]
        done = subprocess.run(command, cwd=folder, input=commit, capture_output=True, text=True, check=False)
        assert not done.returncode, f"{done.stderr}\n{commit}"
    return folder


def python(extended: Path, *arguments: str) -> str:
    """Run Python on the extended package, in its folder; return what it prints."""
    env = {**os.environ, "PYTHONPATH": str(extended)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=extended, env=env, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.parametrize("commit", COMMITS, ids=range(len(COMMITS)))
def test_each_adds_under_ten_lines(commit: str) -> None:
    added = [line for line in commit.splitlines() if re.match(r"\+(?!\+\+ ).*\S", line)]
    assert 0 < len(added) < 10


def test_a_backbone(extended: Path) -> None:
    script = (
        "import torch; from c3dhash.models.backbones import build_backbone;"
        "print(build_backbone('tsn_regnet_y_400mf', num_frames=2, size=32)(torch.zeros(1, 3, 2, 32, 32)).shape[1])"
    )
    assert python(extended, "-c", script) == "440\n"
    facts = json.loads(python(extended, "-m", "c3dhash", "models", "show", "tsn_regnet_y_400mf", "--json"))
    assert (facts["feature_dim"], facts["parameters"]) == (440, 3_903_144)


def test_a_data_set_layout(extended: Path) -> None:
    (extended / "set").mkdir()
    write_video(extended / "set" / "a.avi", num_frames=5)
    write_video(extended / "set" / "b.avi", num_frames=5)
    (extended / "set" / "index.csv").write_text("a.avi,walk\nb.avi,run\n")
    script = "from c3dhash import find_dataset; print(find_dataset('set').format, *find_dataset('set').classes)"
    assert python(extended, "-c", script) == "index_csv run walk\n"


def test_a_metric_and_a_command(extended: Path) -> None:
    codes = np.array([[0b00000000], [0b11100000], [0b10000000]], np.uint8)
    labels = np.array([0, 0, 1])
    save_codes(Codes(codes, labels, codes[:1], labels[:1], 8), extended / "codes.npz")
    numbers = json.loads(python(extended, "-m", "c3dhash", "evaluate", "--codes", "codes.npz", "--json"))
    assert numbers["relevant_distance"] == 1.5  # of 0 and 3 bits
    video = write_video(extended / "c.avi", num_frames=5)
    assert "VideoInfo" in python(extended, "-m", "c3dhash", "probe", str(video))
