"""What the routes answer, on a real gallery and a real run."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from paths import PACKAGE
from servers import ATTACK, WINDOWS, asker
from videos import numbered_frame, write_frames

from c3dhash.config import HashConfig, IndexConfig
from c3dhash.gallery.duplicates import find_duplicates
from c3dhash.gallery.fitting import index_with_features, make_run
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.query import query_video
from c3dhash.gallery.store import Gallery
from c3dhash.models.calibration import Calibration, save_calibration
from c3dhash.models.clip_stream import ClipStream, Message
from c3dhash.models.runs import load_run
from c3dhash.recognition.recognize import recognize_videos


def found(answer) -> dict:
    assert answer.status_code == 200, answer.text
    return answer.json()


def error_of(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) == {"error"} and "\n" not in content["error"]
    return content["error"]


def as_the_command(hits: list, folder: Path) -> list[dict]:
    """Hits as JSON, with names as strangers see them."""
    return [
        {**json.loads(json.dumps(dataclasses.asdict(hit))), "video": str(Path(hit.video).relative_to(folder / "db"))}
        for hit in hits
    ]


def without_numbers(hits: list[dict]) -> list[dict]:
    return [{name: hit[name] for name in hit.keys() - {"video_id", "clip_id", "video_seconds"}} for hit in hits]


@pytest.mark.parametrize("options", [{}, {"top": 3, "mirror": True}, {"label": ["move_up"], "radius": 4}])
def test_an_upload_finds_what_the_command_finds(served, untrained_run, folder, upload, motion_dir, options):
    video = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    form = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
    answer = found(served.ask("POST", "/api/query", data=form, **upload))
    with Gallery.open(folder / "gallery") as gallery:
        from c3dhash.gallery.filters import VideoFilter

        only = VideoFilter(labels=tuple(options.get("label", ())))
        others = {name: value for name, value in options.items() if name != "label"}
        expected = query_video(untrained_run, gallery, video, only=only, config=WINDOWS, **others)
        assert without_numbers(answer["hits"]) == as_the_command(expected, folder)
        for hit in answer["hits"]:
            assert gallery.video(hit["video_id"]).video == str(folder / "db" / hit["video"])
            (clip,) = gallery.clips([hit["clip_id"]])
            assert (clip.video_id, clip.start_seconds) == (hit["video_id"], hit["start_seconds"])
    assert answer["query"]["name"] == "move_up_000.mp4"


def test_a_video_of_the_gallery_is_searched_with_by_its_codes(served, folder):
    (folder / "db" / "long.mp4").unlink()  # nothing is decoded
    answer = found(served.ask("POST", "/api/query", json={"video_id": 2, "not_itself": True, "top": 20}))
    assert {hit["video"] for hit in answer["hits"]} & {"long.mp4", ATTACK} == set()
    whole = found(served.ask("POST", "/api/query", json={"video_id": 2}))
    assert whole["query"] == {
        "name": "long.mp4", "video_id": 2, "query_id": None, "seconds": 4.0, "num_windows": 7,
        "windows": [0, 1, 2, 3, 4, 5, 6], "start_seconds": 0.0, "end_seconds": 4.0,
    }  # fmt: skip
    part = found(served.ask("POST", "/api/query", json={"video_id": 2, "start_seconds": 0.9, "end_seconds": 2.6}))
    assert (part["query"]["windows"], part["hits"][0]["distance"]) == ([1, 2, 3, 4], 0)
    tiny = found(served.ask("POST", "/api/query", json={"video_id": 2, "start_seconds": 1.6, "end_seconds": 1.7}))
    assert tiny["query"]["windows"] == [2, 3]
    by_folder = found(served.ask("POST", "/api/query", json={"video_id": 2, "folder": "move_up"}))
    assert {hit["video"].split("/")[0] for hit in by_folder["hits"]} == {"move_up"}


def test_a_query_is_remembered_with_its_windows(served, upload):
    first = found(served.ask("POST", "/api/query", **upload))
    query_id = first["query"]["query_id"]
    again = found(served.ask("POST", "/api/query", json={"query_id": query_id}))
    assert again == first
    (hit,) = found(served.ask("POST", "/api/query", json={"query_id": query_id, "clips": [1], "top": 1}))["hits"]
    assert hit["segments"][0]["query_start_seconds"] == 0.5
    deadline = time.monotonic() + 20
    while not (told := found(served.ask("GET", f"/api/queries/{query_id}")))["are_previews_made"]:
        assert time.monotonic() < deadline
    assert (told["status"], told["windows_done"], told["num_windows"]) == ("done", 2, 2)
    assert [(clip["number"], clip["has_preview"]) for clip in told["clips"]] == [(0, True), (1, True)]
    answer = served.ask("GET", f"/api/queries/{query_id}/clips/1/preview?kind=still")
    assert (answer.headers["content-type"], answer.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert "no picture" in error_of(served.ask("GET", f"/api/queries/{query_id}/clips/7/preview"), 404)
    text = error_of(served.ask("POST", "/api/query", json={"query_id": query_id, "clips": [2]}), 422)
    assert text == "clips (2) must be some of 0 to 1, which this video has."
    assert "no query has this number" in error_of(served.ask("GET", "/api/queries/unknown"), 404)
    assert "without mirror" in error_of(
        served.ask("POST", "/api/query", json={"query_id": query_id, "mirror": True}), 409
    )


def test_the_oldest_queries_are_forgotten(serve, upload):
    served = serve(max_queries=2)
    ids = [found(served.ask("POST", "/api/query", **upload))["query"]["query_id"] for _ in range(3)]
    assert [served.ask("GET", f"/api/queries/{query_id}").status_code for query_id in ids] == [404, 200, 200]


def test_classes_are_those_of_the_command(served, untrained_run, folder, upload, motion_dir):
    video = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    (expected,) = recognize_videos(untrained_run, [video], config=dataclasses.replace(WINDOWS, crop_bars=None))
    answer = found(served.ask("POST", "/api/classify", **upload))
    assert [each["label"] for each in answer["top"]] == [each.label for each in expected.top]
    assert [each["probability"] for each in answer["top"]] == pytest.approx([each.probability for each in expected.top])
    own = found(served.ask("POST", "/api/classify", json={"video_id": 3, "top": 1}))
    assert (own["video"], len(own["top"])) == ("move_down/move_down_000.mp4", 1)


def test_videos_by_label_folder_and_text(served):
    def names(query: str) -> list[str]:
        return [video["video"] for video in found(served.ask("GET", f"/api/videos?{query}"))["videos"]]

    assert len(names("")) == 11
    assert names("label=move_up&limit=2&offset=1") == ["move_up/move_up_001.mp4", "move_up/move_up_002.mp4"]
    assert names("folder=move_down&text=_001") == ["move_down/move_down_001.mp4"]
    assert names("text=ONERROR") == [ATTACK]
    assert names("missing=true") == []
    assert "label 'up' is of no video of gallery 'gallery'" in error_of(served.ask("GET", "/api/videos?label=up"), 422)
    facets = found(served.ask("GET", "/api/facets"))
    assert {each["folder"]: each["num_videos"] for each in facets["folders"]} == {
        "": 2, "move_down": 3, "move_sideways": 3, "move_up": 3,
    }  # fmt: skip
    details = found(served.ask("GET", "/api/videos/2?clip_offset=5"))
    assert [clip["number"] for clip in details["clips"]] == [5, 6]
    assert "no video 99" in error_of(served.ask("GET", "/api/videos/99"), 404)


def test_a_video_on_a_server_is_found_and_has_no_picture(serve, folder):
    """What cannot be read here is told as any file that cannot be, and by the name that strangers see."""
    with Gallery.open(folder / "gallery") as gallery:
        _, codes = gallery.codes_of(2)
        root = "s3://secret/films"
        gallery.add(f"{root}/up/a.mp4", codes, content_hash="0" * 32, size_bytes=1, mtime_ns=1, root=root)
        number = gallery.video_id(f"{root}/up/a.mp4")
    served = serve()
    told = served.ask("GET", f"/api/videos/{number}").json()
    assert told["video"] == "films/up/a.mp4"
    for kind in ("still", "moving"):
        answer = served.ask("GET", f"/api/videos/{number}/preview?kind={kind}")
        text = error_of(answer, answer.status_code)
        assert 400 <= answer.status_code < 500 and "films/up/a.mp4" in text and "secret" not in text
    page = served.ask("GET", f"/videos/{number}")
    assert "secret" not in page.text
    assert served.ask("GET", "/api/health").json()["num_missing"] == 0


def test_previews_move_or_are_still_and_come_in_parts(served):
    moving = served.ask("GET", "/api/clips/3/preview")
    assert (moving.status_code, moving.headers["content-type"], moving.content[8:12]) == (200, "image/webp", b"WEBP")
    assert b"ANIM" in moving.content[:64]
    still = served.ask("GET", "/api/videos/2/preview?start_seconds=1&end_seconds=2&kind=still")
    assert still.content[:2] == b"\xff\xd8"
    mirrored = served.ask("GET", "/api/videos/2/preview?start_seconds=1&end_seconds=2&kind=still&mirrored=true")
    assert mirrored.content != still.content
    tag = {"If-None-Match": moving.headers["etag"]}
    assert served.ask("GET", "/api/clips/3/preview", headers=tag).status_code == 304
    part = served.ask("GET", "/api/clips/3/preview", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, moving.content[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{len(moving.content)}"
    assert served.ask("GET", "/api/clips/3/preview", headers={"Range": "bytes=-4"}).content == moving.content[-4:]


@pytest.mark.parametrize(
    "asked", ["bytes=9999999-", "bytes=5-2", "bytes=-0", "lines=1-2", "bytes=0-1,4-5", "bytes=a-b"]
)
def test_a_range_that_is_not_there_is_416(served, asked):
    answer = served.ask("GET", "/api/clips/3/preview?kind=still", headers={"Range": asked})
    assert "must be one range" in error_of(answer, 416)
    assert answer.headers["content-range"].startswith("bytes */")


@pytest.mark.parametrize(
    "stretch",
    ["start_seconds=nan", "start_seconds=inf", "end_seconds=inf", "start_seconds=-1", "start_seconds=4",
     "start_seconds=2&end_seconds=1", "start_seconds=1&end_seconds=1", "end_seconds=99", "start_seconds=x"],
)  # fmt: skip
def test_a_stretch_that_a_video_does_not_have_is_refused(served, stretch):
    assert "_seconds" in error_of(served.ask("GET", f"/api/videos/2/preview?{stretch}"), 422)
    asked = dict(each.split("=") for each in stretch.split("&"))
    text = json.dumps({"video_id": 2}).replace(
        "}", "".join(f', "{name}": {value}' for name, value in asked.items()) + "}"
    )
    answer = served.ask("POST", "/api/query", content=text.replace("nan", "NaN").replace("inf", "Infinity"),
                        headers={"Content-Type": "application/json"})  # fmt: skip
    assert answer.status_code in (400, 422), answer.text


def test_no_huge_preview(served, monkeypatch):
    monkeypatch.setattr("c3dhash.web.service.MAX_PICTURE_SECONDS", 2.0)
    assert "at most 2 s, got 4" in error_of(served.ask("GET", "/api/videos/2/preview"), 422)


def test_duplicates_and_not_a_match(served, folder):
    shutil.copy(folder / "db" / "long.mp4", folder / "other")  # not of the gallery
    with Gallery.open(folder / "gallery") as gallery:
        expected = find_duplicates(gallery, radius=2)
    answer = served.ask("GET", "/api/duplicates?radius=2")
    while answer.status_code == 202:
        answer = served.ask("GET", "/api/duplicates?radius=2")
    groups = found(answer)["groups"]
    assert [str(folder / "db" / group["best"]) for group in groups] == [group.best for group in expected]
    group = next(group for group in groups if any(each["relation"] != "same bytes" for each in group["members"]))
    member = next(each for each in group["members"] if each["relation"] != "same bytes")
    pair = {"video_id": group["best_id"], "other_id": member["video_id"]}
    assert found(served.ask("POST", "/api/duplicates", json=pair)) == {**pair, "is_match": False}
    pairs = [
        {each["best_id"], other["video_id"]}
        for each in found(served.ask("GET", "/api/duplicates?radius=2"))["groups"]
        for other in each["members"]
    ]
    assert set(pair.values()) not in pairs
    assert found(served.ask("POST", "/api/duplicates", json={**pair, "is_match": True}))["is_match"]
    again = served.ask("GET", "/api/duplicates?radius=2&limit=1&offset=1")
    assert found(again)["groups"] == groups[1:2]
    same = {"video_id": 1, "other_id": 2}
    text = error_of(served.ask("POST", "/api/duplicates", json=same), 422)
    assert text == f"'{ATTACK}' and 'long.mp4' have the same bytes: they do match."
    assert "no video 99" in error_of(served.ask("POST", "/api/duplicates", json={"video_id": 1, "other_id": 99}), 404)


def test_health_map_and_metrics(served, folder):
    health = found(served.ask("GET", "/api/health"))
    assert (health["num_videos"], health["num_clips"], health["num_failed"]) == (11, 29, 1)
    (failed,) = health["failed"]
    assert failed["video"] == "broken.mp4" and failed["reason"].startswith("video 'broken.mp4' is a text")
    assert len(health["balance"]["ones"]) == 16
    assert health["model"]["classes"] == ["move_down", "move_sideways", "move_up"]
    points = found(served.ask("GET", "/api/map"))["points"]
    assert len(points) == 29 and all(-1 <= point[axis] <= 1 for point in points for axis in "xy")
    lines = served.ask("GET", "/metrics").text.splitlines()
    assert 'c3dhash_requests_total{route="/api/health",method="GET",status="200"} 1' in lines
    assert "c3dhash_gallery_clips 29" in lines
    assert all(line.startswith("# ") or len(line.rsplit(" ", 1)) == 2 for line in lines)


def test_the_gallery_changes_under_it(served, untrained_run, folder, motion_dir):
    assert found(served.ask("GET", "/api/health"))["num_videos"] == 11
    shutil.copy(motion_dir / "query" / "move_up" / "move_up_001.mp4", folder / "db" / "new.mp4")
    (folder / "db" / "long.mp4").unlink()
    with Gallery.open(folder / "gallery") as gallery:
        index_videos(untrained_run, gallery, [folder / "db"], config=WINDOWS)
        number = gallery.video_id(str(folder / "db" / "new.mp4"))
    health = found(served.ask("GET", "/api/health"))
    assert (health["num_videos"], health["num_missing"], health["missing"][0]["video"]) == (11, 1, "long.mp4")
    hits = found(served.ask("POST", "/api/query", json={"video_id": number, "top": 20}))["hits"]
    assert "new.mp4" in {hit["video"] for hit in hits} and "long.mp4" not in {hit["video"] for hit in hits}
    text = error_of(served.ask("POST", "/api/query", json={"video_id": 2}), 409)
    assert text == "video 'long.mp4' has no codes to search with, since its file is missing: take another."


def test_another_gallery_in_its_place(served, untrained_run, folder, motion_dir):
    (folder / "gallery").rename(folder / "old")
    assert "is not there" in error_of(served.ask("GET", "/api/videos"), 503)
    with open_gallery(folder / "gallery", untrained_run, config=WINDOWS) as gallery:
        index_videos(untrained_run, gallery, [motion_dir / "query" / "move_up"], config=WINDOWS)
    assert found(served.ask("GET", "/api/videos"))["total"] == 2
    assert found(served.ask("POST", "/api/query", json={"video_id": 1}))["hits"][0]["video"] == "move_up_000.mp4"


def test_an_empty_gallery(folder, serve, untrained_run, upload):
    shutil.rmtree(folder / "gallery")
    open_gallery(folder / "gallery", untrained_run, config=WINDOWS).close()
    served = serve()
    for path, name in (("/api/videos", "videos"), ("/api/map", "points"), ("/api/duplicates", "groups")):
        assert found(served.ask("GET", path))[name] == []
    assert found(served.ask("GET", "/api/health"))["balance"] == {
        "ones": [], "dead_bits": [], "distinct_codes": 0, "num_codes": 0
    }  # fmt: skip
    assert "the gallery is empty" in error_of(served.ask("POST", "/api/query", **upload), 409)


def test_a_mirrored_copy_by_the_codes_of_the_gallery(tmp_path, serve, folder):
    """Of phash: the gallery's own codes tell those of mirror images."""
    shutil.rmtree(folder / "gallery")
    shutil.rmtree(folder / "db")
    (folder / "db").mkdir()
    for name in range(3):
        frames = [numbered_frame(100 * name + number).copy() for number in range(60)]
        for frame in frames:
            frame[:, 80:] //= 4
        write_frames(folder / "db" / f"{name}.avi", frames, fourcc="FFV1")
    write_frames(folder / "db" / "flipped.avi", [frame[:, ::-1] for frame in frames], fourcc="FFV1")
    config = HashConfig(backbone="phash", hash_length=16)
    run = make_run(folder / "gallery", [folder / "db"], config=config, encode=WINDOWS)
    with open_gallery(folder / "gallery", run, config=WINDOWS) as gallery:
        index_with_features(run, gallery, [folder / "db"], config=WINDOWS, index=IndexConfig())
        number = gallery.video_id(str(folder / "db" / "flipped.avi"))
    served = serve(run=run)
    asked = {"video_id": number, "not_itself": True, "top": 1}
    (hit,) = found(served.ask("POST", "/api/query", json={**asked, "mirror": True}))["hits"]
    assert (hit["video"], hit["is_mirrored"]) == ("2.avi", True)
    (other,) = found(served.ask("POST", "/api/query", json=asked))["hits"]
    assert not other["is_mirrored"] and other["distance"] > hit["distance"]
    assert "no class head" in error_of(served.ask("POST", "/api/classify", json={"video_id": number}), 409)


