"""What is ours to replace and to delete: atomic writes, marks, seals, leftovers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from c3dhash.errors import UsageError
from c3dhash.files import (
    LEFTOVER_SECONDS,
    MARKER,
    claim_folder,
    claim_names,
    clear_leftovers,
    delete_own_files,
    folder_digest,
    is_inside,
    is_replaceable,
    leaving_no_trace,
    mark,
    own_files,
    read_mark,
    replacing,
    replacing_folder,
    temporary_path,
    write_text,
)

OWN = re.compile(r"own-\d+\.bin")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def of_process(path: Path, process_id: int) -> Path:
    """Return a temporary name as another process would choose it."""
    return path.with_name(temporary_path(path).name.replace(f"-{os.getpid()}-", f"-{process_id}-"))


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A folder as we wrote it."""
    folder = tmp_path / "sealed"
    with replacing_folder(folder, made_by="test") as partial:
        (partial / "a").write_text("one")
        (partial / "inner").mkdir()
        (partial / "inner/b").write_text("two")
    return folder


class TestReplacing:
    def test_text(self, tmp_path):
        write_text(tmp_path / "a", "one")
        write_text(tmp_path / "a", "zwei ü\n")
        assert (tmp_path / "a").read_bytes() == "zwei ü\n".encode()
        assert names(tmp_path) == ["a"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    @pytest.mark.parametrize("is_written", [True, False])
    def test_an_error_leaves_the_old_one(self, tmp_path, error, is_written):
        write_text(tmp_path / "a", "old")
        with pytest.raises(error), replacing(tmp_path / "a") as partial:
            if is_written:
                partial.write_text("half")
            raise error
        assert names(tmp_path) == ["a"]
        assert (tmp_path / "a").read_text() == "old"

    @pytest.mark.parametrize("is_durable", [True, False])
    def test_the_old_one_is_there_until_the_new_one_is_whole(self, tmp_path, is_durable):
        write_text(tmp_path / "a", "old")
        with replacing(tmp_path / "a", suffix=".bin", is_durable=is_durable) as partial:
            partial.write_text("new")
            assert partial.suffix == ".bin"
            assert (tmp_path / "a").read_text() == "old"
        assert (tmp_path / "a").read_text() == "new"

    @pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
    def test_others_may_read_what_they_usually_may(self, tmp_path, umask, mode):
        """However it was written: a container reads runs that somebody else made."""
        before = os.umask(umask)
        try:
            with replacing(tmp_path / "a") as partial:
                partial.write_text("text")
                partial.chmod(0o600)
            assert os.umask(umask) == umask
        finally:
            os.umask(before)
        assert (tmp_path / "a").stat().st_mode & 0o777 == mode

    def test_long_names_and_many_writers(self, tmp_path):
        path = tmp_path / ("n" * 255)
        write_text(path, "text")
        assert names(tmp_path) == [path.name]
        assert len({temporary_path(path) for _ in range(100)}) == 100

    def test_a_kill_leaves_the_old_one_and_a_leftover(self, tmp_path):
        write_text(tmp_path / "a", "old")
        script = (
            "import os, signal, sys; from pathlib import Path; from c3dhash.files import replacing\n"
            "with replacing(Path(sys.argv[1])) as partial:\n"
            "    partial.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
        )
        killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert (tmp_path / "a").read_text() == "old"
        assert len(names(tmp_path)) == 2
        clear_leftovers(tmp_path)
        assert names(tmp_path) == ["a"]


class TestFolders:
    def test_a_sealed_folder_is_replaced(self, sealed):
        assert is_replaceable(sealed, made_by="test")
        with replacing_folder(sealed, made_by="test", note=1) as partial:
            (partial / "a").write_text("new")
            assert (sealed / "a").read_text() == "one"
        assert names(sealed) == [MARKER, "a"]
        assert read_mark(sealed, made_by="test")["note"] == 1
        assert names(sealed.parent) == ["sealed"]

    @pytest.mark.parametrize(
        "change", ["edited", "added", "added inside", "added empty", "deleted", "renamed", "made a link", "unmarked"]
    )
    def test_a_changed_folder_is_not(self, sealed, change):
        {
            "edited": lambda: (sealed / "inner/b").write_text("TWO"),
            "added": lambda: (sealed / "c").write_text("mine"),
            "added inside": lambda: (sealed / "inner/c").write_text("mine"),
            "added empty": lambda: (sealed / "mine").mkdir(),
            "deleted": lambda: (sealed / "a").unlink(),
            "renamed": lambda: (sealed / "a").rename(sealed / "b"),
            "made a link": lambda: ((sealed / "a").unlink(), (sealed / "a").symlink_to("inner/b")),
            "unmarked": lambda: (sealed / MARKER).unlink(),
        }[change]()
        before = folder_digest(sealed)
        assert not is_replaceable(sealed, made_by="test")
        with (
            pytest.raises(UsageError, match=r"sealed' is not as c3dhash test left it and stays; move it away"),
            replacing_folder(sealed, made_by="test") as partial,
        ):
            (partial / "a").write_text("new")
        assert folder_digest(sealed) == before
        assert names(sealed.parent) == ["sealed"]

    def test_what_else_may_be_in_the_place(self, tmp_path, sealed):
        assert is_replaceable(tmp_path / "missing", made_by="test")
        (tmp_path / "empty").mkdir()
        assert is_replaceable(tmp_path / "empty", made_by="test")
        with replacing_folder(tmp_path / "empty", made_by="test"):
            pass
        assert names(tmp_path / "empty") == [MARKER]
        (tmp_path / "file").touch()
        (tmp_path / "link").symlink_to(sealed)
        assert not is_replaceable(tmp_path / "file", made_by="test")
        assert not is_replaceable(tmp_path / "link", made_by="test")
        assert not is_replaceable(sealed, made_by="somebody else")

    def test_an_error_leaves_the_old_one(self, sealed):
        before = folder_digest(sealed)
        with pytest.raises(ValueError, match="no"), replacing_folder(sealed, made_by="test") as partial:
            (partial / "a").write_text("half")
            raise ValueError("no")
        assert folder_digest(sealed) == before
        assert names(sealed.parent) == ["sealed"]


class TestMarks:
    def test_several_may_mark_a_folder(self, tmp_path):
        mark(tmp_path, made_by="one", value=[1, "ü"])
        mark(tmp_path, made_by="two")
        mark(tmp_path, made_by="one", value=2)
        assert read_mark(tmp_path, made_by="one") == {"value": 2}
        assert read_mark(tmp_path, made_by="two") == {}
        assert read_mark(tmp_path, made_by="three") is None
        assert json.loads((tmp_path / MARKER).read_text())["format_version"] == 1

    @pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"test": {}}', '{"format_version": 2, "test": {}}', "\xff"])
    def test_what_is_no_mark(self, tmp_path, text):
        (tmp_path / MARKER).write_bytes(text.encode("latin-1"))
        assert read_mark(tmp_path, made_by="test") is None

    def test_a_folder_is_claimed_once(self, tmp_path):
        folder = tmp_path / "new/folder"
        assert claim_folder(folder, made_by="test", seed=0) == {"seed": 0}
        (folder / "mine").touch()
        assert claim_folder(folder, made_by="test", seed=1) == {"seed": 0}
        with pytest.raises(UsageError, match=r"folder' holds what c3dhash other did not write \(.c3dhash, mine\)"):
            claim_folder(folder, made_by="other")

    def test_a_folder_of_somebody_else_is_not_claimed(self, tmp_path):
        for name in "edcba":
            (tmp_path / name).touch()
        with pytest.raises(UsageError, match=r"did not write \(a, b, c, ...\), and that stays as it is; name"):
            claim_folder(tmp_path, made_by="test")
        assert names(tmp_path) == list("abcde")
        claim_folder(tmp_path, made_by="test", own_names=tuple("abcde"))
        assert names(tmp_path) == [MARKER, *"abcde"]

    def test_names_are_claimed_beside_those_of_others(self, tmp_path):
        (tmp_path / "notes").touch()
        claim_names(tmp_path, ["a", "b"], made_by="test")
        (tmp_path / "a").touch()
        claim_names(tmp_path, ["a", "b"], made_by="test")
        (tmp_path / "b").symlink_to("nowhere")
        with pytest.raises(UsageError, match=r"holds what c3dhash other did not write \(a, b\)"):
            claim_names(tmp_path, ["a", "b"], made_by="other")

    def test_leftovers_do_not_keep_a_folder_from_being_claimed(self, tmp_path):
        temporary_path(tmp_path / "a").touch()
        claim_folder(tmp_path, made_by="test")

    @pytest.mark.parametrize("error", [UsageError, KeyboardInterrupt])
    def test_what_is_refused_leaves_no_folder(self, tmp_path, error):
        def fail_in(folder: Path, *names: str) -> None:
            with pytest.raises(error), leaving_no_trace(folder):
                claim_folder(folder, made_by="test", own_names=("note",))
                for name in names:
                    (folder / name).touch()
                raise error

        fail_in(tmp_path / "new")
        assert not (tmp_path / "new").exists()
        fail_in(tmp_path / "written", "a")
        assert names(tmp_path / "written") == [MARKER, "a"]
        (tmp_path / "users").mkdir()
        fail_in(tmp_path / "users")
        assert (tmp_path / "users").is_dir()
        fail_in(tmp_path / "written")
        assert names(tmp_path / "written") == [MARKER, "a"]

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match=r"file/in' cannot be written \(Not a directory\); name another folder"):
            claim_folder(tmp_path / "file/in", made_by="test")


