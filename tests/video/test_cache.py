"""The cache of frames: those unused for longest go, within a limit, and nothing that is not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from c3dhash.errors import UsageError, VideoError
from c3dhash.files import MARKER, temporary_path
from c3dhash.records import Sample
from c3dhash.video import clips
from c3dhash.video.cache import HASHES_FILE, FrameCache, cache_usage, clear_cache
from c3dhash.video.clips import ClipReader, decoders
from c3dhash.video.loader import Stopped, stop_when
from c3dhash.video.stored import LOSSLESS, Chunk, StoredFrames, compress, write_frames

FRAMES = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
STRANGERS = ("features.npy", "0123456789abcdef0123456789abcdef.frames", ".mine.1.2.partial", "c3dhash-notes.frames")


def all_of(stored: StoredFrames) -> list[int]:
    return list(range(len(stored.times)))


def made_of(frames: np.ndarray, *, quality: int) -> Iterator[Chunk]:
    timed = [(index / 25, frame) for index, frame in enumerate(frames)]
    yield from compress([*timed, (len(frames) / 25, None)], quality=quality)


def lossless(directory: Path, *, max_bytes: int = 10_000) -> FrameCache:
    return FrameCache(directory, max_bytes=max_bytes, quality=LOSSLESS)


def ask(cache: FrameCache, key: str, frames: np.ndarray = FRAMES) -> np.ndarray | None:
    return cache.frames(key, choose=all_of, compress=partial(made_of, frames))


def find(cache: FrameCache, key: str) -> np.ndarray | None:
    """Ask for frames that must be there."""

    def fail(*, quality: int) -> Iterator[Chunk]:
        raise AssertionError("decoded again")

    return cache.frames(key, choose=all_of, compress=fail)


@pytest.fixture(scope="module")
def file_bytes(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The size of the file of FRAMES."""
    path = tmp_path_factory.mktemp("size") / "one"
    return write_frames(path, made_of(FRAMES, quality=LOSSLESS), max_bytes=10_000)


def kept(cache: FrameCache, *keys: str) -> list[str]:
    """Return which of some keys have frames in the folder, without using them."""
    return [key for key in keys if cache.path(key).exists()]


def files_in(directory: Path) -> list[Path]:
    return list(directory.glob("c3dhash-*.frames"))


