"""`c3dhash.client` where a server refuses while a file is still being sent."""

from __future__ import annotations

import http.server
import socket
import struct
import threading

import pytest

from c3dhash.client import Client, ServerError


class Impatient(http.server.BaseHTTPRequestHandler):
    """Hangs up on whoever sends, and says why to whoever asks."""

    def do_POST(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        self.connection.close()

    def do_GET(self) -> None:
        body = b'{"error": "a token is needed"}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def finish(self) -> None:
        if self.command == "GET":
            super().finish()

    def log_message(self, *_: object) -> None:
        pass


def test_a_refusal_that_was_not_heard_is_asked_for(tmp_path):
    video = tmp_path / "video.mp4"
    video.write_bytes(bytes(100_000))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Impatient) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            with pytest.raises(ServerError, match=r"^a token is needed$"):
                Client(f"http://127.0.0.1:{server.server_address[1]}").query(video)
        finally:
            server.shutdown()
