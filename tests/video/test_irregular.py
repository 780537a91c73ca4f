"""Pipes, devices and folders that are named like videos, and the hash of a file that never ends."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import read_frame_folder
from paths import ROOT

from c3dhash.errors import VideoError
from c3dhash.records import FrameFolder, Sample
from c3dhash.video.isolation import shared_pool
from c3dhash.video.loader import prefetch
from c3dhash.video.reader import content_hash, find_videos, probe, read_clip, read_clips
from c3dhash.video.samples import sample_hash


def within_seconds(function: Callable[[], object]) -> object:
    """Call what might hang."""
    outcome: list[object] = []

    def work() -> None:
        try:
            outcome.append(function())
        except VideoError as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it hangs"
    return outcome[0]


def make_irregular(path: Path, kind: str) -> Path:
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))  # the absolute one may be too long for a socket
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("is_linked", [False, True], ids=["itself", "linked"])
@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a socket", "a folder"])
def test_what_is_no_regular_file_is_refused_wherever_it_comes_in(tmp_path: Path, kind: str, is_linked: bool) -> None:
    path = make_irregular(tmp_path / "a.mp4", kind)
    if is_linked:
        path.rename(tmp_path / "target")
        path.symlink_to("target")
    if kind != "a folder":
        assert find_videos(tmp_path) == [path]  # so that it is reported
    readers: tuple[Callable[[], object], ...] = (
        lambda: content_hash(path),
        lambda: probe(path),
        lambda: read_clip(path, num_frames=4),
        lambda: list(shared_pool().stream(read_clips, path, num_frames=4)),
        lambda: sample_hash(Sample(path, (0,), "train")),
    )
    for reader in readers:
        with pytest.raises(VideoError, match=rf"video '.*a\.mp4' is not a file but {kind}; name a regular file"):
            raise within_seconds(reader)


def test_a_picture_that_is_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    sample = Sample(tmp_path, (0,), "train", frames=FrameFolder())
    for reader in (lambda: sample_hash(sample), lambda: read_frame_folder(tmp_path, num_frames=4)):
        with pytest.raises(VideoError, match=r"1\.png' is not a file but a named pipe"):
            raise within_seconds(reader)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone.mp4", r"'gone.mp4' does not exist"),
        ("setup.cfg/a.mp4", r"'setup.cfg/a.mp4' does not exist"),
        ("a\0.mp4", r"'a\\x00.mp4' cannot be read \(embedded null byte\)"),
        (f"{'a' * 300}.mp4", r"a.mp4' cannot be read \(File name too long\)"),
    ],
)
def test_what_cannot_be_looked_at(path: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for reader in (content_hash, probe):
        with pytest.raises(VideoError, match=reason):
            reader(Path(path))


def test_a_hash_ends_with_who_asked_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a large file: here one that is read a byte at a time, behind one that is done."""
    monkeypatch.setattr("c3dhash.video.reader.HASHED_BYTES", 1)
    (tmp_path / "small.mp4").write_bytes(b"12")
    with (tmp_path / "large.mp4").open("wb") as file:
        file.truncate(40 << 30)
    hashes = prefetch(content_hash, [tmp_path / "small.mp4", tmp_path / "large.mp4"], workers=2)
    next(hashes)
    within_seconds(hashes.close)
