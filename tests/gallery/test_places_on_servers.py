"""A gallery of videos on a server: a real S3 on this machine, and what goes wrong on the way to it."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from s3_server import Bucket, s3_bucket

from c3dhash.config import EncodeConfig, IndexConfig
from c3dhash.errors import StorageError, UsageError
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.indexing import IndexReport, encode_here, index_videos, open_gallery, plan_index
from c3dhash.gallery.removal import chosen_videos
from c3dhash.gallery.store import Gallery
from c3dhash.gallery.verify import verify_gallery
from c3dhash.models.runs import Run

FP32 = EncodeConfig(precision="fp32", device="cpu", window_seconds=1, stride_seconds=0.5)
PRUNE = IndexConfig(prune=True)
PRUNE_ALL = IndexConfig(prune=True, prune_vanished=True)

pytestmark = pytest.mark.filterwarnings("ignore")  # of boto's and moto's own making


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with s3_bucket("films") as bucket:
        yield bucket


@pytest.fixture
def bucket(server: Bucket, motion_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Six videos in class folders below db."""
    monkeypatch.setattr("c3dhash.video.fetching.PAUSES_SECONDS", (0.0,))
    server.put_folder("db", motion_dir / "query")
    yield server
    server.fault, server.page = lambda method, path: None, None
    server.asked.clear()
    for item in server.client.list_objects_v2(Bucket=server.name).get("Contents", []):
        server.delete(item["Key"])


@pytest.fixture
def db(bucket: Bucket) -> str:
    return f"{bucket.url}/db"


def index(run: Run, path: Path, *places: Path | str, **options: Any) -> IndexReport:
    with open_gallery(path, run, config=FP32) as gallery:
        return index_videos(run, gallery, places, config=FP32, **options)


def content(path: Path, root: str) -> dict[str, Any]:
    """All that a gallery knows of videos, by their names in a root."""
    with Gallery.open(path) as gallery:
        told = {}
        for video in gallery.videos():
            _, codes = gallery.codes_of(video.id)
            times = codes.start_seconds.tolist(), codes.end_seconds.tolist()
            name = video.video.removeprefix(f"{root}/")
            assert video.root == root
            told[name] = (video.content_hash, video.size_bytes, video.label, codes.codes.tobytes(), *times)
        return told


def counts(report: IndexReport) -> dict[str, Any]:
    """What happened, without what did not."""
    return {key: value for key, value in vars(report).items() if value and key != "clips"}


def leftovers() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("c3dhash-fetched-*"))


def test_the_codes_are_those_of_the_same_files_here(untrained_run, bucket, db, motion_dir, tmp_path):
    there = index(untrained_run, tmp_path / "there", db)
    assert counts(there) == {"added": 6} and there.clips > 6
    here = index(untrained_run, tmp_path / "here", motion_dir / "query")
    assert here == there
    assert content(tmp_path / "there", db) == content(tmp_path / "here", str(motion_dir / "query"))
    assert leftovers() == []
    bucket.asked.clear()
    assert counts(index(untrained_run, tmp_path / "there", f"{db}/")) == {"unchanged": 6}
    assert all("list-type=2" in path for _, path in bucket.asked), "nothing is fetched again"
    assert (tmp_path / "there" / "catalog.sqlite").read_bytes().find(b"secret") == -1


def test_a_gallery_follows_its_bucket(untrained_run, bucket, db, motion_dir, tmp_path):
    path = tmp_path / "gallery"
    index(untrained_run, path, db)
    keys = sorted(f"db/{file.relative_to(motion_dir / 'query')}" for file in (motion_dir / "query").rglob("*.mp4"))
    files = [motion_dir / "query" / key.removeprefix("db/") for key in keys]
    bucket.delete(keys[0])
    bucket.put("db/moved/elsewhere.MP4", files[0])
    bucket.put(keys[1], files[2].read_bytes() + b"\0")  # of another size
    bucket.put("db/.hidden.mp4", files[2])
    bucket.put("db/notes.txt", b"no video")
    bucket.put("db/broken.mp4", b"no video at all")
    bucket.asked.clear()
    report = index(untrained_run, path, db)
    assert (report.moved, report.updated, report.unchanged, report.added) == (1, 1, 4, 0)
    assert [failure["video"] for failure in report.failed] == [f"{db}/broken.mp4"]
    assert f"'{db}/broken.mp4'" in report.failed[0]["reason"] and "/tmp" not in report.failed[0]["reason"]
    with Gallery.open(path) as gallery:
        assert [each["video"] for each in gallery.failures()] == [f"{db}/broken.mp4"]
        assert f"{db}/moved/elsewhere.MP4" in {video.video for video in gallery.videos()}
    bucket.delete("db/broken.mp4")
    bucket.delete(keys[3])
    assert counts(index(untrained_run, path, db)) == {"unchanged": 5, "missing": 1}
    with Gallery.open(path) as gallery:
        assert gallery.failures() == []
    bucket.put(keys[3], files[3])
    assert counts(index(untrained_run, path, db)) == {"unchanged": 6}
    bucket.delete(keys[3])
    assert counts(index(untrained_run, path, db, index=PRUNE)) == {"unchanged": 5, "removed": 1}