@pytest.fixture
def held(served, monkeypatch):
    """Hold the network until the event is set."""
    event, compute = threading.Event(), served.service._encoder.network.features

    def features(clips):
        assert event.wait(30)
        return compute(clips)

    monkeypatch.setattr(served.service._encoder.network, "features", features)
    yield event
    event.set()


def test_a_slow_encode_blocks_nothing_else(served, upload, held):
    answer = served.ask("POST", "/api/query", data={"wait_seconds": "0"}, **upload)
    assert answer.status_code == 202 and answer.headers["location"] == f"/api/queries/{answer.json()['query_id']}"
    second = served.ask("POST", "/api/query", data={"wait_seconds": "0"}, **upload).json()
    third = served.ask("POST", "/api/classify", data={"wait_seconds": "0"}, **upload).json()
    assert found(served.ask("GET", "/api/health"))["queue"]["num_uploads"] == 3
    assert found(served.ask("POST", "/api/query", json={"video_id": 2}))["hits"]
    told = found(served.ask("GET", answer.headers["location"]))
    assert (told["status"], told["windows_done"], told["num_windows"], told["clips"]) == ("encoding", 0, 2, [])
    waiting = found(served.ask("GET", f"/api/queries/{third['query_id']}"))
    assert (waiting["status"], waiting["task"]) == ("queued", "classify") and waiting["num_before"] >= 1
    held.set()
    first = found(served.ask("POST", "/api/query", json={"query_id": told["query_id"]}))
    same = found(served.ask("POST", "/api/query", json={"query_id": second["query_id"]}))
    assert first["hits"] == same["hits"]
    deadline = time.monotonic() + 20
    while (told := found(served.ask("GET", f"/api/queries/{third['query_id']}")))["status"] != "done":
        assert time.monotonic() < deadline
    assert len(told["top"]) == 3


