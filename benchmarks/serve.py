"""`c3dhash serve` under load, on this machine: searches by number, uploads, and memory.

    python benchmarks/serve.py [--videos 20000] [--requests 10000] [--uploads 24] [--clients 1 4 16] [--windows 1 5]
        [--milvus]

The server is a process of its own, on a gallery of random codes of 48 bits, of so many windows a video; its network is
a 3D ResNet-18 with random weights, on clips of 16 x 112 x 112. Clients are threads of this program, each with a
connection that it keeps: what they cost is in the figures. Beside them, the same search and the same network without a
server; with --milvus also the same requests to a server on a copy of the gallery, and some for pages of its list, in a
Milvus of its own (the package milvus). All of it is bounded: a measurement ends after so many requests, or MAX_SECONDS.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import machine

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import milvus_server

from c3dhash.cluster.address import Address
from c3dhash.cluster.push import push_gallery
from c3dhash.config import EncodeConfig, ModelConfig
from c3dhash.datasets.synth import make_motion_set
from c3dhash.gallery.indexing import open_gallery
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.store import Gallery
from c3dhash.models.encode import Encoder
from c3dhash.models.hashnet import build_model
from c3dhash.models.runs import Run, load_run, save_run
from c3dhash.records import CodeBatch

HASH_LENGTH = 48
MAX_SECONDS = 45.0  # of one measurement


def make_gallery(folder: Path, *, num_videos: int, num_windows: int) -> Run:
    config = ModelConfig(backbone="resnet3d18", hash_length=HASH_LENGTH)
    settings = {"backbone": "resnet3d18", "shortcut": None, "hash_length": HASH_LENGTH, "finished": True}
    save_run(folder / "run", build_model(config, num_classes=5), config=settings, labels=tuple("abcde"))
    run, rng = load_run(folder / "run"), np.random.default_rng(0)
    starts = np.arange(num_windows, dtype=np.float64) * 10
    with open_gallery(folder / "gallery", run) as gallery, gallery.writing(), gallery.editing() as edits:
        for number in range(num_videos):
            codes = rng.integers(0, 256, (num_windows, HASH_LENGTH // 8), np.uint8)
            batch = CodeBatch(codes, HASH_LENGTH, starts, starts + 10)
            edits.add(f"{number}.mp4", batch, content_hash=str(number), size_bytes=1, mtime_ns=1, label=None)
    return run


class Server:
    """A server as a process, and its address."""

    def __init__(self, folder: Path, gallery: str = "gallery") -> None:
        command = [sys.executable, "-m", "c3dhash", "serve", "--gallery", gallery, "--port", "0"]
        self._process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line
        self.port = int(found[1])

    def memory_mb(self) -> float:
        status, body = ask(http.client.HTTPConnection("127.0.0.1", self.port), "GET", "/metrics", None, {})
        assert status == 200
        (line,) = [line for line in body.decode().splitlines() if line.startswith("process_resident_memory_bytes")]
        return float(line.split()[1]) / 1e6

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes]:
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def load(port: int, request: Callable[[int], tuple[str, bytes, dict[str, str]]], *, num: int, num_clients: int) -> int:
    """Make requests from several clients, print how long they took, and return how many they were."""
    seconds: list[float] = []
    statuses: dict[int, int] = {}
    numbers, lock, until = iter(range(num)), threading.Lock(), time.perf_counter() + MAX_SECONDS

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.perf_counter() < until:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            path, body, headers = request(number)
            start = time.perf_counter()
            status, answer = ask(connection, "POST", path, body, headers)
            taken = time.perf_counter() - start
            assert status != 200 or json.loads(answer)["hits"]
            with lock:
                seconds.append(taken)
                statuses[status] = statuses.get(status, 0) + 1

    start = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(num_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = statuses.get(200, 0) / (time.perf_counter() - start)
    low, high = 1000 * statistics.median(seconds), 1000 * float(np.quantile(seconds, 0.99))
    others = {status: count for status, count in statuses.items() if status != 200}
    told = f"{rate:8.1f} a second, p50 {low:7.1f} ms, p99 {high:7.1f} ms ({len(seconds):,} requests)"
    print(f"  {num_clients:3} clients {told}" + (f", others {others}" if others else ""))
    return len(seconds)


def by_number(num_videos: int, *, step: int = 1) -> Callable[[int], tuple[str, bytes, dict[str, str]]]:
    """Search with videos by their numbers, 1 and every so many; in a copy these are those of their first clips."""

    def request(number: int) -> tuple[str, bytes, dict[str, str]]:
        asked = {"video_id": 1 + step * (number * 7919 % num_videos), "top": 10}
        return "/api/query", json.dumps(asked).encode(), {"Content-Type": "application/json"}

    return request


def by_upload(videos: list[bytes]) -> Callable[[int], tuple[str, bytes, dict[str, str]]]:
    def request(number: int) -> tuple[str, bytes, dict[str, str]]:
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        body = head + videos[number % len(videos)] + b"\r\n--x--\r\n"
        return "/api/query", body, {"Content-Type": "multipart/form-data; boundary=x"}

    return request


def bare_search(folder: Path, *, num_videos: int) -> float:
    """Return the median time of the same search in this process, ms."""
    with Gallery.open(folder / "gallery") as gallery:
        queries = [gallery.codes_of(1 + number * 7919 % num_videos)[1] for number in range(50)]
        seconds = []
        for query in queries:
            start = time.perf_counter()
            query_codes(gallery, query)
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[5:])


def bare_rate(run: Run, *, num_clips: int) -> float:
    """Return how many clips a second the network takes in batches of 8, without a server."""
    encoder = Encoder(run.model, engine="torch", precision=EncodeConfig().precision)
    clips = np.zeros((8, *run.model.clip_size, 3), np.uint8)
    encoder(clips)
    start = time.perf_counter()
    for _ in range(max(1, num_clips // 8)):
        encoder(clips)
    return 8 * max(1, num_clips // 8) / (time.perf_counter() - start)


def measure_searches(folder: Path, arguments: argparse.Namespace, *, num_windows: int) -> None:
    make_gallery(folder, num_videos=arguments.videos, num_windows=num_windows)
    print(f"\nsearches by number, {arguments.videos:,} videos of {num_windows} windows")
    server = Server(folder)
    try:
        request = by_number(arguments.videos)
        num_done = load(server.port, request, num=100, num_clients=1)
        before = server.memory_mb()
        for num_clients in arguments.clients:
            num_done += load(
                server.port, request, num=arguments.requests // len(arguments.clients), num_clients=num_clients
            )
        print(f"  memory {before:.0f} MB after 100 requests, {server.memory_mb():.0f} MB after {num_done:,}")
    finally:
        server.close()
    print(f"  query_codes without a server {bare_search(folder, num_videos=arguments.videos):.1f} ms")


def measure_copy(folder: Path, arguments: argparse.Namespace, *, num_windows: int) -> None:
    """Measure the searches, and pages of the list, on the gallery that `measure_searches` left, and on its copy."""
    (folder / "milvus").mkdir()
    process, port = milvus_server.start(folder / "milvus")
    try:
        address = Address("127.0.0.1", port, "films")
        with Gallery.open(folder / "gallery") as gallery:
            push_gallery(gallery, address)
        for where, step in (("gallery", 1), (str(address), num_windows)):
            print(f"\non {where}, {arguments.videos:,} videos of {num_windows} windows")
            server = Server(folder, where)
            try:
                load(server.port, by_number(arguments.videos, step=step), num=20, num_clients=1)
                for num_clients in arguments.clients:
                    num = arguments.requests // (10 * len(arguments.clients))
                    load(server.port, by_number(arguments.videos, step=step), num=num, num_clients=num_clients)
                page_ms = []
                for offset in range(0, arguments.videos - 48, max(48, arguments.videos // 20)):
                    start = time.perf_counter()
                    connection = http.client.HTTPConnection("127.0.0.1", server.port)
                    status, _ = ask(connection, "GET", f"/api/videos?limit=48&offset={offset}", None, {})
                    page_ms.append(1000 * (time.perf_counter() - start))
                    assert status == 200
                median, highest = statistics.median(page_ms), max(page_ms)
                print(f"  pages of 48 videos: median {median:.1f} ms, highest {highest:.1f} ms ({len(page_ms)})")
                print(f"  memory {server.memory_mb():.0f} MB")
            finally:
                server.close()
    finally:
        milvus_server.stop(process)


def measure_uploads(folder: Path, arguments: argparse.Namespace) -> None:
    run = make_gallery(folder, num_videos=arguments.videos, num_windows=1)
    make_motion_set(folder / "set", num_classes=2, videos_per_class={"query": 4}, seed=1)
    videos = [path.read_bytes() for path in sorted((folder / "set").rglob("*.mp4"))]
    print(f"\nuploads of one window, {np.mean([len(video) for video in videos]) / 1000:.0f} kB each")
    server = Server(folder)
    try:
        load(server.port, by_upload(videos), num=4, num_clients=1)
        for num_clients in [num for num in arguments.clients if num <= 8]:
            load(server.port, by_upload(videos), num=arguments.uploads, num_clients=num_clients)
        print(f"  memory {server.memory_mb():.0f} MB")
    finally:
        server.close()
    print(f"  the network without a server {bare_rate(run, num_clips=32):.1f} clips a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--uploads", type=int, default=24)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--milvus", action="store_true")
    arguments = parser.parse_args()
    print(f"{machine('fastapi', 'uvicorn')}; load {os.getloadavg()[0]:.1f} before")
    for num_windows in arguments.windows:
        with tempfile.TemporaryDirectory() as folder:
            measure_searches(Path(folder), arguments, num_windows=num_windows)
            if arguments.milvus:
                measure_copy(Path(folder), arguments, num_windows=num_windows)
    with tempfile.TemporaryDirectory() as folder:
        measure_uploads(Path(folder), arguments)


if __name__ == "__main__":
    main()
