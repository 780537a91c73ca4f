"""Hashes of files come in order, and nobody waits for one that is not wanted any more."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from c3dhash.errors import VideoError
from c3dhash.gallery import contents
from c3dhash.gallery.contents import hash_files
from c3dhash.video.loader import stop_point


def test_hashes_and_errors_come_in_order(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{number}.mp4") for number in range(20)]
    for number, name in enumerate(names):
        if number != 7:
            Path(name).write_text(name)
    found = list(hash_files(iter(names), workers=3))
    for number, (name, digest) in enumerate(zip(names, found, strict=True)):
        if number == 7:
            assert isinstance(digest, VideoError)
            assert "7.mp4' does not exist; check the path" in str(digest)
        else:
            assert digest == hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def test_an_endless_file_does_not_keep_ctrl_c_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()

    def endless(path: str) -> str:
        while True:
            started.set()
            stop_point()

    monkeypatch.setattr(contents, "content_hash", endless)

    def names() -> Iterator[str]:
        yield "a"
        started.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(hash_files(names(), workers=2))
    assert started.is_set()