def test_a_replaced_object_of_the_same_size_and_second_is_seen(untrained_run, bucket, db, motion_dir, tmp_path):
    first, second = (file.read_bytes() for file in sorted((motion_dir / "gallery").rglob("*.mp4"))[:2])
    length = max(len(first), len(second))
    while time.time() % 1 > 0.3:
        time.sleep(0.01)
    bucket.put("one/a.mp4", first + b"\0" * (length - len(first)))
    listed = plan_index(None, [f"{bucket.url}/one"]).to_encode
    bucket.put("one/a.mp4", second + b"\0" * (length - len(second)))
    again = plan_index(None, [f"{bucket.url}/one"]).to_encode
    assert listed[0].size_bytes == again[0].size_bytes and listed[0].mtime_ns != again[0].mtime_ns


def test_nothing_is_missing_because_a_listing_failed(untrained_run, bucket, db, tmp_path):
    """Whatever fails, in whatever folder: no video is taken for gone, also where all that is gone is dropped."""
    path = tmp_path / "gallery"
    index(untrained_run, path, db)
    before = content(path, db)
    folders = ["prefix=db%2F&", "prefix=db%2Fmove_sideways%2F"]
    for folder in folders:
        for status in (0, 500, 503):
            bucket.fault = lambda method, asked, folder=folder, status=status: status if folder in asked else None
            for options in (PRUNE_ALL, IndexConfig()):
                with pytest.raises(
                    StorageError, match=r"^'s3://films/db.*' could not be listed \(.*\); the same command"
                ):
                    index(untrained_run, path, db, index=options)
                assert content(path, db) == before
    bucket.fault = lambda method, asked: 403 if folders[0] in asked else None
    with pytest.raises(
        StorageError, match=r"^'s3://films/db' cannot be listed \(no permission.*\): nothing was changed"
    ):
        index(untrained_run, path, db, index=PRUNE_ALL)
    bucket.fault = lambda method, asked: 403 if folders[1] in asked else None
    report = index(untrained_run, path, db, index=PRUNE_ALL)
    assert (report.missing, report.removed, report.unchanged) == (0, 0, 4)
    assert [each["reason"].partition(":")[0] for each in report.failed] == ["'s3"]
    assert report.failed[0]["reason"].startswith(f"'{db}/move_sideways' cannot be listed: no permission")
    assert content(path, db) == before


def test_a_listing_of_which_a_page_is_missing_is_none(untrained_run, bucket, db, motion_dir, tmp_path):
    path = tmp_path / "gallery"
    for file in sorted((motion_dir / "gallery").rglob("*.mp4")):
        bucket.put(f"db/{file.name}", file)
    bucket.page = 2
    assert counts(index(untrained_run, path, db)) == {"added": 15}
    before, num_pages = content(path, db), []

    def cut(method: str, asked: str) -> int | None:
        num_pages.append("continuation-token" in asked)
        return 0 if sum(num_pages) == 3 and num_pages[-1] else None

    bucket.fault = lambda method, asked: 503 if "continuation-token" in asked else None
    with pytest.raises(StorageError, match=r"^'s3://films/db' could not be listed"):
        index(untrained_run, path, db, index=PRUNE_ALL)
    bucket.fault = cut  # the line fails once, late: it is asked again, from the first page
    assert counts(index(untrained_run, path, db, index=PRUNE_ALL)) == {"unchanged": 15}
    assert content(path, db) == before and sum(num_pages) > 5