def test_what_arrives_shares_batches(served, upload, held, monkeypatch):
    """Four uploads of two windows each, which are read while the network works on the first, need two or three."""
    network, sizes, streams = served.service._encoder.network, [], []

    class Stream(ClipStream):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            streams.append(self)

    monkeypatch.setattr("c3dhash.models.encode.ClipStream", Stream)
    compute = network.features
    monkeypatch.setattr(network, "features", lambda clips: (sizes.append(len(clips)), compute(clips))[1])
    ids = [served.ask("POST", "/api/query", data={"wait_seconds": "0"}, **upload).json()["query_id"] for _ in range(4)]
    deadline = time.monotonic() + 20

    def waiting():
        return list(streams[0]._queue.queue)

    while not sizes or sizes[0] + sum(isinstance(each, Message) and each.clip is not None for each in waiting()) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    held.set()
    for query_id in ids:
        found(served.ask("POST", "/api/query", json={"query_id": query_id}))
    assert (len(streams), sum(sizes)) == (1, 8) and len(sizes) <= 3


def test_no_more_than_so_many_uploads(serve, upload, monkeypatch):
    served = serve(max_uploads=2)
    event, compute = threading.Event(), served.service._encoder.network.features
    monkeypatch.setattr(served.service._encoder.network, "features", lambda clips: (event.wait(30), compute(clips))[1])
    ids = [served.ask("POST", "/api/query", data={"wait_seconds": "0"}, **upload).json()["query_id"] for _ in range(2)]
    answer = served.ask("POST", "/api/query", **upload)
    assert "2 uploads are under way" in error_of(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1
    event.set()
    for query_id in ids:
        found(served.ask("POST", "/api/query", json={"query_id": query_id}))
    deadline = time.monotonic() + 20
    while served.service.uploads.num_uploads:  # until their pictures are made
        assert time.monotonic() < deadline
    found(served.ask("POST", "/api/query", **upload))


def test_without_a_run_what_has_codes_is_searched_with(serve, upload):
    served = serve(run=None)
    assert found(served.ask("POST", "/api/query", json={"video_id": 2}))["hits"]
    assert "the run that made the codes of this gallery is not there" in error_of(
        served.ask("POST", "/api/query", **upload), 409
    )
    assert "nothing is recognised" in error_of(served.ask("POST", "/api/classify", json={"video_id": 1}), 409)
    assert found(served.ask("GET", "/api/health"))["model"] is None
    assert not list(served.service.uploads.path.glob("[!i]*"))


@pytest.mark.parametrize(
    "path, body, status, text",
    [
        ("/api/query", b"{", 400, "Invalid JSON"),
        ("/api/query", b"[" * 5000, 400, "Invalid JSON"),
        ("/api/query", b"{}", 422, "one of a file, query_id and video_id is needed, got 0."),
        ("/api/query", b'{"video_id": 2, "query_id": "x"}', 422, "got 2."),
        ("/api/query", b'{"video_id": 2, "top": 0}', 422, "top (0): Input should be greater than or equal to 1."),
        ("/api/query", b'{"video_id": 2, "colour": "red"}', 422, "colour ('red'): Extra inputs are not permitted."),
        ("/api/query", b'{"video_id": 2, "label": ["\\ud800"]}', 400, "Invalid JSON"),
        ("/api/query", b'{"video_id": ' + b"9" * 5000 + b"}", 400, "out of range"),
        ("/api/query", b'{"video_id": 2, "mirror": true}', 422, "mirror: of codes in a mirror only those of phash"),
        ("/api/query", b'{"video_id": 2, "added_since": "2026-13-01"}', 422, "must be a day"),
        ("/api/classify", b'{"video_id": 99}', 404, "no video 99"),
        ("/api/duplicates", b"{", 400, "Invalid JSON"),
    ],
)
def test_wrong_requests_are_one_line(served, path, body, status, text):
    answer = served.ask("POST", path, content=body, headers={"Content-Type": "application/json"})
    assert text in error_of(answer, status)


def test_what_is_not_there(served):
    assert "/openapi.json lists" in error_of(served.ask("GET", "/api/none"), 404)
    assert error_of(served.ask("DELETE", "/api/videos"), 405) == "this method is not allowed here."
    answer = served.ask("POST", "/api/query", content=b"x", headers={"Content-Type": "text/plain"})
    assert "got 'text/plain'" in error_of(answer, 415)


def test_an_unforeseen_failure_says_nothing_of_the_inside(served, monkeypatch, caplog):
    def fail(*_):
        raise ZeroDivisionError("/secret/place")

    monkeypatch.setattr("c3dhash.web.routes.tell_missing", fail)
    assert error_of(served.ask("GET", "/api/health"), 500) == "the server failed; its log says why."
    assert "ZeroDivisionError" in caplog.text


def test_what_cannot_find_anything_is_told_before_a_video_is_encoded(served, upload, monkeypatch):
    monkeypatch.setattr(served.service.encoder, "submit", lambda job: pytest.fail("it is encoded"))
    for fields, text in (
        ({"label": "nope"}, "label 'nope' is of no video"),
        ({"folder": "move_up", "label": "move_down"}, "has no video with clips that passes"),
        ({"added_since": "2999-01-01"}, "has no video with clips that passes"),
    ):
        assert text in error_of(served.ask("POST", "/api/query", files=upload["files"], data=fields), 422)
    assert served.service.uploads.num_uploads == 0


def test_what_hits_mean_is_told_as_soon_as_it_is_measured(serve, untrained_run, tmp_path):
    path = shutil.copytree(untrained_run.path, tmp_path / "run")
    served = serve(load_run(path))
    (hit,) = found(served.ask("POST", "/api/query", json={"video_id": 1, "top": 1}))["hits"]
    assert hit["precision"] is None
    save_calibration(path, Calibration(np.full(17, 2), np.ones(17, np.int64), "some videos"))  # as `evaluate` does
    (hit,) = found(served.ask("POST", "/api/query", json={"video_id": 1, "top": 1}))["hits"]
    assert 0 < hit["precision"] <= 1


def test_an_application_of_ones_own_routes(served, tmp_path):
    """With the same guards and headers."""
    from fastapi import APIRouter

    from c3dhash.web.app import create_app

    router = APIRouter()

    @router.get("/hello")
    def hello() -> dict[str, str]:
        return {"hello": "there"}

    @router.post("/long")
    def long(content: list[int]) -> int:
        return len(content)

    async def endless():
        yield b"[1"
        for _ in range(300):
            yield b", 1" * 10_000
        yield b"]"

    ask = asker(create_app(served.service, routers=(router,)))
    script, text = ask("GET", "/static/app.js"), (PACKAGE / "web" / "static" / "app.js").read_text()
    assert (script.status_code, script.text) == (200, text) and "content-security-policy" in script.headers
    assert error_of(ask("GET", "/static/%2e%2e/pages.py"), 404) and error_of(ask("GET", "/static/none.js"), 404)
    answer = ask("GET", "/hello")
    assert found(answer) == {"hello": "there"} and "content-security-policy" in answer.headers
    assert ask("POST", "/long", json=[1, 2]).text == "2"
    answer = ask("POST", "/long", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 413) and list(answer.json()) == ["error"]
