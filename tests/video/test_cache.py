from __future__ import annotations

import os

import numpy as np
import pytest

from c3dhash.errors import UsageError
from c3dhash.video.cache import FrameCache, clear_cache

FRAMES = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
FILE_BYTES = FRAMES.nbytes + 128  # what numpy writes


def fail() -> np.ndarray:
    raise AssertionError("decoded again")


def test_the_second_time_is_mapped(tmp_path):
    cache = FrameCache(tmp_path, max_bytes=10_000)
    assert np.array_equal(cache.frames("a", lambda: FRAMES), FRAMES)
    again = cache.frames("a", fail)
    assert isinstance(again, np.memmap)
    assert np.array_equal(again, FRAMES)
    assert np.array_equal(FrameCache(tmp_path, max_bytes=10_000).frames("a", fail), FRAMES)


def test_other_keys_are_other_frames(tmp_path):
    cache = FrameCache(tmp_path, max_bytes=10_000)
    cache.frames("a", lambda: FRAMES)
    assert np.array_equal(cache.frames("b", lambda: FRAMES + 1), FRAMES + 1)


@pytest.mark.parametrize("size", [0, 5, 100, 150])
def test_a_damaged_file_is_made_again(tmp_path, size):
    cache = FrameCache(tmp_path, max_bytes=10_000)
    cache.frames("a", lambda: FRAMES)
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:size])
    assert np.array_equal(cache.frames("a", lambda: FRAMES), FRAMES)
    assert np.array_equal(cache.frames("a", fail), FRAMES)


def test_a_full_cache_goes_on_without_keeping(tmp_path):
    cache = FrameCache(tmp_path, max_bytes=FRAMES.nbytes)
    cache.frames("a", lambda: FRAMES)
    assert np.array_equal(cache.frames("b", lambda: FRAMES), FRAMES)
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(AssertionError, match="decoded again"):
        cache.frames("b", fail)


def test_size_zero_keeps_nothing(tmp_path):
    cache = FrameCache(tmp_path / "none", max_bytes=0)
    assert cache.frames("a", lambda: FRAMES) is FRAMES
    assert not (tmp_path / "none").exists()


def test_a_new_process_deletes_what_was_unused_for_longest(tmp_path):
    cache = FrameCache(tmp_path, max_bytes=10_000)
    for number, name in enumerate("abc"):
        cache.frames(name, lambda: FRAMES)
        newest = max(tmp_path.glob("*.npy"), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    cache.frames("a", fail)  # used again: now "b" is the oldest
    smaller = FrameCache(tmp_path, max_bytes=2 * FILE_BYTES)
    smaller.frames("a", fail)
    smaller.frames("c", fail)
    with pytest.raises(AssertionError, match="decoded again"):
        smaller.frames("b", fail)


def test_leftovers_of_a_killed_process_go(tmp_path):
    (tmp_path / ".abc.999999999.1.partial").write_bytes(b"half")
    own = tmp_path / f".abc.{os.getpid()}.1.partial"
    own.write_bytes(b"being written")
    FrameCache(tmp_path, max_bytes=10_000)
    assert [path.name for path in tmp_path.iterdir()] == [own.name]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file.*--cache-gib 0"):
        FrameCache(tmp_path / "file" / "cache", max_bytes=1000)
    cache = FrameCache(tmp_path / "cache", max_bytes=10_000)

    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("c3dhash.video.cache.np.save", no_room)
    assert np.array_equal(cache.frames("a", lambda: FRAMES), FRAMES)
    assert "No space left" in caplog.text
    assert not list((tmp_path / "cache").iterdir())


def test_clear(tmp_path):
    FrameCache(tmp_path, max_bytes=10_000).frames("a", lambda: FRAMES)
    assert clear_cache(tmp_path) == (1, FILE_BYTES)
    assert not list(tmp_path.iterdir())
    assert clear_cache(tmp_path / "missing") == (0, 0)
