"""On a socket: bodies that stream, and how it ends; with the command itself, signals too."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest
from servers import TOKEN

from c3dhash.client import Client, ServerError
from c3dhash.config import ServeConfig
from c3dhash.errors import UsageError
from c3dhash.web.serving import address, bind


def test_a_port_that_is_taken():
    with bind(ServeConfig(port=0)) as listening:
        port = listening.getsockname()[1]
        assert address(listening, ServeConfig(port=0)) == f"http://127.0.0.1:{port}/"
        with pytest.raises(UsageError, match=rf"port \({port}\) of host \(127.0.0.1\) cannot be listened on \(Address"):
            bind(ServeConfig(port=port))


def test_it_listens_on_this_machine_alone(on_socket):
    server = on_socket()
    (listening,) = server.server.servers
    assert [each.getsockname()[0] for each in listening.sockets] == ["127.0.0.1"]


def test_answers_are_sent_at_once():
    with bind(ServeConfig(port=0)) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_client(on_socket, upload, motion_dir, folder):
    client = Client(on_socket(token=TOKEN).url, token=TOKEN)
    video = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    sent = client.query(video, top=3, label="move_up", mirror=True)
    assert len(sent["hits"]) == 3 and {hit["label"] for hit in sent["hits"]} == {"move_up"}
    assert client.query(query_id=sent["query"]["query_id"], top=3, label="move_up", mirror=True) == sent
    assert client.query(2)["query"]["name"] == "long.mp4"
    assert client.classify(video, top=2)["top"] == client.classify(str(video))["top"][:2]
    assert client.classify(3)["video"] == "move_down/move_down_000.mp4"
    assert [each["id"] for each in client.videos(page=2, label="move_up")] == [9, 10, 11]
    assert len(client.video(2)["clips"]) == 7
    groups = list(client.duplicates(radius=0))
    assert groups and client.note_not_match(2, 9)["is_match"] is False
    assert client.health()["gallery"] == "gallery"


def test_the_client_waits_while_a_file_is_encoded(on_socket, motion_dir, monkeypatch):
    server = on_socket()
    event, network = threading.Event(), server.service._encoder.network
    compute = network.features
    monkeypatch.setattr(network, "features", lambda clips: (event.wait(30), compute(clips))[1])
    monkeypatch.setattr("c3dhash.client.WAIT_SECONDS", 0)
    monkeypatch.setattr("c3dhash.client.ASK_AGAIN_SECONDS", 0.01)
    told = []

    def progress(status):
        told.append(status["status"])
        if len(told) > 2:
            event.set()

    client, video = Client(server.url), motion_dir / "query" / "move_up" / "move_up_000.mp4"
    assert client.query(video, on_progress=progress)["hits"]
    assert client.classify(video)["top"] and "encoding" in told


def test_errors_of_the_client(on_socket, tmp_path):
    url = on_socket(token=TOKEN).url
    with pytest.raises(ServerError, match="a token is needed") as caught:
        Client(url).health()
    assert caught.value.status == 401
    client = Client(url, token=TOKEN)
    with pytest.raises(ServerError, match="no video 99"):
        client.query(99)
    (tmp_path / "bad.mp4").write_bytes(b"a text that is no video at all")
    with pytest.raises(ServerError, match=r"video 'bad\.mp4' is a text"):
        client.query(tmp_path / "bad.mp4")
    with pytest.raises(UsageError, match=r"gone.mp4' cannot be read \(No such file"):
        client.query(tmp_path / "gone.mp4")
    for wrong in ("ftp://127.0.0.1", "http://", "file:///etc/passwd"):
        with pytest.raises(UsageError, match=rf"server \('{wrong}'\) must be an address"):
            Client(wrong)
    assert Client(url.removeprefix("http://"), token=TOKEN).health()["num_videos"] == 11
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ServerError, match=r"cannot be reached .*: is it running"):
        Client(f"http://127.0.0.1:{port}").health()


def test_the_client_follows_nobody_elsewhere(on_socket):
    """A redirect would take the token with it."""
    client = Client(on_socket(token=TOKEN).url)
    with pytest.raises(ServerError, match="303"):
        client.get("/api/videos", token=TOKEN)


def test_a_body_of_chunks_is_cut_off_on_the_socket(on_socket):
    server = on_socket(max_upload_mb=1)
    sent = [0]

    def endless():
        yield b'--abc\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        while sent[0] < 100_000_000:
            sent[0] += 1 << 16
            yield bytes(1 << 16)

    headers = {"Content-Type": "multipart/form-data; boundary=abc"}
    try:
        answer = httpx.post(f"{server.url}/api/query", content=endless(), headers=headers, timeout=30)
        assert answer.status_code == 413
    except httpx.NetworkError:  # it hangs up on who goes on sending
        pass
    assert sent[0] < 50_000_000 and not server.service.uploads.num_uploads


@pytest.mark.parametrize(
    ("megabytes", "expect", "is_kept"), [(8, "", True), (60, "", False), (8, "Expect: 100-continue\r\n", False)]
)
def test_who_sends_without_a_token_hears_that(on_socket, megabytes, expect, is_kept):
    """The answer is there before the connection goes, though nobody reads it before all is sent."""
    url = httpx.URL(on_socket(token=TOKEN).url)
    head = (
        f"POST /api/query HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nContent-Length: {megabytes << 20}\r\n{expect}\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=20) as sender:
        sender.sendall(head.encode())
        if not expect:
            with contextlib.suppress(ConnectionError):  # much is not listened to
                sender.sendall(bytes(megabytes << 20))
        if megabytes < 16:
            answer = answer_of(sender)
            assert (answer.status, answer.headers.get("connection") == "close") == (401, not is_kept)
            if is_kept:
                sender.sendall(f"GET /login HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n\r\n".encode())
                assert answer_of(sender).status == 200


def answer_of(sender: socket.socket) -> HTTPResponse:
    """Read an answer to its end."""
    answer = HTTPResponse(sender)
    answer.begin()
    answer.read()
    return answer


def send(url, upload):
    """Send a video in a thread; return that, and where the answer will be."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(httpx.post(url, timeout=60, **upload)))
    thread.start()
    return thread, answers