def test_names_that_mean_something_elsewhere_are_names(untrained_run, bucket, db, motion_dir, tmp_path):
    name = "odd/a b#c?d%20e*[1]::é.mp4"
    here = tmp_path / "here"
    shutil.copytree(motion_dir / "query" / "move_up", here)
    (here / "odd").mkdir()
    shutil.copy(here / "move_up_000.mp4", here / name)
    bucket.put_folder("odd", here)
    bucket.put("odd//double.mp4", here / name)
    report = index(untrained_run, tmp_path / "there", f"{bucket.url}/odd")
    assert report.added == 3
    assert [each["reason"] for each in report.failed] == [
        f"folder '{bucket.url}/odd//' has no name, and what is in it is left out: rename it."
    ]
    index(untrained_run, tmp_path / "g", here)
    assert content(tmp_path / "there", f"{bucket.url}/odd") == content(tmp_path / "g", str(here))
    bucket.delete("odd//double.mp4")
    assert counts(index(untrained_run, tmp_path / "there", f"{bucket.url}/odd")) == {"unchanged": 3}


def test_a_place_that_is_not_there_is_not_one_that_was_emptied(untrained_run, bucket, db, tmp_path):
    path = tmp_path / "gallery"
    for place in ("s3://nowhere/db", f"{bucket.url}/nothing", f"{bucket.url}/nothing.mp4"):
        with pytest.raises(
            StorageError, match=rf"^'{place}' cannot be listed \(it is not there\): nothing was changed"
        ):
            index(untrained_run, path, place)
    index(untrained_run, path, db)
    before = content(path, db)
    for item in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]:
        bucket.delete(item["Key"])
    with pytest.raises(StorageError, match=r"\(it is not there\): nothing was changed"):
        index(untrained_run, path, db, index=PRUNE_ALL)
    assert content(path, db) == before
    report = index(untrained_run, path, bucket.url)  # which can be listed, and is empty
    assert counts(report) == {"missing": 6, "vanished": [bucket.url]} or report.vanished
    assert counts(index(untrained_run, path, bucket.url, index=PRUNE))["missing"] == 6
    assert counts(index(untrained_run, path, bucket.url, index=PRUNE_ALL)) == {"removed": 6}


def test_what_vanishes_before_it_is_fetched_fails_alone(untrained_run, bucket, db, motion_dir, tmp_path):
    key = "move_sideways/move_sideways_000.mp4"
    assert (motion_dir / "query" / key).exists()
    for status, why in ((404, "it is not there"), (403, "no permission")):
        bucket.fault = lambda method, asked, status=status: status if key in asked and "list" not in asked else None
        report = index(untrained_run, tmp_path / str(status), db)
        assert (report.added, len(report.failed)) == (5, 1)
        assert report.failed[0]["reason"].startswith(f"video '{db}/{key}' cannot be read: {why}")
    bucket.fault = lambda method, asked: None
    assert counts(index(untrained_run, tmp_path / "404", db)) == {"unchanged": 5, "added": 1}


def test_what_changes_while_it_is_fetched_is_told(untrained_run, bucket, db, motion_dir, tmp_path):
    key = "move_sideways/move_sideways_000.mp4"

    def replace(method: str, asked: str) -> None:
        if method == "GET" and key in asked:
            bucket.put(f"db/{key}", motion_dir / "gallery" / "move_up" / "move_up_000.mp4")

    bucket.fault = replace
    report = index(untrained_run, tmp_path / "g", db)
    assert (report.added, [each["reason"] for each in report.failed]) == (
        5, [f"video '{db}/{key}' changed while it was fetched; run the command again."],
    )  # fmt: skip


@pytest.mark.parametrize("workers", [1, 3])
def test_a_line_that_is_cut_in_mid_run_is_one_error_and_the_same_command_goes_on(
    untrained_run, bucket, db, tmp_path, run, workers, monkeypatch
):
    fetched = []

    def cut(method: str, asked: str) -> int | None:
        if "list" in asked:
            return None
        fetched.append(asked)
        return 0 if len(fetched) > 9 else None  # four are asked for each video

    bucket.fault = cut
    arguments = ("index", db, "--gallery", tmp_path / "g", "--model", untrained_run.path, "--precision", "fp32",
                 "--workers", workers)  # fmt: skip
    code, out, err = run(*arguments)
    line = err.splitlines()[-1]
    assert code == 1 and out == "" and "Traceback" not in err
    assert line.startswith(f"c3dhash: '{db}/") and line.endswith("; the same command goes on."), line
    with Gallery.open(tmp_path / "g") as gallery:
        num_done = gallery.num_videos
        assert num_done < 6 and gallery.failures() == []
    assert workers > 1 or num_done == 2
    assert leftovers() == []
    bucket.fault = lambda method, asked: None
    code, out, _ = run(*arguments)
    assert code == 0 and out.startswith(f"{6 - num_done} added") and f"{num_done} unchanged" in out


