"""Attacks with what is sent: too much, too long, too large, no video, lies, and files that must be gone in the end."""

from __future__ import annotations

import asyncio
import stat
import struct
import tempfile
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from videos import claim_avi_frames, numbered_frame, write_frames, write_growing_avi, write_video

from c3dhash.scratch import LOCK_NAME
from c3dhash.web.names import file_name
from c3dhash.web.uploads import UploadFolder


def send(served, path: Path, route: str = "/api/query", **fields) -> httpx.Response:
    return served.ask("POST", route, data=fields, files={"file": (path.name, path.read_bytes(), "video/mp4")})


def refused(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status, answer.text
    assert text in answer.json()["error"]


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK_NAME]


def wait_until_gone(served) -> None:
    deadline = time.monotonic() + 20
    while served.service.uploads.num_uploads:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not files_in(served.service.uploads.path)


MOST_SENT = 60_000_000


async def endless(boundary: str, sent: list[int]):
    """A form whose file does not end, without a Content-Length."""
    yield f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'.encode()
    while sent[0] < MOST_SENT:
        sent[0] += 1 << 16
        yield bytes(1 << 16)


def test_a_file_without_end_is_cut_off_while_it_comes(serve):
    served = serve(max_upload_mb=2)
    sent = [0]
    headers = {"Content-Type": "multipart/form-data; boundary=abc"}
    answer = served.ask("POST", "/api/query", content=endless("abc", sent), headers=headers)
    refused(answer, 413, "the file is larger than 2 MB")
    assert sent[0] < MOST_SENT / 2  # some more is read, so that the sender hears it
    assert answer.headers["connection"] == "close"
    assert not files_in(served.service.uploads.path) and not served.service.uploads.num_uploads


def test_a_length_that_is_too_large_is_refused_unread(serve, monkeypatch):
    served = serve(max_upload_mb=2)
    monkeypatch.setattr(served.service.uploads, "take_place", None)  # no file is begun
    sent = [0]
    headers = {"Content-Type": "multipart/form-data; boundary=abc", "Content-Length": str(10**10)}
    answer = served.ask("POST", "/api/query", content=endless("abc", sent), headers=headers)
    refused(answer, 413, "larger than 2 MB")
    assert sent[0] < MOST_SENT / 2 and answer.headers["connection"] == "close"


def test_nothing_of_a_file_is_kept_in_memory(serve, monkeypatch):
    """What waits to be written is never more than a block and what came with it."""
    from c3dhash.web import uploads

    served, most = serve(max_upload_mb=30), [0]
    write_to = uploads._Receiver.write_to

    def look(self, file):
        most[0] = max(most[0], len(self.waiting))
        write_to(self, file)

    monkeypatch.setattr(uploads._Receiver, "write_to", look)

    async def blocks():
        yield b'--abc\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        for _ in range(20):
            yield bytes(1 << 20)
        yield b"\r\n--abc--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=abc"}
    refused(served.ask("POST", "/api/query", content=blocks(), headers=headers), 422, "a.mp4")
    assert (1 << 20) <= most[0] <= (3 << 20)


def test_a_body_that_is_no_file_is_cut_off_too(served):
    async def text():
        for _ in range(2000):
            yield b" " * (1 << 14)

    headers = {"Content-Type": "application/json"}
    for path in ("/api/query", "/api/classify", "/api/duplicates", "/api/login"):
        refused(served.ask("POST", path, content=text(), headers=headers), 413, "more than 65,536 bytes")
    field = {"data": {"folder": "x" * 5000}, "files": {"file": ("a.mp4", b"x")}}
    refused(served.ask("POST", "/api/query", **field), 413, "field 'folder' is too long")
    many = {"files": [("label", (None, "x"))] * 300}
    refused(served.ask("POST", "/api/query", **many), 413, "more than 199 parts")


