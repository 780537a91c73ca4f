"""`index`, a migration and a rebuild are killed at random moments: nothing that was there is lost, and they go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from galleries import batch_of
from old_galleries import make_schema_1

from c3dhash.datasets.synth import make_motion_set
from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.store import CODES_NAME, Gallery
from c3dhash.gallery.verify import verify_gallery
from c3dhash.models.runs import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL"),
]
NUM_KILLS = 30
INDEX = """
import sys
import torch, faiss, c3dhash.gallery.fitting, c3dhash.gallery.indexing
from c3dhash.cli import main

print("ready", file=sys.stderr, flush=True)
main(sys.argv[1:])
"""
OPEN = """
import sys
import numpy as np
from c3dhash.gallery.store import Gallery

print("ready", file=sys.stderr, flush=True)
with Gallery.open(sys.argv[1]) as gallery:
    gallery.search(np.zeros((1, len(gallery.codes()[1][0])), np.uint8), k=1)
"""
Content = dict[str, tuple[GalleryVideo, bytes]]


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process, and wait until everything is imported."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stderr is not None
    assert "ready" in iter(process.stderr.readline, "").__next__()
    return process


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill a process after a time; tell whether it was done before."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode != -signal.SIGKILL


def content_of(path: Path) -> Content:
    """Return what a gallery knows of each video, and its codes; also of those that are missing."""
    with Gallery.open(path) as gallery, gallery.editing() as edits:
        videos = [*gallery.videos(), *gallery.missing_videos()]
        return {video.video: (video, edits.codes(video.video).codes.tobytes()) for video in videos}


def assert_sound(path: Path) -> None:
    found = verify_gallery(path)
    assert found.is_sound, found.findings


class Folder:
    """Videos that come, go, are renamed and copied."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path, self._source, self._number = path, sorted(source.rglob("*.mp4")), 0
        path.mkdir()

    def change(self, rng: np.random.Generator) -> None:
        there = sorted(self.path.rglob("*.mp4"))
        for video in rng.permutation(self._source)[:12]:
            self._number += 1
            target = self.path / video.parent.name / f"{self._number}.mp4"
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(video, target)
        for video in rng.permutation(there)[:12]:
            if rng.random() < 0.5:
                video.unlink()
            else:
                video.rename(video.with_name(f"moved {video.name}"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    source = make_motion_set(tmp_path / "source", num_classes=3, videos_per_class={"train": 10}, seed=3)
    return Folder(tmp_path / "db", source)


def test_index_killed_at_random_moments(folder: Folder, untrained_run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    options = ["--model", untrained_run.path, "--precision", "fp32", "--device", "cpu", "--json", "--workers", 1]
    arguments = ["index", folder.path, "--gallery", tmp_path / "gallery", *options]
    folder.change(rng)
    with start(INDEX, *arguments) as process:
        began = time.perf_counter()
        out, err = process.communicate()
        seconds = time.perf_counter() - began
    assert process.returncode == 0, err
    assert json.loads(out)["added"] == 12
    known = {video.content_hash: codes for video, codes in content_of(tmp_path / "gallery").values()}
    num_killed, before = 0, content_of(tmp_path / "gallery")
    while num_killed < NUM_KILLS:
        folder.change(rng)
        more = ["--prune"] if rng.random() < 0.5 else []
        with start(INDEX, *arguments, *more) as process:
            is_done = kill_after(process, rng.uniform(0, 1.2 * seconds))
        num_killed += not is_done
        assert_sound(tmp_path / "gallery")
        after = content_of(tmp_path / "gallery")
        for video, codes in after.values():
            assert known.setdefault(video.content_hash, codes) == codes, "one content has one code"
        kept = {name for name in before if Path(name).exists()}
        assert kept <= after.keys(), "what was there is there, unless its file is gone or elsewhere"
        if is_done:
            found = {name for name, (video, _) in after.items() if video.missing_since is None}
            assert found == {str(path) for path in folder.path.rglob("*.mp4")}
        before = after

    with start(INDEX, *arguments, "--prune") as process:
        assert process.wait() == 0
    with start(INDEX, "index", folder.path, "--gallery", tmp_path / "whole", *options) as process:
        assert process.wait() == 0
    ours, whole = content_of(tmp_path / "gallery"), content_of(tmp_path / "whole")
    assert ours == whole
    assert_sound(tmp_path / "gallery")


@pytest.fixture(params=["a migration", "a rebuild"])
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a gallery that is opened for some tenths of a second."""
    path = tmp_path / "large"
    if request.param == "a migration":
        videos = [(f"{{base}}/db/{n}.mp4", f"h{n}", 10, 100, None, 2) for n in range(255)]
        make_schema_1(path, base=tmp_path, videos=videos)
    else:
        with Gallery.create(path, hash_length=48, model_fingerprint="x") as gallery, gallery.editing() as edits:
            for video in range(2000):
                edits.add(
                    f"{video}.mp4", batch_of(video, num_clips=50), content_hash=str(video), size_bytes=0, mtime_ns=0,
                    label=None,
                )  # fmt: skip
        (path / CODES_NAME).unlink()
    return path


def test_opening_killed_at_random_moments(large: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(large, tmp_path / "whole")
    with start(OPEN, whole) as process:
        began = time.perf_counter()
        assert process.wait() == 0
        seconds = time.perf_counter() - began
    expected, num_killed, rng = content_of(whole), 0, np.random.default_rng(1)
    while num_killed < NUM_KILLS // 2:
        path = shutil.copytree(large, tmp_path / f"copy {num_killed}", dirs_exist_ok=True)
        with start(OPEN, path) as process:
            if kill_after(process, rng.uniform(0, 1.2 * seconds)):
                continue
        num_killed += 1
        assert content_of(path) == expected
        assert_sound(path)
        with Gallery.open(path) as gallery:
            assert len(gallery) == sum(video.num_clips for video, _ in expected.values())
