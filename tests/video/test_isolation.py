"""Real crashes, hangs and hunger in real processes: see breakers.py."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import breakers
import numpy as np
import pytest
from paths import TESTS_DIR
from videos import frame_numbers, write_video

from c3dhash.errors import UsageError, VideoError
from c3dhash.video import isolation
from c3dhash.video.isolation import DecoderPool, shared_pool
from c3dhash.video.reader import read_clips
from c3dhash.video.transforms import clip_views
from c3dhash.video.views import read_views

NOWHERE = Path("nowhere.mp4")
PYTHON = sys.executable


@pytest.fixture
def pool():
    with DecoderPool(silence_seconds=20) as pool:
        yield pool


def is_running(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition) -> None:
    """Wait for what must come soon; fail if it does not."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_relative_paths_follow_this_process(pool, tmp_path: Path, monkeypatch) -> None:
    for folder, num_frames in (("one", 3), ("two", 5)):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "v.mp4", num_frames)
        monkeypatch.chdir(tmp_path / folder)
        clip = pool.call(read_clips, Path("v.mp4"), num_frames=num_frames)
        assert frame_numbers(clip.frames) == list(range(num_frames))


def test_views_are_cut_in_the_process(pool, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 60)
    windows = {"num_frames": 5, "short_side": 40, "window_seconds": 1.0}
    here = list(read_clips(path, **windows))
    there = list(pool.stream(read_views, path, size=35, num_views=2, **windows))
    assert [segment for segment, _ in there] == [clip.segment for clip in here]
    for clip, (_, views) in zip(here, there, strict=True):
        for view, expected in zip(views, clip_views(clip.frames, size=35, num_views=2), strict=True):
            assert view.shape == (5, 35, 35, 3) and view.flags.c_contiguous
            assert np.array_equal(view, expected)


def test_clips_are_those_of_this_process(pool, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 60)
    windows = {"num_frames": 5, "short_side": 40, "window_seconds": 1.0}
    here = list(read_clips(path, **windows))
    there = list(pool.stream(read_clips, path, **windows))
    assert len(there) == len(here) == 3
    for ours, theirs in zip(here, there, strict=True):
        assert np.array_equal(ours.frames, theirs.frames)
        assert np.array_equal(ours.pts_seconds, theirs.pts_seconds)
        assert ours.segment == theirs.segment


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("segfault", r"the decoder crashed \(signal 11, SIGSEGV\)"),
        ("abort", r"the decoder crashed \(signal 6, SIGABRT\)"),
        ("killed", r"the decoder crashed \(signal 9, SIGKILL\)"),
        ("exit", "the decoder left with status 7"),
        ("hang", "gave no frame for 5 s"),
        ("allocate", r"needs more than 1\.5 GiB"),
        ("allocate-in-opencv", r"needs more than 1\.5 GiB"),
        ("bug", "failed in the decoder: ZeroDivisionError"),
    ],
)
def test_a_file_that_breaks_its_decoder_is_lost_alone(tmp_path: Path, name: str, reason: str) -> None:
    paths = [write_video(tmp_path / f"{number}.mp4", 20) for number in range(4)]
    paths.insert(2, write_video(tmp_path / f"{name}.mp4", 20))

    def read(path: Path) -> list[list[int]] | str:
        try:
            return [frame_numbers(clip.frames) for clip in pool.stream(breakers.read, path)]
        except VideoError as error:
            return str(error)

    with DecoderPool(silence_seconds=5 if name == "hang" else 60, memory_bytes=3 << 29) as pool:
        results = list(pool.map(read, paths, workers=2))
    with pytest.raises(VideoError, match=rf"{name}\.mp4.*{reason}"):
        raise VideoError(results.pop(2))
    assert results == [[[1, 3, 6, 8], [11, 13, 16, 18]]] * 4


def test_what_was_read_before_a_crash_is_handed_out(pool) -> None:
    results = pool.stream(breakers.crash_after_one, NOWHERE)
    assert next(results).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(VideoError, match="SIGSEGV"):
        next(results)


def test_a_crash_that_may_be_the_fault_of_the_file_before_gets_a_second_chance(pool) -> None:
    assert list(pool.stream(breakers.fail_when_used, NOWHERE)) == [1, 2]
    assert list(pool.stream(breakers.fail_when_used, NOWHERE)) == [1, 2]  # from a used process, and then a new one