def test_a_server_that_is_silent_keeps_nobody_waiting_who_stops(untrained_run, bucket, db):
    steps = plan_index(None, [db]).to_encode
    is_asked, may_go_on, has_ended = threading.Event(), threading.Event(), threading.Event()

    def hold(method: str, asked: str) -> None:
        if method == "GET" and steps[0].video.rpartition("/")[2] not in asked:
            is_asked.set()
            may_go_on.wait(10)
            has_ended.set()

    bucket.fault = hold
    results = encode_here(untrained_run, steps, dataclasses.replace(FP32, batch_size=1), lambda name: None)
    result, seen = next(results)
    assert result.codes is not None and seen is not None and is_asked.wait(30)
    results.close()
    assert not has_ended.is_set() and leftovers() == []
    may_go_on.set()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Windows keeps what a kill leaves")
def test_what_a_killed_command_has_fetched_goes_with_the_next(untrained_run, bucket, db, tmp_path):
    is_asked, may_go_on = threading.Event(), threading.Event()

    def hold(method: str, asked: str) -> None:
        if method == "GET" and "list" not in asked:
            is_asked.set()
            may_go_on.wait(60)

    bucket.fault = hold
    command = [sys.executable, "-m", "c3dhash", "index", db, "--gallery", tmp_path / "g", "--model", untrained_run.path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert is_asked.wait(60)
        process.kill()
    may_go_on.set()
    assert leftovers()
    bucket.fault = lambda method, asked: None
    assert counts(index(untrained_run, tmp_path / "again", db)) == {"added": 6}
    assert leftovers() == []


class Page(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_pages_that_list_files_are_places(untrained_run, motion_dir, tmp_path, monkeypatch):
    pytest.importorskip("aiohttp", reason="needs aiohttp, as s3fs does")
    monkeypatch.setattr("c3dhash.video.fetching.PAUSES_SECONDS", (0.0,))
    shutil.copytree(motion_dir / "query", tmp_path / "web" / "db")
    (tmp_path / "web" / "other.mp4").write_bytes(b"no part of the place")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Page, directory=str(tmp_path / "web")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/db"
    try:
        assert counts(index(untrained_run, tmp_path / "there", url)) == {"added": 6}
        assert counts(index(untrained_run, tmp_path / "there", url)) == {"unchanged": 6}
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
    index(untrained_run, tmp_path / "here", motion_dir / "query")
    here = content(tmp_path / "here", str(motion_dir / "query"))
    assert content(tmp_path / "there", url) == here
    with pytest.raises(StorageError, match=rf"^'{url}' could not be listed \(.*\); the same command goes on"):
        index(untrained_run, tmp_path / "there", url, index=PRUNE_ALL)
    assert content(tmp_path / "there", url) == here


def test_places_of_both_kinds_in_one_gallery(untrained_run, bucket, db, motion_dir, tmp_path, run):
    path = tmp_path / "gallery"
    here = tmp_path / "here"
    shutil.copytree(motion_dir / "gallery" / "move_up", here / "move_up")
    assert counts(index(untrained_run, path, db, here)) == {"added": 9}
    shutil.move(path, tmp_path / "moved")  # with what is beside it, or not: a URL stays what it is
    path = tmp_path / "moved"
    assert counts(index(untrained_run, path, db)) == {"unchanged": 6}
    assert counts(index(untrained_run, path, here)) == {"unchanged": 3}
    assert counts(index(untrained_run, path, f"{db}/move_sideways", f"{db}/move_up/move_up_000.mp4")) == {
        "unchanged": 3
    }
    with Gallery.open(path) as gallery:
        assert set(gallery.root_folders()) == {db, str(here)}
        for folder, number in ((db, 6), (f"{db}/", 6), (f"{db}/move_up", 2), (here, 3), (bucket.url, 6), ("s3://f", 0)):
            assert len(gallery.videos(VideoFilter(folder=str(folder)))) == number
        name = f"{db}/move_up/move_up_000.mp4"
        assert [video.video for video in chosen_videos(gallery, [name])] == [name]
    found = verify_gallery(path, contents=True)
    assert found.is_sound and [finding.kind for finding in found.findings] == ["unreadable"]
    assert found.findings[0].text.startswith(f"6 videos of '{db}' are on a server")
    code, _, _ = run("gallery", "export", tmp_path / "g.csv", "--gallery", path)
    assert code == 0
    code, _, err = run("gallery", "import", tmp_path / "g.csv", "--gallery", tmp_path / "again")
    assert code == 0, err
    assert content_of_root(tmp_path / "again", db) == content_of_root(path, db)
    code, _, err = run("gallery", "remove", "--folder", f"{db}/move_up", "--gallery", path, "--yes")
    assert code == 0, err
    with Gallery.open(path) as gallery:
        assert len(gallery.videos()) == 7


def test_what_is_here_and_there_is_copied_and_what_went_there_is_moved(untrained_run, bucket, db, motion_dir, tmp_path):
    """Nobody asks a server whether what it has elsewhere is still there: it is, as far as the gallery knows."""
    path, here = tmp_path / "gallery", tmp_path / "here"
    index(untrained_run, path, db)
    shutil.copytree(motion_dir / "query", here)
    bucket.asked.clear()
    report = index(untrained_run, path, here)
    assert (report.added, report.moved, bucket.asked) == (6, 0, [])
    shutil.rmtree(here)
    bucket.put_folder("second", motion_dir / "query")
    assert counts(index(untrained_run, path, f"{bucket.url}/second")) == {"moved": 6}
    with Gallery.open(path) as gallery:
        assert {video.root for video in gallery.videos()} == {db, f"{bucket.url}/second"}


def content_of_root(path: Path, root: str) -> dict[str, Any]:
    with Gallery.open(path) as gallery:
        videos = gallery.videos(VideoFilter(folder=root))
        return {video.video: (video, gallery.codes_of(video.id)[1].codes.tobytes()) for video in videos}


def test_a_file_that_is_not_here_has_no_picture_and_nothing_else_changes(
    untrained_run, bucket, db, motion_dir, tmp_path, run
):
    path = tmp_path / "gallery"
    index(untrained_run, path, db)
    query = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    bucket.asked.clear()
    code, out, err = run("query", query, "--gallery", path, "--html", tmp_path / "q.html", "--top", "3")
    assert code == 0, err
    assert f"{db}/move_up/move_up_000.mp4" in out.splitlines()[1]
    page = (tmp_path / "q.html").read_text()
    assert f"{db}/move_up/move_up_000.mp4" in page
    code, _, err = run("query", f"{db}/move_up/move_up_000.mp4", "--gallery", path)
    assert code == 2 and f"query '{db}/move_up/move_up_000.mp4' is on a server" in err
    code, out, err = run("duplicates", "--gallery", path, "--html", tmp_path / "d.html")
    assert code == 0 and "Traceback" not in err
    code, out, err = run("gallery", "info", "--gallery", path)
    assert code == 0, err
    assert bucket.asked == []


@pytest.mark.parametrize(
    "place, text",
    [
        ("sftp://ann:hush@host/db", "a sftp:// URL holds a password"),
        ("https://host/db?X-Signature=hush", "a https:// URL holds a password or a signature"),
        ("file:///db", "'file:///db' is on this machine: name it by its path."),
        ("s3://", "'s3://' is no folder on a server; s3://bucket/folder is one."),
        ("zip://a.mp4::s3://films/hush", "is no folder on a server"),
        ("nonsense://films/db", "'nonsense://films/db' is nothing that fsspec opens"),
    ],
)
def test_places_that_are_refused(untrained_run, place, text, tmp_path, run, caplog):
    with open_gallery(tmp_path / "g", untrained_run) as gallery, pytest.raises(UsageError, match="://") as raised:
        index_videos(untrained_run, gallery, [place])
    assert text in str(raised.value) and ("hush" not in str(raised.value) or "::" in place)
    code, _, err = run("index", place, "--gallery", tmp_path / "g", "--model", untrained_run.path)
    assert code == 2 and text in err.splitlines()[-1] and "Traceback" not in err


def test_a_package_that_is_not_there_is_named(untrained_run, tmp_path, run, monkeypatch):
    code, _, err = run("index", "gs://films/db", "--gallery", tmp_path / "g", "--model", untrained_run.path)
    assert code == 2 and err.splitlines()[-1].startswith(
        "c3dhash: 'gs://films/db' needs a package that is not there: "
    ), err
    assert "gcsfs" in err
    monkeypatch.setitem(sys.modules, "fsspec", None)
    code, _, err = run("index", "s3://films/db", "--gallery", tmp_path / "g", "--model", untrained_run.path)
    assert code == 2 and err.splitlines()[-1].endswith("needs the extra remote: pip install 'c3dhash[remote]'")