def test_names_that_utf_8_cannot_say_are_escaped_for_people_only(tmp_path):
    """A list with another name than the file's would lead nowhere."""
    name = b"caf\xe9.mp4".decode("utf-8", "surrogateescape")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "list.txt", name)
    assert names(tmp_path) == []
    write_text(tmp_path / "page.html", name, errors="backslashreplace")
    assert (tmp_path / "page.html").read_text() == "caf\\udce9.mp4"


class TestDeleting:
    def test_only_files_of_our_names(self, tmp_path):
        for name in ("own-1.bin", "own-2.bin", "own-1.bin.bak", "my own-1.bin", "OWN-1.bin"):
            (tmp_path / name).write_text("12345")
        (tmp_path / "own-3.bin").mkdir()
        (tmp_path / "own-4.bin").symlink_to("own-1.bin.bak")
        of_process(tmp_path / "a", 999999999).touch()
        assert sorted(path.name for path, _ in own_files(tmp_path, OWN)) == ["own-1.bin", "own-2.bin"]
        assert delete_own_files(tmp_path, OWN) == (2, 10)
        assert names(tmp_path) == ["OWN-1.bin", "my own-1.bin", "own-1.bin.bak", "own-3.bin", "own-4.bin"]
        assert delete_own_files(tmp_path / "missing", OWN) == (0, 0)

    def test_leftovers(self, tmp_path):
        """Gone are those of dead processes, and what nobody touched for a day; not what may be being written."""
        other, old = (tmp_path / f".c3dhash-partial-00000000-1-{number}" for number in range(2))  # of another machine
        own, dead = temporary_path(tmp_path / "a"), of_process(tmp_path / "a", 999999999)
        mine = tmp_path / ".a.1.partial"
        folder = of_process(tmp_path / "a", 999999998)
        for path in (other, old, own, dead, mine):
            path.touch()
        (folder / "inner").mkdir(parents=True)
        day_ago = time.time() - LEFTOVER_SECONDS - 60
        os.utime(old, (day_ago, day_ago))
        os.utime(mine, (day_ago, day_ago))
        clear_leftovers(tmp_path)
        assert names(tmp_path) == sorted(path.name for path in (other, own, mine))
        clear_leftovers(tmp_path / "missing")

    def test_a_leftover_that_is_a_link(self, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/a").touch()
        of_process(tmp_path / "a", 999999999).symlink_to(tmp_path / "mine")
        clear_leftovers(tmp_path)
        assert names(tmp_path) == ["mine"]
        assert names(tmp_path / "mine") == ["a"]


def test_is_inside(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert is_inside(tmp_path / "a", tmp_path / "a")
    assert is_inside(tmp_path / "link/b/missing", tmp_path / "a")
    assert is_inside(tmp_path / "a/b", tmp_path / "link")
    assert is_inside(tmp_path / "x/../a/b", tmp_path / "a")
    assert not is_inside(tmp_path / "a", tmp_path / "a/b")
    assert not is_inside(tmp_path / "ab", tmp_path / "a")