def held_up(server, upload, monkeypatch):
    """Have a video encoded by a network that waits for an event; return that, and as of `send`."""
    event, network = threading.Event(), server.service._encoder.network
    compute, begun = network.features, threading.Event()
    monkeypatch.setattr(network, "features", lambda clips: (begun.set(), event.wait(30), compute(clips))[2])
    thread, answers = send(f"{server.url}/api/query", upload)
    assert begun.wait(20)
    return event, thread, answers


def test_at_the_end_what_waits_is_refused_and_what_is_under_way_is_answered(on_socket, upload, monkeypatch):
    server = on_socket(max_uploads=3)
    event, under_way, answered = held_up(server, upload, monkeypatch)
    waiting, refused = send(f"{server.url}/api/classify", upload)
    deadline = time.monotonic() + 20
    while not server.service.encoder.num_waiting:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.server.should_exit = True
    waiting.join(20)
    assert (refused[0].status_code, refused[0].json()["error"]) == (
        503, "the server is being ended: ask again when it is back.",
    )  # fmt: skip
    event.set()
    under_way.join(20)
    assert answered[0].status_code in (200, 503), answered[0].text
    server.thread.join(20)
    server.service.close()
    assert not server.service.uploads.path.exists()


def test_when_the_time_is_up_it_is_refused_too(on_socket, upload, monkeypatch):
    server = on_socket(grace_seconds=0.2)
    event, thread, answers = held_up(server, upload, monkeypatch)
    server.server.should_exit = True
    thread.join(20)
    assert answers[0].status_code == 503 and answers[0].headers["retry-after"]
    event.set()


def test_a_second_ctrl_c_refuses_what_is_under_way(on_socket, upload, monkeypatch):
    server = on_socket(grace_seconds=60)
    event, thread, answers = held_up(server, upload, monkeypatch)
    server.server._end(signal.SIGINT, None)
    thread.join(0.5)
    assert thread.is_alive()  # it has its time
    server.server._end(signal.SIGINT, None)
    thread.join(20)
    assert answers[0].status_code == 503 and "being ended" in answers[0].json()["error"]
    assert not server.service.close(patience_seconds=0.1)  # the network is still at it
    event.set()


SLOW = """
import sys, time
from c3dhash.models.encode import Encoder
Encoder.features = lambda self, clips: time.sleep(300)
from c3dhash.cli import main
main(sys.argv[1:])
"""


def test_a_network_that_is_at_a_batch_keeps_nobody_waiting(command, upload):
    process, url, temporary = command("--grace-seconds", "0.5", script=SLOW)
    thread, answers = send(f"{url}/api/query", upload)
    deadline = time.monotonic() + 20
    while not httpx.get(f"{url}/api/health").json()["queue"]["num_uploads"]:
        assert time.monotonic() < deadline
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (0, False), err
    assert "Ending: what is under way has 0.5 seconds" in err
    thread.join(5)
    assert answers[0].status_code == 503 and not list(temporary.glob("c3dhash-serve-*"))


@pytest.fixture
def command(folder, untrained_run, tmp_path):
    """Start `c3dhash serve` as a process; give back the process, its address and where its files go."""
    processes = []

    def start(*options: str, env: dict[str, str] | None = None, script: str | None = None):
        temporary = tmp_path / f"temporary {len(processes)}"
        temporary.mkdir()
        model = ("--model", str(untrained_run.path), "--precision", "fp32", "--device", "cpu")
        program = ("-m", "c3dhash") if script is None else ("-c", script)
        arguments = [sys.executable, *program, "serve", "--gallery", str(folder / "gallery"), "--port", "0"]
        process = subprocess.Popen(
            [*arguments, *model, *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": str(temporary), **(env or {})},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        processes.append(process)
        line = process.stderr.readline()
        found = re.search(r"is served at (http://\S+?)/[;,]", line)
        assert found, line + process.stderr.read()
        return process, found[1], temporary

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_folder_goes(command, number, upload):
    process, url, temporary = command(env={"C3DHASH_TOKEN": TOKEN})
    (private,) = temporary.glob("c3dhash-serve-*")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/api/health", headers=headers)) as answer:
        assert json.load(answer)["num_videos"] == 11
    assert httpx.post(f"{url}/api/query", headers=headers, timeout=60, **upload).status_code == 200
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (0, False), err
    assert not private.exists() and not list(temporary.glob("c3dhash-serve-*"))


def test_what_a_kill_leaves_the_next_one_removes(command, tmp_path, monkeypatch):
    process, _, temporary = command()
    process.kill()
    process.wait()
    assert list(temporary.glob("c3dhash-serve-*"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    from c3dhash.web.uploads import UploadFolder

    folder = UploadFolder(max_uploads=1)
    assert [Path(path) for path in temporary.glob("c3dhash-serve-*")] == [folder.path]
    folder.close()
