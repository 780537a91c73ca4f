"""`index` where a file cannot grow: one line, what was done is there, and the same command goes on with room."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from videos import numbered_frame, write_frames

from c3dhash.gallery.store import Gallery
from c3dhash.gallery.verify import verify_gallery
from c3dhash.models.runs import Run

resource = pytest.importorskip("resource", reason="needs limits of POSIX")

INDEX = """
import resource, sys
from c3dhash.cli import main

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
main(sys.argv[2:])
"""
WINDOWS = ("--window-seconds", "0.1", "--stride-seconds", "0.04", "--precision", "fp32", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 videos of 30 windows."""
    path = tmp_path_factory.mktemp("folder")
    for number in range(24):
        write_frames(path / f"{number:02}.mp4", [numbered_frame(40 * number + each) for each in range(32)])
    return path


def index(folder: Path, gallery: Path, *options: str | Path, limit: int) -> subprocess.CompletedProcess[str]:
    """Type the command in a process whose files cannot grow beyond a limit, bytes; what it prints is read by pipes."""
    command = [sys.executable, "-c", INDEX, limit, "index", folder, "--gallery", gallery, *WINDOWS, *options]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def content_of(gallery_path: Path) -> dict[str, tuple[object, bytes]]:
    with Gallery.open(gallery_path) as gallery, gallery.editing() as edits:
        return {video.video: (video, edits.codes(video.video).codes.tobytes()) for video in gallery.videos()}


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error, and see that it is one line: what is before it are logs and bars of progress."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("c3dhash: ") or "Traceback" in line]
    assert lines == [done.stderr.rstrip("\n").splitlines()[-1]], done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def whole(folder: Path, untrained_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "gallery"
    done = index(folder, path, "--model", untrained_run.path, limit=1 << 30)
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "24 added"), done
    return path


@pytest.mark.slow
@pytest.mark.parametrize("limit", [90_000, 220_000])
def test_what_was_done_is_there(limit: int, folder: Path, whole: Path, untrained_run: Run, tmp_path: Path) -> None:
    gallery, options = tmp_path / "gallery", ("--model", untrained_run.path)
    done = index(folder, gallery, *options, limit=limit)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "its disk refuses (disk I/O error); nothing that was done is lost" in last_line(done)
    assert verify_gallery(gallery).is_sound
    expected, before = content_of(whole), content_of(gallery)
    assert 0 < len(before) < 24 and before.items() <= expected.items()
    with Gallery.open(gallery) as opened:
        assert len(opened) == sum(video.num_clips for video, _ in before.values())
    done = index(folder, gallery, *options, limit=1 << 30)
    assert done.returncode == 0 and done.stdout.startswith(f"{24 - len(before)} added"), done
    assert content_of(gallery) == expected
    assert verify_gallery(gallery).is_sound


def test_a_gallery_that_has_videos_keeps_them(folder: Path, untrained_run: Run, tmp_path: Path) -> None:
    """Those of before, and those that were added until the disk was full."""
    gallery, options = tmp_path / "gallery", ("--model", untrained_run.path)
    videos = [folder / f"{number:02}.mp4" for number in range(3)]
    assert index(videos[0], gallery, *videos[1:], *options, limit=1 << 30).returncode == 0
    before = content_of(gallery)
    assert len(before) == 3
    done = index(folder, gallery, *options, limit=(gallery / "catalog.sqlite").stat().st_size)
    assert done.returncode == 1 and "nothing that was done is lost" in last_line(done), done
    after = content_of(gallery)
    assert before.items() <= after.items() and verify_gallery(gallery).is_sound


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        pytest.param(1_000, r"features '.*\.npz' cannot be written \(File too large\): make room",
                     marks=pytest.mark.slow),
        (50_000, r"run '.*model' cannot be written \(.*File too large.*\): look for room and rights"),
    ],
)  # fmt: skip
def test_a_model_of_its_own(limit: int, message: str, folder: Path, tmp_path: Path) -> None:
    """Nothing of a gallery is there before its model is, and what is left of it is no hindrance."""
    gallery, options = tmp_path / "gallery", ("--backbone", "phash", "--hash-length", "64")
    done = index(folder, gallery, *options, "--window-seconds", "1", limit=limit)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert re.search(message, last_line(done))
    done = index(folder, gallery, *options, "--window-seconds", "1", limit=1 << 30)
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "24 added"), done
    assert verify_gallery(gallery).is_sound