def test_a_body_that_stops_coming_is_given_up(served, monkeypatch):
    monkeypatch.setattr("c3dhash.web.uploads.SILENCE_SECONDS", 0.1)

    async def silence():
        yield b'--abc\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        await asyncio.sleep(60)

    headers = {"Content-Type": "multipart/form-data; boundary=abc"}
    refused(served.ask("POST", "/api/query", content=silence(), headers=headers), 408, "nothing was received for 0.1 s")
    assert not served.service.uploads.num_uploads and not files_in(served.service.uploads.path)


def part(disposition: str, content: str = "") -> bytes:
    return f"--abc\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}".encode()


END = b"\r\n--abc--\r\n"


@pytest.mark.parametrize(
    "body, status, text",
    [
        (b"x", 400, "cannot be read"),
        (part('name="file"; filename="a"', "xx"), 400, "ends in the middle"),
        (part('name="other"; filename="a"', "xx") + END, 422, "one file is taken, named 'file'"),
        (part('name="file"; filename="a"') + END, 422, "video 'a' is empty (0 bytes)"),
        (part('name="top"', "1") + END, 422, "one of a file, query_id and video_id is needed, got 0"),
        (b"--abc\r\n" + b"X-Head: y\r\n" * 100 + b"\r\n" + END, 400, "cannot be read"),
    ],
)
def test_forms_that_are_none(served, body, status, text):
    headers = {"Content-Type": "multipart/form-data; boundary=abc"}
    refused(served.ask("POST", "/api/query", content=body, headers=headers), status, text)
    headers = {"Content-Type": "multipart/form-data"}
    refused(served.ask("POST", "/api/query", content=body, headers=headers), 400, "no boundary")
    assert not served.service.uploads.num_uploads and not files_in(served.service.uploads.path)


def test_what_is_no_video_is_told_by_its_bytes(served, tmp_path):
    for content, what in (
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n" * 3, "is a text or a playlist"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n" * 3, "is a text or a playlist"),
        (b"\x00" * 4096, "no picture that can be decoded"),
        (b"ID3" + bytes(500), "is a sound file"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 4, ""),
    ):
        (tmp_path / "clip.mp4").write_bytes(content)
        refused(send(served, tmp_path / "clip.mp4"), 422, what)
    assert not served.service.uploads.num_uploads and not len(served.service.memory)


def test_a_video_that_is_too_long_is_refused_by_its_header(serve, tmp_path):
    served = serve(max_seconds=2)
    refused(
        send(served, write_video(tmp_path / "long.mp4", 100)), 422, "video 'long.mp4' lasts 4 s or more, at most 2 s"
    )
    assert not len(served.service.memory) and not served.service.uploads.num_uploads


def test_a_header_that_lies_about_the_length_is_found_out_while_it_is_decoded(serve, tmp_path):
    """An AVI of 8 s that claims 20 frames: it passes the look at its header, and not the frames that come."""
    served = serve(max_seconds=2)
    video = claim_avi_frames(write_video(tmp_path / "lie.avi", 200), 20)
    refused(send(served, video), 422, "video 'lie.avi' lasts")
    wait_until_gone(served)


def test_pictures_that_are_too_large_are_refused_by_the_header(serve, tmp_path):
    served = serve(max_megapixels=0.02)
    video = write_video(tmp_path / "large.mp4", 5, width_px=320, height_px=240)
    refused(send(served, video), 422, "video 'large.mp4' has pictures of 320 x 240 px, at most 20,000 pixels")
    picture = tmp_path / "large.png"
    cv2.imwrite(str(picture), np.zeros((300, 300, 3), np.uint8))
    refused(send(served, picture), 422, "has pictures of 300 x 300 px, at most 20,000 pixels")
    assert not len(served.service.memory)


def test_pictures_that_grow_are_found_out_while_they_are_decoded(serve, tmp_path):
    """The header and the first frames are of 160 x 96 px, the others of 320 x 192."""
    pytest.importorskip("av")
    served = serve(max_megapixels=0.02)
    video = write_growing_avi(tmp_path / "lie.avi")
    refused(send(served, video), 422, "video 'lie.avi' has pictures of 320 x 192 px, at most 20,000 pixels")
    wait_until_gone(served)