def test_a_process_is_used_again_and_replaced_when_it_is_gone(pool) -> None:
    first = pool.call(breakers.process_id, NOWHERE)
    assert pool.call(breakers.process_id, NOWHERE) == first
    os.kill(first, signal.SIGKILL)
    assert pool.call(breakers.process_id, NOWHERE) not in (first, os.getpid())


def test_no_process_before_the_first_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with DecoderPool() as pool:
        assert list(pool.map(str, [1, 2], workers=2)) == ["1", "2"]


def test_frames_without_a_clip_are_a_sign_of_life() -> None:
    with DecoderPool(silence_seconds=4) as pool:
        assert pool.call(breakers.slow_but_alive, NOWHERE) == "done"


def test_a_slow_consumer_is_no_silence(tmp_path: Path) -> None:
    with DecoderPool(silence_seconds=4) as pool:
        results = pool.stream(breakers.count_up, tmp_path / "reached")
        next(results)
        time.sleep(4.5)
        assert [int(next(results)[0]) for _ in range(5)] == [1, 2, 3, 4, 5]


def test_a_process_does_not_run_ahead(pool, tmp_path: Path) -> None:
    results = pool.stream(breakers.count_up, tmp_path / "reached")
    for _ in range(10):
        next(results)
    time.sleep(0.3)
    assert int((tmp_path / "reached").read_text()) <= 10


