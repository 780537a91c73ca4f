"""A gallery in Milvus, served: by HTTP it says what the gallery says that was pushed there, and what it cannot."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from both import at
from browsers import Site, Visit, chromium, follow, has_pictures, names, texts, until
from random_codes import random_codes
from servers import WINDOWS, Served, asker, listening
from videos import numbered_frame, write_frames

from c3dhash.cluster import connection
from c3dhash.cluster.address import Address
from c3dhash.cluster.push import push_gallery
from c3dhash.cluster.remote_place import RemotePlace
from c3dhash.config import ServeConfig
from c3dhash.errors import GalleryError
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.served import Folder
from c3dhash.gallery.store import Gallery
from c3dhash.web.app import create_app
from c3dhash.web.service import Service


class Pair:
    """A gallery, its copy, and both served."""

    def __init__(self, folder: Path, address: Address, here: Served, there: Served) -> None:
        self.folder, self.address, self.here, self.there = folder, address, here, there
        listed = [each.ask("GET", "/api/videos", params={"limit": 1000}).json()["videos"] for each in (here, there)]
        self.ids = [{video["video"]: video["id"] for video in videos} for videos in listed]

    def same(self, method: str, path: str, **asked: Any) -> dict[str, Any]:
        """Ask both, with the number of a video for its name; they say the same, but for numbers of videos."""
        answers = []
        for served, ids in zip((self.here, self.there), self.ids, strict=True):
            options = dict(asked)
            if "json" in options and "video_id" in options["json"]:
                options["json"] = {**options["json"], "video_id": ids[options["json"]["video_id"]]}
            answers.append(served.ask(method, path.replace("LONG", str(ids["long.mp4"])), **options))
        assert [each.status_code for each in answers] == [200, 200], [each.text for each in answers]
        here, there = [without_numbers(each.json(), ids) for each, ids in zip(answers, self.ids, strict=True)]
        assert there == here
        found: dict[str, Any] = here
        return found


def without_numbers(value: Any, ids: dict[str, int]) -> Any:
    """Return an answer with names for the numbers of videos, which must be right, and without those of queries."""
    if isinstance(value, list):
        return [without_numbers(each, ids) for each in value]
    if not isinstance(value, dict):
        return round(value, 6) if isinstance(value, float) else value
    names = {number: name for name, number in ids.items()}
    told = {key: without_numbers(each, ids) for key, each in value.items() if key != "query_id"}
    if value.get("video_id") is not None:
        told["video_id"] = names[value["video_id"]]
    if "num_clips" in value and "id" in value:
        told["id"] = names[value["id"]]
    return told


@contextmanager
def service_of(place: Any, run: Any, **config: Any) -> Iterator[Served]:
    with closing(Service(place, run, config=ServeConfig(**config), encode=WINDOWS)) as service:
        app = create_app(service)
        yield Served(service, app, asker(app))


@pytest.fixture(scope="module")
def pair(tmp_path_factory, untrained_run, motion_dir, free_address) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(motion_dir / "gallery", folder / "db")
    write_frames(folder / "db" / "long.mp4", [numbered_frame(number) for number in range(100)])
    shutil.copy(folder / "db" / "long.mp4", folder / "db" / "again.mp4")
    with open_gallery(folder / "gallery", untrained_run, config=WINDOWS) as gallery:
        index_videos(untrained_run, gallery, [folder / "db"], config=WINDOWS)
        push_gallery(gallery, address := free_address())
    with (
        service_of(Folder(folder / "gallery"), untrained_run) as here,
        service_of(RemotePlace(str(address)), untrained_run) as there,
    ):
        yield Pair(folder, address, here, there)


def test_the_same_hits(pair, motion_dir):
    path = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    for fields in ({}, {"top": "3", "label": ["move_up", "move_down"]}, {"folder": "move_up"}, {"mirror": "true"},
                   {"added_since": "2020-01-01", "any_speed": "true"}, {"radius": "4"}):  # fmt: skip
        upload = {"files": {"file": (path.name, path.read_bytes(), "video/mp4")}, "data": fields}
        assert pair.same("POST", "/api/query", **upload)["hits"] or "radius" in fields
    for asked in ({}, {"not_itself": True}, {"start_seconds": 1, "end_seconds": 2.5}, {"clips": [0, 3], "top": 20}):
        hits = pair.same("POST", "/api/query", json={"video_id": "long.mp4", **asked})["hits"]
        assert hits and ({hit["video"] for hit in hits} & {"long.mp4", "again.mp4"} == set()) == ("not_itself" in asked)


def test_the_same_lists_and_pictures(pair):
    assert pair.same("GET", "/api/videos")["total"] == 11
    for params in (
        {"label": "move_up"},
        {"folder": "move_down", "limit": 2, "offset": 1},
        {"text": "UP"},
        {"offset": 99},
    ):
        pair.same("GET", "/api/videos", params=params)
    assert len(pair.same("GET", "/api/videos/LONG", params={"clip_offset": 2, "clip_limit": 3})["clips"]) == 3
    assert {label["label"] for label in pair.same("GET", "/api/facets")["labels"]} > {"move_up", "move_down"}
    assert len(pair.same("GET", "/api/map")["points"]) == 29
    pictures = [
        served.ask("GET", f"/api/videos/{ids['long.mp4']}/preview", params={"end_seconds": 1, "kind": "still"}).content
        for served, ids in zip((pair.here, pair.there), pair.ids, strict=True)
    ]
    assert pictures[0] == pictures[1] and pictures[0].startswith(b"\xff\xd8")
    assert pair.there.ask("GET", f"/api/clips/{pair.ids[1]['long.mp4']}/preview").status_code == 200
    both = [served.ask("GET", "/metrics").text for served in (pair.here, pair.there)]
    assert all("c3dhash_gallery_videos 11\n" in text and "c3dhash_gallery_clips 29\n" in text for text in both)


def test_health_says_what_is_not_known_of_a_copy(pair):
    here, there = (each.ask("GET", "/api/health").json() for each in (pair.here, pair.there))
    differing = {name for name in here if here[name] != there[name]}
    assert differing == {"gallery", "num_missing", "num_failed"} and there["gallery"] == pair.address.collection
    assert there["num_missing"] is None and there["num_failed"] is None and here["num_missing"] == 0
    assert there["balance"]["num_codes"] == 29 and len(there["balance"]["ones"]) == 16


def error_of(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    text: str = answer.json()["error"]
    assert "\n" not in text and "127.0.0.1" not in text and "milvus://" not in text, text
    return text


def test_what_a_copy_cannot_is_refused_and_not_offered(pair):
    for ask in (
        lambda: pair.there.ask("GET", "/api/duplicates"),
        lambda: pair.there.ask("POST", "/api/duplicates", json={"video_id": 1, "other_id": 2}),
    ):
        assert "this is the copy of a gallery: duplicates are found" in error_of(ask(), 409)
    page = pair.there.ask("GET", "/duplicates", headers={"Accept": "text/html"})
    assert page.status_code == 409 and "this is the copy of a gallery" in page.text
    pages = {path: pair.there.ask("GET", path).text for path in ("/", "/browse", "/map", "/health")}
    assert not any('href="/duplicates"' in text or "missing files only" in text for text in pages.values())
    assert 'href="/duplicates"' in pair.here.ask("GET", "/").text
    assert "Files missing" not in pages["/health"]
    assert "has no video 10000" in error_of(pair.there.ask("GET", "/api/videos/10000"), 404)
    assert "label 'nap' is of no video" in error_of(pair.there.ask("GET", "/api/videos?label=nap"), 422)


def test_too_many_to_be_looked_through(pair, monkeypatch):
    monkeypatch.setattr("c3dhash.cluster.remote_videos.MOST_LISTED", 5)
    monkeypatch.setattr("c3dhash.cluster.remote_videos.MOST_SORTED", 2)
    monkeypatch.setattr("c3dhash.cluster.remote.MOST_SORTED", 2)
    monkeypatch.setattr("c3dhash.web.page_answers.PAGE_VIDEOS", 2)
    told = "has 11 such videos, and 5 at most are looked through one by one"
    assert told in error_of(pair.there.ask("GET", "/api/videos?text=up"), 409)
    pair.there.service.computed.forget("facets")
    assert told in error_of(pair.there.ask("GET", "/api/facets"), 409)
    page = pair.there.ask("GET", "/browse")
    assert page.status_code == 200 and 'name="folder"' in page.text and "<option" not in page.text
    monkeypatch.undo()
    assert pair.there.ask("GET", "/api/facets").status_code == 200, "what failed is tried again"


class Relay:
    """Hands what comes to a port on to another one, until it is cut."""

    def __init__(self, to: int) -> None:
        self._to, self.port, self.is_silent = to, 0, False
        self._sockets: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                one, _ = listening.accept()
            except OSError:
                return
            other = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [one, other]
            for source, sink in ((one, other), (other, one)):
                threading.Thread(target=self._hand_on, args=(source, sink), daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while block := source.recv(1 << 16):
                if not self.is_silent:
                    sink.sendall(block)
        except OSError:
            pass
        finally:
            sink.close()

    def cut(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in self._sockets:
            each.close()
        self._sockets = []


def wait_for(ask: Callable[[], Any], status: int) -> Any:
    """Ask until an answer has a status."""
    deadline = time.monotonic() + 20
    while (answer := ask()).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)
    return answer


def test_a_server_that_is_lost_and_comes_back(pair, untrained_run):
    relay = Relay(pair.address.port)
    address = pair.address._replace(port=relay.port)
    number = pair.ids[1]["long.mp4"]
    with service_of(RemotePlace(str(address)), untrained_run) as served:

        def query() -> Any:
            return served.ask("POST", "/api/query", json={"video_id": number})

        expected = query().json()["hits"]
        assert expected
        statuses, is_over = set(), threading.Event()

        def go_on_asking() -> None:
            while not is_over.is_set():
                statuses.add(query().status_code)

        asking = [threading.Thread(target=go_on_asking) for _ in range(2)]
        for thread in asking:
            thread.start()
        relay.cut()
        start = time.monotonic()
        wait_for(query, 503)
        for answer in (query(), *(served.ask("GET", path) for path in ("/api/health", "/api/map", "/api/videos"))):
            assert "no Milvus at its address lets us in" in error_of(answer, 503)
            assert answer.headers["retry-after"] == "5"
        page = served.ask("GET", "/health", headers={"Accept": "text/html"})
        assert page.status_code == 503 and "no Milvus at its address" in page.text
        assert time.monotonic() - start < 20, "nobody waits for it for long"
        relay.mend()
        assert wait_for(query, 200).json()["hits"] == expected
        assert served.ask("GET", "/api/map").status_code == 200
        is_over.set()
        for thread in asking:
            thread.join()
        assert statuses == {200, 503}, "also of what was under way"
    relay.cut()


def test_a_server_that_is_silent(pair):
    """It takes what is sent, and does not answer."""
    relay = Relay(pair.address.port)
    asked = connection.Connection(pair.address._replace(port=relay.port), seconds=0.5)
    assert asked.call("has_collection", pair.address.collection)
    relay.is_silent = True
    with pytest.raises(
        GalleryError, match=r"Milvus at 127\.0\.0\.1:\d+ is silent: it did not answer 'milvus:.*' in 0\.5 s"
    ):
        asked.call("describe_collection", pair.address.collection)
    relay.is_silent = False
    relay.cut()
    asked.close()


def test_it_is_looked_at(pair, untrained_run):
    with (
        chromium() as browser,
        service_of(RemotePlace(str(pair.address)), untrained_run, port=0) as served,
        listening(served.service, served.app) as server,
    ):
        one = Visit(browser.new_page(), Site(server.url, served.service))
        page = one.open("/browse")
        assert len(names(page)) == 11 and "Duplicates" not in texts(page, "nav a")
        page.get_by_role("searchbox", name="Name").fill("long")
        until(page, "() => document.querySelectorAll('.card').length === 1")
        has_pictures(page, ".card img")
        follow(page.locator(".card h3 a"))
        follow(page.get_by_role("link", name="Search with this video"))
        assert set(names(page)[:2]) == {"long.mp4", "again.mp4"}
        follow(page.get_by_role("link", name="Map"))
        until(page, "() => document.getElementById('map-count').textContent === '29 clips.'")
        one.check()


def test_where_there_is_nothing(free_address, run):
    with pytest.raises(GalleryError, match="is not there: `c3dhash gallery push --to milvus:"):
        RemotePlace(str(free_address())).open()
    for gallery, code, told in (
        ("milvus://nowhere", 2, "must be milvus://HOST:PORT/COLLECTION"),
        ("milvus://127.0.0.1:1/films", 1, "no Milvus at 127.0.0.1:1 lets us in"),
        (str(free_address()), 1, "is not there: `c3dhash gallery push"),
    ):
        found, out, err = run("serve", "--gallery", gallery)
        assert (found, out, len(err.strip().splitlines())) == (code, "", 1) and told in err


def test_dropped_pushed_again_and_of_another_model(pair, tmp_path, monkeypatch):
    """The last one: the copy is another one after it."""
    monkeypatch.setattr(connection, "FRESH_SECONDS", 0.0)

    def drop() -> None:
        client = connection.Connection(pair.address)
        for name in (pair.address.collection, pair.address.videos):
            client.call("drop_collection", name)
        client.close()

    def health() -> Any:
        return pair.there.ask("GET", "/api/health")

    assert health().json()["num_videos"] == 11
    drop()
    assert "is not there: `c3dhash gallery push" in error_of(health(), 503)
    with Gallery.create(tmp_path / "other", hash_length=48, model_fingerprint="b" * 32) as other:
        other.add("a", at(random_codes(np.random.default_rng(0), 2)), content_hash="a")
        push_gallery(other, pair.address)
    assert "holds 48-bit codes of model bbbbbbbb…, got a 16-bit model" in error_of(health(), 409)
    drop()
    with Gallery.open(pair.folder / "gallery") as gallery:
        gallery.remove([str(pair.folder / "db" / "again.mp4")])
        push_gallery(gallery, pair.address)
        assert wait_for(health, 200).json()["num_videos"] == 10
        number = pair.there.ask("GET", "/api/videos?text=long").json()["videos"][0]["id"]
        gallery.remove([str(pair.folder / "db" / "move_up" / "move_up_000.mp4")])
        push_gallery(gallery, pair.address)
        deadline = time.monotonic() + 20
        while health().json()["num_videos"] != 9:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        found = pair.there.ask("POST", "/api/query", json={"video_id": number, "top": 20}).json()["hits"]
        assert {"again.mp4", "move_up/move_up_000.mp4"} & {hit["video"] for hit in found} == set() and len(found) == 9
