"""Killed at any moment, out of room or second in line: the same once more gives what an undisturbed run gives."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from galleries import content_of, make_gallery

from c3dhash.gallery.catalog import Catalog
from c3dhash.gallery.exports import export_gallery
from c3dhash.gallery.imports import import_file
from c3dhash.gallery.store import Gallery
from c3dhash.gallery.verify import verify_gallery

IMPORT = """
import os, sys, threading
from pathlib import Path
from c3dhash.gallery import intake
from c3dhash.gallery.imports import import_file

intake.CLIPS_PER_TRANSACTION = 60
timer = threading.Timer(float(sys.argv[3]), os.kill, (os.getpid(), 9))  # seconds after the first video

def start(stage):
    if stage == "Importing" and not timer.is_alive():
        timer.start()

import_file(Path(sys.argv[1]), Path(sys.argv[2]), on_step=start)
timer.cancel()
"""
NUM_VIDEOS = 150


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intake")
    export_gallery(make_gallery(folder / "gallery", range(NUM_VIDEOS), missing=[3, 60]), folder / "all.csv")
    import_file(folder / "whole", folder / "all.csv")
    return folder


def kill_and_resume(source: Path, gallery: Path, rng: random.Random) -> int:
    """Import, be killed after a random time until it is not, and compare; return how often it was killed."""
    num_kills = 0
    while True:
        command = [
            sys.executable,
            "-c",
            IMPORT,
            str(gallery),
            str(source / "all.csv"),
            str(rng.uniform(0, 0.25 if num_kills else 0.01)),
        ]
        code = subprocess.run(command, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        assert verify_gallery(gallery).is_sound
        if code == 0:
            break
        num_kills += 1
    assert content_of(gallery) == content_of(source / "whole")
    return num_kills


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_import_goes_on(source: Path, tmp_path: Path) -> None:
    assert kill_and_resume(source, tmp_path / "gallery", random.Random(0)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 13))
def test_a_killed_import_goes_on_wherever_it_was(seed: int, source: Path, tmp_path: Path) -> None:
    kill_and_resume(source, tmp_path / "gallery", random.Random(seed))


FULL = """
import resource, sys
from pathlib import Path
from c3dhash.errors import GalleryError
from c3dhash.gallery import intake
from c3dhash.gallery.imports import import_file

intake.CLIPS_PER_TRANSACTION = 60
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    import_file(Path(sys.argv[1]), Path(sys.argv[2]))
except GalleryError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs limits of POSIX")
@pytest.mark.parametrize("limit", [50_000, 100_000])
def test_without_room_it_says_so_and_goes_on_later(limit: int, source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "gallery"), str(source / "all.csv"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "its disk refuses (disk I/O error); nothing that was done is lost" in done.stdout, done
    import_file(tmp_path / "gallery", source / "all.csv")
    assert content_of(tmp_path / "gallery") == content_of(source / "whole")
    assert verify_gallery(tmp_path / "gallery").is_sound


def test_an_interrupted_import_leaves_whole_transactions(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c3dhash.gallery.intake.CLIPS_PER_TRANSACTION", 60)
    steps: list[str] = []

    def interrupt(stage: str) -> None:
        steps.append(stage)
        if steps.count("Importing") == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(tmp_path / "gallery", source / "all.csv", on_step=interrupt)
    with Gallery.open(tmp_path / "gallery") as gallery:
        assert len(gallery.videos()) == 48, "eight transactions of six videos"
    import_file(tmp_path / "gallery", source / "all.csv")
    assert content_of(tmp_path / "gallery") == content_of(source / "whole")


def test_transactions_are_of_bounded_size(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("c3dhash.gallery.intake.VIDEOS_PER_TRANSACTION", 40)
    import_file(tmp_path / "gallery", source / "all.csv")
    catalog = Catalog(tmp_path / "gallery" / "catalog.sqlite", timeout_seconds=1)
    assert catalog.revision().number == 4, "40 + 40 + 40 + 30 videos"
    catalog.close()
    import_file(tmp_path / "gallery", source / "all.csv")
    with Gallery.open(tmp_path / "gallery") as gallery:
        assert gallery._catalog.revision().number == 4, "nothing is written where there is nothing to do"


def test_two_at_once_take_turns(source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORT, str(tmp_path / "gallery"), str(source / "all.csv"), "100"]
    with subprocess.Popen(command) as first, subprocess.Popen(command) as second:
        pass
    assert (first.returncode, second.returncode) == (0, 0)
    assert content_of(tmp_path / "gallery") == content_of(source / "whole")
    assert verify_gallery(tmp_path / "gallery").is_sound
