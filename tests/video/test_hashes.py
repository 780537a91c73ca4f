"""Remembered hashes: the file of before is known, a changed one never taken for it, and damage costs time only."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading

import pytest
from trees import write_pictures

from c3dhash.records import FrameFolder, Sample
from c3dhash.video import hashes
from c3dhash.video.frame_folder import TIMES_FILE
from c3dhash.video.hashes import RememberedHashes
from c3dhash.video.samples import sample_files, sample_hash


@pytest.fixture
def path(tmp_path):
    return tmp_path / "hashes.sqlite"


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "a.mp4"
    file.write_bytes(b"one")
    return file


@pytest.fixture
def old_files(monkeypatch):
    """Take every file for one that was not changed of late."""
    monkeypatch.setattr(hashes, "RACY_NS", -(10**18))


def known(path, files, **options) -> bool:
    """Tell whether a new start knows the hash of some files, and remember it."""
    computed = []
    RememberedHashes(path).get(files, lambda: computed.append(1) or "hash", **options)
    return not computed


@pytest.mark.usefixtures("old_files")
class TestRemembered:
    def test_over_a_new_start(self, path, file):
        assert RememberedHashes(path).get([file], lambda: "hash") == "hash"
        assert RememberedHashes(path).get([file], lambda: pytest.fail("computed again")) == "hash"

    @pytest.mark.parametrize("change", ["content", "content, same time", "time", "another file", "moved", "gone"])
    def test_a_changed_file_is_another(self, path, file, change):
        assert not known(path, [file])
        assert known(path, [file])
        stat = file.stat()
        if change.startswith("content"):
            file.write_bytes(b"two")
        if change == "time":
            os.utime(file, (1, 1))
        if change == "another file":
            file.with_name("b").write_bytes(b"two")
            file.with_name("b").replace(file)
        if change in ("content, same time", "another file"):  # what rsync --times and unpackers do
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if change == "moved":
            file = file.rename(file.with_name("b.mp4"))
        if change == "gone":
            file.unlink()
        assert not known(path, [file])

    def test_what_else_decides_the_hash(self, path, file):
        assert not known(path, [file], about="rgb")
        assert not known(path, [file], about="flow")
        assert known(path, [file], about="rgb")

    def test_a_file_that_changes_while_it_is_read(self, path, file):
        RememberedHashes(path).get([file], lambda: str(file.write_bytes(b"longer")))
        assert not known(path, [file])

    def test_an_error_is_nobodys_hash(self, path, file):
        with pytest.raises(ZeroDivisionError):
            RememberedHashes(path).get([file], lambda: str(1 // 0))
        assert not known(path, [file])

    def test_the_oldest_are_forgotten(self, path, tmp_path, monkeypatch):
        monkeypatch.setattr(hashes, "SETUP", [line.replace(str(hashes.MAX_HASHES), "3") for line in hashes.SETUP])
        files = [tmp_path / str(number) for number in range(5)]
        for file in files:
            assert not known(path, [file])
        assert [known(path, [file]) for file in files[2:]] == [True] * 3
        assert not known(path, [files[0]])

    @pytest.mark.parametrize("damage", [b"", b"no database " * 100, "cut", "middle"])
    def test_a_damaged_file_is_made_again(self, path, file, damage):
        remembered = RememberedHashes(path)
        for number in range(200):
            remembered.get([file], lambda: "hash", about=str(number))
        content = path.read_bytes()
        half = len(content) // 2
        broken = {"cut": content[:half], "middle": content[:100] + bytes(half) + content[100 + half :]}
        path.write_bytes(broken.get(damage, damage) if isinstance(damage, str) else damage)
        known(path, [file], about="5")
        assert known(path, [file], about="5")

    def test_a_file_that_cannot_be_used(self, path, file, caplog):
        path.mkdir()
        caplog.set_level("INFO")
        remembered = RememberedHashes(path)
        assert [remembered.get([file], lambda: "hash") for _ in range(2)] == ["hash", "hash"]
        assert caplog.text.count("cannot be used") == 1

    def test_one_that_another_process_holds(self, path, file, monkeypatch):
        monkeypatch.setattr(hashes, "BUSY_SECONDS", 0.01)
        assert not known(path, [file])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        assert not known(path, [file])
        other.close()
        assert known(path, [file])

    def test_frame_folders(self, path, tmp_path):
        folder = write_pictures(tmp_path / "a", range(4))
        for sample in (Sample(folder, (), "query", frames=FrameFolder(0, n)) for n in (None, 2)):
            files = sample_files(sample)
            assert not known(path, files, about=str(sample.frames))
            assert known(path, files, about=str(sample.frames))
            assert len(sample_hash(sample)) == 32
        files = sample_files(Sample(folder, (), "query", frames=FrameFolder()))
        assert [file.name for file in files][:2] == [TIMES_FILE, "img_00001.jpg"]
        (folder / TIMES_FILE).write_text("0\n1\n2\n3\n4\n")
        assert not known(path, files, about=str(FrameFolder()))


def test_a_file_of_this_moment_is_not_remembered(path, file):
    """A second change within a tick of the clock, of the same length, would leave its facts as they are."""
    assert not known(path, [file])
    assert not known(path, [file])
    os.utime(file, (1, 1))  # an old time says nothing: it is set by hand
    assert not known(path, [file])
    assert not known(path, [file])


def test_no_file_remembers_nothing(file):
    assert not known(None, [file])
    assert not known(None, [file])


HAMMER = """
import sys
from pathlib import Path
from c3dhash.video import hashes

hashes.RACY_NS = -(10**18)
remembered = hashes.RememberedHashes(Path(sys.argv[1]))
for number in range(100):
    assert remembered.get([Path(sys.argv[2])], lambda: str(number), about=str(number)) == str(number)
assert remembered.path is not None
"""


@pytest.mark.usefixtures("old_files")
def test_processes_and_threads_share_a_file(path, file):
    processes = [subprocess.Popen([sys.executable, "-c", HAMMER, str(path), str(file)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    remembered, found = RememberedHashes(path), []
    threads = [
        threading.Thread(target=lambda n=n: found.append(remembered.get([file], lambda: "no", about=str(n)) == str(n)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
