"""c3dhash train in several processes: one line where something is wrong, and a run that goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import TINY_OPTIONS
from processes import Processes, command

OPTIONS = ["train", *TINY_OPTIONS, "--data"]


def on_one_gpu(arguments: list[str]) -> None:
    """Run the command line on a machine that has one GPU, as PyTorch tells."""
    torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 1
    command(arguments)


def of_rank(*arguments: list[str]) -> None:
    command(arguments[int(os.environ["RANK"])])


def rows(run_dir: Path) -> list[float]:
    path = run_dir / "metrics.jsonl"
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("size", "function", "options", "message"),
    [
        (2, command, [["--epochs", "0", "--out", "run"]], r"epochs \(0\) must be 1 or more"),
        pytest.param(2, command, [[]], "several processes need --out RUN", marks=pytest.mark.slow),
        (2, command, [["--out", "taken"]], "'taken' holds a run already: go on with --resume taken"),
        (4, command, [["--task", "classify", "--classes-per-batch", "2", "--clips-per-class", "1", "--out", "run"]],
         "a batch of 2 clips cannot be divided among 4 processes: start fewer"),
        (2, on_one_gpu, [["--device", "auto", "--out", "run"]],
         "2 processes on this machine need as many GPUs, and this PyTorch sees 1: start fewer"),
        pytest.param(2, on_one_gpu, [["--device", "cuda:0", "--out", "run"]],
                     r"device \('cuda:0'\) must be auto, cpu or cuda", marks=pytest.mark.slow),
        (2, of_rank, [["--margin", "5", "--out", "run"], ["--margin", "7", "--out", "run"]],
         "margin is 7.0 in process 1 and 5.0 in process 0: start all processes of a training with the same command"),
        (2, command, [["--sync-bn", "--micro-batch", "2", "--out", "run"]], "sync_bn is of whole batches"),
    ],
    ids=["option", "no folder", "taken", "batch", "GPUs", "one GPU", "other options", "sync"],
)  # fmt: skip
def test_what_is_wrong_is_one_line_and_changes_nothing(tmp_path, motion_dir, size, function, options, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    arguments = [[*OPTIONS, str(motion_dir), *of_one] for of_one in options]
    started = Processes(size, function, *arguments, folder=tmp_path, extra={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert started.exit_codes() == [2] * size
    (line,) = started.lines()
    assert re.search(message, line)
    assert not any("Traceback" in path.read_text() for path in started.outputs)
    assert (tmp_path / "taken" / "config.json").read_text() == "{}" and len(list((tmp_path / "taken").iterdir())) == 1
    assert not (tmp_path / "run").exists() and not (tmp_path / "runs").exists()


def test_a_lost_process_ends_the_others_and_a_restart_goes_on(tmp_path, motion_dir):
    arguments = [*OPTIONS, str(motion_dir), "--out", "run", "--epochs", "4"]
    extra = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TORCHELASTIC_RESTART_COUNT": "0"}
    started = Processes(2, command, arguments, folder=tmp_path, extra=extra)
    wait_for(lambda: rows(tmp_path / "run"))
    started.processes[1].kill()
    assert started.exit_codes() == [1, -signal.SIGKILL]
    (line,) = started.lines()
    assert re.search(r"another process of this training is gone \(Connection closed.* go on with --resume run", line)
    done = len(rows(tmp_path / "run"))
    assert done < 4
    again = Processes(2, command, arguments, folder=tmp_path, extra={**extra, "TORCHELASTIC_RESTART_COUNT": "1"})
    assert again.exit_codes() == [0, 0]
    assert rows(tmp_path / "run") == [1, 2, 3, 4]
    texts = [path.read_text() for path in again.outputs]
    assert re.findall(r"epoch (\d): loss", "".join(texts)) == list("1234")[done:], "the first process tells it"
    assert ["Best epoch" in text for text in texts] == [True, False]


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGINT, 130, "interrupted. Go on with: c3dhash train --resume run"),
     (signal.SIGTERM, 1, "ended by its launcher, as another process of it was lost, or it was told to. 'run' holds")],
    ids=["Ctrl-C", "SIGTERM"],
)  # fmt: skip
def test_signals_of_the_launcher_leave_a_run_that_goes_on(tmp_path, motion_dir, number, code, message):
    arguments = [*OPTIONS, str(motion_dir), "--out", "run", "--epochs", "100000", "--backbone", "tiny"]
    started = Processes(2, command, arguments, folder=tmp_path, extra={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    wait_for(lambda: rows(tmp_path / "run"))
    for process in started.processes:
        os.kill(process.pid, number)
    assert started.exit_codes() == [code, code]
    (line,) = started.lines()
    assert message in line
    assert not any("Traceback" in path.read_text() for path in started.outputs)
    assert (tmp_path / "run" / "last.pt").is_file() and not list((tmp_path / "run").glob(".c3dhash-partial*"))


@pytest.mark.slow
def test_the_launcher_goes_on_after_a_loss(tmp_path, motion_dir):
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "C3DHASH_OFFLINE": "1"}
    launcher = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1", "--standalone",
         "-m", "c3dhash", *OPTIONS, str(motion_dir), "--out", "run", "--epochs", "4"],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: len(rows(tmp_path / "run")) > 1)
        first = int(
            subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True).stdout.split()[0]
        )
        os.kill(first, signal.SIGKILL)
        out, err = launcher.communicate(timeout=120)
    finally:
        launcher.kill()
    assert launcher.returncode == 0, err
    assert rows(tmp_path / "run") == [1, 2, 3, 4]
    assert out.startswith("Best epoch ") and out.count("\n") == 1
    told = [line for line in err.splitlines() if line.startswith("c3dhash: ")]
    assert len(told) == 1 and "'run' holds the epochs before" in told[0]
    assert len(re.findall(r"epoch 1: loss", err)) == 1, "it goes on, and does not begin anew"
    assert len(re.findall(r"Epoch 1/4:   0%[^%]*\?batch/s\]", err)) == 1, "one process shows how far it is"


def test_a_restart_takes_up_no_run_of_somebody_else(tmp_path, motion_dir):
    arguments = [*OPTIONS, str(motion_dir), "--out", "run", "--epochs", "1"]
    extra = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    Processes(1, command, arguments, folder=tmp_path, extra=extra).exit_codes()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    again = Processes(2, command, arguments, folder=tmp_path, extra={**extra, "TORCHELASTIC_RESTART_COUNT": "1"})
    assert again.exit_codes() == [2, 2]
    assert [line.count("'run' holds a run already") for line in again.lines()] == [1]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before
