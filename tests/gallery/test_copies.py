"""Copies of videos of a gallery: how they are made, found and counted."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import write_frames

from c3dhash.config import EncodeConfig, HashConfig
from c3dhash.errors import GalleryError
from c3dhash.gallery.copies import KINDS, kinds_of, try_copies
from c3dhash.gallery.fitting import index_with_features, make_run
from c3dhash.gallery.indexing import open_gallery
from c3dhash.gallery.store import Gallery
from c3dhash.models.runs import Run, load_run

WINDOWS = EncodeConfig(window_seconds=1.0, stride_seconds=0.5, device="cpu", precision="fp32")
WHOLE = EncodeConfig(window_seconds=0, device="cpu", precision="fp32")


def film(seed: int, *, seconds: float = 8.0) -> list[np.ndarray]:
    """Scenes of coarse pictures that go over into each other, 10 frames a second."""
    rng = np.random.default_rng(seed)
    scenes = rng.integers(0, 256, (2 + int(seconds), 6, 8, 3)).astype(np.float32)
    frames = []
    for number in range(int(10 * seconds)):
        share = number % 10 / 10
        mixed = (1 - share) * scenes[number // 10] + share * scenes[number // 10 + 1]
        frames.append(cv2.resize(mixed, (96, 72), interpolation=cv2.INTER_LINEAR).astype(np.uint8))
    return frames


def indexed(folder: Path, videos: Path, config: EncodeConfig = WINDOWS) -> Run:
    run = make_run(folder, [videos], config=HashConfig(backbone="phash", hash_length=64), encode=config)
    with open_gallery(folder, run, config=config) as gallery:
        index_with_features(run, gallery, [videos], config=config)
    return load_run(run.path)


@pytest.fixture
def videos(tmp_path) -> Path:
    (tmp_path / "videos").mkdir()
    for number in range(5):
        write_frames(tmp_path / "videos" / f"{number}.avi", film(number), fps=10)
    return tmp_path / "videos"


def test_copies_are_found_and_nothing_is_changed(tmp_path, videos):
    run = indexed(tmp_path / "gallery", videos)
    before = (tmp_path / "gallery" / "catalog.sqlite").read_bytes()
    steps = []
    with Gallery.open(tmp_path / "gallery") as gallery:
        trial = try_copies(run, gallery, num_videos=3, mirror=True, config=WHOLE, on_copy=lambda: steps.append(1))
        plain = try_copies(run, gallery, num_videos=100, config=WHOLE)
    assert (trial.num_videos, trial.num_unreadable, plain.num_videos) == (3, 0, 5)
    assert list(trial.found) == list(KINDS) and list(plain.found) == list(KINDS)[:-1] == kinds_of(mirror=False)
    assert len(steps) == 3 * len(KINDS)
    assert all(share == 1 for share in trial.found.values())
    assert trial.meaning.own_counts.sum() == 3 * len(KINDS) == trial.meaning.other_counts.sum()
    assert trial.meaning.precision(255) > 0.9 > 0.5 > trial.meaning.precision(0)
    assert (tmp_path / "gallery" / "catalog.sqlite").read_bytes() == before


def test_mirror_images_are_found_only_in_a_mirror(tmp_path, videos, monkeypatch):
    run = indexed(tmp_path / "gallery", videos)
    monkeypatch.setattr("c3dhash.gallery.copies.kinds_of", lambda **_: ["coded again", "mirrored"])
    with Gallery.open(tmp_path / "gallery") as gallery:
        found = try_copies(run, gallery, num_videos=5, config=WHOLE).found
    assert found["coded again"] == 1 and found["mirrored"] < 0.5


def test_copies_that_are_there_already_are_not_wrong(tmp_path, videos):
    """Of two files of one film neither is the wrong one."""
    write_frames(videos / "0 again.mp4", film(0), fps=10)
    write_frames(videos / "1 again.mp4", film(1), fps=10)
    run = indexed(tmp_path / "gallery", videos)
    with Gallery.open(tmp_path / "gallery") as gallery:
        trial = try_copies(run, gallery, num_videos=7, config=WHOLE)
    assert trial.found["coded again"] == 1
    assert trial.meaning.other_counts[20:].sum() == 0


def test_files_that_cannot_be_read_are_counted(tmp_path, videos):
    run = indexed(tmp_path / "gallery", videos)
    (videos / "2.avi").write_bytes(b"no video any more")
    (videos / "3.avi").unlink()
    with Gallery.open(tmp_path / "gallery") as gallery:
        trial = try_copies(run, gallery, num_videos=5, config=WHOLE)
        assert (trial.num_videos, trial.num_unreadable) == (3, 2)
        for number in (0, 1, 4):
            (videos / f"{number}.avi").unlink()
        with pytest.raises(GalleryError, match="has 0 videos that can be read: two are needed"):
            try_copies(run, gallery, num_videos=5, config=WHOLE)


def test_without_windows_the_whole_is_copied(tmp_path, videos):
    write_frames(videos / "long.avi", film(9, seconds=90), fps=10)
    run = indexed(tmp_path / "gallery", videos, WHOLE)
    with Gallery.open(tmp_path / "gallery") as gallery:
        trial = try_copies(run, gallery, num_videos=6, config=WHOLE)
    assert (trial.num_videos, trial.num_unreadable, trial.found["coded again"]) == (5, 1, 1)


def test_other_codes(tmp_path, videos, untrained_run):
    indexed(tmp_path / "gallery", videos)
    with Gallery.open(tmp_path / "gallery") as gallery, pytest.raises(Exception, match="model"):
        try_copies(untrained_run, gallery, num_videos=2)


def test_the_command(tmp_path, videos, run):
    indexed(tmp_path / "gallery", videos)
    options = ("--gallery", tmp_path / "gallery")
    assert "same film" not in run("query", videos / "0.avi", *options)[1]
    code, out, _ = run("gallery", "calibrate", *options, "--videos", "4", "--mirror")
    assert code == 0 and out.splitlines()[0].split() == ["copy", "found", "first", "and", "surely"]
    assert [line.split()[-2:] for line in out.splitlines()[1:-1]] == [["1.00", "1.00"]] * len(KINDS)
    assert "4 videos copied. 95% of hits are the same film from a score of" in out
    code, out, _ = run("query", videos / "0.avi", *options, "--html", tmp_path / "page.html")
    header, first, second, *_ = out.splitlines()
    assert header.split()[:4] == ["rank", "score", "same", "film"]
    assert int(first.split()[2].rstrip("%")) > 90 > 50 > int(second.split()[2].rstrip("%"))
    assert (tmp_path / "page.html").read_text().count("% same film") == 5
    code, _, err = run("gallery", "calibrate", "--gallery", tmp_path / "none")
    assert (code, "does not exist" in err) == (1, True)
    code, _, err = run("gallery", "calibrate", *options, "--videos", "1")
    assert code == 2
