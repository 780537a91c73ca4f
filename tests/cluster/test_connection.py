"""What a server said lately: asked once for all who want to know."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from c3dhash.cluster import connection
from c3dhash.cluster.connection import Lately
from c3dhash.errors import GalleryError


def test_a_silent_server_is_asked_once_for_all_who_wait():
    asked: list[int] = []

    def ask() -> int:
        asked.append(len(asked))
        time.sleep(0.2)
        raise GalleryError(f"silent ({len(asked)})")

    lately, barrier = Lately(ask), threading.Barrier(8)

    def get(_: int) -> str:
        barrier.wait()
        with pytest.raises(GalleryError) as caught:
            lately.get()
        return str(caught.value)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get, range(8))) == {"silent (1)"}
    assert asked == [0]


def test_it_is_asked_again_after_a_moment(monkeypatch):
    answers = iter((GalleryError("lost"), 0, 2))

    def ask() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    lately = Lately(ask)
    with pytest.raises(GalleryError, match="lost"):
        lately.get()
    with pytest.raises(GalleryError, match="lost"):
        lately.get()
    monkeypatch.setattr(connection, "FRESH_SECONDS", 0.0)
    assert lately.get() == 0
    monkeypatch.setattr(connection, "FRESH_SECONDS", 60.0)
    assert lately.get() == 0
    monkeypatch.setattr(connection, "FRESH_SECONDS", 0.0)
    assert lately.get() == 2