def make_strangers(directory: Path) -> None:
    for name in STRANGERS:
        (directory / name).write_bytes(b"mine")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class TestFrames:
    def test_the_second_time_they_are_there(self, directory: Path) -> None:
        cache = lossless(directory)
        assert np.array_equal(ask(cache, "a"), FRAMES)
        assert np.array_equal(find(cache, "a"), FRAMES)
        assert np.array_equal(find(lossless(directory), "a"), FRAMES)

    def test_only_what_is_chosen(self, directory: Path) -> None:
        cache = lossless(directory)
        ask(cache, "a")
        chosen = cache.frames("a", choose=lambda _: [1, 1, 0], compress=pytest.fail)
        assert np.array_equal(chosen, FRAMES[[1, 1, 0]])

    def test_other_keys_and_qualities_are_other_frames(self, directory: Path) -> None:
        cache = lossless(directory)
        ask(cache, "a")
        assert np.array_equal(ask(cache, "b", FRAMES + 1), FRAMES + 1)
        lossy = FrameCache(directory, max_bytes=10_000, quality=50)
        assert not np.array_equal(ask(lossy, "a"), FRAMES)
        assert len(files_in(directory)) == 3

    @pytest.mark.parametrize("cut", [0, 5, 100, -1, slice(30, 40), slice(-50, -40)])
    def test_a_damaged_file_is_made_again(
        self, directory: Path, cut: int | slice, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = lossless(directory)
        ask(cache, "a")
        (file,) = files_in(directory)
        content = file.read_bytes()
        if isinstance(cut, slice):
            content = content[: cut.start] + bytes(10) + content[cut.stop :]
        file.write_bytes(content if isinstance(cut, slice) else content[:cut])
        assert np.array_equal(ask(cache, "a"), FRAMES)
        assert "are made again" in caplog.text
        assert np.array_equal(find(cache, "a"), FRAMES)

    def test_size_zero_keeps_nothing(self, directory: Path) -> None:
        cache = lossless(directory, max_bytes=0)
        assert not cache.is_on
        assert find(cache, "a") is None
        assert cache.hashes.get([], lambda: "hash") == "hash"
        assert not directory.exists()

    def test_the_folder_may_be_a_link(self, directory: Path, file_bytes: int) -> None:
        directory.mkdir()
        link = directory.with_name("link")
        link.symlink_to(directory)
        ask(lossless(link), "a")
        assert cache_usage(link) == cache_usage(directory) == (1, file_bytes)
        assert clear_cache(link) == (1, file_bytes)
        assert link.is_symlink()

    def test_what_does_not_compress_is_tried_once(self, directory: Path) -> None:
        tries = []

        def broken(*, quality: int) -> Iterator[Chunk]:
            tries.append(quality)
            raise VideoError("damaged")

        cache = lossless(directory)
        for _ in range(2):
            assert cache.frames("a", choose=all_of, compress=broken) is None
        assert tries == [LOSSLESS]
        assert [path.name for path in directory.iterdir()] == [MARKER]

    def test_writing_ends_with_who_waits_for_it(self, directory: Path) -> None:
        stop = threading.Event()

        def endless(*, quality: int) -> Iterator[Chunk]:
            while True:
                stop.set()
                yield Chunk([0.0], [b"x"])

        def work() -> None:
            stop_when(stop)
            with pytest.raises(Stopped):
                lossless(directory).frames("a", choose=all_of, compress=endless)
            ended.set()

        ended = threading.Event()
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert ended.wait(60)
        assert [path.name for path in directory.iterdir()] == [MARKER]


class TestSize:
    def test_what_was_not_used_for_longest_goes(self, directory: Path, file_bytes: int) -> None:
        for key in "abc":
            ask(lossless(directory, max_bytes=3 * file_bytes), key)
        cache = lossless(directory, max_bytes=3 * file_bytes)
        find(cache, "a")
        for key, expected in (("d", "acd"), ("e", "ade")):
            ask(cache, key)
            assert kept(cache, *"abcde") == list(expected)

    def test_what_this_run_uses_stays(self, directory: Path, file_bytes: int, caplog: pytest.LogCaptureFixture) -> None:
        cache = lossless(directory, max_bytes=3 * file_bytes)
        for _ in range(2):
            for key in "abcde":
                found = ask(cache, key)
                assert np.array_equal(found, FRAMES) if key in "abc" else found is None
        assert kept(cache, *"abcde") == list("abc")
        assert caplog.text.count("does not hold the videos of this run") == 1

    def test_it_is_never_over_its_size(self, directory: Path, file_bytes: int) -> None:
        for number in range(200):
            if number % 40 == 0:
                cache = lossless(directory, max_bytes=50 * file_bytes)
            ask(cache, str(number))
            assert min(number + 1, 47) <= len(files_in(directory)) <= 50
        assert kept(cache, *map(str, range(160, 200))) == [str(number) for number in range(160, 200)]

    def test_the_folder_is_read_once_in_many_files(
        self, directory: Path, file_bytes: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a new file costs must not grow with the files that are there."""
        for key in range(64):
            ask(lossless(directory, max_bytes=64 * file_bytes), f"before {key}")
        num_read = []
        scandir = os.scandir
        monkeypatch.setattr("os.scandir", lambda path: num_read.append(path) or scandir(path))
        cache = lossless(directory, max_bytes=64 * file_bytes)
        for number in range(128):
            ask(cache, str(number))
        assert kept(cache, *map(str, range(128))) == [str(number) for number in range(64)]
        assert len(num_read) <= 3 + 64 / 4  # a sixteenth of the size is 4 files

    def test_what_others_wrote_counts(self, directory: Path, file_bytes: int) -> None:
        one, two = (lossless(directory, max_bytes=32 * file_bytes) for _ in range(2))
        for number in range(60):
            ask(one, f"one {number}")
            ask(two, f"two {number}")
            assert len(files_in(directory)) <= 32 + 2 + 1  # a sixteenth more by the other, see the note

    def test_a_video_larger_than_the_size_costs_the_others_nothing(
        self, directory: Path, file_bytes: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        ask(lossless(directory, max_bytes=2 * file_bytes), "a")
        cache = lossless(directory, max_bytes=2 * file_bytes)
        large = np.random.default_rng(0).integers(0, 256, (99, 3, 4, 3), np.uint8)
        for _ in range(2):
            assert ask(cache, "large", large) is None
        find(cache, "a")
        assert np.array_equal(ask(cache, "b"), FRAMES)
        assert "is smaller than a video" in caplog.text
        assert len(caplog.records) == 1

    def test_another_size_the_next_time(self, directory: Path, file_bytes: int) -> None:
        for size, expected in ((4, "abcd"), (2, "cd"), (4, "cdef")):
            cache = lossless(directory, max_bytes=size * file_bytes)
            assert len(files_in(directory)) <= size
            for key in expected:
                ask(cache, key)
            assert kept(cache, *"abcdef") == list(expected)

    def test_clips_of_earlier_versions_go_first(self, directory: Path, file_bytes: int) -> None:
        ask(lossless(directory), "a")
        old = directory / f"c3dhash-{'0' * 32}.npy"
        old.write_bytes(bytes(file_bytes))  # newer than the other
        assert cache_usage(directory) == (2, 2 * file_bytes)
        cache = lossless(directory, max_bytes=2 * file_bytes)
        os.utime(old)
        ask(cache, "b")
        assert not old.exists()
        assert kept(cache, "a", "b") == ["a", "b"]
        old.write_bytes(b"old")
        assert clear_cache(directory) == (3, 2 * file_bytes + 3)


class TestOwn:
    def test_files_of_others_are_neither_counted_nor_deleted(self, directory: Path, file_bytes: int) -> None:
        directory.mkdir()
        make_strangers(directory)
        for key in "abc":
            ask(lossless(directory, max_bytes=file_bytes), key)
        assert cache_usage(directory) == (1, file_bytes)
        assert clear_cache(directory) == (1, file_bytes)
        assert sorted(path.name for path in directory.iterdir()) == sorted([*STRANGERS, MARKER])

    @pytest.mark.parametrize("content", [None, "", "{}", '{"format_version": 99, "cache": {}}', "[]"])
    def test_a_folder_without_our_marker_is_no_cache(self, directory: Path, content: str | None) -> None:
        directory.mkdir()
        make_strangers(directory)
        (directory / f"c3dhash-{'0' * 32}.npy").write_bytes(b"mine")
        if content is not None:
            (directory / MARKER).write_text(content)
        before = sorted(directory.iterdir())
        assert cache_usage(directory) == clear_cache(directory) == (0, 0)
        assert sorted(directory.iterdir()) == before

    def test_links_and_folders_of_our_names_are_not_ours(
        self, directory: Path, tmp_path: Path, file_bytes: int
    ) -> None:
        cache = lossless(directory)
        (tmp_path / "mine").write_bytes(b"mine" * file_bytes)
        (directory / f"c3dhash-{'0' * 32}.frames").symlink_to(tmp_path / "mine")
        (directory / f"c3dhash-{'1' * 32}.frames").mkdir()
        for key in "abc":
            ask(lossless(directory, max_bytes=2 * file_bytes), key)
        assert kept(cache, *"abc") == ["b", "c"]
        clear_cache(directory)
        assert len(files_in(directory)) == 2
        assert (tmp_path / "mine").exists()

    def test_clear(self, directory: Path, file_bytes: int) -> None:
        cache = lossless(directory)
        ask(cache, "a")
        (directory / HASHES_FILE).touch()
        assert clear_cache(directory) == (1, file_bytes)
        assert [path.name for path in directory.iterdir()] == [MARKER]
        assert clear_cache(directory.with_name("missing")) == (0, 0)
        ask(cache, "a")  # a run in progress goes on
        assert cache_usage(directory) == (1, file_bytes)

    def test_leftovers_of_a_killed_process_go(self, directory: Path) -> None:
        directory.mkdir()
        own = temporary_path(directory / "a")
        killed = directory / own.name.replace(f"-{os.getpid()}-", "-999999999-")
        for path in (own, killed):
            path.write_bytes(b"half")
        lossless(directory)
        assert sorted(path.name for path in directory.iterdir()) == sorted([MARKER, own.name])


class TestTrouble:
    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match=r"file.*--cache-gib 0"):
            FrameCache(tmp_path / "file" / "cache", max_bytes=1000)

    def test_a_folder_that_vanishes(self, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
        cache = lossless(directory)
        shutil.rmtree(directory)
        for _ in range(2):
            assert ask(cache, "a") is None
        assert caplog.text.count("cannot be written ([Errno 2] No such file or directory") == 1

    def test_a_folder_that_cannot_be_written_is_still_read(
        self, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        ask(lossless(directory), "a")
        (directory / MARKER).unlink()
        (directory / MARKER).mkdir()  # root may write into what is read-only: this it may not either
        cache = lossless(directory)
        find(cache, "a")
        assert ask(cache, "b") is None
        assert "cannot be written" in caplog.text
        assert len(files_in(directory)) == 1

    def test_files_that_vanish_while_used(self, directory: Path) -> None:
        cache = lossless(directory)
        ask(cache, "a")

        def vanish(stored: StoredFrames) -> list[int]:
            cache.path("a").unlink()
            return all_of(stored)

        assert np.array_equal(cache.frames("a", choose=vanish, compress=pytest.fail), FRAMES)
        assert np.array_equal(ask(cache, "a"), FRAMES)

    @pytest.mark.skipif(os.name != "posix", reason="has no limit for files")
    def test_a_full_disk(self, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
        import resource

        cache = lossless(directory)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            assert ask(cache, "a") is None
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert ask(cache, "a") is None
        assert caplog.text.count("cannot be written ([Errno 27] File too large") == 1
        assert [path.name for path in directory.iterdir()] == [MARKER]


HAMMER = """
import os, sys, threading
from pathlib import Path
import numpy as np
from c3dhash.video.cache import FrameCache
from c3dhash.video.stored import compress

cache = FrameCache(Path(sys.argv[1]), max_bytes=int(sys.argv[2]), quality=100)
found = []

def work(seed):
    for number in np.random.default_rng([int(sys.argv[3]), seed]).integers(0, 40, 100):
        expected = np.full((2, 3, 4, 3), number, np.uint8)
        timed = [(0.0, expected[0]), (0.04, expected[1]), (0.08, None)]
        frames = cache.frames(
            str(number), choose=lambda _: [0, 1], compress=lambda quality: compress(timed, quality=quality)
        )
        found.append(frames is not None)
        assert frames is None or np.array_equal(frames, expected)

threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
threading.excepthook = lambda problem: (sys.__excepthook__(*problem[:3]), os._exit(1))
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert any(found)
"""


def test_processes_and_threads_share_a_folder(directory: Path, tmp_path: Path) -> None:
    file_bytes = write_frames(
        tmp_path / "one", made_of(np.full((2, 3, 4, 3), 39, np.uint8), quality=LOSSLESS), max_bytes=10_000
    )
    command = [sys.executable, "-W", "error", "-c", HAMMER, str(directory), str(20 * file_bytes)]
    processes = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(2)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert 15 < len(files_in(directory)) <= 20 + 2
    assert {path.name for path in directory.iterdir() if "partial" in path.name} == set()
    for path in files_in(directory):
        assert StoredFrames(path).frames([0, 1]).shape == FRAMES.shape


def test_threads_that_ask_for_one_video(directory: Path, file_bytes: int) -> None:
    cache = lossless(directory)
    barrier = threading.Barrier(8)

    def compress_together(*, quality: int) -> Iterator[Chunk]:
        barrier.wait()
        return made_of(FRAMES, quality=quality)

    options = {"choose": all_of, "compress": compress_together}
    threads = [threading.Thread(target=cache.frames, args=("a",), kwargs=options) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache_usage(directory) == (1, file_bytes)


class TestKeys:
    """What a sample is kept under; the frames themselves are those of tests/video/test_every_frame.py."""

    def test_another_decoder_is_another_key(self, directory, motion_dir, monkeypatch):
        sample = Sample(next(motion_dir.rglob("*.mp4")), (0,), "train")
        reader = ClipReader(4, 16, FrameCache(directory, max_bytes=1 << 20))
        for versions, expected in (("one", 1), ("one", 1), ("two", 2)):
            monkeypatch.setattr(clips, "decoders", lambda versions=versions: versions)
            reader.evaluation_clips(sample)[0]
            assert cache_usage(directory)[0] == expected

    def test_the_versions_that_count(self):
        assert f"OpenCV {cv2.__version__}" in decoders()
        assert decoders().startswith(f"frames {clips.FRAMES_VERSION}, ")
        av = pytest.importorskip("av")
        assert f"PyAV {av.__version__}, libavcodec {av.library_versions['libavcodec'][0]}." in decoders()

    def test_a_new_start_does_not_read_the_videos(self, directory, motion_dir, monkeypatch):
        monkeypatch.setattr("c3dhash.video.hashes.RACY_NS", -(10**18))  # as if the videos were old
        sample = Sample(next(motion_dir.rglob("*.mp4")), (0,), "train")
        clip = ClipReader(4, 16, FrameCache(directory, max_bytes=1 << 20)).evaluation_clips(sample)[0]
        monkeypatch.setattr(clips, "sample_hash", lambda *_, **__: pytest.fail("read again"))
        again = ClipReader(4, 16, FrameCache(directory, max_bytes=1 << 20)).evaluation_clips(sample)[0]
        assert np.array_equal(clip, again)
