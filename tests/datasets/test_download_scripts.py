"""The download scripts, against a server on this machine: archives small, tools and transfers real where they are here.

unrar is not free to install: a stand-in with its arguments unpacks tar archives in its place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from paths import ROOT

from c3dhash.datasets.find import find_dataset

SCRIPTS = ROOT / "scripts"
UNRAR = """#!/bin/bash
[ "$1 $2 $3" = "x -o+ -idq" ] || exit 7
exec tar -xf "$4" -C "$5"
"""
JHMDB = {
    "ReCompress_Videos/catch/A_catch_u_nm_np1_fr_goo_0.avi": "a",
    "ReCompress_Videos/catch/B_catch_u_nm_np1_fr_goo_0.avi": "b",
    "__MACOSX/ReCompress_Videos/catch/._A_catch_u_nm_np1_fr_goo_0.avi": "",
}
JHMDB_LISTS = {
    "splits/catch_test_split1.txt": "A_catch_u_nm_np1_fr_goo_0.avi 1\nB_catch_u_nm_np1_fr_goo_0.avi 2\n",
    "__MACOSX/splits/._catch_test_split1.txt": "",
}

pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("curl") and shutil.which("unzip")), reason="needs bash, curl and unzip"
)


def write_zip(path: Path, files: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def write_rar(path: Path, files: dict[str, str | bytes]) -> Path:
    """Write what the stand-in for unrar unpacks."""
    folder = path.with_suffix(".content")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with tarfile.open(path, "w") as archive:
        for inner in sorted(folder.iterdir()):
            archive.add(inner, inner.name)
    shutil.rmtree(folder)
    return path


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and the rest of a file from a byte on; notes what is asked for, and may cut a transfer short."""

    requests: list[tuple[str, str | None]]
    cut_after_bytes: int | None = None
    knows_ranges = True

    def do_GET(self) -> None:
        start = self.headers.get("Range")
        self.requests.append((self.path, start))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        if start and self.knows_ranges:
            offset = int(start.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {offset}-{len(content) - 1}/{len(content)}")
            content = content[offset:]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.cut_after_bytes])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, type[Handler], Path]]:
    """Serve a folder; give its address, the handler and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = type("ThisHandler", (Handler,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", handler, folder
        httpd.shutdown()
        thread.join()


def run(name: str, target: Path, *, path: str | None = None, **variables: str) -> subprocess.CompletedProcess:
    environment = {"PATH": path or os.environ["PATH"], "no_proxy": "127.0.0.1", "RETRIES": "0", **variables}
    return subprocess.run(
        [shutil.which("bash"), str(SCRIPTS / name), str(target)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def run_jhmdb(url: str, target: Path, **variables: str) -> subprocess.CompletedProcess:
    return run("download_jhmdb.sh", target, **{"JHMDB_URL": url, "JHMDB_NUM_VIDEOS": "2", **variables})


@pytest.fixture
def unrar_path(tmp_path) -> str:
    """A PATH with the stand-in for unrar."""
    tool = tmp_path / "bin" / "unrar"
    tool.parent.mkdir()
    tool.write_text(UNRAR)
    tool.chmod(0o755)
    return f"{tool.parent}:{os.environ['PATH']}"


class TestJHMDB:
    @pytest.fixture
    def served(self, server):
        url, handler, folder = server
        write_zip(folder / "JHMDB_video.zip", JHMDB)
        write_zip(folder / "splits.zip", JHMDB_LISTS)
        return url, handler, folder

    def test_from_nothing_to_a_data_set(self, served, tmp_path):
        url, handler, _ = served
        result = run_jhmdb(url, tmp_path / "a folder/jhmdb")
        assert result.returncode == 0, result.stderr
        assert result.stdout == ""
        assert "2 videos in" in result.stderr
        dataset = find_dataset(tmp_path / "a folder")
        assert (dataset.format, dataset.describe()) == ("jhmdb", "1 classes, 1 train, 1 query")
        assert sorted(path.name for path in dataset.directory.iterdir()) == ["ReCompress_Videos", "splits"]
        # Run again, it fetches nothing.
        num_requests = len(handler.requests)
        assert run_jhmdb(url, dataset.directory).returncode == 0
        assert len(handler.requests) == num_requests

    def test_from_a_folder(self, served, tmp_path):
        result = run_jhmdb(f"file://{served[2]}", tmp_path / "jhmdb")
        assert result.returncode == 0, result.stderr
        assert find_dataset(tmp_path / "jhmdb").format == "jhmdb"

    def test_resumes_where_it_was_stopped(self, served, tmp_path):
        url, handler, folder = served
        handler.cut_after_bytes = 100
        result = run_jhmdb(url, tmp_path / "jhmdb")
        assert result.returncode == 1
        assert "cannot fetch" in result.stderr
        assert "Run again to resume" in result.stderr
        part = tmp_path / "jhmdb/.download/splits.zip.part"
        num_bytes = part.stat().st_size
        assert 0 < num_bytes < (folder / "splits.zip").stat().st_size
        handler.cut_after_bytes = None
        result = run_jhmdb(url, tmp_path / "jhmdb")
        assert result.returncode == 0, result.stderr
        assert ("/splits.zip", f"bytes={num_bytes}-") in handler.requests

    def test_a_whole_part_is_not_asked_for_again(self, served, tmp_path):
        url, handler, folder = served
        (tmp_path / "jhmdb/.download").mkdir(parents=True)
        shutil.copy(folder / "splits.zip", tmp_path / "jhmdb/.download/splits.zip.part")
        assert run_jhmdb(url, tmp_path / "jhmdb").returncode == 0
        assert [path for path, _ in handler.requests] == ["/JHMDB_video.zip"]

    def test_a_server_that_cannot_resume(self, served, tmp_path):
        url, handler, _ = served
        handler.knows_ranges = False
        (tmp_path / "jhmdb/.download").mkdir(parents=True)
        (tmp_path / "jhmdb/.download/splits.zip.part").write_bytes(b"PK")
        result = run_jhmdb(url, tmp_path / "jhmdb")
        assert result.returncode == 0, result.stderr

    def test_what_is_there_is_left_alone(self, served, tmp_path):
        url, handler, _ = served
        (tmp_path / "jhmdb/splits").mkdir(parents=True)
        assert run_jhmdb(url, tmp_path / "jhmdb").returncode == 0
        assert [path for path, _ in handler.requests] == ["/JHMDB_video.zip"]

    def test_a_file_that_is_gone(self, served, tmp_path):
        url, _, folder = served
        (folder / "splits.zip").unlink()
        result = run_jhmdb(url, tmp_path / "jhmdb")
        assert result.returncode == 1
        assert f"cannot fetch {url}/splits.zip: the file is not there any more" in result.stderr

    def test_no_network(self, tmp_path):
        result = run_jhmdb("http://127.0.0.1:9", tmp_path / "jhmdb")
        assert result.returncode == 1
        assert "the server cannot be reached; is the network there? (exit code 7)" in result.stderr

    def test_a_damaged_archive(self, served, tmp_path):
        url, _, folder = served
        content = bytearray((folder / "JHMDB_video.zip").read_bytes())
        name = next(iter(JHMDB)).encode()
        content[content.index(name) + len(name)] ^= 1  # the first byte of its content
        (folder / "JHMDB_video.zip").write_bytes(content)
        result = run_jhmdb(url, tmp_path / "jhmdb")
        assert result.returncode == 1
        assert "JHMDB_video.zip cannot be unpacked: it is damaged" in result.stderr
        assert f"delete '{tmp_path}/jhmdb/.download' and run again" in result.stderr
        assert not (tmp_path / "jhmdb/ReCompress_Videos").exists()

    def test_too_few_videos(self, served, tmp_path):
        result = run_jhmdb(served[0], tmp_path / "jhmdb", JHMDB_NUM_VIDEOS="928")
        assert result.returncode == 1
        assert "holds 2 videos instead of 928" in result.stderr

    def test_an_archive_of_something_else(self, served, tmp_path):
        write_zip(served[2] / "splits.zip", {"readme.txt": "moved"})
        result = run_jhmdb(served[0], tmp_path / "jhmdb")
        assert result.returncode == 1
        assert "holds no '*_test_split1.txt'" in result.stderr


class TestUCF101:
    @pytest.fixture
    def variables(self, server) -> dict[str, str]:
        url, _, folder = server
        lists = write_zip(
            folder / "UCF101TrainTestSplits-RecognitionTask.zip",
            {
                "ucfTrainTestlist/classInd.txt": "1 YoYo\r\n",
                "ucfTrainTestlist/trainlist01.txt": "YoYo/v_YoYo_g01_c01.avi 1\r\n",
                "ucfTrainTestlist/testlist01.txt": "YoYo/v_YoYo_g02_c01.avi\r\n",
            },
        )
        videos = write_rar(
            folder / "UCF101.rar", {f"UCF-101/YoYo/v_YoYo_g0{group}_c01.avi": str(group) for group in (1, 2)}
        )
        return {
            "UCF101_URL": url,
            "UCF101_LISTS_SHA256": hashlib.sha256(lists.read_bytes()).hexdigest(),
            "UCF101_VIDEOS_BYTES": str(videos.stat().st_size),
            "UCF101_NUM_VIDEOS": "2",
        }

    def test_from_nothing_to_a_data_set(self, tmp_path, variables, unrar_path):
        result = run("download_ucf101.sh", tmp_path / "ucf101", path=unrar_path, **variables)
        assert result.returncode == 0, result.stderr
        dataset = find_dataset(tmp_path / "ucf101")
        assert (dataset.format, dataset.describe()) == ("ucf101", "1 classes, 1 train, 1 query")

    def test_wrong_checksum(self, tmp_path, variables, unrar_path):
        found = variables["UCF101_LISTS_SHA256"]
        del variables["UCF101_LISTS_SHA256"]
        result = run("download_ucf101.sh", tmp_path / "ucf101", path=unrar_path, **variables)
        assert result.returncode == 1
        assert f"RecognitionTask.zip has sha256 {found} instead of 5c0d1a53b8ed364a" in result.stderr
        assert not list((tmp_path / "ucf101/.download").iterdir())

    def test_wrong_size(self, tmp_path, variables, unrar_path):
        found = variables.pop("UCF101_VIDEOS_BYTES")
        result = run("download_ucf101.sh", tmp_path / "ucf101", path=unrar_path, **variables)
        assert result.returncode == 1
        assert f"UCF101.rar has {found} bytes instead of 6932971618" in result.stderr

    def test_damaged_archive(self, tmp_path, server, variables, unrar_path):
        path = server[2] / "UCF101.rar"
        path.write_bytes(b"x" * path.stat().st_size)
        result = run("download_ucf101.sh", tmp_path / "ucf101", path=unrar_path, **variables)
        assert result.returncode == 1
        assert "UCF101.rar cannot be unpacked" in result.stderr

    def test_no_unrar(self, tmp_path, server, variables):
        tools = tmp_path / "tools"
        tools.mkdir()
        for tool in ("curl", "unzip", "mkdir", "rm", "dirname"):
            (tools / tool).symlink_to(shutil.which(tool))
        result = run("download_ucf101.sh", tmp_path / "ucf101", path=str(tools), **variables)
        assert result.returncode == 1
        assert "unrar is missing, which unpacks the archives; install it" in result.stderr
        assert server[1].requests == []  # found out before 6.9 GB are fetched


class TestHMDB51:
    def test_from_nothing_to_a_data_set(self, tmp_path, server, unrar_path):
        url, _, folder = server
        names = {name: f"x&;[1]#!_{name}_h_nm_np1_fr_goo_0.avi" for name in ("smile", "fall_floor")}
        classes = {
            f"{name}.rar": write_rar(tmp_path / f"{name}.rar", {f"{name}/{video}": name}).read_bytes()
            for name, video in names.items()
        }
        write_rar(folder / "hmdb51_org.rar", classes)
        lists = write_rar(
            folder / "test_train_splits.rar",
            {f"testTrainMulti_7030_splits/{name}_test_split1.txt": f"{video} 1 \n" for name, video in names.items()},
        )
        md5 = hashlib.md5(lists.read_bytes()).hexdigest()
        variables = {"HMDB51_URL": url, "HMDB51_NUM_VIDEOS": "2", "HMDB51_LISTS_MD5": md5}
        result = run("download_hmdb51.sh", tmp_path / "hmdb51", path=unrar_path, **variables)
        assert result.returncode == 0, result.stderr
        dataset = find_dataset(tmp_path / "hmdb51")
        assert (dataset.format, dataset.describe()) == ("hmdb51", "2 classes, 2 train")
        assert sorted(path.name for path in dataset.directory.iterdir()) == ["testTrainMulti_7030_splits", "videos"]

    def test_a_damaged_class(self, tmp_path, server, unrar_path):
        url, _, folder = server
        write_rar(folder / "hmdb51_org.rar", {"smile.rar": b"x" * 2000})
        (tmp_path / "hmdb51/testTrainMulti_7030_splits").mkdir(parents=True)
        result = run("download_hmdb51.sh", tmp_path / "hmdb51", path=unrar_path, HMDB51_URL=url)
        assert result.returncode == 1
        assert "smile.rar cannot be unpacked: it is damaged" in result.stderr
        assert (tmp_path / "hmdb51/.download/hmdb51_org.rar").exists()  # 2 GB are not fetched again for a lack of tools
        assert not (tmp_path / "hmdb51/videos").exists()


class TestTools:
    @pytest.mark.parametrize("name", ["download_ucf101.sh", "download_hmdb51.sh", "download_jhmdb.sh"])
    def test_nothing_to_fetch_with(self, tmp_path, name):
        tools = tmp_path / "tools"
        tools.mkdir()
        for tool in ("mkdir", "rm", "dirname"):
            (tools / tool).symlink_to(shutil.which(tool))
        result = run(name, tmp_path / "set", path=str(tools))
        assert result.returncode == 1
        assert "curl or wget is missing" in result.stderr

    def test_wget_where_there_is_no_curl(self, tmp_path, server):
        if not shutil.which("wget"):
            pytest.skip("needs wget")
        url, _, folder = server
        write_zip(folder / "JHMDB_video.zip", JHMDB)
        write_zip(folder / "splits.zip", JHMDB_LISTS)
        tools = tmp_path / "tools"
        tools.mkdir()
        needed = ("wget", "unzip", "mkdir", "rm", "dirname", "mv", "find", "sort", "head", "wc", "tr")
        for tool in needed:
            (tools / tool).symlink_to(shutil.which(tool))
        result = run_jhmdb(url, tmp_path / "jhmdb", path=str(tools))
        assert result.returncode == 0, result.stderr

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        result = run("download_jhmdb.sh", tmp_path / "file/jhmdb")
        assert result.returncode == 1
        assert "cannot make '" in result.stderr
