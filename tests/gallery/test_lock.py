"""One writer at a time, named to the others; a dead one is in nobody's way."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from c3dhash.errors import GalleryError
from c3dhash.gallery import lock
from c3dhash.gallery.lock import EXCLUSIVE_NAME, LOCK_NAME, writing

HOLD = """
import sys
from pathlib import Path
from c3dhash.gallery import lock
if sys.argv[2] == "without":
    lock.fcntl = None
with lock.writing(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(path: Path, locks: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), locks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(params=["with", "without"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Locks of the system, or a file in their place."""
    if request.param == "without":
        monkeypatch.setattr(lock, "fcntl", None)
    return request.param


def test_a_second_process_is_told_who_writes(locks: str, tmp_path: Path) -> None:
    with start_holder(tmp_path, locks) as holder:
        message = (
            rf"gallery '{tmp_path}' is being written by process {holder.pid} on {socket.gethostname()} since 2\S+ "
            rf"\(-c {tmp_path} {locks}.*\) \(waited 0 s\): run again when that is done"
        )
        with pytest.raises(GalleryError, match=message), writing(tmp_path, timeout_seconds=0):
            pass
        holder.communicate("")
    with writing(tmp_path, timeout_seconds=0):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_dead_holder_is_in_nobodys_way(locks: str, tmp_path: Path) -> None:
    with start_holder(tmp_path, locks) as holder:
        holder.kill()
    assert len(list(tmp_path.iterdir())) == 1, "its file is still there"
    with writing(tmp_path, timeout_seconds=0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_waiting_is_said_once_and_ends_with_the_other(
    locks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="c3dhash")
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            holder.communicate("")

    monkeypatch.setattr(lock.time, "sleep", sleep)
    with start_holder(tmp_path, locks) as holder, writing(tmp_path):
        pass
    assert len(pauses) == 3
    assert caplog.text.count("waiting until that is done") == 1
    assert f"'{tmp_path}' is being written by process {holder.pid}" in caplog.text


def test_a_thread_may_enter_again_and_another_waits(locks: str, tmp_path: Path) -> None:
    order: list[str] = []

    def other() -> None:
        with writing(tmp_path):
            order.append("other")

    thread = threading.Thread(target=other)
    with writing(tmp_path), writing(tmp_path, timeout_seconds=0):
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_a_folder_is_made_and_taken_away_when_it_stays_empty(locks: str, tmp_path: Path) -> None:
    with writing(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a" / "b").exists()
    with writing(tmp_path / "c"):
        (tmp_path / "c" / "file").touch()
    assert (tmp_path / "c" / "file").exists()
    (tmp_path / "empty").mkdir()
    with writing(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").exists(), "it was there before"


def test_the_lock_is_let_go_after_an_error(locks: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing(tmp_path):
        raise KeyboardInterrupt
    with writing(tmp_path, timeout_seconds=0):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    with writing(tmp_path):
        child = os.fork()
        if not child:  # pragma: no cover
            signal.pause()
            os._exit(0)
    try:
        with writing(tmp_path, timeout_seconds=0):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_forked_child_lets_go_of_nothing(tmp_path: Path) -> None:
    with writing(tmp_path):
        child = os.fork()
        if not child:  # pragma: no cover
            try:
                raise KeyboardInterrupt  # leaves the `with` of its parent
            finally:
                os._exit(os.EX_OK if not lock._held else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert (tmp_path / LOCK_NAME).exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", raising(OSError(code, "no locks")))
    with writing(tmp_path, timeout_seconds=0):
        card = json.loads((tmp_path / EXCLUSIVE_NAME).read_text())
        assert (card["pid"], card["host"]) == (os.getpid(), socket.gethostname())
        monkeypatch.setattr(lock, "_held", {})
        by_hand = rf"if it is not, delete '{tmp_path / EXCLUSIVE_NAME}'"
        with pytest.raises(GalleryError, match=by_hand), writing(tmp_path, timeout_seconds=0):
            pass


@pytest.mark.parametrize(
    "card",
    [
        {"pid": 2**22 + 1, "host": "another machine"},  # nobody knows whether it lives
        {"host": socket.gethostname()},
        {"pid": 1, "host": socket.gethostname()},
        [],
    ],
)
def test_a_holder_that_may_live_is_not_taken_over(
    card: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    (tmp_path / EXCLUSIVE_NAME).write_text(json.dumps(card))
    with pytest.raises(GalleryError, match="is being written by"), writing(tmp_path, timeout_seconds=0):
        pass


def test_of_two_who_take_over_one_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    path = tmp_path / EXCLUSIVE_NAME
    path.write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname()}))
    card = json.dumps({"pid": 1, "host": socket.gethostname()})
    monkeypatch.setattr(lock.time, "sleep", lambda _: path.write_text(card))  # the other one was later
    with pytest.raises(GalleryError, match="written by process 1 on"), writing(tmp_path, timeout_seconds=0):
        pass
    assert path.read_text() == card


def test_what_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(GalleryError, match=rf"gallery '{tmp_path}/file/x' cannot be made: Not a"),
        writing(tmp_path / "file" / "x"),
    ):
        pass
    monkeypatch.setattr(lock.os, "open", raising(PermissionError(13, "Permission denied")))
    with (
        pytest.raises(GalleryError, match=r"cannot be written \(Permission denied\): get the right"),
        writing(tmp_path),
    ):
        pass


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail
