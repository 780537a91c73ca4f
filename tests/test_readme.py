"""The README's Python block runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np

from c3dhash.evaluation.codes import Codes, save_codes

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_block_runs(untrained_run, motion_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(untrained_run.path, tmp_path / "runs" / "motion")
    shutil.copytree(motion_dir / "gallery", tmp_path / "db")
    shutil.copy(sorted((tmp_path / "db").glob("*/*.mp4"))[0], tmp_path / "some_video.mp4")
    codes = np.array([[1], [2]], np.uint8)
    save_codes(Codes(codes, np.array([0, 1]), codes, np.array([0, 1]), 8), tmp_path / "codes.npz")
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert out.startswith("1 0 ")
    assert "{'expected': 1.0" in out


def test_no_figure_is_missing():
    assert not re.findall(r"@[A-Z_]+@", README)