def test_logs_and_errors_come_through(pool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(UsageError, match=r"num_frames \(0\)"):
        pool.call(breakers.complain, NOWHERE)
    assert caplog.record_tuples == [("c3dhash.video.decoder", logging.WARNING, "video 'nowhere.mp4' is odd")]


def test_processes_do_without_torch(pool, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    assert len(list(pool.stream(read_views, path, num_frames=4, size=16, num_views=1))) == 1
    modules = pool.call(breakers.loaded_modules, NOWHERE)
    assert "cv2" in modules
    assert ("av" in modules) == (importlib.util.find_spec("av") is not None)  # read with PyAV where it is installed
    assert "torch" not in modules


def test_stopping_early_ends_the_process(pool) -> None:
    results = pool.stream(breakers.count_up, Path(os.devnull))
    next(results)
    (process,) = pool._running
    results.close()
    assert process._process.poll() is not None


def test_closing_ends_what_threads_wait_for(tmp_path: Path) -> None:
    pool = DecoderPool()
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(lambda: list(pool.stream(breakers.read, tmp_path / "hang.mp4")))
        wait_until(lambda: pool._running)
        (process,) = pool._running
        pool.close()
        with pytest.raises(VideoError, match="SIGKILL"):
            future.result(timeout=120)
    assert process._process.poll() is not None
    with pytest.raises(VideoError, match="the decoder was stopped"):
        pool.call(breakers.process_id, NOWHERE)


def test_a_line_about_a_file_is_said_once(pool, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.mp4", "a.mp4", "b.mp4"):
        with pytest.raises(UsageError):
            pool.call(breakers.complain, Path(name))
    assert caplog.messages == ["video 'a.mp4' is odd", "video 'b.mp4' is odd"]


# Python warns of any fork beside threads; what is forked here does not touch them.
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_has_a_pool_of_its_own(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    mine = shared_pool().call(breakers.process_id, NOWHERE)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            theirs = shared_pool()
            clip = theirs.call(read_clips, path, num_frames=5)
            is_own = theirs.call(breakers.process_id, NOWHERE) != mine
            theirs.close()
            status = 0 if is_own and frame_numbers(clip.frames) == [0, 1, 2, 3, 4] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shared_pool().call(breakers.process_id, NOWHERE) == mine


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_close_the_pool_of_its_parent(pool) -> None:
    mine = pool.call(breakers.process_id, NOWHERE)
    child = os.fork()
    if child == 0:
        pool.close()
        os._exit(0 if not pool._is_closed else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.call(breakers.process_id, NOWHERE) == mine


class TestWhereThereAreNoProcesses:
    """As on Windows."""

    @pytest.fixture(autouse=True)
    def no_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(isolation, "CAN_ISOLATE", False)
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        isolation._warn_of_no_processes.cache_clear()

    def test_videos_are_decoded_here_which_is_said_once(self, pool, tmp_path: Path, caplog) -> None:
        path = write_video(tmp_path / "a.mp4", 60)
        windows = {"num_frames": 5, "window_seconds": 1.0}
        clips = list(pool.map(lambda path: list(pool.stream(read_clips, path, **windows)), [path] * 3, workers=2))
        for there, here in zip(clips, [list(read_clips(path, **windows))] * 3, strict=True):
            assert [frame_numbers(clip.frames) for clip in there] == [frame_numbers(clip.frames) for clip in here]
        assert [message.split(":")[0] for message in caplog.messages] == [
            f"this system ({sys.platform}) has no decoder processes"
        ]

    def test_errors_are_those_of_the_file(self, pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, reason in (("bug", "failed in the decoder: ZeroDivisionError"), ("gone", "gone.mp4' does not exist")):
            with pytest.raises(VideoError, match=reason):
                pool.call(breakers.read, tmp_path / f"{name}.mp4")
        monkeypatch.setitem(breakers.BREAKS, "hungry", lambda _: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(VideoError, match=r"hungry\.mp4' needs more than the memory that is free to decode"):
            pool.call(breakers.read, tmp_path / "hungry.mp4")

    def test_closing_ends_what_is_read(self, pool) -> None:
        results = pool.stream(breakers.slow_but_alive, NOWHERE)
        with ThreadPoolExecutor(1) as threads:
            future = threads.submit(next, results)
            pool.close()
            with pytest.raises(VideoError, match="the decoder was stopped"):
                future.result(timeout=120)

    def test_nothing_that_is_posix_only_is_imported(self) -> None:
        script = """
            import pkgutil, sys
            for name in ("resource", "fcntl", "pwd", "grp", "termios", "pty", "tty", "syslog", "posix_ipc"):
                sys.modules[name] = None
            import c3dhash
            for module in pkgutil.walk_packages(c3dhash.__path__, "c3dhash."):
                if module.name.split(".")[1] in ("video", "datasets", "errors", "records", "files", "cli"):
                    __import__(module.name)
        """
        subprocess.run([PYTHON, "-c", textwrap.dedent(script)], check=True)


def test_a_part_borrows_processes_and_gives_them_back(pool) -> None:
    own = pool.call(breakers.process_id, NOWHERE)
    with pool.part() as part:
        assert [part.call(breakers.process_id, NOWHERE) for _ in range(2)] == [own, own]
    with pytest.raises(VideoError, match="the decoder was stopped"):
        part.call(breakers.process_id, NOWHERE)
    assert pool.call(breakers.process_id, NOWHERE) == own


def test_closing_a_part_ends_what_is_at_work_for_it_alone(pool) -> None:
    part, other = pool.part(), pool.part()
    ours, theirs = (one.stream(breakers.count_up, Path(os.devnull)) for one in (part, other))
    next(ours), next(theirs)
    (ended,), (kept,) = part._running, other._running
    part.close()
    assert ended._process.poll() is not None
    with pytest.raises(VideoError, match="SIGKILL"):
        list(ours)
    assert next(theirs)[0] == 1
    assert pool._running == {kept}
    pool.close()
    assert kept._process.poll() is not None


SCRIPT = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import breakers
    from c3dhash.video.isolation import DecoderPool

    def read(path):
        return list(pool.stream(breakers.read, path))

    try:
        with DecoderPool() as pool:
            print(pool.call(breakers.process_id, Path("x")), flush=True)
            list(pool.map(read, [Path("hang.mp4")] * 8, workers=2))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(number: signal.Signals) -> None:
    """The script needs no __main__ guard: processes do not run it again."""
    arguments = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(TESTS_DIR)]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell ignores it for what runs with &
    ) as script:  # fmt: skip
        child = int(script.stdout.readline())
        time.sleep(0.3)
        os.killpg(script.pid, number)  # as Ctrl-C does: to all in the foreground
        _, errors = script.communicate(timeout=120)
    assert script.returncode == (130 if number == signal.SIGINT else -number)
    assert errors == ""
    wait_until(lambda: not is_running(child))
