"""The cache of decoded frames: the least recently used go, within a limit, and nothing that is not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from c3dhash.errors import UsageError
from c3dhash.files import MARKER, temporary_path
from c3dhash.records import Sample
from c3dhash.video import clips
from c3dhash.video.cache import HASHES_FILE, FrameCache, cache_usage, clear_cache
from c3dhash.video.clips import ClipReader, decoders

FRAMES = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
FILE_BYTES = FRAMES.nbytes + 128  # what numpy writes
STRANGERS = ("features.npy", "0123456789abcdef0123456789abcdef.npy", ".mine.1.2.partial", "c3dhash-notes.npy")


def fail() -> np.ndarray:
    raise AssertionError("decoded again")


def kept(cache: FrameCache, *keys: str) -> list[str]:
    """Return which of some keys have frames in the folder, without using them."""
    return [key for key in keys if cache.path(key).exists()]


def clips_in(directory: Path) -> list[Path]:
    return list(directory.glob("c3dhash-*.npy"))


def make_strangers(directory: Path) -> None:
    for name in STRANGERS:
        (directory / name).write_bytes(b"mine")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "cache"


class TestFrames:
    def test_the_second_time_is_mapped(self, directory):
        cache = FrameCache(directory, max_bytes=10_000)
        assert np.array_equal(cache.frames("a", lambda: FRAMES), FRAMES)
        again = cache.frames("a", fail)
        assert isinstance(again, np.memmap)
        assert np.array_equal(again, FRAMES)
        assert np.array_equal(FrameCache(directory, max_bytes=10_000).frames("a", fail), FRAMES)

    def test_other_keys_are_other_frames(self, directory):
        cache = FrameCache(directory, max_bytes=10_000)
        cache.frames("a", lambda: FRAMES)
        assert np.array_equal(cache.frames("b", lambda: FRAMES + 1), FRAMES + 1)

    @pytest.mark.parametrize("size", [0, 5, 100, 150])
    def test_a_damaged_file_is_made_again(self, directory, size):
        cache = FrameCache(directory, max_bytes=10_000)
        cache.frames("a", lambda: FRAMES)
        (file,) = clips_in(directory)
        file.write_bytes(file.read_bytes()[:size])
        assert np.array_equal(cache.frames("a", lambda: FRAMES), FRAMES)
        assert np.array_equal(cache.frames("a", fail), FRAMES)

    def test_size_zero_keeps_nothing(self, directory):
        cache = FrameCache(directory, max_bytes=0)
        assert cache.frames("a", lambda: FRAMES) is FRAMES
        assert cache.hashes.get([], lambda: "hash") == "hash"
        assert not directory.exists()

    def test_the_folder_may_be_a_link(self, directory):
        directory.mkdir()
        link = directory.with_name("link")
        link.symlink_to(directory)
        FrameCache(link, max_bytes=10_000).frames("a", lambda: FRAMES)
        assert cache_usage(link) == cache_usage(directory) == (1, FILE_BYTES)
        assert clear_cache(link) == (1, FILE_BYTES)
        assert link.is_symlink()


class TestSize:
    def test_the_least_recently_used_goes(self, directory):
        cache = FrameCache(directory, max_bytes=3 * FILE_BYTES)
        for key in "abc":
            cache.frames(key, lambda: FRAMES)
        cache.frames("a", fail)
        for key, expected in (("d", "acd"), ("e", "ade"), ("f", "def")):
            cache.frames(key, lambda: FRAMES)
            assert kept(cache, *"abcdef") == list(expected)

    def test_it_is_never_over_its_size(self, directory):
        cache = FrameCache(directory, max_bytes=50 * FILE_BYTES)
        for number in range(300):
            cache.frames(str(number), lambda: FRAMES)
            assert min(number + 1, 47) <= len(clips_in(directory)) <= 50
        assert kept(cache, *map(str, range(260, 300))) == [str(number) for number in range(260, 300)]

    def test_the_folder_is_read_once_in_many_clips(self, directory, monkeypatch):
        """What a new clip costs must not grow with the clips that are there."""
        num_read = []
        scandir = os.scandir
        monkeypatch.setattr("os.scandir", lambda path: num_read.append(path) or scandir(path))
        cache = FrameCache(directory, max_bytes=64 * FILE_BYTES)
        for number in range(640):
            cache.frames(str(number), lambda: FRAMES)
        assert len(num_read) <= 2 + 640 / 4  # a sixteenth of the size is 4 clips

    def test_what_others_wrote_counts(self, directory):
        one, two = (FrameCache(directory, max_bytes=32 * FILE_BYTES) for _ in range(2))
        for number in range(60):
            one.frames(f"one {number}", lambda: FRAMES)
            two.frames(f"two {number}", lambda: FRAMES)
            assert len(clips_in(directory)) <= 32 + 2 + 1  # a sixteenth more by the other, see the note

    def test_a_clip_larger_than_the_size_costs_the_others_nothing(self, directory, caplog):
        cache = FrameCache(directory, max_bytes=2 * FILE_BYTES)
        cache.frames("a", lambda: FRAMES)
        large = np.zeros((9, 3, 4, 3), np.uint8)
        for _ in range(2):
            assert cache.frames("large", lambda: large) is large
        cache.frames("a", fail)
        assert "is smaller than a clip of 452 bytes" in caplog.text
        assert len(caplog.records) == 1

    def test_another_size_the_next_time(self, directory):
        for size, expected in ((4, "abcd"), (2, "cd"), (4, "cdef")):
            cache = FrameCache(directory, max_bytes=size * FILE_BYTES)
            assert len(clips_in(directory)) <= size
            for key in expected:
                cache.frames(key, lambda: FRAMES)
            assert kept(cache, *"abcdef") == list(expected)

    @pytest.mark.parametrize(("num_clips", "is_said"), [(3, False), (4, True)])
    def test_a_cache_too_small_for_a_run_is_said_once(self, directory, caplog, num_clips, is_said):
        old = FrameCache(directory, max_bytes=3 * FILE_BYTES)
        for key in "xyz":
            old.frames(key, lambda: FRAMES)
        for path in clips_in(directory):
            os.utime(path, (1, 1))
        cache = FrameCache(directory, max_bytes=3 * FILE_BYTES)
        for _ in range(2):
            for key in range(num_clips):
                cache.frames(str(key), lambda: FRAMES)
        assert caplog.text.count("does not hold the clips of this run") == is_said


class TestOwn:
    def test_files_of_others_are_neither_counted_nor_deleted(self, directory):
        directory.mkdir()
        make_strangers(directory)
        cache = FrameCache(directory, max_bytes=FILE_BYTES)
        for key in "abc":
            cache.frames(key, lambda: FRAMES)
        assert cache_usage(directory) == (1, FILE_BYTES)
        assert clear_cache(directory) == (1, FILE_BYTES)
        assert sorted(path.name for path in directory.iterdir()) == sorted([*STRANGERS, MARKER])

    @pytest.mark.parametrize("content", [None, "", "{}", '{"format_version": 99, "cache": {}}', "[]"])
    def test_a_folder_without_our_marker_is_no_cache(self, directory, content):
        directory.mkdir()
        make_strangers(directory)
        (directory / f"c3dhash-{'0' * 32}.npy").write_bytes(b"mine")
        if content is not None:
            (directory / MARKER).write_text(content)
        before = sorted(directory.iterdir())
        assert cache_usage(directory) == clear_cache(directory) == (0, 0)
        assert sorted(directory.iterdir()) == before

    def test_links_and_folders_of_our_names_are_not_ours(self, directory, tmp_path):
        cache = FrameCache(directory, max_bytes=2 * FILE_BYTES)
        (tmp_path / "mine.npy").write_bytes(b"mine" * FILE_BYTES)
        (directory / f"c3dhash-{'0' * 32}.npy").symlink_to(tmp_path / "mine.npy")
        (directory / f"c3dhash-{'1' * 32}.npy").mkdir()
        for key in "abc":
            cache.frames(key, lambda: FRAMES)
        assert kept(cache, *"abc") == ["b", "c"]
        clear_cache(directory)
        assert len(clips_in(directory)) == 2
        assert (tmp_path / "mine.npy").exists()

    def test_clear(self, directory):
        cache = FrameCache(directory, max_bytes=10_000)
        cache.frames("a", lambda: FRAMES)
        (directory / HASHES_FILE).touch()
        assert clear_cache(directory) == (1, FILE_BYTES)
        assert [path.name for path in directory.iterdir()] == [MARKER]
        assert clear_cache(directory.with_name("missing")) == (0, 0)
        cache.frames("a", lambda: FRAMES)  # a run in progress goes on
        assert cache_usage(directory) == (1, FILE_BYTES)

    def test_leftovers_of_a_killed_process_go(self, directory):
        directory.mkdir()
        own = temporary_path(directory / "a")
        killed = directory / own.name.replace(f"-{os.getpid()}-", "-999999999-")
        for path in (own, killed):
            path.write_bytes(b"half")
        FrameCache(directory, max_bytes=10_000)
        assert sorted(path.name for path in directory.iterdir()) == sorted([MARKER, own.name])


class TestTrouble:
    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match=r"file.*--cache-gib 0"):
            FrameCache(tmp_path / "file" / "cache", max_bytes=1000)

    def test_a_folder_that_vanishes(self, directory, caplog):
        cache = FrameCache(directory, max_bytes=10_000)
        shutil.rmtree(directory)
        for _ in range(2):
            assert cache.frames("a", lambda: FRAMES) is FRAMES
        assert caplog.text.count("cannot be written ([Errno 2] No such file or directory") == 1

    def test_a_folder_that_cannot_be_written_is_still_read(self, directory, caplog):
        FrameCache(directory, max_bytes=10_000).frames("a", lambda: FRAMES)
        (directory / MARKER).unlink()
        (directory / MARKER).mkdir()  # root may write into what is read-only: this it may not either
        cache = FrameCache(directory, max_bytes=10_000)
        cache.frames("a", fail)
        assert cache.frames("b", lambda: FRAMES) is FRAMES
        assert "cannot be written" in caplog.text
        assert len(clips_in(directory)) == 1

    def test_files_that_vanish_while_used(self, directory):
        cache = FrameCache(directory, max_bytes=2 * FILE_BYTES)
        cache.frames("a", lambda: FRAMES)
        mapped = cache.frames("a", fail)
        for path in clips_in(directory):
            path.unlink()
        for key in "bcd":
            cache.frames(key, lambda: FRAMES)
        assert np.array_equal(mapped, FRAMES)
        assert kept(cache, *"abcd") == ["c", "d"]


HAMMER = """
import sys, threading
from pathlib import Path
import numpy as np
from c3dhash.video.cache import FrameCache

