"""A real S3 on this machine, moto's, for what is indexed by URL; and a way to it on which things go wrong."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Fault = Callable[[str, str], int | None]  # method, path -> a status to answer with, 0 to hang up, None to pass it on


class Bucket:
    """A bucket, and what is asked for on the way to it.

    Attributes:
        url: of the bucket.
        fault: what goes wrong; may be set at any time.
        asked: method and path of each request.
        page: how many names a page of a listing has; None for a thousand.
    """

    def __init__(self, name: str, client: Any) -> None:
        self.name, self.url = name, f"s3://{name}"
        self.client = client
        self.fault: Fault = lambda method, path: None
        self.asked: list[tuple[str, str]] = []
        self.page: int | None = None

    def put(self, key: str, content: bytes | Path) -> None:
        body = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def put_folder(self, key: str, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{key}/{path.relative_to(folder).as_posix()}", path)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)


@contextmanager
def s3_bucket(name: str) -> Iterator[Bucket]:
    """Start a server, with an empty bucket, that s3fs asks by the environment, here and in processes of this one."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'c3dhash[test]'")
    server = pytest.importorskip("moto.server", reason="needs moto: pip install 'c3dhash[test]'")
    import boto3

    moto = server.ThreadedMotoServer(port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    secrets = {"AWS_ACCESS_KEY_ID": "ann", "AWS_SECRET_ACCESS_KEY": "her secret", "AWS_DEFAULT_REGION": "us-east-1"}
    secrets["AWS_MAX_ATTEMPTS"] = "1"  # botocore waits long between its own
    with pytest.MonkeyPatch.context() as patch:
        for key, value in secrets.items():
            patch.setenv(key, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket=name)
        bucket = Bucket(name, client)
        with _way_to(port, bucket) as own_port:
            _point_at(f"http://127.0.0.1:{own_port}", patch)
            try:
                yield bucket
            finally:
                moto.stop()


def _point_at(url: str, patch: pytest.MonkeyPatch) -> None:
    """Let s3fs ask this server, in this process and in those that it starts."""
    import fsspec.config
    import s3fs

    patch.setenv("FSSPEC_S3_ENDPOINT_URL", url)
    patch.setitem(fsspec.config.conf, "s3", {"endpoint_url": url})
    patch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def _way_to(port: int, bucket: Bucket) -> Iterator[int]:
    """Pass requests on to a server, but for what a bucket's fault says."""

    class Way(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            bucket.asked.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status = bucket.fault(self.command, self.path)
            if status == 0:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            connection = http.client.HTTPConnection("127.0.0.1", port)
            is_paged = bucket.page is not None and "list-type=2" in self.path
            path = f"{self.path}&max-keys={bucket.page}" if is_paged else self.path
            connection.request(self.command, path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                    self.send_header(key, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Way)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