def test_a_picture_bomb_is_not_decoded(served, tmp_path):
    """A PNG that claims 60,000 x 60,000 px in some bytes."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    refused(send(served, bomb), 422, "too large")


def test_a_picture_that_is_a_line_is_refused(served, tmp_path):
    """Its short side would grow to what the network sees, and the long one to a million pixels."""
    line = tmp_path / "line.png"
    cv2.imwrite(str(line), np.zeros((2, 8000, 3), np.uint8))
    refused(send(served, line), 422, "no side may be more than 20 times the other")


def test_a_video_that_takes_too_much_work_is_given_up(served, tmp_path, monkeypatch):
    from c3dhash.gallery.arrivals import Limits

    monkeypatch.setattr(served.service, "limits", Limits(10**8, 3600, 0.0))
    refused(send(served, write_video(tmp_path / "a.mp4", 60)), 422, "takes more than 0 s to decode")


def test_a_still_picture_is_a_query(served, tmp_path):
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), numbered_frame(300)[..., ::-1])
    answer = send(served, picture)
    assert answer.status_code == 200 and answer.json()["query"]["num_windows"] == 1
    wait_until_gone(served)
    query_id = answer.json()["query"]["query_id"]
    assert served.ask("GET", f"/api/queries/{query_id}/clips/0/preview?kind=still").status_code == 200


def test_files_have_names_of_our_own_in_a_folder_of_ours_and_go(serve, upload, monkeypatch):
    served = serve()
    folder, seen = served.service.uploads.path, []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and folder.parent == Path(tempfile.gettempdir())
    features = served.service._encoder.network.features

    def look(clips):
        seen.extend((path.name, stat.S_IMODE(path.stat().st_mode)) for path in files_in(folder))
        return features(clips)

    monkeypatch.setattr(served.service._encoder.network, "features", look)
    name, content, kind = upload["files"]["file"]
    answer = served.ask("POST", "/api/query", files={"file": (f"../../../../{name}", content, kind)})
    assert (answer.status_code, answer.json()["query"]["name"]) == (200, name)
    assert seen and all(
        len(name) == 32 and set(name) <= set("0123456789abcdef") and mode == 0o600 for name, mode in seen
    )
    wait_until_gone(served)
    served.service.close()
    assert not folder.exists()


def test_a_file_that_does_not_decode_goes_too(served, tmp_path):
    video = write_frames(tmp_path / "black.mp4", [np.zeros((96, 160, 3), np.uint8)] * 30)
    refused(send(served, video), 422, "video 'black.mp4' shows nothing")
    wait_until_gone(served)
    refused(send(served, video, "/api/classify", top="0"), 422, "top ('0')")
    wait_until_gone(served)


def test_what_a_killed_server_left_goes_with_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = tmp_path / "c3dhash-serve-killed"
    killed.mkdir()
    (killed / LOCK_NAME).touch()
    (killed / "upload").write_bytes(b"x")
    (tmp_path / "c3dhash-serve-link").symlink_to(tmp_path / "target")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / LOCK_NAME).touch()
    running = UploadFolder(max_uploads=1)
    other = UploadFolder(max_uploads=1)
    assert not killed.exists() and running.path.exists() and (tmp_path / "target" / LOCK_NAME).exists()
    other.close()
    running.close()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()] == ["target"]


@pytest.mark.parametrize(
    "name, expected",
    [("a.mp4", "a.mp4"), ("../../etc/passwd", "passwd"), ("C:\\films\\a.mp4", "a.mp4"), ("", "upload"),
     ("..", "upload"), ("a\r\nb.mp4", "a b.mp4"), ("x" * 500, "x" * 200), ("\u202egpj.mp4", "gpj.mp4"),
     ("/", "upload")],
)  # fmt: skip
def test_what_a_sender_calls_a_file(name, expected):
    assert file_name(name) == expected