cache = FrameCache(Path(sys.argv[1]), max_bytes=int(sys.argv[2]))

def work(seed):
    for number in np.random.default_rng([int(sys.argv[3]), seed]).integers(0, 40, 150):
        expected = np.full((2, 3, 4, 3), number, np.uint8)
        assert np.array_equal(cache.frames(str(number), lambda: expected), expected)

threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
threading.excepthook = lambda problem: (sys.__excepthook__(*problem[:3]), __import__("os")._exit(1))
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_processes_and_threads_share_a_folder(directory):
    command = [sys.executable, "-W", "error", "-c", HAMMER, str(directory), str(20 * FILE_BYTES)]
    processes = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(3)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert len(clips_in(directory)) <= 20 + 2 * 2
    assert {path.name for path in directory.iterdir() if "partial" in path.name} == set()
    for path in clips_in(directory):
        assert np.load(path).shape == FRAMES.shape


def test_threads_that_ask_for_one_clip(directory):
    cache = FrameCache(directory, max_bytes=10 * FILE_BYTES)
    barrier = threading.Barrier(8)

    def decode() -> np.ndarray:
        barrier.wait()
        return FRAMES

    threads = [threading.Thread(target=cache.frames, args=("a", decode)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache_usage(directory) == (1, FILE_BYTES)


class TestKeys:
    """What a clip is kept under; the frames themselves are those of tests/video/test_frame_folder.py."""

    def test_another_decoder_is_another_key(self, directory, motion_dir, monkeypatch):
        sample = Sample(next(motion_dir.rglob("*.mp4")), (0,), "train")
        reader = ClipReader(4, 16, FrameCache(directory, max_bytes=1 << 20))
        for versions, expected in (("one", 1), ("one", 1), ("two", 2)):
            monkeypatch.setattr(clips, "decoders", lambda versions=versions: versions)
            reader.evaluation_clip(sample)
            assert cache_usage(directory)[0] == expected

    def test_the_versions_that_count(self):
        assert f"OpenCV {cv2.__version__}" in decoders()
        assert decoders().startswith(f"frames {clips.FRAMES_VERSION}, ")
        av = pytest.importorskip("av")
        assert f"PyAV {av.__version__}, libavcodec {av.library_versions['libavcodec'][0]}." in decoders()

    def test_a_new_start_does_not_read_the_videos(self, directory, motion_dir, monkeypatch):
        monkeypatch.setattr("c3dhash.video.hashes.RACY_NS", -(10**18))  # as if the videos were old
        sample = Sample(next(motion_dir.rglob("*.mp4")), (0,), "train")
        clip = ClipReader(4, 16, FrameCache(directory, max_bytes=1 << 20)).evaluation_clip(sample)
        monkeypatch.setattr(clips, "sample_hash", lambda *_, **__: pytest.fail("read again"))
        again = ClipReader(4, 16, FrameCache(directory, max_bytes=1 << 20)).evaluation_clip(sample)
        assert np.array_equal(clip, again)
